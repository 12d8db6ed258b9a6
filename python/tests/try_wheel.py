"""Tries an installed wheel with nothing but the standard library. Prints one line."""

import os
import shutil
import subprocess
import sys

import metrics_per_process as mp


def main():
    assert shutil.which("cargo") is None and shutil.which("rustc") is None, "there is Rust here"
    own = mp.stats_per_pid(os.getpid())
    assert own["memory.rss"] > 0 and own["threads"] == 1, own
    assert os.getpid() in mp.find_pids()
    assert mp.multi_pid_process_stats([os.getpid()])["total_processes"] == 1
    stats = mp.get_processes_stats_ex(interval_sec=0.05)
    assert stats["total_processes"] >= 1 and float(stats["fetch_time"]) >= 0.05
    assert mp.show(f"pid:{os.getpid()}", interval=0.01).matched == 1
    with mp.measure() as m:
        report = mp.run([sys.executable, "-c", "pass"])
    assert report.returncode == 0 and m.left == () and m.memory.peak > 0, (report, m.measured)
    command = os.path.join(os.path.dirname(sys.executable), "mpp")
    version = subprocess.run([command, "--version"], stdout=subprocess.PIPE, check=True)
    assert mp.__version__.encode() in version.stdout, version
    found = subprocess.run([command, "find", f"--pid={os.getpid()}"], stdout=subprocess.PIPE)
    assert found.stdout.split() == [b"%d" % os.getpid()], found
    print(f"the wheel works with Python {sys.version.split()[0]}")


main()
