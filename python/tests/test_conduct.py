"""How the functions behave beside their answers: signals, forks, threads, and what they leave."""

import gc
import glob
import os
import signal
import subprocess
import sys
import threading
import time

import metrics_per_process as mp
import psutil
import pytest


def test_ctrl_c_ends_the_wait_at_once():
    for call in ["get_processes_stats_ex(['-'], interval_sec=60)", "show('pid:1', 60)"]:
        code = (
            "import metrics_per_process as mp, sys\n"
            "print('ready', flush=True)\n"
            f"try: mp.{call}\n"
            "except KeyboardInterrupt: sys.exit(42)"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        process.stdout.readline()
        # In the wait it is the kernel's clock that it sleeps by.
        while wait_channel(process.pid) != "hrtimer_nanosleep":
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 42
        process.stdout.close()


def wait_channel(pid):
    """Where in the kernel it sleeps; where that is hidden, it is given time instead."""
    with open(f"/proc/{pid}/wchan") as wchan:
        found = wchan.read()
    if found in ("", "0") and psutil.Process(pid).status() == psutil.STATUS_SLEEPING:
        time.sleep(1)
        return "hrtimer_nanosleep"
    return found


def test_other_signals_do_not_shorten_the_wait():
    handled = []
    before = signal.signal(signal.SIGALRM, lambda *_: handled.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        stats = mp.get_processes_stats_ex(["-"], interval_sec=0.4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert float(stats["fetch_time"]) >= 0.4
    assert len(handled) >= 3


def in_child(body):
    """Runs `body` in a forked child; whether it returned True."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            os._exit(0 if body() is True else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_go_on():
    stop = threading.Event()

    def keep_calling():
        while not stop.is_set():
            mp.find_pids(process_env={"PATH": None})
            mp.stats_per_pid(os.getpid())

    threads = [threading.Thread(target=keep_calling) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_child(
                lambda: mp.stats_per_pid(os.getpid())["threads"] >= 1
                and os.getpid() in mp.find_pids(process_env={"NO_SUCH_VARIABLE": None})
                and mp.get_processes_stats_ex(interval_sec=0.01)["total_processes"] > 1
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sampler_says_that_it_does_not_work_in_a_forked_child():
    with mp.Sampler(f"pid:{os.getpid()}", interval=0.01) as samples:
        next(samples)

        def body():
            with pytest.raises(RuntimeError, match="forked child"):
                next(samples)
            samples.close()
            with mp.Sampler(f"pid:{os.getpid()}", interval=0.01) as own:
                return next(own).matched == 1

        assert in_child(body)
        assert next(samples).matched == 1


def test_threads_may_call_at_the_same_time():
    failures = []

    def call():
        try:
            for _ in range(20):
                assert mp.stats_per_pid(os.getpid())["memory.rss"] > 0
                assert os.getpid() in mp.find_pids(process_env={"NO_SUCH_VARIABLE": None})
                assert mp.get_processes_stats_ex(interval_sec=0.001)["total_processes"] > 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def rss_kib():
    gc.collect()
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))


def keepers():
    """How many threads keep programs for the next call; test_what_is_kept.py tests them."""
    count = 0
    for comm in glob.glob("/proc/self/task/*/comm"):
        with open(comm) as file:
            count += file.read() == "mpp-programs\n"
    return count


def test_ten_thousand_calls_leave_nothing_behind():
    pid = os.getppid()
    name = ["no such name"]
    calls = [
        (8500, lambda: mp.stats_per_pid(pid)),
        (1000, lambda: mp.multi_pid_process_stats([pid, 0, pid])),
        (300, lambda: mp.find_pids(name)),
        (100, lambda: mp.find_pids(name, process_env={"A": "b"})),
        (100, lambda: mp.get_processes_stats_ex(name, interval_sec=0.0001)),
    ]
    for _, call in calls:
        for _ in range(20):
            call()
    files, memory = len(os.listdir("/proc/self/fd")), rss_kib()
    for times, call in calls:
        for _ in range(times):
            call()
    assert len(os.listdir("/proc/self/fd")) == files
    # A leak of one result a call would be some 10 MiB.
    assert rss_kib() - memory < 3 * 1024
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > threading.active_count() + keepers():
        assert time.monotonic() < deadline, "threads stay behind"
        time.sleep(0.01)


def test_closing_all_descriptors_in_between_does_no_harm():
    code = (
        "import metrics_per_process as mp, os\n"
        "before = mp.stats_per_pid(os.getppid())\n"
        "os.closerange(3, 100)\n"
        "kept = [open(os.devnull) for _ in range(20)]\n"
        "after = mp.stats_per_pid(os.getppid())\n"
        "assert set(before) == set(after), (before, after)\n"
        "assert all(not file.closed and os.fstat(file.fileno()) for file in kept)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_may_come_and_go_meanwhile():
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            subprocess.run(["true"], check=True)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            pids = mp.find_pids(process_env={"NO_SUCH_VARIABLE": None})
            sums = mp.multi_pid_process_stats(pids)
            assert 0 < sums["total_processes"] <= len(pids)
            stats = mp.get_processes_stats_ex(interval_sec=0.01, keep_important_metrics=True)
            assert stats["total_processes"] > 0
            assert all(v >= 0 for k, v in stats.items() if k != "fetch_time")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_it_imports_no_psutil_and_no_heavy_module():
    code = (
        "import sys, metrics_per_process\n"
        "print(*sorted({'psutil', 're', 'asyncio', 'subprocess', 'typing', 'datetime'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", path_of() + code], stdout=subprocess.PIPE, check=True)
    assert run.stdout.split() == []


def path_of():
    """A line that lets an isolated interpreter find the module."""
    folder = os.path.dirname(os.path.dirname(mp.__file__))
    return f"import sys; sys.path.insert(0, {folder!r})\n"


def test_elsewhere_than_on_linux_there_is_one_clear_error():
    code = (
        "import sys\nsys.platform = 'darwin'\n"
        "try: import metrics_per_process\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", path_of() + code], stdout=subprocess.PIPE, check=True)
    assert run.stdout == b"metrics_per_process works on Linux only, since it reads /proc; this is darwin\n"
