"""The plugin of pytest, in runs of pytest of its own."""

import os
import subprocess
import sys
import textwrap

import metrics_per_process as mp
import pytest
from stage import IS_ROOT

#: Lets tests be coroutines, as the plugins for that do.
CONFTEST = """
import asyncio, inspect, os, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        names = pyfuncitem._fixtureinfo.argnames
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True

def write(count):
    null = os.open(os.devnull, os.O_WRONLY)
    os.write(null, bytes(count))
    os.close(null)
"""

HEAD = """
import asyncio, os, subprocess, sys, pytest
from conftest import write
"""


@pytest.fixture
def run(tmp_path):
    """Runs pytest over some tests; returns the status and what it printed."""

    def run(tests, *options):
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_it.py").write_text(HEAD + textwrap.dedent(tests))
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        words = [sys.executable, "-m", "pytest", "--strict-markers", "-rA", *options]
        done = subprocess.run(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return done.returncode, done.stdout

    return run


def check(outcome, status, *lines, without=()):
    found, text = outcome
    assert found == status, text
    for line in lines:
        assert line in text, f"{line}\n\n{text}"
    for line in without:
        assert line not in text, f"{line}\n\n{text}"


def test_a_limit_that_is_broken_fails_the_test_with_the_commands_words(run):
    outcome = run("""
        @pytest.mark.mpp(max_write_chars=1000)
        def test_writes_too_much():
            write(1001)

        @pytest.mark.mpp(max_write_chars="1kB", max_memory="4GiB", max_cpu="60s", max_fds=5000)
        def test_keeps_its_limits():
            write(1000)

        @pytest.mark.mpp(max_memory="1MiB", fail_if="uptime >= 0s")
        def test_breaks_two():
            pass

        @pytest.mark.mpp(max_write_chars=1000)
        def test_fails_anyway():
            write(2000)
            assert 0, "own failure"
    """)
    check(
        outcome, 1,
        "limit BROKEN: io_counters.write_chars > 1000: found 1001B",
        "limit BROKEN: memory.peak > 1MiB: found >=", "limit BROKEN: uptime >= 0s: found ",
        "own failure", "limit BROKEN: io_counters.write_chars > 1000: found 1.95KiB",
        "3 failed, 1 passed", "PASSED test_it.py::test_keeps_its_limits",
        without=["pytest_plugin.py", "INTERNALERROR"],
    )


def test_what_is_left_running_is_named_and_left_alone(run, tmp_path):
    outcome = run("""
        @pytest.mark.mpp(leaves_no_process=True)
        def test_leaves_one():
            process = subprocess.Popen(["sleep", "600"])
            with open("pid", "w") as out:
                out.write(str(process.pid))
            process.returncode = 0

        @pytest.mark.mpp(leaves_no_process=True)
        def test_leaves_none():
            subprocess.run(["true"])
    """)
    pid = int((tmp_path / "pid").read_text())
    with open(f"/proc/{pid}/comm") as comm:
        assert comm.read() == "sleep\n"
    os.kill(pid, 9)
    check(
        outcome, 1, "1 failed, 1 passed", f"sleep ({pid})",
        "limit BROKEN: leaves no process: 1 process still runs, counted up to now:",
    )


def test_marks_of_class_and_module_hold_and_a_nearer_one_overrides(run):
    outcome = run("""
        pytestmark = pytest.mark.mpp(max_write_chars=10, fail_if="memory.peak > 1TiB")

        def test_module():
            write(11)

        @pytest.mark.mpp(max_write_chars=100)
        class TestClass:
            def test_class(self):
                write(101)

            @pytest.mark.mpp(max_write_chars=1000)
            @pytest.mark.parametrize("count", [1000, 1001])
            def test_function(self, count):
                write(count)

            @pytest.mark.mpp(max_write_chars=None)
            def test_without(self):
                write(5000)

            @pytest.mark.parametrize("count", [
                pytest.param(6, marks=pytest.mark.mpp(max_write_chars=5)), 7,
            ])
            def test_parameter(self, count):
                write(count)
    """)
    check(
        outcome, 1, "4 failed, 3 passed",
        "> 10: found 11B", "> 100: found 101B", "> 1000: found 1001B", "> 5: found 6B",
        "PASSED test_it.py::TestClass::test_function[1000]",
        "PASSED test_it.py::TestClass::test_without",
        "PASSED test_it.py::TestClass::test_parameter[7]",
    )


def test_the_fixture_tells_at_any_moment_what_was_used(run):
    outcome = run("""
        import metrics_per_process as mp

        def test_figures(mpp):
            assert mpp.io.write_chars == 0 and mpp.left == ()
            write(1000)
            assert mpp["io_counters.write_chars"] == 1000
            assert mpp.tier in "ABC" and mpp.memory.peak > 1 << 20
            mpp.limit(max_write_chars=1000)
            with pytest.raises(mp.LimitBroken, match="found 1000B"):
                mpp.limit(max_write_chars=999)

        async def test_coroutine(mpp):
            await asyncio.sleep(0.01)
            write(2000)
            assert mpp.io.write_chars >= 2000 and mpp.elapsed >= 0.01

        @pytest.fixture
        def writes():
            write(5000)
            yield
            write(5000)

        @pytest.mark.mpp(max_write_chars=10)
        def test_fixtures_are_not_the_test(writes, mpp):
            write(10)

        def test_that_it_fails_as_an_assertion(mpp):
            mpp.limit(max_memory="1MiB")
    """)
    check(
        outcome, 1, "1 failed, 3 passed", "LimitBroken: limit BROKEN: memory.peak > 1MiB: found >="
    )


@pytest.mark.parametrize(
    "keywords, words",
    [
        ("max_memroy=1", "did you mean `max_memory`?"),
        ("fail_if='memory.peek > 1'", "did you mean `memory.peak`?"),
        ("'512MiB'", "expected keywords alone"),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_use(run, keywords, words):
    tests = f"""
        @pytest.mark.mpp({keywords})
        def test_it():
            raise SystemError("it ran")
    """
    check(run(tests), 4, words, "test_it.py::test_it", without=["it ran", "INTERNALERROR"])


def test_a_worker_says_by_the_test_what_cannot_be_meant(run):
    tests = """
        @pytest.mark.mpp(max_memory="1MX")
        def test_it():
            raise SystemError("it ran")

        @pytest.mark.mpp(max_write_chars=10)
        @pytest.mark.parametrize("count", range(8, 13))
        def test_limits(count):
            write(count)
    """
    words = "max_memory: expected a size such as `4GiB`, but found `1MX`"
    outcome = run(tests, "-n", "2")
    check(outcome, 1, words, "2 failed, 3 passed, 1 error", without=["it ran", "INTERNALERROR"])


def test_a_limit_that_nobody_can_judge_is_a_warning(run):
    if not IS_ROOT:
        pytest.skip("without root nobody can become somebody else")
    tests = """
        @pytest.fixture
        def root():
            yield
            os.seteuid(0)

        @pytest.mark.mpp(max_write=0)
        def test_it(root):
            # Its own I/O is root's alone from now on.
            os.seteuid(65534)
    """
    unknown = "limit unknown: io_counters.write_bytes > 0: "
    tier = "--mpp-tier=C"
    check(run(tests, tier), 0, "1 passed, 1 warning", f"LimitUnknown: {unknown}")
    check(run(tests, tier, "-W", "error"), 1, "1 failed", unknown)


def test_the_report_names_the_tests_that_used_most(run):
    tests = """
        @pytest.mark.parametrize("mib", range(12))
        def test_writes(tmp_path, mib):
            with open(tmp_path / "file", "wb") as out:
                out.write(bytes(mib << 20))
                out.flush()
                os.fsync(out.fileno())
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    import tempfile

    for workers in [], ["-n", "2"]:
        with tempfile.TemporaryDirectory(dir=folder) as base:
            outcome = run(tests, "--mpp-report", f"--basetemp={base}/t", "-q", *workers)
        check(outcome, 0, "mpp: tests with most written", "mpp: tests with most memory at the peak")
        written = outcome[1].split("tests with most written")[1].split("mpp:")[0].splitlines()
        ranked = [line.split("[")[1].rstrip("]") for line in written if "::" in line]
        assert ranked == [str(mib) for mib in range(11, 1, -1)], outcome[1]
    check(run(tests, "-q"), 0, "12 passed", without=["mpp:"])


def test_without_a_mark_and_without_the_fixture_nothing_is_measured(run):
    outcome = run("""
        def test_it():
            names = [open(f"/proc/self/task/{one}/comm").read() for one in os.listdir("/proc/self/task")]
            assert "mpp-meter\\n" not in names
    """)
    check(outcome, 0, "1 passed")


def test_the_module_can_be_imported_without_pytest():
    code = "import sys; sys.modules['pytest'] = None; import metrics_per_process.pytest_plugin"
    folder = os.path.dirname(os.path.dirname(mp.__file__))
    words = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}"]
    subprocess.run(words, check=True)
