//! What Duramen set out to reach beside its peers, row by row, and where a run stands; the farthest from its goal first.
//!
//! A goal is a ratio of medians, above 1 in our favour whichever way is better, to the best of the peers it names. What is no row of the comparison
//! (bytes on disk at rest, memory of the process, floors of their own) has its own program and is not here.

use std::fmt::Write;

use super::results::{Cell, Line, Results};
use super::short;
use super::standing::{is_better, ratio};

const BTREE: &str = "duramen-btree";
const LSM: &str = "duramen-lsm";
const LMDB: &[&str] = &["lmdb"];
const ROCKSDB: &[&str] = &["rocksdb-txn", "rocksdb-optimistic"];
const LSM_PEERS: &[&str] = &["surrealkv", "fjall-single-writer"];
const ALL_LSM_PEERS: &[&str] = &["surrealkv", "fjall-single-writer", "rocksdb-txn", "rocksdb-optimistic"];

/// A row to be reached.
struct Goal {
    ours: &'static str,
    scene: &'static str,
    case: String,
    threads: usize,
    measure: &'static str,
    peers: &'static [&'static str],
    ratio: f64,
}

/// A goal and what a run says of it.
struct Stand<'a> {
    goal: Goal,
    ours: f64,
    peer: (&'a str, f64),
    ratio: f64,
}

/// The goals of which the run has both sides, as a table; empty if there are none.
pub fn table(results: &Results) -> String {
    let mut stands: Vec<Stand<'_>> = all().into_iter().filter_map(|goal| stand(results, goal)).collect();
    if stands.is_empty() {
        return String::new();
    }
    stands.sort_by(|one, other| (one.ratio / one.goal.ratio).total_cmp(&(other.ratio / other.goal.ratio)));
    let is_short = |stand: &Stand<'_>| stand.ratio < stand.goal.ratio;
    let count = stands.iter().filter(|stand| is_short(stand)).count();
    let mut text = format!("Goals: {count} of {} rows are short.\n\n", stands.len());
    text += "| row | goal | reached | ours | best of the peers meant |\n|---|---|---|---|---|\n";
    for stand in &stands {
        let Stand { goal, ours, peer, ratio } = stand;
        let backend = if goal.ours == BTREE { "B-tree" } else { "LSM" };
        let threads = if goal.threads > 1 { format!(", {} threads", goal.threads) } else { String::new() };
        let verdict = if is_short(stand) { " **short**" } else { "" };
        let _ = writeln!(
            text,
            "| {backend}: {}: {}{threads}, {} | {} | {}{verdict} | {} | {} {} |",
            goal.scene,
            goal.case,
            goal.measure,
            goal.ratio,
            short(*ratio),
            short(*ours),
            peer.0,
            short(peer.1),
        );
    }
    text
}

fn stand(results: &Results, goal: Goal) -> Option<Stand<'_>> {
    let is_meant = |line: &&Line| {
        let name = &line.name;
        name.scene == goal.scene
            && name.case == goal.case
            && name.threads == goal.threads
            && name.measure == goal.measure
    };
    let line = results.lines.iter().find(is_meant)?;
    let median = |engine: &str| line.cells.get(engine).and_then(Cell::median);
    let ours = median(goal.ours)?;
    let peers = goal.peers.iter().filter_map(|&name| median(name).map(|figure| (name, figure)));
    let peer = peers.reduce(|one, other| if is_better(line.better, other.1, one.1) { other } else { one })?;
    let ratio = ratio(line.better, ours, peer.1)?;
    Some(Stand { goal, ours, peer, ratio })
}

/// All of them.
fn all() -> Vec<Goal> {
    let goals = [gets(), scans_and_loads(), commits(), mixes()];
    goals.into_iter().flatten().collect()
}

fn gets() -> Vec<Goal> {
    let mut goals = Vec::new();
    for keys in ["uniform", "zipfian"] {
        for threads in [1, 2] {
            let mut add = |ours, what: &str, peers, ratio| {
                let case = format!("a snapshot per get, {keys}, {what}");
                goals.push(Goal { ours, scene: "reads", case, threads, measure: "gets/s", peers, ratio });
            };
            add(BTREE, "hit", LMDB, 2.0);
            add(BTREE, "hit", &["redb"], 3.0);
            add(LSM, "hit", ROCKSDB, 2.0);
            add(LSM, "hit", LSM_PEERS, 1.3);
            add(LSM, "miss", ROCKSDB, 2.0);
        }
    }
    goals
}

fn scans_and_loads() -> Vec<Goal> {
    let goal = |ours, scene, case: &str, measure, peers, ratio| Goal {
        ours,
        scene,
        case: case.to_owned(),
        threads: 1,
        measure,
        peers,
        ratio,
    };
    let scan = |ours, case, peers, ratio| goal(ours, "scans", case, "ns an entry", peers, ratio);
    vec![
        scan(BTREE, "forward, 100", LMDB, 1.3),
        scan(BTREE, "forward, all", LMDB, 1.2),
        scan(BTREE, "reverse, all", LMDB, 1.0),
        scan(LSM, "forward, 100", ALL_LSM_PEERS, 1.3),
        scan(LSM, "forward, all", ALL_LSM_PEERS, 1.3),
        scan(LSM, "reverse, all", ALL_LSM_PEERS, 2.0),
        goal(BTREE, "load-random", "all", "puts/s", LMDB, 2.0),
        goal(LSM, "load-random", "all", "puts/s", LSM_PEERS, 1.5),
        goal(LSM, "load-random", "all", "puts/s", ROCKSDB, 1.5),
        goal(BTREE, "load-ingest", "all", "entries/s", LMDB, 1.0),
        goal(LSM, "amplification", "overwrites", "bytes written, times", ROCKSDB, 1.0),
    ]
}

fn commits() -> Vec<Goal> {
    let goal = |ours, scene, threads, measure, peers, ratio| Goal {
        ours,
        scene,
        case: "1 put".to_owned(),
        threads,
        measure,
        peers,
        ratio,
    };
    let rate = |ours, threads, peers, ratio| goal(ours, "commits-buffered", threads, "commits/s", peers, ratio);
    let tail = |threads| goal(LSM, "commits-buffered", threads, "p99.9 us", ALL_LSM_PEERS, 1.0);
    let synced = |ours| goal(ours, "commits-sync", 32, "commits/s", ALL_LSM_PEERS, 1.3);
    vec![
        rate(BTREE, 1, &["rocksdb-txn"], 1.5),
        rate(BTREE, 8, &["rocksdb-txn"], 2.0),
        rate(LSM, 1, &["fjall-single-writer"], 1.5),
        rate(LSM, 1, ROCKSDB, 1.8),
        rate(LSM, 8, ALL_LSM_PEERS, 1.5),
        tail(1),
        tail(8),
        synced(BTREE),
        synced(LSM),
    ]
}

fn mixes() -> Vec<Goal> {
    let goal = |ours, mix: &str, peers, ratio| Goal {
        ours,
        scene: "ycsb-buffered",
        case: mix.to_owned(),
        threads: 2,
        measure: "transactions/s",
        peers,
        ratio,
    };
    let mut goals: Vec<Goal> = Vec::new();
    for mix in ["A", "B", "D", "F"] {
        goals.push(goal(BTREE, mix, &["rocksdb-txn"], 2.0));
        goals.push(goal(LSM, mix, &["rocksdb-optimistic"], if mix == "A" { 1.5 } else { 2.0 }));
    }
    goals.push(goal(BTREE, "C", LMDB, 1.2));
    goals.push(goal(BTREE, "E", LMDB, 1.2));
    goals.push(goal(LSM, "C", ALL_LSM_PEERS, 1.3));
    goals.push(goal(LSM, "E", ALL_LSM_PEERS, 1.5));
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::row::{Better, Found, Name, Row};
    use crate::compare::scenes;
    use crate::peer::registry;

    fn row(engine: &str, scene: &str, case: &str, measure: &str, better: Better, figure: f64) -> String {
        let name = Name { scene: scene.into(), case: case.into(), threads: 1, measure: measure.into() };
        Row { engine: engine.into(), round: 0, name, better, found: Found::Figure(figure) }.to_json()
    }

    #[test]
    fn the_farthest_from_its_goal_comes_first_and_what_has_no_peer_not_at_all() {
        let (get, hit) = ("gets/s", "a snapshot per get, uniform, hit");
        let lines = [
            row(BTREE, "reads", hit, get, Better::More, 300.0),
            row("lmdb", "reads", hit, get, Better::More, 100.0),
            row("redb", "reads", hit, get, Better::More, 150.0),
            row(BTREE, "scans", "forward, 100", "ns an entry", Better::Less, 60.0),
            row("lmdb", "scans", "forward, 100", "ns an entry", Better::Less, 30.0),
            row(LSM, "load-random", "all", "puts/s", Better::More, 5.0),
        ];
        let table = table(&Results::parse(&lines.join("\n")));
        let rows: Vec<&str> = table.lines().skip(4).collect();
        assert_eq!(table.lines().next(), Some("Goals: 2 of 3 rows are short."));
        assert_eq!(
            rows,
            [
                "| B-tree: scans: forward, 100, ns an entry | 1.3 | 0.50 **short** | 60.0 | lmdb 30.0 |",
                "| B-tree: reads: a snapshot per get, uniform, hit, gets/s | 3 | 2.00 **short** | 300 | redb 150 |",
                "| B-tree: reads: a snapshot per get, uniform, hit, gets/s | 2 | 3.00 | 300 | lmdb 100 |",
            ]
        );
    }

    #[test]
    fn each_goal_names_a_workload_and_engines_that_there_are() {
        for goal in all() {
            assert!(scenes::find(goal.scene).is_some(), "{}", goal.scene);
            for engine in goal.peers.iter().chain([&goal.ours]) {
                assert!(registry::find(engine).is_some(), "{engine}");
            }
        }
    }
}
