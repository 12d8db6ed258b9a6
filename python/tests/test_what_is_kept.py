"""What stays between calls where there are so many processes that programs in the kernel read them.

Without the privilege to load such programs everything is read by files, and all of this holds too.
What is kept stays for a while, so these tests come last: since Python 3.12 a fork warns of threads.
"""

import os
import signal
import subprocess
import threading
import time

import metrics_per_process as mp
import pytest

COUNT = 1000
NAMES = [f"sleeper-{number:02}" for number in range(50)]
#: The name of the thread that keeps the programs.
THREAD = "mpp-programs"


@pytest.fixture(scope="module")
def sleepers():
    program = os.environ.get("MPP_LOAD")
    if program is None:
        pytest.fail("MPP_LOAD must name the program mpp-load: run `cargo xtask python`")
    command = [program, "sleepers", "--count", str(COUNT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        assert b'"ready"' in load.stdout.readline()
        yield load.pid
        load.stdin.close()
        load.wait()


def sums():
    return mp.get_processes_stats_ex(NAMES, interval_sec=0.01)


def threads():
    names = []
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/comm") as comm:
            names.append(comm.read().strip())
    return names


def may_load():
    return mp.show(f"pid:{os.getpid()}", interval=0.01).tier == "A"


def descriptors():
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # The one that listed them.
    return links


def test_every_way_to_read_many_processes_says_the_same(sleepers):
    pids = mp.find_pids(NAMES)
    assert len(pids) == COUNT
    read, told = mp.multi_pid_process_stats(pids[:900]), mp.multi_pid_process_stats(pids)
    rest = mp.multi_pid_process_stats(pids[900:])
    rated = sums()
    for key in ["memory.rss", "threads", "fds", "conns.unix_sockets.total", "total_processes"]:
        assert read[key] + rest[key] == told[key] == rated[key], key
    assert mp.find_pids(NAMES) == pids


def test_nothing_of_what_is_kept_is_seen_or_closed(sleepers):
    before = descriptors()
    first = sums()
    assert set(descriptors().values()) <= set(before.values())
    assert threads().count(THREAD) == may_load()
    os.closerange(max(map(int, before)) + 1, 200)
    kept = [open(os.devnull) for _ in range(20)]
    second = sums()
    assert second["total_processes"] == first["total_processes"] == COUNT
    assert threads().count(THREAD) <= 1
    for file in kept:
        assert os.fstat(file.fileno())
        file.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_nothing_of_it_and_may_have_its_own(sleepers):
    assert sums()["total_processes"] == COUNT
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            with open("/proc/self/maps") as maps:
                is_clean = "bpf" not in maps.read()
            is_clean = is_clean and not any("bpf" in link for link in descriptors().values())
            is_whole = sums()["total_processes"] == COUNT
            os._exit(0 if is_clean and is_whole else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert sums()["total_processes"] == COUNT


def test_threads_that_call_at_the_same_time_share_nothing(sleepers):
    found = []

    def call():
        for _ in range(3):
            found.append(sums()["total_processes"])
            found.append(len(mp.find_pids(NAMES)))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [COUNT] * 18
    assert threads().count(THREAD) <= 1


def test_what_ended_between_two_calls_is_in_neither(sleepers):
    sums()
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=64"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    stats = mp.get_processes_stats_ex(["dd"], interval_sec=0.01, keep_important_metrics=True)
    assert stats["total_processes"] == 0
    assert stats["io_counters.write_count_per_sec"] == 0.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whoever_gives_up_its_privileges_gives_up_the_programs(sleepers):
    if os.geteuid() != 0:
        # It has nothing to give up: what is kept is what it may have.
        assert sums()["total_processes"] == COUNT
        assert threads().count(THREAD) == may_load()
        return
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            is_whole = sums()["total_processes"] == COUNT
            os.setgid(65534)
            os.setuid(65534)
            stats = mp.get_processes_stats_ex(NAMES, interval_sec=0.01)
            is_whole = is_whole and stats["total_processes"] == COUNT
            # What others write is told to nobody without privileges.
            has_less = "io_counters.read_count" not in stats
            while THREAD in threads():
                time.sleep(0.01)
            os._exit(0 if is_whole and has_less else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
