//! A journal as bytes, so that the run that failed a test can be kept and looked at again.
//!
//! A format for test artefacts: one version reads what it wrote itself, nothing more is promised. Little-endian `u64`s, byte
//! strings with their length before them, and a digest of everything at the end.
//!
//! SB1  Loading any bytes gives a journal that was saved, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, FILE_BYTES_MAX, PAGE_BYTES};
use super::hash;
use super::image::Image;
use super::journal::{Entry, Journal, Note};
use crate::vfs::names::{Names, Node, Place};

const MAGIC: &[u8; 8] = b"DURSIM01";

impl Journal {
    /// The journal as bytes, to be written to a file by the test that failed.
    ///
    /// ```
    /// use duramen_base::vfs::{sim::{Journal, SimVfs}, OpenMode, Vfs};
    /// let disk = SimVfs::new();
    /// disk.open("a".as_ref(), OpenMode::CreateNew)?.write_at(b"sap", 0)?;
    /// let kept = Journal::load(&disk.journal().save()).expect("just saved");
    /// assert_eq!(kept.process_death_at(kept.len()).digest(), disk.image().digest());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn save(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.image(&self.run.base);
        out.u64(self.run.entries.len() as u64);
        for entry in &self.run.entries {
            out.entry(entry);
        }
        let digest = hash::digest(&out.0);
        out.0.extend_from_slice(&digest.to_le_bytes());
        out.0
    }

    /// The journal that [`Journal::save`] made these bytes of; `None` for any others.
    pub fn load(bytes: &[u8]) -> Option<Journal> {
        let (body, digest) = bytes.split_last_chunk::<16>()?;
        if hash::digest(body).to_le_bytes() != *digest {
            return None;
        }
        let mut input = Reader(body.strip_prefix(MAGIC)?);
        let base = input.image()?;
        let count = input.u64()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(input.entry()?);
        }
        input.0.is_empty().then(|| Journal::new(base, entries))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.into_iter().for_each(|number| self.u64(number));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn place(&mut self, place: &Place) {
        self.u64(place.dir);
        self.bytes(place.name.as_bytes());
    }

    fn node(&mut self, node: &Node<u64>) {
        match node {
            Node::File(file) => self.numbers([0, *file]),
            Node::Dir(dir) => self.numbers([1, *dir]),
        }
    }

    fn image(&mut self, image: &Image) {
        self.u64(image.names.dirs().count() as u64);
        for dir in image.names.dirs() {
            self.numbers([dir, image.names.entries(dir).count() as u64]);
            for (name, node) in image.names.entries(dir) {
                self.bytes(name.as_bytes());
                self.node(node);
            }
        }
        self.u64(image.files.len() as u64);
        for (file, content) in &image.files {
            self.u64(*file);
            self.content(content);
        }
    }

    /// Only the pages that are there.
    fn content(&mut self, content: &Content) {
        let pages: Vec<u64> =
            (0..content.len().div_ceil(PAGE_BYTES)).filter(|page| content.page(*page).is_some()).collect();
        self.numbers([content.len(), pages.len() as u64]);
        for page in pages {
            let mut bytes = [0; PAGE_BYTES as usize];
            let count = content.read(&mut bytes, page * PAGE_BYTES);
            self.u64(page);
            self.bytes(&bytes[..count]);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Create { place, file } => {
                self.numbers([1, *file]);
                self.place(place);
            }
            Entry::CreateDir { place, dir } => {
                self.numbers([2, *dir]);
                self.place(place);
            }
            Entry::Rename { from, to, node } => {
                self.u64(3);
                self.place(from);
                self.place(to);
                self.node(node);
            }
            Entry::RemoveFile { place } => {
                self.u64(4);
                self.place(place);
            }
            Entry::RemoveDir { place } => {
                self.u64(5);
                self.place(place);
            }
            Entry::SyncDir { dir } => self.numbers([6, *dir]),
            Entry::Write { file, offset, bytes } => {
                self.numbers([7, *file, *offset]);
                self.bytes(bytes);
            }
            Entry::Zeros { file, offset, len } => self.numbers([8, *file, *offset, *len]),
            Entry::SetLen { file, len } => self.numbers([9, *file, *len]),
            Entry::Punch { file, offset, len } => self.numbers([10, *file, *offset, *len]),
            Entry::SyncData { file } => self.numbers([11, *file]),
            Entry::Revert { file } => self.numbers([12, *file]),
            Entry::Note(note) => self.numbers([13, note.tag, note.payload]),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }

    fn bytes(&mut self) -> Option<&[u8]> {
        let count = usize::try_from(self.u64()?).ok()?;
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn name(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place { dir: self.u64()?, name: self.name()? })
    }

    fn node(&mut self) -> Option<Node<u64>> {
        match self.u64()? {
            0 => Some(Node::File(self.u64()?)),
            1 => Some(Node::Dir(self.u64()?)),
            _ => None,
        }
    }

    fn image(&mut self) -> Option<Image> {
        let mut names = Names::new();
        for _ in 0..self.u64()? {
            let dir = self.u64()?;
            names.ensure_dir(dir);
            for _ in 0..self.u64()? {
                let place = Place { dir, name: self.name()? };
                let node = self.node()?;
                names.assign(&place, Some(node));
            }
        }
        let mut files = BTreeMap::new();
        for _ in 0..self.u64()? {
            files.insert(self.u64()?, Arc::new(self.content()?));
        }
        Some(Image { names, files })
    }

    fn content(&mut self) -> Option<Content> {
        let len = self.u64()?;
        let mut content = Content::default();
        content.set_len(len);
        for _ in 0..self.u64()? {
            let offset = self.u64()?.checked_mul(PAGE_BYTES).filter(|offset| *offset < len && len <= FILE_BYTES_MAX)?;
            content.write(offset, self.bytes()?);
        }
        Some(content)
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(match self.u64()? {
            1 => Entry::Create { file: self.u64()?, place: self.place()? },
            2 => Entry::CreateDir { dir: self.u64()?, place: self.place()? },
            3 => Entry::Rename { from: self.place()?, to: self.place()?, node: self.node()? },
            4 => Entry::RemoveFile { place: self.place()? },
            5 => Entry::RemoveDir { place: self.place()? },
            6 => Entry::SyncDir { dir: self.u64()? },
            7 => Entry::Write { file: self.u64()?, offset: self.u64()?, bytes: self.bytes()?.into() },
            8 => Entry::Zeros { file: self.u64()?, offset: self.u64()?, len: self.u64()? },
            9 => Entry::SetLen { file: self.u64()?, len: self.u64()? },
            10 => Entry::Punch { file: self.u64()?, offset: self.u64()?, len: self.u64()? },
            11 => Entry::SyncData { file: self.u64()? },
            12 => Entry::Revert { file: self.u64()? },
            13 => Entry::Note(Note { tag: self.u64()?, payload: self.u64()? }),
            _ => return None,
        })
    }
}
