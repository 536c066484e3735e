//! The operation batch: what one commit does to each keyspace, as it stands in the log.
//!
//! On disk: Operation batch (operation-batch.hex)
//!
//! ```text
//!   batch    := section*                     keyspace ids ascending, each at most once
//!   section  := varint ks_id, varint op_count, varint op_bytes, op*
//!   op       := u8 kind, varint klen, varint vlen, key, value
//! ```
//! `DeleteRange` has the low end as key and the high end (exclusive; empty: to the end of the keyspace) as value, `Delete` an empty value.
//! Order within a section: range deletes first (by low end), then puts and deletes by key, each key once.
//!
//! B1  A [`BatchView`] was checked once from end to end; iterating it cannot fail.
//! B2  Within a batch a range delete comes before the point operations of its keyspace, so those survive it.

#[cfg(test)]
mod tests;

use crate::ids::KeyspaceId;
use crate::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::varint;

/// What an operation does. On disk. Never renumber. 4 is kept for values in the large-value store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// Sets the value of a key.
    Put = 1,
    /// Removes a key; absent ones too.
    Delete = 2,
    /// Removes every key of a range.
    DeleteRange = 3,
}

impl OpKind {
    fn from_byte(byte: u8) -> Option<OpKind> {
        match byte {
            1 => Some(OpKind::Put),
            2 => Some(OpKind::Delete),
            3 => Some(OpKind::DeleteRange),
            _ => None,
        }
    }
}

/// One operation, borrowed from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What it does.
    pub kind: OpKind,
    /// The key; for a range the low end.
    pub key: &'a [u8],
    /// The value; for a range the high end (exclusive; empty: to the end of the keyspace).
    pub value: &'a [u8],
}

impl Op<'_> {
    /// Whether this is a range delete that covers `key`.
    pub fn range_covers(&self, key: &[u8]) -> bool {
        self.kind == OpKind::DeleteRange && key >= self.key && (self.value.is_empty() || key < self.value)
    }
}

/// Builds an encoded batch, section by section.
///
/// ```
/// use duramen_base::{Batch, BatchView, KeyspaceId, Op, OpKind};
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"k", value: b"v" }]);
/// let view = BatchView::parse(batch.bytes()).expect("what was just built");
/// assert_eq!(view.sections().next().expect("one").iter().count(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// An empty batch with room for so many bytes.
    ///
    /// ```
    /// assert!(duramen_base::Batch::with_capacity(100).is_empty());
    /// ```
    pub fn with_capacity(bytes: usize) -> Batch {
        Batch { bytes: Vec::with_capacity(bytes) }
    }

    /// Appends the operations of one keyspace. The caller keeps the order that the module header asks for.
    pub fn section<'a>(&mut self, keyspace: KeyspaceId, ops: impl IntoIterator<Item = Op<'a>>) {
        let start = self.bytes.len();
        let mut op_count = 0;
        for op in ops {
            debug_assert!(op.kind != OpKind::Delete || op.value.is_empty(), "a delete has no value");
            self.bytes.push(op.kind as u8);
            varint::put(&mut self.bytes, op.key.len() as u64);
            varint::put(&mut self.bytes, op.value.len() as u64);
            self.bytes.extend_from_slice(op.key);
            self.bytes.extend_from_slice(op.value);
            op_count += 1;
        }
        // The head tells of what follows, and so is known last: it is put in front, rather than gather the operations elsewhere first.
        let end = self.bytes.len();
        varint::put(&mut self.bytes, u64::from(keyspace.get()));
        varint::put(&mut self.bytes, op_count);
        varint::put(&mut self.bytes, (end - start) as u64);
        let mut head = [0; 3 * varint::VARINT_BYTES_MAX];
        let head = &mut head[..self.bytes.len() - end];
        head.copy_from_slice(&self.bytes[end..]);
        self.bytes.copy_within(start..end, start + head.len());
        self.bytes[start..start + head.len()].copy_from_slice(head);
    }

    /// The encoded batch.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was built, to be read: checked by how it was built (B1).
    ///
    /// ```
    /// assert_eq!(duramen_base::Batch::new().view().sections().count(), 0);
    /// ```
    pub fn view(&self) -> BatchView<'_> {
        debug_assert!(BatchView::parse(&self.bytes).is_some(), "B1: the builder keeps the rules it documents");
        BatchView(&self.bytes)
    }

    /// Whether it has no section.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes everything, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// A checked batch (B1).
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a>(&'a [u8]);

impl<'a> BatchView<'a> {
    /// Checks every length, kind, limit and order of an encoded batch; `None` if anything is off. Total: any bytes may be given.
    pub fn parse(bytes: &'a [u8]) -> Option<BatchView<'a>> {
        let mut rest = bytes;
        let mut last_id = 0;
        while !rest.is_empty() {
            let section = take_section(&mut rest)?;
            if section.keyspace.get() <= last_id {
                return None;
            }
            last_id = section.keyspace.get();
            check_section(&section)?;
        }
        Some(BatchView(bytes))
    }

    /// The operations, keyspace by keyspace.
    pub fn sections(&self) -> impl Iterator<Item = OpsOfKeyspace<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || take_section(&mut rest))
    }
}

fn take_section<'a>(bytes: &mut &'a [u8]) -> Option<OpsOfKeyspace<'a>> {
    let keyspace = KeyspaceId::new(u32::try_from(varint::take(bytes)?).ok()?);
    let op_count = usize::try_from(varint::take(bytes)?).ok()?;
    let ops = varint::take_bytes(bytes)?;
    Some(OpsOfKeyspace { keyspace, op_count, ops })
}

fn check_section(section: &OpsOfKeyspace<'_>) -> Option<()> {
    let mut rest = section.ops;
    let mut last: Option<Op<'_>> = None;
    for _ in 0..section.op_count {
        let op = take_op(&mut rest)?;
        let value_bytes_max = match op.kind {
            OpKind::Put => VALUE_BYTES_MAX,
            OpKind::Delete => 0,
            OpKind::DeleteRange => KEY_BYTES_MAX,
        };
        let ordered = match last {
            None => true,
            Some(last) => match (last.kind == OpKind::DeleteRange, op.kind == OpKind::DeleteRange) {
                (true, true) => last.key <= op.key,
                (true, false) => true,
                (false, false) => last.key < op.key,
                (false, true) => false,
            },
        };
        if op.key.len() > KEY_BYTES_MAX || op.value.len() > value_bytes_max || !ordered {
            return None;
        }
        last = Some(op);
    }
    rest.is_empty().then_some(())
}

fn take_op<'a>(bytes: &mut &'a [u8]) -> Option<Op<'a>> {
    let (&kind, rest) = bytes.split_first()?;
    let kind = OpKind::from_byte(kind)?;
    *bytes = rest;
    let key_bytes = usize::try_from(varint::take(bytes)?).ok()?;
    let value_bytes = usize::try_from(varint::take(bytes)?).ok()?;
    let (key, rest) = bytes.split_at_checked(key_bytes)?;
    let (value, rest) = rest.split_at_checked(value_bytes)?;
    *bytes = rest;
    Some(Op { kind, key, value })
}

/// The operations of one commit on one keyspace, borrowed from a checked batch.
#[derive(Clone, Copy, Debug)]
pub struct OpsOfKeyspace<'a> {
    keyspace: KeyspaceId,
    op_count: usize,
    ops: &'a [u8],
}

impl<'a> OpsOfKeyspace<'a> {
    /// Which keyspace.
    pub fn keyspace(&self) -> KeyspaceId {
        self.keyspace
    }

    /// How many operations.
    pub fn len(&self) -> usize {
        self.op_count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.op_count == 0
    }

    /// Encoded bytes, a measure of the memory they will need.
    pub fn encoded_bytes(&self) -> usize {
        self.ops.len()
    }

    /// The operations in order: range deletes first, then points by key (B2).
    pub fn iter(&self) -> impl Iterator<Item = Op<'a>> + use<'a> {
        let mut rest = self.ops;
        std::iter::from_fn(move || take_op(&mut rest))
    }
}
