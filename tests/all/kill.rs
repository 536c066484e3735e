//! Real processes on the real file system: killed in the middle of their work (kill -9), again and again, and opened.
//!
//! The child (`src/bin/victim.rs`) commits from several threads with all durabilities and tells what was acknowledged through a pipe. After
//! each kill: every acknowledged `Buffered` and `Sync` commit is there, what is missing of the `None` ones is a suffix of the commit order, and no
//! transaction is there in part. Every third kill is followed by the next child at once, which then recovers by itself and is killed too, perhaps
//! in its recovery.
//!
//! `DURAMEN_KILLS=<n>` kills so often (20 in the quick form); `DURAMEN_SEED` chooses the moments.
#![allow(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use duramen::{Database, Error, Reader, VerifyLevel};
use duramen_tests::dice::Dice;

use crate::random;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const FILLERS: u64 = 64;
/// Children are killed within so many milliseconds of their start.
const LIFE_MILLIS_MAX: u64 = 300;

fn victim(args: &[&str]) -> Child {
    let child =
        Command::new(VICTIM).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("the victim starts")
}

/// A commit that a child was told of.
#[derive(Clone, Copy, Debug)]
struct Told {
    thread: u64,
    number: u64,
    survives: bool,
    ts: u64,
}

fn parse(line: &str) -> Option<Told> {
    let [thread, number, durability, ts] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    Some(Told {
        thread: thread.parse().ok()?,
        number: number.parse().ok()?,
        survives: durability != "n",
        ts: ts.parse().ok()?,
    })
}

/// Runs a child for a while; what it told.
fn run_and_kill(folder: &Path, seed: u64, life: Duration) -> Vec<Told> {
    let mut child =
        victim(&["count", folder.to_str().expect("a temporary folder has a plain name"), &seed.to_string()]);
    let mut out = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).expect("a pipe can be read to its end");
        text
    });
    std::thread::sleep(life);
    let already = child.try_wait().expect("our child");
    child.kill().expect("our child");
    let mut complaint = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut complaint).expect("text");
    child.wait().expect("our child");
    assert!(already.is_none() && complaint.is_empty(), "the child ended by itself: {already:?} {complaint}");
    let text = String::from_utf8(reader.join().expect("reads")).expect("text");
    // The last line may have been cut by the kill: then it does not end.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter(|line| *line != "open").map(|line| parse(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

/// What is promised of a thread.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    floor: u64,
    told: u64,
}

/// Opens after a kill and looks. What it has shown stays.
fn check(folder: &Path, promises: &mut BTreeMap<u64, Promise>, kills_since: u64, last: &[Told]) {
    let db = Database::open(folder).expect("opening after a kill");
    assert!(db.verify(VerifyLevel::Full).unwrap().is_clean());
    let names: Vec<String> = db.keyspaces().into_iter().map(|info| info.name).collect();
    if promises.is_empty() && !names.contains(&"lsm".to_owned()) {
        return;
    }
    let keyspaces = ["tree", "lsm"].map(|name| db.open_keyspace(name).unwrap());
    let snapshot = db.snapshot().unwrap();
    let number_of = |value: Option<duramen::Value>| {
        value.map_or(0, |value| u64::from_be_bytes(*value.first_chunk().expect("a value begins with its number")))
    };
    let mut found = BTreeMap::new();
    for (&thread, promise) in promises.iter_mut() {
        let numbers = keyspaces.each_ref().map(|ks| number_of(snapshot.get(ks, format!("thread {thread}")).unwrap()));
        assert_eq!(numbers[0], numbers[1], "thread {thread}: a transaction in part");
        let number = numbers[0];
        // One commit of each killed child may have been under way.
        assert!(
            (promise.floor..=promise.told + kills_since).contains(&number),
            "thread {thread}: {number} of {promise:?}"
        );
        for keyspace in &keyspaces {
            for slot in 0..FILLERS {
                let expected = (number.saturating_sub(FILLERS - 1)..=number).find(|n| n % FILLERS == slot).unwrap_or(0);
                let filler = number_of(snapshot.get(keyspace, format!("thread {thread} filler {slot:02}")).unwrap());
                assert_eq!(filler, expected, "thread {thread} at {number}, filler {slot} of {}", keyspace.name());
            }
        }
        found.insert(thread, number);
        *promise = Promise { floor: number, told: number };
    }
    let is_there = |told: &&Told| told.number <= found[&told.thread];
    let newest_there = last.iter().filter(is_there).map(|told| told.ts).max().unwrap_or(0);
    let oldest_lost = last.iter().filter(|told| !is_there(told)).map(|told| told.ts).min().unwrap_or(u64::MAX);
    assert!(newest_there < oldest_lost, "commit {oldest_lost} is lost, and the later {newest_there} is there");
    db.close().unwrap();
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged_as_buffered_or_sync() {
    let kills = std::env::var("DURAMEN_KILLS").map_or(20, |text| text.parse().expect("DURAMEN_KILLS is a number"));
    let (folder, seed) = (tempfile::tempdir().unwrap(), random::seed());
    let path = folder.path().join("db");
    let mut dice = Dice::new(seed);
    let mut promises: BTreeMap<u64, Promise> = BTreeMap::new();
    let (mut kills_since, mut acknowledged) = (0, 0);
    for kill in 0..kills {
        let life = Duration::from_millis(1 + dice.below(LIFE_MILLIS_MAX));
        let told = run_and_kill(&path, dice.below(1 << 20), life);
        acknowledged += told.len();
        kills_since += 1;
        for told in &told {
            let promise = promises.entry(told.thread).or_default();
            promise.told = promise.told.max(told.number);
            if told.survives {
                promise.floor = promise.floor.max(told.number);
            }
        }
        if kill % 3 != 1 || kill + 1 == kills {
            println!("DURAMEN_SEED={seed}: kill {kill} after {life:?}, {} commits told", told.len());
            check(&path, &mut promises, kills_since, &told);
            kills_since = 0;
        }
    }
    println!("{kills} kills, {acknowledged} commits acknowledged");
    assert!(acknowledged > 0, "the children came to commit something");
}

#[test]
fn another_process_is_refused_and_told_who_holds_the_database_and_a_dead_one_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut child = victim(&["hold", path.to_str().unwrap()]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    match Database::open(&path) {
        Err(Error::Locked { holder, .. }) => assert!(holder.contains(&child.id().to_string()), "{holder}"),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Database::open(&path).unwrap().close().unwrap();
}
