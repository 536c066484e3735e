//! Golden files: bytes on disk as annotated text. One reader for the tests of all crates.

/// The bytes of a golden file: pairs of hexadecimal digits with any white space between them; a comment goes from `#` to the end of its line.
///
/// ```
/// let text = "44 55 52 41  # magic\n0100 # format\n";
/// assert_eq!(duramen_base::golden::bytes(text), b"DURA\x01\0");
/// ```
///
/// # Panics
/// If the text is anything else.
pub fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|digit| !digit.is_whitespace())
        .map(|digit| digit.to_digit(16).expect("a golden file holds hexadecimal digits") as u8)
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "a golden file holds whole bytes");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}
