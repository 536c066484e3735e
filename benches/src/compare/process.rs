//! What the kernel knows about this process: memory, bytes written, and flushes of the device that holds a folder.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn field(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Nanoseconds that all threads of this process have run so far, those of the engine included.
pub fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The most memory this process ever held, in bytes: mapped files included.
pub fn peak_memory_bytes() -> u64 {
    field("/proc/self/status", "VmHWM") * 1024
}

/// Bytes that this process caused to be sent to the disk, or to be kept dirty for it.
pub fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes")
}

/// Flushes that the device below `path` has completed since the machine started: those of all processes. `None` where the kernel does
/// not count them.
pub fn device_flushes(path: &Path) -> Option<u64> {
    let device = std::fs::metadata(path).ok()?.dev();
    // The numbers of a device in 64 bits, as in glibc's `gnu_dev_major` and `gnu_dev_minor`.
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    stat.split_whitespace().nth(15)?.parse().ok()
}
