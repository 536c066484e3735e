//! Creating and opening `tree.dat`.
//!
//! O1  The name `tree.dat` appears by a rename of a file that is whole and synced: whatever is found under it was finished.
//! O2  Opening reads the superblocks and the page map, nothing else; what they do not name is free.
//! O3  Nothing is repaired, and nothing is written, by opening.
//! O4  The superblock that opening chooses is durable before anything builds on it: a process that died may have written it without syncing.

use duramen_base::image::{ImageBuilder, ImageKind};
use duramen_base::ingest::list_number;
use duramen_base::sync::Arc;
use duramen_base::values::ValueStore;
use duramen_base::vfs::{File, OpenMode};
use duramen_base::{Error, IoOp, KeyspaceId, Result, StoreEnv, mutant};

use crate::checkpoint::{SPILL_PART_BYTES, chunk_image};
use crate::leaf::leaf_spec;
use crate::map::{ChunkId, DiskAddr, FANOUT, PageMap, decode_chunk};
use crate::pid_table::{PidTable, ROOT_PID};
use crate::range_tombs::RangeTombs;
use crate::read::{decode_image, read_units};
use crate::store::Store;
use crate::superblock::{Copy, Superblock, TombsAt, offset_of};
use crate::units::{SUPERBLOCK_UNITS, UNIT_BYTES, Units};
use crate::upkeep::Upkeep;
use crate::write::padded;

/// The one file of a store, in its folder.
pub const FILE_NAME: &str = "tree.dat";
/// Write sequence of the pages of an empty store.
const FIRST_WRITE_SEQ: u16 = 3;
const NEW_FILE_NAME: &str = "tree.dat.tmp";
/// Number of the first superblock; the copy beside it has the one before.
const FIRST_SEQ: u64 = 2;
/// Most units of an image.
const IMAGE_UNITS_MAX: u8 = 64;

/// Writes the file of an empty store. Repeating it after a crash in the middle is fine; a store that was ever used is not touched.
pub(crate) fn create(env: &StoreEnv) -> Result<()> {
    let path = env.dir.join(FILE_NAME);
    match File::open(&*env.vfs, &path, OpenMode::Read) {
        Ok(file) if newest_superblock(&file, env)?.seq > FIRST_SEQ => {
            return Err(Error::InvalidArgument { what: "a keyspace is created once: its folder holds a store in use" });
        }
        Ok(_) => {}
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let new_path = env.dir.join(NEW_FILE_NAME);
    let file = File::open(&*env.vfs, &new_path, OpenMode::OpenOrCreate)?;
    file.set_len(0)?;
    file.write_all_at(&empty_file(env), 0)?;
    file.sync_data()?;
    env.vfs.rename(&new_path, &path).map_err(|source| Error::from_io(IoOp::Rename, &path, source))?; // O1
    env.vfs.sync_dir(&env.dir).map_err(|source| Error::from_io(IoOp::SyncDir, &env.dir, source))
}

/// The bytes of an empty store: two superblocks, an empty root, a map of one page.
fn empty_file(env: &StoreEnv) -> Vec<u8> {
    let ks_id = env.keyspace.get();
    let write_seq = FIRST_WRITE_SEQ;
    let root_at = DiskAddr { unit: SUPERBLOCK_UNITS, units: 1, write_seq };
    let map_root = DiskAddr { unit: SUPERBLOCK_UNITS + 1, ..root_at };
    let root = ImageBuilder::new(&leaf_spec(ROOT_PID, env.keyspace, 0, &[], &[])).finish();
    let mut entries = vec![0; FANOUT as usize];
    entries[ROOT_PID as usize] = root_at.pack();
    let chunk = chunk_image(ks_id, ChunkId { level: 0, index: 0 }, &entries);

    let settled = env.host.visible().min(env.host.durable());
    let superblock = |seq| Superblock {
        db_uuid: env.db_uuid,
        keyspace: env.keyspace,
        seq,
        ckpt_ts: settled,
        max_ts: settled,
        map_root,
        map_levels: 1,
        tombs: TombsAt::Inline(RangeTombs::default().encode()),
        values_no: 0,
    };
    let mut bytes = Vec::new();
    bytes.extend(superblock(FIRST_SEQ).encode());
    bytes.extend(superblock(FIRST_SEQ - 1).encode());
    bytes.extend(padded(&root, root_at));
    bytes.extend(padded(&chunk, map_root));
    bytes
}

/// Opens the store.
pub(crate) fn open(env: StoreEnv) -> Result<Arc<Store>> {
    let path = env.dir.join(FILE_NAME);
    let file = File::open(&*env.vfs, &path, OpenMode::ReadWrite).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::corruption(&path, 0, "the file of a B-tree is missing")
        }
        other => other,
    })?;
    let superblock = newest_superblock(&file, &env)?;
    // O4: else a loss of power could bring the superblock before it back, whose units are free by then.
    file.sync_data()?;
    let reader = Reader { file: &file, keyspace: env.keyspace, units: file.len()? / UNIT_BYTES as u64 };
    let map = reader.map(&superblock)?;
    let (tombs, tomb_pages) = reader.tombs(&superblock.tombs)?;
    let used = map.pages().map(|(_, addr)| addr).chain(map.chunks().map(|(_, addr, _)| addr)).chain(tomb_pages.clone());
    let units = Units::from_used(used.collect())
        .map_err(|addr| file.corruption(addr.unit * UNIT_BYTES as u64, "a unit that the page map uses twice"))?;
    let pages = PidTable::new(env.host.budget());
    pages.fill(map.pages());
    let mut up = Upkeep::new(superblock, map, tomb_pages, units);
    let values = ValueStore::open(&env, up.superblock.values_no)?;
    let entries = env.vfs.list(&env.dir).map_err(|source| Error::from_io(IoOp::List, &env.dir, source))?;
    up.stray_lists = entries.iter().filter_map(|entry| list_number(&entry.name)).collect();
    up.next_list = up.stray_lists.iter().copied().max().unwrap_or(0);
    Ok(Arc::new(Store::new(env, (file, values), pages, tombs, up)))
}

/// The superblock that is the store (B3).
fn newest_superblock(file: &File, env: &StoreEnv) -> Result<Superblock> {
    let mut valid = Vec::new();
    let mut damage = "";
    for slot in 0..SUPERBLOCK_UNITS {
        let mut bytes = vec![0; UNIT_BYTES];
        let got = file.read_up_to_at(&mut bytes, offset_of(slot))?;
        bytes.truncate(got);
        match Superblock::decode(&bytes, file.path())? {
            Copy::Valid(superblock) if superblock.seq % SUPERBLOCK_UNITS == slot => valid.push(*superblock),
            Copy::Valid(_) => damage = "a superblock in the place of the other",
            Copy::Damaged(what) => damage = what,
        }
    }
    valid.sort_by_key(|superblock| superblock.seq);
    let chosen = if mutant!("old_superblock_silently") { valid.drain(..).next() } else { valid.pop() };
    let superblock = chosen.ok_or_else(|| file.corruption(0, damage))?;
    if superblock.db_uuid != env.db_uuid {
        return Err(file.corruption(offset_of(superblock.seq), "a B-tree file of another database"));
    }
    if superblock.keyspace != env.keyspace {
        return Err(file.corruption(offset_of(superblock.seq), "a B-tree file of another keyspace"));
    }
    Ok(superblock)
}

/// Reads what a superblock names.
pub(crate) struct Reader<'f> {
    pub(crate) file: &'f File,
    pub(crate) keyspace: KeyspaceId,
    /// Units of the file.
    pub(crate) units: u64,
}

impl Reader<'_> {
    fn check_addr(&self, addr: DiskAddr, at: u64) -> Result<()> {
        let is_inside = addr.unit >= SUPERBLOCK_UNITS
            && (1..=IMAGE_UNITS_MAX).contains(&addr.units)
            && addr.unit + u64::from(addr.units) <= self.units;
        if is_inside { Ok(()) } else { Err(self.file.corruption(at, "an address outside the file")) }
    }

    /// The raw body of an image.
    pub(crate) fn raw(&self, addr: DiskAddr, kind: ImageKind, self_id: u64) -> Result<Vec<u8>> {
        let bytes = read_units(self.file, addr)?;
        let image = decode_image(self.file, addr, bytes, kind, self_id, self.keyspace.get())?;
        Ok(image.raw_body().to_vec())
    }

    /// The page map of a superblock.
    pub(crate) fn map(&self, superblock: &Superblock) -> Result<PageMap> {
        self.check_addr(superblock.map_root, offset_of(superblock.seq))?;
        let map = PageMap::read(superblock.map_root, superblock.map_levels, |id, addr| self.chunk(id, addr))?;
        // A map says of every page where it lies, so ids cannot run far ahead of the units that ever were.
        let last_pid = map.pages().last().map_or(0, |(pid, _)| pid);
        let at = superblock.map_root.unit * UNIT_BYTES as u64;
        if last_pid > self.units.saturating_mul(64) + (1 << 16) {
            return Err(self.file.corruption(at, "a page id out of proportion to the file"));
        }
        if map.get(ROOT_PID).is_none() || map.get(0).is_some() {
            return Err(self.file.corruption(at, "a page map without a root page"));
        }
        Ok(map)
    }

    /// The entries of a map chunk, each checked to lie in the file.
    pub(crate) fn chunk(&self, id: ChunkId, addr: DiskAddr) -> Result<Vec<u64>> {
        let at = addr.unit * UNIT_BYTES as u64;
        let body = self.raw(addr, ImageKind::MapChunk, id.self_id())?;
        let entries = decode_chunk(&body).ok_or_else(|| self.file.corruption(at, "a map chunk of a wrong size"))?;
        for addr in entries.iter().filter_map(|&entry| DiskAddr::unpack(entry)) {
            self.check_addr(addr, at)?;
        }
        Ok(entries)
    }

    /// The range deletes of a superblock, and the pages they are spilled to.
    pub(crate) fn tombs(&self, at: &TombsAt) -> Result<(RangeTombs, Vec<DiskAddr>)> {
        let mut pages = Vec::new();
        let list = match at {
            TombsAt::Inline(list) => list.clone(),
            TombsAt::Spilled { first, bytes } => {
                let mut list = Vec::new();
                let mut next = Some(*first);
                for number in (0..u64::from(*bytes).div_ceil(SPILL_PART_BYTES as u64)).rev() {
                    let addr = next.ok_or_else(|| self.file.corruption(0, "range deletes end early"))?;
                    self.check_addr(addr, 0)?;
                    let body = self.raw(addr, ImageKind::Raw, number)?;
                    let Some((head, part)) = body.split_first_chunk::<8>() else {
                        return Err(self
                            .file
                            .corruption(addr.unit * UNIT_BYTES as u64, "a short page of range deletes"));
                    };
                    next = DiskAddr::unpack(u64::from_le_bytes(*head));
                    list.extend_from_slice(part);
                    pages.push(addr);
                }
                if next.is_some() || list.len() as u64 != u64::from(*bytes) {
                    return Err(self.file.corruption(0, "range deletes of a wrong length"));
                }
                list
            }
        };
        let tombs =
            RangeTombs::decode(&list).ok_or_else(|| self.file.corruption(0, "a list of range deletes that is none"))?;
        Ok((tombs, pages))
    }
}
