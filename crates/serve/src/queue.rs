//! The bounded queue between connections and workers, and what is taken from it together.
//!
//! A worker that is free takes what waits for one version, up to a number of rows. So under load batches grow by themselves, and
//! without load nobody waits. With a delay above zero a worker waits for more, but no longer than that since the first request came, and
//! only as long as requests have lately come faster than the rest of the delay.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What can wait.
pub(crate) trait Queued {
    /// Its rows.
    fn rows(&self) -> usize;
    /// Whether both can be in one batch.
    fn goes_with(&self, other: &Self) -> bool;
    /// When it came.
    fn since(&self) -> Instant;
}

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Rows of a batch; a request with more is scored alone.
    pub rows: usize,
    /// How long a request may wait for others to come.
    pub delay: Duration,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching { rows: 256, delay: Duration::ZERO }
    }
}

/// Why something can't be put into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// The queue.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    more: Condvar,
    capacity: usize,
    batching: Batching,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    arrivals: Arrivals,
}

/// How fast requests have come lately.
#[derive(Default)]
struct Arrivals {
    last: Option<Instant>,
    /// Mean gap, of which each new one is an eighth.
    gap: Duration,
}

impl Arrivals {
    fn observe(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.gap = (self.gap * 7 + now.duration_since(last).min(Duration::from_secs(1))) / 8;
        }
    }
}

impl<T: Queued> Queue<T> {
    pub(crate) fn new(capacity: usize, batching: Batching) -> Queue<T> {
        let state = State { waiting: VecDeque::with_capacity(capacity.min(1 << 16)), closed: false, arrivals: Arrivals::default() };
        Queue { state: Mutex::new(state), more: Condvar::new(), capacity, batching }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused> {
        self.push_up_to(item, self.capacity)
    }

    /// Adds something that nobody waits for: it needs a queue that is nearly empty.
    pub(crate) fn push_if_idle(&self, item: T) -> Result<(), Refused> {
        self.push_up_to(item, self.capacity / 8)
    }

    fn push_up_to(&self, item: T, capacity: usize) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= capacity {
            return Err(Refused::Full);
        }
        state.arrivals.observe(item.since());
        state.waiting.push_back(item);
        drop(state);
        self.more.notify_one();
        Ok(())
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Lets workers take what waits, and then nothing more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    /// Waits for something to do and moves it to `batch`; false when the queue is closed and empty.
    pub(crate) fn take(&self, batch: &mut Vec<T>) -> bool {
        let mut state = self.lock();
        let first = loop {
            match state.waiting.pop_front() {
                Some(first) => break first,
                None if state.closed => return false,
                None => state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let until = first.since() + self.batching.delay;
        let mut rows = first.rows();
        batch.push(first);
        loop {
            rows += self.collect(&mut state, batch, rows);
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            if rows >= self.batching.rows || left.is_zero() || state.closed || !state.waiting.is_empty() || state.arrivals.gap > left {
                return true;
            }
            state = self.more.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Moves all that goes with the first of the batch and fits; returns its rows.
    fn collect(&self, state: &mut State<T>, batch: &mut Vec<T>, rows: usize) -> usize {
        let mut added = 0;
        let mut at = 0;
        while at < state.waiting.len() && rows + added < self.batching.rows {
            let item = &state.waiting[at];
            if item.goes_with(&batch[0]) && rows + added + item.rows() <= self.batching.rows {
                added += item.rows();
                batch.extend(state.waiting.remove(at));
            } else {
                at += 1;
            }
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(usize, char, Instant);

    impl Queued for Item {
        fn rows(&self) -> usize {
            self.0
        }

        fn goes_with(&self, other: &Item) -> bool {
            self.1 == other.1
        }

        fn since(&self) -> Instant {
            self.2
        }
    }

    fn queue(capacity: usize, rows: usize, delay: Duration) -> Queue<Item> {
        Queue::new(capacity, Batching { rows, delay })
    }

    fn take(queue: &Queue<Item>) -> Vec<usize> {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        batch.iter().map(|item| item.0).collect()
    }

    #[test]
    fn what_waits_for_one_version_is_taken_together_up_to_the_rows() {
        let queue = queue(10, 10, Duration::ZERO);
        for (rows, version) in [(4, 'a'), (3, 'b'), (5, 'a'), (3, 'a'), (1, 'a'), (20, 'b')] {
            queue.push(Item(rows, version, Instant::now())).expect("room");
        }
        assert_eq!(take(&queue), [4, 5, 1]);
        assert_eq!(take(&queue), [3]);
        assert_eq!(take(&queue), [3]);
        assert_eq!(take(&queue), [20]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_and_a_closed_one_refuse() {
        let queue = queue(2, 10, Duration::ZERO);
        let item = || Item(1, 'a', Instant::now());
        assert_eq!((queue.push(item()), queue.push(item())), (Ok(()), Ok(())));
        assert_eq!((queue.push(item()), queue.push_if_idle(item())), (Err(Refused::Full), Err(Refused::Full)));
        queue.close();
        assert_eq!(queue.push(item()), Err(Refused::Closed));
        assert_eq!(take(&queue), [1, 1]);
        assert!(!queue.take(&mut Vec::new()));
    }

    #[test]
    fn a_delay_waits_for_those_that_come_fast() {
        let queue = queue(100, 3, Duration::from_secs(5));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    std::thread::sleep(Duration::from_millis(2));
                    queue.push(Item(1, 'a', Instant::now())).expect("room");
                }
            });
            assert_eq!(take(&queue).len(), 3);
        });
    }
}
