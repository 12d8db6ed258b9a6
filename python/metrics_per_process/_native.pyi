from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union, final
from os import PathLike

__all__ = [
    "interval_seconds",
    "find_pids",
    "get_processes_stats_ex",
    "multi_pid_process_stats",
    "stats_per_pid",
    "PermissionLimited",
    "SelectorError",
    "Measured",
    "Measurement",
    "Meter",
    "check_limit",
    "closest_word",
    "figure_text",
    "closest_metric",
    "metrics",
    "Monitor",
    "Selector",
    "find",
    "run_command",
    "run_command_telling",
    "__version__",
]
__version__: str

class SelectorError(ValueError): ...
class PermissionLimited(PermissionError): ...

_Texts = Union[str, Iterable[str]]
_Pids = Union[int, Iterable[int]]
_Path = Union[str, PathLike[str]]

@final
class Selector:
    def __new__(
        cls,
        *,
        names: Optional[_Texts] = None,
        users: Optional[Union[str, int, Iterable[Union[str, int]]]] = None,
        cmdline: Optional[_Texts] = None,
        env: Optional[Mapping[str, Union[str, bool, None]]] = None,
        pids: Optional[_Pids] = None,
        pid_files: Optional[Union[_Path, Iterable[_Path]]] = None,
        ports: Optional[Union[str, int, Iterable[Union[str, int]]]] = None,
        children_of: Optional[Union[str, int, Iterable[Union[str, int]]]] = None,
        units: Optional[_Texts] = None,
        cgroups: Optional[_Texts] = None,
        exclude: Optional[Union[Selector, str, Iterable[Union[Selector, str]]]] = None,
        children: Optional[bool] = None,
    ) -> Selector: ...
    @staticmethod
    def parse(text: str, /) -> Selector: ...
    @property
    def children(self) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Monitor:
    def __new__(
        cls,
        selector: Optional[Union[Selector, str]],
        metrics: Optional[_Texts],
        tier: Optional[str],
        ends: Optional[str] = None,
    ) -> Monitor: ...
    def sample(self) -> Dict[str, Any]: ...
    def ended(self) -> Dict[str, Any]: ...
    def listen(self) -> None: ...
    def close(self) -> None: ...

@final
class Meter:
    def __new__(cls, tier: Optional[str]) -> Meter: ...
    def begin(self) -> Measurement: ...
    def refusals(self) -> List[str]: ...
    def is_foreign(self) -> bool: ...
    def close(self) -> None: ...

@final
class Measurement:
    def so_far(self) -> Measured: ...
    def is_foreign(self) -> bool: ...
    def close(self) -> None: ...

@final
class Measured:
    def row(self) -> Dict[str, Any]: ...
    def judge(self, limits: Sequence[str]) -> List[Tuple[str, str]]: ...
    def left_line(self) -> Optional[str]: ...

def check_limit(text: str, /) -> None: ...
def closest_word(word: str, candidates: Sequence[str]) -> Optional[str]: ...
def figure_text(name: str, number: float, mark: Optional[str], /) -> str: ...
def find_pids(
    process_names: Optional[Iterable[str]],
    users: Optional[Iterable[str]],
    process_env: Optional[Mapping[str, Optional[str]]],
) -> List[int]: ...
def stats_per_pid(pid: int) -> Dict[str, Union[int, float, str]]: ...
def multi_pid_process_stats(pids: Iterable[int]) -> Dict[str, Union[int, float, str]]: ...
def get_processes_stats_ex(
    process_names: Optional[Iterable[str]],
    users: Optional[Iterable[str]],
    process_env: Optional[Mapping[str, Optional[str]]],
    interval_sec: float,
    keep_important_metrics: bool,
    include_connections: bool,
) -> Dict[str, Union[int, float, str]]: ...
def find(
    selector: Union[Selector, str], children: bool
) -> Tuple[List[Tuple[int, str, int, bool]], int, bool]: ...
def metrics() -> List[Dict[str, Any]]: ...
def closest_metric(name: str, /) -> Optional[str]: ...
def interval_seconds(interval: float, /) -> float: ...
def run_command(arguments: Sequence[bytes]) -> int: ...
def run_command_telling(arguments: Sequence[bytes]) -> Tuple[int, bytes]: ...
