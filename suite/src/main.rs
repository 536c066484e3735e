//! The program `duramen-suite`: the anomaly suite from the command line. Everything it does is in the library.
//!
//! Exits with 0 if every promise held, with 1 if one did not, with 2 if it could not find out.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use duramen::BackendKind;
use duramen_suite::{
    AnomalyTable, HistoriesFound, Interleavings, InvariantsFound, LockPolicies, Outcome, RandomScripts, Script,
    Setting, Storms, Target,
};

/// What each isolation level of Duramen shows and prevents.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every script at every level and mode on every backend and prints the table.
    Table {
        /// Prints every script with what happened in it, too.
        #[arg(long)]
        scripts: bool,
        /// Prints JSON instead.
        #[arg(long)]
        json: bool,
        /// Replaces the table between the markers of this Markdown file.
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Runs a script of the library by name, or a file.
    Script {
        /// Its name, or the path of a file.
        name: String,
        /// Level and mode, as Snapshot/Optimistic; all that are offered if not given.
        #[arg(long)]
        setting: Option<String>,
    },
    /// Lists the scripts.
    Scripts,
    /// Runs workloads with invariants (bank, tickets, doctors on duty, ...) at every level and mode that is offered.
    Invariants {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Runs every interleaving of small scripts and compares with what brute force says and PostgreSQL publishes; then random scripts.
    Interleavings {
        /// How many random scripts.
        #[arg(long, default_value_t = 2000)]
        random: u64,
        /// Seed of the first of them.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Deadlock storms: circles, upgrades, ranges, keyspaces, everything in random order and from low to high.
    Storms {
        /// Decides in which order keys are locked.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// How many times.
        #[arg(long, default_value_t = 1)]
        times: u64,
        /// Compares the ways to choose a victim, and wound-wait, instead.
        #[arg(long)]
        policies: bool,
    },
    /// Makes random histories at every level and mode that is offered, with little memory, and checks them twice.
    Histories {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Table { scripts, json, write } => print_table(scripts, json, write.as_deref()),
        Command::Script { name, setting } => run_script(&name, setting.as_deref()),
        Command::Scripts => {
            for script in Script::library() {
                let anomaly = script.anomaly().map_or(String::new(), |anomaly| anomaly.to_string());
                println!("{:28} {anomaly:20} {}", script.name(), script.about());
            }
            Ok(true)
        }
        Command::Invariants { seeds, seed } => {
            let found = InvariantsFound::run(&Target::every_tiny_backend(), seed..seed + seeds);
            let found = found.map_err(|error| error.to_string())?;
            println!("{found}");
            Ok(found.complaints.is_empty())
        }
        Command::Storms { seed, times, policies: false } => print_storms(seed..seed + times),
        Command::Storms { seed, times, policies: true } => print_policies(seed..seed + times),
        Command::Interleavings { random, seed } => Ok(print_interleavings(random, seed)),
        Command::Histories { seeds, seed } => {
            let found = HistoriesFound::run(&Target::every_tiny_backend(), seed..seed + seeds);
            let found = found.map_err(|error| error.to_string())?;
            println!("{found}");
            Ok(found.complaints.is_empty())
        }
    }
}

fn print_storms(seeds: Range<u64>) -> Result<bool, String> {
    let mut held = true;
    for seed in seeds {
        for target in Target::every_backend() {
            let found = Storms::run(&target, seed).map_err(|error| error.to_string())?;
            println!("{}, seed {seed}:\n{found}", target.name());
            held &= found.complaints.is_empty();
        }
    }
    Ok(held)
}

fn print_policies(seeds: Range<u64>) -> Result<bool, String> {
    let mut held = true;
    for backend in [BackendKind::BTree, BackendKind::Lsm] {
        let found = LockPolicies::run(backend, seeds.clone()).map_err(|error| error.to_string())?;
        println!("{backend}:\n{found}");
        held &= found.complaints.is_empty();
    }
    Ok(held)
}

fn print_interleavings(random: u64, seed: u64) -> bool {
    Target::every_backend().iter().all(|target| {
        let all = Interleavings::run(target);
        let drawn = RandomScripts::run(target, seed..seed + random);
        println!("{}, optimistic:\n\n{all}\n\n{drawn}", target.name());
        if let Some(example) = &drawn.example {
            println!("\n{example}");
        }
        all.complaints.is_empty() && drawn.complaints.is_empty()
    })
}

fn print_table(scripts: bool, json: bool, write: Option<&Path>) -> Result<bool, String> {
    let table = AnomalyTable::run(&Target::every_backend(), &Script::library());
    let violations = table.violations();
    if let Some(path) = write {
        let io = |error| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(io)?;
        let text = table.put_into(&text).ok_or_else(|| format!("{} has no markers", path.display()))?;
        std::fs::write(path, text).map_err(io)?;
    }
    if json {
        println!("{}", table.to_json());
    } else {
        if scripts {
            println!("{}", table.to_text());
        }
        println!("{}", table.to_markdown());
        violations.iter().for_each(|line| println!("VIOLATION {line}"));
        println!("{} violation(s)", violations.len());
    }
    Ok(violations.is_empty())
}

fn run_script(name: &str, setting: Option<&str>) -> Result<bool, String> {
    let script = match Script::library().into_iter().find(|script| script.name() == name) {
        Some(script) => script,
        None => {
            let text = std::fs::read_to_string(PathBuf::from(name)).map_err(|error| format!("{name}: {error}"))?;
            Script::parse(name, &text).map_err(|error| error.to_string())?
        }
    };
    let settings = match setting {
        Some(text) => vec![Setting::parse(text).ok_or_else(|| format!("{text} is no level/mode"))?],
        None => Setting::all().collect(),
    };
    println!("{script}");
    let mut judged = true;
    for setting in settings {
        for target in Target::every_backend() {
            let run = script.run(&target, setting);
            if run.outcome == Outcome::NotOffered {
                continue;
            }
            judged &= !matches!(run.outcome, Outcome::Failed(_));
            println!("{setting} on {}: {:?} {:?}", target.name(), run.outcome, run.saw);
            run.events.iter().for_each(|event| println!("    {event}"));
        }
    }
    Ok(judged)
}
