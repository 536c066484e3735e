//! The dependency graph of a history, with nothing in it guessed, and the cycles that each level forbids.
//!
//! Edges: `ww` to who installs the next version, `wr` to who reads it, `rw` from who read a version to who installs the next one (on a key, or
//! because a scan did not find it), and real time from who returned to who began later. A level forbids cycles of some of them:
//!
//! | level | cycles of | |
//! |---|---|---|
//! | ReadCommitted | ww, wr, real time | G1c |
//! | RepeatableRead | and rw on keys | G2-item |
//! | Snapshot | ww, wr, real time, and rw edges that are never neighbours | G-SIb; Cerone and Gotsman 2016 |
//! | Serializable | all | G2, strict |
//!
//! In a history of several levels only the serializable transactions are looked at, among themselves: that is what they are promised.

use std::collections::{BTreeMap, VecDeque};

use duramen::IsolationLevel;

use super::History;
use super::order::Order;
use super::sight::sights;
use crate::setting::Setting;

const WW: u8 = 1;
const WR: u8 = 2;
const RW_KEY: u8 = 4;
const RW_RANGE: u8 = 8;
const REAL_TIME: u8 = 16;
const FLOW: u8 = WW | WR;
const RW: u8 = RW_KEY | RW_RANGE;

pub(super) struct Found {
    pub(super) complaints: Vec<String>,
    pub(super) shown: BTreeMap<&'static str, usize>,
}

pub(super) fn check(history: &History, order: &Order, settings: &[Setting]) -> Found {
    let levels: Vec<IsolationLevel> = settings.iter().map(|setting| setting.level).collect();
    let level = levels[0];
    let is_mixed = levels.iter().any(|other| *other != level);
    let is_in = |index: usize| {
        let txn = &history.transactions[index];
        txn.is_committed() && (!is_mixed || txn.setting.level == IsolationLevel::Serializable)
    };
    let graph = Graph::of(history, order, is_in);
    let forbidden = match if is_mixed { IsolationLevel::Serializable } else { level } {
        IsolationLevel::ReadUncommitted => None,
        IsolationLevel::ReadCommitted => graph.cycle(FLOW | REAL_TIME).map(|cycle| ("G1c", cycle)),
        IsolationLevel::RepeatableRead => graph.cycle(FLOW | RW_KEY | REAL_TIME).map(|cycle| ("G2-item", cycle)),
        IsolationLevel::Snapshot => graph.apart_cycle(FLOW | REAL_TIME).map(|cycle| ("G-nonadjacent", cycle)),
        IsolationLevel::Serializable => graph.cycle(FLOW | RW | REAL_TIME).map(|cycle| ("G2", cycle)),
    };
    let complaints = forbidden.map(|(name, cycle)| format!("{name}: {}", graph.text(&cycle)));
    Found { complaints: complaints.into_iter().collect(), shown: graph.phenomena() }
}

#[derive(Debug, Default)]
struct Graph {
    edges: Vec<BTreeMap<usize, u8>>,
}

impl Graph {
    fn of(history: &History, order: &Order, is_in: impl Fn(usize) -> bool) -> Graph {
        let mut graph = Graph { edges: vec![BTreeMap::new(); history.transactions.len()] };
        let inside: Vec<usize> = (0..history.transactions.len()).filter(|&index| is_in(index)).collect();
        for &index in &inside {
            for sight in sights(&history.transactions[index], order).0 {
                let versions = order.versions(sight.key);
                if sight.place > 0 && is_in(versions[sight.place - 1].txn) {
                    graph.link(versions[sight.place - 1].txn, index, WR);
                }
                if let Some(next) = versions[sight.place..].iter().find(|version| is_in(version.txn)) {
                    graph.link(index, next.txn, if sight.is_gap { RW_RANGE } else { RW_KEY });
                }
            }
        }
        let keys: std::collections::BTreeSet<u32> = order.keys().collect();
        for key in keys {
            let writers: Vec<usize> = order.versions(key).iter().map(|v| v.txn).filter(|&txn| is_in(txn)).collect();
            writers.windows(2).for_each(|pair| graph.link(pair[0], pair[1], WW));
        }
        graph.link_real_time(history, &inside);
        graph
    }

    fn link(&mut self, from: usize, to: usize, kind: u8) {
        if from != to {
            *self.edges[from].entry(to).or_insert(0) |= kind;
        }
    }

    /// Only from the last that returned before: whoever returned before one of these began is reached through it.
    fn link_real_time(&mut self, history: &History, inside: &[usize]) {
        let mut returned: Vec<(u64, u64, usize)> = inside
            .iter()
            .map(|&index| (history.transactions[index].ended, history.transactions[index].began, index))
            .collect();
        returned.sort_unstable();
        for &index in inside {
            let began = history.transactions[index].began;
            let before = &returned[..returned.partition_point(|(ended, ..)| *ended < began)];
            let newest_begin = before.iter().map(|(_, began, _)| *began).max().unwrap_or(0);
            for (_, _, last) in before.iter().rev().take_while(|(ended, ..)| *ended >= newest_begin) {
                self.link(*last, index, REAL_TIME);
            }
        }
    }

    /// A cycle of edges of these kinds.
    fn cycle(&self, kinds: u8) -> Option<Vec<usize>> {
        let next = |node: usize| self.edges[node].iter().filter(move |(_, has)| *has & kinds != 0).map(|(to, _)| *to);
        let component = components(self.edges.len(), next).into_iter().find(|component| component.len() > 1)?;
        shortest_cycle(component[0], next)
    }

    /// A cycle of `kinds` and rw in which no two rw edges are neighbours.
    ///
    /// Each node stands twice: reached by rw, and reached otherwise; from the first no rw edge leads on.
    fn apart_cycle(&self, kinds: u8) -> Option<Vec<usize>> {
        let next = |state: usize| {
            let (node, by_rw) = (state / 2, state % 2 == 1);
            self.edges[node].iter().flat_map(move |(to, has)| {
                let plain = (has & kinds != 0).then_some(to * 2);
                let rw = (has & RW != 0 && !by_rw).then_some(to * 2 + 1);
                plain.into_iter().chain(rw)
            })
        };
        let component = components(self.edges.len() * 2, next).into_iter().find(|component| component.len() > 1)?;
        Some(shortest_cycle(component[0], next)?.into_iter().map(|state| state / 2).collect())
    }

    /// What there is, each named by its weakest form.
    fn phenomena(&self) -> BTreeMap<&'static str, usize> {
        let skew = |rw: u8| {
            let pairs =
                self.edges.iter().enumerate().flat_map(|(from, edges)| edges.iter().map(move |edge| (from, edge)));
            pairs.filter(|(_, (_, has))| **has & rw != 0).any(|(from, (to, _))| self.reaches(*to, from, FLOW))
        };
        let (flow, single, apart) = (self.cycle(FLOW).is_some(), skew(RW), self.apart_cycle(FLOW).is_some());
        let (items, all) = (self.cycle(FLOW | RW_KEY).is_some(), self.cycle(FLOW | RW).is_some());
        let found = [
            ("G1c", flow),
            ("G-single", single),
            ("G-nonadjacent", apart && !single && !flow),
            ("G2-item", items && !apart),
            ("G2", all && !items && !apart),
        ];
        found.into_iter().filter(|(_, there)| *there).map(|(name, _)| (name, 1)).collect()
    }

    fn reaches(&self, from: usize, to: usize, kinds: u8) -> bool {
        let mut seen = vec![false; self.edges.len()];
        let mut queue = vec![from];
        while let Some(node) = queue.pop() {
            if node == to {
                return true;
            }
            if !std::mem::replace(&mut seen[node], true) {
                queue.extend(self.edges[node].iter().filter(|(_, has)| *has & kinds != 0).map(|(to, _)| *to));
            }
        }
        false
    }

    fn text(&self, cycle: &[usize]) -> String {
        let mut text = String::new();
        for (index, from) in cycle.iter().enumerate() {
            let to = cycle[(index + 1) % cycle.len()];
            let has = self.edges[*from].get(&to).copied().unwrap_or(0);
            let names = [(WW, "ww"), (WR, "wr"), (RW_KEY, "rw"), (RW_RANGE, "rw range"), (REAL_TIME, "real time")];
            let names: Vec<&str> = names.iter().filter(|(kind, _)| has & kind != 0).map(|(_, name)| *name).collect();
            text.push_str(&format!("T{from} -{}-> ", names.join("+")));
        }
        text + &format!("T{}", cycle[0])
    }
}

/// Strongly connected components (Kosaraju's two passes, without recursion).
fn components<I: Iterator<Item = usize>>(count: usize, next: impl Fn(usize) -> I) -> Vec<Vec<usize>> {
    let mut seen = vec![false; count];
    let mut finished = Vec::with_capacity(count);
    for root in 0..count {
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        let mut path = vec![(root, next(root).collect::<Vec<_>>())];
        while let Some((node, rest)) = path.last_mut() {
            match rest.pop() {
                Some(to) if !std::mem::replace(&mut seen[to], true) => path.push((to, next(to).collect())),
                Some(_) => {}
                None => {
                    finished.push(*node);
                    path.pop();
                }
            }
        }
    }
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); count];
    (0..count).for_each(|from| next(from).for_each(|to| back[to].push(from)));
    let mut components = Vec::new();
    for &root in finished.iter().rev() {
        let (mut component, mut queue) = (Vec::new(), vec![root]);
        while let Some(node) = queue.pop() {
            if std::mem::replace(&mut seen[node], false) {
                component.push(node);
                queue.extend(&back[node]);
            }
        }
        if !component.is_empty() {
            components.push(component);
        }
    }
    components
}

/// A shortest cycle through `start`, breadth first.
fn shortest_cycle<I: Iterator<Item = usize>>(start: usize, next: impl Fn(usize) -> I) -> Option<Vec<usize>> {
    let mut from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for to in next(node) {
            if to == start {
                let mut cycle = vec![node];
                while *cycle.last()? != start {
                    cycle.push(from[cycle.last()?]);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if let std::collections::btree_map::Entry::Vacant(place) = from.entry(to) {
                place.insert(node);
                queue.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize, u8)]) -> Graph {
        let mut graph = Graph { edges: vec![BTreeMap::new(); 6] };
        edges.iter().for_each(|&(from, to, kind)| graph.link(from, to, kind));
        graph
    }

    fn names(edges: &[(usize, usize, u8)]) -> Vec<&'static str> {
        graph(edges).phenomena().into_keys().collect()
    }

    #[test]
    fn each_phenomenon_has_its_name() {
        assert!(names(&[(0, 1, WW), (1, 2, WR), (0, 2, RW_KEY)]).is_empty());
        assert_eq!(names(&[(0, 1, WW), (1, 0, WR)]), ["G1c"]);
        assert_eq!(names(&[(0, 1, RW_KEY), (1, 0, WR)]), ["G-single"]);
        assert_eq!(names(&[(0, 1, RW_KEY), (1, 2, WR), (2, 3, RW_RANGE), (3, 0, WR)]), ["G-nonadjacent"]);
        assert_eq!(names(&[(0, 1, RW_KEY), (1, 0, RW_KEY)]), ["G2-item"]);
        assert_eq!(names(&[(0, 1, RW_KEY), (1, 0, RW_RANGE)]), ["G2"]);
        assert_eq!(names(&[(0, 1, RW_KEY), (1, 2, RW_KEY), (2, 0, WR)]), ["G2-item"]);
    }

    #[test]
    fn rw_edges_that_are_neighbours_only_around_the_end_count_as_neighbours() {
        // 0 -rw-> 1 -wr-> 2 -rw-> 0: the last rw and the first meet in 0.
        assert!(graph(&[(0, 1, RW_KEY), (1, 2, WR), (2, 0, RW_KEY)]).apart_cycle(FLOW).is_none());
        assert!(graph(&[(0, 1, RW_KEY), (1, 2, WR), (2, 0, RW_KEY | WW)]).apart_cycle(FLOW).is_some());
    }

    #[test]
    fn a_cycle_is_told_edge_by_edge() {
        let graph = graph(&[(0, 1, RW_KEY), (1, 2, WW | WR), (2, 0, REAL_TIME), (3, 0, WW)]);
        let cycle = graph.cycle(FLOW | RW | REAL_TIME).expect("a cycle");
        assert_eq!(cycle.len(), 3);
        assert!(graph.text(&cycle).contains("T1 -ww+wr-> T2"));
        assert!(graph.cycle(FLOW | RW).is_none());
    }
}
