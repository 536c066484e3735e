//! Changes valid inputs of every decoder at random, and gives them back to it: a decoder is total, and reads what it writes.
//!
//! ```sh
//! cargo run --release -p duramen-tests --bin fuzz -- --seconds 60                   # every target, in turns
//! cargo run --release -p duramen-tests --bin fuzz -- image log-segment --count 1000000 --seed 7
//! cargo run --release -p duramen-tests --bin fuzz -- --replay log-segment <file>   # one input that failed
//! ```
//! Without a measure of coverage, and so with the toolchain alone: what guides it are the golden files, checksums that are made right
//! again behind most changes, and inputs that were accepted, which are changed further. What it looks for: a panic, which is what the
//! targets' checks end in; an input that takes longer than a second; memory beyond a bound. The input is then saved, and the command
//! named that tries it again.
//!
//! The targets are listed by the crates, in modules called `fuzz`. Next: `mutate.rs`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for humans")]

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use duramen_base::fuzz::Target;
use duramen_tests::dice::Dice;
use mutate::mutated;

/// Inputs that were accepted and are changed further, for each target.
const POOL_MAX: usize = 200;
/// Inputs of one target before the next has its turn.
const TURN: u64 = 500;
const INPUT_SECONDS_MAX: f64 = 1.0;
/// Address space that may come in beside what was there at the start.
const GROWTH_KIB_MAX: u64 = 256 << 10;
const SEED: u64 = 0x6475_7261_6d65_6e31;

struct Options {
    names: Vec<String>,
    seconds: Option<u64>,
    count: Option<u64>,
    seed: u64,
    replay: Option<String>,
}

struct Fuzzed {
    target: Target,
    pool: Vec<Vec<u8>>,
    dice: Dice,
    cases: u64,
    accepted: u64,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("fuzz [target]... [--seconds n] [--count n, for each target] [--seed n] | --replay <target> <file>");
        return ExitCode::FAILURE;
    };
    let all = targets();
    let chosen: Vec<Target> = all
        .into_iter()
        .filter(|target| options.names.is_empty() || options.names.iter().any(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        println!("no such target");
        return ExitCode::FAILURE;
    }
    if let Some(file) = &options.replay {
        let input = std::fs::read(file).expect("the file can be read");
        println!("{}: {}", chosen[0].name, if (chosen[0].check)(&input) { "accepted" } else { "refused" });
        return ExitCode::SUCCESS;
    }
    match fuzz(chosen, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn targets() -> Vec<Target> {
    let of_crates = [
        duramen_base::fuzz::targets(),
        duramen_wal::fuzz::targets(),
        duramen_btree::fuzz::targets(),
        duramen_lsm::fuzz::targets(),
        duramen::fuzz::targets(),
    ];
    of_crates.into_iter().flatten().collect()
}

fn options() -> Option<Options> {
    let mut options = Options { names: Vec::new(), seconds: None, count: None, seed: SEED, replay: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => options.seconds = Some(arguments.next()?.parse().ok()?),
            "--count" => options.count = Some(arguments.next()?.parse().ok()?),
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--replay" => {
                options.names.push(arguments.next()?);
                options.replay = Some(arguments.next()?);
            }
            name if !name.starts_with('-') => options.names.push(name.to_owned()),
            _ => return None,
        }
    }
    Some(options)
}

fn fuzz(targets: Vec<Target>, options: &Options) -> Result<(), String> {
    println!("seed {}", options.seed);
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let count = options.count.unwrap_or(if end.is_some() { u64::MAX } else { 100_000 });
    let mut fuzzed = Vec::new();
    for (number, target) in targets.into_iter().enumerate() {
        if let Some(refused) = target.corpus.iter().position(|valid| !(target.check)(valid)) {
            return Err(format!("{}: input {refused} of its corpus is refused", target.name));
        }
        let dice = Dice::new(options.seed.wrapping_add(number as u64));
        fuzzed.push(Fuzzed { pool: target.corpus.clone(), target, dice, cases: 0, accepted: 0 });
    }
    let memory_at_start = address_space_kib();
    // Panics are told of below, with what is needed to see them again.
    std::panic::set_hook(Box::new(|_| {}));
    let is_over = || end.is_some_and(|end| Instant::now() >= end);
    while !is_over() && fuzzed.iter().any(|one| one.cases < count) {
        for one in &mut fuzzed {
            let turn = TURN.min(count - one.cases);
            (0..turn).try_for_each(|_| one.step())?;
            let growth = address_space_kib().saturating_sub(memory_at_start);
            if growth > GROWTH_KIB_MAX {
                return Err(format!("{}: {growth} KiB of memory more than at the start", one.target.name));
            }
        }
    }
    for one in &fuzzed {
        println!(
            "{:<16} {:>12} inputs {:>12} accepted {:>6} kept",
            one.target.name,
            one.cases,
            one.accepted,
            one.pool.len()
        );
    }
    let sum: u64 = fuzzed.iter().map(|one| one.cases).sum();
    println!(
        "{sum} inputs of {} targets: no panic, none slow, at most {} KiB of address space more",
        fuzzed.len(),
        address_space_kib().saturating_sub(memory_at_start)
    );
    Ok(())
}

impl Fuzzed {
    fn step(&mut self) -> Result<(), String> {
        let mut input = mutated(&mut self.dice, &self.pool);
        if self.dice.below(4) > 0 {
            (self.target.reseal)(&mut input, self.dice.next());
        }
        let begun = Instant::now();
        let accepted = catch_unwind(AssertUnwindSafe(|| (self.target.check)(&input)));
        let seconds = begun.elapsed().as_secs_f64();
        self.cases += 1;
        let accepted = accepted.map_err(|cause| self.save(&input, &format!("a panic: {}", message(&*cause))))?;
        if seconds > INPUT_SECONDS_MAX {
            return Err(self.save(&input, &format!("{seconds:.1} s")));
        }
        if accepted {
            self.accepted += 1;
            if self.pool.len() < POOL_MAX {
                self.pool.push(input);
            } else if self.dice.below(8) == 0 {
                let corpus = self.target.corpus.len() as u64;
                let at = corpus + self.dice.below(POOL_MAX as u64 - corpus);
                self.pool[at as usize] = input;
            }
        }
        Ok(())
    }

    fn save(&self, input: &[u8], what: &str) -> String {
        let name = self.target.name;
        let path = std::env::temp_dir().join(format!("duramen-fuzz-{name}-{}.bin", std::process::id()));
        let saved = std::fs::write(&path, input);
        format!(
            "{name}: {what}, input {} of {} bytes ({saved:?})\nagain: fuzz --replay {name} {}",
            self.cases,
            input.len(),
            path.display()
        )
    }
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or(cause.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}

/// The largest address space this process ever had; zero where the system does not tell.
fn address_space_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
