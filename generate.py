"""A report for one's own image: ``python generate.py image=FILE_OR_FOLDER model=RUN_OR_CHECKPOINT``."""

import sys

from orapo.__main__ import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
