//! A lock for what all threads read at every step and somebody replaces now and then.
//!
//! A reader of a plain lock writes to it twice, so that the line it lies in goes from processor to processor although nobody changes anything. Here each
//! reader takes one of several locks, which is that of its thread if there are not many, and a writer takes all of them, in order. As the "big reader"
//! locks of early Linux, or the sharded lock of crossbeam-utils.
//!
//! MR1  All copies are equal whenever nobody holds a [`Replacing`].
//! MR2  Who holds one excludes every reader: it has all locks.

use std::fmt;

use crate::mutant;

use super::{Padded, RwLock, RwLockReadGuard, RwLockWriteGuard, thread};

/// More copies are more memory and slower replacing; fewer let more threads meet.
const COPIES: usize = if cfg!(duramen_sim) { 2 } else { 8 };

/// See the module.
///
/// ```
/// use duramen_base::sync::ManyReaders;
/// use std::sync::Arc;
/// let list = ManyReaders::new(Arc::new(vec![1]));
/// assert_eq!(**list.read(), [1]);
/// let mut replacing = list.replace();
/// let longer = replacing.value().iter().copied().chain([2]).collect();
/// replacing.set(Arc::new(longer));
/// drop(replacing);
/// assert_eq!(**list.read(), [1, 2]);
/// ```
pub struct ManyReaders<T> {
    copies: Box<[Padded<RwLock<T>>]>,
}

/// Excludes all readers of a [`ManyReaders`] while it lives.
///
/// See there for an example.
pub struct Replacing<'a, T> {
    copies: Vec<RwLockWriteGuard<'a, T>>,
}

impl<T: Clone> ManyReaders<T> {
    /// With this value.
    pub fn new(value: T) -> ManyReaders<T> {
        ManyReaders { copies: (0..COPIES).map(|_| Padded(RwLock::new(value.clone()))).collect() }
    }

    /// Keeps it from being replaced.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.copies[thread::number() as usize % COPIES].read()
    }

    /// Waits until nobody reads, and keeps everybody from reading (MR2).
    pub fn replace(&self) -> Replacing<'_, T> {
        Replacing { copies: self.copies.iter().map(|copy| copy.write()).collect() }
    }
}

impl<T: Clone> Replacing<'_, T> {
    /// The value.
    pub fn value(&self) -> &T {
        &self.copies[0]
    }

    /// Replaces it (MR1). What it was is dropped here, but for the copy given back.
    pub fn set(&mut self, value: T) -> T {
        let (first, others) = self.copies.split_first_mut().expect("there are some copies");
        if !mutant!("replace_one_copy") {
            others.iter_mut().for_each(|copy| **copy = value.clone());
        }
        std::mem::replace(first, value)
    }
}

impl<T: fmt::Debug> fmt::Debug for ManyReaders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManyReaders").field(&self.copies.first()).finish()
    }
}

impl<T> fmt::Debug for Replacing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replacing")
    }
}

#[cfg(test)]
mod schedules {
    use super::super::{Arc, check_random};
    use super::*;

    #[test]
    fn who_reads_after_a_replacement_reads_the_new_value() {
        check_random(200, || {
            let lock = Arc::new(ManyReaders::new(1));
            let readers: Vec<_> = (0..2 * COPIES)
                .map(|_| {
                    let lock = Arc::clone(&lock);
                    thread::spawn_named("reader", move || {
                        let before = *lock.read();
                        assert!((before..=2).contains(&*lock.read()), "MR1: a value never goes back");
                    })
                })
                .collect();
            lock.replace().set(2);
            readers.into_iter().for_each(|reader| reader.join().expect("reader"));
            let late = (0..2 * COPIES).map(|_| {
                let lock = Arc::clone(&lock);
                thread::spawn_named("late", move || assert_eq!(*lock.read(), 2, "MR1"))
            });
            late.collect::<Vec<_>>().into_iter().for_each(|reader| reader.join().expect("reader"));
        });
    }

    #[test]
    fn nobody_reads_while_it_is_replaced() {
        use super::super::atomic::{AtomicUsize, Ordering};
        check_random(200, || {
            let (lock, inside) = (Arc::new(ManyReaders::new(())), Arc::new(AtomicUsize::new(0)));
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
                    thread::spawn_named("reader", move || {
                        let _reading = lock.read();
                        inside.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    })
                })
                .collect();
            let replacing = lock.replace();
            assert_eq!(inside.load(Ordering::SeqCst), 0, "MR2");
            thread::yield_now();
            assert_eq!(inside.load(Ordering::SeqCst), 0, "MR2");
            drop(replacing);
            readers.into_iter().for_each(|reader| reader.join().expect("reader"));
        });
    }
}
