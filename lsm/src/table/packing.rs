//! Data blocks that are stored compressed. A pure codec: it knows no file; which blocks it is tried on is the writer's business.
//!
//! On disk: Packed block (packed_block.hex)
//! ```text
//!   offset  size  field
//!        0     4  crc32 of bytes 4.. ; the handle holds it too, as it holds that of an image
//!        4     4  magic "PACK"
//!        8     4  length of all this, header included
//!       12     4  length of the image, 64..=IMAGE_BYTES_MAX
//!       16     n  the stored image, as one LZ4 block (without frame and length)
//! ```
//! Little-endian. Valid if and only if (1) magic and crc match, (2) both lengths are right, (3) the LZ4 block gives exactly so many bytes. What comes out is
//! an image with checksum and identity of its own, and is checked as one that was stored as it is.
//!
//! PB1  No memory is taken for a length before it was checked, and the decoder writes into that memory alone: damaged bytes cost at most one image.
//! PB2  A block is packed only where that saves an eighth or more: else reading it would cost time for next to nothing.
//! PB3  The handle says whether a block is packed (`index.rs`). The image knows nothing of it: in memory all are alike.
//! PB4  Magic and length let salvage find a packed block without its handle.

use duramen_base::arena::Room;
use duramen_base::image::IMAGE_BYTES_MAX;
use duramen_base::mutant;
use duramen_base::salvage::OtherForm;

const HEADER_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"PACK";
/// Bytes of the smallest image.
const IMAGE_BYTES_MIN: usize = 64;
/// PB2: this part has to be saved.
const WORTH_PART: usize = 8;

/// `stored` packed, if that is worth it (PB2). `scratch` is memory to be used again.
pub(crate) fn pack<'s>(stored: &[u8], scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
    scratch.resize(HEADER_BYTES + lz4_flex::block::get_maximum_output_size(stored.len()), 0);
    let packed_bytes = lz4_flex::block::compress_into(stored, &mut scratch[HEADER_BYTES..]).ok()?;
    let bytes = HEADER_BYTES + packed_bytes;
    if bytes > stored.len() - stored.len() / WORTH_PART {
        return None;
    }
    let packed = &mut scratch[..bytes];
    packed[4..8].copy_from_slice(&MAGIC);
    packed[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
    packed[12..16].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    let crc = crc32fast::hash(&packed[4..]);
    packed[..4].copy_from_slice(&crc.to_le_bytes());
    Some(packed)
}

/// How salvage finds packed blocks (PB4).
pub(crate) const FORM: OtherForm = OtherForm { stored_len, image: |packed| unpack(packed).ok() };

/// Length that the first bytes of a packed block announce.
fn stored_len(head: &[u8]) -> Option<usize> {
    let bytes = u32_at(head, 8).filter(|_| head.get(4..8) == Some(&MAGIC[..]))? as usize;
    (HEADER_BYTES..=IMAGE_BYTES_MAX).contains(&bytes).then_some(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|field| u32::from_le_bytes(*field))
}

/// The stored image in a packed block, or what is wrong with it. Total.
pub(crate) fn unpack(packed: &[u8]) -> Result<Room, &'static str> {
    let (Some(crc), Some(image_bytes), Some(body)) =
        (u32_at(packed, 0), u32_at(packed, 12), packed.get(HEADER_BYTES..))
    else {
        return Err("a packed block is shorter than its header");
    };
    if crc != crc32fast::hash(&packed[4..]) {
        return Err("the checksum of a packed block does not match");
    }
    if stored_len(packed) != Some(packed.len()) {
        return Err("a packed block says that it is another or of another length");
    }
    let image_bytes = image_bytes as usize;
    if !(IMAGE_BYTES_MIN..=IMAGE_BYTES_MAX).contains(&image_bytes) && !mutant!("unpack_any_length") {
        return Err("a packed block has a length that no image has");
    }
    Room::filled(image_bytes, |stored| match lz4_flex::block::decompress_into(body, stored) {
        Ok(bytes) if bytes == image_bytes => Ok(()),
        Ok(_) | Err(_) => Err("a packed block cannot be decompressed to its length"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_host::golden;
    use proptest::prelude::*;

    /// A packed block with this length and body, and a checksum that matches.
    fn sealed(image_bytes: u32, body: &[u8]) -> Vec<u8> {
        let len = (HEADER_BYTES + body.len()) as u32;
        let rest = [&MAGIC[..], &len.to_le_bytes(), &image_bytes.to_le_bytes(), body].concat();
        [&crc32fast::hash(&rest).to_le_bytes(), &*rest].concat()
    }

    /// An image, and a packed block of it.
    fn sample() -> (Vec<u8>, Vec<u8>) {
        let stored = golden(include_str!("../../../base/tests/golden/page-image.raw.hex"));
        (stored, golden(include_str!("../../tests/golden/packed_block.hex")))
    }

    #[test]
    fn these_bytes_are_a_packed_block() {
        // Others may stand for the same image: how well the encoder packs is not a matter of format.
        let (stored, packed) = sample();
        assert_eq!(unpack(&packed), Ok(Room::copied(&stored)));
    }

    #[test]
    fn what_does_not_get_smaller_is_not_packed() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        let stored: Vec<u8> = (0..4096).map(|_| noise()).collect();
        assert_eq!(pack(&stored, &mut Vec::new()), None, "PB2");
    }

    #[test]
    fn a_length_that_no_image_has_takes_no_memory() {
        let (_, packed) = sample();
        for image_bytes in [0, 63, IMAGE_BYTES_MAX as u32 + 1, u32::MAX] {
            let found = unpack(&sealed(image_bytes, &packed[HEADER_BYTES..]));
            assert_eq!(found, Err("a packed block has a length that no image has"), "PB1: {image_bytes}");
        }
    }

    #[test]
    fn another_length_than_that_of_the_image_is_refused() {
        let (stored, packed) = sample();
        for image_bytes in [stored.len() - 1, stored.len() + 1, IMAGE_BYTES_MAX] {
            assert!(unpack(&sealed(image_bytes as u32, &packed[HEADER_BYTES..])).is_err(), "{image_bytes}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (_, packed) = sample();
        for bit in 0..packed.len() * 8 {
            let mut changed = packed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(&changed).is_err(), "bit {bit}");
        }
        assert!((0..packed.len()).all(|len| unpack(&packed[..len]).is_err()));
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(words in proptest::collection::vec(0u8..4, 64..5000)) {
            let mut scratch = Vec::new();
            if let Some(packed) = pack(&words, &mut scratch) {
                prop_assert!(packed.len() <= words.len() - words.len() / 8);
                prop_assert_eq!(unpack(packed), Ok(Room::copied(&words)));
            }
        }

        #[test]
        fn unpacking_is_total(image_bytes in 0u32..400_000, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(stored) = unpack(&sealed(image_bytes, &body)) {
                prop_assert_eq!(stored.len(), image_bytes as usize);
            }
        }
    }
}
