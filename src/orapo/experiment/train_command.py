"""What ``train.py`` does with its config: a new run, or one that goes on."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from orapo.errors import CheckpointError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.config import read_experiment

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"


def train_command(config: DictConfig) -> None:
    """Checks the config, then imports what is heavy and trains."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if config.resume is not None:
        config = saved_config(Path(config.resume), list(hydra.overrides.task))
    elif (folder / "config.yaml").exists():
        raise SettingError(
            f"{folder} holds a run already; go on with it by resume={folder}, or choose another run_name"
        )
    read_experiment(config)
    # Lightning and torchmetrics take seconds to import: a misspelt key has been refused by now.
    from orapo.experiment.run import train

    try:
        train(config, folder)
    except (RunInterrupted, RunPaused) as stop:
        has_checkpoint = (folder / LAST_CHECKPOINT).is_file()
        how = f"go on with: python train.py resume={folder}" if has_checkpoint else "no step had begun"
        raise type(stop)(f"{stop}; {how}") from stop


def saved_config(folder: Path, overrides: list[str]) -> DictConfig:
    """The config of the run in ``folder``.

    Raises:
        SettingError: there are other overrides beside ``resume``: a run goes on as it began.
        CheckpointError: the folder holds no run, or no checkpoint yet.
    """
    others = [override for override in overrides if not override.startswith("resume=")]
    if others:
        raise SettingError(f"resume={folder} goes on with the run's own config; leave out {' '.join(others)}")
    for needed in (folder / "config.yaml", folder / LAST_CHECKPOINT):
        if not needed.is_file():
            raise CheckpointError(f"resume={folder} can't go on: {needed} does not exist")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    return config
