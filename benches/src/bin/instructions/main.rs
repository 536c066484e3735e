//! Instructions of the hottest operations, counted by valgrind, against a committed baseline.
//!
//! Without arguments: counts all, prints a table, and ends with 1 if one grew by more than [`GROWTH_MAX`]. `--bless` writes the baseline.
//! `--op NAME COUNT` is what valgrind runs. `--peers [ENGINE,...]` compares engines instead; it has no baseline. A count is the difference of two runs, so that filling and starting do not count; memory is the
//! disk and no thread works beside, so that it hardly varies. Without valgrind it says so and ends with 0.
//!
//! Next: `operations.rs` (what is counted), `peers.rs` (what engines are compared in), docs/benchmarks.md (cache misses, and other ways to count).

mod operations;
mod peers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use duramen_benches::guard::refuse_unfit_build;

/// More than this is flagged.
const GROWTH_MAX: f64 = 0.05;
/// Operations of the two runs whose difference counts.
const COUNTS: [u64; 2] = [1_000, 4_000];

fn main() -> ExitCode {
    refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(false),
        ["--bless"] => check(true),
        ["--op", name, count] => run(name, count),
        ["--peers"] => compare(""),
        ["--peers", engines] => compare(engines),
        ["--peer", engine, name, count] => run_peer(engine, name, count),
        _ => {
            Err("instructions [--bless | --op NAME COUNT | --peers [ENGINE,...] | --peer ENGINE NAME COUNT]".to_owned())
        }
    };
    done.unwrap_or_else(|what| {
        eprintln!("{what}");
        ExitCode::FAILURE
    })
}

fn run(name: &str, count: &str) -> Result<ExitCode, String> {
    let count = count.parse().map_err(|_| format!("{count} is no number"))?;
    let operation = operations::ALL.iter().find(|operation| operation.name == name);
    (operation.ok_or_else(|| format!("there is no operation {name}"))?.run)(count);
    Ok(ExitCode::SUCCESS)
}

fn run_peer(engine: &str, name: &str, count: &str) -> Result<ExitCode, String> {
    let count = count.parse().map_err(|_| format!("{count} is no number"))?;
    peers::run(name, engine, count).map(|()| ExitCode::SUCCESS)
}

/// Prints a row for each engine.
fn compare(engines: &str) -> Result<ExitCode, String> {
    if !has_valgrind() {
        return Ok(ExitCode::SUCCESS);
    }
    let columns = peers::ALL.map(|operation| operation.name).join(" | ");
    println!("| instructions of one | {columns} |\n|---|{}", "---|".repeat(peers::ALL.len()));
    for entry in peers::engines(engines) {
        let cells = peers::ALL.map(|operation| {
            let run = |count: u64| references(&["--peer", entry.name, operation.name, &count.to_string()]);
            difference(operation.counts, run).map_or_else(
                |what| {
                    eprintln!("{}, {}: {what}", entry.name, operation.name);
                    "-".to_owned()
                },
                |count| format!("{count:.0}"),
            )
        });
        println!("| {} | {} |", entry.name, cells.join(" | "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether counting is possible; says so if not.
fn has_valgrind() -> bool {
    let there = Command::new("valgrind").arg("--version").output().is_ok();
    if !there {
        println!("skipped: valgrind is not installed (apt-get install valgrind); nothing was counted");
    }
    there
}

fn baseline_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/instructions.txt"))
}

/// Name and instructions, one a line.
fn baseline() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(baseline_path()).unwrap_or_default();
    let entry = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn check(bless: bool) -> Result<ExitCode, String> {
    if !has_valgrind() {
        return Ok(ExitCode::SUCCESS);
    }
    let (baseline, mut counts, mut grown) = (baseline(), Vec::new(), Vec::new());
    println!("| operation | instructions | baseline | change |\n|---|---|---|---|");
    for operation in operations::ALL {
        let count = instructions(operation.name)?;
        let before = baseline.get(operation.name);
        let change = before.map(|before| count / before - 1.0);
        let shown = change.map_or_else(|| "new".to_owned(), |change| format!("{:+.1} %", change * 100.0));
        println!(
            "| {} | {count:.0} | {} | {shown} |",
            operation.name,
            before.map_or_else(String::new, |before| format!("{before:.0}"))
        );
        if change.is_some_and(|change| change > GROWTH_MAX) {
            grown.push(operation.name);
        }
        counts.push((operation.name, count));
    }
    if bless {
        let text: String = counts.iter().map(|(name, count)| format!("{name} {count:.0}\n")).collect();
        std::fs::write(baseline_path(), text).map_err(|error| error.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if grown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "grown by more than {:.0} %: {}; if that is meant, run again with --bless",
        GROWTH_MAX * 100.0,
        grown.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// Instructions of one operation.
fn instructions(name: &str) -> Result<f64, String> {
    difference(COUNTS, |count| references(&["--op", name, &count.to_string()]))
}

/// Instructions of one of many, from two runs.
fn difference([few, many]: [u64; 2], run: impl Fn(u64) -> Result<f64, String>) -> Result<f64, String> {
    Ok((run(many)? - run(few)?) / (many - few) as f64)
}

/// Instructions of a whole run of this program with these arguments.
fn references(args: &[&str]) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("I refs:").or_else(|| line.split_once("I   refs:")));
    let digits = line.map(|(_, rest)| rest.chars().filter(char::is_ascii_digit).collect::<String>());
    let counted = digits.filter(|_| output.status.success()).and_then(|digits| digits.parse().ok());
    counted.ok_or_else(|| format!("valgrind counted nothing for {}: {said}", args.join(" ")))
}
