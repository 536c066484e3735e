//! T3 and T10: every file opens with a header and is short enough to be read; nothing names a machine.
//!
//! A header is `//!` on the first line. No Rust file is longer than [`LINES_MAX`] lines. No text of the project holds a path of
//! somebody's machine, and links lead only to the public hosts of [`HOSTS`].

use super::house::{Complaint, House};

const LINES_MAX: usize = 700;

/// Folders at the root of somebody's machine: a path into one works nowhere else.
const MACHINE_FOLDERS: &[&str] = &["/home/", "/root/", "/work/", "/Users/", "/mnt/", "/opt/"];

/// Hosts that texts may lead to.
const HOSTS: &[&str] = &[
    "doc.rust-lang.org",
    "docs.rs",
    "doi.org",
    "github.com/rust-lang/",
    "keepachangelog.com",
    "semver.org",
    "www.apache.org",
];

/// T3.
pub(super) fn check_headers(house: &House) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, source) in house.sources() {
        if !source.text().starts_with("//!") {
            complaints.push(Complaint::new(
                path,
                1,
                "T3: must open with a `//!` header: what it is, what it is not, what it promises",
            ));
        }
        let lines = source.text().lines().count();
        if lines > LINES_MAX {
            complaints.push(Complaint::new(
                path,
                0,
                format!("T3: {lines} lines; split it, {LINES_MAX} are too many to read"),
            ));
        }
    }
    complaints
}

/// T10.
pub(super) fn check_words(house: &House) -> Vec<Complaint> {
    let own_list = "tests/all/tidy/places.rs";
    let mut complaints = Vec::new();
    for (path, text) in house.files().filter(|(path, _)| *path != own_list) {
        for (index, line) in text.lines().enumerate() {
            complaints
                .extend(machine_path(line).map(|found| {
                    Complaint::new(path, index + 1, format!("T10: names a folder of a machine: {found}"))
                }));
            complaints.extend(foreign_host(line).map(|found| {
                Complaint::new(
                    path,
                    index + 1,
                    format!("T10: leads to a host that is not in tests/all/tidy/places.rs: {found}"),
                )
            }));
        }
    }
    complaints
}

/// A machine folder that begins a path: not part of a longer name (`tests/all/home/`).
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.iter().copied().find(|folder| {
        line.match_indices(folder).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '>' | '}'))
        })
    })
}

fn foreign_host(line: &str) -> Option<&str> {
    line.match_indices("://").map(|(at, _)| &line[at + 3..]).find(|target| {
        target.starts_with(|c: char| c.is_alphanumeric()) && !HOSTS.iter().any(|host| target.starts_with(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_header_and_one_too_long_are_noticed() {
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        let house = House::of(&[("a.rs", "//! A.\n"), ("b.rs", "use x;\n//! Late.\n"), ("c.rs", &long)]);
        let lines: Vec<String> = check_headers(&house).iter().map(Complaint::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("b.rs:1") && lines[1].contains("c.rs: T3: 701 lines"));
    }

    #[test]
    fn machine_paths_and_foreign_hosts_are_noticed() {
        assert!(machine_path("see /home/me/x").is_some() && machine_path("\"/opt/x\"").is_some());
        assert!(machine_path("tests/all/home/x and a/work/b").is_none());
        assert!(foreign_host("at https://registry.example/x").is_some());
        assert!(foreign_host("[Rust](https://doc.rust-lang.org/std) and db://").is_none());
    }
}
