//! All engines by name: what each offers, what it needs to be built, and how it is opened.
//!
//! An engine that this build has not compiled in stands here too, without `open`, so that a report can say what is missing and how to get it.

use duramen::BackendKind;

use super::{Class, Engine, Facts, Mode, Outcome, Setup, not_offered};

/// Opens an engine.
pub type Open = fn(&Setup) -> Outcome<Box<dyn Engine>>;

/// What an engine can do beside getting and putting; the reason where it cannot.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Durability classes that it has.
    pub classes: &'static [Class],
    /// Modes that it has, its usual one first.
    pub modes: &'static [Mode],
    /// Ordered scans.
    pub scans: Result<(), &'static str>,
    /// One snapshot for several reads.
    pub snapshots: Result<(), &'static str>,
    /// Answers at all: a raw loop has none to verify.
    pub answers: Result<(), &'static str>,
    /// Files that outlive the process.
    pub files: Result<(), &'static str>,
    /// Whether keys can be written at all after loading.
    pub writes: Result<(), &'static str>,
    /// Transactions that are applied as a whole or not at all.
    pub atomic: Result<(), &'static str>,
    /// Scans inside a write transaction.
    pub scans_in_writes: Result<(), &'static str>,
}

impl Offer {
    /// Everything.
    pub const WHOLE: Offer = Offer {
        classes: &Class::ALL,
        modes: &Mode::ALL,
        scans: Ok(()),
        snapshots: Ok(()),
        answers: Ok(()),
        files: Ok(()),
        writes: Ok(()),
        atomic: Ok(()),
        scans_in_writes: Ok(()),
    };
}

/// An engine.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Name in options and reports.
    pub name: &'static str,
    /// Package whose version is printed; empty for floors.
    pub package: &'static str,
    /// Feature of this crate that compiles it in.
    pub feature: Option<&'static str>,
    /// What building it needs beside Rust.
    pub needs: &'static str,
    /// What is true of it.
    pub facts: Facts,
    /// How it is opened, if it is compiled in.
    pub open: Option<Open>,
    /// What it can do.
    pub offer: Offer,
}

impl Entry {
    /// Opens it, or says why not.
    pub fn open(&self, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        self.check(setup.class, setup.mode)?;
        match self.open {
            Some(open) => open(setup),
            None => not_offered(&self.missing()),
        }
    }

    /// Whether class and mode are among what it offers.
    fn check(&self, class: Class, mode: Mode) -> Outcome<()> {
        if !self.offer.classes.contains(&class) {
            return not_offered(&format!("has no commit of class {}; {}", class.name(), self.facts.durability));
        }
        if !self.offer.modes.contains(&mode) {
            return not_offered(&format!("has no {} mode", mode.name()));
        }
        Ok(())
    }

    /// The weakest class it has: what loading uses where the class does not matter.
    pub fn weakest(&self) -> Class {
        self.offer.classes.first().copied().unwrap_or(Class::Sync)
    }

    /// Its usual mode.
    pub fn mode(&self) -> Mode {
        self.offer.modes.first().copied().unwrap_or(Mode::Pessimistic)
    }

    /// Whether it stands for what memory or disk allow, and not for an engine.
    pub fn is_floor(&self) -> bool {
        self.package.is_empty()
    }

    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.package == "duramen"
    }

    /// Its version, from the lock file that this program was built with.
    pub fn version(&self) -> String {
        if self.is_floor() { String::new() } else { locked_version(self.package).unwrap_or_else(|| "?".to_owned()) }
    }

    /// What to do to have it.
    pub fn missing(&self) -> String {
        let needs = if self.needs.is_empty() { String::new() } else { format!(" (needs {})", self.needs) };
        format!("not built in: add `--features {}`{needs}", self.feature.unwrap_or("?"))
    }
}

/// Version of `package` in Cargo.lock; the last one where there are several, as requirements are exact.
fn locked_version(package: &str) -> Option<String> {
    let lock = include_str!("../../../Cargo.lock");
    let head = format!("name = \"{package}\"\nversion = \"");
    let found = lock.rmatch_indices(&head).next()?.0 + head.len();
    lock[found..].split('"').next().map(str::to_owned)
}

const UNKNOWN: Facts = Facts { isolation: "", durability: "", checksums: "", compression: "", cache: "" };

/// An engine that is not compiled in.
#[allow(dead_code, reason = "every engine may be compiled in")]
const fn absent(name: &'static str, package: &'static str, feature: &'static str, needs: &'static str) -> Entry {
    Entry { name, package, feature: Some(feature), needs, facts: UNKNOWN, open: None, offer: Offer::WHOLE }
}

/// `$entry` if `$feature` is on, else its name with what it takes.
macro_rules! entry {
    ($feature:literal, $entry:expr, $name:literal, $package:literal, $needs:literal) => {{
        #[cfg(feature = $feature)]
        let entry = $entry;
        #[cfg(not(feature = $feature))]
        let entry = absent($name, $package, $feature, $needs);
        entry
    }};
}

/// Every engine: ours, pure Rust, C, then the floors.
pub fn all() -> Vec<Entry> {
    vec![
        super::duramen::entry("duramen-btree", BackendKind::BTree),
        super::duramen::entry("duramen-lsm", BackendKind::Lsm),
        entry!("redb", super::redb::ENTRY, "redb", "redb", ""),
        entry!("fjall", super::fjall::SINGLE_WRITER, "fjall-single-writer", "fjall", ""),
        entry!("fjall", super::fjall::OPTIMISTIC, "fjall-optimistic", "fjall", ""),
        entry!("sled", super::sled::ENTRY, "sled", "sled", ""),
        entry!("canopydb", super::canopydb::ENTRY, "canopydb", "canopydb", ""),
        entry!("surrealkv", super::surrealkv::ENTRY, "surrealkv", "surrealkv", ""),
        entry!("heed", super::lmdb::ENTRY, "lmdb", "heed", "a C compiler: apt-get install gcc"),
        entry!("rusqlite", super::sqlite::ENTRY, "sqlite", "rusqlite", "a C compiler: apt-get install gcc"),
        entry!(
            "rocksdb",
            super::rocksdb::PESSIMISTIC,
            "rocksdb-txn",
            "rocksdb",
            "a C++ compiler and libclang: apt-get install g++ libclang-dev"
        ),
        entry!(
            "rocksdb",
            super::rocksdb::OPTIMISTIC,
            "rocksdb-optimistic",
            "rocksdb",
            "a C++ compiler and libclang: apt-get install g++ libclang-dev"
        ),
        super::maps::BTREE_MAP,
        super::maps::HASH_MAP,
        super::maps::SORTED_ARRAY,
        super::maps::SKIP_LIST,
        super::raw::APPEND,
        super::raw::OVERWRITE,
        super::raw::COPY,
    ]
}

/// The engine of that name.
pub fn find(name: &str) -> Option<Entry> {
    all().into_iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_versions_are_known() {
        let all = all();
        let names: std::collections::BTreeSet<_> = all.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), all.len());
        for entry in all.iter().filter(|entry| !entry.is_floor()) {
            assert!(entry.version().starts_with(|c: char| c.is_ascii_digit()), "{}: {}", entry.name, entry.version());
        }
    }

    #[test]
    fn an_engine_that_is_not_built_in_says_what_to_do() {
        let missing = absent("x", "x", "x-feature", "a C compiler").missing();
        assert!(missing.contains("--features x-feature") && missing.contains("a C compiler"));
    }
}
