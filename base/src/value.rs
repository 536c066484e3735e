//! A value handed to the caller: 24 bytes, no lifetime, cheap to clone.
//!
//! Values of up to 22 bytes lie inside; larger ones share a counted allocation, or count the page image they lie in,
//! which keeps that image (not the file, not the database) alive. [`Value::detach`] copies such a one out.
//!
//! U1  `size_of::<Value>() == 24`.
//! U2  The bytes of a value never change.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::arena::Counted;
use crate::image::Image;

/// Most bytes a value holds inside itself, without an allocation.
pub const INLINE_BYTES_MAX: usize = 22;

/// Bytes of a value or key, independent of the database they came from.
///
/// ```
/// use duramen_base::Value;
/// let value = Value::from(&b"heartwood"[..]);
/// assert_eq!(&*value, b"heartwood");
/// assert_eq!(value.clone(), value);
/// assert_eq!(value.heap_bytes(), 0); // small enough to lie inside
/// ```
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES_MAX],
    },
    /// Copied: one allocation.
    Shared(Arc<[u8]>),
    /// Taken over, so that nothing is copied: two.
    Taken(Arc<Vec<u8>>),
    Slice {
        image: Counted<Image>,
        start: u32,
        len: u32,
    },
}

const _: () = assert!(size_of::<Value>() == 24, "U1: a value has 24 bytes");

impl Value {
    /// The bytes `start..start + len` of `image`: small ones copied, larger ones by counting the image.
    ///
    /// ```
    /// use duramen_base::Value;
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::arena::Counted;
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 1, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let image = Counted::new(ImageBuilder::raw(&spec, &[7; 100]));
    /// let value = Value::from_image(&image, image.bytes().len() - 50, 50);
    /// assert_eq!(&*value, &[7; 50]);
    /// assert_eq!(Counted::handles(&image), 2);
    /// ```
    ///
    /// # Panics
    /// If the range is not inside the image.
    #[inline]
    pub fn from_image(image: &Counted<Image>, start: usize, len: usize) -> Value {
        let bytes = &image.bytes()[start..start + len];
        if len <= INLINE_BYTES_MAX {
            return Value::from(bytes);
        }
        Value(Repr::Slice { image: Counted::clone(image), start: start as u32, len: len as u32 })
    }

    /// The same bytes, no longer holding the page they were found in.
    ///
    /// ```
    /// use duramen_base::Value;
    /// assert_eq!(Value::from(&b"x"[..]).detach(), Value::from(&b"x"[..]));
    /// ```
    #[inline]
    #[must_use]
    pub fn detach(self) -> Value {
        match self.0 {
            Repr::Slice { .. } => Value::from(&*self),
            Repr::Inline { .. } | Repr::Shared(_) | Repr::Taken(_) => self,
        }
    }

    /// Bytes of memory outside the value itself that it keeps alive on its own account (not a counted page image).
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } | Repr::Slice { .. } => 0,
            Repr::Shared(bytes) => bytes.len() + 16,
            Repr::Taken(bytes) => bytes.capacity() + 40,
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
            Repr::Taken(bytes) => bytes,
            Repr::Slice { image, start, len } => &image.bytes()[*start as usize..][..*len as usize],
        }
    }
}

impl AsRef<[u8]> for Value {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Value {
    #[inline]
    fn from(source: &[u8]) -> Value {
        if source.len() > INLINE_BYTES_MAX {
            return Value(Repr::Shared(source.into()));
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..source.len()].copy_from_slice(source);
        Value(Repr::Inline { len: source.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for Value {
    /// Takes the allocation over, unless the bytes are few.
    fn from(source: Vec<u8>) -> Value {
        if source.len() > INLINE_BYTES_MAX { Value(Repr::Taken(Arc::new(source))) } else { Value::from(&*source) }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}
