//! Looks for the tools that some peers need, and names what is missing and how to install it, before their own builds fail less clearly.
//!
//! Does nothing for a build without those peers.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    ["CC", "CXX", "PATH", "LIBCLANG_PATH"].iter().for_each(|name| println!("cargo::rerun-if-env-changed={name}"));
    for feature in ["HEED", "RUSQLITE"] {
        if has(feature) && !on_path("CC", &["cc", "gcc", "clang"]) {
            complain(feature, "a C compiler", "apt-get install gcc; dnf install gcc; xcode-select --install");
        }
    }
    if has("ROCKSDB") && !on_path("CXX", &["c++", "g++", "clang++"]) {
        complain("ROCKSDB", "a C++ compiler", "apt-get install g++; dnf install gcc-c++; xcode-select --install");
    }
    if has("ROCKSDB") && !libclang() {
        complain(
            "ROCKSDB",
            "libclang",
            "apt-get install libclang-dev; dnf install clang-devel; xcode-select --install; or set LIBCLANG_PATH",
        );
    }
}

fn has(feature: &str) -> bool {
    std::env::var_os(format!("CARGO_FEATURE_{feature}")).is_some()
}

fn complain(feature: &str, what: &str, how: &str) {
    println!("cargo::error=feature `{}` needs {what}, which was not found: {how}", feature.to_lowercase());
}

/// Whether the variable names a program, or one of the usual ones is on the path.
fn on_path(variable: &str, names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::var_os(variable).is_some()
        || std::env::split_paths(&path).any(|folder| names.iter().any(|name| folder.join(name).is_file()))
}

/// Whether a libclang lies where bindgen looks for one.
fn libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() || cfg!(target_os = "macos") {
        return true;
    }
    let mut folders: Vec<PathBuf> = ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"]
        .map(|folder| Path::new("/usr").join(folder))
        .into();
    let below = |folder: &str| std::fs::read_dir(Path::new("/usr").join(folder)).into_iter().flatten().flatten();
    folders.extend(
        below("lib")
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm"))
            .map(|entry| entry.path().join("lib")),
    );
    folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libclang") && name.contains(".so") && !name.starts_with("libclang-cpp")
    })
}
