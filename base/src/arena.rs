//! Memory of page images and memtables, cut from chunks that come from the system, for the whole process: rooms of bytes, counted values, rows of values.
//!
//! Why not the global allocator: it keeps memory apart for each thread, and threads that read in turns through one small cache each grow to its whole
//! size; and it gives small pages of memory, of which a lookup in a large cache misses the translation each time. It is no cache and no pool: a room has one
//! owner, and is given back when that is dropped.
//!
//! AR1  A unit of a chunk belongs to one room at most.
//! AR2  What a room has stays mapped, at its place, until the room is dropped (C1 of `arena/chunks.rs`).
//! AR3  The memory of chunks of rooms is written through rooms alone, as bytes. So it holds bytes always: zeros, or what a room before left there.
//!
//! Next: `arena/counted.rs`, `arena/row.rs`, `arena/chunks.rs` (the chunks), `arena/runs.rs` (what is free in one), `arena/apart.rs` (none, for tools that check memory).

#[cfg_attr(duramen_apart, path = "arena/apart.rs")]
mod chunks;
mod counted;
mod row;
#[cfg(not(duramen_apart))]
mod runs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::sync::unscheduled::Mutex;
use chunks::Chunks;
pub use counted::Counted;
pub(crate) use counted::Shared;
pub use row::Row;

/// Rooms begin and end at multiples of so many bytes.
const UNIT_BYTES: usize = 512;
/// As large as the large pages of most systems, and aligned like them.
const CHUNK_BYTES: usize = 2 << 20;
/// Bytes of the largest room.
pub const ROOM_BYTES_MAX: usize = CHUNK_BYTES;

/// Of rooms.
static BYTES: Mutex<Chunks> = Mutex::new(Chunks::NONE);
/// Of counted values: chunks of their own, for AR3.
static VALUES: Mutex<Chunks> = Mutex::new(Chunks::NONE);
/// Of rows: those of a memtable come and go together, and leave chunks empty if nothing else has settled there.
static ROWS: Mutex<Chunks> = Mutex::new(Chunks::NONE);

/// Units in a row, and where they are.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Which one of the chunks they are of.
    chunk: u32,
    start: NonNull<u8>,
    units: usize,
}

/// Bytes that are mapped for all this now, whether they are taken or not.
///
/// ```
/// let room = duramen_base::arena::Room::copied(b"heartwood");
/// assert!(duramen_base::arena::mapped_bytes() >= room.len());
/// ```
pub fn mapped_bytes() -> usize {
    [&BYTES, &VALUES, &ROWS].into_iter().map(|chunks| chunks.lock().bytes()).sum()
}

/// Bytes in the arena, owned like a `Box<[u8]>`.
///
/// ```
/// use duramen_base::arena::Room;
/// let mut room = Room::copied(b"heartwood");
/// room[0] = b'H';
/// assert_eq!(&*room, b"Heartwood");
/// ```
pub struct Room {
    start: NonNull<u8>,
    len: u32,
    chunk: u32,
}

// SAFETY: AR1: what it points to is its own, as that of a box is. The arena is for all threads.
unsafe impl Send for Room {}
// SAFETY: as for `Send`; a shared room is only read.
unsafe impl Sync for Room {}

impl Room {
    /// A room of `len` bytes with what `fill` puts there. It is handed bytes of any content.
    ///
    /// ```
    /// use duramen_base::arena::Room;
    /// let room = Room::filled(4, |bytes| Ok::<(), ()>(bytes.copy_from_slice(b"wood")))?;
    /// assert_eq!(&*room, b"wood");
    /// assert_eq!(Room::filled(4, |_| Err("unreadable")).unwrap_err(), "unreadable");
    /// # Ok::<(), ()>(())
    /// ```
    ///
    /// # Errors
    /// That of `fill`.
    ///
    /// # Panics
    /// If it is more than [`ROOM_BYTES_MAX`], or the system has no memory left.
    pub fn filled<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Room, E> {
        let mut room = Room::new(len);
        fill(&mut room)?;
        Ok(room)
    }

    /// A room with these bytes.
    ///
    /// # Panics
    /// As [`Room::filled`].
    pub fn copied(bytes: &[u8]) -> Room {
        let mut room = Room::new(bytes.len());
        room.copy_from_slice(bytes);
        room
    }

    /// Bytes of memory it takes.
    ///
    /// ```
    /// assert_eq!(duramen_base::arena::Room::copied(&[7; 600]).memory_bytes(), 1024);
    /// ```
    pub fn memory_bytes(&self) -> usize {
        units(self.len()) * UNIT_BYTES
    }

    fn new(len: usize) -> Room {
        assert!(len <= ROOM_BYTES_MAX, "a room of {len} bytes: the limit is {ROOM_BYTES_MAX}");
        let Run { chunk, start, .. } = BYTES.lock().take(units(len));
        Room { start, len: len as u32, chunk }
    }
}

/// Units of a room of `len` bytes. One without bytes has a place as well.
const fn units(len: usize) -> usize {
    if len == 0 { 1 } else { len.div_ceil(UNIT_BYTES) }
}

fn give_back(chunks: &'static Mutex<Chunks>, run: Run) {
    let unmapped = chunks.lock().give_back(run);
    drop(unmapped); // outside the latch
}

impl Drop for Room {
    fn drop(&mut self) {
        give_back(&BYTES, Run { chunk: self.chunk, start: self.start, units: units(self.len()) });
    }
}

impl Deref for Room {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: AR1 to AR3: `len` bytes from `start` are this room's, mapped and bytes, and who may change them needs `&mut self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Room {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` says that nobody else looks at them.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl PartialEq for Room {
    fn eq(&self, other: &Room) -> bool {
        **self == **other
    }
}

impl Eq for Room {}

impl From<Vec<u8>> for Room {
    fn from(bytes: Vec<u8>) -> Room {
        Room::copied(&bytes)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.len).finish_non_exhaustive()
    }
}
