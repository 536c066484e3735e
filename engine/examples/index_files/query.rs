//! Queries on one snapshot: a word, the words with a prefix, the words of a range. They see the index as it was when they began, even while
//! others go on indexing.

use std::ops::Bound;
use std::time::Instant;

use duramen::{Reader, Snapshot};

use crate::Outcome;
use crate::layout::{CHUNK_BYTES, Index, chunk_key};
use crate::words::Posting;

/// Documents or words shown for one query.
const SHOWN_MAX: usize = 5;
/// Text shown around a find, in bytes.
const EXCERPT_BYTES: usize = 70;

/// Answers `WORD`, `PREFIX*` or `FROM..TO`.
pub(crate) fn answer(index: &Index, snapshot: &Snapshot, text: &str) -> Outcome<()> {
    let started = Instant::now();
    let text = text.to_ascii_lowercase();
    println!("\nquery        {text}");
    if let Some(prefix) = text.strip_suffix('*') {
        list_words(index, snapshot, prefix.as_bytes(), &|word| word.starts_with(prefix.as_bytes()))?;
    } else if let Some((from, to)) = text.split_once("..") {
        list_words(index, snapshot, from.as_bytes(), &|word| word < to.as_bytes())?;
    } else {
        list_documents(index, snapshot, text.as_bytes())?;
    }
    println!("             answered in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// The documents that contain a word, those with most of it first, with the place where it occurs first.
fn list_documents(index: &Index, snapshot: &Snapshot, word: &[u8]) -> Outcome<()> {
    let mut found: Vec<(u32, Posting)> = index.postings(snapshot, word)?.collect::<duramen::Result<_>>()?;
    println!("             in {} documents", found.len());
    found.sort_by_key(|(id, posting)| (std::cmp::Reverse(posting.count), *id));
    for (id, posting) in found.into_iter().take(SHOWN_MAX) {
        let record = index.record(snapshot, id)?.ok_or_else(|| format!("document {id} has words but no record"))?;
        println!("  {:>7} x  {}", posting.count, record.name);
        println!("             {}", excerpt(index, snapshot, id, posting.first_offset as usize)?);
    }
    Ok(())
}

/// The text around an offset of a document, on one line, as far as one chunk has it.
fn excerpt(index: &Index, snapshot: &Snapshot, id: u32, offset: usize) -> Outcome<String> {
    let chunk_no = (offset / CHUNK_BYTES) as u32;
    let chunk = snapshot
        .get(&index.chunks, chunk_key(id, chunk_no))?
        .ok_or_else(|| format!("document {id} lacks chunk {chunk_no}"))?;
    let start = (offset % CHUNK_BYTES).saturating_sub(EXCERPT_BYTES / 2);
    let end = chunk.len().min(start + EXCERPT_BYTES);
    let text = String::from_utf8_lossy(chunk.get(start..end).unwrap_or_default()).into_owned();
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The words from `from` on as long as `belongs` says so, with the number of documents that contain each.
fn list_words(index: &Index, snapshot: &Snapshot, from: &[u8], belongs: &dyn Fn(&[u8]) -> bool) -> Outcome<()> {
    let mut word_count = 0;
    let mut next = index.next_word(snapshot, Bound::Included(from))?;
    while let Some(word) = next.filter(|word| belongs(word)) {
        word_count += 1;
        if word_count <= SHOWN_MAX {
            println!("  {:>7} documents  {}", index.postings(snapshot, &word)?.count(), String::from_utf8_lossy(&word));
        }
        // Behind all postings of this word, however many there are: its end mark is 0, so 1 is greater than all of them.
        next = index.next_word(snapshot, Bound::Excluded(&[&word[..], &[1]].concat()))?;
    }
    println!("             {word_count} words in all");
    Ok(())
}
