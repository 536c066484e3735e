//! T1: each Cargo.toml's dependencies and features equal the table in ARCHITECTURE.md, and arrows point down.
//!
//! The table has the head `| folder | package | uses | tests use | features |` and one row for each crate. `uses` and `tests use` list
//! package names in backticks, sorted, with what they are asked for in brackets: `` `duramen-base` (testing) ``; a dependency under
//! a cfg has the cfg in the brackets, an optional one `optional`. `features` lists the names, without `default`.
//!
//! Also kept here: a crate depends only on crates of a lower floor ([`FLOORS`]); every version is the workspace's; `mutants` is
//! forwarded to every crate of ours below; every external version of the workspace is used by somebody.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{Complaint, House};
use super::markdown;

/// From the ground up. Crates of one floor never import one another.
const FLOORS: &[&[&str]] =
    &[&["base"], &["wal", "btree", "lsm", "txn"], &["engine"], &["suite"], &["tests", "benches"]];

const TABLE: &str = "ARCHITECTURE.md";

/// All of T1.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let manifests: BTreeMap<&str, Manifest> =
        house.crates().map(|(folder, text)| (folder, Manifest::parse(text))).collect();
    let mut complaints = check_table(house, &manifests);
    let folder_of: BTreeMap<&str, &str> = manifests.iter().map(|(folder, m)| (m.package.as_str(), *folder)).collect();
    for (folder, manifest) in &manifests {
        complaints.extend(check_floor(folder, manifest, &folder_of));
        complaints.extend(check_versions(folder, manifest));
        complaints.extend(check_forwarding(folder, manifest, &manifests, &folder_of));
    }
    complaints.extend(check_all_used(house, &manifests));
    complaints
}

fn check_table(house: &House, manifests: &BTreeMap<&str, Manifest>) -> Vec<Complaint> {
    let text = house.text(TABLE).unwrap_or_default();
    let Some(rows) = markdown::table(text, &["folder", "package", "uses", "tests use", "features"]) else {
        return vec![Complaint::new(TABLE, 0, "T1: has no table `| folder | package | uses | tests use | features |`")];
    };
    let mut missing: BTreeSet<&str> = manifests.keys().copied().collect();
    let mut complaints = Vec::new();
    for (line, cells) in rows {
        let folder = cells[0].trim_matches('`');
        let Some(manifest) = manifests.get(folder) else {
            complaints.push(Complaint::new(TABLE, line, format!("T1: there is no crate in `{folder}`")));
            continue;
        };
        missing.remove(folder);
        let real = [format!("`{}`", manifest.package), manifest.uses(), manifest.tests_use(), manifest.features()];
        for ((column, real), written) in ["package", "uses", "tests use", "features"].iter().zip(real).zip(&cells[1..])
        {
            if real != *written {
                complaints.push(Complaint::new(
                    TABLE,
                    line,
                    format!("T1: {folder}, {column}: its Cargo.toml says {real}, the table {written}"),
                ));
            }
        }
    }
    complaints.extend(
        missing
            .iter()
            .map(|folder| Complaint::new(TABLE, 0, format!("T1: the crate `{folder}` is missing in the table"))),
    );
    complaints
}

fn floor_of(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

fn check_floor(folder: &str, manifest: &Manifest, folder_of: &BTreeMap<&str, &str>) -> Vec<Complaint> {
    let path = format!("{folder}/Cargo.toml");
    let Some(floor) = floor_of(folder) else {
        return vec![Complaint::new(
            &path,
            0,
            "T1: this crate has no floor yet: give it one in tests/all/tidy/arrows.rs",
        )];
    };
    let below = |name: &str| folder_of.get(name).and_then(|folder| floor_of(folder)).is_none_or(|other| other < floor);
    manifest
        .dependencies
        .iter()
        .filter(|dependency| !below(&dependency.name))
        .map(|dependency| {
            Complaint::new(
                &path,
                0,
                format!("T1: `{}` is not on a lower floor: arrows point down only", dependency.name),
            )
        })
        .collect()
}

fn check_versions(folder: &str, manifest: &Manifest) -> Vec<Complaint> {
    manifest
        .dependencies
        .iter()
        .filter(|dependency| !dependency.of_workspace)
        .map(|dependency| {
            let what =
                format!("T1: `{}` must be `workspace = true`: versions stand once, in the workspace", dependency.name);
            Complaint::new(&format!("{folder}/Cargo.toml"), 0, what)
        })
        .collect()
}

fn check_forwarding(
    folder: &str,
    manifest: &Manifest,
    all: &BTreeMap<&str, Manifest>,
    folder_of: &BTreeMap<&str, &str>,
) -> Vec<Complaint> {
    let Some(forwards) = manifest.features.get("mutants") else { return Vec::new() };
    let has_mutants =
        |name: &str| folder_of.get(name).and_then(|f| all.get(f)).is_some_and(|m| m.features.contains_key("mutants"));
    manifest
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == Kind::Normal && has_mutants(&dependency.name))
        .map(|dependency| format!("{}/mutants", dependency.name))
        .filter(|wanted| !forwards.contains(wanted))
        .map(|wanted| {
            Complaint::new(
                &format!("{folder}/Cargo.toml"),
                0,
                format!("T1: feature `mutants` must forward to `{wanted}`"),
            )
        })
        .collect()
}

fn check_all_used(house: &House, manifests: &BTreeMap<&str, Manifest>) -> Vec<Complaint> {
    let used: BTreeSet<&str> =
        manifests.values().flat_map(|manifest| manifest.dependencies.iter().map(|d| d.name.as_str())).collect();
    let workspace = house.text("Cargo.toml").unwrap_or_default();
    sections(workspace)
        .into_iter()
        .filter(|(section, key, value)| {
            section == "workspace.dependencies" && !value.contains("path =") && !used.contains(key.as_str())
        })
        .map(|(_, key, _)| Complaint::new("Cargo.toml", 0, format!("T1: nobody uses `{key}`")))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    kind: Kind,
    /// What stands in brackets in the table.
    asked: Vec<String>,
    of_workspace: bool,
}

#[derive(Debug, Default)]
struct Manifest {
    package: String,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

impl Manifest {
    fn parse(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        for (section, key, value) in sections(text) {
            let (cfg, table) = match section.strip_prefix("target.'cfg(").and_then(|rest| rest.split_once(")'.")) {
                Some((cfg, table)) => (Some(cfg), table),
                None => (None, section.as_str()),
            };
            match table {
                "package" if key == "name" => manifest.package = quoted(&value).concat(),
                "dependencies" | "build-dependencies" => manifest.add(Kind::Normal, cfg, &key, &value),
                "dev-dependencies" => manifest.add(Kind::Dev, cfg, &key, &value),
                "features" if key != "default" => {
                    manifest.features.insert(key, quoted(&value));
                }
                _ => {}
            }
        }
        manifest.dependencies.sort_by(|a, b| a.name.cmp(&b.name));
        manifest
    }

    fn add(&mut self, kind: Kind, cfg: Option<&str>, key: &str, value: &str) {
        let (name, of_workspace) = match key.strip_suffix(".workspace") {
            Some(name) => (name, value == "true"),
            None => (key, value.contains("workspace = true")),
        };
        let mut asked: Vec<String> = cfg.map(str::to_owned).into_iter().collect();
        if let Some((_, features)) = value.split_once("features = [") {
            asked.extend(quoted(features.split(']').next().unwrap_or_default()));
        }
        if value.contains("optional = true") {
            asked.push("optional".to_owned());
        }
        self.dependencies.push(Dependency { name: name.to_owned(), kind, asked, of_workspace });
    }

    fn uses(&self) -> String {
        self.list(Kind::Normal)
    }

    fn tests_use(&self) -> String {
        self.list(Kind::Dev)
    }

    fn list(&self, kind: Kind) -> String {
        let names = self.dependencies.iter().filter(|dependency| dependency.kind == kind).map(|dependency| {
            if dependency.asked.is_empty() {
                format!("`{}`", dependency.name)
            } else {
                format!("`{}` ({})", dependency.name, dependency.asked.join(", "))
            }
        });
        names.collect::<Vec<_>>().join(", ")
    }

    fn features(&self) -> String {
        self.features.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// `(section, key, value)` of each entry; a value over several lines is joined.
fn sections(text: &str) -> Vec<(String, String, String)> {
    let mut entries: Vec<(String, String, String)> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if open {
            let last = entries.last_mut().expect("a value is open");
            last.2.push_str(line);
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']).to_owned();
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            entries.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
        }
        open = entries.last().is_some_and(|(_, _, value)| value.matches('[').count() > value.matches(']').count());
    }
    entries
}

/// The strings of a value.
fn quoted(value: &str) -> Vec<String> {
    value.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_TEXT: &str = "| folder | package | uses | tests use | features |\n|---|---|---|---|---|\n\
        | `base` | `d-base` | `crc` | `prop` | `mutants` |\n\
        | `wal` | `d-wal` | `d-base`, `shuttle` (duramen_sim) | `d-base` (testing) | `mutants` |\n";
    const BASE: &str = "[package]\nname = \"d-base\"\n[features]\nmutants = []\n[dependencies]\ncrc.workspace = true\n[dev-dependencies]\nprop.workspace = true\n";
    const WAL: &str = "[package]\nname = \"d-wal\"\n[features]\nmutants = [\n  \"d-base/mutants\",\n]\n[dependencies]\nd-base.workspace = true\n\
        [target.'cfg(duramen_sim)'.dependencies]\nshuttle.workspace = true\n\
        [dev-dependencies]\nd-base = { workspace = true, features = [\"testing\"] }\n";

    fn complaints(base: &str, wal: &str) -> String {
        let house = House::of(&[(TABLE, TABLE_TEXT), ("base/Cargo.toml", base), ("wal/Cargo.toml", wal)]);
        check(&house).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn what_the_table_says_is_accepted() {
        assert_eq!(complaints(BASE, WAL), "");
    }

    #[test]
    fn a_new_dependency_is_noticed() {
        assert!(
            complaints(&BASE.replace("crc.", "abc.workspace = true\ncrc."), WAL)
                .contains("base, uses: its Cargo.toml says `abc`, `crc`")
        );
    }

    #[test]
    fn an_arrow_upwards_is_noticed() {
        let base = BASE.replace("crc.workspace", "d-wal.workspace");
        assert!(complaints(&base, WAL).contains("`d-wal` is not on a lower floor"));
    }

    #[test]
    fn a_version_of_its_own_is_noticed() {
        assert!(
            complaints(&BASE.replace("crc.workspace = true", "crc = \"1\""), WAL)
                .contains("must be `workspace = true`")
        );
    }

    #[test]
    fn mutants_not_forwarded_are_noticed() {
        assert!(complaints(BASE, &WAL.replace("\"d-base/mutants\",", "")).contains("must forward to `d-base/mutants`"));
    }

    #[test]
    fn a_crate_without_a_row_and_an_unused_version_are_noticed() {
        let house = House::of(&[
            ("base/Cargo.toml", BASE),
            (TABLE, TABLE_TEXT),
            ("Cargo.toml", "[workspace.dependencies]\nold = \"1\"\n"),
            ("lsm/Cargo.toml", ""),
        ]);
        let text: String = check(&house).iter().map(Complaint::to_string).collect();
        assert!(
            text.contains("nobody uses `old`")
                && text.contains("`lsm` is missing")
                && text.contains("no crate in `wal`")
        );
    }
}
