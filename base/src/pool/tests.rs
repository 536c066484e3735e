//! The pool keeps what is used, within its limit, and counts what it keeps.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::arena::Counted;
use crate::error::Error;
use crate::image::{ImageBuilder, ImageKind, ImageSpec};
use crate::sync::published::Pinned;

fn image(offset: u64, body_bytes: usize) -> Image {
    let spec =
        ImageSpec { kind: ImageKind::Raw, self_id: offset, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    ImageBuilder::raw(&spec, &vec![7; body_bytes])
}

/// A pool with room for `frames` images of a thousand bytes.
fn pool_of(frames: u64) -> (Arc<Budget>, Arc<FramePool>) {
    let budget = Budget::new(1 << 30);
    let pool = FramePool::new(&budget, frames * image(0, 1000).memory_bytes() as u64);
    (budget, pool)
}

fn at(offset: u64) -> FrameKey {
    FrameKey { file: 1, offset }
}

fn load(pool: &FramePool, offset: u64, keep: bool) -> Counted<Image> {
    pool.get_or_load(at(offset), keep, || Ok(image(offset, 1000))).unwrap()
}

fn is_here(pool: &FramePool, offset: u64) -> bool {
    pool.shard(at(offset)).lock().peek(at(offset)).is_some()
}

fn check(pool: &FramePool, budget: &Budget) {
    pool.shards.iter().for_each(|shard| shard.lock().check());
    assert_eq!(pool.bytes(), budget.used(), "FP2: what is kept is counted");
}

#[test]
fn an_image_is_loaded_once_and_then_found() {
    let (budget, pool) = pool_of(4);
    let first = load(&pool, 1, true);
    let again = pool.get_or_load(at(1), true, || panic!("it is here")).unwrap();
    assert!(Counted::is_same(&first, &again));
    assert_eq!(pool.hits_and_misses(), (1, 1));
    check(&pool, &budget);
}

#[test]
fn a_failed_load_leaves_nothing_behind() {
    let (budget, pool) = pool_of(4);
    assert!(matches!(pool.get_or_load(at(1), true, || Err(Error::Closed)), Err(Error::Closed)));
    assert!(pool.get(at(1)).is_none());
    check(&pool, &budget);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_limit_holds_and_used_frames_stay() {
    let (budget, pool) = pool_of(4);
    (0..4).for_each(|offset| drop(load(&pool, offset, true)));
    load(&pool, 4, true); // The hand passed once: frame 0 went, all others are idle.
    assert!(!is_here(&pool, 0));
    pool.get(at(2));
    load(&pool, 5, true);
    load(&pool, 6, true);
    assert!(is_here(&pool, 2), "used since the hand passed");
    check(&pool, &budget);
}

#[test]
fn a_scan_pushes_out_only_its_own_pages() {
    let (budget, pool) = pool_of(4);
    (0..3).for_each(|offset| drop(load(&pool, offset, true)));
    (10..50).for_each(|offset| drop(load(&pool, offset, false)));
    assert!((0..3).all(|offset| is_here(&pool, offset)));
    assert!(is_here(&pool, 49) && !is_here(&pool, 48));
    check(&pool, &budget);
}

#[test]
fn a_scanned_page_that_somebody_uses_warms_up() {
    let (budget, pool) = pool_of(4);
    load(&pool, 1, false);
    pool.get(at(1));
    (10..50).for_each(|offset| drop(load(&pool, offset, false)));
    assert!(is_here(&pool, 1));
    check(&pool, &budget);
}

#[test]
fn an_evicted_image_lives_as_long_as_its_reader() {
    let (budget, pool) = pool_of(1);
    let held = load(&pool, 1, true);
    load(&pool, 2, true);
    assert!(!is_here(&pool, 1));
    assert_eq!(held.self_id(), 1);
    check(&pool, &budget);
}

#[test]
fn of_two_loads_at_once_the_first_one_in_stays() {
    let (budget, pool) = pool_of(4);
    let mut inner = None;
    let outer = pool.get_or_load(at(1), true, || {
        inner = Some(load(&pool, 1, true));
        Ok(image(1, 1000))
    });
    assert!(Counted::is_same(&outer.unwrap(), &inner.unwrap()));
    check(&pool, &budget);
}

#[test]
fn a_forgotten_file_leaves_no_frame() {
    let (budget, pool) = pool_of(100);
    for offset in 0..20 {
        load(&pool, offset, offset % 2 == 0);
        pool.get_or_load(FrameKey { file: 2, offset }, true, || Ok(image(offset, 10))).unwrap();
    }
    pool.forget_file(1);
    assert!((0..20).all(|offset| !is_here(&pool, offset)));
    assert!((0..20).all(|offset| pool.get(FrameKey { file: 2, offset }).is_some()));
    check(&pool, &budget);
}

#[test]
fn over_the_budget_the_pool_shrinks_and_still_answers() {
    let (budget, pool) = pool_of(8);
    (0..8).for_each(|offset| drop(load(&pool, offset, true)));
    let elsewhere = budget.reserve_anyway(budget.limit());
    assert_eq!(load(&pool, 9, true).self_id(), 9);
    assert!(pool.bytes() <= image(0, 1000).memory_bytes() as u64, "only the newcomer is left");
    drop(elsewhere);
    check(&pool, &budget);
}

#[test]
fn memory_is_given_back_on_request() {
    let budget = Budget::new(1 << 30);
    let pool = FramePool::new(&budget, 64 << 20);
    (0..1000).for_each(|offset| drop(load(&pool, offset, true)));
    let before = pool.bytes();
    let given = pool.give_back(before / 3);
    assert!(given >= before / 3 && given < before / 2, "{given} of {before}");
    assert_eq!(pool.bytes(), before - given);
    check(&pool, &budget);
    assert_eq!(pool.give_back(u64::MAX), before - given);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_image_larger_than_the_pool_is_not_kept() {
    let (budget, pool) = pool_of(1);
    let large = pool.get_or_load(at(1), true, || Ok(image(1, 100_000))).unwrap();
    assert_eq!(large.raw_body().len(), 100_000);
    drop(large);
    assert_eq!((pool.bytes(), budget.used()), (0, 0));
    load(&pool, 2, true);
    pool.get_or_load(at(1), true, || Ok(image(1, 100_000))).unwrap();
    assert!(is_here(&pool, 2), "nor does it push others out");
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_parts_in_agreement(steps in vec((0u8..6, 0u64..3, 0u64..12, 1usize..3000), 0..200)) {
        let (budget, pool) = pool_of(6);
        for (step, file, offset, bytes) in steps {
            let key = FrameKey { file, offset };
            match step {
                0 => drop(pool.get(key)),
                1 => pool.forget_file(file),
                2 => drop(pool.give_back(bytes as u64)),
                _ => drop(pool.get_or_load(key, step == 3, || Ok(image(offset, bytes))).unwrap()),
            }
            check(&pool, &budget);
        }
    }
}

mod schedules {
    use super::*;
    use crate::sync::{check_pct, check_random, thread::spawn_named};

    /// Three threads load few keys of a pool that holds two frames, while one forgets a file and one gives memory back.
    fn contend() {
        let (budget, pool) = pool_of(2);
        let mut workers: Vec<_> = (0..3u64)
            .map(|worker| {
                let pool = Arc::clone(&pool);
                spawn_named("reader", move || {
                    for step in 0..3 {
                        let offset = (step + worker) % 3;
                        assert_eq!(load(&pool, offset, step != 1).self_id(), offset);
                    }
                })
            })
            .collect();
        workers.push({
            let pool = Arc::clone(&pool);
            spawn_named("upkeep", move || {
                pool.give_back(1);
                pool.forget_file(1);
            })
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        check(&pool, &budget);
        pool.forget_file(1);
        assert_eq!((pool.bytes(), budget.used()), (0, 0), "FP2: nothing is counted for nobody");
    }

    #[test]
    fn readers_get_the_image_that_they_ask_for() {
        check_random(2000, contend);
    }

    #[test]
    fn readers_get_the_image_that_they_ask_for_in_rare_orders() {
        check_pct(2000, 3, contend);
    }
}

fn load_at(pool: &FramePool, offset: u64, slots: &Arc<Slots>) {
    pool.get_or_load_at(at(offset), true, (slots, offset as usize), || Ok(image(offset, 1000))).unwrap();
}

fn found(slots: &Slots, offset: u64) -> bool {
    slots.get(offset as usize, &Pinned::new()).is_some()
}

#[test]
fn what_is_evicted_is_not_found_at_its_place() {
    let (budget, pool) = pool_of(4);
    let slots = Slots::new(100);
    for offset in 0..100 {
        load_at(&pool, offset, &slots);
        let (found, here): (Vec<bool>, Vec<bool>) =
            (0..100).map(|other| (found(&slots, other), is_here(&pool, other))).unzip();
        assert_eq!(found, here, "SL1: after {offset}");
    }
    check(&pool, &budget);
    pool.forget_file(1);
    assert!((0..100).all(|offset| !found(&slots, offset)), "SL1: a file that was forgotten");
}

#[test]
fn a_frame_that_is_only_found_at_its_place_outlives_those_that_nobody_asks_for() {
    let (budget, pool) = pool_of(8);
    let slots = Slots::new(100);
    (0..8).for_each(|offset| load_at(&pool, offset, &slots));
    let others_left = || (0..8).filter(|&offset| offset != 5 && is_here(&pool, offset)).count();
    // The first victim leaves all others idle.
    for offset in 8..100 {
        load_at(&pool, offset, &slots);
        if others_left() == 0 {
            return check(&pool, &budget);
        }
        assert!(found(&slots, 5), "SL2: gone with {offset}, while {} unused ones are here", others_left());
    }
    panic!("unused frames stay for ever");
}

#[test]
fn a_frame_that_came_without_a_place_gets_it_when_it_is_asked_for_there() {
    let (_, pool) = pool_of(4);
    let slots = Slots::new(4);
    load(&pool, 2, true);
    assert!(!found(&slots, 2));
    assert!(pool.get_at(at(2), (&slots, 2)).is_some());
    assert!(found(&slots, 2));
    assert!(pool.get_at(at(3), (&slots, 3)).is_none());
    assert!(!found(&slots, 3));
}

#[test]
fn what_is_offered_takes_free_room_and_no_place_of_what_is_used() {
    let (budget, pool) = pool_of(4);
    (0..3).for_each(|offset| drop(load(&pool, offset, true)));
    assert!(pool.offer(at(10), image(10, 1000), false), "there is room");
    assert!(!pool.offer(at(11), image(11, 1000), false), "FP6: none is left");
    assert!(is_here(&pool, 10) && !is_here(&pool, 11));
    assert!(pool.offer(at(12), image(12, 1000), true), "nobody asked for what was offered before");
    assert!(is_here(&pool, 12) && !is_here(&pool, 10));
    assert!(pool.get(at(12)).is_some());
    assert!(!pool.offer(at(13), image(13, 1000), true), "FP6: all are used");
    assert!((0..3).all(|offset| is_here(&pool, offset)) && is_here(&pool, 12));
    check(&pool, &budget);
}

#[test]
fn what_is_offered_leaves_a_quarter_of_the_budget() {
    let bytes = image(0, 1000).memory_bytes() as u64;
    let budget = Budget::new(8 * bytes);
    let pool = FramePool::new(&budget, 8 * bytes);
    let kept = (0..8).filter(|&offset| pool.offer(at(offset), image(offset, 1000), true)).count();
    assert_eq!(kept, 6, "FP6");
    check(&pool, &budget);
}

#[test]
fn a_look_without_a_trace_warms_nothing() {
    let (budget, pool) = pool_of(1);
    load(&pool, 1, false);
    assert!(pool.peek(at(1)).is_some() && pool.peek(at(2)).is_none());
    assert_eq!(pool.hits_and_misses(), (0, 1));
    assert!(pool.offer(at(2), image(2, 1000), true), "it is as cold as before");
    check(&pool, &budget);
}
