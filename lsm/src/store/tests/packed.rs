//! Tables whose blocks are packed: which they are, and that nobody notices but by their size.

use super::*;
use crate::merge::pick::LAST_LEVEL;
use crate::version::Run;
use duramen_base::BackendKind;

fn options(compression: Compression) -> KeyspaceOptions {
    KeyspaceOptions { memtable_bytes: 4096, page_bytes: 1024, compression, ..KeyspaceOptions::new(BackendKind::Lsm) }
}

/// Tables large enough that their blocks count beside their footers.
fn tuning() -> Tuning {
    Tuning { table_bytes: 32 << 10, base_bytes: 64 << 10, value_bytes_max: 16 << 10, ..Tuning::tiny() }
}

impl Bench<MemVfs> {
    fn reopen_with(&mut self, compression: Compression) {
        self.lsm = None;
        let env = StoreEnv { options: options(compression), ..env(&self.disk, &self.host, 4096, 1024) };
        self.lsm = Some(Lsm::open_tuned(env, tuning()).expect("whole"));
    }

    fn of(compression: Compression) -> Bench<MemVfs> {
        let mut bench = Bench::new(disk());
        bench.reopen_with(compression);
        bench
    }

    fn put_rows(&mut self, keys: impl Iterator<Item = u32>) {
        for number in keys {
            self.put(
                &format!("key-{number:05}"),
                &format!("value {number} {}", "of the same words as all others ".repeat(4)),
            );
        }
        self.persist();
    }

    fn get_now(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            let pin = Pin::new();
            match self.lsm().get(&pin, key, ts(self.now))?.hit {
                Hit::Value { bytes, .. } => return Ok(Some(bytes.to_vec())),
                Hit::Absent | Hit::Deleted(_) => return Ok(None),
                Hit::Large { .. } => panic!("the values of these tables lie in them"),
                Hit::NeedIo(ticket) => ticket.load()?,
            }
        }
    }

    fn compact(&self) {
        let request = self.lsm().compact(KeyBounds::ALL);
        self.settle();
        assert!(self.lsm().compacted() >= request);
    }

    /// Level, and whether it is packed, of each table.
    fn packed(&self) -> Vec<(usize, bool)> {
        let sv = self.store().current();
        let levels = sv.version.levels.iter().enumerate();
        levels
            .flat_map(|(level, runs)| runs.iter().flat_map(Run::all).map(move |table| (level, table.is_packed())))
            .collect()
    }

    /// Bytes of the files of all tables, and what they would have without packing.
    fn sizes(&self) -> (u64, u64) {
        let levels = self.lsm().stats().levels;
        let (bytes, saved) = levels.iter().fold((0, 0), |sum, level| (sum.0 + level.bytes, sum.1 + level.saved_bytes));
        (bytes, bytes + saved)
    }
}

#[test]
fn the_last_level_is_packed_and_no_other() {
    let mut bench = Bench::of(Compression::Lz4);
    bench.put_rows((0..3000).map(|number| number * 7 % 3000));
    let tables = bench.packed();
    assert!(
        tables.iter().any(|&(level, _)| level < LAST_LEVEL) && tables.iter().any(|&(level, _)| level >= LAST_LEVEL)
    );
    assert!(tables.iter().all(|&(level, is_packed)| is_packed == (level >= LAST_LEVEL)), "{tables:?}");
    bench.check(bench.now);
    bench.verify();
    bench.compact();
    let (bytes, unpacked_bytes) = bench.sizes();
    assert!(bytes * 2 < unpacked_bytes, "{bytes} bytes for {unpacked_bytes}");
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn what_packing_saved_is_what_the_same_tables_have_without() {
    let [(packed, unpacked), (raw, raw_again)] = [Compression::Lz4, Compression::None].map(|compression| {
        let mut bench = Bench::of(compression);
        bench.put_rows(0..2000);
        bench.compact();
        bench.sizes()
    });
    assert_eq!(raw, raw_again, "nothing is saved");
    assert!(packed < raw / 2);
    assert!(unpacked.abs_diff(raw) < raw / 4, "but for footers of more tables: {unpacked} and {raw}");
}

/// Keys in order overlap nothing below, so their tables would only be moved.
#[test]
fn tables_that_would_be_moved_are_packed_on_their_way_into_the_last_level() {
    let mut bench = Bench::of(Compression::Lz4);
    bench.put_rows(0..3000);
    // Without being asked: a compaction would rewrite what is not packed.
    let last: Vec<_> = bench.packed().into_iter().filter(|&(level, _)| level >= LAST_LEVEL).collect();
    assert!(!last.is_empty() && last.iter().all(|&(_, is_packed)| is_packed), "{last:?}");
    bench.compact();
    let tables = bench.packed();
    assert!(tables.iter().all(|&table| table == (LAST_LEVEL, true)), "{tables:?}");
    let written = bench.lsm().stats().written_bytes;
    bench.compact();
    assert_eq!(bench.lsm().stats().written_bytes, written, "once");
    bench.check(bench.now);
}

#[test]
fn a_compaction_stores_the_last_level_as_the_option_says_by_now() {
    let mut bench = Bench::of(Compression::None);
    bench.put_rows(0..1500);
    bench.compact();
    for compression in [Compression::Lz4, Compression::None] {
        bench.lsm().set_compression(compression);
        bench.compact();
        let packs = compression == Compression::Lz4;
        assert!(bench.packed().iter().all(|&table| table == (LAST_LEVEL, packs)), "{:?}", bench.packed());
        let written = bench.lsm().stats().written_bytes;
        bench.compact();
        assert_eq!(bench.lsm().stats().written_bytes, written, "once");
        bench.check(bench.now);
        bench.verify();
    }
}

#[test]
fn packed_tables_are_read_whatever_the_option_says_now() {
    let mut bench = Bench::of(Compression::Lz4);
    bench.put_rows(0..1500);
    bench.compact();
    bench.reopen_with(Compression::None);
    bench.check(bench.now);
    bench.verify();
    bench.put_rows((0..1500).filter(|number| number % 3 == 0));
    bench.compact();
    bench.check(bench.now);
    bench.verify();
    assert_eq!(bench.sizes().0, bench.sizes().1, "each table was rewritten, without packing");
}

#[test]
fn damage_of_any_byte_of_a_packed_table_is_found_or_harmless() {
    let mut bench = Bench::of(Compression::Lz4);
    bench.put_rows(0..60);
    bench.compact();
    let name = bench.files().into_iter().find(|name| name.ends_with(".sst")).expect("a table");
    let file = File::open(&bench.disk, &Path::new("ks").join(name), OpenMode::ReadWrite).expect("there");
    let footer = file.len().expect("there") - 4096;
    for offset in 0..footer {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("there");
        file.write_all_at(&[byte[0] ^ 0x10], offset).expect("there");
        bench.lsm = None;
        let env = StoreEnv { options: options(Compression::Lz4), ..env(&bench.disk, &bench.host, 4096, 1024) };
        // Index, filter and properties are read when it is opened, or later.
        if let Ok(lsm) = Lsm::open_tuned(env, tuning()) {
            let mut report = VerifyReport::default();
            lsm.verify(VerifyLevel::Full, &mut report).expect("readable");
            assert!(!report.is_clean(), "byte {offset}");
            bench.lsm = Some(lsm);
            for number in 0..60u32 {
                let key = format!("key-{number:05}").into_bytes();
                match bench.get_now(&key) {
                    Ok(found) => assert_eq!(found.as_deref(), bench.oracle.get(&key, bench.now), "byte {offset}"),
                    Err(error) => assert!(matches!(error, Error::Corruption { .. }), "byte {offset}: {error}"),
                }
            }
        }
        file.write_all_at(&byte, offset).expect("there");
    }
}
