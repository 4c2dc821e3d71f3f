//! The workers: threads that take batches from the queue and score them, one executor each.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rankmill_data::{DataError, FieldRows};
use rankmill_model::{ConcurrentPredictor, OutputValues, Part, ScoredParts};
use tokio::sync::oneshot;

use crate::error::{ErrorKind, ServeError};
use crate::explanation::{self, Answer};
use crate::limits::Limits;
use crate::metrics::{Metrics, Stage};
use crate::queue::{Batching, Queue, Queued, Refused};
use crate::registry::{Choice, Version};

/// The queue and its workers.
pub(crate) struct Engine {
    queue: Arc<Queue<Job>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    limits: Limits,
    rows_at_once: usize,
}

/// Rows that wait for their scores.
struct Job {
    rows: Arc<FieldRows>,
    range: Range<usize>,
    answer: Answer,
    version: Arc<Version>,
    purpose: Purpose,
    since: Instant,
    deadline: Instant,
}

/// What the scores are for.
enum Purpose {
    /// Someone waits for them; another version may be asked afterwards.
    Answer { reply: oneshot::Sender<Result<Vec<OutputValues>, ServeError>>, shadow: Option<Arc<Version>> },
    /// They are compared with the first output of the answer.
    Shadow { answered: Vec<f32> },
}

impl Job {
    fn fail(self, error: ServeError) {
        if let Purpose::Answer { reply, .. } = self.purpose {
            // Whoever does not wait any more needs no answer.
            let _ = reply.send(Err(error));
        }
    }

    fn is_wanted(&self) -> bool {
        !matches!(&self.purpose, Purpose::Answer { reply, .. } if reply.is_closed())
    }
}

impl Queued for Job {
    fn rows(&self) -> usize {
        match self.answer {
            Answer::Scores => self.range.len(),
            Answer::Explanations => self.range.len() * explanation::ROWS_OF_ONE,
        }
    }

    fn goes_with(&self, other: &Job) -> bool {
        self.answer == Answer::Scores && other.answer == Answer::Scores && Arc::ptr_eq(&self.version, &other.version)
    }

    fn since(&self) -> Instant {
        self.since
    }
}

impl Engine {
    /// Starts the workers.
    pub(crate) fn start(threads: NonZeroUsize, batching: Batching, limits: Limits, metrics: Arc<Metrics>) -> std::io::Result<Engine> {
        let queue = Arc::new(Queue::new(limits.queue, batching));
        let mut workers = Vec::new();
        for slot in 0..threads.get() {
            let worker = Worker { slot, queue: Arc::clone(&queue), metrics: Arc::clone(&metrics) };
            workers.push(std::thread::Builder::new().name(format!("score-{slot}")).spawn(move || worker.run())?);
        }
        Ok(Engine { queue, workers: Mutex::new(workers), limits, rows_at_once: batching.rows.max(1) })
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Scores rows with the version that was chosen. Many rows are cut, so that several workers can share them.
    pub(crate) async fn score(&self, choice: &Choice, rows: FieldRows, answer: Answer) -> Result<Vec<OutputValues>, ServeError> {
        let count = rows.rows();
        self.limits.check_rows(count)?;
        let rows_at_once = match answer {
            Answer::Scores => self.rows_at_once,
            Answer::Explanations => {
                self.limits.check_explained(count)?;
                self.rows_at_once.min(explanation::ROWS_AT_ONCE)
            }
        };
        let rows = Arc::new(rows);
        let since = Instant::now();
        let deadline = since + self.limits.request_time;
        let mut replies = Vec::with_capacity(count.div_ceil(rows_at_once));
        for start in (0..count).step_by(rows_at_once) {
            let (reply, scored) = oneshot::channel();
            let purpose = Purpose::Answer { reply, shadow: choice.shadow.clone() };
            let range = start..count.min(start + rows_at_once);
            let job = Job { rows: Arc::clone(&rows), range, answer, version: Arc::clone(&choice.version), purpose, since, deadline };
            self.queue.push(job).map_err(refused)?;
            replies.push(scored);
        }
        let all = async {
            let empty = |spec: &rankmill_model::OutputSpec| OutputValues { name: spec.name.clone(), width: spec.width, values: Vec::new() };
            let mut outputs: Option<Vec<OutputValues>> = None;
            for reply in replies {
                // A worker that lost a job has met a defect, and said so in the log.
                let part = reply.await.map_err(|_| ServeError::new(ErrorKind::Internal, "scoring failed; see the server's log"))??;
                match &mut outputs {
                    None => outputs = Some(part),
                    Some(outputs) => outputs.iter_mut().zip(part).for_each(|(output, part)| output.values.extend(part.values)),
                }
            }
            match outputs {
                Some(outputs) => Ok(outputs),
                None => Ok(answer.outputs(&choice.version)?.map(empty).collect()),
            }
        };
        tokio::time::timeout_at(deadline.into(), all).await.map_err(|_| too_late())?
    }

    /// Scores what waits, and ends the workers. Blocks until they have ended.
    pub(crate) fn stop(&self) {
        self.queue.close();
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A worker catches the panics of its work.
            let _ = worker.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn refused(refused: Refused) -> ServeError {
    match refused {
        Refused::Full => ServeError::new(ErrorKind::Exhausted, "the queue is full; try again later"),
        Refused::Closed => ServeError::new(ErrorKind::Unavailable, "the server stops"),
    }
}

fn too_late() -> ServeError {
    ServeError::new(ErrorKind::Timeout, "the request was not scored in time")
}

struct Worker {
    slot: usize,
    queue: Arc<Queue<Job>>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(&self) {
        let mut batch = Vec::new();
        while self.queue.take(&mut batch) {
            let work = || self.score(&mut batch);
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!(worker = self.slot, "a batch could not be scored: this is a defect of the server");
            }
            batch.clear();
        }
    }

    fn score(&self, batch: &mut Vec<Job>) {
        let now = Instant::now();
        let mut wanted = Vec::with_capacity(batch.len());
        for job in batch.drain(..).filter(Job::is_wanted) {
            self.metrics.stage(Stage::Queue, now - job.since);
            if job.deadline <= now { job.fail(too_late()) } else { wanted.push(job) }
        }
        if !wanted.is_empty() {
            self.score_together(wanted);
        }
    }

    fn score_together(&self, jobs: Vec<Job>) {
        let version = Arc::clone(&jobs[0].version);
        let parts: Vec<Part<'_>> = jobs.iter().map(|job| Part { rows: &job.rows, range: job.range.clone() }).collect();
        let started = Instant::now();
        let scored = match self.compute(&version.predictor, jobs[0].answer, &parts) {
            Ok(scored) => scored,
            Err(error) if jobs.len() == 1 => return jobs.into_iter().for_each(|job| job.fail(ServeError::row(&error))),
            // One bad row must not fail the requests beside it.
            Err(_) => return jobs.into_iter().for_each(|job| self.score_together(vec![job])),
        };
        let rows = jobs.iter().map(|job| job.range.len()).sum();
        self.metrics.batch(jobs.len(), rows);
        self.metrics.stage(Stage::Features, scored.feature_time);
        self.metrics.stage(Stage::Graph, scored.graph_time);
        let answers = || jobs.iter().filter(|job| matches!(job.purpose, Purpose::Answer { .. }));
        if answers().next().is_some() {
            version.metrics.scored(rows, &scored.outputs, &scored.features);
            let waited = answers().map(|job| started - job.since).sum();
            version.statistics.batch(answers().count(), rows, waited, scored.feature_time, scored.graph_time);
        }
        let mut start = 0;
        for job in jobs {
            let range = start..start + job.range.len();
            start = range.end;
            let of_job = |output: &OutputValues| OutputValues {
                name: output.name.clone(),
                width: output.width,
                values: output.values[range.start * output.width..range.end * output.width].to_vec(),
            };
            self.finish(job, scored.outputs.iter().map(of_job).collect());
        }
    }

    /// Scores parts; one that asks for explanations is alone.
    fn compute(&self, predictor: &ConcurrentPredictor, answer: Answer, parts: &[Part<'_>]) -> Result<ScoredParts, DataError> {
        let mut scored = predictor.score_parts(self.slot, parts)?;
        if answer == Answer::Explanations {
            let started = Instant::now();
            scored.outputs.extend(predictor.explain_part(self.slot, &parts[0])?);
            scored.graph_time += started.elapsed();
        }
        Ok(scored)
    }

    fn finish(&self, job: Job, outputs: Vec<OutputValues>) {
        let first = outputs.first().map(|output| output.values.as_slice()).unwrap_or_default();
        match job.purpose {
            Purpose::Shadow { answered } => job.version.metrics.shadowed(&answered, first),
            Purpose::Answer { reply, shadow } => {
                if let Some(version) = shadow {
                    let purpose = Purpose::Shadow { answered: first.to_vec() };
                    let (answer, since) = (Answer::Scores, Instant::now());
                    let job = Job { answer, version, purpose, since, rows: job.rows, range: job.range, deadline: job.deadline };
                    // A busy server has better things to do than to compare.
                    let _ = self.queue.push_if_idle(job);
                }
                // Whoever does not wait any more needs no answer.
                let _ = reply.send(Ok(outputs));
            }
        }
    }
}
