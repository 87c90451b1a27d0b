"""Compare runs, sweeps, evaluations: ``python compare.py sweeps/orapo/2026-01-31_12-00-00 --page results.html``."""

from orapo.experiment.compare_command import main

if __name__ == "__main__":
    raise SystemExit(main())
