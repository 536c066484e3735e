//! The progress bar, and the memory of the process as the system sees it.
//!
//! On a terminal one line is drawn over and over; in a file or a pipe there is a line every few seconds. All of it on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duramen::Database;

/// Time between two lines where lines stay.
const LINE_PAUSE: Duration = Duration::from_secs(5);
const BAR_WIDTH: usize = 24;

/// How far the job is.
pub(crate) struct Progress {
    started: Instant,
    is_terminal: bool,
    file_count: usize,
    byte_count: u64,
    files: AtomicU64,
    bytes: AtomicU64,
    not_text: AtomicU64,
    last_shown: Mutex<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new(file_count: usize, byte_count: u64) -> Progress {
        Progress {
            started: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            file_count,
            byte_count,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            not_text: AtomicU64::new(0),
            last_shown: Mutex::new(None),
        }
    }

    /// One more item is dealt with.
    pub(crate) fn done(&self, bytes: u64) {
        // Relaxed: figures for the eye.
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One item was no text. Counted only: there are many pictures in a documentation.
    pub(crate) fn not_text(&self) {
        self.not_text.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows the state, if it is time.
    pub(crate) fn show(&self, db: &Database) {
        let mut last_shown = self.last_shown.lock().expect("no holder panics");
        if !self.is_terminal && last_shown.is_some_and(|at| at.elapsed() < LINE_PAUSE) {
            return;
        }
        *last_shown = Some(Instant::now());
        let (start, end) = if self.is_terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        eprint!("{start}{}{end}", self.line(db));
        // A terminal that is gone is no reason to stop.
        let _ = std::io::stderr().flush();
    }

    /// The bar, the rate, and how long it will take at that rate.
    fn line(&self, db: &Database) -> String {
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let seconds = self.started.elapsed().as_secs_f64();
        let share = bytes as f64 / self.byte_count.max(1) as f64;
        let filled = (share * BAR_WIDTH as f64) as usize;
        let left = if bytes == 0 { "?".to_owned() } else { format!("{:.0}", seconds / share - seconds) };
        format!(
            "[{}{}] {:3.0} %  {files}/{} files  {:.1} MB/s  {left} s left  {} in memory, {} of them budget",
            "#".repeat(filled),
            ".".repeat(BAR_WIDTH.saturating_sub(filled)),
            share * 100.0,
            self.file_count,
            bytes as f64 / 1e6 / seconds.max(0.001),
            memory("VmRSS:"),
            megabytes(db.stats().memory_bytes),
        )
    }

    /// Replaces the bar by what was done.
    pub(crate) fn finish(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let bytes = self.bytes.load(Ordering::Relaxed);
        println!(
            "indexed      {} files ({} of them not text), {} in {seconds:.1} s, {:.1} MB/s",
            self.files.load(Ordering::Relaxed),
            self.not_text.load(Ordering::Relaxed),
            megabytes(bytes),
            bytes as f64 / 1e6 / seconds.max(0.001),
        );
    }
}

/// The most memory that the process had so far.
pub(crate) fn peak_memory() -> String {
    memory("VmHWM:")
}

/// A line of what Linux tells about this process; other systems do not.
fn memory(line: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.map_or_else(|| "an unknown amount".to_owned(), |kibibytes| megabytes(kibibytes << 10))
}

/// A size for the eye.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
