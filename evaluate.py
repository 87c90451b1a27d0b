"""Evaluate: ``python evaluate.py run=RUN_FOLDER`` (or ``checkpoint=``, ``reports=``, ``system=api system.model=``)."""

import sys

from orapo.__main__ import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
