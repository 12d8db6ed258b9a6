"""The seed's known defect and its cure: `get_processes_stats_ex` beside the same on psutil.

A load begins 30 workers a second, each writes 1 MiB, and their parent reaps them every four
seconds, when the kernel adds their bytes to its own. Both sides measure the same seconds; the
load says what it really wrote. Run after `cargo build -p mpp-load`, with the module and psutil
installed:

    python bench/same_rates.py [--seconds N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import metrics_per_process as mp
import psutil

ROOT = Path(__file__).resolve().parent.parent
LOAD = os.environ.get("MPP_LOAD", ROOT / "target/debug/mpp-load")
NAME = "massindexer"
KEY = "io_counters.write_bytes_per_sec"
#: The load rests so long before it begins and after its last reaping.
REST = 2
#: In nanoseconds.
SECOND = 1_000_000_000


def read_by_psutil():
    """What every process of the name has written, by PID."""
    written = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == NAME:
            try:
                written[process.pid] = process.io_counters().write_bytes
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    return written


def by_psutil(interval):
    """The original's way: the growth of every process that is there at both readings."""
    first, began = read_by_psutil(), time.monotonic()
    time.sleep(interval)
    second, ended = read_by_psutil(), time.monotonic()
    growth = sum(value - first[pid] for pid, value in second.items() if pid in first)
    return max(growth, 0) / (ended - began)


def by_us(interval):
    stats = mp.get_processes_stats_ex([NAME], interval_sec=interval, include_connections=False)
    return stats.get(KEY, 0.0)


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Truth:
    """What the load says that it has written, by the second, and anything between."""

    def __init__(self, load):
        self.points = []
        self.thread = threading.Thread(target=self.listen, args=(load,), daemon=True)
        self.thread.start()

    def listen(self, load):
        for line in load.stdout:
            said = json.loads(line)
            if "children_write_bytes" in said:
                written = said["parent_write_bytes"] + said["children_write_bytes"]
                self.points.append((said["boottime_ns"], written))

    def at(self, moment):
        before = max((p for p in self.points if p[0] <= moment), default=None)
        after = min((p for p in self.points if p[0] > moment), default=None)
        if before is None or after is None:
            return (before or after or (0, 0))[1]
        share = (moment - before[0]) / (after[0] - before[0])
        return before[1] + share * (after[1] - before[1])

    def rate(self, began, ended):
        return (self.at(ended) - self.at(began)) / ((ended - began) / 1e9)

    def range(self, began, ended):
        """The least and the most of a second between two moments: which one of them it was that
        somebody measured is not known, and on a busy host reading takes long, too."""
        last = max(ended - SECOND, began)
        step = max((last - began) // 50, 1)
        rates = [self.rate(begin, begin + SECOND) for begin in range(began, last + 1, step)]
        return min(rates), max(rates)


def measure(seconds):
    """Rows of truth, ours and psutil's, then the least and the most of the truth, in bytes a second."""
    rows = []
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        program = [LOAD, NAME, "--seconds", str(seconds)]
        load = subprocess.Popen(
            [*program, "--directory", directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        load.stdout.readline()  # It is ready.
        truth = Truth(load)
        load.stdin.write("begin\n")
        load.stdin.flush()
        for _ in range(seconds + REST):
            theirs = []
            thread = threading.Thread(target=lambda: theirs.append(by_psutil(1)))  # noqa: B023
            thread.start()
            began = now()
            ours = by_us(1)
            ended = now()
            thread.join()
            rows.append((began, ended, ours, theirs[0]))
        load.stdin.close()
        load.wait()
        truth.thread.join()
        load.stdout.close()
    return [
        (truth.rate(began, ended), ours, theirs, *truth.range(began, ended))
        for began, ended, ours, theirs in rows
    ]


def report(rows):
    columns = list(zip(*rows))
    names = ["truth", "metrics_per_process", "psutil, the original's way"]
    head = " | ".join(str(second + 1) for second in range(len(rows)))
    print(f"| MB/s in second | {head} |")
    print("|---|" + "---:|" * len(rows))
    for name, column in zip(names, columns):
        print(f"| {name} | " + " | ".join(f"{value / 1e6:.1f}" for value in column) + " |")
    # In the first second that anything is written, and the last, a sample sees half a batch.
    busy = [row for row in rows if row[0] > 0.9 * max(columns[0])]
    for name, position in [(names[1], 1), (names[2], 2)]:
        worst = max(abs(row[position] - row[0]) / row[0] for row in busy)
        print(f"\n{name}: off by at most {worst:.0%} in a second of work, of {len(busy)}.")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=14)
    report(measure(parser.parse_args().seconds))


if __name__ == "__main__":
    sys.exit(main())
