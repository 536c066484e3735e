//! The growth workload as exponents: how cost (processor time) grows with size, how the rate (by the clock) grows with threads, and what
//! each should be.

use super::results::{Engine, Line, Results};
use crate::compare::growth::{Operation, exponent};

/// One engine at one operation.
#[derive(Clone, Debug)]
pub struct Fit<'a> {
    /// Engine.
    pub engine: &'a str,
    /// Operation.
    pub operation: Operation,
    /// Sizes and nanoseconds of processor time on one thread.
    pub costs: Vec<(f64, f64)>,
    /// Exponent over sizes.
    pub over_sizes: f64,
    /// What a search would fit over these sizes.
    pub expected: f64,
    /// Exponent of the rate over threads that can run at once, at the largest size.
    pub over_threads: f64,
}

/// Threads that can run at once.
fn parallel(threads: usize, cores: f64) -> f64 {
    (threads as f64).min(cores.max(1.0))
}

/// All fits there are figures for.
pub fn all(results: &Results) -> Vec<Fit<'_>> {
    let engines = results.present();
    let pairs = Operation::ALL.into_iter().flat_map(|operation| engines.iter().map(move |engine| (operation, *engine)));
    pairs.filter_map(|(operation, engine)| fit(results, operation, engine)).collect()
}

fn fit<'a>(results: &'a Results, operation: Operation, engine: &'a Engine) -> Option<Fit<'a>> {
    let cpu = points(results, operation, engine, "cpu ns");
    let wall = points(results, operation, engine, "ns");
    let cores = results.run["cores"].as_f64().unwrap_or(1.0);
    let fewest = cpu.iter().map(|(_, threads, _)| *threads).min()?;
    let largest = wall.iter().map(|(size, ..)| *size).fold(0.0, f64::max);
    let costs: Vec<(f64, f64)> =
        cpu.iter().filter(|(_, threads, _)| *threads == fewest).map(|(size, _, ns)| (*size, *ns)).collect();
    let rates: Vec<(f64, f64)> = wall
        .iter()
        .filter(|(size, ..)| *size == largest)
        .map(|(_, threads, ns)| (parallel(*threads, cores), *threads as f64 / ns))
        .collect();
    let sizes: Vec<f64> = costs.iter().map(|(size, _)| *size).collect();
    (sizes.len() > 1).then(|| Fit {
        engine: &engine.name,
        operation,
        over_sizes: exponent(&costs),
        expected: operation.expected_over_sizes(&sizes),
        over_threads: exponent(&rates),
        costs,
    })
}

/// Size, threads and median of each row of an operation.
fn points(results: &Results, operation: Operation, engine: &Engine, measure: &str) -> Vec<(f64, usize, f64)> {
    let prefix = format!("{} at ", operation.name());
    let lines = results.of_scene("growth").filter(|line| line.name.measure == measure);
    let point = |line: &Line| {
        let size = line.name.case.strip_prefix(&prefix)?.parse::<f64>().ok()?;
        Some((size, line.name.threads, line.cells.get(&engine.name)?.median()?))
    };
    lines.filter_map(point).collect()
}
