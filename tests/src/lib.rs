//! What several test programs share. The tests themselves are in `all/`, the programs in `src/bin/`.
#![forbid(unsafe_code)]

pub mod dice;
