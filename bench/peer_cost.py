"""What a full sample costs another tool: all processes, one second between samples.

Usage: peer_cost.py TOOL [--samples N] [--folder FOLDER] [--crates FOLDER] [--cgroup FOLDER]
Prints one line of KEY=VALUE words, like the programs that it is measured beside. The tool's CPU
time is read from outside, schedstat of its threads; samples are counted by what it prints, since
those that need a second for one are late.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "same_load"))
from packages import Absent, Packages  # noqa: E402

WARM_UPS = 2
#: Where process-exporter listens, on the loopback interface.
PORT = 19257
#: No sample of any of these tools takes longer.
PATIENCE_SECONDS = 60


@dataclass
class Place:
    packages: Packages
    crates: Optional[Path]
    scratch: Path


@dataclass
class Start:
    command: list
    environment: dict = field(default_factory=dict)
    #: Has one sample taken, of a tool that takes none by itself.
    ask: Optional[Callable[[], None]] = None


@dataclass(frozen=True)
class Tool:
    start: Callable[[Place], Start]
    #: A line that it prints once for each sample.
    marker: str = ""


def process_exporter(place):
    package = "prometheus-process-exporter"
    program, _ = place.packages.program(package, f"usr/bin/{package}")
    config = place.scratch / "process-exporter.yml"
    config.write_text("process_names:\n  - name: '{{.Comm}}'\n    cmdline: ['.+']\n")
    address = f"127.0.0.1:{PORT}"
    options = ["-config.path", config, "-web.listen-address", address]
    return Start([program, *options], ask=scrape)


def scrape():
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=PATIENCE_SECONDS) as page:
        page.read()


def apps_plugin(place):
    program, _ = place.packages.program("netdata-core", "usr/lib/netdata/plugins.d/apps.plugin")
    (place.scratch / "apps_groups.conf").write_text("sleepers: sleeper-*\n")
    folders = {f"NETDATA_{kind}_CONFIG_DIR": str(place.scratch) for kind in ("USER", "STOCK")}
    return Start([program, "1"], {**place.packages.libraries(), **folders})


def pidstat(place):
    program, _ = place.packages.program("sysstat", "usr/bin/pidstat")
    return Start(["stdbuf", "-oL", program, "-u", "-r", "-d", "-w", "-v", "-h", "-p", "ALL", "1"])


def atop(place):
    program, _ = place.packages.program("atop", "usr/bin/atop")
    return Start(["stdbuf", "-oL", program, "-P", "PRC,PRM,PRD", "1"])


def top(_place):
    return Start(["top", "-b", "-d", "1", "-w", "200"])


def crate(name):
    def start(place):
        if place.crates is None:
            raise Absent("it was not built")
        return Start([place.crates / name])

    return start


TOOLS = {
    "process-exporter": Tool(process_exporter),
    "apps.plugin": Tool(apps_plugin, r"^BEGIN netdata\.apps_cpu "),
    "pidstat": Tool(pidstat, r"^# Time"),
    "atop": Tool(atop, r"^SEP"),
    "top": Tool(top, r"^top - "),
    "procfs": Tool(crate("procfs_cost"), r"^sample"),
    "sysinfo": Tool(crate("sysinfo_cost"), r"^sample"),
}


class Watched:
    """A running tool: counts its samples, and reads what it has used."""

    def __init__(self, tool, start, cgroup):
        self.start, self.samples = start, 0
        self.marker = re.compile(tool.marker) if tool.marker else None
        self.taken = threading.Condition()
        environment = {**os.environ, **start.environment, "LC_ALL": "C", "S_TIME_FORMAT": "ISO"}
        within = [HERE / "in_cgroup.sh", cgroup] if cgroup is not None else []
        self.process = subprocess.Popen(
            [str(word) for word in [*within, *start.command]],
            # Kept open: apps.plugin ends when it is closed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=environment,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        """Takes what it prints, so that it never waits for us."""
        for line in self.process.stdout:
            if self.marker is not None and self.marker.search(line):
                self.count()

    def count(self):
        with self.taken:
            self.samples += 1
            self.taken.notify()

    def await_samples(self, number):
        """Waits until it has taken so many samples in all."""
        while self.start.ask is not None and self.samples < number:
            self.ask_once()
        with self.taken:
            if not self.taken.wait_for(lambda: self.samples >= number, PATIENCE_SECONDS * number):
                raise Absent("it takes no samples")

    def ask_once(self):
        begin = time.monotonic()
        for _ in range(50):
            try:
                self.start.ask()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        else:
            raise Absent("it does not answer")
        self.count()
        time.sleep(max(begin + 1 - time.monotonic(), 0))

    def cpu_us(self):
        """Of all its threads, by schedstat: ticks are too coarse where processes are few."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e3

    def status_kib(self, key):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(key))

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()


def processes():
    return sum(entry.isdigit() for entry in os.listdir("/proc"))


def measure(tool, place, samples, cgroup):
    watched = Watched(tool, tool.start(place), cgroup)
    try:
        watched.await_samples(WARM_UPS)
        before, first = watched.cpu_us(), watched.samples
        watched.await_samples(first + samples)
        spent, taken = watched.cpu_us() - before, watched.samples - first
        count = processes()
        peak, anonymous = watched.status_kib("VmHWM:"), watched.status_kib("RssAnon:")
        return (
            f"cpu_us_per_process={spent / taken / count:.3f} processes={count}"
            f" peak_rss_kib={peak} anonymous_kib={anonymous}"
        )
    finally:
        watched.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--folder", type=Path, required=True, help="where packages are unpacked")
    parser.add_argument("--crates", type=Path, help="where the programs of bench/crates were built")
    parser.add_argument("--cgroup", type=Path, help="a memory cgroup that the tool is put into")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        place = Place(Packages(arguments.folder), arguments.crates, Path(scratch))
        try:
            print(measure(TOOLS[arguments.tool], place, arguments.samples, arguments.cgroup))
        except (Absent, OSError) as reason:
            sys.exit(f"{arguments.tool} cannot be measured here: {reason}")


if __name__ == "__main__":
    main()
