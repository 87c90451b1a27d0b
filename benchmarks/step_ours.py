"""Our side of benchmarks/step.py: what train.py runs, with its config, files and callbacks.

Only the studies and the reward are the benchmark's own, so that both sides read and judge the same.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from step_pace import PHASES, Pace
from step_work import INSTRUCTION, KL_COEF, LEARNING_RATE, LORA_ALPHA, LORA_RANK, Done, Work, reward_of

from orapo.batches import StudyBatch
from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.source import LeftOut
from orapo.experiment.config_tree import trust
from orapo.experiment.run import train
from orapo.policy.reference import FrozenCopyReference
from orapo.records import RewardBreakdown, Split, Study
from orapo.training.module import OrapoModule

CONF = Path(__file__).resolve().parents[1] / "conf"
MANY_STEPS = 10_000


def read_config(work: Work, objective: str) -> DictConfig:
    """train.py's config with the sizes of the work, without validation and checkpoints."""
    overrides = [
        "model=checkpoint",
        f"model.path={work.folder}",
        f"model.instruction='{INSTRUCTION}'",
        f"model.trainable={'language' if work.lora else 'all'}",
        f"objective={objective}",
        f"objective.policy_loss.kl_coef={KL_COEF}",
        f"data.subset.num_studies={work.prompts}",
        f"data.max_report_tokens={work.tokens}",
        f"rollout.per_study={work.k}",
        f"rollout.min_new_tokens={work.tokens}",
        f"training.batch_size={work.prompts}",
        f"training.studies_per_micro_batch={work.micro}",
        f"training.learning_rate={LEARNING_RATE}",
        "training.num_workers=0",
        "model.gradient_checkpointing=false",
        "trainer.precision=32-true",
        f"training.num_steps={MANY_STEPS}",
        "training.validate_every_steps=null",
        f"callbacks.checkpoint_every_steps={MANY_STEPS}",
        f"callbacks.rollouts_every_steps={MANY_STEPS}",
        "trainer.accelerator=cpu",
    ]
    if work.lora:
        target = "orapo.policy.settings.LoraSettings"
        overrides.append(f"model.lora={{_target_:{target},rank:{LORA_RANK},alpha:{LORA_ALPHA}}}")
    OmegaConf.register_new_resolver("run_folder", lambda *_: "", replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides)
    trust("step_ours")
    with open_dict(config):
        config.data.source = {"_target_": "step_ours.NoiseSource", "work": work.to_json()}
        config.reward = {"_target_": "step_ours.TextReward"}
    return config


class NoiseSource:
    """The studies of one step as a data set that stays in memory, and one more for each evaluation."""

    name = "noise"

    def __init__(self, work: str) -> None:
        """Takes ``Work.to_json``."""
        sizes = Work.from_json(work)
        self._images, self._reports = sizes.images(), sizes.oracle_reports()

    def entries(self, split: Split) -> list[Study]:
        """All studies of one split."""
        count = len(self._images) if split == Split.TRAIN else 1
        labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        names = [f"{split.value}-{index}" for index in range(count)]
        return [
            Study(name, f"p-{name}", split, (f"noise:{index}",), ("PA",), self._reports[index], labels)
            for index, name in enumerate(names)
        ]

    def left_out(self, split: Split) -> list[LeftOut]:
        """None is."""
        return []

    def read(self, study_id: str) -> Study:
        """The study of that name."""
        return next(study for split in Split for study in self.entries(split) if study.study_id == study_id)

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        """Its one image."""
        return (self._images[int(study.image_paths[0].removeprefix("noise:"))],)

    def digest(self) -> str:
        """Nobody resumes this."""
        return "0" * 64


class TextReward:
    """The benchmark's reward in the shape of a ``Reward``: its own judge, and its own rewards, there at once."""

    def __init__(self) -> None:
        self._rewards: list[RewardBreakdown] = []

    @property
    def judge(self) -> "TextReward":
        """Nobody reads the reports."""
        return self

    weights: ClassVar = {"text": 1.0}
    combine = "sum"
    zero_term = "text"

    def totals(self) -> Mapping[str, float]:
        """Costs nothing."""
        return {}

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> "TextReward":
        """One number per report."""
        no: frozenset[Any] = frozenset()
        self._rewards = [RewardBreakdown(reward_of(text), 0.0, 0.0, no, no, no, (), (), {}) for text in reports]
        return self

    def result(self) -> list[RewardBreakdown]:
        """What ``start`` gave."""
        return self._rewards


def forget_images(module: OrapoModule) -> None:
    """As if no study had come up before."""
    module.policy.frozen_features.forget()
    if isinstance(reference := module.reference, FrozenCopyReference):
        reference.copy.frozen_features.forget()


def hold_between_steps(pace: Pace, image_token: str, is_first_pass: bool) -> None:
    """Puts the pace behind the module's own hooks, which Lightning calls after those of all callbacks."""
    start, end = OrapoModule.on_train_start, OrapoModule.on_train_batch_end

    def on_train_start(module: OrapoModule) -> None:
        start(module)
        module.trainer.should_stop = not pace.wait()

    def on_train_batch_end(module: OrapoModule, outputs: Any, batch: StudyBatch, batch_index: int) -> None:
        end(module, outputs, batch, batch_index)
        assert module.last_experience is not None
        done = Done.count(
            prompts=len(batch),
            prompt_ids=[ids.tolist() for ids in batch.prompt_ids],
            completion_ids=[ids.tolist() for group in module.last_experience.rollouts for ids in group.token_ids],
            image_token_id=module.policy.tokenizer.convert_tokens_to_ids(image_token),
        )
        phases = {phase: module.last_metrics[f"seconds_{phase}"] for phase in PHASES}
        if is_first_pass:
            forget_images(module)
        module.trainer.should_stop = not pace.done(phases, done)

    OrapoModule.on_train_start = on_train_start
    OrapoModule.on_train_batch_end = on_train_batch_end


def main() -> None:
    """Trains until nobody asks for another step."""
    pace = Pace()
    work, objective, which_pass = Work.from_json(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(work.threads)
    hold_between_steps(pace, "<|image_pad|>", which_pass == "first")
    with tempfile.TemporaryDirectory() as folder:
        train(read_config(work, objective), Path(folder))


if __name__ == "__main__":
    main()
