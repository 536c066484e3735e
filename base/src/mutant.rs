//! Deliberately broken variants of the engine, so that a test can prove that it would notice.
//!
//! `mutant!("name")` is `false`, at compile time, unless the feature `mutants` is on; then the environment variable
//! `DURAMEN_MUTANT` chooses one by name. The list of names and the test that must catch each is in docs/testing.md.

/// Whether this build can run mutants: such a one is measured by nobody.
///
/// ```
/// assert_eq!(duramen_base::mutant::ARE_COMPILED_IN, cfg!(feature = "mutants"));
/// ```
pub const ARE_COMPILED_IN: bool = cfg!(feature = "mutants");

/// Whether the mutant `name` is chosen. Use it through [`crate::mutant!`].
#[cfg(feature = "mutants")]
pub fn is_chosen(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("DURAMEN_MUTANT").ok()).as_deref() == Some(name)
}

/// Whether the mutant `name` is chosen. Use it through [`crate::mutant!`].
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_chosen(_name: &str) -> bool {
    false
}

/// `true` only in the mutant run, for the mutant of this name.
///
/// ```
/// assert!(!duramen_base::mutant!("no_such_mutant"));
/// ```
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutant::is_chosen($name)
    };
}
