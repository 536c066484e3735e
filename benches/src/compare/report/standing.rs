//! Where we stand in a row: the best peer, our ratio to it, the floor.

use super::results::{Cell, Engine, Line, Results};
use crate::compare::row::Better;

/// One row seen from our side. Ratios above 1 are in our favour, whichever way is better.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// The row.
    pub line: &'a Line,
    /// The best peer that is no floor and not ours, and its median.
    pub best_peer: Option<(&'a str, f64)>,
    /// Ours: name, median, ratio to the best peer.
    pub ours: Vec<(&'a str, f64, Option<f64>)>,
    /// The best floor.
    pub floor: Option<(&'a str, f64)>,
}

impl<'a> Standing<'a> {
    /// Of a row.
    pub fn of(results: &'a Results, line: &'a Line) -> Standing<'a> {
        let median =
            |engine: &'a Engine| Some((engine.name.as_str(), line.cells.get(&engine.name).and_then(Cell::median)?));
        let best = |wanted: fn(&Engine) -> bool| {
            let found = results.engines.iter().filter(|engine| wanted(engine)).filter_map(median);
            found.reduce(|one, other| if is_better(line.better, other.1, one.1) { other } else { one })
        };
        let best_peer = best(|engine| !engine.ours && !engine.floor);
        let ours = results.engines.iter().filter(|engine| engine.ours).filter_map(median);
        let ratio = |ours: f64| best_peer.and_then(|(_, peer)| ratio(line.better, ours, peer));
        let ours = ours.map(|(name, figure)| (name, figure, ratio(figure))).collect();
        Standing { line, best_peer, ours, floor: best(|engine| engine.floor) }
    }

    /// The better of our ratios.
    pub fn best_ratio(&self) -> Option<f64> {
        self.ours.iter().filter_map(|(.., ratio)| *ratio).reduce(f64::max)
    }
}

/// Whether `one` beats `other`.
pub(super) fn is_better(better: Better, one: f64, other: f64) -> bool {
    match better {
        Better::More => one > other,
        Better::Less => one < other,
    }
}

/// Above 1 if ours is better. None where a zero makes it meaningless.
pub(super) fn ratio(better: Better, ours: f64, peer: f64) -> Option<f64> {
    let (over, under) = match better {
        Better::More => (ours, peer),
        Better::Less => (peer, ours),
    };
    (over > 0.0 && under > 0.0).then(|| over / under)
}

/// All rows that have a peer and one of ours, the worst for us first.
pub fn ranked(results: &Results) -> Vec<Standing<'_>> {
    let all = results.lines.iter().map(|line| Standing::of(results, line));
    let mut compared: Vec<Standing<'_>> = all.filter(|standing| standing.best_ratio().is_some()).collect();
    let key = |standing: &Standing<'_>| standing.best_ratio().unwrap_or(f64::INFINITY);
    compared.sort_by(|one, other| key(one).total_cmp(&key(other)));
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::row::Name;

    fn results(better: Better, figures: &[(&str, f64)]) -> Results {
        let engine = |name: &str| Engine {
            name: name.into(),
            ours: name.starts_with("duramen"),
            floor: name.starts_with("floor"),
            ..Engine::default()
        };
        let name = Name { scene: "reads".into(), case: "x".into(), threads: 1, measure: "m".into() };
        let cells = figures.iter().map(|(name, figure)| ((*name).to_owned(), Cell::Figures(vec![*figure]))).collect();
        Results {
            engines: figures.iter().map(|(name, _)| engine(name)).collect(),
            lines: vec![Line { name, better, cells }],
            ..Results::default()
        }
    }

    #[test]
    fn floors_are_no_peers_and_ratios_above_one_are_ours() {
        let rates = results(Better::More, &[("duramen-lsm", 6.0), ("redb", 3.0), ("sled", 2.0), ("floor-x", 99.0)]);
        let standing = Standing::of(&rates, &rates.lines[0]);
        assert_eq!((standing.best_peer, standing.best_ratio()), (Some(("redb", 3.0)), Some(2.0)));
        let costs = results(Better::Less, &[("duramen-lsm", 6.0), ("redb", 3.0), ("sled", 2.0)]);
        let standing = Standing::of(&costs, &costs.lines[0]);
        assert_eq!((standing.best_peer, standing.best_ratio()), (Some(("sled", 2.0)), Some(2.0 / 6.0)));
    }
}
