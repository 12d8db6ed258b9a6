"""Running a command, and what everything that it started used."""

from __future__ import annotations

import os
import sys

from . import _native
from .figures import Figures
from .found import find
from .measuring import _check_tier

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import (
        IO, Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, NoReturn, Optional, Sequence, Tuple,
        Union,
    )

    _Word = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
    _Stream = Union[None, int, IO[Any]]

    class _Judged(NamedTuple):
        limit: str
        judgement: str
        found: Optional[float]
else:
    from collections import namedtuple

    _Judged = namedtuple("_Judged", ["limit", "judgement", "found"])

#: What `mpp run` exits with where it fails itself, and where the command cannot be executed or is
#: not there; as env(1).
_OWN_FAILURE, _NOT_EXECUTABLE, _NOT_FOUND = 125, 126, 127

#: Seconds that the tree has to end by itself after Ctrl-C, as subprocess.run(3) gives a child.
_GRACE = 0.25

#: Runs the command `mpp` in an interpreter that neither the environment nor the folder of the
#: measured command leads astray. The first argument is where this package lies; the second is
#: where to say what failed: stderr is the command's. The third is `LC_CTYPE` behind an `=`, or
#: empty where there is none: an interpreter sets it for itself, and the command would inherit that,
#: PEP 538.
_RUNNER = """
import os, sys
folder, failure, locale = sys.argv[1:4]
if locale:
    os.environ["LC_CTYPE"] = locale[1:]
else:
    os.environ.pop("LC_CTYPE", None)
sys.path.insert(0, folder)
sys.argv[0:4] = ["mpp"]
from metrics_per_process._command import main_telling
sys.exit(main_telling(failure))
"""


class Judged(_Judged):
    """A limit and what became of it, as a tuple with names.

    - ``limit``: as it was given.
    - ``judgement``: ``kept``, ``broken``, ``kept_as_far_as_known`` or ``unknown``.
    - ``found``: the figure; None where it is unknown.
    """

    __slots__ = ()


class Program(Figures):
    """What the processes of one program did in a run. Frozen.

    Some of the metrics: ``processes.ended``, ``cpu.user``, ``cpu.system``, ``memory.peak``,
    ``io_counters.read_bytes`` and ``io_counters.write_bytes``.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """Its command name; bytes that are not UTF-8 stand as ``\\xHH``."""
        name: str = self._row["name"]
        return name

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self._known()}>"

    def __reduce__(self) -> Any:
        return (_restored_program, (self._row,))


class RunReport(Figures):
    """What a command and everything that it started used, daemons included. Frozen.

    By attribute, ``report.io.write_bytes``, or by dotted name. Counters are what the whole tree
    did; of what rises and falls (``memory.peak``, ``fds``, ``processes.total``) it is the most
    that was seen at once. ``json`` is what ``mpp run -o`` wrote: ``schema/run-1.json``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a RunReport is made by run()")

    @property
    def args(self) -> Tuple[_Word, ...]:
        """The command and its arguments."""
        return tuple(self._row["args"])

    @property
    def returncode(self) -> int:
        """What it ended with, as in subprocess: negative for a signal. 1 where the command succeeded
        and broke a limit."""
        returncode: int = self._row["returncode"]
        return returncode

    @property
    def status(self) -> Optional[int]:
        """What the command exited with; None where a signal ended it."""
        status: Optional[int] = self.json["status"]
        return status

    @property
    def signal(self) -> Optional[int]:
        """The number of the signal that ended the command; None where it exited."""
        number: Optional[int] = self.json["signal"]
        return number

    @property
    def stdout(self) -> Any:
        """What it wrote there, where that was captured: bytes, or text; else None."""
        return self._row["stdout"]

    @property
    def stderr(self) -> Any:
        """The same of its errors; ``mpp run`` adds a line for each limit that is not kept."""
        return self._row["stderr"]

    @property
    def json(self) -> Dict[str, Any]:
        """The report as ``mpp run -o`` writes it."""
        report: Dict[str, Any] = self._row["json"]
        return report

    @property
    def elapsed(self) -> float:
        """Seconds from the start of the command to the end of the last process."""
        seconds: float = self.json["interval_sec"]
        return seconds

    @property
    def command_elapsed(self) -> float:
        """Seconds from the start of the command to its own end."""
        seconds: float = self.json["command_sec"]
        return seconds

    @property
    def largest_process_rss(self) -> Optional[int]:
        """The most resident memory that a single process ever had, in bytes."""
        count: Optional[int] = self.json["largest_process_rss"]
        return count

    @property
    def programs(self) -> Tuple[Program, ...]:
        """Each program that was seen, the busiest first."""
        return tuple(_restored_program(row) for row in self._row["programs"])

    @property
    def left(self) -> Tuple[Tuple[int, str], ...]:
        """PID and name of each process that outlived the measuring, ascending by PID."""
        return tuple((one["pid"], one["name"]) for one in self.json["still_running"])

    @property
    def limits(self) -> Tuple[Judged, ...]:
        """Each limit of `fail_if`, and what became of it."""
        return tuple(
            Judged(one["limit"], one["judgement"], one["found"]) for one in self.json["limits"]
        )

    def check_returncode(self) -> None:
        """Raises subprocess.CalledProcessError, with this as its ``report``, where ``returncode``
        is not 0."""
        if self.returncode:
            # Costly to import, and loaded already where this was made.
            import subprocess

            error = subprocess.CalledProcessError(
                self.returncode, list(self.args), self.stdout, self.stderr
            )
            error.report = self  # type: ignore[attr-defined]
            raise error

    def __repr__(self) -> str:
        return f"<RunReport returncode={self.returncode} elapsed={self.elapsed:.3f} {self._known()}>"

    def __reduce__(self) -> Any:
        return (_restored, (self._row,))


def run(
    command: Sequence[_Word],
    *,
    stdin: _Stream = None,
    input: Optional[Union[bytes, str]] = None,
    stdout: _Stream = None,
    stderr: _Stream = None,
    capture_output: bool = False,
    text: bool = False,
    cwd: Optional[_Word] = None,
    env: Optional[Mapping[Any, Any]] = None,
    timeout: Optional[float] = None,
    check: bool = False,
    fail_if: Union[str, Iterable[str]] = (),
    wait: Optional[float] = None,
    tier: Optional[str] = None,
) -> RunReport:
    """Runs a command as subprocess.run, and returns what it and all it started used.

    It is ``mpp run`` that starts the command and measures: exact without privileges in I/O, CPU
    time, faults and switches of everything that is waited for, and daemons stay in the tree.

    :param command: the command and its arguments.
    :param input: what it reads; `stdin`, `stdout`, `stderr`, `capture_output`, `text`, `cwd` and
        `env` are those of subprocess.run.
    :param timeout: seconds after which the whole tree is killed.
    :param check: raise where the command fails or a limit is broken.
    :param fail_if: limits, in the words of ``mpp run --fail-if``: ``"memory.peak > 4GiB"``.
    :param wait: seconds to wait for what the command leaves running; None for as long as it runs.
    :param tier: promise no more than this tier.
    :raises FileNotFoundError: there is no such command. `mpp run` says 127.
    :raises PermissionError: it cannot be executed. `mpp run` says 126.
    :raises OSError: nothing could be measured. `mpp run` says 125.
    :raises subprocess.TimeoutExpired: with the attribute ``report``, what was used until then.
    :raises subprocess.CalledProcessError: with `check`; its ``report`` is what was used.
    :raises ValueError: a limit that is none, or arguments that exclude each other.
    """
    # Costly to import, and rarely needed.
    import subprocess
    import tempfile

    words = list(command) if not isinstance(command, (str, bytes)) else None
    if not words:
        raise TypeError("command: expected a list of words, and at least one")
    limits = [fail_if] if isinstance(fail_if, str) else list(fail_if)
    for limit in limits:
        _native.check_limit(limit)
    _check_tier(tier)
    streams = _streams(subprocess.PIPE, stdin, input, stdout, stderr, capture_output)
    with tempfile.TemporaryDirectory(prefix="mpp-run-") as folder:
        output = os.path.join(folder, "report.json")
        failure = os.path.join(folder, "failure")
        process = subprocess.Popen(
            [*_runner(failure, env), *_options(output, limits, wait, tier), "--", *words],
            cwd=cwd, env=env, text=text or None, **streams,
        )
        with process:
            out, err, has_expired = _communicate(process, input, timeout)
        report = _report(output, words, process.returncode, out, err)
        why = _read(failure) if report is None else None
    if has_expired:
        expired = subprocess.TimeoutExpired(words, timeout or 0, out, err)
        expired.report = report  # type: ignore[attr-defined]
        raise expired
    if report is None:
        _refuse(process.returncode, words[0], why)
    if check:
        report.check_returncode()
    return report


def _runner(failure: str, env: Optional[Mapping[Any, Any]]) -> List[str]:
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = os.environ if env is None else env
    values = [value for name, value in environment.items() if os.fsencode(name) == b"LC_CTYPE"]
    locale = "=" + os.fsdecode(values[0]) if values else ""
    return [sys.executable, "-I", "-c", _RUNNER, folder, failure, locale]


def _options(
    output: str, limits: List[str], wait: Optional[float], tier: Optional[str]
) -> List[str]:
    options = ["run", "--quiet", "--output", output]
    for limit in limits:
        options += ["--fail-if", limit]
    if wait is not None:
        seconds = _native.interval_seconds(wait)
        options += ["--wait", f"{seconds:f}s"] if seconds else ["--no-wait"]
    return options if tier is None else [*options, "--tier", tier]


def _streams(
    pipe: int,
    stdin: _Stream,
    input: Optional[Union[bytes, str]],
    stdout: _Stream,
    stderr: _Stream,
    capture_output: bool,
) -> Dict[str, Any]:
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input exclude each other")
        stdin = pipe
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr exclude capture_output")
        stdout = stderr = pipe
    return {"stdin": stdin, "stdout": stdout, "stderr": stderr}


def _communicate(
    process: subprocess.Popen[Any], input: Optional[Union[bytes, str]], timeout: Optional[float]
) -> Tuple[Any, Any, bool]:
    """Waits for the end, and sees to it that there is one; returns what was written, and whether
    it took too long."""
    import subprocess

    try:
        out, err = process.communicate(input, timeout)
        return out, err, False
    except subprocess.TimeoutExpired:
        _end_tree(process)
        out, err = process.communicate()
        return out, err, True
    except BaseException:
        # Ctrl-C: from a terminal the tree has had it, too.
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _end_tree(process)
        raise


def _end_tree(process: subprocess.Popen[Any]) -> None:
    """Kills everything below `mpp run`, which then reports and ends. Nobody gets away: orphans are
    handed to it."""
    import signal
    import subprocess

    for _ in range(1000):
        for pid, descriptor in _held(f"children-of:{process.pid}"):
            try:
                if descriptor is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                # It became somebody else's, as sudo(8) does.
                pass
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        try:
            process.wait(0.01)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()


def _held(selector: str) -> List[Tuple[int, Optional[int]]]:
    """Those that match, each with a descriptor that names it even when its PID is another's."""
    held: Dict[int, Optional[int]] = {}
    for one in find(selector):
        try:
            held[one.pid] = os.pidfd_open(one.pid)
        except ProcessLookupError:
            continue
        except (AttributeError, OSError):
            held[one.pid] = None
    # Whoever matches still is the one whose descriptor was opened.
    still = {one.pid for one in find(selector)}
    for pid, descriptor in list(held.items()):
        if pid not in still:
            del held[pid]
            if descriptor is not None:
                os.close(descriptor)
    return list(held.items())


def _report(
    output: str, words: List[_Word], returncode: int, out: Any, err: Any
) -> Optional[RunReport]:
    """What `mpp run` wrote; None where it wrote nothing."""
    # Costly to import, and loaded by nobody else.
    import json

    text = _read(output)
    if not text:
        return None
    report = json.loads(text)
    return _restored({
        **_row(report),
        "tier": report["tier"],
        "lost": report["lost"],
        "args": words,
        "returncode": returncode,
        "stdout": out,
        "stderr": err,
        "programs": [{**_row(one), "name": one["name"]} for one in report["programs"]],
        "json": report,
    })


def _read(path: str) -> Optional[bytes]:
    """What stands in a file; None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _row(group: Dict[str, Any]) -> Dict[str, Any]:
    """Figures as all reports have them: every metric there is has a value or a reason."""
    values: Dict[str, Optional[float]] = dict.fromkeys(_names())
    why = dict.fromkeys(values, "a run does not have it")
    for name, value in group["metrics"].items():
        values[name] = value
        why.pop(name, None)
    why.update(group["why"])
    return {
        "tier": "", "lost": 0, "values": values, "marks": group["accuracy"], "why": why,
    }


def _names() -> Iterator[str]:
    for metric in _native.metrics():
        yield metric["name"]
        if metric["kind"] == "counter":
            yield metric["name"] + "_per_sec"


def _restored(row: Dict[str, Any]) -> RunReport:
    report = RunReport.__new__(RunReport)
    report._fill(row)
    return report


def _restored_program(row: Dict[str, Any]) -> Program:
    program = Program.__new__(Program)
    program._fill(row)
    return program


def _refuse(returncode: int, word: _Word, why: Optional[bytes]) -> NoReturn:
    """Raises what `mpp run` could not do."""
    import errno

    if returncode == _NOT_FOUND:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(word))
    if returncode == _NOT_EXECUTABLE:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(word))
    said = (why or b"").decode(errors="replace").strip()
    kind = "cannot measure" if returncode == _OWN_FAILURE else "ended without a report"
    raise OSError(f"`mpp run`: {kind}: {said or f'status {returncode}'}")
