"""What hostile processes can do to the five functions, and what not."""

import json
import os
import subprocess
import time

import metrics_per_process as mp
import oracle
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
