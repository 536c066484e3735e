//! What a tree keeps of a value that lies in a value file.
//!
//! On disk: Value reference (value_reference.hex)
//!
//! ```text
//!   offset  size  field
//!        0     8  id     the number of the value in its store; given once
//!        8     4  len    bytes of the value
//!       12     4  crc32  of the value
//! ```

/// Bytes of an encoded [`LargeRef`].
pub const LARGE_REF_BYTES: usize = 16;

/// Names a value of a [`ValueStore`](super::ValueStore), wherever it lies at the time.
///
/// ```
/// use duramen_base::values::LargeRef;
/// let large = LargeRef { id: 7, len: 3, crc: 9 };
/// assert_eq!(LargeRef::decode(&large.encode()), Some(large));
/// assert_eq!(LargeRef::decode(b"short"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LargeRef {
    /// Its number.
    pub id: u64,
    /// Its bytes.
    pub len: u32,
    /// Their CRC-32.
    pub crc: u32,
}

impl LargeRef {
    /// Encoded.
    pub fn encode(self) -> [u8; LARGE_REF_BYTES] {
        let mut bytes = [0; LARGE_REF_BYTES];
        bytes[0..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Decodes; `None` if it is none. Total.
    pub fn decode(bytes: &[u8]) -> Option<LargeRef> {
        let bytes: &[u8; LARGE_REF_BYTES] = bytes.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk()?;
        let (len, crc) = rest.split_first_chunk()?;
        let crc = u32::from_le_bytes(crc.try_into().ok()?);
        Some(LargeRef { id: u64::from_le_bytes(*id), len: u32::from_le_bytes(*len), crc })
    }
}
