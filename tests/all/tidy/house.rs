//! The project as the rules see it: paths and texts, in memory. A rule's own tests build small ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::source::Source;

/// A broken rule: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    path: String,
    line: usize,
    what: String,
}

impl Complaint {
    /// About a line (counted from 1; 0: the whole file).
    pub(super) fn new(path: &str, line: usize, what: impl Into<String>) -> Complaint {
        Complaint { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "  {}: {}", self.path, self.what),
            line => write!(f, "  {}:{line}: {}", self.path, self.what),
        }
    }
}

/// Files by path, relative to the root, with `/`.
pub(super) struct House {
    texts: BTreeMap<String, String>,
    sources: BTreeMap<String, Source>,
    test_files: BTreeSet<String>,
}

impl House {
    /// The project this test belongs to, read once.
    pub(super) fn of_this_project() -> &'static House {
        static HOUSE: OnceLock<House> = OnceLock::new();
        HOUSE.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent");
            let mut texts = BTreeMap::new();
            read_folder(root, root, &mut texts);
            House::new(texts)
        })
    }

    /// A house of samples.
    pub(super) fn of(samples: &[(&str, &str)]) -> House {
        House::new(samples.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect())
    }

    fn new(texts: BTreeMap<String, String>) -> House {
        let sources: BTreeMap<String, Source> = texts
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.clone(), Source::parse(text)))
            .collect();
        let test_files = sources.keys().filter(|path| is_test_file(path, &sources)).cloned().collect();
        House { texts, sources, test_files }
    }

    /// Text of a file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether a file or folder of this name exists.
    pub(super) fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.texts.contains_key(path)
            || self.texts.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// All Rust files.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// Rust files that users run: neither tests, benches, examples nor programs of the companions.
    pub(super) fn products(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources().filter(|(path, _)| !self.test_files.contains(*path))
    }

    /// The folders that are crates, with their Cargo.toml.
    pub(super) fn crates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, text)))
    }
}

/// The crate folder a path is in.
pub(super) fn crate_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

fn read_folder(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) {
    let entries = std::fs::read_dir(folder).expect("the project can be read");
    for entry in entries {
        let entry: PathBuf = entry.expect("the project can be read").path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A folder of a repository, a file in a second working copy.
        if name == ".git" {
            continue;
        }
        if entry.is_dir() {
            if !name.starts_with("target") && name != "proptest-regressions" {
                read_folder(root, &entry, texts);
            }
        } else {
            let path = entry.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            // What is not text has no line to complain about, but it exists.
            let text = std::fs::read(&entry).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            texts.insert(path, text);
        }
    }
}

/// Whether the file is run only by tests, benches, examples, or as a program of a companion.
fn is_test_file(path: &str, sources: &BTreeMap<String, Source>) -> bool {
    let in_test_folder =
        path.split('/').rev().skip(1).any(|folder| matches!(folder, "tests" | "benches" | "examples" | "bin"));
    let is_program = path == "suite/src/main.rs";
    in_test_folder || is_program || sources.iter().any(|(parent, source)| declares_as_test(parent, source, path))
}

/// Whether `parent` declares `path` (or a folder it is in) as a `#[cfg(test)] mod`.
fn declares_as_test(parent: &str, source: &Source, path: &str) -> bool {
    let (folder, name) = parent.rsplit_once('/').unwrap_or(("", parent));
    let own_folder = match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    source.test_modules().iter().any(|module| {
        path == format!("{own_folder}/{module}.rs") || path.starts_with(&format!("{own_folder}/{module}/"))
    })
}

#[test]
fn a_folder_exists_when_a_file_is_in_it() {
    let house = House::of(&[("a/b/c.txt", "")]);
    assert!(house.exists("a/b") && house.exists("a/b/") && house.exists("a/b/c.txt"));
    assert!(!house.exists("a/bb") && !house.exists("a/b/c"));
}

#[test]
fn a_module_declared_for_tests_is_no_product() {
    let house = House::of(&[
        ("x/src/lib.rs", "//! X.\n#[cfg(all(test, duramen_sim))]\nmod schedules;\nmod table;\n"),
        ("x/src/schedules.rs", "//! S."),
        ("x/src/table.rs", "//! T.\n#[cfg(test)]\nmod tests;\n"),
        ("x/src/table/tests.rs", "//! T."),
        ("x/examples/e.rs", "//! E."),
    ]);
    let products: Vec<&str> = house.products().map(|(path, _)| path).collect();
    assert_eq!(products, ["x/src/lib.rs", "x/src/table.rs"]);
}
