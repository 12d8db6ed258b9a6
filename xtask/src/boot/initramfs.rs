//! The file system that a booted kernel begins with: a cpio archive in the format `newc`, cpio(5).

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::static_programs::StaticPrograms;

const INIT: &[u8] = include_bytes!("init.sh");
/// su(1) of busybox looks here for whom to become.
const USERS: &[u8] = b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TEXT: u32 = 0o100_644;

/// Packs the programs, the shell and the script that is the first process.
pub(super) fn write(path: &Path, programs: &StaticPrograms, busybox: &Path) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut bytes = Vec::new();
    for name in ["bin", "etc"] {
        push(&mut bytes, name, FOLDER, &[])?;
    }
    push(&mut bytes, "etc/passwd", TEXT, USERS)?;
    push(&mut bytes, "init", PROGRAM, INIT)?;
    push(&mut bytes, "bin/busybox", PROGRAM, &read(busybox)?)?;
    push(&mut bytes, "bin/mpp", PROGRAM, &read(&programs.mpp())?)?;
    push(&mut bytes, "bin/mpp-load", PROGRAM, &read(&programs.mpp_load())?)?;
    push(&mut bytes, "TRAILER!!!", 0, &[])?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Adds one entry: six signs and thirteen numbers of eight hexadecimal digits each, the name, and
/// what is in it; the last two each filled up to a multiple of four bytes.
fn push(archive: &mut Vec<u8>, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let (size, name_size) = (u32::try_from(bytes.len())?, u32::try_from(name.len() + 1)?);
    // Inodes tell hard links apart where there is more than one link; here is one.
    let numbers = [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend(b"070701");
    for number in numbers {
        archive.extend(format!("{number:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_name_and_bytes_each_on_a_boundary() {
        let mut archive = Vec::new();
        push(&mut archive, "etc/a", TEXT, b"12345").unwrap();
        push(&mut archive, "TRAILER!!!", 0, &[]).unwrap();
        let text = String::from_utf8(archive).unwrap();
        let (entry, trailer) = text.split_at(116 + 8);
        assert_eq!(entry.get(..14), Some("07070100000001"));
        assert_eq!(entry.get(14..22), Some("000081a4"));
        assert_eq!(entry.get(54..62), Some("00000005"));
        assert_eq!(entry.get(94..102), Some("00000006"));
        assert_eq!(entry.get(110..), Some("etc/a\x0012345\0\0\0"));
        assert!(trailer.starts_with("070701") && trailer.len() % 4 == 0);
    }
}
