"""Processes in known states, for as long as a test wants them."""

import json
import os
import pathlib
import subprocess
import sys

ACTOR = pathlib.Path(__file__).parent / "actor.py"
IS_ROOT = os.geteuid() == 0
NOBODY = 65534

#: The environment of every actor, unless told otherwise: small, and known.
ENVIRONMENT = {b"PATH": os.fsencode(os.environ["PATH"]), b"STAGE": b"%d" % os.getpid()}


class Actor:
    """One process that lives until it is told to end."""

    def __init__(self, name=None, environment=None, **plan):
        if name is not None:
            plan["name"] = name.hex()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(ACTOR), json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**ENVIRONMENT, **(environment or {})},
        )
        self.pid = self.process.pid
        self.said = json.loads(self.process.stdout.readline())

    def step(self):
        """Lets it do what its plan says for one step."""
        self.process.stdin.write(b"step\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"done\n"

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class SleepOf:
    """A `sleep` of another user, or with an environment that no dict can hold."""

    def __init__(self, user=None, environment=None):
        words = ["sleep", "600"]
        ready, say_ready = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if user is not None:
                    os.setgroups([])
                    os.setgid(user)
                    os.setuid(user)
                if environment is None:
                    os.execvpe(words[0], words, dict(ENVIRONMENT))
                exec_with(words, environment)
            finally:
                os._exit(127)
        # The pipe closes with the exec.
        os.close(say_ready)
        os.read(ready, 1)
        os.close(ready)

    def end(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def exec_with(words, environment):
    """execve(2) with this list of `KEY=VALUE`, equal keys and all."""
    import ctypes
    import shutil

    def array(texts):
        return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)

    path = os.fsencode(shutil.which(words[0]))
    ctypes.CDLL(None).execve(path, array([os.fsencode(word) for word in words]), array(environment))


class Stage:
    """A set of actors."""

    def __init__(self):
        self.actors = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for actor in self.actors:
            actor.end()

    def actor(self, name=None, environment=None, **plan):
        self.actors.append(Actor(name, environment, **plan))
        return self.actors[-1]

    def sleep(self, user=None, environment=None):
        self.actors.append(SleepOf(user, environment))
        return self.actors[-1]


def as_nobody(body):
    """Runs `body` in a forked child as `nobody` and returns what it returned, as JSON would."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                answer = {"returned": body()}
            except BaseException as error:  # noqa: BLE001: the parent is to see it
                answer = {"raised": f"{type(error).__name__}: {error}"}
            with os.fdopen(write_end, "w") as out:
                json.dump(answer, out)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer_of_child:
        answer = json.loads(answer_of_child.read() or '{"raised": "it died"}')
    os.waitpid(child, 0)
    assert "raised" not in answer, answer["raised"]
    return answer["returned"]
