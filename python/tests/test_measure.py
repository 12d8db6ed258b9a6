"""What a block is said to have used, against what it is known to have used."""

import asyncio
import ctypes
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import metrics_per_process as mp
import pytest
from stage import IS_ROOT, as_nobody

MIB = 1 << 20

#: Root has all tiers; anybody else is told that there is none but the last.
TIERS = ["A", "B", "C"] if IS_ROOT else ["C"]

PR_SET_DUMPABLE = 4

#: File systems write a few blocks of their own for a file.
METADATA = 128 << 10


@pytest.fixture
def folder():
    """A folder on a disk: what is written to memory alone is counted otherwise."""
    import tempfile

    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(__file__))) as folder:
        yield folder


def child(body):
    """Forks a child that runs `body`, and returns its PID. It runs nothing else."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid


def write(path, count):
    """Writes so many bytes by calls of 64 KiB."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    part = bytes(64 << 10)
    for _ in range(count // len(part)):
        os.write(out, part)
    os.close(out)


def check_written(measured, count, ended):
    """Whether so many bytes were written by so many that ended, as far as the tier promises."""
    chars, stored = measured.io.write_chars, measured.io.write_bytes
    mark = measured.accuracy.get("io_counters.write_chars")
    if measured.tier == "A":
        assert (chars, measured.ended, mark) == (count, ended, None), measured
        assert count <= stored <= count + METADATA, measured
    elif measured.tier == "B":
        assert count - measured.io_bound_bytes <= chars <= count, measured
        assert measured.ended == ended and mark in ("bound", None), measured
        assert 0 <= measured.io_bound_bytes <= 1023 * ended
    else:
        assert mark == "estimate" and "processes.ended" in measured.accuracy, measured
        assert measured.ended <= ended


@pytest.mark.parametrize("tier", TIERS)
def test_what_a_child_wrote_is_counted_once(folder, tier):
    path = os.path.join(folder, "file")
    with mp.measure(tier=tier) as m:
        pid = child(lambda: write(path, 8 * MIB))
        os.waitpid(pid, 0)
    assert m.tier == tier and m.started <= 1 and m.left == ()
    check_written(m.measured, 8 * MIB, 1)
    assert m.io.write_chars == 8 * MIB or tier == "B"


@pytest.mark.parametrize("tier", TIERS)
def test_forty_short_writers_are_forty(folder, tier):
    with mp.measure(tier=tier) as m:
        for number in range(40):
            os.waitpid(child(lambda: write(os.path.join(folder, str(number)), MIB)), 0)
    check_written(m.measured, 40 * MIB, 40)
    # What is waited for reaches us whatever the tier.
    assert abs(m.io.write_chars - 40 * MIB) <= m.measured.io_bound_bytes, m.measured
    assert m.started == 40 or (tier == "C" and m.started <= 40)


@pytest.mark.parametrize("tier", TIERS)
def test_children_that_nobody_waits_for_are_exact_with_records_only(folder, tier):
    path = os.path.join(folder, "file")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with mp.measure(tier=tier) as m:
            pid = child(lambda: write(path, 8 * MIB))
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    check_written(m.measured, 8 * MIB, 1)


def wait_until(is_so, seconds=30):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never is"
        time.sleep(0.005)


@pytest.mark.parametrize("tier", TIERS)
def test_a_daemon_belongs_to_the_block_that_started_it(folder, tier):
    path = os.path.join(folder, "file")
    pid_file = os.path.join(folder, "pid")

    def daemon():
        os.setsid()
        pid = child(lambda: (time.sleep(0.5), write(path, 8 * MIB), time.sleep(600)))
        with open(pid_file + ".new", "w") as out:
            out.write(str(pid))
        os.rename(pid_file + ".new", pid_file)
        # Whoever polls must see them together once.
        time.sleep(0.3)

    with mp.measure(tier=tier) as m:
        os.waitpid(child(daemon), 0)
        with open(pid_file) as file:
            pid = int(file.read())
        try:
            wait_until(lambda: os.path.exists(path) and os.stat(path).st_size == 8 * MIB)
            left = m.left
            with pytest.raises(mp.LimitBroken) as broken:
                m.limit(leaves_no_process=True)
        finally:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert [one[0] for one in left] == [pid], left
    assert str(pid) in str(broken.value) and left[0][1] in str(broken.value)
    assert "limit BROKEN: leaves no process: 1 process still runs" in str(broken.value)
    assert 8 * MIB <= m.io.write_bytes <= 8 * MIB + METADATA, m.measured
    assert m.left == ()
    m.limit(leaves_no_process=True)


@pytest.mark.parametrize("tier", TIERS)
def test_who_lived_before_counts_with_its_growth_alone(stage, folder, tier):
    plan = {"path": os.path.join(folder, "file"), "step_write": MIB, "step_reaped": MIB,
            "step_burn": 0, "write": 4 * MIB}
    actor = stage.actor(**plan)
    with mp.measure(tier=tier) as m:
        actor.step()
        left = m.left
    assert left == ()
    assert 2 * MIB - 2048 <= m.io.write_chars <= 2 * MIB + 4096, m.measured
    with mp.measure(tier=tier) as nothing:
        pass
    assert nothing.io.write_chars == 0 and nothing.started == 0, nothing.measured


@pytest.mark.parametrize("tier", TIERS)
def test_memory_is_the_most_that_all_held_at_once(tier):
    size = 100 * MIB
    code = f"held = b'x' * {size}; print(flush=True); input()"
    own = mp.stats_per_pid(os.getpid())["memory.rss"]
    with mp.measure(tier=tier) as m:
        held = [
            subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) for _ in range(2)
        ]
        for one in held:
            one.stdout.readline()
        time.sleep(0.3)
        for one in held:
            one.communicate(b"\n")
        assert m.processes.total == 3
    # Each is an interpreter besides.
    assert own + 2 * size < m.memory.peak < own + 3 * size, m.measured
    assert m.accuracy["memory.peak"] == "lower_bound"


def test_cpu_time_is_the_block_and_not_what_measuring_takes():
    # The clock of this thread knows nothing of other threads.
    before = time.thread_time()
    with mp.measure() as m:
        begin = time.thread_time()
        while time.thread_time() < begin + 0.5:
            pass
        inside = time.thread_time() - begin
    around = time.thread_time() - before
    used = m.cpu.user + m.cpu.system
    assert 0.9 * inside < used < 1.1 * around, (inside, around, m.measured)
    is_read_at_once = m.measured.tier == "A"
    assert m.measured.own_cpu > 0
    assert m.accuracy.get("cpu.user") == (None if is_read_at_once else "estimate")
    assert m.cpu.percent == pytest.approx(100 * used / m.elapsed, rel=0.01)


def test_descriptors_of_the_measuring_thread_are_not_seen():
    before = len(os.listdir("/proc/self/fd"))
    with mp.measure() as m:
        assert len(os.listdir("/proc/self/fd")) == before
        kept = [open(os.devnull) for _ in range(30)]
        time.sleep(0.2)
    assert before + 28 <= m.fds <= before + 32
    for file in kept:
        file.close()


def test_blocks_may_be_nested_and_run_in_several_threads(folder):
    def work(number, results):
        with mp.measure() as m:
            write(os.path.join(folder, f"thread-{number}"), MIB)
        results.append(m.io.write_chars)

    with mp.measure() as outer:
        with mp.measure() as inner:
            write(os.path.join(folder, "inner"), MIB)
        write(os.path.join(folder, "outer"), MIB)
        results = []
        threads = [threading.Thread(target=work, args=(n, results)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert inner.io.write_chars == MIB, inner.measured
    assert outer.io.write_chars == 6 * MIB, outer.measured
    assert len(results) == 4 and all(MIB <= written <= 4 * MIB for written in results), results


def test_an_exception_goes_on_and_the_block_is_measured(folder):
    m = mp.measure()
    with pytest.raises(KeyError, match="mine"):
        with m:
            write(os.path.join(folder, "file"), MIB)
            raise KeyError("mine")
    assert m.io.write_chars == MIB
    # Used again, it begins anew.
    with m:
        write(os.path.join(folder, "file"), 2 * MIB)
    assert m.io.write_chars == 2 * MIB


def test_a_figure_can_be_read_while_the_block_runs(folder):
    with mp.measure() as m:
        assert m.io.write_chars == 0
        write(os.path.join(folder, "file"), MIB)
        first = m.measured
        write(os.path.join(folder, "file"), MIB)
        assert (first["io_counters.write_chars"], m["io_counters.write_chars"]) == (MIB, 2 * MIB)
    assert first.elapsed < m.elapsed and m.io.write_chars == 2 * MIB


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_child_the_block_is_inert():
    with mp.measure() as m:
        ready, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            try:
                said = b""
                try:
                    m.measured
                except RuntimeError as error:
                    said = str(error).encode()
                m.__exit__(None, None, None)
                with mp.measure() as own:
                    os.write(os.open(os.devnull, os.O_WRONLY), bytes(1000))
                os.write(say, said + b" %d" % own.io.write_chars)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        said = os.read(ready, 1000)
    # Its reading of the pipe's other end is not what it wrote in its own block.
    assert b"forked child" in said and said.endswith(b" 1000"), said
    assert m.started == 1 or m.tier == "C"


def test_decorated_functions_are_measured_whatever_their_kind(folder):
    seen = []
    path = os.path.join(folder, "file")

    @mp.measure(then=seen.append)
    def plain(count):
        """Writes."""
        write(path, count)
        return count

    @mp.measure()
    async def awaited(count):
        await asyncio.sleep(0.01)
        write(path, count)
        return count

    @mp.measure()
    def generated(count):
        for _ in range(2):
            write(path, count)
            yield count

    @mp.measure()
    async def generated_later(count):
        for _ in range(2):
            await asyncio.sleep(0)
            write(path, count)
            yield count

    async def gather():
        return [count async for count in generated_later(MIB)]

    assert plain(MIB) == MIB and plain.__doc__ == "Writes." and plain.__name__ == "plain"
    assert plain.measured.io.write_chars == MIB and seen == [plain.measured]
    assert asyncio.run(awaited(MIB)) == MIB and awaited.measured.io.write_chars >= MIB
    assert awaited.measured.elapsed >= 0.01
    assert list(generated(MIB)) == [MIB, MIB] and generated.measured.io.write_chars == 2 * MIB
    assert asyncio.run(gather()) == [MIB, MIB]
    assert generated_later.measured.io.write_chars >= 2 * MIB
    assert plain(2 * MIB) and [one.io.write_chars for one in seen] == [MIB, 2 * MIB]


def check_limits(m, expected, **limits):
    """What is said of limits that are broken; None where all are kept."""
    if expected is None:
        m.limit(**limits)
        return
    with pytest.raises(mp.LimitBroken) as broken:
        m.limit(**limits)
    assert isinstance(broken.value, AssertionError)
    assert str(broken.value).splitlines() == expected


def test_limits_say_what_the_command_says(folder):
    with mp.measure() as m:
        write(os.path.join(folder, "file"), MIB)
    check_limits(m, None, max_write_chars=MIB, max_memory="4GiB", max_cpu="60s", max_fds=100000)
    check_limits(
        m, ["limit BROKEN: io_counters.write_chars > 1000: found 1.00MiB"], max_write_chars=1000
    )
    check_limits(
        m,
        ["limit BROKEN: uptime >= 0s: found " + mp.measuring._native.figure_text(
            "uptime", m.elapsed, None)],
        fail_if="uptime >= 0s",
    )
    with pytest.raises(mp.LimitBroken) as broken:
        m.limit(fail_if=["cpu.user + cpu.system >= 0s", "memory.peak > 1KiB"], max_processes=0)
    first, second, third = str(broken.value).splitlines()
    # Exact where what measuring takes is read at the same moment, and then it bears no mark.
    found = m.measured.accuracy.get("cpu.user")
    assert found == (None if m.measured.tier == "A" else "estimate")
    mark = "" if found is None else "~"
    assert re.fullmatch(
        rf"limit BROKEN: cpu\.user \+ cpu\.system >= 0s: found {mark}[0-9.]+m?s", first
    ), first
    assert second.startswith("limit BROKEN: memory.peak > 1KiB: found >=")
    assert third == "limit BROKEN: processes.total > 0: found >=1"


def check_refused(kind, words, **limits):
    with mp.measure() as m:
        with pytest.raises(kind, match=words):
            m.limit(**limits)


def test_limits_that_are_none_say_what_was_expected():
    check_refused(ValueError, "did you mean `max_memory`", max_memroy="1MiB")
    check_refused(ValueError, "max_memory: expected a size", max_memory="1MX")
    check_refused(ValueError, "max_cpu: expected a time", max_cpu="fast")
    check_refused(ValueError, "did you mean `memory.peak`", fail_if="memory.peek > 1")
    check_refused(ValueError, "cannot be added up", fail_if="memory.peak + fds > 1")
    check_refused(TypeError, "max_memory: expected a number or a str", max_memory=None)
    check_refused(TypeError, "max_fds", max_fds=True)
    check_refused(TypeError, "True or False", leaves_no_process="yes")
    with pytest.raises(ValueError, match="tier"):
        mp.measure(tier="D")
    with pytest.raises(RuntimeError, match="has not begun"):
        mp.measure().measured
    with pytest.raises(TypeError):
        mp.Measured()


def test_what_was_measured_is_a_frozen_mapping():
    with mp.measure() as m:
        pass
    measured = m.measured
    assert measured == pickle.loads(pickle.dumps(measured)) and hash(measured)
    assert set(measured) == {*mp.show(f"pid:{os.getpid()}", 0)}
    assert measured.memory.pss is None and "stretch of time" in measured.why["memory.pss"]
    assert set(measured.why) == {name for name, value in measured.items() if value is None}
    assert (measured.lost, measured.lost_records, measured.failed_looks) == (0, 0, 0)
    assert measured.uptime == pytest.approx(measured.elapsed) and not measured.partial
    with pytest.raises(AttributeError):
        measured.tier = "A"
    with pytest.raises(TypeError, match="another process"):
        pickle.loads(pickle.dumps(measured)).limit(max_fds=0)


def test_without_privileges_it_says_what_it_cannot_know(folder):
    if not IS_ROOT:
        pytest.skip("without root nobody can become somebody else")

    def measure():
        with mp.measure() as m:
            os.write(os.open(os.devnull, os.O_WRONLY), bytes(1000))
        import warnings

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            m.limit(max_write_chars=0, max_write=0)
        # Who has changed the user may not read its own I/O any more.
        return [
            m.tier, m.io.write_chars, m.why["io_counters.write_chars"], len(m.measured.refusals),
            [str(one.message) for one in warned], warned[0].category.__name__, m.memory.peak > MIB,
        ]

    tier, written, why, refusals, said, kind, has_memory = as_nobody(measure)
    assert (tier, written, why, kind, has_memory) == ("C", None, "permission denied", "LimitUnknown", True)
    assert refusals >= 2
    assert said == [
        "limit unknown: io_counters.write_chars > 0: permission denied",
        "limit unknown: io_counters.write_bytes > 0: permission denied",
    ]


def test_a_user_without_privileges_measures_its_own():
    if not IS_ROOT:
        pytest.skip("without root nobody can become somebody else")

    def measure():
        # As a program that this user has started: its own files in /proc are its own.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        with mp.measure() as m:
            null = os.open(os.devnull, os.O_WRONLY)
            os.waitpid(child(lambda: os.write(null, bytes(1000))), 0)
        m.limit(max_write_chars=1000)
        return [m.tier, m.io.write_chars, m.accuracy["io_counters.write_chars"], m.left]

    assert as_nobody(measure) == ["C", 1000, "estimate", []]


def test_the_thread_ends_after_a_while():
    def meters():
        names = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read().strip())
        return names.count("mpp-meter")

    with mp.measure(tier="C"):
        assert meters() >= 1
    wait_until(lambda: meters() == 0)
    with mp.measure(tier="C") as m:
        assert meters() == 1
    assert m.tier == "C"
