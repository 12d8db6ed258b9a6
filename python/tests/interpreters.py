"""Prints the interpreters of this machine that the module is for, one a line, one of each version.

Looks on PATH and, where versions lie side by side as pyenv lays them, beside this one.
"""

import os
import pathlib
import shutil
import subprocess
import sys

OLDEST = (3, 9)


def candidates():
    for minor in range(OLDEST[1], 20):
        yield shutil.which(f"python3.{minor}")
    prefix = pathlib.Path(sys.base_prefix)
    if prefix.parent.name == "versions":
        yield from sorted(prefix.parent.glob("3.*/bin/python3"))


def version(path):
    """Its version, or None where it does not start or cannot make an environment."""
    code = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    run = subprocess.run([path, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return tuple(map(int, run.stdout.split())) if run.returncode == 0 else None


def main():
    found = {}
    for path in filter(None, candidates()):
        found.setdefault(version(path), path)
    for number in sorted(number for number in found if number and number >= OLDEST):
        print(os.fspath(found[number]))


main()
