//! A queue that its workers fill themselves, until none of them has anything left.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

/// The most workers on one queue of folders. Each keeps descriptors open.
const MOST_WORKERS: usize = 4;

/// Returns the number of workers that looking through folders is worth on this machine.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// Work that is left, shared by a number of workers.
pub(crate) struct WorkQueue<T> {
    left: Mutex<Left<T>>,
    /// Number of items, for a quick look.
    length: AtomicUsize,
    /// Set when nothing more is worked on.
    is_over: AtomicBool,
    /// Notified when an item comes, and at the end.
    changed: Condvar,
}

struct Left<T> {
    /// The last one in is the first one out, so that trees are walked into their depth.
    items: Vec<T>,
    workers: usize,
    /// Number of workers that have no item.
    idle: usize,
}

/// Ends the work of all when a worker leaves: one that panics must not be waited for.
struct EndOfAll<'a, T>(&'a WorkQueue<T>);

impl<T> Drop for EndOfAll<'_, T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T: Send> WorkQueue<T> {
    /// Makes a queue with the first item.
    pub(crate) fn new(workers: usize, first: T) -> WorkQueue<T> {
        WorkQueue {
            left: Mutex::new(Left { items: vec![first], workers, idle: 0 }),
            length: AtomicUsize::new(1),
            is_over: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }

    /// Has each of the workers take items until none has any left, the last one in the caller's
    /// thread; returns them. Their number is that of the queue. A worker for which this machine has
    /// no thread any more leaves its share to the others, and is not returned.
    pub(crate) fn run<W: Send>(&self, mut workers: Vec<W>, work: impl Fn(&mut W, T) + Sync) -> Vec<W> {
        let each = |mut worker: W| {
            self.work(|item| work(&mut worker, item));
            worker
        };
        std::thread::scope(|scope| {
            let (each, last) = (&each, workers.pop());
            let mut threads = Vec::new();
            for worker in workers {
                match Builder::new().spawn_scoped(scope, move || each(worker)) {
                    Ok(thread) => threads.push(thread),
                    Err(_) => self.lack_one(),
                }
            }
            let mut done: Vec<W> = last.into_iter().map(each).collect();
            // A worker that panicked has found a fault of ours: it must not look like an empty
            // folder.
            let others = threads.into_iter().map(ScopedJoinHandle::join);
            done.extend(others.map(|other| other.unwrap_or_else(|panic| resume_unwind(panic))));
            done
        })
    }

    /// Counts a worker less, which never began.
    fn lack_one(&self) {
        self.left().workers -= 1;
        self.changed.notify_all();
    }

    /// Works as one of the workers, in the caller's thread.
    pub(crate) fn work(&self, mut work: impl FnMut(T)) {
        let _end = EndOfAll(self);
        while let Some(item) = self.take() {
            work(item);
        }
    }

    /// Returns the number of items that wait; another worker may take one meanwhile.
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Gives an item to whichever worker is free first.
    pub(crate) fn give(&self, item: T) {
        let mut left = self.left();
        left.items.push(item);
        self.length.store(left.items.len(), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Tells whether nothing more is worked on.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn left(&self) -> MutexGuard<'_, Left<T>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an item; returns nothing when no worker has one any more.
    fn take(&self) -> Option<T> {
        let mut left = self.left();
        left.idle += 1;
        while !self.is_over() {
            if let Some(item) = left.items.pop() {
                left.idle -= 1;
                self.length.store(left.items.len(), Ordering::Relaxed);
                return Some(item);
            }
            if left.idle >= left.workers {
                break;
            }
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl<T> WorkQueue<T> {
    /// Ends the work of all.
    pub(crate) fn end(&self) {
        // Under the lock: else one that is about to wait would miss it.
        let _left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each item makes two of half its size.
    fn halves(workers: usize, first: u32) -> u32 {
        let queue = WorkQueue::new(workers, first);
        let counts = queue.run(vec![0; workers], |count, item| {
            *count += 1;
            if item > 1 {
                queue.give(item / 2);
                queue.give(item / 2);
            }
        });
        counts.into_iter().sum()
    }

    #[test]
    fn every_item_is_worked_on_once_whatever_the_number_of_workers() {
        for workers in 1..=6 {
            assert_eq!(halves(workers, 1 << 10), (1 << 11) - 1, "{workers}");
        }
    }

    #[test]
    fn workers_without_a_thread_are_not_waited_for() {
        let queue = WorkQueue::new(3, 4u32);
        queue.lack_one();
        let counts = queue.run(vec![0; 2], |count, item| {
            *count += 1;
            (1..item).for_each(|more| queue.give(more));
        });
        assert_eq!(counts.into_iter().sum::<u32>(), 8);
    }

    #[test]
    fn a_worker_that_panics_ends_the_work_and_is_heard() {
        let queue = WorkQueue::new(3, 0);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.run(vec![(); 3], |(), item| {
                assert!(item < 100, "a fault of ours");
                queue.give(item + 1);
            })
        }));
        assert!(ran.is_err() && queue.is_over());
    }

    #[test]
    fn an_end_leaves_what_waits() {
        let queue = WorkQueue::new(2, 0);
        queue.run(vec![(); 2], |(), item| {
            (0..10).for_each(|more| queue.give(item + more));
            queue.end();
        });
        assert!(queue.length() > 0);
    }
}
