//! Large values: which of them the value files hold after whatever happened to the leaves that name them.

use std::collections::BTreeMap;

use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree whose values of more than 100 bytes are large.
fn fixture() -> Fixture {
    let mut fixture = Fixture::with(64 << 20, 1 << 10);
    fixture.reopen_with(|options| options.memtable_bytes = 8 << 10);
    fixture
}

impl Fixture {
    fn reopen_with(&mut self, change: impl Fn(&mut KeyspaceOptions)) {
        let mut env = env_of(&self.vfs, &self.host, 1 << 10);
        change(&mut env.options);
        self.tree = BTree::open(env).unwrap();
    }

    fn rows(&self, at: Timestamp) -> Model {
        let mut cursor = self.tree.cursor(at, KeyBounds::ALL, ScanOpts::default()).unwrap();
        let mut rows = Model::new();
        while cursor.next().unwrap() {
            cursor.load_value().unwrap();
            assert_eq!(self.get(cursor.key(), at).unwrap().as_deref(), Some(cursor.value()));
            rows.insert(cursor.key().to_vec(), cursor.value_owned().to_vec());
        }
        rows
    }

    fn values(&self) -> u64 {
        self.tree.stats().values
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number:04}").into_bytes()
}

fn large(number: u64) -> Vec<u8> {
    vec![number as u8; 101 + (number as usize * 37) % 300]
}

#[test]
fn a_large_value_is_read_from_its_file_before_and_after_a_checkpoint() {
    let mut tree = fixture();
    tree.put(b"oak", &large(7));
    tree.put(b"elm", &[1; 100]);
    for _ in 0..3 {
        assert_eq!(tree.rows(tree.now())[&b"oak"[..]], large(7));
        tree.persist();
        tree.check();
        assert_eq!(tree.values(), 1, "the other one is small");
    }
    tree.reopen_with(|options| options.memtable_bytes = 8 << 10);
    assert_eq!(tree.rows(tree.now())[&b"oak"[..]], large(7));
    tree.put(b"oak", &large(8));
    tree.persist();
    tree.persist();
    tree.check();
    assert_eq!((tree.values(), &tree.rows(tree.now())[&b"oak"[..]]), (1, &large(8)));
}

#[test]
fn what_a_reader_needs_stays_in_the_value_files() {
    let tree = fixture();
    let before = tree.put(b"oak", &large(1));
    *tree.host.active.lock() = vec![before];
    for number in 2..20 {
        tree.put(b"oak", &large(number));
        tree.persist();
    }
    assert_eq!(tree.get(b"oak", before).unwrap(), Some(large(1)));
    assert_eq!(tree.rows(before).len(), 1);
    assert_eq!(tree.values(), 2, "the one that is read, and the newest");
    tree.check();
    tree.host.active.lock().clear();
    tree.put(b"oak", &large(20));
    tree.persist();
    tree.persist();
    assert_eq!(tree.values(), 1);
    tree.check();
}

#[test]
fn a_range_delete_takes_the_large_values_of_unread_leaves_with_it() {
    let mut tree = fixture();
    for number in 0..600 {
        tree.put(&key(number), &large(number));
    }
    tree.persist();
    assert_eq!(tree.values(), 600);
    tree.reopen_with(|options| options.memtable_bytes = 8 << 10);
    tree.delete_range(&key(10), &key(590));
    tree.persist();
    tree.persist();
    tree.check();
    assert_eq!(tree.values(), 20);
    assert_eq!(tree.rows(tree.now()).len(), 20);
}

#[test]
fn leaves_that_split_merge_and_move_keep_their_large_values() {
    let mut tree = fixture();
    let mut model = Model::new();
    let mut seed = 0x5eed_u64;
    let mut dice = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed >> 33
    };
    for round in 0..40 {
        for _ in 0..40 {
            let number = dice() % 200;
            match dice() % 8 {
                0 => {
                    tree.commit([Op { kind: OpKind::Delete, key: &key(number), value: b"" }]);
                    model.remove(&key(number));
                }
                1 => {
                    let high = key(number + dice() % 30);
                    if key(number) < high {
                        tree.delete_range(&key(number), &high);
                        model.retain(|found, _| *found < key(number) || *found >= high);
                    }
                }
                2 | 3 => {
                    tree.put(&key(number), &[round as u8; 20]);
                    model.insert(key(number), vec![round as u8; 20]);
                }
                _ => {
                    let value = large(dice() % 1000);
                    tree.put(&key(number), &value);
                    model.insert(key(number), value);
                }
            }
        }
        *tree.host.active.lock() = if round % 3 == 0 { vec![tree.now()] } else { Vec::new() };
        tree.persist();
        assert_eq!(tree.rows(tree.now()), model, "round {round}");
        tree.check();
        if round % 5 == 4 {
            tree.tree.compact(KeyBounds::ALL);
            tree.work();
            tree.reopen_with(|options| options.memtable_bytes = 8 << 10);
            assert_eq!(tree.rows(tree.now()), model, "round {round}, opened again");
        }
    }
    tree.host.active.lock().clear();
    tree.delete_range(b"", b"z");
    tree.persist();
    tree.persist();
    tree.check();
    assert_eq!(tree.values(), 0);
    tree.tree.compact(KeyBounds::ALL);
    tree.work();
    assert_eq!(tree.tree.stats().live_value_bytes, 0);
}

/// Pairs with large values, keys ascending.
struct LargePairs(std::ops::Range<u64>, (Vec<u8>, Vec<u8>));

impl duramen_base::SortedSource for LargePairs {
    fn next_pair(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(self.0.next().map(|number| {
            self.1 = (key(number), large(number));
            (&self.1.0[..], &self.1.1[..])
        }))
    }
}

/// A key in their range keeps the leaves from being hung as they lie.
#[test]
fn the_large_values_of_an_ingest_that_is_merged_come_into_the_tree_with_their_leaves() {
    let mut tree = fixture();
    tree.put(&key(100), b"small, and then replaced");
    tree.persist();
    let built = tree.tree.ingest(&mut LargePairs(0..200, Default::default())).unwrap();
    let at = tree.now().next();
    tree.tree.attach(built, at);
    *tree.host.visible.lock() = at;
    let rows: Model = (0..200).map(|number| (key(number), large(number))).collect();
    for round in ["a layer", "merged"] {
        assert_eq!(tree.rows(tree.now()), rows, "{round}");
        tree.persist();
        tree.check();
        assert_eq!(tree.values(), 200, "{round}");
    }
    tree.reopen_with(|options| options.memtable_bytes = 8 << 10);
    assert_eq!((tree.rows(tree.now()), tree.values()), (rows, 200));
    tree.delete_range(&key(0), &key(150));
    tree.persist();
    tree.persist();
    tree.check();
    assert_eq!(tree.values(), 50);
}
