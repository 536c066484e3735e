//! Opening: replay of the log, and what an empty database takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use duramen::seams::{OsVfs, SystemClock};
use duramen::{BackendKind, Builder, Database, DbUuid, Durability, KeyspaceOptions, Reader, Timestamp};
use duramen_benches::bed::{BACKENDS, Bed, bytes_below, folder};
use duramen_benches::floor;
use duramen_benches::report::{Goal, Row, number};
use duramen_benches::rounds::{Figures, Subject, interleaved};
use duramen_wal::{Claims, Recovery, WalConfig};

/// Commits that stand in the log that is replayed: 100 MB of it.
const COMMITS: u64 = 660_000;

/// So much memory and so long a log that nothing is persisted: the next open replays it all.
fn builder() -> Builder {
    Database::builder().memory_bytes(2 << 30).log_bytes_before_checkpoint(1 << 40)
}

/// A database with a log of [`COMMITS`] one-put commits, closed; with the bytes of the log.
fn logged(kind: BackendKind) -> (tempfile::TempDir, DbUuid, u64) {
    let mut options = KeyspaceOptions::new(kind);
    options.memtable_bytes = 1 << 30;
    let bed = Bed::with_options(options, builder());
    let mut commit = bed.committer(Durability::None, 1);
    (0..COMMITS).for_each(|_| commit());
    drop(commit);
    let Bed { db, folder, .. } = bed;
    let (uuid, log) = (db.uuid(), db.stats().log);
    db.close().expect("closes");
    (folder, uuid, log.end.get() - log.start.get())
}

/// Scans and replays a log into nothing, as recovery does before it opens it for writing.
fn replay_log(db_path: &Path, uuid: DbUuid) {
    let clock = Arc::new(SystemClock::new());
    let config = WalConfig::new(Arc::new(OsVfs), db_path.join("log"), clock, uuid, Arc::new(()));
    let recovery = Recovery::scan(config, Claims::default()).expect("a good log");
    let mut commits = 0;
    let mut count = |_: Timestamp, payload: &[u8]| {
        commits += u64::from(!std::hint::black_box(payload).is_empty());
        Ok(())
    };
    recovery.replay(Timestamp::ZERO, &mut count).expect("replays");
    assert!(commits >= COMMITS, "the whole log is replayed");
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// Log replay: the log alone, and into each store by opening the database and reading a key.
pub(crate) fn replay() -> Vec<Row> {
    const ROUNDS: usize = 5;
    let logs: Vec<_> = BACKENDS.iter().map(|&(on, kind)| (on, logged(kind))).collect();
    let (_, (first, uuid, first_bytes)) = &logs[0];
    let first = first.path().join("db");
    let mut subjects: Vec<Subject<'_>> = vec![
        Box::new(|| {
            let begun = Instant::now();
            let bytes = floor::read_and_checksum(&first.join("log"));
            bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
        }),
        Box::new(|| *first_bytes as f64 / 1e6 / seconds(|| replay_log(&first, *uuid))),
    ];
    for (_, (folder, _, bytes)) in &logs {
        let path = folder.path().join("db");
        subjects.push(Box::new(move || {
            let mut db = None;
            let taken = seconds(|| {
                let opened = builder().open(&path).expect("opens");
                let ks = opened.keyspaces().first().expect("one").name.clone();
                let ks = opened.open_keyspace(&ks).expect("there");
                opened.snapshot().and_then(|snapshot| snapshot.get(&ks, b"a first read")).expect("readable");
                db = Some(opened);
            });
            let db = db.expect("just opened");
            let persists: u64 = db.stats().keyspaces.iter().map(|(_, stats)| stats.persists).sum();
            assert_eq!(persists, 0, "the whole log is replayed each time");
            db.close().expect("closes");
            *bytes as f64 / 1e6 / taken
        }));
    }
    let figures = interleaved(ROUNDS, subjects);
    let floor = format!("files read and checksummed: {} MB/s", number(figures[0].median()));
    let row = |what: String, on, figures: &Figures| Row {
        what,
        on,
        goal: Goal::AtLeast(150.0),
        figures: figures.clone(),
        unit: "MB/s",
        floor: floor.clone(),
    };
    let mut rows = vec![row("log replay, the log alone".to_owned(), "", &figures[1])];
    for ((on, (_, _, bytes)), figures) in logs.iter().zip(&figures[2..]) {
        let commits_per_second = COMMITS as f64 * 1e6 / *bytes as f64 * figures.median();
        rows.push(row(
            format!("log replay into a store, one-put commits ({} k/s)", number(commits_per_second / 1e3)),
            on,
            figures,
        ));
        let milliseconds = Figures(figures.0.iter().map(|mb_per_second| *bytes as f64 / 1e3 / mb_per_second).collect());
        rows.push(Row {
            what: format!("opening with {} MB of log, to the first read", number(*bytes as f64 / 1e6)),
            on,
            goal: Goal::AtMost(500.0),
            figures: milliseconds,
            unit: "ms",
            floor: floor.clone(),
        });
    }
    rows
}

/// Opening and creating an empty database, and what it takes on disk.
pub(crate) fn empty() -> Vec<Row> {
    const ROUNDS: usize = 9;
    let root = folder();
    let ready = root.path().join("ready");
    Database::open(&ready).and_then(Database::close).expect("creates");
    let mut numbers = 0..;
    let mut fresh_folder = |name: &str| root.path().join(format!("{name}-{}", numbers.next().expect("numbers")));
    let raw_folders: Vec<_> = (0..=ROUNDS).map(|_| fresh_folder("raw")).collect();
    let new_folders: Vec<_> = (0..=ROUNDS).map(|_| fresh_folder("new")).collect();
    let (mut raw_folders, mut new_folders) = (raw_folders.into_iter(), new_folders.into_iter());
    let sizes = std::cell::RefCell::new(Vec::new());
    let open = |path: &Path| {
        let mut db = None;
        let taken = seconds(|| db = Some(Database::open(path).expect("opens")));
        let (len, on_disk) = bytes_below(path);
        sizes.borrow_mut().push(len.max(on_disk) as f64 / f64::from(1 << 20));
        db.expect("just opened").close().expect("closes");
        taken * 1e3
    };
    let subjects: Vec<Subject<'_>> = vec![
        Box::new(|| seconds(|| floor::create_one_file(&raw_folders.next().expect("one a round"))) * 1e3),
        Box::new(|| open(&ready)),
        Box::new(|| open(&new_folders.next().expect("one a round"))),
    ];
    let figures = interleaved(ROUNDS, subjects);
    let floor = format!("1 MiB of zeros in a new file, synced: {} ms", number(figures[0].median()));
    let row = |what: &str, goal, figures: Figures, unit, floor| Row {
        what: what.to_owned(),
        on: "",
        goal: Goal::AtMost(goal),
        figures,
        unit,
        floor,
    };
    vec![
        row("opening an empty database", 20.0, figures[1].clone(), "ms", floor.clone()),
        row("creating and opening an empty database", 20.0, figures[2].clone(), "ms", floor),
        row("size of an empty database", 4.0, Figures(sizes.take()), "MiB", String::new()),
    ]
}
