//! Which plots there are: bars for every row of one thread count, lines where a row has several, cost against size for the growth workload.

use super::chart::{Bar, Series, bars, lines};
use super::fits;
use super::results::{Cell, Engine, Line, Results};
use crate::compare::growth::Operation;

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Unique, fit for a file name.
    pub id: String,
    /// The workload that it belongs to.
    pub scene: String,
    /// The picture.
    pub svg: String,
}

/// Colours: ours warm, peers cold or muted, floors grey.
const COLORS: [(&str, &str); 12] = [
    ("duramen-btree", "#cf222e"),
    ("duramen-lsm", "#f08c00"),
    ("redb", "#1f77b4"),
    ("fjall-single-writer", "#2ca02c"),
    ("fjall-optimistic", "#7fc97f"),
    ("sled", "#8c564b"),
    ("canopydb", "#17a2b8"),
    ("surrealkv", "#9467bd"),
    ("lmdb", "#24292f"),
    ("sqlite", "#6e7781"),
    ("rocksdb-txn", "#b5a000"),
    ("rocksdb-optimistic", "#d670b5"),
];
const FLOOR_COLOR: &str = "#afb8c1";

fn color(engine: &Engine) -> &'static str {
    COLORS.iter().find(|(name, _)| *name == engine.name).map_or(FLOOR_COLOR, |(_, color)| color)
}

/// All plots of a run, in the order of its workloads.
pub fn all(results: &Results) -> Vec<Plot> {
    let mut plots = Vec::new();
    for scene in results.scenes() {
        if scene == "growth" {
            plots.extend(Operation::ALL.into_iter().filter_map(|operation| growth(results, operation)));
            continue;
        }
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for line in results.of_scene(scene).filter(|line| has_figures(line)) {
            let key = (line.name.case.as_str(), line.name.measure.as_str());
            if !seen.contains(&key) {
                seen.push(key);
                let same = |other: &&Line| (other.name.case.as_str(), other.name.measure.as_str()) == key;
                let group: Vec<&Line> = results.of_scene(scene).filter(|line| has_figures(line)).filter(same).collect();
                plots.extend(of_group(results, &group));
            }
        }
    }
    plots.iter_mut().enumerate().for_each(|(number, plot)| plot.id = format!("{:03}-{}", number + 1, plot.scene));
    plots
}

fn has_figures(line: &Line) -> bool {
    line.cells.values().any(|cell| cell.median().is_some())
}

/// One measure of one case: bars at one thread count or several lines over them.
fn of_group(results: &Results, group: &[&Line]) -> Vec<Plot> {
    let Some(first) = group.first() else { return Vec::new() };
    let name = &first.name;
    let title = format!("{}: {}", name.scene, name.case);
    let plot = |svg| Plot { id: String::new(), scene: name.scene.clone(), svg };
    if group.len() > 1 {
        let place = |line: &&Line| line.name.threads as f64;
        let series = series(results, group, place);
        return vec![plot(lines(&title, &with_direction(first), "threads", &series))];
    }
    // A percentile of one thread count says little more than the table.
    if name.measure.ends_with(" us") {
        return Vec::new();
    }
    let title = if name.threads > 1 { format!("{title} ({} threads)", name.threads) } else { title };
    vec![plot(bars(&title, &with_direction(first), &bars_of(results, first)))]
}

fn with_direction(line: &Line) -> String {
    let direction = match line.better {
        crate::compare::row::Better::More => "more is better",
        crate::compare::row::Better::Less => "less is better",
    };
    format!("{}, {direction}", line.name.measure)
}

fn triple(cell: &Cell) -> Option<(f64, f64, f64)> {
    let (mid, (low, high)) = (cell.median()?, cell.spread()?);
    Some((low, mid, high))
}

fn bars_of(results: &Results, line: &Line) -> Vec<Bar> {
    let bar = |engine: &Engine| {
        let figures = triple(line.cells.get(&engine.name)?)?;
        Some(Bar { label: engine.name.clone(), color: color(engine), strong: engine.ours, figures })
    };
    results.engines.iter().filter_map(bar).collect()
}

fn series(results: &Results, group: &[&Line], place: impl Fn(&&Line) -> f64) -> Vec<Series> {
    let of_engine = |engine: &Engine| {
        let point = |line: &&Line| {
            let (low, mid, high) = triple(line.cells.get(&engine.name)?)?;
            Some((place(line), low, mid, high))
        };
        let points: Vec<_> = group.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Series {
            label: engine.name.clone(),
            color: color(engine),
            strong: engine.ours,
            dashed: engine.floor,
            points,
        })
    };
    results.engines.iter().filter_map(of_engine).collect()
}

/// Cost against size on one thread.
fn growth(results: &Results, operation: Operation) -> Option<Plot> {
    let fits: Vec<_> = fits::all(results).into_iter().filter(|fit| fit.operation == operation).collect();
    let one = |fit: &fits::Fit<'_>| {
        let engine = results.engines.iter().find(|engine| engine.name == fit.engine)?;
        let points = fit.costs.iter().map(|&(size, ns)| (size, ns, ns, ns)).collect();
        let label = engine.name.clone();
        Some(Series { label, color: color(engine), strong: engine.ours, dashed: engine.floor, points })
    };
    let series: Vec<Series> = fits.iter().filter_map(one).collect();
    let title = format!("growth: {}", operation.name());
    let svg = lines(&title, "ns of processor time on one thread, less is better", "keys", &series);
    (!series.is_empty()).then(|| Plot { id: String::new(), scene: "growth".to_owned(), svg })
}
