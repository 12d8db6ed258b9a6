"""The tools that watch the load: one row each, with how it is brought here, started and read."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import outputs
from packages import PYTHON, Absent, Packages

HERE = Path(__file__).resolve().parent
#: Where process-exporter listens, on the loopback interface.
PORT = 19256
#: What turns root into nobody.
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


@dataclass
class Place:
    """What a tool needs to know to be started: where things are, and whom it watches."""

    packages: Packages
    mpp: Path
    scratch: Path
    name: str

    def file(self, name, text):
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@dataclass
class Start:
    """How a tool is started: its last command prints what is read, those before it serve that one."""

    version: str
    commands: list
    environment: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    name: str
    start: Callable[[Place], Start]
    parse: Callable
    #: Of our own program: the accuracy that is asked for.
    tier: Optional[str] = None


def mpp(tier):
    def start(place):
        version = subprocess.run([place.mpp, "--version"], capture_output=True, text=True, check=True)
        show = [place.mpp, "show", place.name, "-c", "1000", "--tier", tier, "--format", "jsonl"]
        return Start(version.stdout.split()[1], [show])

    return start


def psutil(place):
    modules, version = place.packages.python("psutil>=7,<8")
    command = [PYTHON, HERE / "psutil_sums.py", place.name]
    return Start(version, [command], {"PYTHONPATH": str(modules)})


def process_exporter(place):
    package = "prometheus-process-exporter"
    program, version = place.packages.program(package, f"usr/bin/{package}")
    text = f"process_names:\n  - name: load\n    comm: ['{place.name}']\n"
    config = place.file("process-exporter.yml", text)
    address = f"127.0.0.1:{PORT}"
    serve = [program, "-config.path", config, "-web.listen-address", address]
    return Start(version, [serve, [PYTHON, HERE / "scrape.py", str(PORT), "load"]])


def pidstat(place):
    program, version = place.packages.program("sysstat", "usr/bin/pidstat")
    return Start(version, [["stdbuf", "-oL", program, "-d", "-h", "-H", "-C", f"^{place.name}$", "1"]])


def apps_plugin(place):
    plugin = "usr/lib/netdata/plugins.d/apps.plugin"
    program, version = place.packages.program("netdata-core", plugin)
    config = place.file("netdata/apps_groups.conf", f"{place.name}: {place.name}\n")
    folders = {f"NETDATA_{kind}_CONFIG_DIR": str(config.parent) for kind in ("USER", "STOCK")}
    return Start(version, [[program, "1"]], folders)


def atop(place):
    program, version = place.packages.program("atop", "usr/bin/atop")
    return Start(version, [["stdbuf", "-oL", program, "-P", "PRD", "1"]])


def iotop(place):
    program, version = place.packages.program("iotop-c", "usr/sbin/iotop-c")
    return Start(version, [["stdbuf", "-oL", program, "-b", "-k", "-P", "-d", "1"]])


COLLECTD = """\
BaseDir "{scratch}"
PIDFile "{scratch}/collectd.pid"
PluginDir "{root}/usr/lib/collectd"
TypesDB "{root}/usr/share/collectd/types.db"
Interval 1
Hostname "here"
LoadPlugin csv
LoadPlugin processes
<Plugin csv>
  DataDir "stdout"
  StoreRates true
</Plugin>
<Plugin processes>
  Process "{name}"
</Plugin>
"""


def collectd(place):
    program, version = place.packages.program("collectd-core", "usr/sbin/collectd")
    text = COLLECTD.format(scratch=place.scratch, root=place.packages.root, name=place.name)
    config = place.file("collectd.conf", text)
    return Start(version, [["stdbuf", "-oL", program, "-f", "-C", config]])


#: All tools, in the order of the table.
TOOLS = [
    Tool("mpp show, tier A", mpp("A"), outputs.shown, "A"),
    Tool("mpp show, tier B", mpp("B"), outputs.shown, "B"),
    Tool("mpp show, tier C", mpp("C"), outputs.shown, "C"),
    Tool("psutil, growth of each PID", psutil, outputs.sums),
    Tool("pidstat -d", pidstat, outputs.pidstat),
    Tool("Netdata apps.plugin", apps_plugin, outputs.apps_plugin),
    Tool("process-exporter", process_exporter, outputs.counters),
    Tool("atop, with accounting", atop, outputs.atop),
    Tool("iotop-c", iotop, outputs.iotop),
    Tool("collectd, processes", collectd, outputs.collectd),
]

#: Peers that are not run, and why.
LEFT_OUT = {
    "htop, btop": "they draw on a terminal and print nothing that a script could read",
    "OpenTelemetry's and Telegraf's collectors": "Debian has no package of them",
}


class Watch:
    """A running tool: collects the lines of its output with their moments."""

    def __init__(self, tool, start, prefix):
        self.tool, self.version, self.lines = tool, start.version, []
        environment = {**os.environ, **start.environment, "S_TIME_FORMAT": "ISO", "LC_ALL": "C"}
        self.processes = []
        for number, command in enumerate(start.commands):
            is_last = number == len(start.commands) - 1
            self.processes.append(
                subprocess.Popen(
                    [str(word) for word in [*prefix, *command]],
                    # Kept open: apps.plugin ends when it is closed.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if is_last else subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    errors="replace",
                    env=environment,
                )
            )
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        for line in self.processes[-1].stdout:
            self.lines.append((time.time(), line.rstrip("\n")))

    def end(self):
        """Ends the tool and waits for its last words."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
        self.thread.join()
        self.processes[-1].stdout.close()

    def readings(self, name):
        return list(self.tool.parse(self.lines, name))


def launch(place, tools, prefix):
    """Starts the tools behind a prefix; returns those that run, and by name why the others do not."""
    absent, watches = {}, []
    libraries = place.packages.libraries()
    for tool in tools:
        try:
            start = tool.start(place)
            # Our own program is not to find the peers' libraries.
            start.environment = {**({} if tool.tier else libraries), **start.environment}
            watches.append(Watch(tool, start, prefix))
        except (Absent, OSError) as reason:
            absent[tool.name] = str(reason)
    return watches, absent
