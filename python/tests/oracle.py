"""The five functions on psutil, as they were: the measure of ours.

Sums, zeros and keys are spelt out here a second time on purpose, from psutil's values alone.
"""

import collections
import os
import socket
import time

import psutil

STATES = [
    "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close",
    "close_wait", "last_ack", "listen", "closing", "none",
]

IMPORTANT = {
    "total_processes": 0, "threads": 0, "fds": 0, "cpu.user": 0.0, "cpu.system": 0.0,
    "cpu.percent": 0.0, "memory.rss": 0, "memory.vms": 0, "memory.percent": 0.0,
    "io_counters.read_count": 0, "io_counters.write_count": 0, "io_counters.read_bytes": 0,
    "io_counters.write_bytes": 0,
}


def find_pids(process_names=None, users=None, process_env=None):
    found = []
    for pid in psutil.pids():
        try:
            if matches(pid, process_names, users, process_env):
                found.append(pid)
        except (psutil.Error, OSError):
            continue
    return sorted(found)


def matches(pid, process_names, users, process_env):
    with open(f"/proc/{pid}/comm", "rb") as comm:
        name = comm.read().rstrip()
    if process_names and name not in [os.fsencode(wanted) for wanted in process_names]:
        return False
    if users and psutil.Process(pid).username() not in users:
        return False
    if process_env:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            try:
                text = environ.read()
            except ProcessLookupError:  # a zombie or a kernel thread
                text = b""
        variables = {}
        for entry in text.split(b"\0"):
            key, equals, value = entry.partition(b"=")
            if equals:
                variables.setdefault(key, value)
        for key, value in process_env.items():
            wanted = None if value is None else os.fsencode(value)
            if variables.get(os.fsencode(key)) != wanted:
                return False
    return True


def stats_per_pid(pid):
    """What psutil says of a process; what may not be read is left out."""
    stats = {}
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory = process.memory_info()
            for field in ["rss", "vms", "shared", "text", "data"]:
                stats[f"memory.{field}"] = getattr(memory, field)
            stats["memory.lib"] = stats["memory.dirty"] = 0
            stats["memory.percent"] = process.memory_percent()
            times = process.cpu_times()
            stats["cpu.user"], stats["cpu.system"] = times.user, times.system
            stats["cpu.percent"] = 0.0
            stats["threads"] = process.num_threads()
            switches = process.num_ctx_switches()
            stats["ctx_switches.voluntary"] = switches.voluntary
            stats["ctx_switches.involuntary"] = switches.involuntary
            allowed(lambda: stats.__setitem__("fds", process.num_fds()))
            allowed(lambda: stats.update(io_counters(process)))
            allowed(lambda: stats.update(connections(process)))
    except psutil.NoSuchProcess:
        return {}
    return stats


def allowed(read):
    try:
        read()
    except psutil.AccessDenied:
        pass


def io_counters(process):
    io = process.io_counters()
    names = ["read_count", "write_count", "read_bytes", "write_bytes"]
    return {f"io_counters.{name}": getattr(io, name) for name in names}


def connections(process):
    found = process.net_connections(kind="all")
    tcp = [c for c in found if c.family != socket.AF_UNIX and c.type == socket.SOCK_STREAM]
    udp = [c for c in found if c.family != socket.AF_UNIX and c.type == socket.SOCK_DGRAM]
    unix = [c for c in found if c.family == socket.AF_UNIX]
    stats = {}
    if tcp:
        stats["conns.tcp.total"] = len(tcp)
        for state in STATES:
            stats[f"conns.tcp.{state}"] = sum(c.status.lower() == state for c in tcp)
    if udp:
        stats["conns.udp.total"] = len(udp)
    if unix:
        stats["conns.unix_sockets.total"] = len(unix)
    return stats


def multi_pid_process_stats(pids):
    sums = collections.Counter()
    for pid in pids:
        stats = stats_per_pid(pid)
        if stats:
            sums.update(stats)
            sums["total_processes"] += 1
    return collections.Counter({key: value for key, value in sums.items() if value > 0})


def without_connections(stats):
    return {key: value for key, value in stats.items() if not key.startswith("conns.")}


def get_processes_stats_ex(
    process_names=None, users=None, process_env=None, interval_sec=1,
    keep_important_metrics=False, include_connections=True,
):
    """Of processes that sleep: totals are the sums, and every rate is that of the totals."""
    began = time.monotonic()
    pids = find_pids(process_names, users, process_env)
    read = stats_per_pid if include_connections else lambda pid: without_connections(stats_per_pid(pid))
    first = {pid: read(pid) for pid in pids}
    time.sleep(interval_sec)
    sums = collections.Counter()
    for pid in pids if interval_sec else []:
        second = read(pid)
        if not second:
            continue
        for key, value in second.items():
            if key != "cpu.percent":
                sums[f"{key}_per_sec"] += (value - first[pid].get(key, 0)) / interval_sec
        sums.update(second)
        sums["total_processes"] += 1
    if not interval_sec:
        for pid in pids:
            sums.update(first[pid])
            sums["total_processes"] += 1
    stats = collections.Counter({key: value for key, value in sums.items() if value > 0})
    if keep_important_metrics:
        for key, zero in IMPORTANT.items():
            stats.setdefault(key, zero)
            if key.startswith("io_counters.") and interval_sec:
                stats.setdefault(f"{key}_per_sec", 0.0)
    stats["fetch_time"] = f"{time.monotonic() - began:.5f}"
    return stats
