"""Limits on what a block, a test or a command may use."""

from __future__ import annotations

from . import _native

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Tuple, Union

    #: A number in the metric's unit, or a text such as ``"512MiB"``, ``"2s"`` or ``"150%"``.
    _Bound = Union[int, float, str]

#: What each keyword limits, in the words of ``mpp run --fail-if``.
KEYWORDS: Dict[str, str] = {
    "max_memory": "memory.peak",
    "max_cpu": "cpu.user + cpu.system",
    "max_cpu_percent": "cpu.percent",
    "max_time": "uptime",
    "max_read": "io_counters.read_bytes",
    "max_write": "io_counters.write_bytes",
    "max_read_chars": "io_counters.read_chars",
    "max_write_chars": "io_counters.write_chars",
    "max_read_count": "io_counters.read_count",
    "max_write_count": "io_counters.write_count",
    "max_major_faults": "page_faults.major",
    "max_minor_faults": "page_faults.minor",
    "max_fds": "fds",
    "max_processes": "processes.total",
    "max_ended": "processes.ended",
}

#: The keyword that limits what outlives the measuring.
LEAVES_NO_PROCESS = "leaves_no_process"

#: The keyword for limits in the words of ``mpp run --fail-if``.
FAIL_IF = "fail_if"

#: Of these the figure is the most that was seen at once, and so always a lower bound.
_PEAKS = frozenset(["memory.peak", "fds", "processes.total"])


class LimitBroken(AssertionError):
    """Something used more than it may. The text is what ``mpp run`` prints of it, a line for each
    limit that was broken."""


class LimitUnknown(UserWarning):
    """Nobody can say whether a limit was kept: there is no figure, or only a lower bound."""


class Limits:
    """Some limits, checked when this is made.

    :raises ValueError: a keyword that is none, or a bound that cannot be read.
    :raises TypeError: a bound of another type.
    """

    __slots__ = ("texts", "leaves_no_process")

    texts: List[str]
    leaves_no_process: bool

    def __init__(
        self,
        fail_if: Union[str, Iterable[str]] = (),
        leaves_no_process: bool = False,
        **bounds: _Bound,
    ) -> None:
        self.texts = [fail_if] if isinstance(fail_if, str) else list(fail_if)
        if not isinstance(leaves_no_process, bool):
            found = type(leaves_no_process).__name__
            raise TypeError(f"{LEAVES_NO_PROCESS}: expected True or False, but found {found}")
        self.leaves_no_process = leaves_no_process
        for text in self.texts:
            _native.check_limit(text)
        for keyword, bound in bounds.items():
            self.texts.append(_limit(keyword, bound))

    def check(self, measured: _native.Measured) -> Tuple[List[str], List[str]]:
        """A line for each limit that was broken, and one for each that nobody can judge."""
        broken, unknown = [], []
        for text, (judgement, line) in zip(self.texts, measured.judge(self.texts)):
            if judgement == "broken":
                broken.append(line)
            elif judgement == "unknown":
                unknown.append(line)
            elif judgement == "kept_as_far_as_known" and not _is_of_peak(text):
                unknown.append(line)
        left = measured.left_line() if self.leaves_no_process else None
        if left is not None:
            broken.append(left)
        return broken, unknown


def _limit(keyword: str, bound: _Bound) -> str:
    metric = KEYWORDS.get(keyword)
    if metric is None:
        words = [*KEYWORDS, LEAVES_NO_PROCESS, FAIL_IF]
        closest = _native.closest_word(keyword, words)
        hint = f"did you mean `{closest}`?" if closest else f"there are {', '.join(words)}"
        raise ValueError(f"no limit is called `{keyword}`\n\nhint: {hint}")
    if isinstance(bound, bool) or not isinstance(bound, (int, float, str)):
        found = type(bound).__name__
        raise TypeError(f"{keyword}: expected a number or a str, but found {found}")
    text = f"{metric} > {bound:f}" if isinstance(bound, float) else f"{metric} > {bound}"
    try:
        _native.check_limit(text)
    except ValueError as error:
        raise ValueError(f"{keyword}: {error}") from None
    return text


def _is_of_peak(text: str) -> bool:
    return any(text.startswith(name) for name in _PEAKS)
