"""How fast the five functions are, beside psutil doing the same work, in one run.

Usage: python_speed.py [--processes N,N] [--rounds N] [--write]

Starts so many sleeping processes, which share one listening TCP socket, and times both sides on
all of them, one after the other, best of the rounds. One comparison more is of a process with a
connected TCP socket, ourselves: the kernel's table of those is the dear one.
`--write` puts the tables into results/python-speed.md.
"""

import argparse
import collections
import os
import pathlib
import platform
import resource
import signal
import socket
import sys
import time

import metrics_per_process as mp
import psutil

HERE = pathlib.Path(__file__).resolve().parent
#: psutil reads the kernel's socket tables once for each process, which takes minutes for many: it
#: is timed on at most so many of them, spread evenly, and the time is multiplied.
PSUTIL_CONNECTIONS_SAMPLE = 500
COMM = "mpp-bench"


class Load:
    """Processes that sleep: forks of this one, with its descriptors."""

    def __init__(self, count):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.pids = [self.start() for _ in range(count)]
        # The last one has had time to get its name when it says so.
        while len(mp.find_pids([COMM])) < count:
            time.sleep(0.05)
        # Not theirs, for they have begun.
        self.connected = socket.create_connection(self.listener.getsockname())

    def start(self):
        pid = os.fork()
        if pid == 0:
            try:
                with open("/proc/self/comm", "w") as comm:
                    comm.write(COMM)
                signal.pause()
            finally:
                os._exit(0)
        return pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.connected.close()
        self.listener.close()


def psutil_stats(pid, with_connections):
    """What `stats_per_pid` says, as a script on psutil gets it."""
    figures = ["memory_info", "memory_percent", "cpu_times", "num_threads", "num_fds",
               "num_ctx_switches", "io_counters"]
    if with_connections:
        figures.append("net_connections")
    try:
        found = psutil.Process(pid).as_dict(figures)
    except psutil.NoSuchProcess:
        return {}
    # What may not be read, as of a kernel's thread that has just ended, is None.
    found = {figure: value for figure, value in found.items() if value is not None}
    numbers = {"memory.percent": "memory_percent", "threads": "num_threads", "fds": "num_fds"}
    stats = {key: found.pop(figure) for key, figure in numbers.items() if figure in found}
    states = collections.Counter(
        c.status.lower() for c in found.pop("net_connections", ()) if c.family != socket.AF_UNIX
    )
    stats.update({f"conns.tcp.{state}": count for state, count in states.items()})
    for prefix, values in found.items():
        for field, value in values._asdict().items():
            stats[f"{prefix}.{field}"] = value
    return stats


def psutil_find(names=None, environment=None):
    found = []
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if names and process.name() not in names:
                continue
            if environment:
                variables = process.environ()
                if any(variables.get(key) != value for key, value in environment.items()):
                    continue
        except psutil.Error:
            continue
        found.append(pid)
    return found


def psutil_sums(pids, with_connections):
    sums = collections.Counter()
    for pid in pids:
        sums.update(psutil_stats(pid, with_connections))
    return sums


def psutil_rates(pids, with_connections):
    first = {pid: psutil_stats(pid, with_connections) for pid in pids}
    sums = collections.Counter()
    for pid in pids:
        second = psutil_stats(pid, with_connections)
        sums.update(second)
        for key, value in second.items():
            sums[f"{key}_per_sec"] += value - first[pid].get(key, 0)
    return sums


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cost(call, rounds):
    """Wall-clock and CPU seconds of one call, each the best of the rounds."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), cpu_seconds()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds() - cpu)
    return min(walls), min(cpus)


class Row:
    """One comparison: a call of ours, and the same on psutil."""

    def __init__(self, name, ours, theirs=None, theirs_each=None, processes=None):
        self.name = name
        self.ours = ours
        #: What psutil does once.
        self.theirs = theirs
        #: What it does with every process of a list.
        self.theirs_each = theirs_each
        #: On how many it works.
        self.processes = processes

    def line(self, pids, rounds):
        count = self.processes or len(pids)
        our_wall, our_cpu = cost(self.ours, rounds)
        their_wall, their_cpu = cost(self.theirs, rounds) if self.theirs else (0, 0)
        is_sampled = False
        if self.theirs_each:
            sample = pids[:: -(-len(pids) // PSUTIL_CONNECTIONS_SAMPLE)]
            wall, cpu = cost(lambda: self.theirs_each(sample), rounds)
            is_sampled = len(sample) < len(pids)
            their_wall += wall * len(pids) / len(sample)
            their_cpu += cpu * len(pids) / len(sample)
        mark = "~" if is_sampled else ""
        return (
            f"| {self.name} | {our_wall * 1e3:.1f} | {mark}{their_wall * 1e3:.1f} "
            f"| {mark}{their_wall / our_wall:.1f}x | {our_cpu / count * 1e6:.1f} "
            f"| {mark}{their_cpu / count * 1e6:.1f} | {mark}{their_cpu / our_cpu:.1f}x |"
        )


def rows(pids):
    names = [COMM]
    environment = {"PATH": os.environ["PATH"]}
    few = pids[:: max(1, len(pids) // 20)]
    connected = [os.getpid()] * len(few)
    no_wait = {"interval_sec": 0.001}
    return [
        Row("`find_pids` by name", lambda: mp.find_pids(names), lambda: psutil_find(names)),
        Row("`find_pids` by environment", lambda: mp.find_pids(process_env=environment),
            lambda: psutil_find(None, environment)),
        Row("`find_pids` by name and environment", lambda: mp.find_pids(names, None, environment),
            lambda: psutil_find(names, environment)),
        Row("`find_pids_from_name`", lambda: mp.find_pids_from_name(COMM),
            lambda: psutil_find(names)),
        Row(f"`stats_per_pid`, connections, each of {len(few)} that listen",
            lambda: [mp.stats_per_pid(p) for p in few],
            lambda: [psutil_stats(p, True) for p in few], processes=len(few)),
        Row(f"`stats_per_pid`, connections, one that is connected, {len(connected)} times",
            lambda: [mp.stats_per_pid(p) for p in connected],
            lambda: [psutil_stats(p, True) for p in connected], processes=len(connected)),
        Row("`multi_pid_process_stats`, connections", lambda: mp.multi_pid_process_stats(pids),
            theirs_each=lambda pids: psutil_sums(pids, True)),
        Row("`get_processes_stats_ex` without connections",
            lambda: mp.get_processes_stats_ex(names, include_connections=False, **no_wait),
            lambda: psutil_rates(psutil_find(names), False)),
        Row("`get_processes_stats_ex` without connections, all processes",
            lambda: mp.get_processes_stats_ex(include_connections=False, **no_wait),
            lambda: psutil_rates(psutil.pids(), False)),
        Row("`get_processes_stats_ex`, connections",
            lambda: mp.get_processes_stats_ex(names, **no_wait),
            lambda: psutil_find(names), lambda pids: psutil_rates(pids, True)),
    ]


def table(processes, rounds):
    others = len(psutil.pids())
    lines = [
        f"\n## {processes} processes\n",
        f"Besides {others} others, which `find_pids` and both readings of rates pass by too.\n",
        "| call | ours, ms | psutil, ms | faster | ours, CPU us a process | psutil, CPU us | less CPU |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with Load(processes) as load:
        lines += [row.line(load.pids, rounds) for row in rows(load.pids)]
    return "\n".join(lines) + "\n"


def heading():
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if "model name" in line), "?")
    return (
        "# How fast the Python functions are\n\n"
        "Written by `bench/python_speed.py`: both sides on the same sleeping processes in the same\n"
        "run, best of the rounds. The processes share one listening TCP socket, and hardly any other\n"
        "is on the machine. Ratios carry over to other machines, times do not.\n"
        "`get_processes_stats_ex` is two readings of every process, without the wait between them.\n"
        "A process that is connected takes us longer: only for it the kernel's table of connections\n"
        "is read, which takes as long however few there are.\n"
        "From 1,000 processes on, and where it may, `get_processes_stats_ex` has them read by programs\n"
        "in the kernel, and then so have `find_pids` by name and `multi_pid_process_stats`. They are\n"
        "loaded at the first call, which takes some 20 ms more, and kept for the next ones.\n"
        f"`~`: psutil was timed on {PSUTIL_CONNECTIONS_SAMPLE} of the processes, and the time multiplied.\n"
        f"\nMachine: {platform.system()} {platform.release()} {platform.machine()}, "
        f"{os.cpu_count()} CPUs, {model}; Python {platform.python_version()}, "
        f"psutil {psutil.__version__}.\n"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = heading()
    for processes in map(int, arguments.processes.split(",")):
        text += table(processes, arguments.rounds)
    sys.stdout.write(text)
    if arguments.write:
        (HERE / "results" / "python-speed.md").write_text(text)


if __name__ == "__main__":
    main()
