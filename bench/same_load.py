"""One load, two ways to count: per-PID differences, as scripts with psutil take them, beside mpp show.

The load knows what it writes. Run after `cargo build --release` and `cargo build -p mpp-load`:

    bench/.venv/bin/python bench/same_load.py        # the environment that `cargo xtask bench` makes
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 12


def per_pid_sums(name, until):
    """Each second, the sum of the growth of every process of this name, MB/s."""
    before, rates = {}, []
    then = time.monotonic()
    while then < until:
        now_values = {}
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == name:
                try:
                    now_values[process.pid] = process.io_counters().write_bytes
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
        now = time.monotonic()
        growth = sum(value - before.get(pid, value) for pid, value in now_values.items())
        rates.append(growth / (now - then) / 1e6)
        before, then = now_values, now
        time.sleep(1)
    return rates[1:]


def main():
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        load = subprocess.Popen(
            [ROOT / "target/debug/mpp-load", "massindexer", "--seconds", str(SECONDS), "--directory", directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        load.stdout.readline()
        show = subprocess.Popen(
            [ROOT / "target/release/mpp", "show", "-p", str(load.pid), "-c", str(SECONDS + 2), "--format", "jsonl"],
            stdout=subprocess.PIPE,
            text=True,
        )
        rates = []
        until = time.monotonic() + SECONDS + 2
        thread = threading.Thread(target=lambda: rates.extend(per_pid_sums("massindexer", until)))
        thread.start()
        load.stdin.write("begin\n")
        load.stdin.flush()
        shown = [json.loads(line) for line in show.communicate()[0].splitlines()]
        thread.join()
        load.stdin.close()
        load.wait()
    key = "io_counters.write_bytes_per_sec"
    print("truth      31.5 MB/s from the third second on")
    print("per PID   ", " ".join(f"{rate:6.1f}" for rate in rates))
    print("mpp show  ", " ".join(f"{line[key] / 1e6:6.1f}" for line in shown))


if __name__ == "__main__":
    sys.exit(main())
