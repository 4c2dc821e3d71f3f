//! Threads that work on one thing together, and the barrier at which they wait for each other.
//!
//! A graph is run many times a second, in scoring for less than a millisecond at a time. So the caller works as one of the threads,
//! and the others watch for the next piece of work for a moment before they sleep.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Turns of a thread that watches for work before it sleeps: some 50 microseconds.
const WATCHING: u32 = 2_000;
/// Turns of a thread that waits for others before it sleeps, some 400 microseconds: on a machine of its own they come earlier. Where other
/// programs want the processors, too, the one that is waited for may have lost its own. Then turns, and yields as well, take time from it, while
/// a sleeper is one of the first to go on.
const SPINNING: u32 = 20_000;

/// The threads that run programs: the caller and `threads - 1` workers.
pub struct Pool {
    threads: usize,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Held while the workers have work: callers take turns.
    turn: Mutex<()>,
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// What the caller and the workers share.
struct Shared {
    /// Number of the piece of work, times [`MOST_THREADS`], plus the number of threads that it is for.
    call: AtomicUsize,
    /// The piece of work; written by the caller while no worker looks at it.
    work: UnsafeCell<Option<*const Work<'static>>>,
    /// Workers that have done their part.
    done: AtomicUsize,
    /// Where the caller waits for them.
    bell: Bell,
    /// The first panic of a worker.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
}

// SAFETY: `work` is written by the thread that holds `Pool::turn` while no worker has a part to do, and read by workers between the
// rise of `call` and that of `done`, for which the caller waits.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is to something `Sync`.
unsafe impl Send for Shared {}

/// More threads than any pool has.
const MOST_THREADS: usize = 1 << 12;

impl Pool {
    /// A pool of `threads` threads (at least one).
    ///
    /// # Errors
    /// If the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Pool, std::io::Error> {
        let threads = threads.clamp(1, MOST_THREADS - 1);
        let shared = Arc::new(Shared {
            call: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            done: AtomicUsize::new(0),
            bell: Bell::default(),
            panic: Mutex::new(None),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        let mut pool = Pool { threads, workers: Vec::new(), shared, turn: Mutex::new(()) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("compute-{index}"));
            pool.workers.push(thread.spawn(move || shared.serve(index))?);
        }
        Ok(pool)
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work(0)`, …, `work(count - 1)` at the same time, each on a thread of its own; `count` is at most [`Pool::threads`].
    /// `work` must not call the pool.
    pub(crate) fn broadcast(&self, count: usize, work: impl Fn(usize) + Sync) {
        assert!(count <= self.threads, "{count} parts for {} threads", self.threads);
        if count <= 1 {
            return work(0);
        }
        // A panic of an earlier caller left the pool as it was.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        let pointer: *const Work<'_> = &raw const work;
        // SAFETY: no worker looks at `work`: all parts of earlier calls are done, and this thread holds the turn. The lifetime is
        // made longer than it is; `Finish` waits, on every way out, until no worker uses the pointer.
        unsafe { *shared.work.get() = Some(std::mem::transmute::<*const Work<'_>, *const Work<'static>>(pointer)) };
        shared.done.store(0, Ordering::Relaxed);
        let number = shared.call.load(Ordering::Relaxed) / MOST_THREADS;
        shared.call.store(number.wrapping_add(1).wrapping_mul(MOST_THREADS).wrapping_add(count), Ordering::SeqCst);
        for (worker, asleep) in self.workers[..count - 1].iter().zip(&shared.asleep[1..]) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        {
            let _finish = Finish { shared, workers: count - 1 };
            work(0);
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Consumes independent tasks on all threads.
    pub fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync + Send) {
        let count = self.threads.min(tasks.len());
        let tasks = Mutex::new(tasks.into_iter());
        let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.broadcast(count, |_| {
            while let Some(task) = next() {
                work(task);
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its work; it ends by itself.
            let _ = worker.join();
        }
    }
}

/// Waits until the workers have done their parts.
struct Finish<'a> {
    shared: &'a Shared,
    workers: usize,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.shared.bell.wait_until(|| self.shared.done.load(Ordering::SeqCst) >= self.workers);
    }
}

/// Wakes threads that wait for something which mostly comes within microseconds.
#[derive(Default)]
struct Bell {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// Waits until `condition`, whose loads are `SeqCst`; who makes it true by a `SeqCst` store rings afterwards.
    fn wait_until(&self, condition: impl Fn() -> bool) {
        for _ in 0..SPINNING {
            if condition() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever rings from here on sees the sleeper, or the sleeper sees what they did.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !condition() {
            lock = self.rung.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // A sleeper that has looked at its condition lets the lock go when it sleeps.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.rung.notify_all();
        }
    }
}

impl Shared {
    /// What a worker does all its life.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        while let Some(call) = self.next(index, seen) {
            seen = call;
            if index >= call % MOST_THREADS {
                continue;
            }
            // SAFETY: the caller wrote it before `call` rose and leaves it until this worker is done.
            let work = unsafe { (*self.work.get()).map(|work| &*work) };
            if let Some(work) = work
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(index)))
            {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            self.done.fetch_add(1, Ordering::SeqCst);
            self.bell.ring();
        }
    }

    /// Waits for a call other than `seen`; none when the pool ends.
    fn next(&self, index: usize, seen: usize) -> Option<usize> {
        let asleep = &self.asleep[index];
        let mut turns = 0;
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            let call = self.call.load(Ordering::SeqCst);
            if call != seen {
                return Some(call);
            }
            if turns < WATCHING {
                turns += 1;
                std::hint::spin_loop();
                continue;
            }
            // Whoever calls from here on sees the flag, or this thread sees the call.
            asleep.store(true, Ordering::SeqCst);
            if self.call.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
    }
}

/// A barrier for threads that are expected within microseconds.
pub(crate) struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    poisoned: AtomicBool,
    bell: Bell,
}

impl Barrier {
    pub(crate) fn new(threads: usize) -> Barrier {
        Barrier {
            threads,
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            bell: Bell::default(),
        }
    }

    /// Waits for all threads; the last to arrive runs `last` before the others go on.
    pub(crate) fn wait(&self, last: impl FnOnce()) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            last();
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation + 1, Ordering::SeqCst);
            self.bell.ring();
            return;
        }
        self.bell.wait_until(|| {
            assert!(!self.poisoned.load(Ordering::SeqCst), "another thread panicked");
            self.generation.load(Ordering::SeqCst) != generation
        });
    }
}

/// Releases the other threads from the barrier when one unwinds.
pub(crate) struct PoisonOnPanic<'a>(pub(crate) &'a Barrier);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, Ordering::SeqCst);
        self.0.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_however_often_and_by_whomever_the_pool_is_called() {
        let pool = Pool::new(3).expect("threads");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 0..300 {
                        let count = round % 3 + 1;
                        let parts: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
                        pool.broadcast(count, |index| {
                            parts[index].fetch_add(1, Ordering::Relaxed);
                        });
                        let found: Vec<usize> = parts.iter().map(|part| part.load(Ordering::Relaxed)).collect();
                        let expected: Vec<usize> = (0..3).map(|index| usize::from(index < count)).collect();
                        assert_eq!(found, expected);
                        if round % 100 == 0 {
                            // Long enough for the workers to fall asleep.
                            std::thread::sleep(std::time::Duration::from_millis(5));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).expect("threads");
            for count in [0, 1, 3, 100] {
                let sum = AtomicUsize::new(0);
                pool.for_each((0..count).collect(), |task: usize| {
                    sum.fetch_add(task + 1, Ordering::Relaxed);
                });
                assert_eq!(sum.into_inner(), count * (count + 1) / 2);
            }
        }
    }

    #[test]
    fn those_who_sleep_at_a_barrier_wake_when_the_last_comes_and_when_another_panics() {
        let late = std::time::Duration::from_millis(10);
        let barrier = Barrier::new(2);
        let rounds = AtomicUsize::new(0);
        let wait = || {
            barrier.wait(|| {
                rounds.fetch_add(1, Ordering::Relaxed);
            });
        };
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                (0..5).for_each(|_| wait());
                catch_unwind(AssertUnwindSafe(wait)).is_err()
            });
            for _ in 0..5 {
                std::thread::sleep(late);
                wait();
            }
            std::thread::sleep(late);
            drop(PoisonOnPanic(&barrier));
            assert!(sleeper.join().expect("it catches the panic"));
        });
        assert_eq!(rounds.into_inner(), 5);
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3).expect("threads");
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| pool.broadcast(3, |index| assert!(index != bad, "part {index}"))));
            assert!(result.is_err(), "part {bad}");
            pool.broadcast(3, |_| {});
        }
    }
}
