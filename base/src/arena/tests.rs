//! Rooms, counted values and rows, from one thread and from several.

#[cfg(not(duramen_apart))]
mod chunks;

use super::*;

/// Rooms that a thread takes, and their bytes; fewer where each byte takes long.
const TURNS: usize = if cfg!(miri) { 100 } else { 3000 };
const LEN_MAX: usize = if cfg!(miri) { 600 } else { 20_000 };

#[test]
fn rooms_keep_what_was_put_there_whoever_comes_and_goes_beside_them() {
    std::thread::scope(|threads| {
        for thread in 0..4_u8 {
            threads.spawn(move || {
                let mut rooms: Vec<(Room, u8)> = Vec::new();
                for turn in 0..TURNS {
                    let (mark, len) = ((turn as u8).wrapping_mul(4) + thread, turn * 7919 % LEN_MAX);
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
    let len_max = CHUNK_BYTES / size_of::<(Witness, [u64; 255])>();
    for len in [0, 1, len_max, len_max + 1] {
        let row = Row::new(len, |_| (Witness::new(&living), [0_u64; 255]));
        assert_eq!(living.load(std::sync::atomic::Ordering::SeqCst), len, "RO1");
        assert_eq!(row.len(), len, "RO1");
        drop(row);
        assert_eq!(living.load(std::sync::atomic::Ordering::SeqCst), 0, "RO1");
    }
}

#[test]
fn the_fixed_part_of_an_image_fills_its_units() {
    assert_eq!(Counted::<crate::image::Image>::MEMORY_BYTES, 2 * UNIT_BYTES);
}
