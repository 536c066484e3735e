//! The parent: gives turns to engines, workload by workload and round by round, and writes down what they found.
//!
//! T1  A round is finished for all engines before the next begins, and each round begins with another engine (M3).
//! T2  A turn that crashes, hangs or says nothing is a failed row, and the others go on.
//! T3  When the time is over no turn begins; what is missing is said.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::options::{Options, Turn};
use super::row::{Better, Found, Name, Row};
use super::scenes::{self, Scene};
use crate::machine;
use crate::peer::registry::{self, Entry};

/// How often a turn is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// Engines that are built in and asked for.
fn engines(options: &Options) -> Vec<Entry> {
    registry::all().into_iter().filter(|entry| entry.open.is_some() && options.wants_engine(entry.name)).collect()
}

fn chosen(options: &Options) -> Vec<Scene> {
    scenes::ALL.iter().copied().filter(|scene| options.wants_scene(scene.name)).collect()
}

/// Measures; results are in `results.jsonl` of the output folder.
///
/// # Errors
/// The folder cannot be written, or the filters leave nothing.
pub fn run(options: &Options) -> Result<(), String> {
    let (engines, scenes) = (engines(options), chosen(options));
    if engines.is_empty() || scenes.is_empty() {
        return Err("no engine or no workload is left by these filters; see --list".to_owned());
    }
    std::fs::create_dir_all(&options.out).map_err(|error| format!("{}: {error}", options.out.display()))?;
    let path = options.out.join("results.jsonl");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut book = Book { file, skipped: 0, refused: Vec::new() };
    let (load, begun) = (machine::load(), Instant::now());
    // Said first too, so that a run that is ended early says where its figures come from.
    book.write(&run_line(options, &load, begun.elapsed(), 0))?;
    engine_lines().into_iter().try_for_each(|line| book.write(&line))?;
    let bar = bar(options.plan.rounds * engines.len() * scenes.len());
    for round in 0..options.plan.rounds {
        for scene in &scenes {
            for turn in 0..engines.len() {
                let entry = &engines[(round + turn) % engines.len()];
                bar.set_message(format!("round {} {} {}", round + 1, scene.name, entry.name));
                book.take_turn(options, entry, scene, round, begun)?;
                bar.inc(1);
            }
            if bar.is_hidden() {
                eprintln!("{}", place(&bar, round, scene, begun));
            }
        }
    }
    bar.finish_and_clear();
    book.write(&run_line(options, &load, begun.elapsed(), book.skipped))
}

fn bar(turns: usize) -> ProgressBar {
    let bar = ProgressBar::new(turns as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} turns, {elapsed} of about {duration}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A line for a run whose error output is a file: the bar draws on terminals alone.
fn place(bar: &ProgressBar, round: usize, scene: &Scene, begun: Instant) -> String {
    let (done, all, seconds) = (bar.position(), bar.length().unwrap_or_default(), begun.elapsed().as_secs());
    format!("{done}/{all} turns, {seconds} s: round {}, {} done", round + 1, scene.name)
}

/// Where results are written, and what need not be tried again.
struct Book {
    file: File,
    skipped: usize,
    /// Engine and workload that the engine does not offer at all.
    refused: Vec<(&'static str, &'static str)>,
}

impl Book {
    fn write(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.file, "{line}").map_err(|error| format!("results.jsonl: {error}"))
    }

    fn take_turn(
        &mut self,
        options: &Options,
        entry: &Entry,
        scene: &Scene,
        round: usize,
        begun: Instant,
    ) -> Result<(), String> {
        if self.refused.contains(&(entry.name, scene.name)) {
            return Ok(());
        }
        if begun.elapsed() >= Duration::from_secs(options.plan.minutes_max * 60) {
            self.skipped += 1;
            return Ok(());
        }
        let folder = crate::bed::folder();
        let turn = Turn {
            engine: entry.name.to_owned(),
            scene: scene.name.to_owned(),
            round,
            folder: folder.path().join("data"),
        };
        let rows = rows_of(options, &turn, folder.path());
        if let [Row { found: Found::NotOffered(_), name, .. }] = &rows[..]
            && name.case.is_empty()
        {
            self.refused.push((entry.name, scene.name));
        }
        rows.iter().try_for_each(|row| self.write(&row.to_json()))
    }
}

/// Runs a turn in a process of its own (T2).
fn rows_of(options: &Options, turn: &Turn, folder: &Path) -> Vec<Row> {
    let said = process(options, turn, folder).and_then(|output| {
        let rows: Vec<Row> = output.lines().filter_map(Row::from_json).collect();
        if rows.is_empty() { Err("the turn found nothing".to_owned()) } else { Ok(rows) }
    });
    said.unwrap_or_else(|what| {
        let name = Name { scene: turn.scene.clone(), case: String::new(), threads: 0, measure: String::new() };
        let (engine, found) = (turn.engine.clone(), Found::Failed(what));
        vec![Row { engine, round: turn.round, name, better: Better::More, found }]
    })
}

fn process(options: &Options, turn: &Turn, folder: &Path) -> Result<String, String> {
    std::fs::create_dir_all(&turn.folder).map_err(|error| error.to_string())?;
    let (out_path, err_path) = (folder.join("out"), folder.join("err"));
    let file = |path: &Path| File::create(path).map_err(|error| error.to_string());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(std::env::args().skip(1))
        .arg("--child")
        .args([&turn.engine, &turn.scene, &turn.round.to_string()])
        .arg(&turn.folder)
        .stdin(Stdio::null())
        .stdout(file(&out_path)?)
        .stderr(file(&err_path)?)
        .spawn()
        .map_err(|error| error.to_string())?;
    let (begun, limit) = (Instant::now(), Duration::from_secs(options.plan.turn_seconds_max));
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("took more than {} s", limit.as_secs()));
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let said = std::fs::read_to_string(&err_path).unwrap_or_default();
    if status.success() {
        std::fs::read_to_string(&out_path).map_err(|error| error.to_string())
    } else {
        let last = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no word");
        Err(format!("ended with {status}: {}", last.chars().take(200).collect::<String>()))
    }
}

/// What the report says about engines, one line each.
fn engine_lines() -> Vec<String> {
    let line = |entry: &Entry| {
        json!({
            "kind": "engine", "engine": entry.name, "version": entry.version(), "ours": entry.is_ours(), "floor": entry.is_floor(),
            "missing": entry.open.is_none().then(|| entry.missing()), "isolation": entry.facts.isolation,
            "durability": entry.facts.durability, "checksums": entry.facts.checksums,
            "compression": entry.facts.compression, "cache": entry.facts.cache,
        })
        .to_string()
    };
    registry::all().iter().map(line).collect()
}

/// Where the figures come from.
fn run_line(options: &Options, load: &str, time: Duration, skipped: usize) -> String {
    let plan = &options.plan;
    json!({
        "kind": "run", "plan": plan.name, "machine": machine::provenance_of(&crate::bed::data_root(), "compare"),
        "load_before": load, "load_after": machine::load(), "seconds": time.as_secs(), "turns_skipped": skipped,
        "keys": plan.keys, "value_bytes": plan.value_bytes, "cache_bytes": plan.cache_bytes, "big_keys": plan.big_keys,
        "rounds": plan.rounds, "slice_ms": plan.slice_ms, "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
    .to_string()
}
