"""``python -m metrics_per_process`` is the command ``mpp``."""

import sys

from ._command import main

if __name__ == "__main__":
    sys.argv[0] = "mpp"
    sys.exit(main())
