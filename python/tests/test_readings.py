"""How often files are read: each process's once, however the figures are asked for; and what a call
makes in Python, which does not grow with the processes that it passes by.

Reads are counted by the kernel, `syscr` of proc_pid_io(5): of this whole program, and for a moment
without those of a thread that is just ending, so that the middle one of several tries counts.
"""

import os
import statistics
import subprocess
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager

import metrics_per_process as mp
import pytest

#: `stat`, `statm`, `io` and `status`.
FILES = 4
NAME = "mpp-readings"
TRIES = 9


@contextmanager
def sleepers(count):
    """So many processes with this name and a variable, and their PIDs."""
    script = f"printf {NAME} > /proc/self/comm; echo; read end"
    environment = {**os.environ, "MPP_READINGS": "x"}
    shell = ["sh", "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    processes = [subprocess.Popen(shell, **pipes) for _ in range(count)]
    try:
        for process in processes:
            process.stdout.readline()
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.communicate()


def reads(call):
    """How many read(2) and pread(2) a call makes."""
    def so_far():
        with open("/proc/self/io") as io:
            return int(next(line for line in io if line.startswith("syscr:")).split()[1])

    counts = []
    for _ in range(TRIES):
        before = so_far()
        call()
        counts.append(so_far() - before)
    return statistics.median(counts)


def reads_for_each(call, few, many):
    """By how many a call makes more for each process more."""
    return (reads(lambda: call(many)) - reads(lambda: call(few))) / (len(many) - len(few))


def test_the_sums_over_processes_read_each_once():
    with sleepers(60) as pids:
        each = reads_for_each(mp.multi_pid_process_stats, pids[:20], pids)
    assert 1 <= each <= FILES + 0.5


def test_one_process_is_read_once():
    with sleepers(1) as pids:
        # Who we are and how much memory there is, is read for each call.
        alone = reads(lambda: mp.stats_per_pid(pids[0]))
        nobody = reads(lambda: mp.stats_per_pid(0))
        several = reads(lambda: mp.multi_pid_process_stats(pids))
    assert alone == several <= nobody + FILES


def test_the_rates_read_each_process_once_before_and_once_after_the_wait():
    def call():
        return mp.get_processes_stats_ex([NAME], interval_sec=0.01, include_connections=False)

    with sleepers(20):
        few = reads(call)
        with sleepers(60):
            many = reads(call)
            assert call()["total_processes"] == 80
    # When each began is read once more, for their order. By programs in the kernel it is nothing.
    assert (many - few) / 60 <= 2 * FILES + 1.5


def test_a_name_is_one_read_and_an_environment_is_read_of_those_alone_that_bear_it():
    named = {"process_names": [NAME]}
    variable = {"process_env": {"MPP_READINGS": "x"}}
    with sleepers(60) as pids:
        assert mp.find_pids(**named) == mp.find_pids(**named, **variable) == sorted(pids)
        by_name = reads(lambda: mp.find_pids(**named))
        by_both = reads(lambda: mp.find_pids(**named, **variable))
        others = reads(lambda: mp.find_pids(["no-such-name"], **variable))
        everybody = len([name for name in os.listdir("/proc") if name.isdigit()])
    if everybody >= 500:
        pytest.skip("so many processes that a program in the kernel may tell their names")
    # The name, the environment, and whether it is the same process still.
    assert 60 <= by_name < everybody + 40
    assert 100 < by_both - others < 160


def test_no_object_is_made_for_a_process_that_is_passed_by():
    def peak(call):
        call()
        tracemalloc.start()
        try:
            found = call()
            return len(found), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with sleepers(300):
        matching, of_matching = peak(lambda: mp.find_pids([NAME]))
        assert matching == 300 and of_matching > 300 * 8
        for condition in [
            {"process_names": ["no-such-name"]},
            {"process_env": {"MPP_READINGS": "y"}},
            {"process_names": [NAME], "process_env": {"MPP_READINGS": None}},
        ]:
            found, of_nobody = peak(lambda: mp.find_pids(**condition))  # noqa: B023
            assert (found, of_nobody < 1024) == (0, True), (condition, of_nobody)


def test_making_a_counter_costs_less_than_measuring_what_is_in_it():
    def cpu_seconds(call):
        best = float("inf")
        for _ in range(20):
            began = time.thread_time()
            for _ in range(10):
                call()
            best = min(best, time.thread_time() - began)
        return best

    pids = [os.getpid()]
    stats = mp.multi_pid_process_stats(pids)
    measured = cpu_seconds(lambda: mp.multi_pid_process_stats(pids))
    # In Python, which is slower than what we do: a dict with each key and value, and a Counter.
    made = cpu_seconds(lambda: Counter({str(key): value for key, value in stats.items()}))
    assert made < measured / 2, (made, measured)
