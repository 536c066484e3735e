//! A queue order in which nobody waits in a circle, for waiters whose holders do not.
//!
//! Arrows to holders cannot be turned round, arrows to earlier waiters can: by another order. If the arrows to holders alone have no
//! circle, there is an order of all waiters in which each comes after those it waits for (Kahn 1962); queued in this order, every
//! arrow leads to an earlier one. So a circle that needs a place in a queue to close never costs a victim.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All of `0..waits_for.len()`, each after those it waits for, and otherwise as `arrival` has them. `None` if they wait in a circle.
pub(crate) fn order(waits_for: &[Vec<usize>], arrival: &[impl Ord + Copy]) -> Option<Vec<usize>> {
    let mut awaited = vec![0_usize; waits_for.len()];
    let mut waited_by: Vec<Vec<usize>> = vec![Vec::new(); waits_for.len()];
    for (node, others) in waits_for.iter().enumerate() {
        awaited[node] = others.len();
        others.iter().for_each(|&other| waited_by[other].push(node));
    }
    let free = (0..waits_for.len()).filter(|&node| awaited[node] == 0);
    let mut ready: BinaryHeap<_> = free.map(|node| Reverse((arrival[node], node))).collect();
    let mut order = Vec::with_capacity(waits_for.len());
    while let Some(Reverse((_, node))) = ready.pop() {
        order.push(node);
        for &behind in &waited_by[node] {
            awaited[behind] -= 1;
            if awaited[behind] == 0 {
                ready.push(Reverse((arrival[behind], behind)));
            }
        }
    }
    (order.len() == waits_for.len()).then_some(order)
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use super::*;

    #[test]
    fn who_waits_comes_after_those_it_waits_for() {
        assert_eq!(order(&[vec![], vec![], vec![]], &[3, 1, 2]), Some(vec![1, 2, 0]));
        assert_eq!(order(&[vec![2], vec![], vec![]], &[1, 2, 3]), Some(vec![1, 2, 0]));
        assert_eq!(order(&[vec![1], vec![0]], &[1, 2]), None);
    }
}
