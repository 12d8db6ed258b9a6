"""The loads, and what they say of themselves."""

import json
import shutil
import subprocess
import threading
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass(frozen=True)
class Load:
    """One load, what it shows, and who watches it."""

    #: What `--only` calls it.
    name: str
    title: str
    #: What it does, in a sentence or two.
    does: str
    #: The command line of mpp-load, from how many seconds it is to work.
    arguments: Callable[[int], list]
    #: Whether a second can be compared with the load's own second, or only the whole.
    has_seconds: bool = True
    #: Whether the tools run without privileges, which some seconds of the load do not allow.
    is_hidden_for_a_while: bool = False
    #: The tools that are not worth their line here.
    without: tuple = ()


def massindexer(seconds):
    return ["massindexer", "--seconds", str(seconds), "--rest", "1", "--tick-ms", "20"]


def autoreap(seconds):
    sizes = ["--children", "3", "--bytes", "1MiB", "--parent-bytes", "0", "--life-ms", "50"]
    return ["autoreap", "--seconds", str(seconds), "--tick-ms", "20", *sizes]


def generations(seconds):
    times = ["--life-ms", "1500", "--linger-ms", "1500", "--every-ms", "3000"]
    return ["nested-deaths", "--seconds", str(seconds), "--bytes", "8MiB", *times]


def undumpable(seconds):
    return ["undumpable", "--before", str(seconds // 2), "--hidden", "5", "--after", str(seconds // 2)]


LOADS = [
    Load(
        "massindexer",
        "Children that are reaped every four seconds",
        "Begins three workers at a time, 30 a second. Each writes 1 MiB, syncs it and lives for 100 ms. The "
        "parent reaps only every four seconds, so that they wait as zombies.",
        massindexer,
    ),
    Load(
        "autoreap",
        "Children that nobody waits for",
        "The same 30 workers a second, alive for 50 ms, under a parent that ignores SIGCHLD. The kernel reaps "
        "them at once and adds their counters to nobody.",
        autoreap,
    ),
    Load(
        "generations",
        "Three generations",
        "A grandchild writes 8 MiB and lives for 1.5 s. The child reaps it, writes 8 MiB, lives on for 1.5 s, and "
        "is reaped by the first process; then the next family begins.",
        generations,
        has_seconds=False,
    ),
    Load(
        "undumpable",
        "A process that cannot be read for five seconds",
        "Writes 64 MiB, then 5 MiB a second, and is undumpable for five seconds on the way, so that all tools, run "
        "here as nobody, are refused its counters.",
        undumpable,
        is_hidden_for_a_while=True,
        without=("mpp show, tier A", "mpp show, tier B", "atop, with accounting", "iotop-c"),
    ),
]


class Truth:
    """What the load says that it has written, moment by moment; linear in between."""

    def __init__(self, points):
        self.moments = [moment for moment, _ in points]
        self.written = [written for _, written in points]

    def at(self, moment):
        """Bytes written up to a moment."""
        after = bisect_right(self.moments, moment)
        if after == 0:
            return 0.0
        if after == len(self.moments):
            return float(self.written[-1])
        begin, end = self.moments[after - 1], self.moments[after]
        low, high = self.written[after - 1], self.written[after]
        return low + (high - low) * (moment - begin) / (end - begin)

    def rate(self, end, span):
        """Bytes per second over an interval."""
        return (self.at(end) - self.at(end - span)) / span

    def total(self):
        return self.written[-1]


class Running:
    """A started load, which waits for its beginning."""

    def __init__(self, program, load, seconds, directory, name, prefix):
        # Some tools show the name of a process, others that of its program.
        named = Path(directory) / name
        shutil.copy(program, named)
        options = ["--comm", name, "--directory", directory]
        command = [*prefix, named, *load.arguments(seconds), *options]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if '"ready"' not in self.process.stdout.readline():
            raise RuntimeError(f"{load.name} did not get ready")
        self.points = []
        self.is_done = threading.Event()
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "children_write_bytes" in said:
                written = said["parent_write_bytes"] + said["children_write_bytes"]
                self.points.append((said["unix_ns"] / 1e9, written))
            if said["event"] == "total":
                break
        self.is_done.set()

    def begin(self, moment):
        self.points.append((moment, 0))
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
