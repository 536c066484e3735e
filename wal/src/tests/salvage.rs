//! Reading what can be read of a log whose segments are many times what is read at once.

use std::path::Path;
use std::sync::Arc;

use duramen_base::vfs::{File, OpenMode};

use super::noted::{NotedDisk, Notes};
use super::rig::*;
use crate::{Salvaged, Wal, WalConfig};

/// What is held of a segment at a time, with room to spare.
const PIECE_BYTES: u64 = 2 << 20;
const SEGMENT_BYTES: u64 = 16 << 20;

/// A log whose first segment is full of commits of that many bytes, none of which knew another durable; how many there are in all.
fn long_segment(disk: &Arc<NotedDisk>, bytes: usize) -> u64 {
    let config = config_on(disk.clone());
    let (first, max) = (SEGMENT_BYTES, SEGMENT_BYTES);
    let wal = Wal::create(WalConfig { segment_bytes_first: first, segment_bytes_max: max, ..config }).unwrap();
    while wal.stats().segments == 1 {
        wal.write_through(commit(&wal, bytes).unwrap().end).unwrap();
    }
    wal.sync_through(wal.stats().end).unwrap();
    wal.stats().last_ts.get()
}

/// The file of the first segment.
fn first_segment(disk: &NotedDisk) -> File {
    File::open(disk, Path::new("log/00000000000000000001"), OpenMode::ReadWrite).unwrap()
}

/// The commits that a salvage gives, each checked, and how many losses it tells.
fn salvaged(disk: &Arc<NotedDisk>) -> (Vec<u64>, usize) {
    let (mut commits, mut losses) = (Vec::new(), 0);
    crate::salvage(disk.clone(), "log".as_ref(), "LOG-END".as_ref(), UUID, &mut |found| {
        match found {
            Salvaged::Commit(ts, bytes) => {
                assert_eq!(bytes, payload(ts.get(), bytes.len()), "{ts}");
                commits.push(ts.get());
            }
            Salvaged::Lost(_) => losses += 1,
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    (commits, losses)
}

/// Z5, with records of many lengths to the edges of pieces.
#[test]
fn a_salvage_holds_a_piece_of_a_segment_at_a_time() {
    for bytes in [1_000, 5_003, 16 << 10] {
        let disk = Arc::new(NotedDisk::default());
        let count = long_segment(&disk, bytes);
        let notes = &disk.notes;
        Notes::take(&notes.largest_read);
        assert_eq!(salvaged(&disk), ((1..=count).collect(), 0), "records of {bytes}");
        // Without its header, the place of the first record is looked for.
        first_segment(&disk).write_all_at(&[0xA5; 8192], 0).unwrap();
        Notes::take(&notes.read);
        let (commits, losses) = salvaged(&disk);
        assert!(commits.len() as u64 == count && losses > 0, "records of {bytes}: {} of {count}", commits.len());
        assert!(Notes::take(&notes.largest_read) <= PIECE_BYTES, "Z5");
    }
}

/// Z5: each bad record asks whether anything durable lies behind it, and where the next whole one is.
#[test]
fn a_salvage_reads_a_segment_a_few_times_however_much_of_it_is_damaged() {
    let disk = Arc::new(NotedDisk::default());
    let (count, file) = (long_segment(&disk, 5_000), first_segment(&disk));
    for damaged in 1..60 {
        file.write_all_at(&[0x5A; 100], damaged * 200_000).unwrap();
    }
    Notes::take(&disk.notes.read);
    let (commits, losses) = salvaged(&disk);
    assert!(commits.len() as u64 >= count - 2 * 60 && losses >= 59, "{} of {count}, {losses}", commits.len());
    assert!(Notes::take(&disk.notes.read) <= 8 * SEGMENT_BYTES, "Z5");
}
