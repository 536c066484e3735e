//! Killed while committing, and opened again: how long until the first read, and whether everything acknowledged is there.
//!
//! A process of its own fills the table at class buffered, or sync if there is none, says how far it is, and goes on until it is killed. What
//! is timed is opening the engine and one get.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::compare::process::cpu_ns;
use crate::compare::stand::{Stand, get_own, offered};
use crate::keys::key;
use crate::peer::{Class, Outcome, broken};

/// Puts of one commit.
const STEP: u64 = 100;

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.files)?;
    let acknowledged = fill_and_kill()?;
    let (begun, cpu_before) = (Instant::now(), cpu_ns());
    let engine = stand.open("reopen", class(stand), stand.entry.mode(), 1)?;
    let mut session = engine.session()?;
    session.read(&mut |tx| get_own(tx, 0, 0).map(drop))?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_ns() - cpu_before);
    session.read(&mut |tx| (0..acknowledged).try_for_each(|index| get_own(tx, 0, index).map(drop)))?;
    let taken = acknowledged * stand.plan.entry_bytes();
    stand.less("open and first read", 1, "ms", seconds * 1e3);
    stand.less("open and first read", 1, "cpu ms", cpu as f64 / 1e6);
    stand.less("open and first read, for each MB put", 1, "ms/MB", seconds * 1e3 / (taken as f64 / 1e6));
    Ok(())
}

/// The weakest class that survives the death of the process.
fn class(stand: &Stand) -> Class {
    if stand.entry.offer.classes.contains(&Class::Buffered) { Class::Buffered } else { Class::Sync }
}

/// Runs this program again as the one that is killed; how many keys it had acknowledged.
fn fill_and_kill() -> Outcome<u64> {
    let program = std::env::current_exe().map_err(broken)?;
    let args = std::env::args().skip(1).chain(["--second".to_owned()]);
    let mut victim = Command::new(program).args(args).stdout(Stdio::piped()).spawn().map_err(broken)?;
    let answer = acknowledged(&mut victim);
    victim.kill().map_err(broken)?;
    victim.wait().map_err(broken)?;
    answer
}

fn acknowledged(victim: &mut Child) -> Outcome<u64> {
    let output = victim.stdout.take().ok_or_else(|| broken("no output"))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(broken)?;
    let count = line.trim().strip_prefix("acknowledged ").and_then(|count| count.parse().ok());
    count.ok_or_else(|| broken(format!("the process that is killed said {line:?}")))
}

/// What the process that is killed does: never returns while it works.
pub(super) fn be_victim(stand: &Stand) -> Outcome<()> {
    let engine = stand.open("reopen", class(stand), stand.entry.mode(), 1)?;
    let (mut session, values, mut value) = (engine.session()?, stand.values(), Vec::new());
    for start in (0..).step_by(STEP as usize) {
        session.write(&mut |tx| {
            (start..start + STEP).try_for_each(|index| {
                values.fill(&mut value, index, 0);
                tx.put(0, &key(index), &value)
            })
        })?;
        let done = start + STEP;
        if done >= stand.plan.reopen_keys && start < stand.plan.reopen_keys {
            println!("acknowledged {done}");
            std::io::stdout().flush().map_err(broken)?;
        }
        // It is killed long before; if it is not, it must not fill the disk.
        if done >= stand.plan.reopen_keys * 20 {
            std::thread::park();
        }
    }
    Ok(())
}
