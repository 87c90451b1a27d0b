"""TRL's side of benchmarks/step.py: ``GRPOTrainer`` at its fastest settings that leave the work as it is.

All rollouts of a step are generated at once with a key-value cache; no mixed precision, no logs, no checkpoints, no
second scoring by the old policy (the step is on-policy), the reference scored as with any KL coefficient above 0.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from random_policy import CONTROL_TOKENS, END
from step_pace import Pace
from step_work import INSTRUCTION, KL_COEF, LEARNING_RATE, LORA_ALPHA, LORA_RANK, Done, Work, reward_of
from transformers import (
    AutoTokenizer,
    ProcessorMixin,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    TrainerCallback,
    TrainerControl,
    logging,
)
from trl import GRPOConfig, GRPOTrainer

from orapo.policy.settings import LoraSettings

MANY_STEPS = 10_000


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video part, which needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class TimedTrainer(GRPOTrainer):
    """Adds up the seconds of TRL's own methods, and keeps the token ids that a step worked on."""

    spent: dict[str, float]
    prompt_ids: Sequence[Sequence[int]]
    completion_ids: Sequence[Sequence[int]]

    def forget(self) -> None:
        """Begins a new step."""
        self.spent = dict.fromkeys(("whole", "making", "reward", "reference"), 0.0)

    def _timed(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            self.spent[name] += time.perf_counter() - start

    def _generate(self, prompts: list[Any]) -> Any:
        outputs = super()._generate(prompts)
        self.prompt_ids, self.completion_ids = outputs[0], outputs[1]
        return outputs

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        return self._timed("making", lambda: super(TimedTrainer, self)._generate_and_score_completions(inputs))

    def _calculate_rewards(self, *arguments: Any) -> Any:
        return self._timed("reward", lambda: super(TimedTrainer, self)._calculate_rewards(*arguments))

    def _get_per_token_logps_and_entropies(self, *arguments: Any, **named: Any) -> Any:
        score = super()._get_per_token_logps_and_entropies
        if torch.is_grad_enabled():
            return score(*arguments, **named)
        return self._timed("reference", lambda: score(*arguments, **named))


class PaceCallback(TrainerCallback):
    """Holds TRL's loop between two steps."""

    def __init__(self, pace: Pace, work: Work, image_token_id: int) -> None:
        self._pace = pace
        self._work = work
        self._image_token_id = image_token_id
        self._start = 0.0
        self.trainer: TimedTrainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Everything is loaded; the first step has not begun."""
        assert self.trainer is not None
        self.trainer.forget()
        control.should_training_stop = not self._pace.wait()

    def on_step_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """The rows of the batch are there, nothing else."""
        self._start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """The optimiser has stepped."""
        assert self.trainer is not None
        if self._work.device == "cuda":
            torch.cuda.synchronize()
        whole = time.perf_counter() - self._start
        spent, completions = self.trainer.spent, self.trainer.completion_ids
        phases = {
            # Reading the images twice and padding are part of it.
            "rollout": spent["making"] - spent["reward"] - spent["reference"],
            "reward": spent["reward"],
            "reference": spent["reference"],
            "update": whole - spent["making"],
        }
        done = Done.count(len(completions) // self._work.k, self.trainer.prompt_ids, completions, self._image_token_id)
        self.trainer.forget()
        control.should_training_stop = not self._pace.done(phases, done)


def read_config(work: Work, folder: str, banned: Sequence[int]) -> GRPOConfig:
    """TRL's settings.

    Args:
        work: sizes.
        folder: for TRL's own files.
        banned: tokens never to be drawn.
    """
    accumulation = work.prompts // work.micro
    return GRPOConfig(
        output_dir=folder,
        model_init_kwargs={"dtype": work.dtype, "attn_implementation": "sdpa"},
        use_cpu=work.device == "cpu",
        bf16=False,
        gradient_checkpointing=work.checkpointing,
        per_device_train_batch_size=work.micro * work.k,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_generations=work.k,
        max_completion_length=work.tokens,
        generation_kwargs={"min_new_tokens": work.tokens, "suppress_tokens": list(banned), "use_cache": True},
        # Keys and values in place instead of copied at every token; a twentieth less CPU time of the step.
        cache_implementation="static",
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=KL_COEF,
        loss_type="dr_grpo",
        scale_rewards="none",
        learning_rate=LEARNING_RATE,
        max_steps=MANY_STEPS,
        lr_scheduler_type="constant",
        shuffle_dataset=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_multimodal=False,
        seed=work.seed,
    )


def text_reward(completions: list[Any], **columns: Any) -> list[float]:
    """The benchmark's reward in TRL's shape."""
    return [reward_of(completion[0]["content"]) for completion in completions]


def make_dataset(work: Work) -> Dataset:
    """The prompts of one step; the images stay in memory, so that none is decoded again for each rollout."""
    images = work.images()

    def row(columns: dict[str, list[int]]) -> dict[str, list[Any]]:
        return {
            "prompt": [[{"role": "user", "content": INSTRUCTION}] for _ in columns["study"]],
            "image": [images[study] for study in columns["study"]],
        }

    return Dataset.from_dict({"study": list(range(work.prompts))}).with_transform(row)


def main() -> None:
    """Trains until nobody asks for another step."""
    pace = Pace()
    work = Work.from_json(sys.argv[1])
    torch.set_num_threads(work.threads)
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(work.folder, padding_side="left")
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(work.folder)
    processor = ImageTextProcessor(image_processor, tokenizer, chat_template=tokenizer.chat_template)
    banned = [tokenizer.convert_tokens_to_ids(token) for token in CONTROL_TOKENS if token != END]
    lora = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=LoraSettings(1, 1).target_modules)
    callback = PaceCallback(pace, work, processor.image_token_id)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=work.folder,
            reward_funcs=text_reward,
            args=read_config(work, folder, banned),
            train_dataset=make_dataset(work),
            processing_class=processor,
            callbacks=[callback],
            peft_config=lora if work.lora else None,
        )
        callback.trainer = trainer
        trainer.train()


if __name__ == "__main__":
    main()
