"""The command ``mpp``, as the wheel brings it along."""

import os
import signal
import sys

from . import _native


def main() -> int:
    """Runs ``mpp`` with this process's arguments and returns what to exit with."""
    # The command has its own way with Ctrl-C; Python's would wait for the command to return.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Python ignores this one, and a command that is run would inherit that.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    return _native.run_command([os.fsencode(argument) for argument in sys.argv])
