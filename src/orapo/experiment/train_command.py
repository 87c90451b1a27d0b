"""What ``train.py`` does with its config: a new run, or one that goes on."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orapo.errors import CheckpointError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.config import read_experiment
from orapo.experiment.processes import own_rank, started_processes

CHANGEABLE = (
    "reward.max_cost",
    "reward.pause_limit_seconds",
    "reward.api_base",
    "reward.api_key_variable",
    "reward.cache",
    "reward.cache_path",
    "reward.max_concurrent",
    "reward.requests_per_minute",
    "reward.tokens_per_minute",
    "reward.timeout_seconds",
    "reward.max_tries",
    "reward.deadline_seconds",
    "rollout.server.api_base",
    "rollout.server.api_key_variable",
    "rollout.server.model",
    "rollout.server.adapter_folder",
    "rollout.server.adapter_folder_on_server",
    "rollout.server.max_concurrent",
    "rollout.server.timeout_seconds",
    "rollout.server.pause_limit_seconds",
    "rollout.server.max_logp_gap",
)
"""What a resumed run may set anew: how judge and rollout server are reached, never what is trained or judged."""

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"


def train_command(config: DictConfig) -> None:
    """Checks the config, then imports what is heavy and trains."""
    hydra = HydraConfig.get()
    if own_rank() and hydra.mode == RunMode.MULTIRUN:
        raise SettingError("--multirun under torchrun or srun is not supported; start one run for each of its jobs")
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
        with started_processes(config, folder):
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
    kept = [override for override in others if override.partition("=")[0] in CHANGEABLE]
    if refused := [override for override in others if override not in kept]:
        raise SettingError(
            f"resume={folder} goes on with the run's own config; leave out {' '.join(refused)} (what may change is how "
            f"the judge is reached, or the rollout server: {', '.join(CHANGEABLE)})"
        )
    for needed in (folder / "config.yaml", folder / LAST_CHECKPOINT):
        if not needed.is_file():
            raise CheckpointError(f"resume={folder} can't go on: {needed} does not exist")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    for override in kept:
        if override.startswith("reward.") and "model" not in config.reward:
            raise SettingError(f"{override} is for reward=fact_score_llm; the run in {folder} has another reward")
        if override.startswith("rollout.") and config.rollout.get("server") is None:
            raise SettingError(f"{override} is for rollout=vllm; the run in {folder} samples by itself")
    return OmegaConf.merge(config, OmegaConf.from_dotlist(kept)) if kept else config  # type: ignore[return-value]
