//! Chunks that come and go; their units against a plain list.

use proptest::prelude::*;

use crate::arena::chunks::Chunks;
use crate::arena::runs::{UNITS, Units};
use crate::arena::{CHUNK_BYTES, Run, UNIT_BYTES};

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
