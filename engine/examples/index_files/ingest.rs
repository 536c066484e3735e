//! The threads that index: each takes the next item that is not in the index, reads it, and adds it in one transaction.
//!
//! What is done is read once, before the threads start: the names in `files`. A file that cannot be read is told and left for the next run; an
//! error of the database ends the job.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::layout::Index;
use crate::progress::Progress;
use crate::source::{Item, Source};
use crate::words::is_text;

/// How often the progress is shown.
const SHOW_PAUSE: Duration = Duration::from_millis(200);

/// What all threads share.
struct Job<'a> {
    index: &'a Index,
    source: &'a Source,
    todo: &'a [Item],
    next_item: AtomicUsize,
    next_id: AtomicU32,
    has_failed: AtomicBool,
    progress: Progress,
}

/// Indexes what is not indexed yet.
pub(crate) fn run(index: &Index, source: &Source, thread_count: usize) -> Outcome<()> {
    let (todo, next_id) = missing(index, source)?;
    let done = source.items.len() - todo.len();
    println!(
        "source       {}: {} files, {done} of them indexed before, {} left out",
        source.title,
        source.items.len(),
        source.left_out
    );
    let job = Job {
        index,
        source,
        todo: &todo,
        next_item: AtomicUsize::new(0),
        next_id: AtomicU32::new(next_id),
        has_failed: AtomicBool::new(false),
        progress: Progress::new(todo.len(), todo.iter().map(|item| item.bytes).sum()),
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(|| job.work())).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            job.progress.show(&index.db);
            thread::sleep(SHOW_PAUSE);
        }
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker panicked"))
    })?;
    job.progress.finish();
    Ok(())
}

/// The items without a record, and the first id that nobody has (I2).
fn missing(index: &Index, source: &Source) -> Outcome<(Vec<Item>, u32)> {
    let mut done = HashSet::new();
    let mut next_id = 0;
    for record in index.records(&index.db.snapshot()?)? {
        let (id, record) = record?;
        done.insert(record.name);
        next_id = id + 1;
    }
    Ok((source.items.iter().filter(|item| !done.contains(&item.name)).cloned().collect(), next_id))
}

impl Job<'_> {
    /// Takes items until there are none, or somebody failed.
    fn work(&self) -> Outcome<()> {
        while !self.has_failed.load(Ordering::Relaxed) {
            let Some(item) = self.todo.get(self.next_item.fetch_add(1, Ordering::Relaxed)) else { break };
            if let Err(error) = self.add(item) {
                self.has_failed.store(true, Ordering::Relaxed);
                return Err(format!("{}: {error}", item.name).into());
            }
        }
        Ok(())
    }

    fn add(&self, item: &Item) -> duramen::Result<()> {
        match self.source.read(item) {
            Ok(text) if is_text(&text) => {
                self.index.add(self.next_id.fetch_add(1, Ordering::Relaxed), &item.name, &text)?;
            }
            Ok(_) => self.progress.not_text(),
            Err(error) => eprintln!("{}: {error}: left for another run", item.name),
        }
        self.progress.done(item.bytes);
        Ok(())
    }
}
