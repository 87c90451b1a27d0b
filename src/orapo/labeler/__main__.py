"""``python -m orapo.labeler``, which is ``orapo label``."""

import sys

from orapo.labeler.command import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
