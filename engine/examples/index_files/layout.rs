//! How the index lies in the database: keyspaces, keys, values, and the one transaction that adds a document.
//!
//! ```text
//!   files   B-tree   id                 ->  bytes, chunks, words, name     the record that says: this document is whole
//!   chunks  LSM      id chunk_no        ->  up to 32 KiB of text           written once, read in order: a log-structured tree's work
//!   words   B-tree   word 0 id          ->  count, first_offset            many small keys, read by ranges of words
//! ```
//! Numbers in keys are big-endian, so that they sort; in values little-endian. The 0 ends the word: no word contains it, so `lock 0 ...` are
//! the postings of `lock` alone, and they come before those of `lock_free`.
//!
//! I1  A document has its record, all its chunks and all its postings, or nothing: one transaction writes them.
//! I2  An id is given to one document. A run begins behind the highest id in use; the ids of transactions that failed stay unused.

use std::ops::Bound;

use duramen::{BackendKind, Database, Keyspace, Reader, Result, Snapshot};

use crate::words::{Posting, words_of};

/// Text in one chunk, at most.
pub(crate) const CHUNK_BYTES: usize = 32 << 10;

/// An open index. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    pub(crate) db: Database,
    pub(crate) files: Keyspace,
    pub(crate) chunks: Keyspace,
    pub(crate) words: Keyspace,
}

/// What is known of a document that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileRecord {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) chunk_count: u32,
    pub(crate) word_count: u32,
}

impl Index {
    /// The index in `db`, empty if it is new.
    pub(crate) fn open(db: &Database) -> Result<Index> {
        Ok(Index {
            db: db.clone(),
            files: db.keyspace("files", BackendKind::BTree)?,
            chunks: db.keyspace("chunks", BackendKind::Lsm)?,
            words: db.keyspace("words", BackendKind::BTree)?,
        })
    }

    /// Adds a document under an id of its own (I1).
    pub(crate) fn add(&self, id: u32, name: &str, text: &[u8]) -> Result<()> {
        let words = words_of(name, text);
        let record = FileRecord {
            name: name.to_owned(),
            bytes: text.len() as u64,
            chunk_count: text.chunks(CHUNK_BYTES).len() as u32,
            word_count: words.len() as u32,
        };
        self.db.update(|tx| {
            for (chunk_no, chunk) in (0..).zip(text.chunks(CHUNK_BYTES)) {
                tx.put(&self.chunks, chunk_key(id, chunk_no), chunk)?;
            }
            for (word, posting) in &words {
                tx.put(&self.words, posting_key(word, id), posting.encode())?;
            }
            tx.put(&self.files, id.to_be_bytes(), record.encode())
        })
    }

    /// Every document that is whole, in the order of ids.
    pub(crate) fn records(&self, view: &Snapshot) -> Result<impl Iterator<Item = Result<(u32, FileRecord)>> + use<>> {
        let entries = view.iter(&self.files)?;
        Ok(entries.map(|entry| entry.map(|entry| (id_of(&entry.key), FileRecord::decode(&entry.value)))))
    }

    /// The record of a document.
    pub(crate) fn record(&self, view: &Snapshot, id: u32) -> Result<Option<FileRecord>> {
        view.get_with(&self.files, id.to_be_bytes(), |value| value.map(FileRecord::decode))
    }

    /// The documents that contain `word`.
    pub(crate) fn postings(
        &self,
        view: &Snapshot,
        word: &[u8],
    ) -> Result<impl Iterator<Item = Result<(u32, Posting)>> + use<>> {
        let entries = view.prefix(&self.words, [word, &[0]].concat())?;
        Ok(entries.map(|entry| entry.map(|entry| (id_of(&entry.key), Posting::decode(&entry.value)))))
    }

    /// The first word behind `from`, a word or a bound between words.
    pub(crate) fn next_word(&self, view: &Snapshot, from: Bound<&[u8]>) -> Result<Option<Vec<u8>>> {
        let first = view.range::<&[u8]>(&self.words, (from, Bound::Unbounded))?.next().transpose()?;
        Ok(first.map(|entry| word_of(&entry.key).to_vec()))
    }
}

pub(crate) fn chunk_key(id: u32, chunk_no: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&chunk_no.to_be_bytes());
    key
}

pub(crate) fn posting_key(word: &[u8], id: u32) -> Vec<u8> {
    [word, &[0], &id.to_be_bytes()].concat()
}

/// The word in a posting's key.
pub(crate) fn word_of(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(5)]
}

/// The id at the end of a record's or posting's key.
fn id_of(key: &[u8]) -> u32 {
    key.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

impl Posting {
    fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[4..].copy_from_slice(&self.first_offset.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Posting {
        Posting { count: number(value, 0), first_offset: number(value, 4) }
    }
}

impl FileRecord {
    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(16 + self.name.len());
        value.extend_from_slice(&self.bytes.to_le_bytes());
        value.extend_from_slice(&self.chunk_count.to_le_bytes());
        value.extend_from_slice(&self.word_count.to_le_bytes());
        value.extend_from_slice(self.name.as_bytes());
        value
    }

    fn decode(value: &[u8]) -> FileRecord {
        FileRecord {
            bytes: u64::from(number(value, 0)) | u64::from(number(value, 4)) << 32,
            chunk_count: number(value, 8),
            word_count: number(value, 12),
            name: String::from_utf8_lossy(value.get(16..).unwrap_or_default()).into_owned(),
        }
    }
}

/// Four bytes of a value; what this program did not write gives a number that the check finds wrong.
fn number(value: &[u8], offset: usize) -> u32 {
    value.get(offset..).and_then(|rest| rest.first_chunk()).map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}
