//! Proves that the keyspaces agree: on one snapshot, everything that a record promises is there, and there is nothing else.
//!
//! V1  Every record's chunks are all there, and have the bytes it says; where the file is still there with that length, they equal it.
//! V2  The words of the stored text, found anew, are the postings of the document, with the same counts and offsets.
//! V3  No two records have the same name: nothing was indexed twice.
//! V4  There are as many chunks and postings as all records together say. With V1 and V2: there are no others.
//! V5  The stores' own check of all their pages and tables finds nothing.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use duramen::{Keyspace, Reader, Snapshot, VerifyLevel};

use crate::Outcome;
use crate::layout::{FileRecord, Index, chunk_key, posting_key};
use crate::progress::{megabytes, peak_memory};
use crate::words::{Posting, words_of};

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    documents: u64,
    bytes: u64,
    chunks: u64,
    postings: u64,
    equal_to_file: u64,
}

/// Checks V1 to V5; the first thing that does not hold is the error.
pub(crate) fn run(index: &Index, thread_count: usize) -> Outcome<()> {
    let started = Instant::now();
    let snapshot = index.db.snapshot()?;
    let records: Vec<(u32, FileRecord)> = index.records(&snapshot)?.collect::<duramen::Result<_>>()?;
    check_names(&records)?;
    let sums = check_documents(index, &snapshot, &records, thread_count)?;
    check_count(&snapshot, &index.chunks, sums.chunks)?;
    check_count(&snapshot, &index.words, sums.postings)?;
    let report = index.db.verify(VerifyLevel::Full)?;
    if !report.is_clean() {
        return Err(format!("the stores' own check found: {report:?}").into());
    }
    println!(
        "check        all agree: {} documents ({} equal to their files), {}, {} chunks, {} postings; {:.1} s, {} peak memory",
        sums.documents,
        sums.equal_to_file,
        megabytes(sums.bytes),
        sums.chunks,
        sums.postings,
        started.elapsed().as_secs_f64(),
        peak_memory(),
    );
    Ok(())
}

/// V3.
fn check_names(records: &[(u32, FileRecord)]) -> Outcome<()> {
    let mut names = HashSet::new();
    match records.iter().find(|(_, record)| !names.insert(&record.name)) {
        Some((id, record)) => {
            Err(format!("{} was indexed twice, the second time as document {id}", record.name).into())
        }
        None => Ok(()),
    }
}

/// V1 and V2 for all documents, by several threads on the same snapshot.
fn check_documents(
    index: &Index,
    snapshot: &Snapshot,
    records: &[(u32, FileRecord)],
    thread_count: usize,
) -> Outcome<Sums> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sums = Sums::default();
        while let Some((id, record)) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
            sums += check_document(index, snapshot, *id, record)
                .map_err(|what| format!("document {id}, {}: {what}", record.name))?;
        }
        Ok::<Sums, String>(sums)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        let mut sums = Sums::default();
        for worker in workers {
            sums += worker.join().expect("a checker panicked")?;
        }
        Ok(sums)
    })
}

fn check_document(index: &Index, snapshot: &Snapshot, id: u32, record: &FileRecord) -> Outcome<Sums> {
    let text = stored_text(index, snapshot, id, record)?;
    let words = words_of(&record.name, &text);
    if words.len() != record.word_count as usize {
        return Err(format!("the text has {} words, the record says {}", words.len(), record.word_count).into());
    }
    for (word, expected) in &words {
        let found = snapshot.get_with(&index.words, posting_key(word, id), |value| value.map(Posting::decode))?;
        if found != Some(*expected) {
            return Err(format!(
                "{:?} is {expected:?} in the text, {found:?} in the index",
                String::from_utf8_lossy(word)
            )
            .into());
        }
    }
    // Seeded text has no file, and a file may have changed since.
    let file = std::fs::read(&record.name).ok().filter(|file| file.len() == text.len());
    if file.as_ref().is_some_and(|file| *file != text) {
        return Err("the file has the same length and another content".into());
    }
    Ok(Sums {
        documents: 1,
        bytes: record.bytes,
        chunks: u64::from(record.chunk_count),
        postings: words.len() as u64,
        equal_to_file: u64::from(file.is_some()),
    })
}

/// V1.
fn stored_text(index: &Index, snapshot: &Snapshot, id: u32, record: &FileRecord) -> Outcome<Vec<u8>> {
    let mut text = Vec::new();
    for (chunk_no, entry) in (0..).zip(snapshot.prefix(&index.chunks, id.to_be_bytes())?) {
        let entry = entry?;
        if entry.key != chunk_key(id, chunk_no)[..] {
            return Err(format!("chunk {chunk_no} is missing").into());
        }
        text.extend_from_slice(&entry.value);
    }
    if text.len() as u64 != record.bytes {
        return Err(format!("{} bytes are stored, the record says {}", text.len(), record.bytes).into());
    }
    Ok(text)
}

/// V4, by a walk over the whole keyspace.
fn check_count(snapshot: &Snapshot, keyspace: &Keyspace, expected: u64) -> Outcome<()> {
    let mut found = 0;
    for entry in snapshot.iter(keyspace)? {
        entry?;
        found += 1;
    }
    if found != expected {
        return Err(format!("{} holds {found} entries, the records say {expected}", keyspace.name()).into());
    }
    Ok(())
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.chunks += other.chunks;
        self.postings += other.postings;
        self.equal_to_file += other.equal_to_file;
    }
}
