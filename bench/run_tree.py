"""One tree of processes that knows its truth, measured by `mpp run` and by what people use instead;
and what `mpp run` costs a build of a thousand processes.

Run after `cargo build --release -p mpp-cli -p mpp-load`; what is not installed is left out:

    apt-get install time hyperfine
    bench/.venv/bin/pip install psrecord             # the environment that `cargo xtask bench` makes
    bench/.venv/bin/python bench/run_tree.py
"""

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def timed(prefix, line):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    subprocess.run([*prefix, *line], check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def overhead(name, line, rounds):
    """Side by side and in turn, so that a busy machine is as busy for both."""
    with tempfile.NamedTemporaryFile(dir=ROOT / "target") as cost:
        under = [MPP, "run", "-o", cost.name, "--"]
        timed([], line)
        pairs = []
        for number in range(rounds):
            order = [[], under] if number % 2 == 0 else [under, []]
            measured = [timed(prefix, line) for prefix in order]
            pairs.append(measured if number % 2 == 0 else measured[::-1])
        found = json.loads(Path(cost.name).read_text())
    print(f"\n| {name} | wall s | CPU s |\n|---|---:|---:|")
    for position, way in enumerate(["alone", "under `mpp run`"]):
        wall = statistics.median(pair[position][0] for pair in pairs)
        cpu = statistics.median(pair[position][1] for pair in pairs)
        print(f"| {way} | {wall:.3f} | {cpu:.3f} |")
    print()
    for position, what in enumerate(["wall", "CPU"]):
        ratios = [pair[1][position] / pair[0][position] for pair in pairs]
        least = min(pair[1][position] for pair in pairs) / min(pair[0][position] for pair in pairs)
        print(
            f"- {what}: median ratio {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f}), "
            f"of the fastest of each {least:.4f}"
        )
    print(f"- {found['samples']} looks, {found['metrics']['processes.ended']} processes, tier {found['tier']}")
    own_cost(line, rounds=5)


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


def own_cost(line, rounds):
    """CPU time of `mpp run` itself: that of both, less what it says of the command."""
    own = []
    with tempfile.NamedTemporaryFile(dir=ROOT / "target") as cost:
        for _ in range(rounds):
            _, both = timed([MPP, "run", "-o", cost.name, "--"], line)
            metrics = json.loads(Path(cost.name).read_text())["metrics"]
            tree = metrics["cpu.user"] + metrics["cpu.system"]
            own.append((both - tree, tree))
    own_seconds, tree_seconds = (statistics.median(column) for column in zip(*own))
    hooks = hooks_ms(line)
    said = "not known here" if hooks is None else f"{hooks:.1f} ms, {hooks / tree_seconds / 10:.2f} %"
    print(
        f"- of the command's {tree_seconds:.2f} s of CPU time `mpp run` itself takes {own_seconds * 1e3:.1f} ms, "
        f"{own_seconds / tree_seconds * 100:.2f} % (median of {rounds}); its programs in the kernel {said}"
    )


def overheads():
    overhead("a loop of 1,000 programs", ["sh", "-c", LOOP], rounds=11)
    for jobs in [1, 2]:
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
            for number in range(FILES):
                Path(folder, f"f{number}.c").write_text(SOURCE % (number, number))
            Path(folder, "Makefile").write_text(MAKEFILE)
            line = ["make", "--silent", "--always-make", "--directory", folder, f"-j{jobs}"]
            overhead(f"`make -j{jobs}` of {FILES} files", line, rounds=9)


if __name__ == "__main__":
    compare()
    overheads()
