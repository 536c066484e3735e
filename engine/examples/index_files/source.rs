//! Where the text comes from: the files of a folder, or documents made from a seed. A list that is the same in every run, and the content
//! of each item on demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::arguments::Arguments;

/// Made where there is no folder to index.
const SEEDED_BYTES: u64 = 200_000_000;
/// Longer files are left out: a document is one transaction, and a transaction has to fit into memory a few times.
const FILE_BYTES_MAX: u64 = 24 << 20;

/// One document to be.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its path, or what a seeded document is called.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What is to be indexed.
pub(crate) struct Source {
    pub(crate) title: String,
    pub(crate) items: Vec<Item>,
    /// Files that are too long, or whose names are not UTF-8.
    pub(crate) left_out: usize,
    /// Makes the text, if it does not come from files.
    seeded: Option<SeededText>,
}

impl Source {
    /// What the arguments ask for, or the best there is.
    pub(crate) fn find(arguments: &Arguments) -> Outcome<Source> {
        let folder = match arguments.seeded_bytes {
            Some(_) => None,
            None => arguments.folder.clone().or_else(toolchain_documentation),
        };
        let mut source = match folder {
            Some(folder) => Source::folder(&folder)?,
            None => Source::seeded(arguments.seeded_bytes.unwrap_or(SEEDED_BYTES)),
        };
        source.limit(arguments.limit_bytes);
        Ok(source)
    }

    fn folder(folder: &Path) -> Outcome<Source> {
        let folder = fs::canonicalize(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut source = Source { title: folder.display().to_string(), items: Vec::new(), left_out: 0, seeded: None };
        source.gather(&folder)?;
        source.items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(source)
    }

    /// All files under a folder. Symbolic links are not followed: they may lead in circles.
    fn gather(&mut self, folder: &Path) -> Outcome<()> {
        for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                self.gather(&entry.path())?;
            } else if metadata.is_file() {
                match entry.path().into_os_string().into_string() {
                    Ok(name) if metadata.len() <= FILE_BYTES_MAX => {
                        self.items.push(Item { name, bytes: metadata.len() })
                    }
                    _ => self.left_out += 1,
                }
            }
        }
        Ok(())
    }

    fn seeded(bytes: u64) -> Source {
        let mut items = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let number = items.len() as u64;
            // From notes of 5 kB to books of 300 kB.
            let bytes = (5_000 + Random::new(number).below(295_000)).min(left);
            items.push(Item { name: format!("seeded/{number:06}.txt"), bytes });
            left -= bytes;
        }
        Source { title: "text from a seed".to_owned(), items, left_out: 0, seeded: Some(SeededText::new()) }
    }

    /// Keeps the first `bytes` of the list.
    fn limit(&mut self, bytes: u64) {
        let mut sum = 0;
        self.items.retain(|item| {
            sum += item.bytes;
            sum <= bytes
        });
    }

    /// The content of an item.
    pub(crate) fn read(&self, item: &Item) -> std::io::Result<Vec<u8>> {
        match &self.seeded {
            Some(text) => Ok(text.document(item)),
            None => fs::read(&item.name),
        }
    }
}

/// The documentation that rustup installs with the toolchain.
fn toolchain_documentation() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let folder = Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("share").join("doc");
    folder.is_dir().then_some(folder)
}

/// Text with the statistics of language: few words are frequent, most are rare (Zipf's law).
struct SeededText {
    vocabulary: Vec<String>,
}

impl SeededText {
    const WORD_COUNT: u64 = 50_000;

    fn new() -> SeededText {
        const SYLLABLES: [&str; 16] =
            ["ba", "lo", "re", "ti", "sen", "ka", "mur", "ne", "vi", "do", "sta", "pel", "u", "gri", "on", "fa"];
        let word = |number: u64| {
            let mut random = Random::new(number);
            let mut word: String = (0..2 + random.below(3)).map(|_| SYLLABLES[random.below(16) as usize]).collect();
            // The number makes words distinct; frequent ones stay short.
            if number >= 1000 {
                word.push_str(&format!("{number:x}"));
            }
            word
        };
        SeededText { vocabulary: (0..Self::WORD_COUNT).map(word).collect() }
    }

    fn document(&self, item: &Item) -> Vec<u8> {
        let seed = item.name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut random = Random::new(seed);
        let mut text = Vec::with_capacity(item.bytes as usize + 32);
        while (text.len() as u64) < item.bytes {
            // The exponential of an even number: rank r comes with a probability like 1/r.
            let rank = (Self::WORD_COUNT as f64).powf(random.below(1 << 20) as f64 / f64::from(1 << 20)) as usize - 1;
            text.extend_from_slice(self.vocabulary[rank].as_bytes());
            text.push(if random.below(12) == 0 { b'\n' } else { b' ' });
        }
        text.truncate(item.bytes as usize);
        text
    }
}

/// Numbers without a pattern that matters here (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end
    }
}
