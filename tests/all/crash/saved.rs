//! A run in a file: a check that failed can be made again, although the threads of the run will never meet in the same way.
//!
//! `DURAMEN_CRASH_JOURNAL=<file>` with the seed that the complaint names makes the enumeration check that run, and nothing else.
//!
//! ```text
//!   "DURACRSH"   plan: seed, threads, turns, closes, big_values, upkeep     persists of both stores, whether the log was cut
//!   keyspaces: id, kind, name     commits in order: writes: keyspace, kind of change, one or two byte strings     the journal, to the end
//! ```
//! Numbers are u64, little-endian; byte strings and lists have their length in front.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use duramen::{BackendKind, KeyspaceId};
use duramen_base::vfs::sim::Journal;

use super::history::{Change, History, Writes};
use super::run::{BOTH, Plan, Run};

const MAGIC: &[u8; 8] = b"DURACRSH";

/// Saves the run of which `complaint` tells, beside other temporary files; the complaint with what to do to see it again.
pub(super) fn save_with(run: &Run, complaint: &str) -> String {
    let (plan, seed) = (run.plan, crate::random::seed());
    let path = file_of(plan);
    match std::fs::write(&path, encode(run)) {
        Ok(()) => format!(
            "{complaint}\n{plan:?}\nagain: DURAMEN_SEED={seed} DURAMEN_CRASH_JOURNAL={} cargo test -p duramen-tests crash::after",
            path.display()
        ),
        Err(error) => format!("{complaint}\nDURAMEN_SEED={seed} {plan:?} (its journal could not be saved: {error})"),
    }
}

/// The run that was saved in `path`.
pub(super) fn load(path: &Path) -> Run {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decode(&bytes).unwrap_or_else(|| panic!("{} is not a run that was saved", path.display()))
}

pub(super) fn file_of(plan: Plan) -> PathBuf {
    std::env::temp_dir().join(format!("duramen-crash-{}-{}.journal", plan.seed, std::process::id()))
}

fn encode(run: &Run) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    let plan = run.plan;
    out.numbers([plan.seed, plan.threads, plan.turns, plan.closes.into(), plan.big_values.into(), plan.upkeep.into()]);
    out.numbers([run.persists[0], run.persists[1], run.cut_log.into()]);
    out.numbers([run.keyspaces.len() as u64]);
    for (id, (name, kind)) in &run.keyspaces {
        out.numbers([id.get().into(), u64::from(*kind == BackendKind::Lsm)]);
        out.bytes(name.as_bytes());
    }
    out.numbers([run.history.len()]);
    for writes in run.history.commits() {
        out.numbers([writes.len() as u64]);
        for (keyspace, change) in writes {
            out.numbers([keyspace.get().into()]);
            out.change(change);
        }
    }
    out.0.extend(run.journal.save());
    out.0
}

fn decode(bytes: &[u8]) -> Option<Run> {
    let mut input = Reader(bytes.strip_prefix(MAGIC)?);
    let [seed, threads, turns, closes, big_values, upkeep] = input.numbers()?;
    let (closes, big_values, upkeep) = (closes != 0, big_values != 0, upkeep != 0);
    let plan = Plan { seed, threads, turns, closes, big_values, upkeep, backends: BOTH };
    let [checkpoints, flushes, cut_log, keyspace_count] = input.numbers()?;
    let mut keyspaces = BTreeMap::new();
    for _ in 0..keyspace_count {
        let [id, kind] = input.numbers()?;
        let kind = if kind == 1 { BackendKind::Lsm } else { BackendKind::BTree };
        keyspaces.insert(KeyspaceId::new(id as u32), (String::from_utf8(input.bytes()?.to_vec()).ok()?, kind));
    }
    let mut commits = BTreeMap::new();
    let [commit_count] = input.numbers()?;
    for ts in 1..=commit_count {
        let [count] = input.numbers()?;
        let write = |_| Some((KeyspaceId::new(input.numbers::<1>()?[0] as u32), input.change()?));
        commits.insert(ts, (0..count).map(write).collect::<Option<Writes>>()?);
    }
    let (journal, history) = (Journal::load(input.0)?, History::new(commits));
    Some(Run {
        plan,
        journal,
        history,
        keyspaces,
        persists: [checkpoints, flushes],
        cut_log: cut_log != 0,
        stores: 0,
        levels: 0,
        saved_bytes: 0,
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.numbers([bytes.len() as u64]);
        self.0.extend(bytes);
    }

    fn change(&mut self, change: &Change) {
        let (kind, first, second): (u64, &[u8], &[u8]) = match change {
            Change::Put(key, value) => (1, key, value),
            Change::Delete(key) => (2, key, &[]),
            Change::DeleteRange(low, high) => (3, low, high),
        };
        self.numbers([kind]);
        self.bytes(first);
        self.bytes(second);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let (bytes, rest) = self.0.split_first_chunk::<8>()?;
            (*number, self.0) = (u64::from_le_bytes(*bytes), rest);
        }
        Some(numbers)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let [len] = self.numbers()?;
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn change(&mut self) -> Option<Change> {
        let [kind] = self.numbers()?;
        let (first, second) = (self.bytes()?.to_vec(), self.bytes()?);
        Some(match kind {
            1 => Change::Put(first, second.into()),
            2 => Change::Delete(first),
            3 => Change::DeleteRange(first, second.to_vec()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, SimVfs};

    use super::*;
    use crate::crash::check_run;

    /// Threads on a disk whose syncs of data lie from some moment on: what the check finds in it, it finds again in the file.
    #[test]
    fn a_threaded_run_that_failed_is_checked_again_from_its_file() {
        let disk = SimVfs::new();
        disk.inject(Fault::new(FaultKind::SyncLies).on(&[OpKind::SyncData]).at(20).times(1000));
        let run = Run::on(Plan { upkeep: false, ..Plan::of(3) }, &disk);
        let complaint = check_run(&run, &mut |_| ()).expect_err("a disk that lies loses commits");
        let told = save_with(&run, &complaint);
        let path = file_of(run.plan);
        assert!(told.starts_with(&complaint) && told.contains(&format!("DURAMEN_CRASH_JOURNAL={}", path.display())));
        let again = load(&path);
        std::fs::remove_file(path).expect("it was there");
        assert!(again.plan.threads > 1);
        assert_eq!(encode(&again), encode(&run));
        assert_eq!(check_run(&again, &mut |_| ()), Err(complaint));
    }

    #[test]
    fn bytes_that_are_no_run_are_refused() {
        let run = Run::new(Plan { turns: 4, ..Plan::of(1) });
        let bytes = encode(&run);
        for len in (0..bytes.len()).step_by(97) {
            assert!(decode(&bytes[..len]).is_none(), "{len}");
        }
    }
}
