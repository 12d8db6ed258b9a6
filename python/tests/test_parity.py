"""Our five functions against psutil's values, key by key and type by type."""

import metrics_per_process as mp
import parity
import pytest


@pytest.mark.parametrize("check", parity.CHECKS, ids=lambda check: check.__name__)
def test_ours_pass(check, cast):
    try:
        check(mp, cast)
    finally:
        cast.end_all_of_one_check()
