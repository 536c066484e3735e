//! The scripts that come with the suite, one file each in `suite/scripts/`.

use super::Script;

macro_rules! library {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../scripts/", $name, ".txt"))),)*]
    };
}

const TEXTS: &[(&str, &str)] = library! {
    "dirty-write"
    "dirty-write-same-order"
    "aborted-read"
    "aborted-delete"
    "aborted-insert"
    "back-to-savepoint"
    "intermediate-read"
    "circular-flow"
    "observed-vanishes"
    "observed-vanishes-overlap"
    "scan-cut-in-two"
    "locked-update"
    "locked-insert"
    "locked-against-plain"
    "lost-update"
    "lost-update-after-commit"
    "lost-update-aba"
    "lost-delete"
    "lost-range-delete"
    "lost-insert"
    "lost-reinsert"
    "read-skew"
    "read-skew-by-delete"
    "read-skew-in-a-write"
    "read-skew-absent"
    "long-fork"
    "nonadjacent"
    "read-skew-range"
    "phantom"
    "phantom-in-nothing"
    "phantom-at-the-end"
    "write-misses-rows"
    "write-keeps-rows"
    "write-skew"
    "write-skew-after-commit"
    "write-skew-absent"
    "write-skew-savepoint"
    "write-skew-of-three"
    "read-only-anomaly"
    "committed-pivot"
    "committed-pivot-writes"
    "write-skew-range"
    "write-skew-same-range"
    "write-skew-where"
    "write-skew-range-delete"
    "two-edges"
    "acknowledged-is-seen"
    "acknowledged-is-not-overtaken"
    "own-writes"
    "own-range-delete"
    "stale-locking-read"
    "stale-locking-share"
    "stale-locking-scan"
    "rollback-is-forgotten"
};

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let parse =
        |(name, text): &(&str, &str)| Script::parse(name, text).expect("a test parses every script of the library");
    TEXTS.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::Anomaly;

    #[test]
    fn every_script_can_be_read_and_says_what_it_is_about() {
        for (name, text) in TEXTS {
            let script = Script::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!script.about.is_empty() && script.anomaly.is_some() && !script.shown.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_anomaly_has_a_script() {
        let scripts = scripts();
        for anomaly in Anomaly::all() {
            assert!(scripts.iter().any(|script| script.anomaly == Some(anomaly)), "{anomaly}");
        }
    }
}
