//! The command line: what to compare, how much of it, and where results go.
//!
//! A turn is the same program with the same flags and `--child` behind them, so the plan needs no other way to its processes.

use std::path::PathBuf;

use super::plan::Plan;

/// Shown by `--help`.
pub const USAGE: &str = "\
compare: the same work for every engine, in turns, with verified answers

  --quick              under ten minutes on two cores (default)
  --full               hours; figures that bear weight
  --engine A,B         only engines whose name contains one of these
  --scene A,B          only workloads whose name contains one of these
  --out FOLDER         results and report go here (default: target/bench-report)
  --list               engines and workloads of this build, and what is missing
  --report             no measuring: writes the report of --out again

  --rounds N  --keys N  --big-keys N  --memory-keys N  --value-bytes N  --cache-mib N  --slice-ms N
  --threads 1,2,8  --commit-threads 1,2,8,32  --mixed-threads 1,8  --growth-keys A,B,C
  --large-mib N  --reopen-keys N  --minutes N (no turn begins later)  --turn-seconds N (a longer turn fails)
";

/// One turn of one engine at one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Engine.
    pub engine: String,
    /// Workload.
    pub scene: String,
    /// Round.
    pub round: usize,
    /// Folder of its own.
    pub folder: PathBuf,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Measure and report.
    Run,
    /// Report what was measured before.
    Report,
    /// Say what there is.
    List,
    /// Say how to use it.
    Help,
    /// One turn; and whether as its second process, which loads, or is killed.
    Child(Turn, bool),
}

/// The command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What to do.
    pub task: Task,
    /// How much.
    pub plan: Plan,
    /// Parts of names of engines; all if empty.
    pub engines: Vec<String>,
    /// Parts of names of workloads; all if empty.
    pub scenes: Vec<String>,
    /// Where results go.
    pub out: PathBuf,
}

impl Options {
    /// From arguments without the program's name.
    ///
    /// # Errors
    /// An unknown flag, or a value that is missing or no number.
    pub fn parse(args: &[String]) -> Result<Options, String> {
        let plan = if args.iter().any(|arg| arg == "--full") { Plan::full() } else { Plan::quick() };
        let out = crate::bed::data_root().with_file_name("bench-report");
        let mut options = Options { task: Task::Run, plan, engines: Vec::new(), scenes: Vec::new(), out };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            options.take(flag, &mut args)?;
        }
        Ok(options)
    }

    fn take<'a>(&mut self, flag: &str, args: &mut impl Iterator<Item = &'a String>) -> Result<(), String> {
        let mut text = || args.next().cloned().ok_or_else(|| format!("{flag} needs a value"));
        let plan = &mut self.plan;
        match flag {
            "--quick" | "--full" => {}
            "--help" | "-h" => self.task = Task::Help,
            "--list" => self.task = Task::List,
            "--report" => self.task = Task::Report,
            "--engine" => self.engines = list(&text()?),
            "--scene" => self.scenes = list(&text()?),
            "--out" => self.out = PathBuf::from(text()?),
            "--rounds" => plan.rounds = number(flag, &text()?)?.max(1) as usize,
            "--keys" => plan.keys = number(flag, &text()?)?.max(100),
            "--big-keys" => plan.big_keys = number(flag, &text()?)?.max(100),
            "--memory-keys" => plan.memory_keys = number(flag, &text()?)?,
            "--value-bytes" => plan.value_bytes = number(flag, &text()?)? as usize,
            "--cache-mib" => plan.cache_bytes = number(flag, &text()?)? << 20,
            "--slice-ms" => plan.slice_ms = number(flag, &text()?)?.max(1),
            "--threads" => plan.read_threads = numbers(flag, &text()?)?,
            "--commit-threads" => plan.commit_threads = numbers(flag, &text()?)?,
            "--mixed-threads" => plan.mixed_threads = numbers(flag, &text()?)?,
            "--growth-keys" => {
                plan.growth_keys = numbers(flag, &text()?)?.into_iter().map(|keys| keys as u64).collect()
            }
            "--large-mib" => plan.large_bytes = number(flag, &text()?)? << 20,
            "--reopen-keys" => plan.reopen_keys = number(flag, &text()?)?.max(100),
            "--minutes" => plan.minutes_max = number(flag, &text()?)?,
            "--turn-seconds" => plan.turn_seconds_max = number(flag, &text()?)?,
            "--child" => {
                let (engine, scene, round) = (text()?, text()?, number(flag, &text()?)? as usize);
                self.task = Task::Child(Turn { engine, scene, round, folder: PathBuf::from(text()?) }, false);
            }
            "--second" => {
                if let Task::Child(_, is_second) = &mut self.task {
                    *is_second = true;
                }
            }
            unknown => return Err(format!("unknown flag {unknown}\n\n{USAGE}")),
        }
        Ok(())
    }

    /// Whether this engine is asked for.
    pub fn wants_engine(&self, name: &str) -> bool {
        matches(&self.engines, name)
    }

    /// Whether this workload is asked for.
    pub fn wants_scene(&self, name: &str) -> bool {
        matches(&self.scenes, name)
    }
}

fn matches(parts: &[String], name: &str) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn number(flag: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{flag}: {text} is no number"))
}

fn numbers(flag: &str, text: &str) -> Result<Vec<usize>, String> {
    let found: Result<Vec<usize>, String> =
        list(text).iter().map(|part| number(flag, part).map(|n| n.max(1) as usize)).collect();
    found.and_then(|found| if found.is_empty() { Err(format!("{flag} needs numbers")) } else { Ok(found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_turn_gets_the_plan_of_its_parent() {
        let parent = parse("--keys 500 --threads 1,4").expect("good flags");
        let child = parse("--keys 500 --threads 1,4 --child redb reads 2 some/folder").expect("good flags");
        assert_eq!(parent.plan, child.plan);
        let turn = Turn { engine: "redb".into(), scene: "reads".into(), round: 2, folder: "some/folder".into() };
        assert_eq!(child.task, Task::Child(turn, false));
    }

    #[test]
    fn bad_flags_are_refused_by_name() {
        assert!(parse("--kezs 5").expect_err("unknown").contains("--kezs"));
        assert!(parse("--keys many").expect_err("no number").contains("many"));
        assert!(parse("--rounds").expect_err("no value").contains("--rounds"));
    }

    #[test]
    fn filters_take_parts_of_names() {
        let options = parse("--engine duramen,redb --scene ycsb").expect("good flags");
        assert!(
            options.wants_engine("duramen-lsm") && !options.wants_engine("sled") && options.wants_scene("ycsb-sync")
        );
    }
}
