//! The page map: where the durable superblock has each page. A radix tree of chunks, copied on write.
//!
//! The whole map is kept in memory, 8 bytes a page. It belongs to the checkpoint: readers use the page table.
//!
//! On disk: Page map chunk (map_chunk.hex)
//!
//! Each chunk is a page image of kind `MapChunk` with `level` and `self_id = level << 48 | index`, whose raw body is
//! ```text
//!   entry*      u64 little-endian, at most FANOUT; missing ones at the end are zero
//!   entry    := unit (bits 0..40) | units (bits 40..48) << 40 | write_seq (bits 48..64) << 48        zero: nothing
//! ```
//! Entry `i` of the chunk `index` at level 0 is page id `index * FANOUT + i`; at level n + 1 it is chunk `index * FANOUT + i` of level n.
//! The superblock names the root chunk and the number of levels.
//!
//! N1  No chunk is empty; the map of a store is never empty (the root page).
//! N2  A map never gets lower.

use std::collections::BTreeMap;

use duramen_base::Result;

/// Entries of a chunk: with the image header they fill one unit. On disk. Never change.
pub(crate) const FANOUT: u64 = 480;
/// Most levels: more page ids than 40 bits of units can hold.
pub(crate) const LEVELS_MAX: usize = 5;

/// Where an image lies, and which writing of it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskAddr {
    /// First unit.
    pub(crate) unit: u64,
    /// Number of units.
    pub(crate) units: u8,
    /// Write sequence that the image must carry.
    pub(crate) write_seq: u16,
}

impl DiskAddr {
    /// First unit behind it.
    pub(crate) fn end(self) -> u64 {
        self.unit + u64::from(self.units)
    }

    /// The entry.
    pub(crate) fn pack(self) -> u64 {
        debug_assert!(self.unit < 1 << 40 && self.units > 0, "an address fits its entry");
        self.unit | u64::from(self.units) << 40 | u64::from(self.write_seq) << 48
    }

    /// Whether a u64 of a file can be an entry: nothing, or an address of at least a unit.
    pub(crate) fn is_entry(entry: u64) -> bool {
        entry == 0 || entry >> 40 & 0xff != 0
    }

    /// The address in an entry; `None`: nothing.
    pub(crate) fn unpack(entry: u64) -> Option<DiskAddr> {
        (entry != 0).then_some(DiskAddr {
            unit: entry & ((1 << 40) - 1),
            units: (entry >> 40) as u8,
            write_seq: (entry >> 48) as u16,
        })
    }
}

/// Name of a chunk: level and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkId {
    pub(crate) level: u8,
    pub(crate) index: u64,
}

impl ChunkId {
    /// What the image of the chunk carries as its own id.
    pub(crate) fn self_id(self) -> u64 {
        u64::from(self.level) << 48 | self.index
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    entries: Vec<u64>,
    addr: DiskAddr,
}

/// The map of the durable superblock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageMap {
    levels: Vec<BTreeMap<u64, Chunk>>,
}

/// A map's changes, written but not yet in force.
#[derive(Debug)]
pub(crate) struct MapEdit {
    levels: Vec<BTreeMap<u64, Option<Chunk>>>,
}

/// Levels that page ids up to `pid` need.
fn levels_for(pid: u64) -> usize {
    let mut levels = 1;
    let mut index = pid / FANOUT;
    while index > 0 {
        index /= FANOUT;
        levels += 1;
    }
    levels
}

fn is_empty(entries: &[u64]) -> bool {
    entries.iter().all(|&entry| entry == 0)
}

/// The raw body of a chunk.
pub(crate) fn encode_chunk(entries: &[u64]) -> Vec<u8> {
    let used = entries.iter().rposition(|&entry| entry != 0).map_or(0, |last| last + 1);
    entries[..used].iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// The entries in the raw body of a chunk; `None` if it is none. Total.
pub(crate) fn decode_chunk(body: &[u8]) -> Option<Vec<u64>> {
    let (entries, rest) = body.as_chunks::<8>();
    if !rest.is_empty() || entries.len() as u64 > FANOUT {
        return None;
    }
    let mut entries: Vec<u64> = entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect();
    entries.resize(FANOUT as usize, 0);
    (!is_empty(&entries) && entries.iter().copied().all(DiskAddr::is_entry)).then_some(entries)
}

impl PageMap {
    /// Reads a map from its root. `read` gives the entries of a chunk.
    pub(crate) fn read(
        root: DiskAddr,
        levels: u8,
        mut read: impl FnMut(ChunkId, DiskAddr) -> Result<Vec<u64>>,
    ) -> Result<PageMap> {
        let mut map = PageMap { levels: vec![BTreeMap::new(); usize::from(levels)] };
        let mut wanted = vec![(0, root)];
        for level in (0..levels).rev() {
            let mut below = Vec::new();
            for (index, addr) in wanted {
                let entries = read(ChunkId { level, index }, addr)?;
                if level > 0 {
                    below.extend(addresses(index, &entries));
                }
                map.levels[usize::from(level)].insert(index, Chunk { entries, addr });
            }
            wanted = below;
        }
        Ok(map)
    }

    /// Number of levels.
    pub(crate) fn levels(&self) -> u8 {
        self.levels.len() as u8
    }

    /// Where the root chunk lies.
    pub(crate) fn root(&self) -> Option<DiskAddr> {
        Some(self.levels.last()?.get(&0)?.addr)
    }

    /// Where a page lies.
    pub(crate) fn get(&self, pid: u64) -> Option<DiskAddr> {
        let chunk = self.levels.first()?.get(&(pid / FANOUT))?;
        DiskAddr::unpack(chunk.entries[(pid % FANOUT) as usize])
    }

    /// All pages, by id ascending.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u64, DiskAddr)> {
        self.levels.first().into_iter().flatten().flat_map(|(&index, chunk)| addresses(index, &chunk.entries))
    }

    /// All chunks.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (ChunkId, DiskAddr, &[u64])> {
        self.levels.iter().enumerate().flat_map(|(level, chunks)| {
            chunks.iter().map(move |(&index, chunk)| {
                (ChunkId { level: level as u8, index }, chunk.addr, chunk.entries.as_slice())
            })
        })
    }

    /// Works out the map with `pages` changed (`None`: gone), bottom up; `write` stores a chunk and tells where. Chunks that end behind the unit
    /// `bound` are stored anew too.
    pub(crate) fn edit(
        &self,
        pages: &BTreeMap<u64, Option<DiskAddr>>,
        bound: u64,
        mut write: impl FnMut(ChunkId, &[u64]) -> Result<DiskAddr>,
    ) -> Result<MapEdit> {
        // What was never written need not be taken out.
        let mut changes: BTreeMap<u64, Option<DiskAddr>> = pages.clone();
        changes.retain(|&pid, addr| addr.is_some() || self.get(pid).is_some());
        let top_pid = changes.iter().rev().find(|(_, addr)| addr.is_some()).map_or(0, |(&pid, _)| pid);
        let old_levels = self.levels.len();
        let new_levels = levels_for(top_pid).max(old_levels); // N2
        let mut edit = MapEdit { levels: Vec::with_capacity(new_levels) };
        for level in 0..new_levels {
            let mut changed: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            // When the map gets higher, the old root becomes the first entry of a new chunk above it.
            if let Some(root) = self.root().filter(|_| level == old_levels) {
                changes.entry(0).or_insert(Some(root));
            }
            for (&id, &addr) in &changes {
                let entries = changed.entry(id / FANOUT).or_insert_with(|| self.entries(level, id / FANOUT));
                entries[(id % FANOUT) as usize] = addr.map_or(0, DiskAddr::pack);
            }
            changes.clear();
            if bound < u64::MAX {
                let behind = self.levels.get(level).into_iter().flatten().filter(|(_, chunk)| chunk.addr.end() > bound);
                for (&index, chunk) in behind {
                    changed.entry(index).or_insert_with(|| chunk.entries.clone());
                }
            }
            let mut written = BTreeMap::new();
            for (index, entries) in changed {
                let chunk = if is_empty(&entries) {
                    None // N1
                } else {
                    let addr = write(ChunkId { level: level as u8, index }, &entries)?;
                    Some(Chunk { entries, addr })
                };
                changes.insert(index, chunk.as_ref().map(|chunk| chunk.addr));
                written.insert(index, chunk);
            }
            edit.levels.push(written);
        }
        Ok(edit)
    }

    fn entries(&self, level: usize, index: u64) -> Vec<u64> {
        let chunk = self.levels.get(level).and_then(|chunks| chunks.get(&index));
        chunk.map_or_else(|| vec![0; FANOUT as usize], |chunk| chunk.entries.clone())
    }

    /// Puts an edit in force; the addresses that are free now, of chunks and pages.
    pub(crate) fn commit(&mut self, edit: MapEdit) -> Vec<DiskAddr> {
        let mut freed = Vec::new();
        for (level, written) in edit.levels.into_iter().enumerate() {
            if level == self.levels.len() {
                self.levels.push(BTreeMap::new());
            }
            for (index, chunk) in written {
                let new_entries = chunk.as_ref().map(|chunk| chunk.entries.clone()).unwrap_or_default();
                let old = match chunk {
                    Some(chunk) => self.levels[level].insert(index, chunk),
                    None => self.levels[level].remove(&index),
                };
                let Some(old) = old else { continue };
                freed.push(old.addr);
                if level == 0 {
                    let replaced = old.entries.iter().enumerate();
                    freed.extend(replaced.filter_map(|(slot, &entry)| {
                        (new_entries.get(slot) != Some(&entry)).then(|| DiskAddr::unpack(entry)).flatten()
                    }));
                }
            }
        }
        freed
    }
}

impl MapEdit {
    /// Where the new root chunk lies, and the number of levels.
    pub(crate) fn root(&self) -> (DiskAddr, u8) {
        let root = self.levels.last().and_then(|level| level.get(&0)).and_then(Option::as_ref);
        (root.expect("N1: the map of a store is never empty").addr, self.levels.len() as u8)
    }

    /// Whether nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.levels.iter().all(BTreeMap::is_empty)
    }
}

fn addresses(index: u64, entries: &[u64]) -> impl Iterator<Item = (u64, DiskAddr)> {
    entries
        .iter()
        .enumerate()
        .filter_map(move |(slot, &entry)| Some((index * FANOUT + slot as u64, DiskAddr::unpack(entry)?)))
}

#[cfg(test)]
mod tests;
