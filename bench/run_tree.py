"""One tree of processes that knows its truth, measured by `mpp run` and by what people use instead;
and what `mpp run` costs a build of a thousand processes.

Run after `cargo build --release -p mpp-cli -p mpp-load`; what is not installed is left out:

    apt-get install time hyperfine
    bench/.venv/bin/pip install psrecord             # the environment that `cargo xtask bench` makes
    bench/.venv/bin/python bench/run_tree.py
    bench/.venv/bin/python bench/run_tree.py --part build --jobs 2 --pairs 48

What a build costs more under `mpp run` is less than what two equal builds differ by: only many
pairs on a machine with nothing else to do tell it.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MPP = ROOT / "target/release/mpp"
LOAD = ROOT / "target/release/mpp-load"
MIB = 1 << 20

# Files of C for make(1), which starts the compiler for each, which starts cc1 and as; one program
# is linked from all of them. That makes a thousand processes.
FILES = 330
SOURCE = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int x) { return printf(\"%%d\", x + %d); }\n"
MAKEFILE = """OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
\tgcc -shared -o program $(OBJECTS)
%.o: %.c
\tgcc -O1 -fPIC -c -o $@ $<
"""
# The same number of processes in the shortest of times: each computes for two milliseconds.
LOOP = 'i=0; while [ $i -lt 1000 ]; do awk "BEGIN{for(i=0;i<30000;i++)x+=i}" </dev/null; i=$((i+1)); done'

RESAMPLES = 2000


def command(directory):
    return [str(LOAD), "tree", "--start-after", "0", "--end-after", "0", "--directory", directory]


def truth_of(output):
    total = [json.loads(line) for line in output.splitlines() if '"total"' in line][-1]
    written = total["parent_write_bytes"] + total["children_write_bytes"]
    return total["peak_rss_bytes"] / MIB, written / MIB


def by_mpp(directory):
    cost = Path(directory, "cost.json")
    ran = subprocess.run([MPP, "run", "-o", cost, "--", *command(directory)], capture_output=True, text=True, check=True)
    found = json.loads(cost.read_text())["metrics"]
    return truth_of(ran.stdout), (found["memory.peak"] / MIB, found["io_counters.write_bytes"] / MIB)


def by_time(directory):
    ran = subprocess.run(["/usr/bin/time", "-v", *command(directory)], capture_output=True, text=True, check=True)
    kib = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", ran.stderr)[1])
    blocks = int(re.search(r"File system outputs: (\d+)", ran.stderr)[1])
    return truth_of(ran.stdout), (kib / 1024, blocks * 512 / MIB)


def by_psrecord(directory):
    log = Path(directory, "psrecord.txt")
    psrecord = Path(sys.executable).parent / "psrecord"
    line = " ".join(command(directory))
    options = ["--include-children", "--include-io", "--interval", "0.05", "--log", str(log)]
    ran = subprocess.run([psrecord, line, *options], capture_output=True, text=True, check=True)
    head, *rows = log.read_text().splitlines()
    names = re.split(r"\s{2,}", head.lstrip("# ").strip())
    columns = list(zip(*(map(float, row.split()) for row in rows)))
    real = columns[next(i for i, name in enumerate(names) if name.startswith("Real"))]
    written = [i for i, name in enumerate(names) if "write" in name.lower() and "count" not in name.lower()]
    return truth_of(ran.stdout), (max(real), max(columns[written[0]]) / MIB if written else None)


def by_hyperfine(directory):
    result = Path(directory, "hyperfine.json")
    output = Path(directory, "output")
    line = " ".join(command(directory)) + f" > {output}"
    subprocess.run(["hyperfine", "--runs", "1", "--export-json", result, line], capture_output=True, check=True)
    run = json.loads(result.read_text())["results"][0]
    peak = run.get("memory_usage_byte")
    return truth_of(output.read_text()), (peak[0] / MIB if peak else None, None)


def compare():
    ways = [("mpp run", by_mpp), ("/usr/bin/time -v", by_time), ("psrecord", by_psrecord), ("hyperfine", by_hyperfine)]
    present = {
        "/usr/bin/time -v": Path("/usr/bin/time").exists(),
        "psrecord": (Path(sys.executable).parent / "psrecord").exists(),
        "hyperfine": shutil.which("hyperfine") is not None,
    }
    number = lambda value: "-" if value is None else f"{value:.1f}"
    print("| measured by | peak MiB | truth | written MiB | truth |\n|---|---:|---:|---:|---:|")
    for name, way in ways:
        if not present.get(name, True):
            print(f"| {name} | not installed | | | |")
            continue
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
            (true_peak, true_written), (peak, written) = way(directory)
        print(f"| {name} | {number(peak)} | {true_peak:.1f} | {number(written)} | {true_written:.1f} |")


class Ran(NamedTuple):
    wall: float
    # User and system time of everything that was started and waited for.
    cpu: float


class Pair(NamedTuple):
    alone: Ran
    under: Ran
    # CPU time of `mpp run` itself: that of both, less what it says of the command.
    own: float


def timed(line):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ran(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def pairs_of(line, count, cost):
    """One after the other in turn, ABBA, so that what drifts or is busy beside them is so for both."""
    under_mpp = [MPP, "run", "-o", cost, "--", *line]
    timed(line)
    pairs = []
    for number in range(count):
        if number % 2 == 0:
            alone, under = timed(line), timed(under_mpp)
        else:
            under, alone = timed(under_mpp), timed(line)
        metrics = json.loads(Path(cost).read_text())["metrics"]
        pairs.append(Pair(alone, under, under.cpu - metrics["cpu.user"] - metrics["cpu.system"]))
    return pairs


def middle(values):
    """The mean of the middle half: as deaf to outliers as a median nearly, and less noisy."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def interval(values):
    """Where 95 of 100 such middles lie, by drawing as many values again and again."""
    draw = random.Random(1)
    middles = sorted(middle(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return middles[RESAMPLES * 25 // 1000], middles[RESAMPLES * 975 // 1000]


def overhead(name, line, count):
    with tempfile.NamedTemporaryFile(dir=ROOT / "target") as cost:
        pairs = pairs_of(line, count, cost.name)
        found = json.loads(Path(cost.name).read_text())
    print(f"\n| {name} | wall s | CPU s |\n|---|---:|---:|")
    for way, runs in [("alone", [pair.alone for pair in pairs]), ("under `mpp run`", [pair.under for pair in pairs])]:
        print(f"| {way} | {middle(run.wall for run in runs):.3f} | {middle(run.cpu for run in runs):.3f} |")
    print()
    for what, ratios in [
        ("wall", [pair.under.wall / pair.alone.wall for pair in pairs]),
        ("CPU", [pair.under.cpu / pair.alone.cpu for pair in pairs]),
    ]:
        low, high = interval(ratios)
        print(
            f"- {what}: {(middle(ratios) - 1) * 100:+.2f} % ({(low - 1) * 100:+.2f} to {(high - 1) * 100:+.2f} at 95 %, "
            f"{count} pairs in turn, single ones {(min(ratios) - 1) * 100:+.1f} to {(max(ratios) - 1) * 100:+.1f})"
        )
    print(f"- {found['samples']} looks, {found['metrics']['processes.ended']} processes, tier {found['tier']}")
    say_own_cost(line, pairs)


def hooks_ms(line):
    """What our programs take in the kernel for all that end and begin, by its own statistics."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    if not (shutil.which("bpftool") and os.access(switch, os.W_OK)):
        return None
    before = switch.read_text()
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        listing = Path(folder, "programs")
        inner = ["sh", "-c", '"$@"; bpftool --json prog show > ' + str(listing), "sh", *line]
        try:
            switch.write_text("1")
            subprocess.run([MPP, "run", "-o", Path(folder, "cost"), "--", *inner], check=True, capture_output=True)
        finally:
            switch.write_text(before)
        ours = {"remember_fork", "write_exec", "write_exit", "write_free"}
        programs = [program for program in json.loads(listing.read_text()) if program.get("name") in ours]
        # Whoever else has such programs has loaded them before.
        newest = {program["name"]: program for program in sorted(programs, key=lambda program: program["id"])}
    return sum(program.get("run_time_ns", 0) for program in newest.values()) / 1e6


def say_own_cost(line, pairs):
    own = [pair.own for pair in pairs]
    tree = middle(pair.under.cpu - pair.own for pair in pairs)
    low, high = interval(own)
    hooks = hooks_ms(line)
    said = "not known here" if hooks is None else f"{hooks:.1f} ms, {hooks / tree / 10:.2f} %"
    print(
        f"- of the command's {tree:.2f} s of CPU time `mpp run` itself takes {middle(own) * 1e3:.1f} ms "
        f"({low * 1e3:.1f} to {high * 1e3:.1f}), {middle(own) / tree * 100:.2f} %; its programs in the kernel {said}"
    )


def build_overhead(jobs, count):
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        for number in range(FILES):
            Path(folder, f"f{number}.c").write_text(SOURCE % (number, number))
        Path(folder, "Makefile").write_text(MAKEFILE)
        line = ["make", "--silent", "--always-make", "--directory", folder, f"-j{jobs}"]
        overhead(f"`make -j{jobs}` of {FILES} files", line, count)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=["table", "loop", "build"], default=["table", "loop", "build"])
    parser.add_argument("--pairs", type=int, default=32, help="of each command, alone and under mpp run")
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2], help="of the build")
    asked = parser.parse_args()
    if "table" in asked.part:
        compare()
    if "loop" in asked.part:
        overhead("a loop of 1,000 programs", ["sh", "-c", LOOP], asked.pairs)
    if "build" in asked.part:
        for jobs in asked.jobs:
            build_overhead(jobs, asked.pairs)


if __name__ == "__main__":
    main()
