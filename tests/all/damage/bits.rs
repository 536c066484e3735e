//! Flipped bits: all eight of every byte in headers, superblocks, `CURRENT`, catalogs, manifests and log heads; one of some bytes elsewhere.

use duramen_base::vfs::sim::SimVfs;

use super::judge::{Judge, each_sample};
use super::sample::{Sample, overwrite};
use crate::random;

/// Whether a byte is one of those that say what a file is and where things are.
fn is_head(path: &str, offset: u64, len: u64) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "CURRENT" => true,
        "LOG-END" => offset % 4096 < 68,
        "tree.dat" => offset % 4096 < 128 && offset < 8192,
        _ if name.ends_with(".sst") => {
            offset < 64 || (len - 4096..len - 4096 + 136).contains(&offset) || offset + 4 >= len
        }
        // Header and the first entry's head; header and the first frame.
        _ if name.ends_with(".val") => offset < 64 + 20,
        _ if path.contains("/values/MANIFEST") => offset < 64 + 64,
        _ if path.contains("/log/") => offset % 4096 < 92 && offset < 8192 || (8192..8192 + 80).contains(&offset),
        _ => true,
    }
}

fn flip(sample: &Sample, judge: &mut Judge<'_>, path: &str, offset: u64, bit: u8, old: u8) {
    debug_assert!(sample.image.exists(path.as_ref()));
    judge.case(
        || format!("{path}: bit {bit} of byte {offset}"),
        sample.may(path, offset..offset + 1),
        |disk: &SimVfs| overwrite(disk, path, offset, &[old ^ (1 << bit)]),
    );
}

#[test]
fn a_flipped_bit_in_a_head_is_noticed_or_harmless() {
    each_sample("bits of heads", |sample, judge| {
        // One form a byte would do to show that it is covered; all of them show that each form of damage is.
        let step = if random::factor() > 1 { 1 } else { 3 };
        for (path, len) in sample.files() {
            let bytes = sample.read(&path);
            for offset in (0..len).filter(|&offset| is_head(&path, offset, len)) {
                for bit in (0..8).filter(|bit| (offset + bit) % step == 0) {
                    flip(sample, judge, &path, offset, bit as u8, bytes[offset as usize]);
                }
            }
        }
    });
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    each_sample("bits anywhere", |sample, judge| {
        let stride = (61 / random::factor()).max(1);
        for (path, len) in sample.files() {
            let bytes = sample.read(&path);
            // Space that holds nothing is taken in larger steps.
            for offset in (0..len).step_by(stride as usize) {
                let is_empty = bytes[offset as usize] == 0 && !offset.is_multiple_of(stride * 8);
                if !is_empty {
                    flip(sample, judge, &path, offset, (offset % 8) as u8, bytes[offset as usize]);
                }
            }
        }
    });
}
