//! Whole blocks of 4 KiB: zeroed, overwritten with garbage, swapped, and as they were before.

use std::collections::BTreeSet;
use std::path::Path;

use duramen_tests::dice::Dice;

use super::judge::{May, each_sample, either};
use super::sample::{Sample, overwrite, replace};

const BLOCK: usize = 4096;

/// What the loss of a block may do.
fn may_lose(sample: &Sample, path: &str, offset: u64) -> May {
    sample.may(path, offset..offset + BLOCK as u64)
}

fn blocks(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    bytes.chunks(BLOCK).enumerate().map(|(at, block)| ((at * BLOCK) as u64, block))
}

#[test]
fn a_block_of_zeros_or_garbage_is_noticed_or_harmless() {
    each_sample("zeros and garbage", |sample, judge| {
        let mut dice = Dice::new(1);
        for (path, _) in sample.files() {
            let bytes = sample.read(&path);
            for (offset, block) in blocks(&bytes) {
                let garbage = dice.bytes(block.len());
                judge.case(
                    || format!("{path}: garbage at {offset}"),
                    may_lose(sample, &path, offset),
                    |disk| overwrite(disk, &path, offset, &garbage),
                );
                if block.iter().any(|&byte| byte != 0) {
                    judge.case(
                        || format!("{path}: zeros at {offset}"),
                        may_lose(sample, &path, offset),
                        |disk| overwrite(disk, &path, offset, &vec![0; block.len()]),
                    );
                }
            }
        }
        assert!(judge.figures.partly_readable > 0, "where a page is damaged, the others stay readable");
    });
}

#[test]
fn two_blocks_swapped_are_noticed_or_harmless() {
    each_sample("swapped", |sample, judge| {
        let whole: Vec<(String, u64, Vec<u8>)> = sample
            .files()
            .into_iter()
            .flat_map(|(path, _)| {
                let bytes = sample.read(&path);
                let used =
                    blocks(&bytes).filter(|(_, block)| block.len() == BLOCK && block.iter().any(|&byte| byte != 0));
                used.map(|(offset, block)| (path.clone(), offset, block.to_vec())).collect::<Vec<_>>()
            })
            .collect();
        for (at, (path, offset, block)) in whole.iter().enumerate() {
            // Its neighbours, and some far away: in the same file, in the same place of another store, in another file.
            let others: BTreeSet<usize> =
                [1, 2, 3, whole.len() / 4, whole.len() / 2].iter().map(|step| (at + step) % whole.len()).collect();
            for other in others.into_iter().filter(|&other| other != at) {
                let (other_path, other_offset, other_block) = &whole[other];
                let mut may = either(may_lose(sample, path, *offset), may_lose(sample, other_path, *other_offset));
                let (last, paths) = (sample.last_segment(), [path, other_path]);
                if paths.contains(&&last) && paths.iter().any(|path| path.ends_with("LOG-END")) {
                    may = May::LoseTheTail; // the end of the log, and the one that knows of it
                }
                judge.case(
                    || format!("{path} at {offset} and {other_path} at {other_offset} swapped"),
                    may,
                    |disk| {
                        overwrite(disk, path, *offset, other_block);
                        overwrite(disk, other_path, *other_offset, block);
                    },
                );
            }
        }
    });
}

#[test]
fn a_block_as_it_was_before_is_noticed_or_harmless() {
    each_sample("stale blocks", |sample, judge| {
        for (path, _) in sample.files() {
            let bytes = sample.read(&path);
            let mut seen = BTreeSet::new();
            for earlier in sample.earlier.iter().rev() {
                let Some(old) = earlier.read(Path::new(&path)) else { continue };
                for ((offset, block), (_, old_block)) in blocks(&bytes).zip(blocks(&old)) {
                    if block != old_block && seen.insert((offset, old_block.to_vec())) {
                        judge.case(
                            || format!("{path}: block {offset} as it was"),
                            may_lose(sample, &path, offset),
                            |disk| overwrite(disk, &path, offset, old_block),
                        );
                    }
                }
            }
        }
    });
}

/// A superblock, a manifest, a log, put back from a copy.
#[test]
fn an_older_version_of_a_file_is_an_error() {
    each_sample("stale files", |sample, judge| {
        for (path, _) in sample.files() {
            let bytes = sample.read(&path);
            let mut seen = BTreeSet::new();
            for earlier in sample.earlier.iter().rev() {
                let Some(old) = earlier.read(Path::new(&path)) else { continue };
                if old != bytes && seen.insert(old.clone()) {
                    let may = sample.may(&path, 0..u64::MAX);
                    judge.case(|| format!("{path} as it was"), may, |disk| replace(disk, &path, &old));
                }
            }
        }
    });
}
