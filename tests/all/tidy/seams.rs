//! T4: files, clocks, threads, locks and the operating system are named only in the seams of base.
//!
//! The suite runs sessions on threads, as a program would, and has one file for that.
//!
//! Looked at is the code that users run: not comments, literals, tests, benches, examples or the suite's program. A name counts
//! wherever it stands: spelled out, imported, imported in a group, or under an import of its parent module.

use super::house::{Complaint, House};
use super::source::{Source, line_of, words};

/// What belongs behind a seam, and where the seam is.
struct Seam {
    what: &'static str,
    names: &'static [&'static str],
    places: &'static [&'static str],
}

const SEAMS: &[Seam] = &[
    Seam {
        what: "files and the operating system",
        names: &["std::fs", "std::os", "std::net", "std::process", "rustix", "libc"],
        places: &["base/src/vfs/"],
    },
    Seam {
        what: "clocks",
        names: &["std::time::Instant", "std::time::SystemTime"],
        places: &["base/src/clock.rs", "suite/src/threads.rs"],
    },
    Seam {
        what: "threads",
        names: &["std::thread"],
        places: &["base/src/sync.rs", "base/src/sync/", "base/src/executor.rs", "suite/src/threads.rs"],
    },
    Seam {
        what: "locks and atomics",
        names: &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "std::sync::Condvar",
            "std::sync::Barrier",
            "std::sync::atomic",
            "std::sync::mpsc",
            "core::sync::atomic",
            "parking_lot",
            "crossbeam_utils",
            "shuttle",
            "loom",
        ],
        places: &["base/src/sync.rs", "base/src/sync/", "base/src/clock.rs", "suite/src/threads.rs"],
    },
    Seam { what: "the environment", names: &["std::env"], places: &["base/src/mutant.rs"] },
];

/// Words of a `cfg` that tell operating systems apart.
const SYSTEM_WORDS: &[&str] = &["target_os", "target_family", "unix", "windows"];

/// All of T4.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    house
        .products()
        .flat_map(|(path, source)| check_names(path, source).into_iter().chain(check_systems(path, source)))
        .collect()
}

fn check_names(path: &str, source: &Source) -> Vec<Complaint> {
    let names = imports(source.product()).into_iter().chain(mentions(source.product()));
    let mut complaints: Vec<Complaint> = names
        .flat_map(|(line, name)| {
            let broken = SEAMS.iter().filter(move |seam| {
                !seam.places.iter().any(|place| path.starts_with(place))
                    && seam.names.iter().any(|of_seam| name.touches(of_seam))
            });
            broken.map(move |seam| {
                Complaint::new(path, line, format!("T4: {} are touched only in {}", seam.what, seam.places.join(", ")))
            })
        })
        .collect();
    complaints.dedup();
    complaints
}

fn check_systems(path: &str, source: &Source) -> Vec<Complaint> {
    if path.starts_with("base/src/vfs/") {
        return Vec::new();
    }
    let code = source.product();
    words(code)
        .filter(|&(at, word)| {
            SYSTEM_WORDS.contains(&word) && code[..at].trim_end().ends_with(['(', ',']) && is_in_cfg(code, at)
        })
        .map(|(at, word)| {
            Complaint::new(path, line_of(code, at), format!("T4: only base/src/vfs/ may ask for `{word}`"))
        })
        .collect()
}

fn is_in_cfg(code: &str, at: usize) -> bool {
    let statement = code[..at].rfind(['\n', ';', '{', '}']).map_or(0, |start| start + 1);
    code[statement..at].contains("cfg")
}

/// A path as code names it.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// Spelled out.
    Mention(String),
    /// By `use`; `a::b` then gives access to all below.
    Import(String),
}

impl Name {
    /// Whether it names `of_seam`, something below it, or (importing) a module it is in.
    fn touches(&self, of_seam: &str) -> bool {
        match self {
            Name::Mention(name) => is_within(name, of_seam),
            Name::Import(name) => {
                let parent = name.strip_suffix("::*").unwrap_or(name);
                is_within(name, of_seam) || is_within(of_seam, parent)
            }
        }
    }
}

fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path that a `use` brings in, groups spelled out.
fn imports(code: &str) -> Vec<(usize, Name)> {
    let uses = words(code).filter(|&(_, word)| word == "use");
    uses.flat_map(|(at, _)| {
        let tree = &code[at + 3..];
        let tree: String = tree[..tree.find(';').unwrap_or(0)].split_whitespace().collect::<Vec<_>>().join(" ");
        let line = line_of(code, at);
        expand("", tree.trim()).into_iter().map(move |name| (line, Name::Import(name)))
    })
    .collect()
}

/// Paths of a `use` tree below `prefix`.
pub(super) fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim().trim_start_matches("::");
        let name = name.strip_suffix("::self").unwrap_or(if name == "self" { "" } else { name });
        let path = format!("{prefix}{name}");
        return vec![path.strip_suffix("::").unwrap_or(&path).to_owned()];
    };
    let prefix = format!("{prefix}{}", tree[..open].trim().trim_start_matches("::"));
    let inside = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or(&tree[open + 1..]);
    split_group(inside).into_iter().flat_map(|part| expand(&prefix, part)).collect()
}

/// The parts of a group, at its own commas.
fn split_group(inside: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// Every `a::b::c` in the code.
fn mentions(code: &str) -> Vec<(usize, Name)> {
    let mut names: Vec<(usize, Name)> = Vec::new();
    let mut end = usize::MAX;
    for (at, word) in words(code) {
        let joined = end < at && &code[end..at] == "::";
        end = at + word.len();
        match names.last_mut() {
            Some((_, Name::Mention(name))) if joined => {
                name.push_str("::");
                name.push_str(word);
            }
            _ => names.push((at, Name::Mention(word.to_owned()))),
        }
    }
    names.retain(|(_, name)| matches!(name, Name::Mention(path) if path.contains("::")));
    names.into_iter().map(|(at, name)| (line_of(code, at), name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, code: &str) -> usize {
        check(&House::of(&[(path, code)])).len()
    }

    #[test]
    fn every_way_to_name_the_outside_is_noticed() {
        for code in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs::File};",
            "use std::{\n    io,\n    time::{Duration, Instant},\n};",
            "use std::time;",
            "use std::sync;",
            "use std::sync::*;",
            "use std::sync::atomic::{AtomicU64, Ordering};",
            "use std::sync::{Arc, Mutex};",
            "fn f() { std::thread::sleep(x) }",
            "fn f() -> std::time::SystemTime { g() }",
            "use parking_lot::Mutex;",
            "use ::std::fs as files;",
            "#[cfg(target_os = \"linux\")] fn f() {}",
            "fn f() { if cfg!(windows) { } }",
        ] {
            assert_eq!(count("engine/src/a.rs", code), 1, "{code}");
        }
    }

    #[test]
    fn what_is_no_outside_is_accepted() {
        for code in [
            "use std::sync::Arc;\nuse std::time::Duration;",
            "use std::{io, sync::Arc};",
            "/// Like `std::fs::read`.\nfn f() { g(\"std::fs\") } // std::thread",
            "use duramen_base::sync::{Mutex, atomic::AtomicU64};",
            "use crate::thread_pool::Pool;",
            "#[cfg(test)]\nmod tests { use std::fs; }",
            "fn windows(windows: u32) { s.windows(2) }",
        ] {
            assert_eq!(count("engine/src/a.rs", code), 0, "{code}");
        }
    }

    #[test]
    fn seams_tests_and_examples_may() {
        for path in [
            "base/src/vfs/os.rs",
            "engine/examples/e.rs",
            "tests/all/main.rs",
            "suite/src/main.rs",
            "benches/benches/b.rs",
        ] {
            assert_eq!(count(path, "use std::fs;"), 0, "{path}");
        }
        assert_eq!(count("base/src/clock.rs", "use std::time::Instant;"), 0);
        assert_eq!(count("base/src/clock.rs", "use std::fs;"), 1);
    }
}
