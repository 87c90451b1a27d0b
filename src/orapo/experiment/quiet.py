"""What libraries say while they work, kept off the screen."""

import logging
import warnings

import transformers


def quiet_libraries() -> None:
    """Keeps progress notes, and warnings about what this project sets on purpose, off the screen."""
    for name in ("lightning.pytorch", "lightning.fabric", "transformers", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
