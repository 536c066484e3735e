//! Runs the mutants: for each row of the table in docs/testing.md, the named tests must pass without it and fail with it.
//!
//! ```sh
//! cargo run -p duramen-tests --bin mutants              # all
//! cargo run -p duramen-tests --bin mutants -- skip      # those with `skip` in their names
//! ```
//! It builds the test binaries once, with the feature `mutants`, into a target folder of its own, and runs them directly. It needs no
//! network beyond what `cargo build` needs. The exit code is 0 only if every mutant was caught.
//!
//! R1  A test that does not pass without the mutant, or a filter that matches no test, can catch nothing: the mutant counts as missed.
//! R2  Caught means: a test failed, or the process died, or it hung for far longer than without the mutant. A build that fails is no catch.
//!
//! Next: `base/src/mutant.rs` (how one is chosen), `tests/all/tidy/mutants.rs` (the table is complete).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const VARIABLE: &str = "DURAMEN_MUTANT";
const HEAD: &str = "| mutant | what it breaks | package | test |";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match run(&wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("{missed} mutant(s) missed");
            ExitCode::FAILURE
        }
        Err(failure) => {
            println!("the mutant run failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the mutants whose names contain one of `wanted` (all, if none is given); the number missed.
fn run(wanted: &[String]) -> Result<usize, Failure> {
    // Set by `cargo run`, and true even where a built program was moved with its project.
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("start it with `cargo run`")?);
    let root = package.parent().ok_or("no project around this package")?;
    let mut mutants = read_table(&std::fs::read_to_string(root.join("docs/testing.md"))?)?;
    mutants.retain(|mutant| wanted.is_empty() || wanted.iter().any(|part| mutant.name.contains(part.as_str())));
    if mutants.is_empty() {
        return Err("no such mutant".into());
    }
    let lab = Lab::build(root, &mutants)?;
    let mut plain: BTreeMap<(&str, &[String]), Duration> = BTreeMap::new();
    let mut missed = 0;
    for mutant in &mutants {
        let key = (mutant.package.as_str(), mutant.filters.as_slice());
        let plain_time = match plain.get(&key) {
            Some(&time) => Ok(time),
            None => lab.run_plain(mutant).inspect(|&time| {
                plain.insert(key, time);
            }),
        };
        let caught = plain_time.and_then(|time| lab.run_mutant(mutant, time));
        let caught = caught.unwrap_or_else(|failure| {
            println!("{:14} {:40}           {failure}", "CANNOT TELL", mutant.name);
            false
        });
        missed += usize::from(!caught);
    }
    println!("{} mutants, {} caught, {missed} missed", mutants.len(), mutants.len() - missed);
    Ok(missed)
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    package: String,
    filters: Vec<String>,
}

fn read_table(text: &str) -> Result<Vec<Mutant>, Failure> {
    let rows = text.lines().skip_while(|line| line.trim() != HEAD).skip(2).take_while(|line| line.starts_with('|'));
    let mutants: Option<Vec<Mutant>> = rows.map(read_row).collect();
    let mutants =
        mutants.ok_or("docs/testing.md: a row of the mutants' table has no name, package or test in backticks")?;
    if mutants.is_empty() { Err("docs/testing.md has no table of mutants".into()) } else { Ok(mutants) }
}

fn read_row(row: &str) -> Option<Mutant> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split('|').collect();
    let spans = |index: usize| -> Vec<String> {
        cells.get(index).map_or(Vec::new(), |cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    };
    let filters = spans(3);
    (!filters.is_empty()).then_some(())?;
    Some(Mutant { name: spans(0).pop()?, package: spans(2).pop()?, filters })
}

/// Test binaries built with the feature `mutants`.
struct Lab {
    /// By package: the folder, and the binaries.
    packages: BTreeMap<String, Package>,
    /// Where the output of the last run is.
    output: PathBuf,
}

#[derive(Default)]
struct Package {
    folder: PathBuf,
    binaries: Vec<PathBuf>,
}

impl Lab {
    fn build(root: &Path, mutants: &[Mutant]) -> Result<Lab, Failure> {
        let target = root.join("target/mutants");
        let started = Instant::now();
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(root).args(["test", "--no-run", "--features", "mutants"]);
        command.args(["--message-format", "json-render-diagnostics"]).arg("--target-dir").arg(&target);
        let mut names: Vec<&str> = mutants.iter().map(|mutant| mutant.package.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().for_each(|name| {
            command.args(["-p", name]);
        });
        let built = command.env_remove(VARIABLE).stderr(Stdio::inherit()).output()?;
        if !built.status.success() {
            return Err("the build with the feature `mutants` failed".into());
        }
        let packages = read_messages(&String::from_utf8_lossy(&built.stdout))?;
        println!("built in {:.0} s", started.elapsed().as_secs_f64());
        // A name of its own, for two runs at once must not read each other's results.
        Ok(Lab { packages, output: target.join(format!("output-{}.txt", std::process::id())) })
    }

    /// R1: the tests pass without the mutant; how long they take.
    fn run_plain(&self, mutant: &Mutant) -> Result<Duration, Failure> {
        let started = Instant::now();
        let run = self.run_tests(mutant, None, Duration::from_secs(3600))?;
        if !run.all_passed() {
            return Err(format!("{} fails without the mutant:\n{}", mutant.tests(), run.output).into());
        }
        if run.passed == 0 {
            return Err(format!("no test matches {}", mutant.tests()).into());
        }
        Ok(started.elapsed())
    }

    /// Whether the mutant is caught.
    fn run_mutant(&self, mutant: &Mutant, plain_time: Duration) -> Result<bool, Failure> {
        let started = Instant::now();
        let run = self.run_tests(mutant, Some(&mutant.name), plain_time * 10 + Duration::from_secs(60))?;
        let how = match (&run.ended, run.all_passed()) {
            (_, true) => "MISSED",
            (Ended::Hung, _) => "caught (hung)",
            (Ended::With(status), _) if status.code().is_none() => "caught (died)",
            (Ended::With(_), _) => "caught",
        };
        println!("{how:14} {:40} {:6.1} s  {}", mutant.name, started.elapsed().as_secs_f64(), mutant.tests());
        Ok(!run.all_passed())
    }

    /// Runs the binaries of the mutant's package until one does not succeed.
    fn run_tests(&self, mutant: &Mutant, chosen: Option<&str>, limit: Duration) -> Result<Run, Failure> {
        let package =
            self.packages.get(&mutant.package).ok_or_else(|| format!("no test binary of {}", mutant.package))?;
        let mut passed = 0;
        let mut last = None;
        for binary in &package.binaries {
            let mut command = Command::new(binary);
            command.current_dir(&package.folder).args(&mutant.filters).env_remove(VARIABLE).env("RUST_BACKTRACE", "0");
            // What a mutant breaks is no regression to be remembered.
            command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
            command.envs(chosen.map(|name| (VARIABLE, name)));
            let ended = self.run_with_limit(command, limit)?;
            let output = String::from_utf8_lossy(&std::fs::read(&self.output)?).into_owned();
            passed += count_passed(&output);
            let run = Run { ended, passed, output };
            if !run.all_passed() {
                return Ok(run);
            }
            last = Some(run);
        }
        Ok(last.ok_or_else(|| format!("no test binary of {}", mutant.package))?)
    }

    fn run_with_limit(&self, mut command: Command, limit: Duration) -> Result<Ended, Failure> {
        let output = File::create(&self.output)?;
        let mut child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Ended::With(status));
            }
            if started.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                return Ok(Ended::Hung);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Mutant {
    fn tests(&self) -> String {
        format!("{}: {}", self.package, self.filters.join(" "))
    }
}

enum Ended {
    With(ExitStatus),
    Hung,
}

struct Run {
    ended: Ended,
    passed: usize,
    output: String,
}

impl Run {
    fn all_passed(&self) -> bool {
        matches!(&self.ended, Ended::With(status) if status.success())
    }
}

/// The test binaries that cargo says it built, by package.
fn read_messages(messages: &str) -> Result<BTreeMap<String, Package>, Failure> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for line in messages.lines().filter(|line| is_test(line)) {
        let (Some(binary), Some(manifest)) = (string_field(line, "executable"), string_field(line, "manifest_path"))
        else {
            continue;
        };
        let name =
            package_name(&std::fs::read_to_string(manifest)?).ok_or_else(|| format!("{manifest} names no package"))?;
        let package = packages.entry(name).or_default();
        package.folder = Path::new(manifest).parent().ok_or("a manifest has a folder")?.to_owned();
        package.binaries.push(PathBuf::from(binary));
    }
    Ok(packages)
}

/// Whether a message is about something built with the test harness; programs are built beside the tests too.
fn is_test(line: &str) -> bool {
    line.split_once("\"profile\":{")
        .is_some_and(|(_, rest)| rest.split('}').next().unwrap_or_default().contains("\"test\":true"))
}

/// A field of one line of cargo's messages. Paths with quotes or backslashes in them are not expected.
fn string_field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

fn package_name(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("name = "))?;
    line.split('"').nth(1).map(str::to_owned)
}

/// Sum of `N passed` over the closing lines of test binaries.
fn count_passed(output: &str) -> usize {
    let closing = output.lines().filter(|line| line.starts_with("test result:"));
    closing
        .filter_map(|line| {
            line.split(' ').zip(line.split(' ').skip(1)).find(|(_, word)| *word == "passed;")?.0.parse::<usize>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let text = format!("x\n{HEAD}\n|---|---|---|---|\n| `a_b` | breaks | `p` | `one`, `two` |\n\n| `no` |\n");
        let found = read_table(&text).expect("a table");
        assert_eq!(
            found,
            [Mutant { name: "a_b".into(), package: "p".into(), filters: vec!["one".into(), "two".into()] }]
        );
        assert!(read_table("nothing").is_err());
        assert!(read_table(&format!("{HEAD}\n|---|---|---|---|\n| `a` | breaks | `p` | |\n")).is_err());
    }

    #[test]
    fn closing_lines_are_counted() {
        assert_eq!(
            count_passed("test result: ok. 12 passed; 0 failed; 1 ignored\n...\ntest result: ok. 3 passed; 0 failed\n"),
            15
        );
        assert_eq!(count_passed("running 0 tests"), 0);
    }

    #[test]
    fn fields_of_messages_are_found() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","executable":"/t/x-1"}"#;
        assert_eq!(string_field(line, "executable"), Some("/t/x-1"));
        assert_eq!(string_field(r#"{"executable":null}"#, "executable"), None);
        assert!(is_test(r#"{"target":{"test":true},"profile":{"opt_level":"1","test":true},"executable":"/t/x-1"}"#));
        assert!(!is_test(r#"{"target":{"test":true},"profile":{"opt_level":"1","test":false},"executable":"/t/x"}"#));
    }
}
