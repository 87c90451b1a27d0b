"""Configs as a command composes them of its overrides."""

from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from orapo.experiment.command_line import run_folder

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"

OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def composed(*overrides: str, name: str = "config", with_hydra: bool = False) -> DictConfig:
    """The config that begins in ``conf/NAME.yaml``, with Hydra's own section or without; one's own to change."""
    return deepcopy(_composed(overrides, name, with_hydra))


@cache
def _composed(overrides: tuple[str, ...], name: str, with_hydra: bool) -> DictConfig:
    """Composing takes a fifth of a second, and many tests ask for the same."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides), return_hydra_config=with_hydra)
