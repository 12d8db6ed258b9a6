//! The programs without any shared library: what runs on every Linux, and in a kernel that has
//! nothing beside them.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::step::Program;
use crate::target_folder;

/// The places where addresses are filled in at the start are listed in a sixtieth of the room, all
/// of which is read then.
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// Where the static programs lie, just built.
pub(crate) struct StaticPrograms {
    folder: PathBuf,
}

impl StaticPrograms {
    /// Builds them: against musl where that is installed, else against a glibc linked in.
    pub(crate) fn build(root: &Path) -> Result<Self> {
        let line = "cargo build --quiet --release --package mpp-cli --package mpp-load";
        build_by(root, line)?;
        Ok(StaticPrograms { folder: folder(root)? })
    }

    /// The command itself.
    pub(crate) fn mpp(&self) -> PathBuf {
        self.folder.join("mpp")
    }

    /// The loads that know their truth.
    pub(crate) fn mpp_load(&self) -> PathBuf {
        self.folder.join("mpp-load")
    }
}

/// A program that says what its own samples cost, where [`build_sample_cost`] leaves it.
pub(crate) fn sample_cost(root: &Path) -> Result<PathBuf> {
    Ok(folder(root)?.join("examples/sample_cost"))
}

/// Builds it the same way.
pub(crate) fn build_sample_cost(root: &Path) -> Result<()> {
    build_by(root, "cargo build --quiet --release --package mpp-load --example sample_cost")
}

fn build_by(root: &Path, line: &str) -> Result<()> {
    let build = Program::cargo(root, line).arg("--target").arg(target(root)?);
    build.env("RUSTFLAGS", FLAGS).run()
}

fn folder(root: &Path) -> Result<PathBuf> {
    Ok(target_folder(root)?.join(target(root)?).join("release"))
}

fn target(root: &Path) -> Result<String> {
    let sysroot = Program::new(root, "rustc --print sysroot").output()?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let names =
        ["musl", "gnu"].map(|libc| format!("{}-unknown-linux-{libc}", std::env::consts::ARCH));
    let installed = names.into_iter().find(|name| libraries.join(name).join("lib").is_dir());
    ensure!(installed.is_some(), "no target to link statically for in {}", libraries.display());
    Ok(installed.unwrap_or_default())
}
