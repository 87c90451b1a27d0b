"""Which numbers the weights that train may be held and multiplied in."""

from orapo.errors import SettingError
from orapo.experiment.config import Experiment
from orapo.policy.embedded import EMBEDDED

FLOAT32 = ("32-true", "32", 32)
MIXED = ("bf16-mixed", "bf16")
HALF = ("bf16-true", "16-true")


def is_autocast(experiment: Experiment) -> bool:
    """Whether products are rounded to bfloat16 over float32 weights."""
    return experiment.config.trainer.get("precision") in MIXED and experiment.model.dtype == "float32"


def check_precision(experiment: Experiment) -> None:
    """Refuses what would train all weights in vain or at many times the cost.

    Raises:
        SettingError: all weights train in bfloat16, where small updates are lost, or in float32 without mixed
            precision on what may be a GPU; the embedded policies may.
    """
    model, trainer = experiment.model, experiment.config.trainer
    if model.lora is not None or model.path in EMBEDDED:
        return
    precision = trainer.get("precision", FLOAT32[0])
    if model.dtype != "float32" or precision in HALF:
        raise SettingError(
            f"model.dtype is {model.dtype!r} and trainer.precision {precision!r}, and all weights train: small updates "
            "are lost in them; add model.dtype=float32 trainer.precision=bf16-mixed"
        )
    if precision in FLOAT32 and trainer.get("accelerator") != "cpu":
        raise SettingError(
            f"trainer.precision is {precision!r} and all weights of {model.path} train; "
            "add trainer.precision=bf16-mixed (bfloat16 products, float32 weights), or trainer.accelerator=cpu"
        )
