//! Reading what can be read of a damaged `tree.dat`, beside the store: nothing is opened, nothing written.
//!
//! While a superblock and the whole page map can be read, every leaf that the map names is taken, damaged inner pages or not. Otherwise all leaves
//! in the file are looked for, the newest writing first, and each gives the keys that no newer one encloses.
//!
//! Z3  With the page map: exactly the durable tree, without the keys of damaged leaves.
//! Z4  Without it, pages that were given up are leaves too: a key whose newer leaf is damaged may show an older value, or one that was deleted.
//!     The loss that says so comes first.

use std::collections::BTreeMap;

use duramen_base::image::{Identity, Image, ImageKind};
use duramen_base::ingest::{list_path, read_list};
use duramen_base::salvage::{
    ImageSearch, Loss, Salvage, StoreFiles, give_ingested, give_versions, of_ingest, read_what_can_be,
};
use duramen_base::values::SalvagedValues;
use duramen_base::vfs::File;
use duramen_base::{Error, IngestRecord, Result, StoreMark, Timestamp, mutant};

use crate::ingest::RunList;
use crate::map::{DiskAddr, PageMap};
use crate::open::{FILE_NAME, Reader};
use crate::pid_table::ROOT_PID;
use crate::range_tombs::RangeTombs;
use crate::read::{decode_image, read_units};
use crate::superblock::{Copy, Superblock, offset_of};
use crate::units::{SUPERBLOCK_UNITS, UNIT_BYTES};

/// Gives everything that can be read to `sink`. Returns what the files say of themselves: only later commits need to be taken
/// from the log; `seq` is zero where it cannot be read.
///
/// ```
/// # use duramen_base::{KeyspaceId, Timestamp, vfs::MemVfs};
/// # use duramen_base::salvage::{Loss, Salvage, StoreFiles};
/// #[derive(Default)]
/// struct Count(usize, Vec<Loss>);
/// impl Salvage for Count {
///     fn version(&mut self, _: &[u8], _: Timestamp, _: Option<&[u8]>) -> duramen_base::Result<()> {
///         self.0 += 1;
///         Ok(())
///     }
///     fn range_delete(&mut self, _: &[u8], _: &[u8], _: Timestamp) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn lost(&mut self, loss: Loss) {
///         self.1.push(loss);
///     }
/// }
/// let disk = MemVfs::new();
/// let files = StoreFiles { vfs: &disk, dir: "ks/1".as_ref(), keyspace: KeyspaceId::new(1), db_uuid: None };
/// let mut count = Count::default();
/// duramen_btree::salvage(&files, &mut count)?;
/// assert_eq!((count.0, count.1.len()), (0, 1), "a missing file is a loss, not an error");
/// # Ok::<(), duramen_base::Error>(())
/// ```
///
/// # Errors
/// Those of `sink`, no others.
pub fn salvage(files: &StoreFiles<'_>, sink: &mut dyn Salvage) -> Result<StoreMark> {
    let file = match files.open(FILE_NAME) {
        Ok(file) => file,
        Err(error) => {
            sink.lost(all_of(Loss::of(&error, &files.dir.join(FILE_NAME), 0)));
            return Ok(unknown(Timestamp::ZERO));
        }
    };
    let units = file.len().unwrap_or(0) / UNIT_BYTES as u64;
    let (values, losses) = SalvagedValues::find(files);
    losses.into_iter().for_each(|loss| sink.lost(loss));
    let tree = Tree { files, file: &file, values, reader: Reader { file: &file, keyspace: files.keyspace, units } };
    let superblock = tree.newest_superblock();
    if let Ok(superblock) = &superblock {
        tree.give_range_deletes(superblock, sink)?;
    }
    let map = superblock.as_ref().map_err(|loss| loss.clone()).and_then(|superblock| {
        let lost = |error| Loss::of(&error, file.path(), superblock.map_root.unit * UNIT_BYTES as u64);
        Ok((superblock, tree.reader.map(superblock).map_err(lost)?))
    });
    match map {
        Ok((superblock, map)) => {
            tree.give_mapped(&map, sink)?;
            Ok(StoreMark { seq: superblock.seq, persisted: superblock.ckpt_ts, contains: superblock.max_ts })
        }
        Err(mut loss) => {
            loss.what.push_str(": leaves are looked for in the whole file; some may be older than they should be (Z4)");
            sink.lost(loss);
            let newest = superblock.ok().map(|superblock| superblock.map_root.write_seq);
            tree.give_found(newest, sink).map(unknown)
        }
    }
}

/// Gives what an ingest brought that the log names and, by their own account, these files do not: the leaves that its list names.
///
/// ```
/// # use duramen_base::{IngestRecord, KeyspaceId, Timestamp, vfs::MemVfs};
/// # use duramen_base::salvage::{Loss, Salvage, StoreFiles};
/// #[derive(Default)]
/// struct Losses(Vec<Loss>);
/// impl Salvage for Losses {
///     fn version(&mut self, _: &[u8], _: Timestamp, _: Option<&[u8]>) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn range_delete(&mut self, _: &[u8], _: &[u8], _: Timestamp) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn lost(&mut self, loss: Loss) {
///         self.0.push(loss);
///     }
/// }
/// let disk = MemVfs::new();
/// let keyspace = KeyspaceId::new(1);
/// let files = StoreFiles { vfs: &disk, dir: "ks/1".as_ref(), keyspace, db_uuid: None };
/// let record = IngestRecord { keyspace, digest: 0, number: 5, bytes: 0 };
/// let mut losses = Losses::default();
/// duramen_btree::salvage_ingest(&files, &record, Timestamp::new(9), &mut losses)?;
/// assert_eq!(losses.0.len(), 1, "a missing list is a loss, not an error");
/// # Ok::<(), duramen_base::Error>(())
/// ```
///
/// # Errors
/// Those of `sink`, no others.
pub fn salvage_ingest(
    files: &StoreFiles<'_>,
    record: &IngestRecord,
    ts: Timestamp,
    sink: &mut dyn Salvage,
) -> Result<()> {
    let none = || Error::corruption(list_path(files.dir, record.number), 0, "a list of leaves that is none");
    let list = read_list(files, record).and_then(|(_, pages)| RunList::decode(&pages).ok_or_else(none));
    let (list, file) = match list.and_then(|list| Ok((list, files.open(FILE_NAME)?))) {
        Ok(found) => found,
        Err(error) => {
            sink.lost(of_ingest(&error, &list_path(files.dir, record.number), ts));
            return Ok(());
        }
    };
    let (values, _) = SalvagedValues::find(files); // its losses were told with those of the tree
    let highs = list.pages.iter().skip(1).map(|page| &page.low).chain([&list.high]);
    for (page, high) in list.pages.iter().zip(highs) {
        match read_page(files, &file, page.pid, page.addr) {
            Ok(image) => give_ingested(&image, ts, &values, sink)?,
            Err(error) => {
                let loss = Loss::of(&error, file.path(), page.addr.unit * UNIT_BYTES as u64);
                sink.lost(Loss { keys: Some((page.low.clone(), high.clone())), ..loss });
            }
        }
    }
    Ok(())
}

/// Files that only tell by their pages how far they go.
fn unknown(persisted: Timestamp) -> StoreMark {
    StoreMark { seq: 0, persisted, contains: persisted }
}

/// A loss of every key.
fn all_of(loss: Loss) -> Loss {
    Loss { keys: Some((Vec::new(), Vec::new())), ..loss }
}

struct Tree<'a> {
    files: &'a StoreFiles<'a>,
    file: &'a File,
    values: SalvagedValues,
    reader: Reader<'a>,
}

/// A leaf found without its parent.
struct FoundLeaf {
    at: u64,
    bytes: usize,
    identity: Identity,
    max_ts: Timestamp,
}

impl Tree<'_> {
    fn newest_superblock(&self) -> Result<Superblock, Loss> {
        let mut newest: Option<Superblock> = None;
        let mut damage = Loss::new(self.file.path(), 0, "no superblock");
        for slot in 0..SUPERBLOCK_UNITS {
            let bytes = read_what_can_be(self.file, offset_of(slot), UNIT_BYTES);
            match Superblock::decode(&bytes, self.file.path()) {
                Ok(Copy::Valid(found)) if !self.files.is_ours(found.db_uuid) => {
                    damage.what = "the superblock of another database".to_owned();
                }
                Ok(Copy::Valid(found)) if found.keyspace != self.files.keyspace => {
                    damage.what = "the superblock of another keyspace".to_owned();
                }
                Ok(Copy::Valid(found)) if newest.as_ref().is_none_or(|newest| newest.seq < found.seq) => {
                    newest = Some(*found);
                }
                Ok(Copy::Valid(_)) => {}
                Ok(Copy::Damaged(what)) => damage.what = what.to_owned(),
                Err(error) => damage = Loss::of(&error, self.file.path(), offset_of(slot)),
            }
        }
        newest.ok_or(damage)
    }

    fn give_range_deletes(&self, superblock: &Superblock, sink: &mut dyn Salvage) -> Result<()> {
        match self.reader.tombs(&superblock.tombs) {
            Ok((tombs, _)) => give_tombs(&tombs, sink),
            Err(error) => {
                let mut loss = Loss::of(&error, self.file.path(), offset_of(superblock.seq));
                loss.what.push_str(": range deletes are lost, and what they deleted may be back");
                sink.lost(loss);
                Ok(())
            }
        }
    }

    /// Z3.
    fn give_mapped(&self, map: &PageMap, sink: &mut dyn Salvage) -> Result<()> {
        let (mut inner, mut damaged) = (Vec::new(), BTreeMap::new());
        for (pid, addr) in map.pages() {
            match read_page(self.files, self.file, pid, addr) {
                Ok(image) if image.kind() == ImageKind::Leaf => give_versions(&image, &self.values, sink)?,
                Ok(_) => inner.push((pid, addr)),
                Err(error) => {
                    damaged.insert(pid, Loss::of(&error, self.file.path(), addr.unit * UNIT_BYTES as u64));
                }
            }
        }
        if damaged.is_empty() || mutant!("salvage_hides_losses") {
            return Ok(());
        }
        // The root has no parent that could tell.
        if let Some(root) = damaged.remove(&ROOT_PID) {
            sink.lost(if map.pages().count() == 1 { all_of(root) } else { without_keys(root) });
        }
        for (pid, addr) in inner {
            let Ok(image) = read_page(self.files, self.file, pid, addr) else { continue };
            let children = crate::inner::children(&image);
            let highs = children.iter().skip(1).map(|child| child.key.clone()).chain([image.high_fence().to_vec()]);
            for (child, high) in children.iter().zip(highs) {
                if let Some(loss) = damaged.remove(&child.pid) {
                    let keys = Some((child.key.clone(), high));
                    sink.lost(if image.level() > 1 { without_keys(loss) } else { Loss { keys, ..loss } });
                }
            }
        }
        damaged.into_values().for_each(|loss| sink.lost(loss));
        Ok(())
    }

    /// Z4. The commit through which the leaves are complete, as far as they tell.
    fn give_found(&self, newest_seq: Option<u16>, sink: &mut dyn Salvage) -> Result<Timestamp> {
        let mut leaves = self.find_leaves();
        let newest = leaves.iter().max_by_key(|leaf| leaf.max_ts);
        let (max_ts, of_newest) =
            newest.map_or((Timestamp::ZERO, 0), |leaf| (leaf.max_ts, leaf.identity.write_seq as u16));
        let newest_seq = newest_seq.unwrap_or(of_newest);
        // Write sequences go round.
        leaves.sort_by_key(|leaf| std::cmp::Reverse((leaf.identity.write_seq as u16).wrapping_sub(newest_seq) as i16));
        let mut claimed = Claimed::default();
        for leaf in &leaves {
            let bytes = read_what_can_be(self.file, leaf.at, leaf.bytes);
            let Ok(image) = Image::decode(bytes, &leaf.identity) else { continue };
            give_unclaimed(&image, &claimed, &self.values, sink)?;
            claimed.claim(image.low_fence(), image.high_fence());
        }
        for keys in claimed.gaps() {
            sink.lost(Loss { keys: Some(keys), ..Loss::new(self.file.path(), 0, "no leaf with these keys was found") });
        }
        Ok(max_ts)
    }

    fn find_leaves(&self) -> Vec<FoundLeaf> {
        let range = SUPERBLOCK_UNITS * UNIT_BYTES as u64..self.file.len().unwrap_or(0);
        let mut search = ImageSearch::new(self.file, range, UNIT_BYTES as u64);
        let ks_id = self.files.keyspace.get();
        let mut leaves = Vec::new();
        while let Some((at, image)) =
            search.next(|identity, _| identity.kind == ImageKind::Leaf && identity.ks_id == ks_id)
        {
            let identity =
                Identity { kind: image.kind(), self_id: image.self_id(), ks_id, write_seq: image.write_seq() };
            leaves.push(FoundLeaf { at, bytes: image.bytes().len(), identity, max_ts: image.max_ts() });
        }
        leaves
    }
}

/// A leaf or an inner page, as the map or a list names it.
fn read_page(files: &StoreFiles<'_>, file: &File, pid: u64, addr: DiskAddr) -> Result<Image> {
    let bytes = read_units(file, addr)?;
    let kind = match Identity::of_head(&bytes) {
        Some(Identity { kind: ImageKind::Inner, .. }) => ImageKind::Inner,
        _ => ImageKind::Leaf,
    };
    decode_image(file, addr, bytes, kind, pid, files.keyspace.get())
}

/// Nothing is missing where a page without keys of its own is damaged.
fn without_keys(mut loss: Loss) -> Loss {
    loss.what.push_str(" (an inner page: no key is lost with it)");
    loss
}

fn give_tombs(tombs: &RangeTombs, sink: &mut dyn Salvage) -> Result<()> {
    tombs.newest().try_for_each(|(low, high, ts)| sink.range_delete(low, high, ts))
}

/// Gives the versions of those keys of a leaf that no newer leaf encloses.
fn give_unclaimed(image: &Image, claimed: &Claimed, values: &SalvagedValues, sink: &mut dyn Salvage) -> Result<()> {
    struct Filter<'a>(&'a Claimed, &'a mut dyn Salvage);
    impl Salvage for Filter<'_> {
        fn version(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> Result<()> {
            if self.0.has(key) { Ok(()) } else { self.1.version(key, ts, value) }
        }
        fn range_delete(&mut self, low: &[u8], high: &[u8], ts: Timestamp) -> Result<()> {
            self.1.range_delete(low, high, ts)
        }
        fn lost(&mut self, loss: Loss) {
            self.1.lost(loss);
        }
    }
    give_versions(image, values, &mut Filter(claimed, sink))
}

/// Intervals of keys, each with its high end, of which an empty one is the greatest; none touches another.
#[derive(Debug, Default)]
struct Claimed(BTreeMap<Vec<u8>, Vec<u8>>);

impl Claimed {
    fn has(&self, key: &[u8]) -> bool {
        let before = self.0.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)));
        before.last().is_some_and(|(_, high)| high.is_empty() || key < &**high)
    }

    fn claim(&mut self, low: &[u8], high: &[u8]) {
        let (mut low, mut high) = (low.to_vec(), high.to_vec());
        loop {
            let reaches = |(_, end): &(&Vec<u8>, &Vec<u8>)| end.is_empty() || **end >= low;
            let up_to = if high.is_empty() { std::ops::Bound::Unbounded } else { std::ops::Bound::Included(&*high) };
            let touching = self.0.range::<[u8], _>((std::ops::Bound::Unbounded, up_to)).next_back().filter(reaches);
            let Some(start) = touching.map(|(start, _)| start.clone()) else { break };
            let end = self.0.remove(&start).expect("it was just found");
            low = low.min(start);
            high = if high.is_empty() || end.is_empty() { Vec::new() } else { high.max(end) };
        }
        self.0.insert(low, high);
    }

    /// What is between them.
    fn gaps(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut gaps = Vec::new();
        let mut from = Some(Vec::new());
        for (low, high) in &self.0 {
            if let Some(from) = from.filter(|from| from < low) {
                gaps.push((from, low.clone()));
            }
            from = (!high.is_empty()).then(|| high.clone());
        }
        gaps.extend(from.map(|from| (from, Vec::new())));
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_grows_together_and_the_rest_is_gaps() {
        let mut claimed = Claimed::default();
        claimed.claim(b"c", b"f");
        claimed.claim(b"m", b"p");
        assert!(claimed.has(b"c") && claimed.has(b"eee") && !claimed.has(b"f") && !claimed.has(b"b"));
        let gap = |low: &[u8], high: &[u8]| (low.to_vec(), high.to_vec());
        assert_eq!(claimed.gaps(), [gap(b"", b"c"), gap(b"f", b"m"), gap(b"p", b"")]);
        claimed.claim(b"e", b"m");
        assert_eq!(claimed.0.len(), 1, "{claimed:?}");
        claimed.claim(b"", b"b");
        claimed.claim(b"o", b"");
        assert_eq!(claimed.gaps(), [gap(b"b", b"c")]);
        claimed.claim(b"", b"");
        assert_eq!(claimed.gaps(), []);
        assert_eq!(Claimed::default().gaps(), [gap(b"", b"")]);
    }
}
