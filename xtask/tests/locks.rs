//! The locks of the layers bite: a pure crate that reads a clock or a file does not pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What calls each function, or holds each type, that some crate must not use.
const SAMPLES: &[(&str, &str)] = &[
    ("std::time::Instant::now", "std::time::Instant::now()"),
    ("std::time::SystemTime::now", "std::time::SystemTime::now()"),
    ("std::thread::sleep", "std::thread::sleep(std::time::Duration::ZERO)"),
    ("std::thread::spawn", "std::thread::spawn(|| ())"),
    ("std::fs::canonicalize", "std::fs::canonicalize(\"\")"),
    ("std::fs::copy", "std::fs::copy(\"\", \"\")"),
    ("std::fs::create_dir", "std::fs::create_dir(\"\")"),
    ("std::fs::create_dir_all", "std::fs::create_dir_all(\"\")"),
    ("std::fs::hard_link", "std::fs::hard_link(\"\", \"\")"),
    ("std::fs::metadata", "std::fs::metadata(\"\")"),
    ("std::fs::read", "std::fs::read(\"\")"),
    ("std::fs::read_dir", "std::fs::read_dir(\"\")"),
    ("std::fs::read_link", "std::fs::read_link(\"\")"),
    ("std::fs::read_to_string", "std::fs::read_to_string(\"\")"),
    ("std::fs::remove_dir", "std::fs::remove_dir(\"\")"),
    ("std::fs::remove_dir_all", "std::fs::remove_dir_all(\"\")"),
    ("std::fs::remove_file", "std::fs::remove_file(\"\")"),
    ("std::fs::rename", "std::fs::rename(\"\", \"\")"),
    (
        "std::fs::set_permissions",
        "std::fs::set_permissions(\"\", std::os::unix::fs::PermissionsExt::from_mode(0))",
    ),
    ("std::fs::symlink_metadata", "std::fs::symlink_metadata(\"\")"),
    ("std::fs::write", "std::fs::write(\"\", \"\")"),
    ("std::fs::File::create", "std::fs::File::create(\"\")"),
    ("std::fs::File::create_new", "std::fs::File::create_new(\"\")"),
    ("std::fs::File::open", "std::fs::File::open(\"\")"),
    ("std::fs::OpenOptions::open", "std::fs::OpenOptions::new().open(\"\")"),
    ("std::path::Path::canonicalize", "std::path::Path::new(\"\").canonicalize()"),
    ("std::path::Path::exists", "std::path::Path::new(\"\").exists()"),
    ("std::path::Path::is_dir", "std::path::Path::new(\"\").is_dir()"),
    ("std::path::Path::is_file", "std::path::Path::new(\"\").is_file()"),
    ("std::path::Path::metadata", "std::path::Path::new(\"\").metadata()"),
    ("std::path::Path::read_dir", "std::path::Path::new(\"\").read_dir()"),
    ("std::path::Path::read_link", "std::path::Path::new(\"\").read_link()"),
    ("std::env::args", "std::env::args()"),
    ("std::env::args_os", "std::env::args_os()"),
    ("std::env::current_dir", "std::env::current_dir()"),
    ("std::env::current_exe", "std::env::current_exe()"),
    ("std::env::set_current_dir", "std::env::set_current_dir(\"\")"),
    ("std::env::temp_dir", "std::env::temp_dir()"),
    ("std::env::var", "std::env::var(\"\")"),
    ("std::env::var_os", "std::env::var_os(\"\")"),
    ("std::env::vars", "std::env::vars()"),
    ("std::env::vars_os", "std::env::vars_os()"),
    ("std::process::Command::new", "std::process::Command::new(\"\")"),
    ("std::process::exit", "std::process::exit(0)"),
    ("std::process::id", "std::process::id()"),
    ("std::io::stderr", "std::io::stderr()"),
    ("std::io::stdin", "std::io::stdin()"),
    ("std::io::stdout", "std::io::stdout()"),
    ("std::fs::File", "None::<std::fs::File>"),
    ("std::net::TcpListener", "None::<std::net::TcpListener>"),
    ("std::net::TcpStream", "None::<std::net::TcpStream>"),
    ("std::net::UdpSocket", "None::<std::net::UdpSocket>"),
    ("std::os::unix::net::UnixDatagram", "None::<std::os::unix::net::UnixDatagram>"),
    ("std::os::unix::net::UnixListener", "None::<std::os::unix::net::UnixListener>"),
    ("std::os::unix::net::UnixStream", "None::<std::os::unix::net::UnixStream>"),
    ("std::process::Child", "None::<std::process::Child>"),
    ("std::process::Command", "None::<std::process::Command>"),
];

/// The crates whose clippy.toml locks something.
const LOCKED: [&str; 4] = ["mpp-accounting", "mpp-export", "metrics-per-process", "mpp-cli"];

/// A crate in a folder of its own, gone when the test is over.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("lock-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("src")).unwrap();
        // A workspace of its own, since the folder lies inside this one.
        let manifest = "[package]\nname = \"locked\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        Sandbox(root)
    }

    fn with_clippy_toml_of(self, package: &str) -> Self {
        fs::copy(crates().join(package).join("clippy.toml"), self.0.join("clippy.toml")).unwrap();
        self
    }

    fn cargo(&self, command: &str, source: &str) -> Output {
        fs::write(self.0.join("src/lib.rs"), source).unwrap();
        Command::new(env!("CARGO"))
            .args([command, "--offline", "--quiet", "--", "-D", "warnings"])
            .current_dir(&self.0)
            .env_remove("CLIPPY_CONF_DIR")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .output()
            .unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // What is left lies in the build folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The paths that a clippy.toml forbids.
fn forbidden_paths(clippy_toml: &str) -> Vec<&str> {
    let rows = clippy_toml.lines().filter_map(|line| line.trim().strip_prefix("{ path = \""));
    rows.filter_map(|row| row.split_once('"')).map(|(path, _)| path).collect()
}

#[test]
fn every_call_that_a_crate_must_not_make_fails_its_lint() {
    for package in LOCKED {
        let toml = fs::read_to_string(crates().join(package).join("clippy.toml")).unwrap();
        let forbidden = forbidden_paths(&toml);
        assert!(forbidden.len() >= 4, "{package}");
        let mut source = String::from("#![allow(unused, clippy::diverging_sub_expression)]\n");
        for (number, path) in forbidden.iter().enumerate() {
            let sample = SAMPLES.iter().find(|(name, _)| name == path);
            let (_, expression) = sample.unwrap_or_else(|| panic!("no sample uses {path}"));
            source += &format!("fn f{number}() {{ let _ = {expression}; }}\n");
        }
        let sandbox = Sandbox::new(package).with_clippy_toml_of(package);
        let output = sandbox.cargo("clippy", &source);
        assert!(!output.status.success(), "{package} is not locked");
        for path in forbidden {
            let method = format!("use of a disallowed method `{path}`");
            let kind = format!("use of a disallowed type `{path}`");
            let words = words(&output);
            assert!(words.contains(&method) || words.contains(&kind), "{package} {path}: {words}");
        }
    }
}

#[test]
fn a_crate_that_touches_nothing_passes_the_same_lint() {
    let source =
        "//! Pure.\n\n/// Twice.\n#[must_use]\npub fn twice(n: u64) -> u64 {\n    n * 2\n}\n";
    for package in LOCKED {
        let sandbox = Sandbox::new(&format!("{package}-pure")).with_clippy_toml_of(package);
        let output = sandbox.cargo("clippy", source);
        assert!(output.status.success(), "{package}: {}", words(&output));
    }
}

#[test]
fn a_file_of_a_crate_repeats_the_keys_that_all_share() {
    let root = fs::read_to_string(crates().join("../clippy.toml")).unwrap();
    let keys: Vec<&str> = root.lines().filter(|line| line.contains(" = ")).collect();
    assert!(!keys.is_empty());
    for package in LOCKED {
        let toml = fs::read_to_string(crates().join(package).join("clippy.toml")).unwrap();
        for key in &keys {
            assert!(toml.contains(key), "crates/{package}/clippy.toml lacks `{key}`");
        }
    }
}

#[test]
fn without_std_reading_a_file_does_not_compile() {
    let sandbox = Sandbox::new("no-std");
    let pure = "#![no_std]\npub fn first(bytes: &[u8]) -> Option<&u8> { bytes.first() }\n";
    let output = sandbox.cargo("rustc", pure);
    assert!(output.status.success(), "{}", words(&output));
    for impure in ["std::fs::read(\"\")", "std::env::var(\"\")", "std::vec::Vec::<u8>::new()"] {
        let source = format!("{pure}pub fn f() {{ let _ = {impure}; }}\n");
        let output = sandbox.cargo("rustc", &source);
        assert!(!output.status.success(), "{impure} compiles");
        assert!(words(&output).contains("E0433"), "{}", words(&output));
    }
}
