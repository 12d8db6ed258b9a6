"""The command ``mpp``, as the wheel brings it along."""

import os
import signal
import sys

from . import _native


def main() -> int:
    """Runs ``mpp`` with this process's arguments and returns what to exit with."""
    _leave_signals()
    return _native.run_command([os.fsencode(argument) for argument in sys.argv])


def main_telling(path: str) -> int:
    """As `main`, with the words for what failed in a file and not on stderr; no file where nothing
    did."""
    _leave_signals()
    arguments = [os.fsencode(argument) for argument in sys.argv]
    status, failure = _native.run_command_telling(arguments)
    if failure:
        with open(path, "wb") as file:
            file.write(failure)
    return status


def _leave_signals() -> None:
    # The command has its own way with Ctrl-C; Python's would wait for the command to return.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Python ignores this one, and a command that is run would inherit that.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
