//! Threads that work on one thing together, and the barrier at which they wait for each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The threads that run programs: `threads` workers, or the caller alone.
pub struct Pool {
    workers: Option<rayon::ThreadPool>,
    threads: usize,
}

impl Pool {
    /// A pool of `threads` threads (at least one).
    ///
    /// # Errors
    /// If the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Pool, std::io::Error> {
        let threads = threads.max(1);
        let workers = match threads {
            1 => None,
            _ => {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("compute-{i}"));
                Some(builder.build().map_err(std::io::Error::other)?)
            }
        };
        Ok(Pool { workers, threads })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work(0)`, …, `work(count - 1)` at the same time, each on a thread of its own; `count` is at most [`Pool::threads`].
    pub(crate) fn broadcast(&self, count: usize, work: impl Fn(usize) + Sync) {
        match &self.workers {
            Some(workers) if count > 1 => {
                workers.broadcast(|context| {
                    if context.index() < count {
                        work(context.index());
                    }
                });
            }
            _ => work(0),
        }
    }

    /// Consumes independent tasks on all threads.
    pub fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync + Send) {
        use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
        match &self.workers {
            Some(workers) => workers.install(|| tasks.into_par_iter().with_max_len(1).for_each(work)),
            None => tasks.into_iter().for_each(work),
        }
    }
}

/// A barrier for threads that are expected within microseconds: they spin, then yield.
pub(crate) struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    poisoned: AtomicBool,
}

impl Barrier {
    pub(crate) fn new(threads: usize) -> Barrier {
        Barrier { threads, arrived: AtomicUsize::new(0), generation: AtomicUsize::new(0), poisoned: AtomicBool::new(false) }
    }

    /// Waits for all threads; the last to arrive runs `last` before the others go on.
    pub(crate) fn wait(&self, last: impl FnOnce()) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            last();
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation + 1, Ordering::Release);
            return;
        }
        let mut spins = 0_u32;
        while self.generation.load(Ordering::Acquire) == generation {
            assert!(!self.poisoned.load(Ordering::Relaxed), "another thread panicked");
            spins += 1;
            if spins < 20_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// Releases the other threads from the barrier when one unwinds.
pub(crate) struct PoisonOnPanic<'a>(pub(crate) &'a Barrier);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, Ordering::Relaxed);
    }
}
