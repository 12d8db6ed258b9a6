"""Tests of the tests: modules that are wrong in one point each, which the checks must catch.

A variant wraps ours and spoils one thing, as a slip in the code would.
"""

import collections
import os
import re
import time
import types

import metrics_per_process as mp
import parity
import psutil
import pytest

FIVE = [
    "find_pids", "find_pids_from_name", "stats_per_pid", "multi_pid_process_stats",
    "get_processes_stats_ex",
]
RESULTS = ["stats_per_pid", "multi_pid_process_stats", "get_processes_stats_ex"]
LEAKED = []


def module(**spoilt):
    """Ours, with some functions replaced."""
    return types.SimpleNamespace(**{**{name: getattr(mp, name) for name in FIVE}, **spoilt})


def results(spoil, names=RESULTS):
    """Every result goes through `spoil`, and keeps its class."""

    def wrap(function):
        def spoilt(*args, **kwargs):
            stats = function(*args, **kwargs)
            return type(stats)(spoil(dict(stats)))

        return spoilt

    return module(**{name: wrap(getattr(mp, name)) for name in names})


def scaled(key, factor):
    """One key in another unit; numbers of one kind stay of that kind."""

    def spoil(stats):
        if key in stats:
            stats[key] = type(stats[key])(stats[key] * factor)
        return stats

    return results(spoil)


def without(key):
    def spoil(stats):
        stats.pop(key, None)
        return stats

    return results(spoil)


def instead(key, value, names=RESULTS):
    def spoil(stats):
        if key in stats:
            stats[key] = value
        return stats

    return results(spoil, names)


def added(key, value, names=RESULTS):
    return results(lambda stats: {key: value, **stats} if stats else stats, names)


def renamed(key, name):
    return results(lambda stats: {name if k == key else k: v for k, v in stats.items()})


def found(spoil):
    """`find_pids` with other arguments or another answer."""

    def find_pids(process_names=None, users=None, process_env=None):
        return spoil(process_names, users, process_env)

    def find_pids_from_name(name):
        return find_pids([name])

    return module(find_pids=find_pids, find_pids_from_name=find_pids_from_name)


def by_name(matches):
    """Names compared in another way."""

    def spoil(process_names, users, process_env):
        everybody = mp.find_pids(None, users, process_env)
        if not process_names:
            return everybody
        names = mp.find_pids(process_names, users, process_env)
        list(process_names)
        return [
            pid for pid in everybody
            if pid in names or any(matches(comm(pid), name) for name in process_names)
        ]

    return found(spoil)


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return os.fsdecode(file.read().rstrip(b"\n"))
    except OSError:
        return ""


def by_environment(matches):
    """Environments compared in another way."""

    def spoil(process_names, users, process_env):
        right = mp.find_pids(process_names, users, process_env)
        if not process_env:
            return right
        candidates = mp.find_pids(process_names, users)
        return [pid for pid in candidates if pid in right or matches(variables(pid), process_env)]

    return found(spoil)


def variables(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def only_first_bytes(process_names, users, process_env):
    right = mp.find_pids(process_names, users, process_env)
    if not process_env:
        return right
    short = []
    for pid in right:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                text = b"\0" + file.read(4096)
        except OSError:
            text = b""
        wanted = [os.fsencode(key) for key, value in process_env.items() if value is not None]
        if all(b"\0%s=" % key in text for key in wanted):
            short.append(pid)
    return short


def summed(change):
    """`multi_pid_process_stats` of other PIDs."""
    return module(multi_pid_process_stats=lambda pids, metrics_regexes=None: (
        mp.multi_pid_process_stats(change(list(pids)), metrics_regexes)
    ))


def with_zeros(pids, metrics_regexes=None):
    sums = mp.multi_pid_process_stats(pids, metrics_regexes)
    sums.setdefault("memory.dirty", 0)
    return sums


def zeros_dropped_first(pids, metrics_regexes=None):
    """Drops before it adds: what differs is who counts as a process."""
    sums = mp.multi_pid_process_stats(pids, metrics_regexes)
    sums["total_processes"] = len(list(pids))
    return collections.Counter({key: value for key, value in sums.items() if value})


def leaking(pid, metrics_regexes=None):
    LEAKED.append(open(os.devnull))
    return mp.stats_per_pid(pid, metrics_regexes)


def holding_the_gil(*args, **kwargs):
    """Waits without ever letting another thread run."""
    real = time.sleep

    def busy(seconds):
        import sys

        switch = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        sys.setswitchinterval(switch)

    time.sleep = busy
    try:
        return mp.get_processes_stats_ex(*args, **kwargs)
    finally:
        time.sleep = real


def by_growth_of_processes(
    process_names=None, users=None, process_env=None, interval_sec=1,
    keep_important_metrics=False, include_connections=True,
):
    """The known defect: rates from the counters of processes, inherited ones included."""
    pids = mp.find_pids(process_names, users, process_env)
    before = mp.multi_pid_process_stats(pids)
    stats = mp.get_processes_stats_ex(
        process_names, users, process_env, interval_sec, keep_important_metrics,
        include_connections,
    )
    for key in ["io_counters.write_bytes", "cpu.user"]:
        growth = stats[key] - before[key]
        if growth > 0 and interval_sec:
            stats[f"{key}_per_sec"] = growth / float(stats["fetch_time"])
    return stats


def interval_of(change):
    """`get_processes_stats_ex` with other options."""

    def get_processes_stats_ex(*args, **kwargs):
        stats = mp.get_processes_stats_ex(*args, **kwargs)
        return collections.Counter(change(dict(stats), kwargs))

    return module(get_processes_stats_ex=get_processes_stats_ex)


def divided_by_what_was_asked(stats, options):
    asked = options.get("interval_sec", 1)
    return {
        key: value * float(stats["fetch_time"]) / asked if key.endswith("_per_sec") else value
        for key, value in stats.items()
    }


def only_own_io(stats, options):
    """Takes out what a child that was born in between wrote."""
    key = "io_counters.write_bytes_per_sec"
    if key in stats:
        stats[key] *= 3 / 5
    return stats


def ended_counted(stats, options):
    return {**stats, "total_processes": stats.get("total_processes", 0) + 1}


def lenient(pid, metrics_regexes=None):
    try:
        return mp.stats_per_pid(pid, metrics_regexes)
    except (TypeError, ValueError):
        return {}


def listed(names):
    return [names] if isinstance(names, str) else names


def raising(pid, metrics_regexes=None):
    stats = mp.stats_per_pid(pid, metrics_regexes)
    if not stats:
        raise ProcessLookupError(pid)
    return stats


def as_psutil_raises(pid, metrics_regexes=None):
    stats = mp.stats_per_pid(pid, metrics_regexes)
    if stats and "io_counters.read_bytes" not in stats:
        raise psutil.AccessDenied(pid)
    return stats


def searching(pid, metrics_regexes=None):
    """Patterns that may match anywhere."""
    stats = mp.stats_per_pid(pid)
    patterns = [re.compile(pattern) for pattern in metrics_regexes or [""]]
    return {key: value for key, value in stats.items() if any(p.search(key) for p in patterns)}


KIB = 1 / 1024
VARIANTS = {
    # Selectors.
    "a name matches anywhere": ("names", by_name(lambda comm, name: name in comm)),
    "a name matches at the beginning": ("names", by_name(lambda comm, name: comm.startswith(name))),
    "a name matches in any case": ("names", by_name(lambda c, name: c.lower() == name.lower())),
    "a long name matches when cut": ("names", by_name(lambda comm, name: comm == name[:15])),
    "a name is a glob": ("names", by_name(lambda comm, name: name.endswith("*") and comm.startswith(name[:-1]))),
    "a name is a regex": ("names", by_name(lambda comm, name: name.startswith("(?i)") or re.fullmatch(re.escape(name), comm))),
    "a name keeps its blanks": ("names", by_name(lambda comm, name: comm == name)),
    "names are ANDed": ("names", found(lambda n, u, e: sorted(set.intersection(*(set(mp.find_pids([x], u, e)) for x in n))) if n else mp.find_pids(n, u, e))),
    "only the first PID": ("names", found(lambda n, u, e: mp.find_pids(n, u, e)[:1])),
    "a tuple instead of a list": ("names", found(lambda n, u, e: tuple(mp.find_pids(n, u, e)))),
    "bytes that are not UTF-8 are lost": ("names", found(lambda n, u, e: mp.find_pids(n and [x.replace("\udce9", "?") for x in n], u, e))),
    "an empty list matches nothing": ("everything", found(lambda n, u, e: [] if n == [] or u == [] else mp.find_pids(n, u, e))),
    "threads are listed too": ("everything", found(lambda n, u, e: sorted(mp.find_pids(n, u, e) + [int(t) for pid in mp.find_pids(n, u, e) for t in tasks(pid) if t != str(pid)]))),
    "unsorted": ("everything", found(lambda n, u, e: mp.find_pids(n, u, e)[::-1])),
    "users are ORed with names": ("users", found(lambda n, u, e: sorted(set(mp.find_pids(n, None, e)) | set(mp.find_pids(None, u, e))) if n and u else mp.find_pids(n, u, e))),
    "an unknown user matches anybody": ("users", found(lambda n, u, e: mp.find_pids(n, [x for x in u if x in known_users()] if u else u, e))),
    "a user by number": ("users", found(lambda n, u, e: mp.find_pids(n, ["root" if x == "0" else x for x in u] if u else u, e))),
    "environment entries are ORed": ("environments", by_environment(lambda have, want: any(have.get(k) == v for k, v in want.items()))),
    "a value matches at the beginning": ("environments", by_environment(lambda have, want: all(v and have.get(k, "").startswith(v) for k, v in want.items()))),
    "an empty value is an absent one": ("environments", by_environment(lambda have, want: all((have.get(k) or None) == (v or None) for k, v in want.items()))),
    "an absent variable is not asked for": ("environments", found(lambda n, u, e: mp.find_pids(n, u, {k: v for k, v in e.items() if v is not None} if e else e))),
    "the last of two equal keys wins": ("environments", by_environment(lambda have, want: all(have.get(k) == v for k, v in want.items()))),
    "keys in any case": ("environments", by_environment(lambda have, want: all({k.lower(): v for k, v in have.items()}.get(k.lower()) == v for k, v in want.items()))),
    "the first 4 KiB of the environment": ("environments", found(only_first_bytes)),
    "zombies have no environment to look at": ("environments", found(lambda n, u, e: [pid for pid in mp.find_pids(n, u, e) if not e or variables(pid)])),
    # Values, units and keys of one process.
    "memory in KiB": ("stats", scaled("memory.rss", KIB)),
    "memory in pages": ("stats", scaled("memory.vms", 1 / 4096)),
    "a share instead of percent": ("stats", scaled("memory.percent", 0.01)),
    "CPU time in ticks": ("stats", scaled("cpu.user", 100)),
    "CPU time with the children's": ("stats", scaled("cpu.system", 1.5)),
    "bytes as characters": ("stats", scaled("io_counters.write_bytes", 2)),
    "one thread too few": ("stats", results(lambda s: {k: v - 1 if k == "threads" else v for k, v in s.items()})),
    "summed switches of threads": ("stats", scaled("ctx_switches.voluntary", 4)),
    "read and write swapped": ("stats", results(lambda s: {{"io_counters.read_count": "io_counters.write_count", "io_counters.write_count": "io_counters.read_count"}.get(k, k): v for k, v in s.items()})),
    "text and data swapped": ("stats", results(lambda s: {{"memory.text": "memory.data", "memory.data": "memory.text"}.get(k, k): v for k, v in s.items()})),
    "a whole number as a float": ("stats", results(lambda s: {k: float(v) if k == "fds" else v for k, v in s.items()})),
    "a float as a whole number": ("stats", results(lambda s: {k: int(v) if k == "cpu.percent" else v for k, v in s.items()})),
    "no memory.lib": ("stats", without("memory.lib")),
    "num_fds for fds": ("stats", renamed("fds", "num_fds")),
    "zeros dropped of one process": ("stats", results(lambda s: {k: v for k, v in s.items() if v}, ["stats_per_pid"])),
    "one more key": ("stats", added("memory.pss", 1)),
    "TCP keys without sockets": ("stats", added("conns.tcp.total", 0)),
    "a Counter for one process": ("stats", module(stats_per_pid=lambda pid: collections.Counter(mp.stats_per_pid(pid)))),
    # Connections.
    "only TCP states that occur": ("connections", results(lambda s: {k: v for k, v in s.items() if v or not k.startswith("conns.")})),
    "a dup'd TCP socket counts twice": ("connections", results(lambda s: {k: v + 2 if k in ("conns.tcp.listen", "conns.tcp.total") else v for k, v in s.items()})),
    "a dup'd unix socket counts once": ("connections", results(lambda s: {k: v - 2 if k == "conns.unix_sockets.total" else v for k, v in s.items()})),
    "unbound UDP sockets count": ("connections", results(lambda s: {k: v + 2 if k == "conns.udp.total" else v for k, v in s.items()})),
    "fin_wait2 as fin_wait1": ("connections", results(lambda s: {{"conns.tcp.fin_wait1": "conns.tcp.fin_wait2", "conns.tcp.fin_wait2": "conns.tcp.fin_wait1"}.get(k, k): v for k, v in s.items()})),
    "v4 alone": ("connections", results(lambda s: {k: v - 1 if k == "conns.tcp.close_wait" else v for k, v in s.items()})),
    # Who is not there.
    "a vanished process raises": ("nobody_there", module(stats_per_pid=raising)),
    "a thread is a process": ("nobody_there", module(stats_per_pid=lambda pid: mp.stats_per_pid(leader(pid)))),
    "a huge PID wraps": ("nobody_there", module(stats_per_pid=lambda pid: mp.stats_per_pid(pid & 0xFFFFFFFF))),
    # Sums.
    "a PID given twice counts once": ("sums", summed(lambda pids: sorted(set(pids)))),
    "the last PID is forgotten": ("sums", summed(lambda pids: pids[:-1])),
    "a kept zero": ("sums", module(multi_pid_process_stats=with_zeros)),
    "a dict for a Counter": ("sums", module(multi_pid_process_stats=lambda pids: dict(mp.multi_pid_process_stats(pids)))),
    "no total_processes": ("sums", without("total_processes")),
    "those not there count as processes": ("nobody_there", module(multi_pid_process_stats=zeros_dropped_first)),
    "cpu.percent in sums": ("sums", added("cpu.percent", 0.0, ["multi_pid_process_stats"])),
    # Patterns.
    "patterns match anywhere": ("patterns", module(stats_per_pid=searching)),
    "patterns are ignored": ("patterns", module(stats_per_pid=lambda pid, metrics_regexes=None: mp.stats_per_pid(pid))),
    "the total is filtered": ("patterns", module(multi_pid_process_stats=lambda pids, metrics_regexes=None: collections.Counter({k: v for k, v in mp.multi_pid_process_stats(pids, metrics_regexes).items() if k != "total_processes"}))),
    # Intervals.
    "fetch_time as a number": ("idle_interval", results(lambda s: {k: float(v) if k == "fetch_time" else v for k, v in s.items()})),
    "fetch_time without the wait": ("idle_interval", instead("fetch_time", "0.00100")),
    "fetch_time with all digits": ("idle_interval", results(lambda s: {k: v + "123" if k == "fetch_time" else v for k, v in s.items()})),
    "connections although left out": ("idle_interval", module(get_processes_stats_ex=lambda *a, include_connections=True, **k: mp.get_processes_stats_ex(*a, **k))),
    "important zeros dropped": ("idle_interval", module(get_processes_stats_ex=lambda *a, keep_important_metrics=False, **k: mp.get_processes_stats_ex(*a, **k))),
    "important zeros always kept": ("idle_interval", module(get_processes_stats_ex=lambda *a, keep_important_metrics=False, **k: mp.get_processes_stats_ex(*a, keep_important_metrics=True, **k))),
    "rates of idle processes kept": ("idle_interval", interval_of(lambda s, o: {"threads_per_sec": 0.0, **s})),
    "rates of one reading": ("no_interval", interval_of(lambda s, o: {**s, "fds_per_sec": 1.0})),
    "cpu.percent of one reading": ("no_interval", interval_of(lambda s, o: {**s, "cpu.percent": 1.0})),
    "an important zero of a wrong type": ("no_members", interval_of(lambda s, o: {k: 0 if v == 0 else v for k, v in s.items()})),
    "one important key less": ("no_members", interval_of(lambda s, o: {k: v for k, v in s.items() if k != "io_counters.read_count"})),
    "a rate too many among the important": ("no_members", interval_of(lambda s, o: {**s, "cpu.user_per_sec": 0.0})),
    "growth, not by the second": ("rates", interval_of(lambda s, o: {k: v * 0.4 if k.endswith("_per_sec") else v for k, v in s.items()})),
    "divided by what was asked": ("rates", interval_of(divided_by_what_was_asked)),
    "totals of the first reading": ("rates", module(get_processes_stats_ex=lambda *a, **k: collections.Counter({**mp.get_processes_stats_ex(*a, **k), "fds": 3}))),
    "a reaped child's bytes missing": ("rates", interval_of(only_own_io)),
    "cpu.percent of all cores": ("rates", scaled("cpu.percent", 0.5)),
    "cpu.percent not rounded": ("rates", scaled("cpu.percent", 1.0001)),
    "a rate of cpu.percent": ("rates", interval_of(lambda s, o: {**s, "cpu.percent_per_sec": 1.0})),
    "a falling sum kept": ("falling", interval_of(lambda s, o: {"fds_per_sec": -5.0, **s})),
    "a falling sum without its sign": ("falling", interval_of(lambda s, o: {"memory.rss_per_sec": 5.0, **s})),
    "inherited bytes counted again": ("reaped_in_bursts", module(get_processes_stats_ex=by_growth_of_processes)),
    "ended members are counted": ("ended_members", interval_of(ended_counted)),
    # Permissions, arguments, resources.
    "an unreadable process raises": ("unreadable", module(stats_per_pid=as_psutil_raises)),
    "an unreadable item is 0": ("unreadable", results(lambda s: {"io_counters.read_bytes": 0, **s} if s else s, ["stats_per_pid"])),
    "an unreadable environment has nothing in it": ("unreadable", by_environment(lambda have, want: all(have.get(k) == v for k, v in want.items()))),
    "a bare string is a list of one": ("refusals", found(lambda n, u, e: mp.find_pids(listed(n), u, e))),
    "wrong PIDs give nothing": ("refusals", module(stats_per_pid=lenient)),
    "True is PID 1": ("refusals", module(stats_per_pid=lambda pid, *a: mp.stats_per_pid(int(pid) if isinstance(pid, bool) else pid, *a))),
    "a negative interval is 0": ("refusals", module(get_processes_stats_ex=lambda *a, interval_sec=1, **k: mp.get_processes_stats_ex(*a, interval_sec=max(interval_sec, 0) if isinstance(interval_sec, (int, float)) else interval_sec, **k))),
    "a leaked descriptor": ("nothing_left_behind", module(stats_per_pid=leaking)),
    "a held GIL": ("others_go_on", module(get_processes_stats_ex=holding_the_gil)),
}


def tasks(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def leader(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))
    except OSError:
        return pid


def known_users():
    import pwd

    return {user.pw_name for user in pwd.getpwall()}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_wrong_variant_is_caught(name, cast):
    check, variant = VARIANTS[name]
    check = getattr(parity, check)
    assert check in parity.CHECKS
    try:
        if check is parity.unreadable and not parity.IS_ROOT:
            pytest.skip("without root there is nobody whose processes are unreadable")
        with pytest.raises((AssertionError, OSError, psutil.Error)):
            check(variant, cast)
    finally:
        while LEAKED:
            LEAKED.pop().close()
        cast.end_all_of_one_check()


def test_there_are_at_least_forty_variants():
    assert len(VARIANTS) >= 40
