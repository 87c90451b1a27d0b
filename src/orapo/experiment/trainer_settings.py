"""What may be set of Lightning's trainer, known without importing it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.settings import Text, read, settings

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
Precision = Literal["32-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "64-true", "bf16", 64, 32, 16]
"""Those of Lightning that need no other package."""

ELSEWHERE = {
    "gradient_clip_val": "training.max_grad_norm",
    "accumulate_grad_batches": "training.studies_per_micro_batch",
    "max_steps": "training.num_steps",
    "check_val_every_n_epoch": "training.validate_every_steps",
    **dict.fromkeys(
        ("limit_train_batches", "fast_dev_run", "min_epochs", "min_steps", "max_time"),
        "training.num_steps",
    ),
    "limit_test_batches": "data.max_test_studies",
    "overfit_batches": "data.subset.num_studies",
    "gradient_clip_algorithm": "training.max_grad_norm",
}
"""Arguments of Lightning's trainer that manual optimisation or the stream of batches leaves no room for, and those with
which a run would end early, or without training, as if it had finished."""

OWN = (
    "max_epochs",
    "val_check_interval",
    "limit_val_batches",
    "limit_predict_batches",
    "reload_dataloaders_every_n_epochs",
    "barebones",
    "num_sanity_val_steps",
    "callbacks",
    "logger",
    "enable_checkpointing",
    "plugins",
    "enable_model_summary",
    "use_distributed_sampler",
    "log_every_n_steps",
)
"""Arguments that the experiment sets itself."""


@settings
class StrategySettings:
    """How processes wait for each other: conf/trainer/ddp.yaml."""

    timeout_hours: PositiveFloat


@settings
class TrainerSettings:
    """Arguments of ``lightning.pytorch.Trainer``; those with a type here are checked, the others by Lightning."""

    accelerator: Accelerator
    devices: Literal["auto", -1] | PositiveInt | Text | list[NonNegativeInt]
    precision: Precision = "32-true"
    num_nodes: PositiveInt = 1
    strategy: StrategySettings | Literal["auto"] = "auto"
    enable_progress_bar: bool | None = None
    deterministic: Literal["warn"] | bool | None = None
    benchmark: bool | None = None
    inference_mode: bool | None = None
    profiler: Any = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    default_root_dir: Any = None
    enable_autolog_hparams: bool | None = None
    model_registry: Any = None


def read_trainer(content: Any) -> TrainerSettings:
    """The section ``trainer``.

    Raises:
        SettingError: an argument that can't be set here, or a value that is not allowed.
    """
    if not isinstance(content, Mapping):
        raise SettingError(f"trainer is {content!r}; it must be a section")
    for key in content:
        if key in OWN or key in ELSEWHERE:
            where = f"set {ELSEWHERE[key]} instead" if key in ELSEWHERE else "the experiment sets it itself"
            raise SettingError(f"trainer.{key} can't be set: {where}")
    strategy = content.get("strategy", "auto")
    if isinstance(strategy, str) and strategy != "auto":
        raise SettingError(f"trainer.strategy is {strategy!r}; several processes need trainer=ddp or trainer=fsdp")
    if isinstance(strategy, Mapping):
        arguments = {key: value for key, value in strategy.items() if not str(key).startswith("_")}
        content = {**content, "strategy": read(StrategySettings, arguments, "trainer.strategy")}
    return read(TrainerSettings, content, "trainer")
