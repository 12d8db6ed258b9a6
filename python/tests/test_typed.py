"""The typed interface: selectors, samples, samplers, and the table."""

import asyncio
import os
import pickle
import subprocess
import sys

import metrics_per_process as mp
import pytest
from stage import IS_ROOT, as_nobody

MIB = 1 << 20


def check_selector(expected, **keywords):
    selector = mp.Selector(**keywords)
    assert str(selector) == expected
    assert mp.Selector.parse(expected) == selector


def test_selectors_by_keywords_have_a_text_form():
    check_selector("name:foo name:bar user:max", names=["foo", "bar"], users="max")
    check_selector("env:TAG=x !env:OTHER env:ANY", env={"TAG": "x", "OTHER": None, "ANY": True})
    check_selector("!env:GONE", env={"GONE": False})
    check_selector("pid:1,2 children:no", pids=[1, 2], children=False)
    check_selector("pid:7", pids=7)
    check_selector("user:0", users=0)
    check_selector("cmdline:--shard=1", cmdline="--shard=1")
    check_selector("!name:curl", exclude="name:curl")
    check_selector("!name:curl", exclude=[mp.Selector(names="curl")])
    check_selector("children-of:init", children_of="init")
    check_selector("unit:nginx.service", units="nginx")
    check_selector("port:80,443,8000-8010", ports=[80, "443", "8000-8010"])
    check_selector("port:8080", ports=8080)


def test_selectors_are_values():
    one, two = mp.Selector(names="a"), mp.Selector.parse("name:a")
    assert one == two and hash(one) == hash(two) and one != mp.Selector(names="b")
    assert one != "name:a" and eval(repr(one), {"Selector": mp.Selector}) == one
    assert one.children and not mp.Selector(names="a", children=False).children


def check_refused(kind, words, call):
    with pytest.raises(kind, match=words or None):
        call()


def test_wrong_selectors_say_what_was_expected():
    check_refused(mp.SelectorError, "did you mean `name`", lambda: mp.Selector.parse("nmae:foo"))
    check_refused(mp.SelectorError, "", lambda: mp.Selector(pids="x"))
    check_refused(mp.SelectorError, "", lambda: mp.Selector(cmdline="("))
    check_refused(mp.SelectorError, "a port from 1 to 65535", lambda: mp.Selector(ports=0))
    check_refused(mp.SelectorError, "65536", lambda: mp.Selector(ports=[65536]))
    check_refused(mp.SelectorError, "9-8", lambda: mp.Selector(ports="9-8"))
    check_refused(mp.SelectorError, "no-such-user", lambda: mp.show("user:no-such-user", 0))
    check_refused(mp.SelectorError, "", lambda: mp.show(mp.Selector(pid_files="missing"), 0))
    check_refused(TypeError, "names", lambda: mp.Selector(names=b"a"))
    check_refused(TypeError, "names", lambda: mp.Selector(names=[None]))
    check_refused(TypeError, "env", lambda: mp.Selector(env={"A": 1}))
    check_refused(TypeError, "name", lambda: mp.Selector(name="a"))
    check_refused(TypeError, "", lambda: mp.Selector("name:a"))
    check_refused(TypeError, "selector", lambda: mp.show(7, 0))
    check_refused(TypeError, "interval", lambda: mp.show("pid:1", "1"))
    check_refused(ValueError, "interval", lambda: mp.show("pid:1", -1))
    check_refused(ValueError, "above 0", lambda: mp.Sampler("pid:1", 0))
    check_refused(ValueError, "memory.rss", lambda: mp.show("pid:1", 0, metrics="memory.rs"))
    check_refused(ValueError, "tier", lambda: mp.show("pid:1", 0, tier="D"))
    assert issubclass(mp.SelectorError, ValueError)
    assert issubclass(mp.PermissionLimited, PermissionError)


def test_find_tells_who_and_why(cast):
    found = mp.find(mp.Selector(names=cast.tag + "zombies"))
    assert [(p.pid, p.name, p.uid, p.matched) for p in found] == [
        (cast.parent.pid, cast.tag + "zombies", os.geteuid(), True)
    ]
    family = mp.find(f"pid:{cast.parent.pid}", children=True)
    zombies = sorted(cast.parent.said["zombies"])
    assert [p.pid for p in family if not p.matched] == zombies
    assert mp.find(mp.Selector(names=cast.tag + "caf\udce9"))[0].name == cast.tag + "caf\udce9"
    assert mp.find("name:no-such-name") == []
    assert os.getpid() not in [p.pid for p in mp.find("name:*")]


@pytest.mark.parametrize(
    "selecting",
    [
        lambda: mp.Selector(),
        lambda: mp.Selector(children=False),
        lambda: mp.Selector(names=[]),
        lambda: mp.Selector(names=[], users=["root"]),
        lambda: mp.Selector(names=["nginx"], env={}),
        lambda: mp.Selector(pid_files=[], pids=1),
        lambda: mp.Selector.parse(""),
        lambda: mp.find(""),
        lambda: mp.show(" ", 0),
        lambda: mp.Sampler(""),
        lambda: mp.ended("", seconds=0.1),
    ],
)
def test_a_selector_that_says_nothing_is_refused(selecting):
    with pytest.raises(mp.SelectorError, match="found none"):
        selecting()


def test_a_sample_has_attributes_and_names(cast):
    sample = mp.show(f"pid:{cast.twin.pid}", interval=0)
    assert sample.threads == sample["threads"] == 4
    assert sample.memory.rss == sample["memory.rss"] > MIB
    assert sample.processes.total == sample.matched == 1 and sample.descendants == 0
    assert sample.interval is None and sample.io.write_bytes_per_sec is None
    assert "io_counters.write_bytes_per_sec" in sample.why
    assert sample.memory.pss is None and "not requested" in sample.why["memory.pss"]
    assert sample.tier in "ABC" and sample.lost == 0
    assert sample.lost_records == 0 and sample.io_bound_bytes == 0
    assert (sample.unreadable, sample.undecided) == (0, 0), dict(sample.why)
    assert not sample.partial
    assert sample.fds_worst_percent is not None
    assert set(sample) == set(dict(sample)) and len(sample) > 60
    assert set(sample.why) == {name for name, value in sample.items() if value is None}
    assert sample == pickle.loads(pickle.dumps(sample)) and hash(sample)
    assert abs(sample.datetime.timestamp() - sample.time) < 1e-3
    assert str(sample.matched) in repr(sample)


def test_every_metric_is_an_attribute(cast):
    sample = mp.show(f"pid:{cast.sockets.pid}", interval=0)
    for name in sample:
        words = name.replace("io_counters", "io").replace("fds.worst", "fds_worst").split(".")
        value = sample
        for word in words:
            value = getattr(value, word)
        assert value == sample[name], name
    assert sample.conns.tcp.listen == 3


def test_samples_are_frozen():
    sample = mp.show(f"pid:{os.getpid()}", interval=0)
    for change in [
        lambda: setattr(sample, "tier", "A"),
        lambda: setattr(sample, "new", 1),
        lambda: delattr(sample, "_row"),
        lambda: setattr(sample.io, "read_bytes", 1),
    ]:
        check_refused(AttributeError, "", change)
    for change in [
        lambda: sample.__setitem__("fds", 1),
        lambda: sample.why.__setitem__("fds", ""),
        lambda: mp.Sample(),
    ]:
        check_refused((AttributeError, TypeError), "", change)
    check_refused(KeyError, "did you mean `memory.rss`", lambda: sample["memory.rs"])
    check_refused(KeyError, "int", lambda: sample[7])
    assert sample.get("no.such.name") is None


def test_rates_come_from_the_ledger(cast):
    busy = cast.busy()
    try:
        with mp.Sampler(f"pid:{busy.pid}", interval=0.5, metrics="io,cpu") as samples:
            busy.step()
            sample = next(samples)
            assert sample.interval is not None and sample.io.write_bytes_per_sec is not None
            written = sample.io.write_bytes_per_sec * sample.interval
            assert 5 * MIB - 1 < written < 5 * MIB + (64 << 10)
            assert sample.memory.rss is None
            assert next(samples).io.write_bytes_per_sec == 0
    finally:
        cast.end_all_of_one_check()


def test_rounded_records_have_a_bound():
    with mp.Sampler(f"pid:{os.getpid()}", interval=0.2, metrics="io", tier="B") as samples:
        subprocess.run(["true"], check=True)
        sample = next(samples)
        if sample.tier == "B":
            # One thread ended, and its record is rounded down to whole KiB.
            assert 0 < sample.io_bound_bytes <= 1023 * 2
            assert sample.accuracy["io_counters.read_bytes"] == "bound"
        else:
            assert sample.tier == "C" and sample.io_bound_bytes == 0
            assert sample.accuracy["io_counters.read_bytes"] == "estimate"
        assert sample.marks == sample.accuracy and sample.lost_records == 0


def test_a_sampler_ends_when_it_is_closed():
    samples = mp.Sampler(f"pid:{os.getpid()}", interval=0.01)
    assert iter(samples) is samples
    assert [next(samples).matched for _ in range(3)] == [1, 1, 1]
    samples.close()
    samples.close()
    assert list(samples) == []


def test_a_sampler_can_be_awaited():
    async def take():
        taken, ticks = [], []

        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(tick())
        with mp.Sampler(f"pid:{os.getpid()}", interval=0.1) as samples:
            async for sample in samples:
                taken.append(sample)
                if len(taken) == 2:
                    break
        ticker.cancel()
        assert len(ticks) >= 5
        return taken

    taken = asyncio.run(take())
    assert [sample.matched for sample in taken] == [1, 1]
    assert all(sample.interval > 0.05 for sample in taken)


def test_what_cannot_be_read_is_said(cast):
    if not IS_ROOT:
        pytest.skip("without root there is nobody whose processes are unreadable")

    def read():
        selector = f"pid:{cast.plain.pid},{cast.stranger.pid}"
        sample = mp.show(selector, interval=0)
        assert sample.partial and sample.unreadable == 1
        assert sample.marks["io_counters.read_bytes"] == "lower_bound"
        alone = mp.show(f"pid:{cast.plain.pid}", interval=0)
        assert alone.io.read_bytes is None
        assert alone.why["io_counters.read_bytes"] == "permission denied"
        check_refused(mp.PermissionLimited, "doctor", lambda: mp.show(selector, 0, strict=True))
        check_refused(
            mp.PermissionLimited, "", lambda: mp.find("env:NO_SUCH_VARIABLE", strict=True)
        )
        return mp.show(f"pid:{cast.stranger.pid}", 0, strict=True).matched

    assert as_nobody(read) == 1


def test_the_table_is_the_commands():
    table = {metric.name: metric for metric in mp.metrics()}
    rss = table["memory.rss"]
    assert (rss.unit, rss.kind, rss.type, rss.drop_in) == ("bytes", "gauge", "integer", "memory.rss")
    assert rss.help and rss.source and rss.privilege is None
    assert table["io_counters.write_bytes"].privilege.endswith("KiB a thread with CAP_NET_ADMIN")
    assert table["memory.pss"].privilege == "CAP_SYS_PTRACE"
    assert table["io_counters.write_bytes"].kind == "counter"
    assert {m.drop_in for m in mp.metrics() if m.drop_in} >= {"total_processes", "conns.tcp.none"}


def test_the_command_comes_along(cast):
    run = subprocess.run(
        [sys.executable, "-m", "metrics_per_process", "find", f"--pid={cast.plain.pid}"],
        stdout=subprocess.PIPE, check=True,
    )
    assert run.stdout.split() == [b"%d" % cast.plain.pid]
    wrong = subprocess.run([sys.executable, "-m", "metrics_per_process", "fnd"], stderr=subprocess.PIPE)
    assert wrong.returncode == 2 and b"find" in wrong.stderr
