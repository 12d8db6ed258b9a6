"""A process in a known state: takes a plan as JSON, says `ready`, and lives until its input ends.

Run by `stage.py`, always in a process of its own.
"""

import ctypes
import json
import os
import socket
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
TCP_FIN_WAIT2 = 5


def set_name(name):
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NAME, name, 0, 0, 0)


def open_sockets(kept):
    """Sockets of all kinds and in all states that two ends in one process can be in."""
    for family, host in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((host, 0))
        listener.listen(8)
        address = listener.getsockname()

        def pair():
            client = socket.create_connection(address[:2])
            server, _ = listener.accept()
            kept.extend([client, server])
            return client, server

        pair()
        half_closed, _ = pair()
        half_closed.shutdown(socket.SHUT_WR)  # FIN_WAIT2 here, CLOSE_WAIT there
        while half_closed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_FIN_WAIT2:
            time.sleep(0.001)
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.bind((host, 0))
        unbound = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((host, 0))
        connected_udp = socket.socket(family, socket.SOCK_DGRAM)
        connected_udp.connect(udp.getsockname()[:2])
        unbound_udp = socket.socket(family, socket.SOCK_DGRAM)
        kept.extend([listener, bound, unbound, udp, connected_udp, unbound_udp])
        kept.extend([listener.dup(), udp.dup()])
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    kept.append(full)
    for _ in range(4):  # The queue holds one or two; the others stay in SYN_SENT.
        waiting = socket.socket()
        waiting.setblocking(False)
        waiting.connect_ex(full.getsockname())
        kept.append(waiting)
    unix = socket.socketpair()
    named = socket.socket(socket.AF_UNIX)
    named.bind(b"\0mpp-stage-%d" % os.getpid())
    named.listen(1)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    kept.extend([*unix, named, datagram, unix[0].dup(), datagram.dup()])


def open_forging_socket(kept):
    """An abstract socket whose name forges lines of the kernel's text tables."""
    forged = socket.socket(socket.AF_UNIX)
    forged.bind(b"\0x\n0000: 00000002 00000000 00010000 0001 01 1 y\n" + b"%d" % os.getpid())
    forged.listen(1)
    kept.append(forged)


def overwrite_environment():
    """Writes a title over the environment, as setproctitle(3) does."""
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b") ")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(b"worker: idle".ljust(end - start, b"\0"))


def fork_with_title():
    """Forks a child that overwrites its environment and lives until its parent ends."""
    ready, say_ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
            overwrite_environment()
            os.write(say_ready, b"r")
            threading.Event().wait()
        finally:
            os._exit(1)
    os.read(ready, 1)
    return child


def step(plan, kept, held):
    """Writes, reaps a child that wrote, burns CPU, and grows in memory, files and threads."""
    if held:
        os.waitpid(held.pop(), 0)
        return
    if plan.get("shrinks") and kept:
        kept.clear()
        return
    write(plan["path"], plan["step_write"])
    child = os.fork()
    if child == 0:
        write(plan["path"] + ".child", plan["step_reaped"])
        os._exit(0)
    os.waitpid(child, 0)
    burn(plan["step_burn"])
    kept.append(bytearray(os.urandom(1 << 20) * 8))
    kept.extend(open(os.devnull) for _ in range(5))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    kept.append(socket.socketpair())


def write(path, count):
    with open(path, "wb") as out:
        out.write(os.urandom(count))
        out.flush()
        os.fsync(out.fileno())


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def main():
    plan = json.loads(sys.argv[1])
    kept = []
    for _ in range(plan.get("files", 0)):
        kept.append(open(os.devnull))
    if plan.get("sockets"):
        open_sockets(kept)
    if plan.get("forging_socket"):
        open_forging_socket(kept)
    for _ in range(plan.get("threads", 0)):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if plan.get("write"):
        write(plan["path"], plan["write"])
    burn(plan.get("burn", 0))
    zombies = []
    for _ in range(plan.get("zombies", 0)):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        zombies.append(child)
    if plan.get("reaped"):
        child = os.fork()
        if child == 0:
            write(plan["path"], plan["reaped"])
            os._exit(0)
        os.waitpid(child, 0)
    held = []
    if plan.get("holds"):
        child = os.fork()
        if child == 0:
            write(plan["path"], plan["step_reaped"])
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        held.append(child)
    if "name" in plan:
        set_name(bytes.fromhex(plan["name"]))
    titled = fork_with_title() if plan.get("titled_fork") else None
    sys.stdout.write(json.dumps({"ready": True, "zombies": zombies, "titled": titled}) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        step(plan, kept, held)
        sys.stdout.write("done\n")
        sys.stdout.flush()


main()
