"""Compare runs, sweeps, evaluations: ``python compare.py sweeps/orapo/2026-01-31_12-00-00 --page results.html``."""

import sys

from orapo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
