"""The policy: a vision-language model with its tokenizer, able to sample reports and to score given ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from orapo.batches import RolloutGroup, StudyBatch
from orapo.policy.frozen_features import FrozenFeatures, is_shared_out
from orapo.policy.prompts import encode_images, vision_trains
from orapo.policy.rollouts import StopRules, sample_completions
from orapo.policy.scoring import SCORING_PATHS, CompletionLogps, Completions
from orapo.policy.settings import SamplingSettings


class Policy(nn.Module):
    """A vision-language policy over reports.

    Attributes:
        model: the Hugging Face model; LoRA layers, if any, stand inside it.
        adapter: the PEFT wrapper of the same model, or None when all weights train.
        tokenizer: of the same folder.
        image_processor: of the same folder.
        instruction: what the policy is asked, beside the images.
        frozen_features: of the studies so far, where the vision tower is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Any,
        instruction: str,
        adapter: Any = None,
        scoring: str = "shared",
    ) -> None:
        """Wraps a loaded model.

        Args:
            model: with LoRA layers already in place when there is an adapter.
            tokenizer: of the same folder.
            image_processor: of the same folder.
            instruction: what the policy is asked.
            adapter: the ``PeftModel`` around ``model``, or None.
            scoring: "shared" computes a study's prompt once; "repeated" repeats it, for checking only.
        """
        super().__init__()
        self.model = model
        # The adapter wraps the same modules: kept outside the module tree, or every weight would be listed twice.
        self._adapter = (adapter,)
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.instruction = instruction
        self._score = SCORING_PATHS[scoring]
        self.frozen_features = FrozenFeatures()

    @property
    def adapter(self) -> Any:
        """The PEFT wrapper, or None when all weights train."""
        return self._adapter[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    def forward(self, batch: StudyBatch, completions: Completions, temperature: float = 1.0) -> CompletionLogps:
        """Log-probabilities of given completions of each study, with gradient.

        Args:
            batch: B studies, on the policy's device.
            completions: per study, token ids [T] of each completion; the number may differ between studies.
            temperature: > 0, the one that the rollouts were sampled at.

        Returns:
            Per study and completion, [T] float32.
        """
        return self._score(self.model, batch, completions, temperature)

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """Samples K = ``settings.per_study`` reports for each study, without gradient and in eval mode; B groups.

        Args:
            batch: B studies, on the policy's device.
            settings: how tokens are drawn.
            seeds: B numbers that fix what each study draws, whatever stands beside it; None: torch's generator.
        """
        with self._eval_mode():
            drawn = sample_completions(self.model, batch, settings, self.stop_rules, seeds)
        # Autocast keeps low-precision copies of weights that were cast without a graph; a later pass with gradient
        # would take them and lose its gradient.
        torch.clear_autocast_cache()
        texts = self.tokenizer.batch_decode([ids.tolist() for ids, _, _ in drawn], skip_special_tokens=True)
        groups, per_study = [], settings.per_study
        for first in range(0, len(drawn), per_study):
            token_ids, logps, finished = zip(*drawn[first : first + per_study], strict=True)
            group_texts = tuple(text.strip() for text in texts[first : first + per_study])
            groups.append(RolloutGroup(group_texts, token_ids, logps, finished))
        return tuple(groups)

    def with_images_encoded(self, batch: StudyBatch, keeps_graph: bool = False) -> StudyBatch:
        """The batch with its image features: for all passes of a step by the policy of this moment.

        Features of a frozen tower are kept over the steps as well. Where the processes share the tower out, the batch
        stays as it is, and every pass encodes.

        Args:
            batch: B studies, on the policy's device.
            keeps_graph: where the vision tower trains, encode with the graph for one backward pass over the whole
                batch; otherwise the batch stays as it is.
        """
        if is_shared_out(self.model):
            return batch
        if vision_trains(self.model):
            return replace(batch, image_features=encode_images(self.model, batch)) if keeps_graph else batch
        with self._eval_mode(), torch.no_grad():
            return replace(batch, image_features=self.frozen_features.of(self.model, batch))

    @property
    def stop_rules(self) -> StopRules:
        """Which tokens end a report and which may never be drawn."""
        vocabulary_size = self.model.get_output_embeddings().weight.shape[0]
        stop_ids = self.model.generation_config.eos_token_id
        stops = [stop_ids] if isinstance(stop_ids, int) else list(stop_ids)
        banned = torch.zeros(vocabulary_size, dtype=torch.bool)
        control = [i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        banned[control] = True
        # Embedding tables are padded to round sizes: rows after the last token decode to nothing.
        banned[len(self.tokenizer) :] = True
        banned[stops] = False
        return StopRules(torch.tensor(stops, device=self.device), banned.to(self.device))

    @contextmanager
    def _eval_mode(self) -> Iterator[None]:
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def trainable_names(self) -> frozenset[str]:
        """Names of the weights that training changes."""
        return frozenset(name for name, parameter in self.named_parameters() if parameter.requires_grad)

    def save(self, folder: str, weights: dict[str, Tensor] | None = None) -> None:
        """Writes a folder that ``from_pretrained`` loads: the whole model, or the adapter when LoRA trains.

        Args:
            folder: made when needed.
            weights: of the whole model, where this process holds only a part of them.
        """
        (self.adapter or self.model).save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
