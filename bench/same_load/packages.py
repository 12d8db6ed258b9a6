"""Brings the peers here from the ordinary registries without installing anything: Debian's packages
are unpacked and Python's go into a folder, both below the build folder. So no service starts.
"""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

#: What the unpacked programs load that may not be on the machine.
LIBRARIES = ["libuv1", "libnl-3-200", "libnl-genl-3-200"]


#: An interpreter that other users can start too, where there is one.
PYTHON = next((path for path in [Path("/usr/bin/python3")] if path.exists()), Path(sys.executable))


class Absent(Exception):
    """A peer cannot be had here; says why."""


class Packages:
    """Where the peers are, below one folder that is kept from run to run."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.archives = folder / "archives"
        self.modules = folder / "modules"
        self.root.mkdir(parents=True, exist_ok=True)
        self.archives.mkdir(parents=True, exist_ok=True)

    def program(self, package, path):
        """A program of a Debian package, and the version of the package."""
        try:
            version = self.unpack(package)
        except Absent as absent:
            installed = shutil.which(Path(path).name)
            if installed is None:
                raise
            return Path(installed), f"installed here; {absent}"
        program = self.root / path
        if not program.exists():
            raise Absent(f"{package} {version} has no {path}")
        return program, version

    def unpack(self, package):
        """Unpacks a package unless that was done before; returns its version."""
        archive = self.archive(package)
        if archive is None:
            self.fetch(package)
            archive = self.archive(package)
            if archive is None:
                raise Absent(f"no archive of {package} was fetched")
            run(["dpkg-deb", "-x", archive, self.root])
        return archive.name.split("_")[1].replace("%3a", ":")

    def archive(self, package):
        return next(iter(sorted(self.archives.glob(f"{package}_*.deb"))), None)

    def fetch(self, package):
        if shutil.which("apt-get") is None:
            raise Absent("there is no apt-get")
        # Who unpacks it reads it: no other user needs to.
        download = ["apt-get", "-qq", "-o", f"APT::Sandbox::User={user()}", "download", package]
        run(download, cwd=self.archives)

    def libraries(self):
        """The environment in which the unpacked programs find their libraries."""
        for library in LIBRARIES:
            try:
                self.unpack(library)
            except Absent:
                continue  # The programs that need it say so themselves.
        folders = {str(path.parent) for path in self.root.glob("**/*.so.*")}
        return {"LD_LIBRARY_PATH": ":".join(sorted(folders))}

    def python(self, requirement):
        """The folder of a package from PyPI, for PYTHONPATH, and its version."""
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if not self.modules.exists():
            run([*install, "--target", self.modules, requirement])
        found = next(self.modules.glob(f"{requirement.split('>')[0]}-*.dist-info"))
        return self.modules, found.name.split("-")[1].removesuffix(".dist")


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


def run(command, **options):
    """The output of a command; where it fails, the peer is absent, with its last words as reason."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"`{' '.join(command)}`: {error}") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise Absent(f"`{Path(command[0]).name} {command[-1]}` failed: {words[-1]}")
    return done.stdout
