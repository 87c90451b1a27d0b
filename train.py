"""Train a policy: ``python train.py``, ``... +experiment=mimic``, ``... +sweep=ablation``, ``... resume=FOLDER``."""

import sys

from orapo.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
