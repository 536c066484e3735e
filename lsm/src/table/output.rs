//! The file of a table that is being written: a buffer before it, and the digest of everything that went through.
//!
//! OU1  Blocks offered to the pool are found there only by whoever opens the table under the number of their frames: once it is whole. Frames of a
//!     table that came to nothing are cold and nobody's, so they go first.

use std::sync::Arc;

use duramen_base::Result;
use duramen_base::image::Image;
use duramen_base::pool::{FrameKey, FramePool};
use duramen_base::vfs::File;

use super::index::Handle;
use super::packing;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// The file behind a buffer, with the digest of everything that went through.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    pub(super) ks_id: u32,
    write_seq: u32,
    /// Bytes so far: where the next image goes.
    pub(super) offset: u64,
    buffer: Vec<u8>,
    digest: crc32fast::Hasher,
    offering: Option<Offering>,
    /// How many more bytes it would have if no block were packed.
    pub(super) saved_bytes: u64,
    /// Where a block is packed.
    scratch: Vec<u8>,
}

/// The pool that is offered what was written, and under which number of a file.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) pool: Arc<FramePool>,
    pub(super) frames: u64,
    /// As in `FramePool::offer`.
    pub(super) over_cold: bool,
}

impl Output {
    pub(super) fn new(file: File, ks_id: u32, no: u64) -> Output {
        let (buffer, digest) = (Vec::with_capacity(WRITE_BYTES), crc32fast::Hasher::new());
        Output {
            file,
            ks_id,
            write_seq: no as u32,
            offset: 0,
            buffer,
            digest,
            offering: None,
            saved_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// From now on blocks are offered.
    pub(super) fn offer_to(&mut self, pool: &Arc<FramePool>, over_cold: bool) {
        let frames = self.frames().unwrap_or_else(|| pool.new_file());
        self.offering = Some(Offering { pool: Arc::clone(pool), frames, over_cold });
    }

    /// The number under which blocks were offered.
    pub(super) fn frames(&self) -> Option<u64> {
        self.offering.as_ref().map(|offering| offering.frames)
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.buffer.len() >= WRITE_BYTES { self.write_buffer() } else { Ok(()) }
    }

    /// Appends an image that was built for this place.
    pub(super) fn put_image(&mut self, image: &Image) -> Result<Handle> {
        self.put_stored(image, false)
    }

    fn put_stored(&mut self, image: &Image, may_pack: bool) -> Result<Handle> {
        debug_assert!(image.self_id() == self.offset, "an image knows where it is stored");
        let stored = image.to_stored(self.write_seq);
        let mut scratch = std::mem::take(&mut self.scratch);
        let packed = may_pack.then(|| packing::pack(&stored, &mut scratch)).flatten();
        let bytes = packed.unwrap_or(&stored);
        self.saved_bytes += (stored.len() - bytes.len()) as u64;
        let crc = u32::from_le_bytes(*bytes.first_chunk().expect("both forms begin with their checksum"));
        let handle = Handle { offset: self.offset, len: bytes.len() as u32, crc, is_packed: packed.is_some() };
        self.put(bytes)?;
        self.scratch = scratch;
        Ok(handle)
    }

    /// The same for an image that readers will ask for (OU1), packed if that is worth it and it `may_pack`.
    pub(super) fn put_block(&mut self, image: Image, may_pack: bool) -> Result<Handle> {
        let handle = self.put_stored(&image, may_pack)?;
        if let Some(Offering { pool, frames, over_cold }) = &self.offering {
            pool.offer(FrameKey { file: *frames, offset: handle.offset }, image, *over_cold);
        }
        Ok(handle)
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.offset - self.buffer.len() as u64)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and syncs; the digest of the whole file.
    pub(super) fn finish(mut self) -> Result<u32> {
        self.write_buffer()?;
        self.file.sync_data()?;
        Ok(self.digest.finalize())
    }
}
