//! Rooms against a plain model, from one thread and from several; chunks that come and go.

use proptest::prelude::*;

use super::chunks::{CHUNK_BYTES, Chunks, Run, UNIT_BYTES};
use super::runs::{UNITS, Units};
use super::*;

#[test]
fn rooms_keep_what_was_put_there_whoever_comes_and_goes_beside_them() {
    std::thread::scope(|threads| {
        for thread in 0..4_u8 {
            threads.spawn(move || {
                let mut rooms: Vec<(Room, u8)> = Vec::new();
                for turn in 0..3000_usize {
                    let (mark, len) = ((turn as u8).wrapping_mul(4) + thread, turn * 7919 % 20_000);
                    rooms.push((Room::copied(&vec![mark; len]), mark));
                    if rooms.len() > 50 {
                        let (room, mark) = rooms.swap_remove(turn * 31 % 50);
                        assert!(room.iter().all(|&byte| byte == mark), "AR1");
                    }
                }
                assert!(rooms.iter().all(|(room, mark)| room.iter().all(|byte| byte == mark)), "AR1");
            });
        }
    });
}

#[test]
fn memory_of_empty_chunks_goes_back_to_the_system_but_for_one() {
    let mut chunks = Chunks::NONE;
    let runs: Vec<Run> = (0..5 * UNITS / 32).map(|_| chunks.take(32)).collect();
    assert_eq!(chunks.bytes(), 5 * CHUNK_BYTES);
    runs.iter().for_each(|&run| drop(chunks.give_back(run)));
    assert_eq!(chunks.bytes(), CHUNK_BYTES, "C3");
    let again = chunks.take(UNITS);
    assert_eq!(chunks.bytes(), CHUNK_BYTES, "C3: the empty one is used");
    drop(chunks.give_back(again));
}

#[test]
fn a_room_takes_the_first_place_that_is_large_enough() {
    let mut chunks = Chunks::NONE;
    let [first, second, third] = [10, 20, 30].map(|units| chunks.take(units));
    let behind = |run: Run, units: usize| run.start.addr().get() + units * UNIT_BYTES;
    assert_eq!((behind(first, 10), behind(second, 20)), (second.start.addr().get(), third.start.addr().get()));
    drop(chunks.give_back(second));
    assert_eq!(chunks.take(21).start.addr().get(), behind(third, 30), "20 units are not enough");
    assert_eq!(chunks.take(15).start, second.start);
    assert_eq!(first.start.addr().get() % CHUNK_BYTES, 0);
}

/// Counts the living.
struct Witness(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Witness {
    fn new(living: &std::sync::Arc<std::sync::atomic::AtomicUsize>) -> Witness {
        living.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Witness(std::sync::Arc::clone(living))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        assert!(self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 0, "CT1: dropped once");
    }
}

#[test]
fn a_counted_value_goes_with_its_last_handle_whichever_thread_has_it() {
    let living = std::sync::Arc::default();
    for turn in 0..200 {
        let value = Counted::new((turn, [turn; 100], Witness::new(&living)));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                let handle = Counted::clone(&value);
                threads.spawn(move || {
                    let other = Counted::clone(&handle);
                    drop(handle);
                    assert!(other.0 == turn && other.1.iter().all(|&word| word == turn), "CT1");
                });
            }
            drop(value);
        });
        assert_eq!(living.load(std::sync::atomic::Ordering::SeqCst), 0, "CT1");
    }
}

#[test]
fn a_row_drops_its_values_once_be_it_in_a_chunk_or_not() {
    let living = std::sync::Arc::default();
    for len in [0, 1, 700, CHUNK_BYTES / 8, CHUNK_BYTES / 8 + 1] {
        let row = Row::new(len, |index| (index < 700).then(|| Witness::new(&living)));
        assert_eq!(living.load(std::sync::atomic::Ordering::SeqCst), len.min(700), "RO1");
        assert_eq!((row.len(), row.iter().flatten().count()), (len, len.min(700)), "RO1");
        drop(row);
        assert_eq!(living.load(std::sync::atomic::Ordering::SeqCst), 0, "RO1");
    }
}

#[test]
fn the_fixed_part_of_an_image_fills_its_units() {
    assert_eq!(Counted::<crate::image::Image>::MEMORY_BYTES, 2 * UNIT_BYTES);
}

proptest! {
    #[test]
    fn units_are_found_and_counted_as_in_a_plain_list(steps in prop::collection::vec((0..UNITS, 1..200_usize, any::<bool>()), 1..60)) {
        let (mut units, mut model) = (Units::FREE, vec![false; UNITS]);
        for (at, count, take) in steps {
            if take {
                let found = (0..=UNITS - count).find(|&start| !model[start..start + count].contains(&true));
                let longest = model.split(|&taken| taken).map(<[bool]>::len).max().unwrap_or(0);
                prop_assert_eq!(units.find(count), found.ok_or(longest));
            }
            let run = at..(at + count).min(UNITS);
            if model[run.clone()].contains(&take) {
                continue;
            }
            units.mark(run.clone(), take);
            model[run.clone()].fill(take);
            if !take {
                let before = model[..run.start].iter().rev().take_while(|&&taken| !taken).count();
                let behind = model[run.end..].iter().take_while(|&&taken| !taken).count();
                prop_assert_eq!(units.run_around(run.clone()), before + run.len() + behind);
            }
        }
    }
}
