"""What the five functions must do, as checks of any module that has them.

Each check takes the module and a cast of processes in known states, and raises
AssertionError. `test_parity.py` runs them on ours, `test_variants.py` on wrong ones.
"""

import collections
import os
import re
import threading
import time
import unittest.mock

import oracle
import psutil
from stage import IS_ROOT, NOBODY, Stage, as_nobody

MIB = 1 << 20


class Cast:
    """The processes of all checks. Names begin with our PID, so that two runs do not meet."""

    def __init__(self, stage: Stage, folder):
        tag = b"%d" % (os.getpid() % 100000)
        self.tag = os.fsdecode(tag)
        self.plain_name = self.tag + "plain"
        self.plain = stage.actor(tag + b"plain", {b"TAG": b"alpha", b"EMPTY": b""})
        self.twin = stage.actor(tag + b"plain", {b"TAG": b"beta", b"ONLY": b"twin"}, threads=3)
        self.other = stage.actor(tag + b"plainer", {b"TAG": b"alpha"}, files=7)
        self.upper = stage.actor(tag + b"PLAIN", {b"tag": b"alpha"})
        self.padded = stage.actor(tag + b" a b \t ", {b"TAG": b" alpha"})
        self.long = stage.actor(tag + b"-a-name-that-is-long")
        self.latin = stage.actor(tag + b"caf\xe9", {b"TAG": b"\xff\xfe", b"K\xe9Y": b"v"})
        # What stands behind it is far beyond 4 KiB.
        self.crowded = stage.actor(
            tag + b"crowded", {b"A%d" % n: b"x" * 4000 for n in range(64)} | {b"ZLAST": b"end"}
        )
        self.writer = stage.actor(
            tag + b"writer", write=2 * MIB, reaped=MIB, burn=0.1, path=str(folder / "writer")
        )
        self.sockets = stage.actor(tag + b"sockets", sockets=True)
        self.parent = stage.actor(tag + b"zombies", zombies=2)
        self.double = stage.sleep(environment=[b"TWICE=first", b"TWICE=second", b"A=b=c"])
        self.stranger = stage.sleep(user=NOBODY) if IS_ROOT else None
        self.folder = folder
        self.stage = stage
        self.started = 0
        self.kept = len(stage.actors)

    def idle(self):
        """PIDs whose values do not change."""
        actors = [
            self.plain, self.twin, self.other, self.padded, self.latin, self.crowded,
            self.writer, self.sockets, self.parent, self.double, self.stranger,
        ]
        return [actor.pid for actor in actors if actor] + self.parent.said["zombies"]

    def actor(self, name, **plan):
        """One more, for a single check."""
        self.started += 1
        plan.setdefault("path", str(self.folder / f"written-{self.started}"))
        return self.stage.actor(os.fsencode(self.tag) + name, **plan)

    def busy(self, **plan):
        """A process that does what it is told."""
        return self.actor(
            b"busy", step_write=3 * MIB, step_reaped=2 * MIB, step_burn=0.15, **plan
        )

    def end_all_of_one_check(self):
        """Ends what a check that failed has left behind."""
        self.end(*self.stage.actors[self.kept :])

    def end(self, *actors):
        for actor in actors:
            self.stage.actors.remove(actor)
            actor.end()


def same(ours, theirs, what=""):
    """The same keys with the same values of the same types."""
    assert sorted(ours) == sorted(theirs), (what, sorted(set(ours) ^ set(theirs)))
    for key, value in theirs.items():
        assert ours[key] == value, (what, key, ours[key], value)
        assert type(ours[key]) is type(value), (what, key, ours[key], value)


def names(mp, cast):
    """Names are the kernel's, whole, right-stripped, exact; any of several will do."""
    plain = sorted([cast.plain.pid, cast.twin.pid])
    assert mp.find_pids(process_names=[cast.plain_name]) == plain
    assert mp.find_pids_from_name(cast.plain_name) == plain
    assert type(mp.find_pids(process_names=[cast.plain_name])) is list
    both = mp.find_pids(process_names=[cast.plain_name, cast.tag + "plainer"])
    assert both == sorted([*plain, cast.other.pid])
    assert mp.find_pids(process_names=(n for n in [cast.tag + " a b"])) == [cast.padded.pid]
    for nobody in [" a b \t ", "plain ", "-a-name-that-is-long", "", "plain*", "(?i)PLAIN", "p"]:
        assert mp.find_pids(process_names=[cast.tag + nobody]) == [], nobody
    cut = (cast.tag + "-a-name-that-is-long")[:15]
    assert mp.find_pids_from_name(cut) == [cast.long.pid]
    assert mp.find_pids_from_name(cast.tag + "caf\udce9") == [cast.latin.pid]
    assert mp.find_pids_from_name(cast.tag + "caf\xe9") == []


def everything(mp, cast):
    """What is not given matches anything."""
    ours = mp.find_pids()
    assert set(cast.idle()) | {1, os.getpid()} <= set(ours)
    assert ours == sorted(set(ours))
    for nothing in [None, [], ()]:
        again = mp.find_pids(process_names=nothing, users=nothing, process_env={})
        assert set(cast.idle()) <= set(again)
    threads = set(os.listdir(f"/proc/{cast.twin.pid}/task")) - {str(cast.twin.pid)}
    assert len(threads) == 3 and not threads & set(map(str, ours))


def users(mp, cast):
    """A user is the effective one, by name; an unknown one matches nobody."""
    me = psutil.Process().username()
    wanted = {"process_names": [cast.plain_name]}
    plain = sorted([cast.plain.pid, cast.twin.pid])
    assert mp.find_pids(users=[me], **wanted) == plain
    assert mp.find_pids(users=["no-such-user", me], **wanted) == plain
    for nobody in [["no-such-user"], [str(os.geteuid())], [me[:-1]], ["\udcff"], ["a\0b"]]:
        assert mp.find_pids(users=nobody, **wanted) == []
    if cast.stranger:
        assert cast.stranger.pid in mp.find_pids(users=["nobody"])
        assert mp.find_pids(users=["nobody"], process_names=["sleep"]) == [cast.stranger.pid]
        assert mp.find_pids(users=["nobody"], **wanted) == []
        assert cast.stranger.pid not in mp.find_pids(users=["root"])


def environments(mp, cast):
    """Every entry must hold: whole values, first of equal keys, None for must not be there."""
    stage = {"STAGE": str(os.getpid())}

    def find(**wanted):
        return set(mp.find_pids(process_env={**stage, **wanted}))

    assert find(TAG="alpha") == {cast.plain.pid, cast.other.pid}
    assert find(TAG="alpha", EMPTY="") == {cast.plain.pid}
    assert find(TAG="beta", ONLY="twin") == {cast.twin.pid}
    assert find(TAG="alpha", ONLY=None) == {cast.plain.pid, cast.other.pid}
    assert find(TAG="alpha", EMPTY=None) == {cast.other.pid}
    assert find(TAG="alph") == find(TAG="alpha ") == find(TAG="lpha") == find(TAG="") == set()
    assert find(tag="alpha") == {cast.upper.pid}
    assert find(TAG=" alpha") == {cast.padded.pid}
    assert find(TAG="\udcff\udcfe") == find(**{"K\udce9Y": "v"}) == {cast.latin.pid}
    assert find(ZLAST="end") == {cast.crowded.pid}
    assert cast.crowded.pid not in find(ZLAST=None)
    named = mp.find_pids(process_names=[cast.plain_name], process_env={"TAG": "beta"})
    assert named == [cast.twin.pid]
    double = {"TWICE": "first"}
    assert mp.find_pids(process_env=double) == [cast.double.pid]
    assert mp.find_pids(process_env={"TWICE": "second"}) == []
    assert mp.find_pids(process_env={**double, "NOWHERE": None, "A": "b=c"}) == [cast.double.pid]
    zombies = set(cast.parent.said["zombies"])
    assert zombies <= set(mp.find_pids(process_env={"STAGE": None}))
    assert not zombies & find()


def stats(mp, cast):
    """One process: psutil's values, keys and types, zeros kept."""
    for pid in cast.idle():
        ours = mp.stats_per_pid(pid=pid)
        same(ours, oracle.stats_per_pid(pid), pid)
        assert type(ours) is dict
    plain = mp.stats_per_pid(cast.plain.pid)
    assert plain["memory.dirty"] == 0 and plain["cpu.percent"] == 0.0
    assert "conns.tcp.total" not in plain and "conns.udp.total" not in plain
    writer = mp.stats_per_pid(cast.writer.pid)
    assert writer["io_counters.write_bytes"] >= 3 * MIB, "the reaped child's are the kernel's too"
    zombie = mp.stats_per_pid(cast.parent.said["zombies"][0])
    assert zombie["memory.rss"] == 0 and zombie["threads"] == 1
    assert mp.stats_per_pid(cast.twin.pid)["threads"] == 4


def connections(mp, cast):
    """Sockets by state, as psutil counts them."""
    ours = mp.stats_per_pid(cast.sockets.pid)
    tcp = {key: value for key, value in ours.items() if key.startswith("conns.tcp.")}
    assert len(tcp) == 13
    assert ours["conns.tcp.listen"] == 3
    assert ours["conns.tcp.fin_wait2"] == ours["conns.tcp.close_wait"] == 2
    assert ours["conns.tcp.syn_sent"] >= 1
    assert ours["conns.tcp.none"] == 0
    assert ours["conns.udp.total"] == 4
    assert ours["conns.unix_sockets.total"] == 6
    same(ours, oracle.stats_per_pid(cast.sockets.pid))


def nobody_there(mp, cast):
    """PIDs that no process bears give nothing."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    thread = next(t for t in os.listdir(f"/proc/{cast.twin.pid}/task") if int(t) != cast.twin.pid)
    for pid in [0, child, 1 << 31, (1 << 32) + cast.plain.pid, 10**30, int(thread)]:
        assert mp.stats_per_pid(pid) == {}, pid
        assert mp.multi_pid_process_stats([pid]) == {}, pid
    both = mp.multi_pid_process_stats([child, cast.plain.pid, 10**30])
    assert both == oracle.multi_pid_process_stats([cast.plain.pid])


def sums(mp, cast):
    """Sums over processes, without what sums to 0."""
    pids = cast.idle()
    for some in [pids, pids[:1], [pids[0], pids[1], pids[0]], pids * 2]:
        ours = mp.multi_pid_process_stats(pids=some)
        same(ours, oracle.multi_pid_process_stats(some))
        assert type(ours) is collections.Counter
        assert ours["total_processes"] == len(some)
        assert all(value > 0 for value in ours.values())
    nothing = mp.multi_pid_process_stats([])
    assert nothing == collections.Counter() and type(nothing) is collections.Counter


def patterns(mp, cast):
    """Patterns choose keys by their beginning; the number of processes always stays."""
    memory = mp.stats_per_pid(cast.plain.pid, metrics_regexes=["memory"])
    assert len(memory) == 8 and all(key.startswith("memory.") for key in memory)
    assert set(mp.stats_per_pid(cast.plain.pid, ["rss", "fds$"])) == {"fds"}
    assert mp.stats_per_pid(cast.plain.pid, []) == mp.stats_per_pid(cast.plain.pid)
    chosen = mp.multi_pid_process_stats([cast.plain.pid], [re.compile(r".*\.user"), "(?!x)thr"])
    assert {"threads", "total_processes"} <= set(chosen) <= {
        "cpu.user", "threads", "total_processes",
    }
    tcp = mp.stats_per_pid(cast.sockets.pid, ["conns.tcp.listen"])
    assert set(tcp) == {"conns.tcp.listen", "conns.tcp.total"}


def idle_interval(mp, cast):
    """Of processes that sleep, totals are psutil's and nothing has a rate."""
    chosen = {"process_names": [cast.plain_name, cast.tag + "sockets", cast.tag + "writer"]}
    for options in [{}, {"include_connections": False}, {"keep_important_metrics": True}]:
        began = time.monotonic()
        ours = mp.get_processes_stats_ex(**chosen, interval_sec=0.15, **options)
        took = time.monotonic() - began
        theirs = oracle.get_processes_stats_ex(**chosen, interval_sec=0.15, **options)
        assert type(ours["fetch_time"]) is str
        assert re.fullmatch(r"\d+\.\d{5}", ours["fetch_time"])
        assert type(ours) is collections.Counter
        assert 0.15 <= float(ours["fetch_time"]) <= took
        same(without_time(ours), without_time(theirs), options)


def no_interval(mp, cast):
    """One reading: no rates."""
    chosen = {"process_names": [cast.plain_name, cast.tag + "sockets"]}
    for options in [{}, {"keep_important_metrics": True}]:
        ours = mp.get_processes_stats_ex(**chosen, interval_sec=0, **options)
        theirs = oracle.get_processes_stats_ex(**chosen, interval_sec=0, **options)
        same(without_time(ours), without_time(theirs), options)
        assert not [key for key in ours if key.endswith("_per_sec")]


def no_members(mp, cast):
    """Nothing selected: only what is kept although it is 0."""
    nobody = {"process_names": [cast.tag + "nobody"]}
    assert set(mp.get_processes_stats_ex(**nobody, interval_sec=0.01)) == {"fetch_time"}
    for interval in [0, 0.01]:
        kept = mp.get_processes_stats_ex(
            **nobody, interval_sec=interval, keep_important_metrics=True
        )
        theirs = oracle.get_processes_stats_ex(
            **nobody, interval_sec=interval, keep_important_metrics=True
        )
        same(without_time(kept), without_time(theirs))


def without_time(stats):
    return {key: value for key, value in stats.items() if key != "fetch_time"}


class During:
    """Measures, and acts while the call waits: the wait is `time.sleep`."""

    def __init__(self, mp, action, **options):
        self.slept = 0.0

        def act_and_sleep(seconds):
            began = time.monotonic()
            action()
            real_sleep(max(0.0, seconds - (time.monotonic() - began)))
            self.slept += time.monotonic() - began

        real_sleep = time.sleep
        with unittest.mock.patch("time.sleep", act_and_sleep):
            self.stats = mp.get_processes_stats_ex(**options)
        self.took = float(self.stats["fetch_time"])
        assert self.slept >= options["interval_sec"]

    def is_rate(self, key, growth):
        """The growth by the second, of an interval between the wait and the whole call."""
        slowest, fastest = sorted([growth / self.took, growth / self.slept])
        rate = self.stats[f"{key}_per_sec"]
        assert slowest * 0.999 - 1e-9 <= rate <= fastest * 1.001 + 1e-9, (key, rate, growth)
        assert type(rate) is float, key


def rates(mp, cast):
    """Rates are the growth of totals by the measured second; a reaped child counts once."""
    busy = cast.busy()
    before = oracle.stats_per_pid(busy.pid)
    name = {"process_names": [cast.tag + "busy"]}
    measured = During(mp, busy.step, **name, interval_sec=0.4)
    after = oracle.stats_per_pid(busy.pid)
    cast.end(busy)
    ours = measured.stats
    totals = {key for key in after if after[key] > 0}
    same({key: ours[key] for key in totals}, {key: after[key] for key in totals})
    # The file system may write a block or two of its own.
    assert 5 * MIB <= after["io_counters.write_bytes"] <= 5 * MIB + (64 << 10)
    for key in ["io_counters.write_bytes", "memory.rss", "memory.vms", "memory.data", "fds", "threads", "memory.percent",
                "conns.unix_sockets.total"]:
        measured.is_rate(key, after[key] - before.get(key, 0))
    burnt = after["cpu.user"] + after["cpu.system"] - before["cpu.user"] - before["cpu.system"]
    most, least = 100 * burnt / measured.slept, 100 * burnt / measured.took
    assert least - 0.1 <= ours["cpu.percent"] <= most + 0.1, (least, ours["cpu.percent"], most)
    assert ours["cpu.percent"] == round(ours["cpu.percent"], 1)
    # The reaped child's CPU time is the group's as well.
    moved = ours.get("cpu.user_per_sec", 0) + ours.get("cpu.system_per_sec", 0)
    assert moved * measured.took >= burnt * 0.999
    assert not {"cpu.percent_per_sec", "total_processes_per_sec", "fetch_time_per_sec"} & set(ours)


def falling(mp, cast):
    """What shrinks in one process takes from what grows in another, and the sum is dropped."""
    grows, shrinks = cast.busy(), cast.busy(shrinks=True)
    shrinks.step()
    name = {"process_names": [cast.tag + "busy"]}
    measured = During(mp, shrinks.step, **name, interval_sec=0.2)
    cast.end(grows, shrinks)
    assert "fds_per_sec" not in measured.stats
    assert "memory.rss_per_sec" not in measured.stats
    assert measured.stats["fds"] > 0


def reaped_in_bursts(mp, cast):
    """What children wrote before the first reading is in no rate, although it is reaped later."""
    busy = cast.actor(b"reaper", holds=True, step_write=0, step_reaped=4 * MIB)
    name = {"process_names": [cast.tag + "reaper"]}
    before = oracle.stats_per_pid(busy.pid)
    measured = During(mp, busy.step, **name, interval_sec=0.2)
    after = oracle.stats_per_pid(busy.pid)
    cast.end(busy)
    key = "io_counters.write_bytes"
    assert after[key] - before[key] >= 4 * MIB, "by psutil's way it would be a burst"
    assert measured.stats.get(f"{key}_per_sec", 0) == 0
    assert measured.stats[key] == after[key]


def ended_members(mp, cast):
    """Who ended in between is in no total; what it did before the first reading in no rate."""
    name = {"process_names": [cast.tag + "busy"]}
    stays, goes = cast.busy(), cast.busy()
    goes.step()
    ours = During(mp, lambda: cast.end(goes), **name, interval_sec=0.1).stats
    same(
        {k: v for k, v in without_time(ours).items() if not k.endswith("_per_sec")},
        oracle.multi_pid_process_stats([stays.pid]) | (
            {"cpu.percent": ours["cpu.percent"]} if "cpu.percent" in ours else {}
        ),
    )
    cast.end(stays)
    assert ours["total_processes"] == 1
    assert ours.get("io_counters.write_bytes_per_sec", 0) == 0


def unreadable(mp, cast):
    """As another user: what may not be read is left out, and nothing is raised."""
    if not IS_ROOT:
        return
    pids = [cast.plain.pid, cast.twin.pid, cast.parent.said["zombies"][0], 1]
    fds = {pid: oracle.stats_per_pid(pid)["fds"] for pid in pids}

    def without_fds(stats):
        # Newer kernels tell their number to everybody, which psutil does not ask for.
        return {key: value for key, value in stats.items() if key != "fds"}

    def read():
        plain = [cast.plain_name]
        for pid in pids:
            ours = mp.stats_per_pid(pid)
            same(without_fds(ours), oracle.stats_per_pid(pid))
            assert ours.get("fds", fds[pid]) == fds[pid]
            assert not [key for key in ours if key.startswith(("io_counters", "conns"))]
        assert mp.stats_per_pid(pids[0])["memory.rss"] > 0
        same(mp.stats_per_pid(cast.stranger.pid), oracle.stats_per_pid(cast.stranger.pid))
        some = [cast.stranger.pid, *pids[:2]]
        ours, theirs = mp.multi_pid_process_stats(some), oracle.multi_pid_process_stats(some)
        same(without_fds(ours), without_fds(theirs))
        assert len(mp.find_pids(process_names=plain)) == 2
        assert mp.find_pids(process_names=plain, process_env={"NOWHERE": None}) == []
        kept = mp.get_processes_stats_ex(plain, interval_sec=0.01, keep_important_metrics=True)
        assert kept["total_processes"] == 2 and kept["io_counters.read_count"] == 0
        return True

    assert as_nobody(read)


def refusals(mp, cast):
    """Wrong arguments raise TypeError or ValueError that say what was expected."""
    pid = cast.plain.pid
    wrong = [
        (TypeError, lambda: mp.find_pids(process_names="foo"), "bare str"),
        (TypeError, lambda: mp.find_pids(users="root"), "bare str"),
        (TypeError, lambda: mp.find_pids(process_names=b"foo"), "bytes"),
        (TypeError, lambda: mp.find_pids(process_names=[b"foo"]), "bytes"),
        (TypeError, lambda: mp.find_pids(process_names=["foo", None]), "None"),
        (TypeError, lambda: mp.find_pids(process_names=7), "int"),
        (TypeError, lambda: mp.find_pids(process_env=["A"]), "dict"),
        (TypeError, lambda: mp.find_pids(process_env={"A": 1}), "str or None"),
        (TypeError, lambda: mp.find_pids(process_env={b"A": "1"}), "str"),
        (TypeError, lambda: mp.find_pids(name=["foo"]), "name"),
        (ValueError, lambda: mp.find_pids(process_names=["\ud800"]), "surrogate"),
        (TypeError, lambda: mp.find_pids_from_name(["foo"]), "str"),
        (TypeError, lambda: mp.find_pids_from_name(None), "str"),
        (ValueError, lambda: mp.stats_per_pid(-1), "negative"),
        (ValueError, lambda: mp.stats_per_pid(-(10**30)), "negative"),
        (TypeError, lambda: mp.stats_per_pid(None), "int"),
        (TypeError, lambda: mp.stats_per_pid(str(pid)), "int"),
        (TypeError, lambda: mp.stats_per_pid(float(pid)), "int"),
        (TypeError, lambda: mp.stats_per_pid(True), "int"),
        (TypeError, lambda: mp.stats_per_pid(pid, "fds"), "bare str"),
        (ValueError, lambda: mp.stats_per_pid(pid, ["("]), "pattern"),
        (TypeError, lambda: mp.multi_pid_process_stats(pid), "list of int"),
        (TypeError, lambda: mp.multi_pid_process_stats(str(pid)), "bare str"),
        (TypeError, lambda: mp.multi_pid_process_stats([pid, None]), "int"),
        (TypeError, lambda: mp.multi_pid_process_stats(None), "list of int"),
        (ValueError, lambda: mp.multi_pid_process_stats([pid, -1]), "negative"),
        (ValueError, lambda: mp.get_processes_stats_ex(interval_sec=-1), "from 0"),
        (ValueError, lambda: mp.get_processes_stats_ex(interval_sec=float("nan")), "from 0"),
        (ValueError, lambda: mp.get_processes_stats_ex(interval_sec=float("inf")), "at most"),
        (TypeError, lambda: mp.get_processes_stats_ex(interval_sec="1"), "float"),
        (TypeError, lambda: mp.get_processes_stats_ex(interval_sec=None), "float"),
        (TypeError, lambda: mp.get_processes_stats_ex(include_connections="no"), "True or False"),
        (TypeError, lambda: mp.get_processes_stats_ex(process_names="foo"), "bare str"),
        (TypeError, lambda: mp.get_processes_stats_ex(interval=1), "interval"),
    ]
    for kind, call, words in wrong:
        try:
            returned = call()
        except kind as error:
            assert words in str(error), (words, error)
        except Exception as error:
            raise AssertionError(f"{kind.__name__} expected, not {error!r}") from error
        else:
            raise AssertionError(f"{kind.__name__} expected, not {returned!r}")


def nothing_left_behind(mp, cast):
    """No descriptor stays open, no thread stays, and the GIL is free while it works."""
    calls = [
        lambda: mp.find_pids(process_names=[cast.plain_name]),
        lambda: mp.stats_per_pid(cast.sockets.pid),
        lambda: mp.multi_pid_process_stats([cast.plain.pid, cast.sockets.pid]),
        lambda: mp.get_processes_stats_ex([cast.plain_name], interval_sec=0.001),
    ]
    for call in calls:
        call()
    before = os.listdir("/proc/self/fd"), os.listdir("/proc/self/task")
    for _ in range(5):
        for call in calls:
            call()
    assert [len(list_) for list_ in before] == [
        len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")),
    ]


def others_go_on(mp, cast):
    """While it waits, other threads run and other calls return."""
    interval, moments, done = 1.0, [], threading.Event()

    def tick():
        while not done.is_set():
            mp.find_pids(process_names=[cast.plain_name])
            moments.append(time.monotonic())
            time.sleep(0.01)

    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.monotonic()
    mp.get_processes_stats_ex([cast.plain_name], interval_sec=interval)
    ended = time.monotonic()
    done.set()
    ticker.join()
    # How often they return says more of how busy the host is; nobody stands still for so long.
    moments = [began, *(moment for moment in moments if began < moment < ended), ended]
    pauses = [later - earlier for earlier, later in zip(moments, moments[1:])]
    assert max(pauses) < 0.75 * interval, pauses


CHECKS = [
    names, everything, users, environments, stats, connections, nobody_there, sums, patterns,
    idle_interval, no_interval, no_members, rates,
    falling, reaped_in_bursts, ended_members, unreadable, refusals,
    nothing_left_behind, others_go_on,
]


