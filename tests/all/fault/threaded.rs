//! The same faults with the threads of a real database: several committers, background jobs, and one fault somewhere.
//!
//! Each thread counts up its own numbers in both keyspaces, so what may be found of a thread is a range: from the last number that was
//! acknowledged with the durability asked for, to the last one tried; and the same number in both keyspaces.

use duramen::{Database, Durability, Error, Keyspace, Reader, TxnOptions, VerifyLevel};
use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, Keep, OpKind, OsError, SimVfs};
use duramen_tests::dice::Dice;

use super::history::After;
use super::run::{FOLDER, Machine, options, small};
use super::watch::watched;
use crate::random;

const THREADS: u64 = 4;
const COMMITS: u64 = 60;
const TRIES_MAX: u32 = 500;
const NAMES: [&str; 2] = ["tree", "lsm"];

/// What a thread did.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    tried: u64,
    written: u64,
    synced: u64,
}

fn key(thread: u64) -> Vec<u8> {
    format!("thread {thread}").into_bytes()
}

/// Counts up until done or refused for good.
fn count_up(db: &Database, keyspaces: &[Keyspace; 2], thread: u64, seed: u64) -> Counted {
    let mut dice = Dice::new(seed ^ (thread << 56));
    let mut counted = Counted::default();
    for number in 1..=COMMITS {
        let durability = [Durability::None, Durability::Buffered, Durability::Sync][dice.below(3) as usize];
        let filler = {
            let len = 60 + dice.below(300);
            dice.bytes(len as usize)
        };
        for tries in 1.. {
            counted.tried = number;
            let outcome = db.begin_with(TxnOptions::default().durability(durability)).and_then(|tx| {
                for keyspace in keyspaces {
                    tx.put(keyspace, key(thread), number.to_be_bytes())?;
                    tx.put(keyspace, format!("filler {thread} {}", number % 16), &filler)?;
                }
                tx.commit()
            });
            match outcome {
                Ok(_) => break,
                Err(Error::DiskFull { .. } | Error::Io { .. }) if tries < TRIES_MAX => std::thread::yield_now(),
                Err(Error::DiskFull { .. } | Error::Io { .. }) => return counted,
                Err(Error::Poisoned { .. } | Error::Indeterminate { .. }) => return counted,
                Err(error) => panic!("thread {thread}: {error}"),
            }
        }
        match durability {
            Durability::None => {}
            Durability::Buffered => counted.written = number,
            Durability::Sync => (counted.written, counted.synced) = (number, number),
        }
    }
    counted
}

fn check(db: &Database, counted: &[Counted], after: After, keeps_written: bool) {
    let snapshot = db.snapshot().unwrap();
    let keyspaces = NAMES.map(|name| db.open_keyspace(name).unwrap());
    for (thread, counted) in counted.iter().enumerate() {
        let number = |keyspace| {
            let value = snapshot.get(keyspace, key(thread as u64)).unwrap();
            value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
        };
        let found = keyspaces.each_ref().map(number);
        assert_eq!(found[0], found[1], "thread {thread}: a transaction in part");
        let floor = if after == After::ProcessDeath && keeps_written { counted.written } else { counted.synced };
        assert!((floor..=counted.tried).contains(&found[0]), "thread {thread}: {after:?} {found:?} of {counted:?}");
    }
    assert!(db.verify(VerifyLevel::Full).unwrap().is_clean());
}

fn fault(dice: &mut Dice) -> (Fault, FaultKind) {
    let kinds = [
        FaultKind::Error(OsError::Io),
        FaultKind::Error(OsError::NoSpace),
        FaultKind::PartialThenError(OsError::Io),
        FaultKind::PartialThenError(OsError::NoSpace),
        FaultKind::SyncDrops,
        FaultKind::ShortWrite,
    ];
    let kind = kinds[dice.below(kinds.len() as u64) as usize];
    let ops = [OpKind::Write, OpKind::SyncData, OpKind::Create, OpKind::WriteZeros, OpKind::Rename, OpKind::SyncDir];
    let times = [1, 1, 3, u64::MAX][dice.below(4) as usize];
    (Fault::new(kind).on(&ops).at(1 + dice.below(250)).times(times), kind)
}

#[test]
fn committers_and_background_jobs_lose_nothing_to_a_fault() {
    for seed in random::seed()..random::seed() + 40 * random::factor() {
        watched(move |watch| {
            let mut dice = Dice::new(seed);
            let disk = SimVfs::new();
            let db = small(&disk).open(FOLDER).unwrap();
            let keyspaces = NAMES.map(|name| db.create_keyspace(name, options(name)).unwrap());
            let (fault, kind) = fault(&mut dice);
            watch.begin(format!("DURAMEN_SEED={seed}: {fault:?}"), &disk);
            watch.database(Some(&db));
            disk.inject(fault);
            let counted: Vec<Counted> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let (db, keyspaces) = (&db, &keyspaces);
                        scope.spawn(move || count_up(db, keyspaces, thread, seed))
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            watch.database(None);
            let dies = dice.below(2) == 0;
            let left = if dies { disk.kill() } else { disk.clone() };
            drop((keyspaces, db));
            left.clear_faults();
            let journal = left.journal();
            let power_loss = journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512);
            for (machine, after) in
                [(Machine::on(left), After::ProcessDeath), (Machine::on(SimVfs::on(power_loss)), After::PowerLoss)]
            {
                check(&machine.open().unwrap(), &counted, after, kind != FaultKind::SyncDrops);
            }
        });
    }
}
