//! Where a figure comes from: machine, file system, commit, command.

use std::path::Path;
use std::process::Command;

/// One paragraph of Markdown that names all of it.
pub fn provenance(data_root: &Path) -> String {
    provenance_of(data_root, "first_figures")
}

/// The same for the program `bin`.
pub fn provenance_of(data_root: &Path, bin: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Machine: {}, {cores} cores, Linux {}, {}; load {} when it began.\nCommit: {}. {}. Command: `{}`.",
        cpu(),
        read("/proc/sys/kernel/osrelease"),
        file_system(data_root),
        load(),
        commit(),
        day(),
        command(bin),
    )
}

/// Load of the last minute.
pub fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or("unknown processor").to_owned()
}

/// Type of the file system that `path` lies in, by the longest mount point above it.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = read("/proc/mounts");
    let entry = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        path.starts_with(point).then(|| (point.len(), kind.to_owned()))
    };
    mounts.lines().filter_map(entry).max().map_or("unknown file system".to_owned(), |(_, kind)| kind)
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    format!("{hash}{}", if is_changed { " with changes" } else { "" })
}

fn day() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map_or_else(|_| "unknown day".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn command(bin: &str) -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = if args.is_empty() { String::new() } else { format!(" -- {}", args.join(" ")) };
    format!("cargo run --release -p duramen-benches --bin {bin}{rest}")
}
