//! The latency of scoring: single calls, from batches of ids or, with `--raw`, from lines of text, that are ready in
//! memory.
//!
//! `--dump FILE` writes the variables and all rows as safetensors, for other systems to score with.

#[path = "../../../benches/model.rs"]
mod model;
#[path = "../../../benches/peer.rs"]
#[expect(dead_code, reason = "single calls are measured here, not steps")]
mod peer;

use std::error::Error;
use std::fmt::Write;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Case, Random, SEED};
use peer::{Options, write_line};
use rankmill_data::{Column, FeatureBatch, FeatureSet, IdColumn, Origin, Quotes, RawRows, Splitting};
use rankmill_kernels::pool::Pool;
use rankmill_model::{Model, Parameters, Purpose, Scorer, Scores};

/// Most batches that are cut from one of the case's; calls take all of them in turn, so that rows of tables are not always cached.
const PIECES: usize = 8;
/// At least so many probabilities are shown, before any measuring.
const CHECKED_ROWS: usize = 256;

/// The case's variables. Norms start as the identity and biases at zero; a check on these would not notice if another system left
/// one out, so all vectors are moved.
fn parameters(case: &Case) -> Result<Parameters, Box<dyn Error>> {
    let model = Model::build(&case.pipeline, &case.features, Purpose::Prediction)?;
    let mut parameters = Parameters::initialise(&model.graph, &model.initializers, SEED, &Pool::new(1)?);
    model::widen_embeddings(&mut parameters);
    let mut random = Random(SEED);
    for vector in parameters.entries.iter_mut().filter(|entry| entry.shape.len() == 1) {
        vector.values.iter_mut().for_each(|value| *value += 0.5 * random.unit() as f32);
    }
    Ok(parameters)
}

/// The case's rows in batches of `rows`, first one of each of the case's batches, then the second ones.
fn pieces(case: &Case, rows: usize) -> Vec<FeatureBatch> {
    let pieces = (case.batches[0].rows / rows).min(PIECES);
    (0..pieces).flat_map(|piece| case.batches.iter().map(move |batch| rows_of(batch, piece * rows, rows))).collect()
}

/// `rows` rows of a batch, without labels.
fn rows_of(batch: &FeatureBatch, first: usize, rows: usize) -> FeatureBatch {
    let ids = batch.columns.iter().filter_map(|column| match column {
        Column::Ids(column) => Some(column),
        Column::Dense(_) | Column::Sequence(_) => None,
    });
    let cut = |column: &IdColumn| {
        let offsets = &column.offsets[first..=first + rows];
        let (start, end) = (offsets[0], offsets[rows]);
        let ids = column.ids[start as usize..end as usize].to_vec();
        Column::Ids(IdColumn { offsets: offsets.iter().map(|offset| offset - start).collect(), ids, weights: None })
    };
    FeatureBatch { rows, columns: ids.map(cut).collect(), ..FeatureBatch::default() }
}

/// The rows of a batch as lines: the label, then the features, several ids with `|` between them.
fn lines(batch: &FeatureBatch) -> Result<Vec<String>, std::fmt::Error> {
    let mut lines = vec!["0".to_owned(); batch.rows];
    for column in &batch.columns {
        let Column::Ids(column) = column else { continue };
        for (line, range) in lines.iter_mut().zip(column.offsets.windows(2)) {
            for (place, id) in column.ids[range[0] as usize..range[1] as usize].iter().enumerate() {
                write!(line, "{}{id}", if place == 0 { ',' } else { '|' })?;
            }
        }
    }
    Ok(lines)
}

/// From lines to batches, as a service does it that keeps its buffers.
struct LineReader {
    features: FeatureSet,
    splitting: Splitting,
    rows: RawRows,
}

impl LineReader {
    fn new(case: &Case) -> LineReader {
        let features = case.features.clone();
        let rows = RawRows::new(features.field_names().len(), Arc::from(["lines".to_owned()]));
        LineReader { features, splitting: Splitting::new(b",", Quotes::Csv), rows }
    }

    fn batch(&mut self, lines: &[String]) -> Result<FeatureBatch, Box<dyn Error>> {
        self.rows.clear();
        for line in lines {
            self.rows.push_line(line.as_bytes(), &self.splitting, None, Origin::default()).map_err(|rule| format!("{rule:?}"))?;
        }
        Ok(self.features.transform(&self.rows)?)
    }
}

/// Calls `score` with the numbers `0..count` in turn for about so many seconds: microseconds of each call, in ascending order.
fn window(seconds: f64, count: usize, score: &mut impl FnMut(usize) -> Result<(), Box<dyn Error>>) -> Result<Vec<f64>, Box<dyn Error>> {
    let start = Instant::now();
    let mut latencies = Vec::new();
    for number in (0..count).cycle() {
        let call = Instant::now();
        score(number)?;
        latencies.push(call.elapsed().as_secs_f64() * 1e6);
        if start.elapsed() >= Duration::from_secs_f64(seconds) {
            break;
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// A window's figures in JSON.
fn figures(latencies: &[f64], rows: usize) -> String {
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part).round() as usize];
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    format!("{{\"p50\": {p50:.2}, \"p99\": {p99:.2}, \"rows_per_second\": {:.0}}}", rows as f64 / p50 * 1e6)
}

/// Shows the probabilities of the first batches, then measures windows: as many as the options say or, with `--follow`, one for each
/// line of input.
fn measure(
    options: &Options,
    count: usize,
    mut score: impl FnMut(usize, &mut Scores) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let mut scores = Scores::default();
    let mut probabilities = Vec::new();
    for number in 0..count.min(CHECKED_ROWS.div_ceil(options.batch)) {
        score(number, &mut scores)?;
        probabilities.extend_from_slice(&scores.columns[0]);
    }
    let mut score = |number: usize| score(number, &mut scores);
    write_line(&mut out, &format!("{{\"probabilities\": {probabilities:?}}}"));
    if options.follow {
        for line in std::io::stdin().lock().lines() {
            let latencies = window(line?.trim().parse()?, count, &mut score)?;
            write_line(&mut out, &figures(&latencies, options.batch));
        }
        return Ok(());
    }
    window(options.seconds, count, &mut score)?;
    for _ in 0..options.windows {
        let latencies = window(options.seconds, count, &mut score)?;
        write_line(&mut out, &figures(&latencies, options.batch));
    }
    Ok(())
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let case = Case::new(options.size, options.network)?;
    let parameters = parameters(&case)?;
    if let Some(path) = &options.dump {
        return case.dump(path, &parameters);
    }
    if options.batch > case.batches[0].rows {
        return Err(format!("a batch has at most {} rows", case.batches[0].rows).into());
    }
    let pool = Arc::new(Pool::new(options.threads)?);
    let mut scorer = Scorer::new(&case.pipeline, &case.features, Purpose::Prediction, pool, options.precision)?;
    let mut scorer = scorer.with(&parameters)?;
    let batches = pieces(&case, options.batch);
    if !options.raw {
        return measure(options, batches.len(), |number, scores| {
            *scores = scorer.score(&batches[number]);
            Ok(())
        });
    }
    let texts = batches.iter().map(lines).collect::<Result<Vec<_>, _>>()?;
    let mut reader = LineReader::new(&case);
    measure(options, texts.len(), |number, scores| {
        *scores = scorer.score(&reader.batch(&texts[number])?);
        Ok(())
    })
}

fn main() -> ExitCode {
    peer::main(run)
}
