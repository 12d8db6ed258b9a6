"""One load that knows its truth, watched by several tools at the same time, second by second.

Run as `cargo xtask same-load`, which builds what it needs.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import picture
import report
from loads import LOADS, Running, Truth
from packages import Packages
from tools import LEFT_OUT, NOBODY, TOOLS, Place, launch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench/results"
#: Seconds that the tools have before the load begins, and after it says that all is done.
SETTLE, REST = 3, 4


def measure(load, seconds, programs, packages, scratch):
    """Runs a load with everybody watching: columns, the truth, its span, and who was not there."""
    tools = [tool for tool in TOOLS if tool.name not in load.without]
    prefix = NOBODY if load.is_hidden_for_a_while and os.geteuid() == 0 else []
    # Nobody else's processes are called like this, another run's neither.
    name = f"load-{os.getpid()}"
    running = Running(programs / "mpp-load", load, seconds, scratch, name, prefix)
    watches = []
    try:
        place = Place(packages, programs / "mpp", scratch, name)
        watches, absent = launch(place, tools, prefix)
        time.sleep(SETTLE)
        # The columns of the table begin with a whole second of the clock, the load one second later.
        begin = float(int(time.time()) + 1)
        time.sleep(begin + 1 - time.time())
        running.begin(begin + 1)
        if not running.is_done.wait(timeout=120 + 2 * seconds):
            raise RuntimeError(f"{load.name} did not come to its end")
        time.sleep(REST)
    finally:
        for watch in watches:
            watch.end()
        running.end()
    truth = Truth(running.points)
    span = (begin, begin + int(truth.moments[-1] - begin) + 2)
    columns = [report.column(watch, watch.readings(name), truth, span) for watch in watches]
    for name in [shown.name for shown in columns if not shown.rates]:
        absent[name] = "it printed nothing that could be read"
    return [shown for shown in columns if shown.rates], truth, span, absent


def machine():
    uname = os.uname()
    processes = sum(entry.isdigit() for entry in os.listdir("/proc"))
    load = os.getloadavg()[0]
    words = f"{uname.sysname} {uname.release} {uname.machine}, {os.cpu_count()} CPUs"
    return f"{words}, {processes} processes, load average {load:.1f} before the run"


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask same-load", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=12, help="how long each load works")
    parser.add_argument("--only", choices=[load.name for load in LOADS], help="one load; writes no results")
    parser.add_argument("--programs", type=Path, required=True, help="where mpp and mpp-load were built")
    arguments = parser.parse_args()
    packages = Packages(arguments.programs.parent / "same-load")
    heading = f"# What each tool shows of one load\n\nWritten by `cargo xtask same-load`. {machine()}.\n"
    text, missing = heading + report.LEGEND, dict(LEFT_OUT)
    print(text)
    for load in [load for load in LOADS if arguments.only in (None, load.name)]:
        with tempfile.TemporaryDirectory(dir=packages.root.parent) as folder:
            os.chmod(folder, 0o777)
            columns, truth, span, absent = measure(load, arguments.seconds, arguments.programs, packages, Path(folder))
        missing.update(absent)
        table = report.table(load, columns, truth, span)
        print(table, flush=True)
        text += "\n" + table
        if arguments.only is None and load is LOADS[0]:
            (RESULTS / "same-load.svg").write_text(picture.draw(load, columns, truth, span))
    words = "\n## Not run\n\n" + "".join(f"- {name}: {why}.\n" for name, why in missing.items())
    print(words)
    if arguments.only is None:
        (RESULTS / "same-load.md").write_text(text + words)


if __name__ == "__main__":
    sys.exit(main())
