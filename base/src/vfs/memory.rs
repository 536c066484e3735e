//! Memory from the system itself. Here because it takes words that only this folder says; it is no file, and no part of the trait.

use memmap2::{MmapOptions, MmapRaw};

/// `bytes` bytes of zeros, which take room where they are touched. With `in_large_pages` the system may give them in pages of megabytes, if it has such.
///
/// # Panics
/// If the system has no memory left, as for any other allocation.
pub(crate) fn map_memory(bytes: usize, in_large_pages: bool) -> MmapRaw {
    let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon();
    let map = map.unwrap_or_else(|error| panic!("the system has no memory of {bytes} bytes: {error}"));
    #[cfg(target_os = "linux")]
    if in_large_pages {
        // A system without them says so, and does without.
        let _ = map.advise(memmap2::Advice::HugePage);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = in_large_pages;
    map.into()
}
