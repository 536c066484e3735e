//! Creating and opening a store, and telling its own left-over files from foreign ones.
//!
//! Creating is complete when `CURRENT` names a manifest; before that it can simply be done again. Opening trusts `CURRENT` alone. Files of
//! ours that nothing names (left by a crash) are removed by the first upkeep and not by the opening itself: by then the engine has held the
//! store's mark against the log, so an older manifest that was put back does not take newer tables with it.
//!
//! Files that are named otherwise than ours are left alone.

use std::path::PathBuf;

use duramen_base::framed::read_current;
use duramen_base::ingest::{list_number, list_path};
use duramen_base::{Error, IoOp, Result, StoreEnv};

use crate::manifest::{Manifest, manifest_name, manifest_number};
use crate::table::{table_no, table_path};
use crate::upkeep::Upkeep;
use crate::version::Version;

/// Writes the first files of an empty store, which begins after every commit that is visible and durable now.
pub(crate) fn create(env: &StoreEnv) -> Result<()> {
    if read_current(&*env.vfs, &env.dir)?.is_some() {
        refuse_if_used(env)?;
    }
    let persisted = env.host.visible().min(env.host.durable());
    env.host.make_durable(persisted)?;
    let number = Files::list(env)?.manifests.iter().max().map_or(1, |max| max + 1);
    Manifest::create(env, number, &Version::empty(1, persisted)).map(drop)
}

/// A creation that was cut short after its last step leaves an empty store, which is made anew. Anything else is not for us to replace.
fn refuse_if_used(env: &StoreEnv) -> Result<()> {
    match Manifest::open(env) {
        Ok((_, version)) if version.tables().next().is_some() || version.seq > 1 => {
            Err(Error::KeyspaceExists { name: env.keyspace.to_string() })
        }
        // Left by a database that was never completed: it has another identity, or less than a manifest.
        Ok(_) | Err(Error::Corruption { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The files of a store, and what upkeep needs to go on with them.
pub(crate) fn open(env: &StoreEnv) -> Result<(Version, Upkeep)> {
    let (manifest, version) = Manifest::open(env)?;
    let files = Files::list(env)?;
    // What a killed process had only named must not vanish from under the manifest that names it.
    crate::manifest::sync_dir(env)?;
    let next_table_no =
        files.tables.iter().chain(&files.lists).max().map_or(1, |max| max + 1).max(version.next_table_no);
    let next_manifest_number = files.manifests.iter().max().map_or(1, |max| max + 1).max(manifest.number() + 1);
    let garbage = files.unnamed(env, &version, manifest.number());
    Ok((version, Upkeep::new(manifest, next_table_no, next_manifest_number, garbage)))
}

/// Numbers of the files in the store's folder that are named like ours.
struct Files {
    tables: Vec<u64>,
    manifests: Vec<u64>,
    /// Of lists of ingests, which share the numbers of tables.
    lists: Vec<u64>,
}

impl Files {
    fn list(env: &StoreEnv) -> Result<Files> {
        let entries = env.vfs.list(&env.dir).map_err(|source| Error::from_io(IoOp::List, &env.dir, source))?;
        let names = || entries.iter().filter(|entry| !entry.is_dir).map(|entry| &*entry.name);
        Ok(Files {
            tables: names().filter_map(table_no).collect(),
            manifests: names().filter_map(manifest_number).collect(),
            lists: names().filter_map(list_number).collect(),
        })
    }

    fn unnamed(&self, env: &StoreEnv, version: &Version, manifest: u64) -> Vec<PathBuf> {
        let is_named = |no: u64| version.tables().any(|table| table.meta().no == no);
        let tables = self.tables.iter().filter(|&&no| !is_named(no)).map(|&no| table_path(&env.dir, no));
        let manifests = self.manifests.iter().filter(|&&number| number != manifest);
        let lists = self.lists.iter().map(|&number| list_path(&env.dir, number));
        tables.chain(manifests.map(|&number| env.dir.join(manifest_name(number)))).chain(lists).collect()
    }
}
