//! The programs without any shared library: what runs on every Linux, and in a kernel that has
//! nothing beside them.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::step::Program;
use crate::target_folder;

/// Where the static programs lie, just built.
pub(crate) struct StaticPrograms {
    folder: PathBuf,
}

impl StaticPrograms {
    /// Builds them: against musl where that is installed, else against a glibc linked in.
    pub(crate) fn build(root: &Path) -> Result<Self> {
        let target = target(root)?;
        let line = "cargo build --quiet --release --package mpp-cli --package mpp-load";
        Program::cargo(root, line)
            .arg("--target")
            .arg(&target)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .run()?;
        Ok(StaticPrograms { folder: target_folder(root)?.join(target).join("release") })
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

fn target(root: &Path) -> Result<String> {
    let sysroot = Program::new(root, "rustc --print sysroot").output()?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let names =
        ["musl", "gnu"].map(|libc| format!("{}-unknown-linux-{libc}", std::env::consts::ARCH));
    let installed = names.into_iter().find(|name| libraries.join(name).join("lib").is_dir());
    ensure!(installed.is_some(), "no target to link statically for in {}", libraries.display());
    Ok(installed.unwrap_or_default())
}
