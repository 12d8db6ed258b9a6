"""The examples of docs/python.md, as people would run them."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


def example(heading):
    """The first block of Python below a heading."""
    section = GUIDE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)


@pytest.mark.parametrize("heading", ["Measuring a block", "Running a command"])
def test_an_example_runs(heading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import metrics_per_process as mp

    names = {"mp": mp, "work": lambda: sum(range(100_000)), "print": lambda *_: None}
    exec(compile(example(heading), heading, "exec"), names)
    if "report" in names:
        assert names["report"].io.write_chars >= 8388608 and names["report"].returncode == 0
    else:
        assert names["m"].left == () and names["compute"].measured.cpu.percent is not None


def test_the_example_of_limits_in_tests_passes(tmp_path):
    (tmp_path / "test_it.py").write_text(example("Limits in tests"))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    words = [sys.executable, "-m", "pytest", "-q", "--strict-markers"]
    run = subprocess.run(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert run.returncode == 0 and "2 passed" in run.stdout, run.stdout


def test_every_keyword_stands_in_the_guide():
    from metrics_per_process.limits import KEYWORDS

    text = GUIDE.read_text()
    for keyword in KEYWORDS:
        stem = keyword.replace("_chars", "").replace("_count", "")
        assert f"`{keyword}`" in text or f"`{stem}`" in text, keyword
