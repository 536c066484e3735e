//! What a word is. The indexer and the checker both ask here, so a stored text gives the same words again.
//!
//! A word is a run of ASCII letters, digits, underscores and bytes above 127 (any other script, taken as it is), in lower case. Shorter and longer
//! runs are no words: a letter says nothing, and what is longer than any word is a checksum or an encoded picture. In markup, what
//! stands between `<` and `>` is not text.

use std::collections::HashMap;

/// Shortest and longest word, in bytes.
const WORD_BYTES: std::ops::RangeInclusive<usize> = 2..=40;

/// Where a word stands in one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    /// How often it occurs.
    pub(crate) count: u32,
    /// Where it occurs first, in bytes from the start of the document.
    pub(crate) first_offset: u32,
}

/// The words of a document; `name` tells whether it is markup.
pub(crate) fn words_of(name: &str, text: &[u8]) -> HashMap<Box<[u8]>, Posting> {
    let is_markup = [".html", ".htm", ".xml", ".svg"].iter().any(|end| name.ends_with(end));
    let mut found: HashMap<Box<[u8]>, Posting> = HashMap::new();
    let mut word = Vec::new();
    let mut in_tag = false;
    let mut start = 0;
    for (offset, &byte) in text.iter().chain(b" ").enumerate() {
        if is_word_byte(byte) {
            continue;
        }
        // `text[start..offset]` is a run of word bytes, maybe empty.
        if !in_tag && WORD_BYTES.contains(&(offset - start)) {
            word.clear();
            word.extend_from_slice(&text[start..offset]);
            word.make_ascii_lowercase();
            match found.get_mut(&word[..]) {
                Some(posting) => posting.count += 1,
                None => {
                    found.insert(word.as_slice().into(), Posting { count: 1, first_offset: start as u32 });
                }
            }
        }
        in_tag = is_markup && (byte == b'<' || in_tag && byte != b'>');
        start = offset + 1;
    }
    found
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Whether the beginning of a file looks like text: no NUL byte.
pub(crate) fn is_text(content: &[u8]) -> bool {
    !content[..content.len().min(8 << 10)].contains(&0)
}
