//! Runs the command as somebody who may not look at others, where others are hidden, and
//! programs where nobody expects them.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Ended, mpp, run};

/// `nobody`, to whom nothing belongs.
pub(crate) const NOBODY: u32 = 65_534;

/// Tells a copy of this test program that it is the one to be measured.
const INNER: &str = "MPP_TEST_INNER";

/// Whether we may do everything.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").expect("procfs").uid() == 0
}

/// Copies of programs, where anybody may execute them.
pub(crate) struct Stranger {
    folder: tempfile::TempDir,
    mpp: PathBuf,
}

impl Stranger {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("opened");
        let mpp = copied(Path::new(env!("CARGO_BIN_EXE_mpp")), folder.path(), "mpp");
        Stranger { folder, mpp }
    }

    /// Runs the command as `nobody`. One who is not root is stranger enough himself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = mpp(arguments);
        if is_root() {
            command = self.command(&[self.mpp.as_os_str().to_owned()], arguments);
            command.uid(NOBODY).gid(NOBODY);
        }
        run(command)
    }

    /// The same, where a procfs with these options is mounted over ours. `None` where no such
    /// mount is to be had.
    pub(crate) fn run_on_mount(&self, options: &str, arguments: &[&str]) -> Option<Ended> {
        if !is_root() {
            return None;
        }
        const SCRIPT: &str = "mount -t proc -o \"$0\" proc /proc && \
            exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let unshare = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", SCRIPT];
        let mut wrapped: Vec<OsString> = unshare.map(OsString::from).into();
        wrapped.extend([OsString::from(options), self.mpp.as_os_str().to_owned()]);
        let ended = run(self.command(&wrapped, arguments));
        let has_failed = ended.stderr.contains("mount:") || ended.stderr.contains("unshare:");
        (!has_failed).then_some(ended)
    }

    fn command(&self, wrapped: &[OsString], arguments: &[&str]) -> Command {
        // Environment and standard streams as everywhere.
        let usual = mpp::<&str>([]);
        let mut command = Command::new(&wrapped[0]);
        command.args(&wrapped[1..]).args(arguments).stdin(Stdio::null()).current_dir("/");
        for (removed, _) in usual.get_envs() {
            command.env_remove(removed);
        }
        command
    }

    /// Starts one test of this program again, as somebody who waits to be measured, behind
    /// `wrapper`; see [`wait_to_be_measured`].
    pub(crate) fn start_again(&self, test: &str, wrapper: &[&str]) -> Inner {
        let own = std::env::current_exe().expect("a path");
        let copy = copied(&own, self.folder.path(), test);
        let mut words: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        words.push(copy.into_os_string());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(INNER, "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let is_ready = lines.map_while(Result::ok).any(|line| line.ends_with(READY));
        assert!(is_ready, "{wrapper:?}: {:?}", child.wait());
        Inner { child }
    }
}

const READY: &str = "ready to be measured";

/// Whether this is the inner one of two runs of a test.
pub(crate) fn is_inner() -> bool {
    std::env::var_os(INNER).is_some()
}

/// Stays as it is until whoever started us has seen enough.
pub(crate) fn wait_to_be_measured() {
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
}

/// A copy of this test program that waits to be measured.
pub(crate) struct Inner {
    child: Child,
}

impl Inner {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("our own child");
    }
}

fn copied(program: &Path, folder: &Path, name: &str) -> PathBuf {
    let copy = folder.join(name);
    fs::copy(program, &copy).expect("a copy");
    copy
}
