//! Salvage: what can be read of a damaged database goes into a new one, and a report tells what could not.
//!
//! `cargo run -p duramen --example salvage -- FROM TO` does so with the database in `FROM`. Without arguments the example makes a database in a folder
//! of its own, damages a page of it, and rescues the rest.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use duramen::{BackendKind, Database, Result};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [from, to] => salvage(from, to),
        [] => {
            let folder = std::env::temp_dir().join(format!("duramen-salvage-{}", std::process::id()));
            let damaged = folder.join("damaged");
            std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            make_and_damage(&damaged)?;
            salvage(&damaged, &folder.join("rescued"))?;
            let _ = std::fs::remove_dir_all(folder);
            Ok(())
        }
        _ => {
            eprintln!("usage: salvage FROM TO");
            std::process::exit(2)
        }
    }
}

fn salvage(from: &Path, to: &Path) -> Result<()> {
    println!("{}", Database::salvage(from, to)?);
    Ok(())
}

/// Ten thousand entries, and then a page in the middle of the file overwritten, as a failing disk might.
fn make_and_damage(path: &Path) -> Result<()> {
    let db = Database::open(path)?;
    let numbers = db.keyspace("numbers", BackendKind::BTree)?;
    for first in (0..10_000).step_by(1000) {
        db.update(|tx| {
            (first..first + 1000)
                .try_for_each(|number| tx.put(&numbers, format!("{number:05}"), format!("{number:0100}")))
        })?;
    }
    db.checkpoint()?;
    db.close()?;
    let file = path.join("ks/1/tree.dat");
    let damage = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(&file)?;
        file.seek(SeekFrom::Start(512 << 10))?;
        file.write_all(&[0xff; 4096])
    };
    damage().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Ok(())
}
