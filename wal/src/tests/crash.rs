//! A small run, crashed at every point of its journal in many ways, twice over: what was promised is there, whole and in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use duramen_base::Timestamp;
use duramen_base::vfs::sim::{CrashModel, Image, Journal, Keep, SimVfs};

use super::rig::*;
use crate::{Claims, EventKind, Mark, MarkSet, Recovery, Wal};

/// The log was created.
pub(super) const CREATED: u64 = 0;
/// Commits up to the payload were said to be synced.
pub(super) const SYNCED: u64 = 1;
/// Commits up to the payload were said to be written.
pub(super) const WRITTEN: u64 = 2;
/// The log was told to forget commits up to the payload.
const TRUNCATED: u64 = 3;

/// Commits of all sizes and durabilities, segments that change, recycled ones, idle moments, a clean end, a second opening.
fn run(disk: &SimVfs) {
    let config = config_on(Arc::new(disk.clone()));
    let wal = Wal::create(config.clone()).unwrap();
    disk.journal_note(CREATED, 0);
    work(disk, &wal, 1);
    wal.close().unwrap();
    disk.journal_note(SYNCED, wal.stats().last_ts.get());
    let wal = scan(&config).unwrap().finish().unwrap();
    work(disk, &wal, 2);
}

fn work(disk: &SimVfs, wal: &Wal, round: u64) {
    let mut now = Duration::ZERO;
    for step in 0..50_u64 {
        let bytes = match (step + round) % 9 {
            0 => 0,
            4 => 20_000,
            7 => 9_000,
            other => 700 * other as usize,
        };
        let placed = commit(wal, bytes).unwrap();
        let ts = wal.stats().last_ts;
        match step % 4 {
            0 => {}
            1 => {
                wal.write_through(placed.end).unwrap();
                disk.journal_note(WRITTEN, ts.get());
            }
            _ => {
                wal.sync_through(placed.end).unwrap();
                disk.journal_note(SYNCED, ts.get());
            }
        }
        if step % 5 == 3 {
            drop(wal.stage(&payload(1, 17_000)).unwrap());
            wal.log_event(EventKind::KsEvent, &step.to_le_bytes()).unwrap();
        }
        if step % 8 == 6 {
            // A quiet second.
            for _ in 0..3 {
                now += Duration::from_millis(400);
                wal.tick(now).unwrap();
            }
            disk.journal_note(SYNCED, ts.get());
        }
        if step % 12 == 10 {
            let through = ts.get() - 3;
            let mut marks = MarkSet::default();
            marks.note(1, Mark { seq: ts.get(), persisted: Timestamp::new(through) });
            let end = wal.log_marks(&marks).unwrap();
            wal.sync_through(end).unwrap();
            disk.journal_note(TRUNCATED, through);
            wal.truncate(Timestamp::new(through)).unwrap();
        }
    }
}

/// What was promised before position `at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Promised {
    created: bool,
    /// Commits up to here survive.
    durable: u64,
    /// Commits up to here may be gone from the log.
    truncated: u64,
}

pub(super) fn promised(journal: &Journal, at: usize, process_death: bool) -> Promised {
    let mut promised = Promised::default();
    for (_, note) in journal.notes(at) {
        match note.tag {
            CREATED => promised.created = true,
            SYNCED => promised.durable = promised.durable.max(note.payload),
            WRITTEN if process_death => promised.durable = promised.durable.max(note.payload),
            TRUNCATED => promised.truncated = note.payload,
            _ => {}
        }
    }
    promised
}

/// Opens what a crash left; the newest commit found.
pub(super) fn check(disk: &SimVfs, promised: Promised) -> u64 {
    let config = config_on(Arc::new(disk.clone()));
    if !promised.created {
        // Either the next attempt at creating succeeds, or the log is there already.
        Wal::create(config).unwrap();
        return 0;
    }
    let claims = Claims { contains: Timestamp::new(promised.truncated) };
    let recovery = Recovery::scan(config, claims).unwrap_or_else(|error| panic!("{error} ({promised:?})"));
    let (first, last) = (recovery.first_ts().get(), recovery.last_ts().get());
    assert!(last >= promised.durable, "commit {} is lost, {last} is the last one", promised.durable);
    assert!(first <= promised.truncated + 1, "commits from {} to {first} are gone", promised.truncated);
    let from = promised.truncated;
    let found: Vec<u64> = replayed(&recovery, from).into_iter().map(|(ts, _)| ts).collect();
    assert!(found.iter().copied().eq(from + 1..=last), "after {from}: {found:?}, last is {last}");
    if promised.truncated > 0 {
        let persisted = recovery.marks().get(1).map(|mark| mark.persisted.get());
        assert!(persisted >= Some(promised.truncated), "the mark of {} is gone: {persisted:?}", promised.truncated);
    }
    let wal = recovery.finish().unwrap();
    commit_sync(&wal, 100);
    assert_eq!(scan(&config_on(Arc::new(disk.clone()))).unwrap().last_ts().get(), last + 1);
    last
}

pub(super) fn states(journal: &Journal, model: CrashModel, random: u64, mut each: impl FnMut(usize, bool, Image)) {
    let mut replay = journal.replay(model);
    loop {
        let at = replay.position();
        if replay.has_pending() {
            for sector_bytes in [512, 4096] {
                for keep in Keep::each(at as u64, random) {
                    each(at, false, replay.crash(keep, sector_bytes));
                }
            }
        }
        each(at, true, replay.process_death());
        if !replay.step() {
            return;
        }
    }
}

fn check_all(model: CrashModel, random: u64) -> usize {
    let disk = SimVfs::new();
    run(&disk);
    let journal = disk.journal();
    let mut seen = HashSet::new();
    states(&journal, model, random, |at, process_death, image| {
        let promised = promised(&journal, at, process_death);
        if seen.insert((image.digest(), promised)) {
            check(&SimVfs::on(image), promised);
        }
    });
    seen.len()
}

#[test]
fn every_crash_keeps_what_was_promised_strict() {
    assert!(check_all(CrashModel::Strict, 16) > 2000);
}

#[test]
fn every_crash_keeps_what_was_promised_ext4_like() {
    assert!(check_all(CrashModel::Ext4Like, 16) > 2000);
}

#[test]
fn a_crash_during_recovery_loses_nothing_more() {
    let disk = SimVfs::new();
    run(&disk);
    let journal = disk.journal();
    let mut seen = HashSet::new();
    let mut count = 0;
    states(&journal, CrashModel::Strict, 1, |at, process_death, image| {
        count += 1;
        let promised = promised(&journal, at, process_death);
        if count % 23 != 0 || !promised.created || !seen.insert(image.digest()) {
            return;
        }
        let disk = SimVfs::on(image.clone());
        let last = check(&disk, promised);
        let again = disk.journal();
        for at in 0..=again.len() {
            for keep in [Keep::None, Keep::All, Keep::Random(at as u64)] {
                let image = again.crash_at(at, CrashModel::Strict, keep, 512);
                // What was not durable before may be found by one recovery and not by another, until one was finished.
                assert!(check(&SimVfs::on(image), promised) <= last + 1);
            }
        }
    });
    assert!(seen.len() > 20);
}

#[test]
fn damage_in_any_closed_part_of_the_log_is_never_cut() {
    let disk = SimVfs::new();
    let config = config_on(Arc::new(disk.clone()));
    let wal = Wal::create(config).unwrap();
    for bytes in [30, 200, 0, 20_000, 500, 9_000, 9_000, 40] {
        commit_sync(&wal, bytes);
    }
    wal.close().unwrap();
    let image = disk.image();
    for (path, bytes) in image.files() {
        let content = image.read(path.as_ref()).unwrap();
        let step = if bytes > 10_000 { 97 } else { 1 };
        for at in (0..content.len()).step_by(step) {
            let disk = SimVfs::on(image.clone());
            let file =
                duramen_base::vfs::Vfs::open(&disk, path.as_ref(), duramen_base::vfs::OpenMode::ReadWrite).unwrap();
            file.write_at(&[content[at] ^ 0x10], at as u64).unwrap();
            // Refused, or harmless: nothing may be missing or different.
            if let Ok(recovery) = scan(&config_on(Arc::new(disk.clone()))) {
                assert_eq!(replayed(&recovery, 0).len(), 8, "{path} byte {at}");
            }
        }
    }
}
