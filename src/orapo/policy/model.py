"""The policy: a vision-language model with its tokenizer, able to sample reports and to score given ones."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import CheckpointError
from orapo.policy.decoding import CachedDecoder, Decoder, SharedPrefixDecoder
from orapo.policy.families import shared_prefix
from orapo.policy.frozen_features import FrozenFeatures, is_shared_out
from orapo.policy.low_rank import short_updates
from orapo.policy.processor import StudyProcessor
from orapo.policy.prompts import encode_images, vision_trains
from orapo.policy.rollouts import StopRules, sample_completions
from orapo.policy.scoring import CompletionLogps, Completions, score_repeated, score_shared
from orapo.policy.settings import SAVED_KEYS, SAVED_SETTINGS, ModelSettings, SamplingSettings
from orapo.prompt import Prompt

_TAG = re.compile(r"<.*>|\[.*\]")
_PLACEHOLDER = re.compile(r"(image|video|audio|vision)_.*(token_id|token_index)")


class Policy(nn.Module):
    """A vision-language policy over reports.

    Attributes:
        model: the Hugging Face model; LoRA layers, if any, stand inside it.
        adapter: the PEFT wrapper of the same model, or None when all weights train.
        processor: of the same folder: tokenizer, image processor, chat template.
        settings: what it was loaded by.
        own_dtype: in which a whole model is saved; that of the folder it came from, where ``load_policy`` loaded it.
        shares_prefix: whether a study's prompt is computed once for all its completions.
        frozen_features: of the studies so far, where the vision tower is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: StudyProcessor,
        settings: ModelSettings,
        adapter: Any = None,
    ) -> None:
        """Wraps a loaded model.

        Args:
            model: with LoRA layers already in place when there is an adapter.
            processor: of the same folder.
            settings: what it was loaded by.
            adapter: the ``PeftModel`` around ``model``, or None.
        """
        super().__init__()
        self.model = model
        # The adapter wraps the same modules: kept outside the module tree, or every weight would be listed twice.
        self._adapter = (adapter,)
        self.processor = processor
        self.settings = settings
        self.own_dtype: torch.dtype = model.dtype
        self.shares_prefix = settings.scoring == "shared" and shared_prefix(model.config) is not None
        self.frozen_features = FrozenFeatures()

    @property
    def adapter(self) -> Any:
        """The PEFT wrapper, or None when all weights train."""
        return self._adapter[0]

    @property
    def prompt(self) -> Prompt:
        """The prompt's instruction and context, beside the study's images."""
        return self.settings.prompt

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def image_processor(self) -> Any:
        """The processor's image processor."""
        return self.processor.image_processor

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
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
        score = score_shared if self.shares_prefix else score_repeated
        return score(self.model, batch, completions, temperature)

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """Samples K = ``settings.per_study`` reports for each study, without gradient and in eval mode; B groups.

        Args:
            batch: B studies, on the policy's device.
            settings: how tokens are sampled.
            seeds: B numbers that fix each study's samples, whatever the other studies; None: torch's generator.
        """
        with self._eval_mode(), short_updates(self.adapter):
            decoding: type[Decoder] = SharedPrefixDecoder if self.shares_prefix else CachedDecoder
            drawn = sample_completions(decoding, self.model, batch, settings, self.stop_rules, seeds)
        # Autocast caches low-precision copies of weights that were cast without a graph; a later pass with gradient
        # would use them and lose its gradient.
        torch.clear_autocast_cache()
        texts = self.tokenizer.batch_decode([ids.tolist() for ids, _, _ in drawn], skip_special_tokens=True)
        groups, per_study = [], settings.per_study
        for first in range(0, len(drawn), per_study):
            token_ids, logps, finished = zip(*drawn[first : first + per_study], strict=True)
            group_texts = tuple(text.strip() for text in texts[first : first + per_study])
            groups.append(RolloutGroup(group_texts, token_ids, logps, finished))
        return tuple(groups)

    def with_images_encoded(self, batch: StudyBatch, keeps_graph: bool = False) -> StudyBatch:
        """The batch with its image features, for all passes of a step with the present weights.

        Features of a frozen tower are kept over the steps as well. Where the tower is sharded, the batch stays as it
        is, and every pass encodes.

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
        """Which tokens end a report and which are never sampled.

        Raises:
            CheckpointError: the folder names no token for the end of a report, or what is none.
        """
        model, tokenizer = self.model, self.tokenizer
        banned = torch.zeros(model.get_output_embeddings().weight.shape[0], dtype=torch.bool)
        added = tokenizer.added_tokens_decoder.items()
        # Not every control token is marked as special: <tool_call>, <think>. Runs of blanks are words.
        control = [i for i, token in added if token.special or _TAG.fullmatch(token.content)]
        placeholders = [i for name, i in model.config.to_dict().items() if _PLACEHOLDER.fullmatch(name) and i]
        banned[[i for i in {*control, *placeholders} if i < len(banned)]] = True
        # Embedding tables are padded to round sizes: rows after the last token decode to nothing.
        banned[len(tokenizer) :] = True
        named = model.generation_config.eos_token_id
        # Oracle reports end with the tokenizer's own.
        ends = [i for i in (tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])) if i is not None]
        if not ends or not all(type(i) is int and 0 <= i < len(banned) for i in ends):
            raise CheckpointError(
                f"model.path {self.settings.path!r}: its eos_token_id is {named!r} and its tokenizer's "
                f"{tokenizer.eos_token_id}; they must name tokens from 0 to {len(banned) - 1}"
            )
        stops = sorted(set(ends))
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

        A whole model goes out in ``own_dtype``, whatever it trained in.
        ``SAVED_SETTINGS`` beside it says what it was trained with.

        Args:
            folder: made when needed.
            weights: of the whole model, where this process holds only a part of them.
        """
        own = self.model.dtype if self.adapter is not None else self.own_dtype
        if own != self.model.dtype:
            weights = _cast(self.model.state_dict() if weights is None else weights, own)
        (self.adapter or self.model).save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
        if own != self.model.dtype:
            # ``save_pretrained`` has named the type of the weights in memory.
            file, names = Path(folder) / "config.json", [str(d).rpartition(".")[2] for d in (self.model.dtype, own)]
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(f'"dtype": "{names[0]}"', f'"dtype": "{names[1]}"'), encoding="utf-8")
        self.processor.save_pretrained(folder)
        saved = {key: getattr(self.settings, key) for key in SAVED_KEYS}
        (Path(folder) / SAVED_SETTINGS).write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")


def _cast(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in another type; those that are tied stay so, and numbers that are no weights stay as they are."""
    made: dict[int, Tensor] = {}
    for weight in weights.values():
        if weight.is_floating_point():
            made.setdefault(weight.data_ptr(), weight.to(dtype))
    return {n: made[w.data_ptr()] if w.is_floating_point() else w for n, w in weights.items()}
