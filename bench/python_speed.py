"""How fast the five functions are, beside psutil doing the same work, in one run.

Usage: python_speed.py [--processes N,N] [--rounds N] [--write]

Starts so many sleeping processes, each with a listening TCP socket among its descriptors when
connections are counted, and times both sides on all of them, in turns, best of the rounds.
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
#: psutil reads the kernel's socket tables once for each process: with more it takes minutes.
PSUTIL_CONNECTIONS_MAX = 1000
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
    stats = {"memory.percent": found.pop("memory_percent"), "threads": found.pop("num_threads"),
             "fds": found.pop("num_fds")}
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


def psutil_rates(names, with_connections):
    pids = psutil_find(names)
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


def rows(pids, processes):
    """What is compared: name, ours, psutil's, and whether psutil's takes minutes."""
    names = [COMM]
    environment = {"PATH": os.environ["PATH"]}
    few = pids[:: max(1, len(pids) // 20)]
    no_wait = {"interval_sec": 0.001}
    yield "`find_pids` by name", lambda: mp.find_pids(names), lambda: psutil_find(names), False
    yield ("`find_pids` by environment", lambda: mp.find_pids(process_env=environment),
           lambda: psutil_find(None, environment), False)
    yield ("`find_pids_from_name`", lambda: mp.find_pids_from_name(COMM),
           lambda: psutil_find(names), False)
    yield ("`stats_per_pid`, connections, each of 20", lambda: [mp.stats_per_pid(p) for p in few],
           lambda: [psutil_stats(p, True) for p in few], False)
    yield ("`multi_pid_process_stats`, connections", lambda: mp.multi_pid_process_stats(pids),
           lambda: psutil_sums(pids, True), True)
    yield ("`get_processes_stats_ex` without connections",
           lambda: mp.get_processes_stats_ex(names, include_connections=False, **no_wait),
           lambda: psutil_rates(names, False), False)
    yield ("`get_processes_stats_ex`, connections",
           lambda: mp.get_processes_stats_ex(names, **no_wait),
           lambda: psutil_rates(names, True), True)


def table(processes, rounds):
    lines = [
        f"\n## {processes} processes\n",
        "| call | ours, ms | psutil, ms | faster | ours, CPU us a process | psutil, CPU us |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    with Load(processes) as load:
        for name, ours, theirs, is_slow in rows(load.pids, processes):
            our_wall, our_cpu = cost(ours, rounds)
            count = 20 if "each of" in name else processes
            line = f"| {name} | {our_wall * 1e3:.1f} "
            if is_slow and processes > PSUTIL_CONNECTIONS_MAX:
                lines.append(line + f"| minutes | - | {our_cpu / count * 1e6:.1f} | - |")
                continue
            their_wall, their_cpu = cost(theirs, 1 if is_slow else rounds)
            lines.append(
                line + f"| {their_wall * 1e3:.1f} | {their_wall / our_wall:.1f}x "
                f"| {our_cpu / count * 1e6:.1f} | {their_cpu / count * 1e6:.1f} |"
            )
    return "\n".join(lines) + "\n"


def heading():
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if "model name" in line), "?")
    return (
        "# How fast the Python functions are\n\n"
        "Written by `bench/python_speed.py`: both sides on the same sleeping processes in the same\n"
        "run, each with one listening TCP socket. Ratios carry over to other machines, times do not.\n"
        "`get_processes_stats_ex` is two readings of every process, without the wait between them.\n"
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
