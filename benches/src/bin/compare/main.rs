//! The comparison as a program: see `--help`, and docs/benchmarks.md for how to read what it writes.

use std::process::ExitCode;

use duramen_benches::compare::options::{Options, Task, USAGE};
use duramen_benches::compare::{child, report, scenes, turns};
use duramen_benches::guard::refuse_unfit_build;
use duramen_benches::peer::registry;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&args).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    match &options.task {
        Task::Help => print!("{USAGE}"),
        Task::List => list(),
        Task::Report => report::write(&options.out)?,
        Task::Child(turn, is_second) => child::main(options, turn, *is_second)?,
        Task::Run => {
            refuse_unfit_build();
            turns::run(options)?;
            report::write(&options.out)?;
        }
    }
    Ok(())
}

fn list() {
    println!("engines");
    for entry in registry::all() {
        let about = if entry.open.is_some() { entry.facts.isolation.to_owned() } else { entry.missing() };
        println!("  {:22} {:10} {about}", entry.name, entry.version());
    }
    println!("workloads");
    scenes::ALL.iter().for_each(|scene| println!("  {:22} {}", scene.name, scene.about));
}
