//! Measuring in turns, so that what the machine does meanwhile falls on all alike (R1).

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something measured once in each round; answers its figure.
pub type Subject<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Figures of one subject, one for each round.
#[derive(Clone, Debug)]
pub struct Figures(pub Vec<f64>);

impl Figures {
    /// The one in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Round by round, this divided by `other`.
    pub fn over(&self, other: &Figures) -> Figures {
        Figures(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect())
    }

    /// Each figure multiplied.
    pub fn times(&self, factor: f64) -> Figures {
        Figures(self.0.iter().map(|figure| figure * factor).collect())
    }
}

/// Measures every subject once in each round, each round beginning with another one. One round before them is not counted.
pub fn interleaved(rounds: usize, mut subjects: Vec<Subject<'_>>) -> Vec<Figures> {
    for subject in &mut subjects {
        subject();
    }
    let mut figures = vec![Figures(Vec::new()); subjects.len()];
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let index = (round + turn) % subjects.len();
            figures[index].0.push(subjects[index]());
        }
    }
    figures
}

/// Nanoseconds of one call of `body`, over about `slice`.
pub fn ns_per_call(slice: Duration, mut body: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let (mut calls, mut step) = (0u64, 1);
    loop {
        (0..step).for_each(|_| body());
        calls += step;
        let elapsed = begun.elapsed();
        if elapsed >= slice {
            return elapsed.as_nanos() as f64 / calls as f64;
        }
        // Looks at the clock about a hundred times.
        step = (calls * slice.as_nanos() as u64 / 100 / (elapsed.as_nanos() as u64 + 1)).clamp(1, calls);
    }
}

/// Calls a second of all threads together, over about `slice`. Each thread runs a body of its own.
pub fn calls_per_second<B: FnMut() + Send>(slice: Duration, bodies: &mut [B]) -> f64 {
    let (calls, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let barrier = Barrier::new(bodies.len() + 1);
    let mut elapsed = Duration::ZERO;
    std::thread::scope(|scope| {
        for body in bodies {
            scope.spawn(|| {
                barrier.wait();
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    // A look at the flag for every few calls.
                    (0..4).for_each(|_| body());
                    count += 4;
                }
                calls.fetch_add(count, Ordering::Relaxed);
            });
        }
        barrier.wait();
        let begun = Instant::now();
        std::thread::sleep(slice);
        stop.store(true, Ordering::Relaxed);
        elapsed = begun.elapsed();
    });
    calls.into_inner() as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let (one, other) = (Figures(vec![2.0, 30.0, 4.0]), Figures(vec![1.0, 10.0, 4.0]));
        let ratio = one.over(&other);
        assert_eq!((ratio.median(), ratio.min(), ratio.max()), (2.0, 1.0, 3.0));
    }

    #[test]
    fn every_subject_is_measured_once_a_round() {
        let counts = std::cell::RefCell::new(vec![0; 3]);
        let subjects = (0..3)
            .map(|index| {
                let counts = &counts;
                let subject: Subject<'_> = Box::new(move || {
                    counts.borrow_mut()[index] += 1;
                    index as f64
                });
                subject
            })
            .collect();
        let figures = interleaved(5, subjects);
        assert_eq!(*counts.borrow(), [6, 6, 6]);
        assert_eq!(figures[2].0, [2.0; 5]);
    }
}
