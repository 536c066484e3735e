//! The command line. Knows what may be asked for, not how it is done.

use std::path::PathBuf;
use std::thread;

use crate::Outcome;

const USAGE: &str = "\
index_files [DIR] [options]
  DIR            folder whose text files are indexed (default: the documentation of the Rust toolchain, else seeded text)
  --seeded MB    index MB of text made from a seed instead of a folder
  --db PATH      where the database lies (default: duramen-index-files in the folder for temporary files)
  --threads N    indexing or checking threads (default: one for each processor)
  --limit-mb N   index the first N MB of the input only
  --memory-mb N  memory budget of the database (default: 256)
  --query TEXT   do not index; answer WORD, PREFIX* or FROM..TO
  --check        do not index; prove that all keyspaces of the database agree";

/// What the run is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Index what is not indexed yet, then answer some queries.
    Index,
    /// Answer one query.
    Query(String),
    /// Compare the keyspaces.
    Check,
}

/// The command line, understood.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) task: Task,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) seeded_bytes: Option<u64>,
    pub(crate) limit_bytes: u64,
    pub(crate) db: PathBuf,
    pub(crate) thread_count: usize,
    pub(crate) memory_bytes: u64,
}

impl Arguments {
    /// What this process was started with.
    pub(crate) fn from_command_line() -> Outcome<Arguments> {
        Arguments::parse(std::env::args().skip(1)).map_err(|what| format!("{what}\n{USAGE}").into())
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut arguments = Arguments {
            task: Task::Index,
            folder: None,
            seeded_bytes: None,
            limit_bytes: u64::MAX,
            db: std::env::temp_dir().join("duramen-index-files"),
            thread_count: thread::available_parallelism().map_or(2, usize::from),
            memory_bytes: 256 << 20,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--db" => arguments.db = value()?.into(),
                "--threads" => arguments.thread_count = value()?.parse::<usize>()?.max(1),
                "--seeded" => arguments.seeded_bytes = Some(megabytes(&value()?)?),
                "--limit-mb" => arguments.limit_bytes = megabytes(&value()?)?,
                "--memory-mb" => arguments.memory_bytes = megabytes(&value()?)?,
                "--query" => arguments.task = Task::Query(value()?),
                "--check" => arguments.task = Task::Check,
                flag if flag.starts_with('-') => return Err(format!("{flag} is not an option").into()),
                folder => arguments.folder = Some(folder.into()),
            }
        }
        Ok(arguments)
    }
}

fn megabytes(text: &str) -> Outcome<u64> {
    Ok(text.parse::<u64>()?.checked_mul(1_000_000).ok_or("too many megabytes")?)
}
