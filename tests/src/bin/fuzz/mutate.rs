//! Changes of an input: bits, bytes, numbers that are edges, ranges moved, doubled, cut out, taken from another input; and now and then
//! nothing but random bytes.

use duramen_tests::dice::Dice;

/// Changes made to one input, at most.
const CHANGES_MAX: u64 = 6;
/// Inputs do not grow beyond this.
const BYTES_MAX: usize = 64 << 10;

fn index(dice: &mut Dice, end: usize) -> usize {
    dice.below(end as u64) as usize
}

/// A range inside `0..len`, mostly a short one.
fn range(dice: &mut Dice, len: usize) -> std::ops::Range<usize> {
    let at = index(dice, len);
    let longest = if dice.below(4) == 0 { len - at } else { (len - at).min(16) };
    at..at + index(dice, longest + 1)
}

/// An input of the pool, changed; or, of a few, nobody's input.
pub(crate) fn mutated(dice: &mut Dice, pool: &[Vec<u8>]) -> Vec<u8> {
    if dice.below(16) == 0 {
        let len = index(dice, 300);
        return dice.bytes(len);
    }
    let mut input = pool[index(dice, pool.len())].clone();
    for _ in 0..=dice.below(CHANGES_MAX) {
        let other = &pool[index(dice, pool.len())];
        change(dice, &mut input, other);
        input.truncate(BYTES_MAX);
    }
    input
}

fn change(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    if input.is_empty() {
        let len = index(dice, 64);
        input.extend(dice.bytes(len));
        return;
    }
    let at = index(dice, input.len());
    match dice.below(12) {
        0 | 1 => input[at] ^= 1 << dice.below(8),
        2 => input[at] = dice.next() as u8,
        3 => input[at] = [0, 1, 0x7f, 0x80, 0xff][index(dice, 5)],
        4 => input[at] = input[at].wrapping_add(if dice.below(2) == 0 { 1 } else { 0xff }),
        5 | 6 => {
            let number = edge(dice, input.len() as u64).to_le_bytes();
            let width = [2, 4, 8][index(dice, 3)].min(input.len() - at);
            input[at..at + width].copy_from_slice(&number[..width]);
        }
        7 => {
            let range = range(dice, input.len());
            input.drain(range);
        }
        8 => {
            let range = range(dice, input.len());
            let copy = input[range].to_vec();
            input.splice(at..at, copy);
        }
        9 => {
            let len = index(dice, 9);
            let bytes = dice.bytes(len);
            input.splice(at..at, bytes);
        }
        10 if !other.is_empty() => {
            let range = range(dice, other.len());
            let end = (at + range.len()).min(input.len());
            input.splice(at..end, other[range].iter().copied());
        }
        _ => input.truncate(at),
    }
}

/// A number at which something may go over.
fn edge(dice: &mut Dice, len: u64) -> u64 {
    let edges = [0, 1, 2, len, len + 1, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX];
    let near = [0, 1, u64::MAX];
    edges[index(dice, edges.len())].wrapping_add(near[index(dice, near.len())])
}
