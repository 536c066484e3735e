//! Finding circles in a graph that is asked for its arrows node by node. Nothing here knows what the nodes are.
//!
//! Iterative, without a limit of depth, and each node is asked once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A shortest circle through `start`: each node has an arrow to the next one, the last one to `start`.
///
/// Breadth first, so a report names no more transactions than it must.
pub(crate) fn cycle_through<N>(start: &N, mut arrows: impl FnMut(&N, &mut Vec<N>), steps: &mut u64) -> Option<Vec<N>>
where
    N: Clone + Eq + Hash,
{
    let mut reached_from: HashMap<N, N> = HashMap::new();
    let mut next = VecDeque::from([start.clone()]);
    let mut targets = Vec::new();
    while let Some(node) = next.pop_front() {
        *steps += 1;
        targets.clear();
        arrows(&node, &mut targets);
        for target in targets.drain(..) {
            if target == *start {
                return Some(path(start, node, &reached_from));
            }
            if let Entry::Vacant(vacant) = reached_from.entry(target.clone()) {
                vacant.insert(node.clone());
                next.push_back(target);
            }
        }
    }
    None
}

fn path<N: Clone + Eq + Hash>(start: &N, last: N, reached_from: &HashMap<N, N>) -> Vec<N> {
    let mut path = vec![last];
    while path[path.len() - 1] != *start {
        let before = reached_from[&path[path.len() - 1]].clone();
        path.push(before);
    }
    path.reverse();
    path
}

/// Everything that can be reached from `start`, itself included.
pub(crate) fn reachable<N>(start: &N, mut arrows: impl FnMut(&N, &mut Vec<N>)) -> Vec<N>
where
    N: Clone + Eq + Hash,
{
    let mut found = vec![start.clone()];
    let mut known: HashMap<N, ()> = HashMap::from([(start.clone(), ())]);
    let mut at = 0;
    let mut targets = Vec::new();
    while at < found.len() {
        targets.clear();
        arrows(&found[at], &mut targets);
        for target in targets.drain(..) {
            if known.insert(target.clone(), ()).is_none() {
                found.push(target);
            }
        }
        at += 1;
    }
    found
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use super::*;

    fn cycle(start: u32, arrows: &[(u32, u32)]) -> Option<Vec<u32>> {
        let arrows = |node: &u32, out: &mut Vec<u32>| {
            out.extend(arrows.iter().filter(|(from, _)| from == node).map(|(_, to)| *to));
        };
        cycle_through(&start, arrows, &mut 0)
    }

    #[test]
    fn a_shortest_circle_is_found() {
        assert_eq!(cycle(1, &[(1, 2), (2, 3), (3, 1), (3, 2)]), Some(vec![1, 2, 3]));
        assert_eq!(cycle(1, &[(1, 2), (2, 3), (3, 4), (4, 1), (1, 5), (5, 1)]), Some(vec![1, 5]));
        assert_eq!(cycle(1, &[(1, 1)]), Some(vec![1]));
    }

    #[test]
    fn a_circle_beside_the_start_is_not_one_through_it() {
        assert_eq!(cycle(1, &[(1, 2), (2, 3), (3, 2)]), None);
        assert_eq!(cycle(1, &[]), None);
    }

    #[test]
    fn depth_has_no_limit() {
        let last = 100_000;
        let arrows = |node: &u32, out: &mut Vec<u32>| out.push(if *node == last { 1 } else { node + 1 });
        assert_eq!(cycle_through(&1, arrows, &mut 0).map(|cycle| cycle.len()), Some(last as usize));
        assert_eq!(reachable(&1, arrows).len(), last as usize);
    }
}
