//! Packages of Debian's archive, by the host's own mirror, without installing any: apt-get(8)
//! with lists and sources of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::step::Program;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Why nothing can be had from the archive here, or `None`.
pub(super) fn missing() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("kernels are booted on x86_64 only".to_owned());
    }
    let programs = ["apt-get --version", "apt-cache --version", "dpkg-deb --version"];
    let is_debian = programs.iter().all(|line| Program::new(Path::new("/"), line).succeeds());
    if is_debian && Path::new(KEYRING).exists() {
        return None;
    }
    Some("kernels and the emulator are taken from Debian's archive, by apt-get".to_owned())
}

/// The name of the host's own release.
pub(super) fn own_release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release")?.trim_matches('"').to_owned())
}

/// Where packages come from, and where what they hold goes.
pub(super) struct Archive {
    root: PathBuf,
    mirror: String,
}

impl Archive {
    /// Everything lies below `root`; the mirror is the host's.
    pub(super) fn at(root: PathBuf) -> Result<Self> {
        let program = Program::new(Path::new("/"), "apt-get indextargets --format $(REPO_URI)");
        let targets = program.output()?;
        let is_debian = |uri: &&str| uri.trim_end_matches('/').ends_with("/debian");
        let mirror =
            targets.lines().find(is_debian).context("apt-get knows no mirror of Debian")?;
        Ok(Archive { root, mirror: mirror.to_owned() })
    }

    /// A folder of its own, made where it is missing.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// The packages of a release, as they are now.
    pub(super) fn suite(&self, name: &str) -> Result<Suite> {
        let folder = self.folder(name)?;
        self.folder(&format!("{name}/lists/partial"))?;
        self.folder(&format!("{name}/cache/archives/partial"))?;
        self.folder(&format!("{name}/packages"))?;
        let source = format!("deb [signed-by={KEYRING}] {} {name} main\n", self.mirror);
        fs::write(folder.join("sources.list"), source).context("cannot name the source")?;
        let suite = Suite { folder };
        suite.apt("apt-get --quiet --quiet update").run()?;
        Ok(suite)
    }
}

/// The packages of one release.
pub(super) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// The package of this name with the highest numbers.
    pub(super) fn newest(&self, pattern: &str) -> Result<String> {
        let found = self.apt("apt-cache search --names-only").arg(pattern).output()?;
        let names = found.lines().filter_map(|line| line.split_whitespace().next());
        let newest = names.max_by_key(|name| numbers(name));
        Ok(newest.with_context(|| format!("the archive has no `{pattern}`"))?.to_owned())
    }

    /// A package, and what it needs that is not installed.
    pub(super) fn with_dependencies(&self, name: &str) -> Result<Vec<String>> {
        let line = "apt-get install --print-uris --yes --quiet --quiet --no-install-recommends";
        let found = self.apt(line).arg(name).output()?;
        // 'URI' FILE SIZE HASH, and the file begins with the package's name.
        let files = found.lines().filter_map(|line| line.split_whitespace().nth(1));
        let names = files.filter_map(|file| file.split('_').next()).map(str::to_owned);
        Ok(names.collect())
    }

    /// Fetches packages and unpacks them into a folder, where that was not done before.
    pub(super) fn unpack(&self, names: &[String], into: &Path) -> Result<()> {
        let packages = self.folder.join("packages");
        let missing: Vec<&String> =
            names.iter().filter(|name| !into.join(format!(".has-{name}")).exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let fetch = self.apt("apt-get download --quiet --quiet");
        missing.iter().fold(fetch, Program::arg).run()?;
        for name in missing {
            let begin = format!("{name}_");
            let files = fs::read_dir(&packages)?.filter_map(Result::ok);
            let mut files =
                files.filter(|file| file.file_name().to_string_lossy().starts_with(&begin));
            let file = files.next().with_context(|| format!("apt-get fetched no {name}"))?.path();
            Program::new(&packages, "dpkg-deb --extract").arg(&file).arg(into).run()?;
            fs::remove_file(&file)?;
            fs::write(into.join(format!(".has-{name}")), "")?;
        }
        Ok(())
    }

    /// A program of apt that knows this release alone.
    fn apt(&self, line: &str) -> Program {
        let folder = self.folder.display();
        let options = [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let program = Program::new(&self.folder.join("packages"), line);
        options.into_iter().fold(program, |program, option| program.arg("-o").arg(option))
    }
}

/// The numbers in a name, by which versions are compared.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn the_newest_version_is_the_one_with_the_highest_numbers() {
        let names = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-55-cloud-amd64"];
        assert_eq!(names.into_iter().max_by_key(|name| numbers(name)), Some(names[1]));
        let names =
            ["linux-image-6.18.15+deb13-cloud-amd64", "linux-image-6.18.9+deb13-cloud-amd64"];
        assert_eq!(names.into_iter().max_by_key(|name| numbers(name)), Some(names[0]));
    }
}
