"""``python -m orapo.labeler``."""

import sys

from orapo.labeler.command import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
