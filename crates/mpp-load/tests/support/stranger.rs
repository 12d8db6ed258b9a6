//! Whoever may not do everything: programs where anybody may execute them, and commands that
//! start them with exactly these privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::PathBuf;

use tempfile::TempDir;

/// `nobody`, to whom nothing belongs.
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Copies of both programs where anybody may execute them.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn for_everybody() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(super::mpp().get_program(), folder.path().join("mpp")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mpp-load"), folder.path().join("mpp-load")).unwrap();
        Place(folder)
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new folder in which anybody may write.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        folder
    }
}

/// `nobody` with these capabilities and no others.
pub(crate) fn nobody_with(capabilities: &[&str]) -> Vec<String> {
    let mut set = "-all".to_owned();
    capabilities.iter().for_each(|capability| set.push_str(&format!(",+{capability}")));
    let user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut starter: Vec<String> = user.map(str::to_owned).into();
    starter.extend([format!("--inh-caps={set}"), format!("--ambient-caps={set}")]);
    starter
}

/// Whoever we are, in namespaces of its own.
pub(crate) fn unshared(options: &[&str]) -> Vec<String> {
    ["unshare"].iter().chain(options).map(|&word| word.to_owned()).collect()
}
