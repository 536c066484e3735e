//! Reading a log through windows that are smaller than its segments (`window.rs`; in these tests hardly larger than the largest record).

use std::path::PathBuf;
use std::sync::Arc;

use duramen_base::vfs::{File, MemVfs, OpenMode};
use duramen_base::{Error, Lsn, Timestamp};

use super::rig::*;
use crate::header::salt;
use crate::record::{PART_BYTES_MAX, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use crate::{SEGMENT_HEADER_BYTES, Wal, WalConfig};

#[test]
fn a_log_of_many_windows_is_read_whole() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let sizes = (0..120).map(|number| [0, 1, 700, 3_000, PART_BYTES_MAX - 7, PART_BYTES_MAX, 40_000][number % 7]);
    let written: Vec<(u64, usize)> = (1..).zip(sizes).collect();
    for &(_, bytes) in &written {
        commit_sync(&wal, bytes);
    }
    drop(wal);
    for _ in 0..2 {
        let recovery = scan(&config).unwrap();
        assert_eq!(replayed(&recovery, 0), written);
        drop(recovery.finish().unwrap());
    }
}

/// A log of one commit, and where it ends; behind it are zeros.
fn short_log() -> (WalConfig, Lsn) {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let end = commit_sync(&wal, 100).end;
    drop(wal);
    (config, end)
}

/// The header of a record at `lsn` that knew the log durable up to `synced_lsn`, its payload torn.
fn put_header(config: &WalConfig, lsn: Lsn, synced_lsn: Lsn) {
    let (kind, commit_ts) = (RecordKind::Commit, Timestamp::new(9));
    let header = RecordHeader { payload_crc: 1, payload_len: 8, kind, lsn, commit_ts, synced_lsn };
    let file = File::open(&*config.vfs, &PathBuf::from(format!("log/{:020}", 1)), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&header.encode(salt(UUID, 1)), SEGMENT_HEADER_BYTES + lsn.get()).unwrap();
}

/// C1, wherever the evidence lies to the edge of a window: the tail begins one, the next begins where the last whole header ends.
#[test]
fn evidence_of_damage_is_seen_across_the_edges_of_windows() {
    let (_, end) = short_log();
    let (edge, mut seen) = (end.get() + RECORD_BYTES_MAX as u64, 0);
    let last = (32 << 10) - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES as u64;
    for lsn in (edge..edge + 1_200).step_by(8).chain([end.get() + 8, last]) {
        let (config, end) = short_log();
        put_header(&config, Lsn::new(lsn), end);
        let recovery = scan(&config).unwrap();
        assert!(recovery.has_torn_tail(), "{lsn}");
        put_header(&config, Lsn::new(lsn), end.plus(8));
        assert!(matches!(scan(&config), Err(Error::Corruption { .. })), "{lsn}");
        seen += 1;
    }
    assert!(seen > 100);
}
