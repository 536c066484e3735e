//! Whole files: cut, grown, missing, exchanged, and from another database.

use super::judge::{May, each_sample, either};
use super::sample::{Sample, overwrite, remove, replace, set_len};

/// What the loss of a whole file may do. Even the newest segment is missed: `LOG-END` names it.
fn may_change(sample: &Sample, path: &str) -> May {
    sample.may(path, 0..u64::MAX)
}

#[test]
fn a_cut_file_is_noticed_or_harmless() {
    each_sample("cut", |sample, judge| {
        for (path, len) in sample.files() {
            let inside = (0..len).step_by(512).flat_map(|at| [at, at + 1, at + 255]);
            let near_the_end = (1..=40).filter_map(|bytes| len.checked_sub(bytes));
            for to in inside.chain(near_the_end).filter(|&to| to < len) {
                judge.case(|| format!("{path} cut to {to} of {len}"), May::Nothing, |disk| set_len(disk, &path, to));
            }
        }
    });
}

#[test]
fn a_grown_file_is_noticed_or_harmless() {
    each_sample("grown", |sample, judge| {
        for (path, len) in sample.files() {
            for more in [1, 7, 511, 512, 4095, 4096, 40_000] {
                judge.case(
                    || format!("{path} with {more} zeros more"),
                    May::Nothing,
                    |disk| set_len(disk, &path, len + more),
                );
                judge.case(
                    || format!("{path} with {more} bytes of garbage more"),
                    May::Nothing,
                    |disk| overwrite(disk, &path, len, &vec![0xA7; more as usize]),
                );
            }
        }
    });
}

#[test]
fn a_missing_file_is_an_error_and_never_an_empty_database() {
    each_sample("missing", |sample, judge| {
        for (path, _) in sample.files() {
            judge.case(|| format!("{path} is missing"), May::Nothing, |disk| remove(disk, &path));
        }
        for folder in ["db/log/", "db/ks/1/", "db/ks/2/", "db/ks/"] {
            judge.case(
                || format!("everything in {folder} is missing"),
                May::Nothing,
                |disk| {
                    sample
                        .files()
                        .iter()
                        .filter(|(path, _)| path.starts_with(folder))
                        .for_each(|(path, _)| remove(disk, path))
                },
            );
        }
    });
}

#[test]
fn a_file_of_another_database_is_noticed_or_harmless() {
    each_sample("foreign", |sample, judge| {
        // The same content under another identity, and another content.
        for other in [Sample::build(sample.end, 5, 1), Sample::build(sample.end, 6, 2)] {
            assert!(
                other.files().iter().map(|(path, _)| path).eq(sample.files().iter().map(|(path, _)| path))
                    || other.content != sample.content
            );
            for (path, _) in sample.files() {
                if other.image.exists(path.as_ref()) && !path.ends_with("CURRENT") {
                    let bytes = other.read(&path);
                    judge.case(
                        || format!("{path} from another database"),
                        may_change(sample, &path),
                        |disk| replace(disk, &path, &bytes),
                    );
                }
            }
        }
    });
}

#[test]
fn files_of_one_kind_exchanged_are_noticed_or_harmless() {
    each_sample("exchanged", |sample, judge| {
        let files = sample.files();
        let kind =
            |path: &str| path.rsplit('/').next().unwrap_or(path).trim_matches(|c: char| c.is_ascii_digit()).to_owned();
        for (at, (path, _)) in files.iter().enumerate() {
            for (other, _) in files[at + 1..].iter().filter(|(other, _)| kind(other) == kind(path)) {
                let (bytes, other_bytes) = (sample.read(path), sample.read(other));
                let may = either(may_change(sample, path), may_change(sample, other));
                judge.case(
                    || format!("{path} and {other} exchanged"),
                    may,
                    |disk| {
                        replace(disk, path, &other_bytes);
                        replace(disk, other, &bytes);
                    },
                );
            }
        }
    });
}

/// Names that look like ours, with and without sense.
#[test]
fn a_file_that_nobody_knows_is_left_alone() {
    each_sample("strangers", |_, judge| {
        for path in
            ["db/letter.txt", "db/ks/1/letter.txt", "db/ks/2/letter.txt", "db/log/letter.txt", "db/ks/letter.txt"]
        {
            judge.case(|| format!("{path} appears"), May::Nothing, |disk| replace(disk, path, b"not yours"));
        }
        assert_eq!(judge.figures.harmless, judge.figures.cases);
    });
}
