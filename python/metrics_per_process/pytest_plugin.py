"""The plugin of pytest: limits on what a test may use, and the fixture ``mpp``.

Loaded by pytest itself, since the wheel names it. Nothing is measured unless a test asks for it
by the mark or the fixture, or ``--mpp-report`` asks for all.
"""

from __future__ import annotations

import warnings
from typing import Any, Dict, Generator, List, Optional, Tuple

from ._native import figure_text
from .limits import Limits, LimitUnknown
from .measuring import Measured, Measurement, measure

try:
    import pytest
    from pytest import StashKey
except ImportError:
    # Without pytest, or with one before 7, this module has nothing to do and does no harm.
    pass
else:
    _MEASUREMENT = StashKey[Measurement]()
    _LIMITS = StashKey[Limits]()
    _ERROR_OF_USE = StashKey[str]()

    #: What the report ranks tests by, and its words for that.
    _RANKED = [("io_counters.write_bytes", "written"), ("memory.peak", "memory at the peak")]

    #: How many tests stand in the report, of each kind.
    _WORST = 10

    #: What the names of properties begin with that a test's report carries.
    _PREFIX = "mpp."

    def pytest_addoption(parser: pytest.Parser) -> None:
        group = parser.getgroup("mpp", "what tests use (metrics-per-process)")
        group.addoption(
            "--mpp-report",
            action="store_true",
            help="measure every test, and list those that wrote most and held most memory",
        )
        group.addoption(
            "--mpp-tier",
            choices=["A", "B", "C"],
            help="see ended processes no better than this: A exact, B bounded, C estimate",
        )

    def pytest_configure(config: pytest.Config) -> None:
        config.addinivalue_line(
            "markers",
            "mpp(**limits): what the test and everything it starts may use, as max_memory="
            "'512MiB', max_write=0, max_cpu='2s', max_fds=100, fail_if='memory.peak > 1GiB', "
            "leaves_no_process=True",
        )
        if config.getoption("--mpp-report"):
            config.pluginmanager.register(_Ranking(), "mpp-ranking")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
        """Reads all limits before the first test runs: what cannot be meant is an error of use."""
        for item in items:
            try:
                limits = _limits(item)
            except (TypeError, ValueError) as error:
                words = f"{item.nodeid}: @pytest.mark.mpp: {error}"
                if not hasattr(config, "workerinput"):
                    raise pytest.UsageError(words) from None
                # A worker of xdist has no way to say so but by the test.
                item.stash[_ERROR_OF_USE] = words
            else:
                if limits is not None:
                    item.stash[_LIMITS] = limits

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(item: pytest.Item) -> None:
        """Fails a test whose limits cannot be meant."""
        words = item.stash.get(_ERROR_OF_USE, None)
        if words is not None:
            pytest.fail(words, pytrace=False)

    def _limits(item: pytest.Item) -> Optional[Limits]:
        """What the marks say, those of module and class too; a nearer one overrides, and None
        takes a limit away."""
        marks = list(item.iter_markers("mpp"))
        if not marks:
            return None
        together: Dict[str, Any] = {}
        fail_if: List[str] = []
        for mark in reversed(marks):
            if mark.args:
                raise TypeError("expected keywords alone, as max_memory='512MiB'")
            keywords = dict(mark.kwargs)
            more = keywords.pop("fail_if", ())
            fail_if += [more] if isinstance(more, str) else list(more)
            together.update(keywords)
        bounds = {word: bound for word, bound in together.items() if bound is not None}
        return Limits(fail_if, **bounds)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
        """Measures the test itself, without what its fixtures do before and after it."""
        limits = item.stash.get(_LIMITS, None)
        is_ranked = bool(item.config.getoption("--mpp-report"))
        is_asked = "mpp" in getattr(item, "fixturenames", ())
        if limits is None and not is_asked and not is_ranked:
            yield
            return
        with _measurement_of(item) as measurement:
            outcome = yield
        measured = measurement.measured
        if is_ranked:
            item.user_properties.extend(_properties(measured))
        try:
            broken = _broken(item, limits, measured)
        except LimitUnknown as unknown:
            # Where warnings are errors.
            broken = [str(unknown)]
        if broken and outcome.excinfo is not None:
            item.add_report_section("call", "mpp", "\n".join(broken))
        elif broken:
            failure = pytest.fail.Exception("\n".join(broken), pytrace=False)
            if not hasattr(outcome, "force_exception"):
                # Before pluggy 1.1 a wrapper raises.
                raise failure
            outcome.force_exception(failure)

    def _measurement_of(item: pytest.Item) -> Measurement:
        if _MEASUREMENT not in item.stash:
            item.stash[_MEASUREMENT] = measure(tier=item.config.getoption("--mpp-tier"))
        return item.stash[_MEASUREMENT]

    def _broken(item: pytest.Item, limits: Optional[Limits], measured: Measured) -> List[str]:
        """A line for each limit that is broken. Of those that nobody can judge it warns."""
        if limits is None or measured._core is None:
            return []
        broken, unknown = limits.check(measured._core)
        path, line, _ = item.location
        for text in unknown:
            warnings.warn_explicit(text, LimitUnknown, path, (line or 0) + 1)
        return broken

    @pytest.fixture
    def mpp(request: pytest.FixtureRequest) -> Measurement:
        """What this test and everything it starts has used so far: figures by attribute,
        ``mpp.left``, and ``mpp.limit(max_write="1MiB")`` to check limits in between."""
        return _measurement_of(request.node)

    def _properties(measured: Measured) -> List[Tuple[str, object]]:
        """What goes with the report of a test, also to the controller of xdist and to JUnit."""
        found = [(name, measured[name], measured.marks.get(name)) for name, _ in _RANKED]
        return [
            (_PREFIX + name, [number, figure_text(name, number, mark)])
            for name, number, mark in found
            if number is not None
        ]

    class _Ranking:
        """The tests that used most."""

        def __init__(self) -> None:
            self._rows: Dict[str, List[Tuple[float, str, str]]] = {}

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when != "call":
                return
            for name, value in report.user_properties:
                if name.startswith(_PREFIX) and isinstance(value, (list, tuple)):
                    number, text = value
                    self._rows.setdefault(name, []).append((number, text, report.nodeid))

        def pytest_terminal_summary(self, terminalreporter: Any) -> None:
            for name, words in _RANKED:
                rows = [row for row in self._rows.get(_PREFIX + name, []) if row[0] > 0]
                if rows:
                    terminalreporter.section(f"mpp: tests with most {words}")
                for _, text, test in sorted(rows, reverse=True)[:_WORST]:
                    terminalreporter.write_line(f"{text:>12}  {test}")
