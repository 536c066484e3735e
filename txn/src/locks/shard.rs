//! Some keyspaces behind one latch, and several such at once.
//!
//! S1  Latches of several shards are taken in ascending order, all of them, by somebody who holds none.
//! S2  A keyspace keeps its place while anybody is a member of it.

use duramen_base::KeyspaceId;
use duramen_base::sync::{Mutex, MutexGuard, Padded};

use super::grant::Keyspace;

/// Keyspaces are spread over this many shards by their id. Two that share one share only its latch.
pub(super) const SHARD_COUNT: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) keyspaces: Vec<Keyspace>,
}

impl Shard {
    /// The place of a keyspace, where an idle one may have stood before.
    pub(super) fn place_of(&mut self, id: KeyspaceId) -> usize {
        if let Some(place) = self.keyspaces.iter().position(|keyspace| keyspace.id == id) {
            return place;
        }
        match self.keyspaces.iter().position(Keyspace::is_idle) {
            Some(place) => {
                self.keyspaces[place] = Keyspace::new(id); // S2
                place
            }
            None => {
                self.keyspaces.push(Keyspace::new(id));
                self.keyspaces.len() - 1
            }
        }
    }
}

pub(super) type Shards = [Padded<Mutex<Shard>>; SHARD_COUNT];

pub(super) fn shard_of(keyspace: KeyspaceId) -> usize {
    keyspace.get() as usize % SHARD_COUNT
}

/// The shards whose latch the caller holds.
pub(super) enum Latched<'g, 'a> {
    One(usize, &'g mut MutexGuard<'a, Shard>),
    All(Vec<MutexGuard<'a, Shard>>),
}

impl<'g, 'a> Latched<'g, 'a> {
    /// S1.
    pub(super) fn all(shards: &'a Shards) -> Latched<'g, 'a> {
        Latched::All(shards.iter().map(|shard| shard.lock()).collect())
    }

    pub(super) fn get(&self, shard: usize) -> Option<&Shard> {
        match self {
            Latched::One(one, guard) => (*one == shard).then_some(&***guard),
            Latched::All(guards) => Some(&guards[shard]),
        }
    }

    pub(super) fn get_mut(&mut self, shard: usize) -> Option<&mut Shard> {
        match self {
            Latched::One(one, guard) => (*one == shard).then_some(&mut ***guard),
            Latched::All(guards) => Some(&mut guards[shard]),
        }
    }
}
