//! What is read under a pin is whole and alive, under every schedule tried; what was replaced goes, and goes once.

use std::sync::Arc;

use super::super::atomic::AtomicUsize;
use super::super::{check_pct, check_random, thread};
use super::*;

/// Two halves that agree as long as it is whole and alive; counts the living.
struct Pair {
    halves: [u64; 2],
    living: Arc<std::sync::atomic::AtomicUsize>,
}

impl Pair {
    fn new(number: u64, living: &Arc<std::sync::atomic::AtomicUsize>) -> Counted<Pair> {
        living.fetch_add(1, Ordering::SeqCst);
        Counted::new(Pair { halves: [number, number], living: Arc::clone(living) })
    }

    fn number(&self) -> u64 {
        assert_eq!(self.halves[0], self.halves[1], "a value that was freed");
        self.halves[0]
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.halves = [u64::MAX, 0];
        assert!(self.living.fetch_sub(1, Ordering::SeqCst) > 0, "freed twice");
    }
}

fn living() -> Arc<std::sync::atomic::AtomicUsize> {
    Arc::default()
}

/// Values one after the other; fewer where each step takes long.
#[cfg(not(duramen_sim))]
const REPLACED: u64 = if cfg!(miri) { 200 } else { 20_000 };

#[cfg(not(duramen_sim))]
/// Waits until what is due was freed: whoever else is pinned in this process is so for a moment only.
fn collect_until(left: usize, living: &std::sync::atomic::AtomicUsize) {
    for _ in 0..1_000_000 {
        collect();
        if living.load(Ordering::SeqCst) == left {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{} values live, {left} should", living.load(Ordering::SeqCst));
}

#[test]
fn readers_beside_a_writer_see_whole_values_in_order() {
    let run = || {
        let living = living();
        let place: Arc<Published<Pair>> = Arc::new(Published::empty());
        let done = Arc::new(AtomicUsize::new(0));
        let readers = [(), ()].map(|()| {
            let (place, done) = (Arc::clone(&place), Arc::clone(&done));
            thread::spawn_named("reader", move || {
                let (mut last, mut kept) = (0, None);
                for _ in 0..4 {
                    let floor = done.load(Ordering::Acquire) as u64;
                    let pin = Pinned::new();
                    let seen = place.get(&pin);
                    let number = seen.as_ref().map_or(0, |pair| pair.number());
                    assert!(number >= last && number >= floor, "an older value than one that was seen or announced");
                    last = number;
                    thread::yield_now();
                    assert_eq!(seen.as_ref().map_or(0, |pair| pair.number()), number, "it stays under the pin");
                    kept = seen.map(|pair| pair.to_counted());
                }
                kept.iter().for_each(|pair: &Counted<Pair>| assert!(pair.number() <= 3));
            })
        });
        for number in 1..=3 {
            place.set(Some(Pair::new(number, &living)));
            done.store(number as usize, Ordering::Release);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(place.is(Some(&place.get(&Pinned::new()).expect("the last one").to_counted())));
        drop(place);
        #[cfg(not(duramen_sim))]
        collect_until(0, &living);
    };
    check_random(2_000, run);
    check_pct(2_000, 3, run);
}

#[test]
fn what_was_lent_outlives_its_place_and_a_counted_handle_the_pin() {
    check_random(20, || {
        let living = living();
        let place = Published::empty();
        place.set(Some(Pair::new(7, &living)));
        let pin = Pinned::new();
        let seen = place.get(&pin).expect("just set");
        drop(place);
        assert_eq!(seen.number(), 7);
        let counted = seen.to_counted();
        drop(pin);
        collect();
        assert_eq!((counted.number(), living.load(Ordering::SeqCst)), (7, 1));
        drop(counted);
        #[cfg(not(duramen_sim))]
        collect_until(0, &living);
    });
}

#[cfg(not(duramen_sim))]
#[test]
fn what_was_replaced_is_freed_while_others_go_on_reading() {
    let living = living();
    let place: Arc<Published<Pair>> = Arc::new(Published::empty());
    let stop = Arc::new(AtomicUsize::new(0));
    let reader = {
        let (place, stop) = (Arc::clone(&place), Arc::clone(&stop));
        thread::spawn_named("reader", move || {
            while stop.load(Ordering::Relaxed) == 0 {
                let pin = Pinned::new();
                place.get(&pin).iter().for_each(|pair| assert!(pair.number() < REPLACED));
            }
        })
    };
    for number in 0..REPLACED {
        place.set(Some(Pair::new(number, &living)));
    }
    // Others may be pinned for a moment, never for long: so the number comes down while the reader still reads.
    collect_until(1, &living);
    stop.store(1, Ordering::Relaxed);
    reader.join().unwrap();
}

#[cfg(not(duramen_sim))]
#[test]
fn what_waits_is_counted_and_a_pin_that_does_not_end_holds_nobody_up() {
    let living = living();
    let place: Published<Pair> = Published::empty();
    let pin = Pinned::new();
    (0..600).for_each(|number| place.set(Some(Pair::new(number, &living))));
    assert_eq!(living.load(Ordering::SeqCst), 600, "the pin keeps them");
    assert!(waiting() >= 599);
    give_way(0, 1);
    std::thread::scope(|scope| drop(scope.spawn(|| give_way(0, 1)))); // PU4: it returns
    assert_eq!(living.load(Ordering::SeqCst), 600);
    drop(pin);
    collect_until(1, &living);
}
