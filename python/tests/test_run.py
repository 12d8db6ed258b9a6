"""What a command is said to have used, and how `run` behaves beside that: as subprocess.run."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import metrics_per_process as mp
import pytest
from metrics_per_process import running

MIB = 1 << 20


@pytest.fixture
def load():
    """The command line of a scenario of `mpp-load`."""
    program = os.environ.get("MPP_LOAD")
    if not program:
        pytest.fail("MPP_LOAD must name the program mpp-load: run `cargo xtask python`")
    return lambda *words: [program, *words]


def test_a_tree_is_counted_daemons_included(load, tmp_path):
    tree = load(
        "tree", "--directory", str(tmp_path), "--resident", "60MiB", "--hold-ms", "300",
        "--writers", "10", "--start-after", "0", "--end-after", "0",
    )
    report = mp.run(tree, stdout=subprocess.DEVNULL, check=True)
    assert report.returncode == report.status == 0 and report.signal is None
    assert report.io.write_chars - 18 * MIB < 64 << 10, report
    assert report.io.write_chars >= 18 * MIB and "io_counters.write_chars" not in report.accuracy
    assert 240 * MIB < report.memory.peak < 320 * MIB
    assert report.left == () and report.programs and report.elapsed >= report.command_elapsed > 0
    # Unknown where this process itself has held more: whoever it starts inherits that number.
    assert report.largest_process_rss is None or report.largest_process_rss > 60 * MIB
    assert report.json["schema"] == 1 and report.args == tuple(tree)


def check(command, expected, **options):
    report = mp.run(command, capture_output=True, **options)
    assert (report.returncode, report.stdout, report.stderr) == expected, report
    return report


def test_streams_folder_and_environment_are_those_of_subprocess(tmp_path):
    shell = ["sh", "-c", "cat; echo oops >&2; exit 3"]
    check(shell, (3, b"in\xff", b"oops\n"), input=b"in\xff")
    check(shell, (3, "in", "oops\n"), input="in", text=True)
    check(["pwd"], (0, os.fsencode(tmp_path) + b"\n", b""), cwd=tmp_path)
    check(["env"], (0, b"ONE=two\n", b""), env={"ONE": "two"})
    check(["sh", "-c", "echo $LC_CTYPE"], (0, b"x\n", b""), env={"LC_CTYPE": "x", "PATH": os.environ["PATH"]})
    with open(tmp_path / "out", "wb") as out:
        assert mp.run(["echo", "here"], stdout=out).stdout is None
    assert (tmp_path / "out").read_bytes() == b"here\n"
    with pytest.raises(ValueError, match="exclude"):
        mp.run(["true"], stdin=subprocess.PIPE, input=b"")
    with pytest.raises(ValueError, match="exclude"):
        mp.run(["true"], stdout=subprocess.PIPE, capture_output=True)


def test_a_module_in_the_commands_folder_or_environment_leads_nobody_astray(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "metrics_per_process.py").write_text("raise SystemExit(99)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert mp.run(["true"], cwd=tmp_path, env=environment).returncode == 0


def test_it_ends_as_the_command_did():
    killed = mp.run(["sh", "-c", "kill -KILL $$"])
    assert (killed.returncode, killed.status, killed.signal) == (-9, None, 9)
    for number in (125, 126, 127):
        assert mp.run(["sh", "-c", f"exit {number}"]).returncode == number
    with pytest.raises(subprocess.CalledProcessError) as failed:
        mp.run(["sh", "-c", "echo x; exit 4"], capture_output=True, check=True)
    assert (failed.value.returncode, failed.value.stdout) == (4, b"x\n")
    assert failed.value.report.status == 4 and failed.value.cmd[0] == "sh"


def test_what_cannot_be_run_raises_as_in_subprocess(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        mp.run(["no-such-command-anywhere"], stderr=subprocess.DEVNULL)
    assert missing.value.filename == "no-such-command-anywhere"
    text = tmp_path / "text"
    text.write_text("not executable")
    with pytest.raises(PermissionError):
        mp.run([str(text)], stderr=subprocess.DEVNULL)
    with pytest.raises(TypeError, match="list of words"):
        mp.run("true")
    with pytest.raises(TypeError, match="list of words"):
        mp.run([])


def test_what_cannot_be_run_is_raised_and_not_printed(capfd, tmp_path):
    text = tmp_path / "text"
    text.write_text("not executable")
    for command, refusal in [("no-such-command-anywhere", FileNotFoundError), (text, PermissionError)]:
        with pytest.raises(refusal):
            mp.run([command])
        with pytest.raises(refusal) as captured:
            mp.run([command], capture_output=True)
        assert captured.value.errno in (errno.ENOENT, errno.EACCES)
    assert capfd.readouterr() == ("", "")


def test_why_nothing_could_be_measured_stands_in_the_exception(capfd, monkeypatch):
    monkeypatch.setattr(running, "_options", lambda *_: ["run", "--quite"])
    with pytest.raises(OSError, match="ended without a report.*--quite(.|\n)*--quiet"):
        mp.run(["true"])
    assert capfd.readouterr() == ("", "")


def test_limits_are_the_commands():
    report = mp.run(
        ["sleep", "0.2"], capture_output=True, fail_if=["memory.peak > 1TiB", "uptime >= 0s"]
    )
    assert report.returncode == 1 and report.status == 0
    assert [(one.limit, one.judgement) for one in report.limits] == [
        ("memory.peak > 1TiB", "kept_as_far_as_known"), ("uptime >= 0s", "broken"),
    ]
    assert report.stderr.startswith(b"limit BROKEN: uptime >= 0s: found ")
    with pytest.raises(subprocess.CalledProcessError):
        mp.run(["true"], check=True, fail_if="uptime >= 0s", stderr=subprocess.DEVNULL)
    with pytest.raises(ValueError, match="did you mean `memory.peak`"):
        mp.run(["true"], fail_if="memory.peek > 1")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_timeout_ends_the_whole_tree(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! >> {pids}; (setsid sleep 600 & echo $! >> {pids}) ; sleep 600"
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        mp.run(["sh", "-c", "echo began; " + script], capture_output=True, timeout=2)
    assert expired.value.cmd[0] == "sh" and expired.value.timeout == 2
    assert expired.value.stdout == b"began\n"
    assert expired.value.report.returncode == -9 and expired.value.report.processes.total >= 4
    started = pids.read_text().split()
    assert len(started) == 2 and not any(is_running(pid) for pid in started)


def test_ctrl_c_ends_the_whole_tree(tmp_path):
    pids = tmp_path / "pids"
    code = (
        "import metrics_per_process as mp, sys\n"
        f"script = 'setsid sleep 600 & echo $! >> {pids}; trap : INT; sleep 600; sleep 600'\n"
        "try: mp.run(['sh', '-c', script])\n"
        "except KeyboardInterrupt: sys.exit(42)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (pids.exists() and pids.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 42
    assert not is_running(int(pids.read_text()))


def test_what_is_left_running_is_named():
    report = mp.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], wait=0, capture_output=True)
    try:
        assert report.left == ((int(report.stdout), "sleep"),)
    finally:
        os.kill(int(report.stdout), signal.SIGKILL)


def test_it_runs_in_a_process_with_threads():
    reports = []
    threads = [
        threading.Thread(target=lambda: reports.append(mp.run(["sh", "-c", "exit 5"])))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.returncode for report in reports] == [5, 5, 5]


def test_a_report_is_a_frozen_mapping():
    report = mp.run(["true"], tier="C")
    assert report == pickle.loads(pickle.dumps(report)) and hash(report)
    assert report.tier == "C" and report["memory.rss"] is None
    assert "does not have it" in report.why["memory.rss"]
    assert set(report.why) == {name for name, value in report.items() if value is None}
    assert [type(one) for one in report.programs] == [mp.Program] * len(report.programs)
    with pytest.raises(AttributeError):
        report.tier = "A"
    with pytest.raises(TypeError):
        mp.RunReport()
