//! Key ranges with something attached, and which of them overlap a span: a search tree by low end that knows, in each
//! subtree, which range reaches furthest (Cormen et al., Introduction to Algorithms, 14.3).
//!
//! A treap: balanced by priorities that a node's number gives. Nodes lie in a vector and name each other by place.
//!
//! V1  In-order, `(low, place)` ascends; along each path, priorities fall.
//! V2  `furthest` of a node is the node of its subtree whose range ends last.

use std::cmp::Ordering;
use std::sync::Arc;

use super::claim::{KeyRange, Span};

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<T> {
    range: Arc<KeyRange>,
    value: T,
    left: u32,
    right: u32,
    furthest: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Intervals<T> {
    nodes: Vec<Option<Node<T>>>,
    free: Vec<u32>,
    root: u32,
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Intervals { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

impl<T> Intervals<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.root == NONE
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, range: Arc<KeyRange>, value: T) {
        let node = Node { range, value, left: NONE, right: NONE, furthest: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = Some(node);
                place
            }
            None => {
                self.nodes.push(Some(node));
                (self.nodes.len() - 1) as u32
            }
        };
        self.update(place);
        self.root = self.insert_below(self.root, place);
    }

    /// Takes out the first range equal to `range` whose value is `wanted`.
    pub(super) fn remove(&mut self, range: &KeyRange, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut found = NONE;
        self.visit(self.root, &range.span(), &mut |place, node| {
            if found == NONE && *node.range == *range && wanted(&node.value) {
                found = place;
            }
            found == NONE
        });
        if found == NONE {
            return None;
        }
        self.root = self.remove_below(self.root, found);
        self.free.push(found);
        let node = self.nodes[found as usize].take();
        if self.root == NONE {
            // Nothing is left: give the memory of a peak back.
            self.nodes.clear();
            self.free.clear();
        }
        node.map(|node| node.value)
    }

    /// Shows each range that overlaps `span`, by low end, as long as `visit` answers true.
    pub(super) fn overlapping(&self, span: &Span<'_>, mut visit: impl FnMut(&Arc<KeyRange>, &T) -> bool) {
        self.visit(self.root, span, &mut |_, node| visit(&node.range, &node.value));
    }

    fn visit(&self, at: u32, span: &Span<'_>, visit: &mut dyn FnMut(u32, &Node<T>) -> bool) -> bool {
        if at == NONE || !self.node(self.node(at).furthest).range.span().reaches(span.low) {
            return true; // Everything here ends before the span begins (V2).
        }
        let node = self.node(at);
        let begins_inside = span.reaches(&node.range.low);
        self.visit(node.left, span, visit)
            && (!begins_inside || !node.range.span().reaches(span.low) || visit(at, node))
            && (!begins_inside || self.visit(node.right, span, visit))
    }

    fn insert_below(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        if priority(new) > priority(at) {
            let (left, right) = self.split(at, new);
            let node = self.node_mut(new);
            (node.left, node.right) = (left, right);
            self.update(new);
            return new;
        }
        if self.order(new, at).is_lt() {
            let left = self.insert_below(self.node(at).left, new);
            self.node_mut(at).left = left;
        } else {
            let right = self.insert_below(self.node(at).right, new);
            self.node_mut(at).right = right;
        }
        self.update(at);
        at
    }

    /// What comes before the node `pivot`, and what after.
    fn split(&mut self, at: u32, pivot: u32) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        if self.order(at, pivot).is_lt() {
            let (left, right) = self.split(self.node(at).right, pivot);
            self.node_mut(at).right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.node(at).left, pivot);
            self.node_mut(at).left = right;
            self.update(at);
            (left, at)
        }
    }

    fn remove_below(&mut self, at: u32, gone: u32) -> u32 {
        if at == gone {
            let node = self.node(at);
            return self.merge(node.left, node.right);
        }
        if self.order(gone, at).is_lt() {
            let left = self.remove_below(self.node(at).left, gone);
            self.node_mut(at).left = left;
        } else {
            let right = self.remove_below(self.node(at).right, gone);
            self.node_mut(at).right = right;
        }
        self.update(at);
        at
    }

    /// Joins two trees, all of the first before all of the second.
    fn merge(&mut self, first: u32, second: u32) -> u32 {
        if first == NONE || second == NONE {
            return if first == NONE { second } else { first };
        }
        if priority(first) > priority(second) {
            let right = self.merge(self.node(first).right, second);
            self.node_mut(first).right = right;
            self.update(first);
            first
        } else {
            let left = self.merge(first, self.node(second).left);
            self.node_mut(second).left = left;
            self.update(second);
            second
        }
    }

    /// Keeps V2 for one node whose children have it.
    fn update(&mut self, at: u32) {
        let node = self.node(at);
        let below = [node.left, node.right].into_iter().filter(|&child| child != NONE);
        let furthest = below.map(|child| self.node(child).furthest).fold(at, |best, other| {
            if ends_later(&self.node(other).range, &self.node(best).range) { other } else { best }
        });
        self.node_mut(at).furthest = furthest;
    }

    fn order(&self, one: u32, other: u32) -> Ordering {
        self.node(one).range.low.cmp(&self.node(other).range.low).then(one.cmp(&other))
    }

    fn node(&self, place: u32) -> &Node<T> {
        self.nodes[place as usize].as_ref().expect("V1: a place in the tree has a node")
    }

    fn node_mut(&mut self, place: u32) -> &mut Node<T> {
        self.nodes[place as usize].as_mut().expect("V1: a place in the tree has a node")
    }
}

fn ends_later(one: &KeyRange, other: &KeyRange) -> bool {
    match (&one.high, &other.high) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(other)) => one > other,
    }
}

/// Spread evenly over all numbers, the same in every run (the finalizer of MurmurHash3).
fn priority(place: u32) -> u32 {
    let mut hash = place.wrapping_add(0x9e37_79b9);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::key::Key;

    fn range(low: u8, high: Option<u8>) -> KeyRange {
        KeyRange { low: Key::from(&[low][..]), high: high.map(|high| Key::from(&[high][..])) }
    }

    fn check<T>(tree: &Intervals<T>, at: u32) {
        if at == NONE {
            return;
        }
        let node = tree.node(at);
        for child in [node.left, node.right] {
            if child != NONE {
                let later = ends_later(&tree.node(tree.node(child).furthest).range, &tree.node(node.furthest).range);
                assert!(!later, "V2: a child reaches further");
                assert!(priority(child) <= priority(at), "V1: priorities fall");
                assert_eq!(tree.order(child, at).is_lt(), child == node.left, "V1: lows ascend");
            }
            check(tree, child);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_finds_what_a_list_finds(steps in vec((0..30u8, 1..12u8, any::<bool>(), 0..4u8), 0..120)) {
            let mut tree = Intervals::default();
            let mut list: Vec<(KeyRange, usize)> = Vec::new();
            for (number, (low, width, open, what)) in steps.into_iter().enumerate() {
                if what == 0 && !list.is_empty() {
                    let (gone, value) = list.swap_remove(usize::from(low) % list.len());
                    prop_assert_eq!(tree.remove(&gone, |&other| other == value), Some(value));
                } else {
                    let new = range(low, (!open || width > 2).then_some(low + width));
                    tree.insert(Arc::new(new.clone()), number);
                    list.push((new, number));
                }
                check(&tree, tree.root);
                prop_assert_eq!(tree.len(), list.len());
                let wanted = range(low, (!open).then_some(low + width));
                for span in [wanted.span(), Span::key(&wanted.low), Span::ALL] {
                    let mut found = Vec::new();
                    tree.overlapping(&span, |_, &value| { found.push(value); true });
                    let mut expected: Vec<usize> =
                        list.iter().filter(|(range, _)| range.span().overlaps(&span)).map(|(_, value)| *value).collect();
                    found.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
