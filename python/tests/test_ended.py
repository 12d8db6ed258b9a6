"""Processes that ended, one by one."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import metrics_per_process as mp
import pytest
from stage import IS_ROOT, as_nobody

WRITE = "import os; f = os.open('{}', os.O_CREAT | os.O_WRONLY); os.write(f, b'x' * 8192); {}"


def children():
    return mp.Selector(children_of=os.getpid())


def collect(tier, act):
    """What is told of those that end while `act` goes on."""
    with mp.ended(children(), interval=0.1, tier=tier) as stream:
        act()
        return stream._collect(0.5)


@pytest.mark.parametrize("tier", ["A", "B", "C"])
def test_each_is_told_of_once_with_how_it_ended(tier, tmp_path):
    pids = {}

    def act():
        for number, end in enumerate(["os._exit(0)", "os._exit(3)", "os.kill(os.getpid(), 9)"]):
            code = WRITE.format(tmp_path / str(number), end)
            child = subprocess.Popen([sys.executable, "-S", "-c", code])
            pids[child.pid] = child.wait()

    told = collect(tier, act)
    assert len({process.pid for process in told}) == len(told)
    for process in told:
        assert process.name.startswith("python") and process.parent_pid == os.getpid()
        assert process.matched and process.uid == os.geteuid()
        assert process.started <= process.ended and process.cmdline is None
        if process.failed is None:
            # Nobody recorded it, or its record was lost.
            assert process.tier == "C" and process.status is None and process.signal is None
            continue
        code = pids[process.pid]
        assert (process.status, process.signal) == ((code, None) if code >= 0 else (None, -code))
        assert process.failed is (code != 0)
        if process.tier != "C":
            assert process.write_chars >= 8192 - 1023
            assert process.write_bytes is not None and process.write_bytes >= 8192 - 1023
        if process.tier == "A":
            assert "io_counters.write_bytes" not in process.marks
            assert process.ended_within == 0
    if told and all(process.tier != "C" for process in told):
        assert {process.pid for process in told} == set(pids)
    else:
        assert {process.pid for process in told} <= set(pids)


def test_a_list_is_what_ended_within_the_time():
    stop = threading.Event()

    def work():
        while not stop.is_set():
            subprocess.run(["sleep", "0.05"], check=True)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        told = mp.ended(children(), seconds=1.0, interval=0.1, cmdline=True)
    finally:
        stop.set()
        worker.join()
    assert isinstance(told, list)
    if told and all(process.tier == "A" for process in told):
        assert any(process.cmdline == ["sleep", "0.05"] for process in told)
        assert all(process.status == 0 for process in told)


def ended_one():
    told = collect(None, lambda: subprocess.run(["sleep", "0.3"], check=True))
    if not told:
        pytest.skip("nobody here records ends, and none was seen")
    return told[0]


def test_an_ended_process_is_frozen():
    process = ended_one()
    with pytest.raises(AttributeError, match="frozen"):
        process.pid = 1
    with pytest.raises(AttributeError, match="frozen"):
        del process.pid
    with pytest.raises(TypeError):
        process.marks["uptime"] = "exact"
    with pytest.raises(TypeError):
        mp.Ended()
    with pytest.raises(KeyError, match="uptime"):
        process["no.such"]
    assert process["uptime"] == process.uptime
    assert pickle.loads(pickle.dumps(process)) == process and hash(process) == hash(process)
    assert str(process.pid) in repr(process)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        mp.ended(interval=0)
    with pytest.raises(ValueError):
        mp.ended(seconds=-1)
    with pytest.raises(mp.SelectorError):
        mp.ended("nmae:foo")
    with pytest.raises(ValueError, match="tier"):
        mp.ended(tier="D")
    with pytest.raises(TypeError, match="selector"):
        mp.ended(7)


def test_nothing_comes_after_closing():
    stream = mp.ended(children(), interval=0.05)
    stream.close()
    stream.close()
    assert list(stream) == [] and stream.lost == 0


def test_ctrl_c_ends_a_wait_at_once():
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        mp.ended(children(), seconds=600, interval=600)
    timer.join()
    assert time.monotonic() - begin < 60


def worst_tier():
    with mp.ended("pid:1", interval=0.05) as stream:
        stream._collect(0.1)
        return stream.tier


@pytest.mark.skipif(not IS_ROOT, reason="only root can become nobody")
def test_who_has_no_privilege_gets_an_estimate():
    assert as_nobody(worst_tier) == "C"
