"""What hostile processes can do to the five functions, and what not."""

import json
import os
import signal
import subprocess
import threading
import time
import warnings

import metrics_per_process as mp
import oracle
import psutil
import pytest
from stage import Stage


@pytest.fixture
def load():
    """Starts a scenario of `mpp-load` and ends it again."""
    program = os.environ.get("MPP_LOAD")
    if not program:
        pytest.fail("MPP_LOAD must name the program mpp-load: run `cargo xtask python`")
    started = []

    def start(*words):
        process = subprocess.Popen([program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return json.loads(process.stdout.readline())

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@pytest.fixture
def held():
    """A process that holds its mmap lock for ever, with `HELD=x`; None where there can be none."""
    program = os.environ.get("MMAP_LOCK_HOLDER")
    if not program:
        pytest.fail("MMAP_LOCK_HOLDER must name the program: run `cargo xtask python`")
    words, environment = [program, "mpp-py-held"], {**os.environ, "HELD": "x"}
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    line = holder.stdout.readline()
    yield int(line) if line else None
    holder.stdin.close()
    holder.stdout.close()
    # It says by its status that it needs CAP_SYS_ADMIN and /dev/fuse.
    assert holder.wait() == (0 if line else 3)


#: Seconds: far more than any call takes, and far less than one that hangs.
LONG = 60


def returns(call):
    """What a call returns, made in a thread, so that one that hangs fails instead."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(call()), daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive(), "it hangs"
    return returned[0]


def test_a_process_that_holds_its_mmap_lock_holds_nobody_up(held, stage):
    name = ["mpp-py-held"]
    free = stage.actor(b"mpp-py-free", {b"HELD": b"x"})
    both = [*name, "mpp-py-free"]
    for _ in range(3):
        assert returns(lambda: mp.find_pids(both, process_env={"HELD": "x"})) == [free.pid]
        # Of an environment that nobody can read, nobody knows what is not in it.
        assert returns(lambda: mp.find_pids(both, process_env={"NOWHERE": None})) == [free.pid]
    if held is None:
        assert mp.find_pids(name) == []
        return
    assert returns(lambda: mp.find_pids(name)) == [held]
    assert returns(lambda: mp.find_pids_from_name(name[0])) == [held]
    stats = returns(lambda: mp.stats_per_pid(held))
    assert stats["memory.rss"] > 0 and stats["threads"] == 2
    assert returns(lambda: mp.multi_pid_process_stats([held, free.pid]))["total_processes"] == 2
    assert returns(lambda: mp.get_processes_stats_ex(name, interval_sec=0.01))["total_processes"] == 1
    with_variable = returns(lambda: mp.get_processes_stats_ex(both, None, {"HELD": "x"}, 0.01))
    assert with_variable["total_processes"] == 1
    selector = "name:mpp-py-held name:mpp-py-free env:HELD=x"
    for _ in range(2):
        sample = alone_undecided(selector)
        assert sample.partial and sample.marks["processes.total"] == "lower_bound"
    with pytest.raises(mp.PermissionLimited, match=r"whether \d+ process(es)? should be here"):
        mp.show(selector, 0, strict=True)
    assert returns(lambda: mp.show("name:mpp-py-held", 0))["threads"] == 2
    # Threads that hang in it are not one a call.
    wait_for_readers(1)


def alone_undecided(selector):
    """A sample in which nobody is undecided but the one that hangs: of a stranger that has just
    begun, what it is called may not be known for a moment either."""
    deadline = time.monotonic() + LONG
    while True:
        sample = returns(lambda: mp.show(selector, 0))
        assert sample.undecided >= 1, sample
        if (sample.matched, sample.undecided) == (1, 1):
            return sample
        assert time.monotonic() < deadline, sample


def wait_for_readers(count):
    """Waits until no more than so many of our threads read, or hang in it."""
    deadline = time.monotonic() + LONG
    while readers() > count:
        assert time.monotonic() < deadline, f"{readers()} threads read"
        time.sleep(0.01)


def readers():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read().strip())
        except OSError:  # it has ended
            continue
    return sum(name in ("mpp-reader", "mpp-scan") for name in names)


def test_in_a_forked_child_nobody_hangs(held, stage):
    free = stage.actor(b"mpp-py-free", {b"HELD": b"x"})
    names = ["mpp-py-held", "mpp-py-free"]
    assert returns(lambda: mp.find_pids(names, process_env={"HELD": "x"})) == [free.pid]

    def body():
        before = readers()
        found = mp.find_pids(names, process_env={"HELD": "x"})
        wait_for_readers(1)
        return before, found, readers()

    # The child finds out for itself, with a thread of its own.
    assert in_child(body) == [0, [free.pid], 0 if held is None else 1]


def in_child(body):
    """What `body` returns in a forked child, as JSON would."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # This program has threads; what the child does is made for that.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            signal.alarm(LONG)
            os.write(write_end, json.dumps(body()).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@pytest.mark.parametrize(
    "name",
    [b"Threads:\t9999", b"Uid:\t0\t0\t0", b") R 1 1 1", b"a\nb \x1b[31m", b"caf\xc3", b"\xff\xfe)(", b"VmRSS:\t1 kB"],
)
def test_a_name_says_nothing_but_itself(name, stage):
    actor = stage.actor(name, threads=2)
    stats = mp.stats_per_pid(actor.pid)
    assert stats["threads"] == 3
    assert stats["memory.rss"] == oracle.stats_per_pid(actor.pid)["memory.rss"]
    assert mp.find_pids_from_name(name.decode("utf-8", "surrogateescape")) == [actor.pid]


def test_a_socket_name_forges_no_connection(stage):
    victim = stage.actor(b"mpp-victim", sockets=True)
    before = mp.stats_per_pid(victim.pid, ["conns"])
    assert before["conns.tcp.listen"] == 3
    forger = stage.actor(b"mpp-forger", forging_socket=True)
    assert mp.stats_per_pid(victim.pid, ["conns"]) == before
    assert mp.stats_per_pid(forger.pid)["conns.unix_sockets.total"] == 1


def test_a_process_without_its_main_thread_is_alive(load):
    said = load("leaderless")
    stats = mp.stats_per_pid(said["notable_pid"])
    assert stats["memory.rss"] > said["resident_bytes"]
    assert stats["threads"] == 2
    assert stats["fds"] > 0


def test_an_endless_environment_matches_nothing_and_stops_nobody(load):
    pid = load("huge-text")["pid"]
    began = time.monotonic()
    assert pid not in mp.find_pids(process_env={"NO_SUCH_VARIABLE": None})
    assert pid not in mp.find_pids(process_env={"A": "b"})
    assert time.monotonic() - began < 10
    assert mp.stats_per_pid(pid)["memory.rss"] > 0


def test_a_fork_that_wrote_over_its_environment_has_its_parents(stage):
    parent = stage.actor(b"mpp-titled", {b"TITLED": b"yes"}, titled_fork=True)
    both = sorted([parent.pid, parent.said["titled"]])
    names = ["mpp-titled"]
    assert mp.find_pids(process_env={"TITLED": "yes"}) == both
    assert mp.find_pids(names, process_env={"TITLED": "yes", "NOWHERE": None}) == both
    assert mp.find_pids(names, process_env={"TITLED": None}) == []
    assert mp.get_processes_stats_ex(names, None, {"TITLED": "yes"}, 0)["total_processes"] == 2


def test_what_is_no_variable_hides_none(stage):
    odd = stage.sleep(environment=[b"no variable", b"ODD=x", b"=", b"EMPTY="])
    for wanted in [{"ODD": "x"}, {"ODD": "x", "NOWHERE": None}, {"ODD": "x", "EMPTY": ""}]:
        assert mp.find_pids(process_env=wanted) == [odd.pid]
        assert odd.pid in oracle.find_pids(process_env=wanted)
        assert psutil_matches(odd.pid, wanted)
    assert mp.find_pids(process_env={"ODD": "x", "EMPTY": None}) == []


def psutil_matches(pid, wanted):
    variables = psutil.Process(pid).environ()
    return all(variables.get(key) == value for key, value in wanted.items())


def test_thousands_of_descriptors_are_counted(load):
    stats = mp.stats_per_pid(load("descriptors", "--count", "5000")["pid"])
    assert stats["fds"] >= 5000


def test_hundreds_of_zombies_are_zombies(stage):
    parent = stage.actor(b"mpp-zombies", zombies=300)
    zombies = parent.said["zombies"]
    assert set(zombies) <= set(mp.find_pids(process_env={"STAGE": None}))
    sums = mp.multi_pid_process_stats(zombies)
    assert sums["total_processes"] == sums["threads"] == 300
    assert "memory.rss" not in sums


def test_two_stages_do_not_meet(stage):
    with Stage() as other:
        first, second = stage.actor(b"mpp-one"), other.actor(b"mpp-two")
        assert mp.find_pids(["mpp-one", "mpp-two"]) == sorted([first.pid, second.pid])
