"""`MOMENT SPAN RATE` each second: what the processes of a name write, as scripts with psutil count it.

The growth of each process that is there at both looks, summed.
"""

import sys
import time

import psutil


def read(name):
    written = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == name:
            try:
                written[process.pid] = process.io_counters().write_bytes
            except psutil.Error:
                continue
    return written


def main(name):
    before, then = read(name), time.time()
    while True:
        time.sleep(max(then + 1 - time.time(), 0))
        after, now = read(name), time.time()
        growth = sum(value - before[pid] for pid, value in after.items() if pid in before)
        print(f"{now:.3f} {now - then:.3f} {growth / (now - then):.1f}", flush=True)
        before, then = after, now


if __name__ == "__main__":
    main(sys.argv[1])
