"""Imported by the process that ``tests.forks`` forks: what a command imports or works out anew, but for torch's work.

The labeler's patterns, pictures, Hydra's grammar and the names of a checkpoint's weights cost a run of four steps more
than its steps.
"""

from io import BytesIO

import matplotlib.pyplot as plt
from tests.configs import composed
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

import orapo.experiment.evaluate
import orapo.experiment.generate
import orapo.experiment.run
import orapo.experiment.train_command
from orapo.data.phantoms import PhantomSource
from orapo.labeler import Labeler
from orapo.records import Split

__all__ = ["modeling_qwen2_5_vl", "orapo"]

_labeler = Labeler()
for _study in PhantomSource(num_train=200).studies(Split.TRAIN):
    _labeler.mentions(_study.oracle_report)
_figure, _axes = plt.subplots()
_axes.plot([0, 1], label="x")
_axes.legend()
_figure.savefig(BytesIO(), format="png")
plt.close(_figure)
get_checkpoint_conversion_mapping("qwen2_5_vl")
composed("objective.alpha=0.3")
