"""``python -m orapo.reward judge``, ``compare`` and ``estimate``."""

import sys

from orapo.experiment.reward_command import main

if __name__ == "__main__":
    sys.exit(main())
