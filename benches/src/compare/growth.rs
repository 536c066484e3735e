//! How cost grows: exponents fitted to figures at three sizes and three thread counts, beside what they should be.
//!
//! `cost ~ size^e`: the slope of the least squares line through the logarithms. A search in a tree should cost as its depth, so `e` is what
//! the logarithm of the size itself would fit; a scan's entry should cost the same at every size. `rate ~ cores^e`: against the threads that
//! can run at once, min(threads, cores); reads share nothing and should come to 1, and commits that one thread orders to 0 or more.

/// A core operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A get on a snapshot that serves many.
    Get,
    /// A snapshot and a get on it.
    Snapshot,
    /// An entry of a scan of 100.
    Scan,
    /// A commit of one put, of the weakest class.
    Commit,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 4] = [Operation::Get, Operation::Snapshot, Operation::Scan, Operation::Commit];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Snapshot => "snapshot and get",
            Operation::Scan => "entry of a scan",
            Operation::Commit => "commit of one put",
        }
    }

    /// What a search tree would fit over these sizes.
    pub fn expected_over_sizes(self, sizes: &[f64]) -> f64 {
        let depth = |size: &f64| (*size, size.log2());
        match self {
            Operation::Get | Operation::Snapshot | Operation::Commit => {
                exponent(&sizes.iter().map(depth).collect::<Vec<_>>())
            }
            Operation::Scan => 0.0,
        }
    }

    /// What threads should bring: 1 if they share nothing; of commits at least nothing lost.
    pub fn expected_over_threads(self) -> &'static str {
        match self {
            Operation::Get | Operation::Snapshot | Operation::Scan => "1",
            Operation::Commit => ">= 0",
        }
    }
}

/// Slope of the least squares line through `(ln x, ln y)`.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|log| log.0), mean(|log| log.1));
    let spread: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let along: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    if spread == 0.0 { f64::NAN } else { along / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        let points: Vec<(f64, f64)> = [10.0f64, 100.0, 1000.0].iter().map(|&x| (x, 3.0 * x.powf(0.7))).collect();
        assert!((exponent(&points) - 0.7).abs() < 1e-9);
        assert!(exponent(&[(2.0, 1.0), (2.0, 5.0)]).is_nan());
    }

    #[test]
    fn a_search_is_expected_to_grow_with_its_depth() {
        let expected = Operation::Get.expected_over_sizes(&[1e3, 1e5, 1e7]);
        assert!((0.05..0.15).contains(&expected), "{expected}");
        assert_eq!(Operation::Scan.expected_over_sizes(&[1e3, 1e5]), 0.0);
    }
}
