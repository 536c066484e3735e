//! What a salvage makes of tables that were merged already.

use std::collections::BTreeMap;

use duramen_base::salvage::{Loss, Salvage, StoreFiles};

use super::*;
use crate::test_host::KEYSPACE;

/// For each key the version with the greatest timestamp, of two with the same the one that came last.
#[derive(Default)]
struct Found {
    newest: BTreeMap<Vec<u8>, (Timestamp, Option<Vec<u8>>)>,
    losses: Vec<String>,
}

impl Salvage for Found {
    fn version(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> Result<()> {
        if self.newest.get(key).is_none_or(|(newest, _)| *newest <= ts) {
            self.newest.insert(key.to_vec(), (ts, value.map(<[u8]>::to_vec)));
        }
        Ok(())
    }
    fn range_delete(&mut self, _: &[u8], _: &[u8], _: Timestamp) -> Result<()> {
        Ok(())
    }
    fn lost(&mut self, loss: Loss) {
        self.losses.push(loss.what);
    }
}

fn salvaged(disk: &MemVfs) -> Found {
    let files = StoreFiles { vfs: disk, dir: "ks".as_ref(), keyspace: KEYSPACE, db_uuid: None };
    let mut found = Found::default();
    crate::salvage(&files, &mut found).expect("a sink without errors");
    found
}

fn content(disk: &MemVfs, path: &Path) -> Vec<u8> {
    let file = File::open(disk, path, OpenMode::Read).expect("there");
    let mut bytes = vec![0; file.len().expect("readable") as usize];
    file.read_exact_at(&mut bytes, 0).expect("readable");
    bytes
}

/// A store whose key `k` was "old" in a table that was merged into others, where it is "new" without a timestamp and `gone` is deleted; that table lies in
/// the folder again, as after a crash before it was removed.
fn with_a_merged_table() -> MemVfs {
    let mut bench = Bench::new(disk());
    bench.put("gone", "old");
    bench.put("k", "old");
    bench.persist();
    let name = bench.files().into_iter().find(|name| name.ends_with(".sst")).expect("flushed");
    let path = Path::new("ks").join(&name);
    let merged = content(&bench.disk, &path);
    bench.commit(&[(OpKind::Delete, b"gone".to_vec(), Vec::new())]);
    bench.put("k", "new");
    for number in 0..200 {
        bench.put(&format!("other-{}", number % 10), "a value that takes some room in a table");
    }
    bench.persist();
    assert!(!bench.files().contains(&name), "merged: {:?}", bench.files());
    bench.lsm = None;
    let file = File::open(&bench.disk, &path, OpenMode::CreateNew).expect("a good disk");
    file.write_all_at(&merged, 0).expect("a good disk");
    bench.disk
}

/// Z5.
#[test]
fn without_current_a_salvage_reads_what_the_newest_manifest_names() {
    let disk = with_a_merged_table();
    let whole = salvaged(&disk);
    assert!(whole.losses.is_empty() && whole.newest[&b"k"[..]].1.as_deref() == Some(b"new"), "{:?}", whole.losses);
    disk.remove_file("ks/CURRENT".as_ref()).expect("there");
    let found = salvaged(&disk);
    assert_eq!(found.newest, whole.newest, "no table that was merged is read");
    assert!(found.losses.len() == 1 && found.losses[0].contains("(Z5)"), "{:?}", found.losses);
}

/// Z4, Z5: an older manifest may not stand in for one that is damaged.
#[test]
fn without_a_manifest_a_salvage_says_that_what_was_replaced_may_be_back() {
    let disk = with_a_merged_table();
    let manifest =
        disk.list("ks".as_ref()).expect("there").into_iter().find(|entry| entry.name.starts_with("MANIFEST-"));
    let path = Path::new("ks").join(manifest.expect("there is one").name);
    let bytes = content(&disk, &path);
    File::open(&disk, "ks/MANIFEST-900".as_ref(), OpenMode::CreateNew)
        .and_then(|file| file.write_all_at(&bytes[..bytes.len() / 2], 0))
        .expect("a good disk");
    disk.remove_file("ks/CURRENT".as_ref()).expect("there");
    let found = salvaged(&disk);
    assert!(found.losses[0].contains("(Z4)"), "{:?}", found.losses);
    // Timestamps cannot tell; that is what the loss says.
    assert_eq!(found.newest[&b"k"[..]].1.as_deref(), Some(&b"old"[..]));
    assert_eq!(found.newest[&b"gone"[..]].1.as_deref(), Some(&b"old"[..]));
}
