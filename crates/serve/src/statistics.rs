//! What Triton's statistics extension tells of a version: requests, rows, batches, and where their time went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often something was done, and what it took altogether.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Timer {
    fn add(&self, count: usize, time: Duration) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The count, and the time in nanoseconds.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.nanoseconds.load(Ordering::Relaxed))
    }
}

/// The statistics of a version since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// Requests that got scores, from parsing to scores.
    pub(crate) success: Timer,
    /// Requests that did not.
    pub(crate) failure: Timer,
    /// Waiting for a worker.
    pub(crate) queue: Timer,
    /// From texts to numbers.
    pub(crate) features: Timer,
    /// The model.
    pub(crate) graph: Timer,
    rows: AtomicU64,
    batches: AtomicU64,
    last: AtomicU64,
}

impl Statistics {
    pub(crate) fn request(&self, succeeded: bool, time: Duration) {
        let timer = if succeeded { &self.success } else { &self.failure };
        timer.add(1, time);
    }

    /// Counts what was scored together; `waited` is the time that all of it waited.
    pub(crate) fn batch(&self, requests: usize, rows: usize, waited: Duration, features: Duration, graph: Duration) {
        self.queue.add(requests, waited);
        self.features.add(requests, features);
        self.graph.add(requests, graph);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Rows scored for answers.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Batches they were scored in.
    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// When the last of them was scored, in milliseconds since 1970; 0 if there was none.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}
