"""What all tests share."""

import pytest
from parity import Cast
from stage import Stage


@pytest.fixture(scope="session")
def cast(tmp_path_factory):
    """Processes in known states."""
    with Stage() as stage:
        yield Cast(stage, tmp_path_factory.mktemp("written"))


@pytest.fixture
def stage():
    """Processes of one test."""
    with Stage() as stage:
        yield stage
