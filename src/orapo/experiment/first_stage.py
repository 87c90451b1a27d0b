"""A stage before the run, such as imitation of the oracle: a run of its own, whose model the run starts from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from orapo.comparison.run_folder import FIRST_STAGE
from orapo.errors import SettingError
from orapo.policy.settings import ModelSettings

MERGED = "merged"
"""Below the first stage's folder: its base with its adapter."""

ALLOWED = ("callbacks", "data", "objective", "reward", "rollout", "training")
"""Sections in which the first stage may differ; what a machine, a model and a seed are, is the run's."""

_LENGTHS = ("num_steps", "num_passes")


def first_config(config: DictConfig) -> DictConfig | None:
    """The config of the first stage: the run's own, with what its section ``first`` says; None where it has none.

    A section that names what it builds takes the place of the run's, of other sections single keys do.

    Raises:
        SettingError: a section that can't differ, or is none.
    """
    changes = config.get("first")
    if changes is None:
        return None
    if refused := sorted(set(map(str, changes)) - set(ALLOWED)):
        raise SettingError(f"first.{refused[0]} is not allowed; the first stage may have its own {', '.join(ALLOWED)}")
    for name, section in changes.items():
        if not isinstance(section, Mapping | DictConfig):
            raise SettingError(f"first.{name} is {section!r}; it must be a section")
    first = config.copy()
    with open_dict(first):
        first.first = None
        # W&B shows it beside the runs that are compared, not among them.
        if first.logger.get("wandb") is not None:
            first.logger.wandb.job_type = FIRST_STAGE
        for name, section in changes.items():
            if "_target_" in section:
                first[name] = section
            else:
                _update(first[name], section)
        own = changes.get("training", {})
        if any(own.get(name) is not None for name in _LENGTHS):
            for name in _LENGTHS:
                first.training[name] = own.get(name)
    OmegaConf.resolve(first)
    return first


def _update(section: DictConfig, changes: Mapping[str, object]) -> None:
    for key, value in changes.items():
        names_what_it_builds = isinstance(value, Mapping | DictConfig) and "_target_" in value
        OmegaConf.update(section, str(key), value, merge=not names_what_it_builds)


def begins_with(settings: ModelSettings, folder: Path) -> ModelSettings:
    """The settings of the run's model when its first stage has ended in ``folder``.

    An adapter is merged into its base, as the run puts an adapter of its own on it; the merged model is written once.
    """
    model = folder / "model"
    if settings.lora is not None:
        from orapo.policy.checkpoints import merge_adapter

        merged = folder / MERGED
        if not merged.is_dir():
            merge_adapter(replace(settings, path=str(model)), settings.path, merged)
        model = merged
    return replace(settings, path=str(model))
