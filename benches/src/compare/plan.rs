//! How much of everything: sizes, times, threads and rounds of a run.

use std::time::Duration;

use super::threads::Slice;

/// Sizes of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `quick` or `full`, with what was changed by flags.
    pub name: String,
    /// Keys of most workloads.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Cache budget of every engine.
    pub cache_bytes: u64,
    /// Keys where the data is four times the cache budget.
    pub big_keys: u64,
    /// Keys where the data is four times the memory of the process; 0: not tried.
    pub memory_keys: u64,
    /// Rounds: turns of each engine at each workload.
    pub rounds: usize,
    /// Milliseconds of one measurement.
    pub slice_ms: u64,
    /// Threads that read.
    pub read_threads: Vec<usize>,
    /// Threads that commit.
    pub commit_threads: Vec<usize>,
    /// Threads of mixed work.
    pub mixed_threads: Vec<usize>,
    /// Keys of the three sizes of the growth workload.
    pub growth_keys: Vec<u64>,
    /// Bytes of all large values of a size.
    pub large_bytes: u64,
    /// Puts before the process is killed.
    pub reopen_keys: u64,
    /// Minutes after which no further turn begins.
    pub minutes_max: u64,
    /// Seconds after which a turn is ended.
    pub turn_seconds_max: u64,
}

impl Plan {
    /// Under ten minutes on two cores with the engines that need nothing but Rust.
    pub fn quick() -> Plan {
        Plan {
            name: "quick".to_owned(),
            keys: 30_000,
            value_bytes: 100,
            cache_bytes: 64 << 20,
            big_keys: 120_000,
            memory_keys: 0,
            rounds: 3,
            slice_ms: 20,
            read_threads: vec![1, 2, 8],
            commit_threads: vec![1, 2, 8, 32],
            mixed_threads: vec![1, 8],
            growth_keys: vec![2_000, 16_000, 128_000],
            large_bytes: 4 << 20,
            reopen_keys: 30_000,
            minutes_max: 10,
            turn_seconds_max: 30,
        }
    }

    /// Hours: figures that bear weight.
    pub fn full() -> Plan {
        Plan {
            name: "full".to_owned(),
            keys: 1_000_000,
            cache_bytes: 1 << 30,
            big_keys: 10_000_000,
            memory_keys: 10_000_000,
            rounds: 5,
            slice_ms: 1_000,
            growth_keys: vec![10_000, 300_000, 10_000_000],
            large_bytes: 256 << 20,
            reopen_keys: 1_000_000,
            minutes_max: 24 * 60,
            turn_seconds_max: 1_800,
            ..Plan::quick()
        }
    }

    /// Time of one measurement; a third of it goes before as warm-up.
    pub fn slice(&self) -> Slice {
        let measured = Duration::from_millis(self.slice_ms);
        Slice { warm_up: measured / 3, measured }
    }

    /// For work that waits for the disk: three times as long.
    pub fn long_slice(&self) -> Slice {
        let Slice { warm_up, measured } = self.slice();
        Slice { warm_up, measured: measured * 3 }
    }

    /// Bytes of an entry.
    pub fn entry_bytes(&self) -> u64 {
        (crate::keys::KEY_BYTES + self.value_bytes) as u64
    }
}
