//! Random tests that can be run again: one seed, printed when a case fails.
//!
//! `DURAMEN_SEED=<number>` starts from another seed, `DURAMEN_CASES=<factor>` runs that many times the cases of the quick form.

use std::cell::Cell;
use std::sync::Once;

use proptest::prelude::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Seed of the quick form.
const SEED: u64 = 0x6475_7261_6d65_6e31;

fn from_env(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    from_env("DURAMEN_SEED", SEED)
}

/// How many times the quick form this run is.
pub(crate) fn factor() -> u64 {
    from_env("DURAMEN_CASES", 1)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics of a thread go unreported while `QUIET` is set there: making a case smaller meets hundreds of them.
fn hush_when_quiet() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
}

/// Runs `check` on `cases` inputs drawn from `strategy`; a failing one is made as small as possible, shown with the seed, and run once more.
pub(crate) fn check_cases<S: Strategy>(cases: u32, strategy: S, check: impl Fn(S::Value)) {
    hush_when_quiet();
    let factor = factor() as u32;
    let config = Config {
        cases: cases * factor,
        // Of all cases together: what the strategies draw in vain.
        max_local_rejects: Config::default().max_local_rejects.saturating_mul(factor),
        failure_persistence: None,
        max_shrink_time: 30_000,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    QUIET.set(true);
    let checked = runner.run(&strategy, |input| {
        check(input);
        Ok::<(), TestCaseError>(())
    });
    QUIET.set(false);
    match checked {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => {
            println!("DURAMEN_SEED={}: {why}\nsmallest failing input: {input:#?}", seed());
            check(input);
            panic!("it failed before, and does not when run once more: {why}");
        }
        Err(TestError::Abort(why)) => panic!("DURAMEN_SEED={}: {why}", seed()),
    }
}
