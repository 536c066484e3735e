//! Salvaging a damaged database: what is put into the new one was once written, and what is missing is told.

use std::collections::BTreeMap;

use duramen::{Keyspace, Loss, Reader, SalvageReport};
use duramen_base::vfs::sim::SimVfs;
use duramen_tests::dice::Dice;

use super::judge::May;
use super::sample::{End, Sample, overwrite, remove, set_len};
use crate::fault::history::{Content, NAMES};
use crate::fault::run::Machine;
use crate::fault::watch::watched;
use crate::random;

const BLOCK: usize = 4096;

/// What a salvage found, under the names that the keyspaces had.
struct Salvaged {
    report: SalvageReport,
    content: Content,
}

fn salvage(machine: &Machine) -> Result<Salvaged, String> {
    let builder = crate::fault::run::small(&machine.disk).executor(std::sync::Arc::new(machine.jobs.clone()));
    let report = builder.salvage("db", "rescued").map_err(|error| format!("refused: {error}"))?;
    let builder = crate::fault::run::small(&machine.disk).executor(std::sync::Arc::new(machine.jobs.clone()));
    let db = builder.open("rescued").map_err(|error| format!("what was rescued: {error}"))?;
    let read = || -> duramen::Result<Content> {
        let (mut content, snapshot) = (Content::new(), db.snapshot()?);
        for (index, name) in NAMES.iter().enumerate() {
            let keyspace: duramen::Result<Keyspace> =
                db.open_keyspace(name).or_else(|_| db.open_keyspace(&format!("keyspace-{}", index + 1)));
            let Ok(keyspace) = keyspace else { continue };
            for entry in snapshot.iter(&keyspace)? {
                let entry = entry?;
                content.insert((*name, entry.key.to_vec()), entry.value.to_vec());
            }
        }
        Ok(content)
    };
    let content = read().map_err(|error| format!("what was rescued: {error}"))?;
    let entries: u64 = report.keyspaces.iter().map(|keyspace| keyspace.entries).sum();
    if entries != content.len() as u64 {
        return Err(format!("{entries} entries are told, {} are there", content.len()));
    }
    Ok(Salvaged { report, content })
}

fn may_be_missing(loss: &Loss, key: &[u8]) -> bool {
    let Some((low, high)) = &loss.keys else { return true };
    key >= low && (high.is_empty() || key < &high[..])
}

/// X2: every value was written to its key, and what differs is told.
fn judge(sample: &Sample, found: &Salvaged, may: May) -> Result<(), String> {
    for (key, value) in &found.content {
        if !sample.states.iter().any(|state| state.get(key) == Some(value)) {
            return Err(format!("{}: {} never had this value", key.0, key.1.escape_ascii()));
        }
    }
    if may == May::LoseTheTail && sample.states.contains(&found.content) {
        return Ok(());
    }
    let keys = sample.content.keys().chain(found.content.keys());
    for key in keys.filter(|key| sample.content.get(*key) != found.content.get(*key)) {
        if !found.report.losses.iter().any(|loss| may_be_missing(loss, &key.1)) {
            return Err(format!("{}: {} is not as it was, and no loss says so", key.0, key.1.escape_ascii()));
        }
    }
    Ok(())
}

/// Runs each damage on samples of all ends. What is damaged, what that may do, and how.
type Damage = (String, May, Box<dyn Fn(&SimVfs)>);

/// Counted over all cases of a sample.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    whole: u64,
    /// Entries found, and those that should have been.
    entries: (u64, u64),
}

fn each_damage(name: &'static str, damages: impl Fn(&Sample) -> Vec<Damage> + Send + 'static) {
    watched(move |watch| {
        for end in End::ALL {
            let sample = Sample::build(end, 5, 0);
            let mut figures = Figures::default();
            for (what, may, damage) in damages(&sample) {
                let disk = SimVfs::on(sample.image.clone());
                damage(&disk);
                watch.begin(format!("{end:?}: salvage after {what}"), &disk);
                let before: BTreeMap<_, _> = disk.image().files().into_iter().collect();
                let machine = Machine::on(disk);
                let found = salvage(&machine).unwrap_or_else(|wrong| panic!("{end:?}: {what}: {wrong}"));
                judge(&sample, &found, may)
                    .unwrap_or_else(|wrong| panic!("{end:?}: {what}: {wrong}\n{}", found.report));
                let after: BTreeMap<_, _> = machine.disk.image().files().into_iter().collect();
                let kept = before.iter().all(|(path, len)| path.ends_with("LOCK") || after.get(path) == Some(len));
                assert!(kept, "{end:?}: {what}: the damaged database is only read");
                figures.cases += 1;
                figures.whole += u64::from(found.report.is_whole());
                figures.entries.0 += found.content.len() as u64;
                figures.entries.1 += sample.content.len() as u64;
            }
            println!("{name}, {end:?}: {figures:?}");
            assert!(figures.cases > 0 && figures.entries.0 * 10 > figures.entries.1 * 8, "most entries are rescued");
        }
    });
}

fn case(what: String, may: May, damage: impl Fn(&SimVfs) + 'static) -> Damage {
    (what, may, Box::new(damage))
}

#[test]
fn salvaging_what_is_whole_gives_all_of_it() {
    for end in End::ALL {
        let sample = Sample::build(end, 5, 0);
        let found = salvage(&Machine::on(SimVfs::on(sample.image.clone()))).unwrap();
        assert!(found.report.is_whole(), "{end:?}: {}", found.report);
        assert_eq!(found.content, sample.content, "{end:?}");
    }
}

#[test]
fn what_is_salvaged_around_damaged_blocks_was_written_and_the_rest_is_told() {
    each_damage("salvage, blocks", |sample| {
        let mut dice = Dice::new(3);
        let mut damages = Vec::new();
        for (path, len) in sample.files() {
            for offset in (0..len).step_by(BLOCK) {
                let block = BLOCK.min((len - offset) as usize);
                if sample.read(&path)[offset as usize..][..block].iter().all(|&byte| byte == 0) {
                    continue;
                }
                let (may, path) = (sample.may(&path, offset..offset + block as u64), path.clone());
                let bytes = if dice.percent(50) { dice.bytes(block) } else { vec![0; block] };
                damages.push(case(format!("{path}: block at {offset}"), may, move |disk| {
                    overwrite(disk, &path, offset, &bytes);
                }));
            }
        }
        damages
    });
}

#[test]
fn what_is_salvaged_around_flipped_bits_was_written_and_the_rest_is_told() {
    each_damage("salvage, bits", |sample| {
        let stride = (2048 / random::factor()).max(1);
        let mut damages = Vec::new();
        for (path, len) in sample.files() {
            let bytes = sample.read(&path);
            for offset in (0..len).filter(|offset| offset % stride == 3 % stride || *offset < 160 && offset % 40 == 4) {
                let old = bytes[offset as usize];
                if old == 0 && offset % 4096 > 128 {
                    continue;
                }
                let (may, path) = (sample.may(&path, offset..offset + 1), path.clone());
                damages.push(case(format!("{path}: a bit of byte {offset}"), may, move |disk| {
                    overwrite(disk, &path, offset, &[old ^ (1 << (offset % 8))]);
                }));
            }
        }
        damages
    });
}

#[test]
fn what_is_salvaged_without_a_file_was_written_and_the_rest_is_told() {
    each_damage("salvage, files", |sample| {
        let mut damages = Vec::new();
        for (path, len) in sample.files() {
            let missing = path.clone();
            damages.push(case(format!("{path} is missing"), May::Nothing, move |disk| remove(disk, &missing)));
            for to in [0, len / 3, len / 2, len.saturating_sub(9)] {
                let (path, may) = (path.clone(), sample.may(&path, to..u64::MAX));
                damages.push(case(format!("{path} cut to {to}"), may, move |disk| set_len(disk, &path, to)));
            }
        }
        damages
    });
}
