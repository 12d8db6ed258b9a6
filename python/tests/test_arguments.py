"""Any argument gives an answer, a TypeError or a ValueError, and nothing else."""

import math

import metrics_per_process as mp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
#: Text as names and environments hold it: bytes that are not UTF-8 by surrogate escape.
NAMES = st.binary(max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape"))
QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)


def is_list_of_text(value):
    return value is None or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ) or (isinstance(value, dict) and all(isinstance(item, str) for item in value))


def refused(call):
    """Whether it raised TypeError or ValueError, with words."""
    try:
        call()
    except (TypeError, ValueError) as error:
        assert str(error)
        return True
    return False


@QUICK
@given(ANYTHING)
def test_pids_are_whole_numbers_from_0_on(value):
    is_pid = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    assert refused(lambda: mp.stats_per_pid(value)) == (not is_pid)


@QUICK
@given(ANYTHING)
def test_lists_of_pids_hold_nothing_else(value):
    is_list = isinstance(value, (list, dict)) and all(
        isinstance(pid, int) and not isinstance(pid, bool) and pid >= 0 for pid in value
    )
    assert refused(lambda: mp.multi_pid_process_stats(value)) == (not is_list)


@QUICK
@given(ANYTHING)
def test_names_and_users_are_lists_of_text(value):
    for keyword in ["process_names", "users"]:
        assert refused(lambda: mp.find_pids(**{keyword: value})) == (not is_list_of_text(value))


@QUICK
@given(ANYTHING)
def test_environments_are_dicts_of_text(value):
    is_one = value is None or (
        isinstance(value, dict) and all(v is None or isinstance(v, str) for v in value.values())
    )
    names = ["no such name"]
    assert refused(lambda: mp.find_pids(names, process_env=value)) == (not is_one)


@QUICK
@given(ANYTHING)
def test_intervals_are_numbers_from_0_on(value):
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and (0 < value <= 1e9):
        return  # It would wait so long.
    call = lambda: mp.get_processes_stats_ex(["no such name"], interval_sec=value)  # noqa: E731
    assert refused(call) == (not is_number or math.isnan(value) or value != 0)


@QUICK
@given(ANYTHING)
def test_flags_are_true_or_false(value):
    is_flag = isinstance(value, (bool, int, float)) and value in (0, 1)
    for keyword in ["keep_important_metrics", "include_connections"]:
        call = lambda: mp.get_processes_stats_ex(["-"], interval_sec=0, **{keyword: value})  # noqa: B023, E731
        assert refused(call) == (not is_flag)


@QUICK
@given(st.lists(NAMES, min_size=1), st.lists(NAMES, min_size=1), st.dictionaries(NAMES, NAMES | st.none(), min_size=1))
def test_any_name_is_looked_for(names, users, environment):
    everybody = set(mp.find_pids())
    for found in [mp.find_pids(names), mp.find_pids(None, users), mp.find_pids(names, users, environment)]:
        assert found == sorted(set(found))
        assert len(set(found) - everybody) < 50


@QUICK
@given(st.text())
def test_any_text_is_a_selector_or_a_selector_error(text):
    try:
        selector = mp.Selector.parse(text)
    except mp.SelectorError as error:
        assert str(error)
    else:
        assert mp.Selector.parse(str(selector)) == selector
        assert hash(mp.Selector.parse(str(selector))) == hash(selector)
