"""Decoding token by token, over shared prompts where the family allows it, else over the model's own cache.

Over shared prompts each study's prompt keys are kept once, whatever the number of its rollouts. The model's own layers
run over one packed row, first of all prompts, then step by step of each rollout's latest token; only their attention
knows of the rollouts. Rollouts of a study attend to the prompt as further queries of the same keys; each has its own
keys for what it has written. Key heads are the first axis, so that all of this is views.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.attention import RowAttention, TreeAttention
from orapo.policy.families import shared_prefix
from orapo.policy.families.general import forward_rows
from orapo.policy.packing import pack_row
from orapo.policy.prompts import embed_row, encode_images


@dataclass
class _LayerCache:
    """Keys and values of one layer, in float32: scores rounded to less would differ from those of scoring.

    Attributes:
        prompt_keys: [key heads, B, d, P]; transposed as the product with the queries wants them.
        prompt_values: [key heads, B, P, d].
        own_keys: [key heads, R, T, d], of the rows.
        own_values: likewise.
    """

    prompt_keys: Tensor
    prompt_values: Tensor
    own_keys: Tensor
    own_values: Tensor


class _PromptAttention(RowAttention):
    """Attention of a row of prompts that keeps each layer's keys and values, [key heads, B, P, d]."""

    def __init__(self, tree: TreeAttention, index: Tensor) -> None:
        self._tree = tree
        self._index = index
        self.layers: list[tuple[Tensor, Tensor]] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        self.layers.append((key[:, self._index].float(), value[:, self._index].float()))
        return self._tree.attend(layer, query, key, value, scale)


class Decoder(Protocol):
    """Continues R = B * K rollouts token by token, K of each study.

    Attributes:
        first_logits: [B, V], float32, of the first token of each study's rollouts.
        rows_can_leave: whether ``keep`` is implemented.
    """

    first_logits: Tensor
    rows_can_leave: bool

    def __init__(self, model: Any, batch: StudyBatch, per_study: int, max_new_tokens: int) -> None:
        """Runs the prompts through the model.

        Args:
            model: in eval mode; call under ``torch.no_grad``.
            batch: B studies that can decode together.
            per_study: K, rollouts of each study.
            max_new_tokens: how far the rollouts can go.
        """
        ...

    @classmethod
    def together(cls, batch: StudyBatch) -> list[list[int]]:
        """The places of the batch's studies, in groups that can decode together."""
        ...

    def keep(self, studies: Tensor, rows: Tensor) -> None:
        """Drops all other studies and rows.

        Args:
            studies: [B'], indices into the present studies.
            rows: [B' * K'], indices into the present rows: K' of each of these studies, study by study.
        """
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """The next logits [R, V], float32, after ``tokens`` [R], the latest token of each row."""
        ...


class CachedDecoder:
    """Decodes with the model's own cache, for any architecture; a group's prompts have one length, without padding."""

    rows_can_leave = False

    def __init__(self, model: Any, batch: StudyBatch, per_study: int, max_new_tokens: int) -> None:
        self._model = model
        if getattr(model.base_model, "rope_deltas", None) is not None:
            # Qwen's classes keep the positions of the last images, and would continue prompts without images by them.
            model.base_model.rope_deltas = None
        if batch.image_features is None:
            batch = replace(batch, image_features=encode_images(model, batch))
        self._cache, self.first_logits = self._prefill(batch)
        try:
            self._cache.batch_repeat_interleave(per_study)
        except (AttributeError, NotImplementedError):
            repeated = batch.select([place for place in range(len(batch)) for _ in range(per_study)])
            self._cache, _ = self._prefill(repeated)

    @classmethod
    def together(cls, batch: StudyBatch) -> list[list[int]]:
        """Studies whose prompts have the same length."""
        groups: dict[int, list[int]] = {}
        for place, ids in enumerate(batch.prompt_ids):
            groups.setdefault(len(ids), []).append(place)
        return list(groups.values())

    def _prefill(self, batch: StudyBatch) -> tuple[Any, Tensor]:
        output = forward_rows(self._model, batch, range(len(batch)), batch.prompt_ids, use_cache=True, logits_to_keep=1)
        return output.past_key_values, output.logits[:, -1].float()

    def keep(self, studies: Tensor, rows: Tensor) -> None:
        """Never called."""
        raise NotImplementedError

    def step(self, tokens: Tensor) -> Tensor:
        output = self._model(
            input_ids=tokens.unsqueeze(1), past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        logits: Tensor = output.logits[:, -1]
        return logits.float()


class SharedPrefixDecoder(RowAttention):
    """Decodes over shared prompts; rows that have ended can be dropped."""

    rows_can_leave = True

    def __init__(self, model: Any, batch: StudyBatch, per_study: int, max_new_tokens: int) -> None:
        family = shared_prefix(model.config)
        assert family is not None
        self._model, self._family = model, family
        positions = family.prompt_positions(model, batch)
        row = pack_row(positions, [() for _ in positions])
        attention = _PromptAttention(TreeAttention(row), row.prompts.index)
        embeddings, levels = embed_row(family, model, batch)
        states = family.last_states(model, embeddings, row.position_ids, attention, levels)
        self.first_logits = self._logits(states[row.prompts.index.amax(dim=1)])
        self._num_axes = len(row.position_ids)
        self._next_positions = torch.stack([one.max() + 1 for one in positions]).repeat_interleave(per_study)
        is_padding = ~row.prompts.is_token.repeat_interleave(per_study, dim=0)
        self._is_padding = None if row.prompts.is_full else is_padding.unsqueeze(1)
        self._step = 0
        self._caches = []
        for keys, values in attention.layers:
            shape = (len(keys), len(self._next_positions), max_new_tokens, keys.shape[-1])
            prompt_keys = keys.transpose(2, 3).contiguous()
            self._caches.append(_LayerCache(prompt_keys, values, keys.new_zeros(shape), keys.new_zeros(shape)))

    @classmethod
    def together(cls, batch: StudyBatch) -> list[list[int]]:
        """All studies."""
        return [list(range(len(batch)))]

    def _logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self._model.get_output_embeddings()(states)
        return logits.float()

    def keep(self, studies: Tensor, rows: Tensor) -> None:
        self._next_positions = self._next_positions[rows]
        if self._is_padding is not None:
            self._is_padding = self._is_padding[rows]
        for cache in self._caches:
            cache.own_keys, cache.own_values = cache.own_keys[:, rows], cache.own_values[:, rows]
            if len(studies) < cache.prompt_keys.shape[1]:
                cache.prompt_keys, cache.prompt_values = cache.prompt_keys[:, studies], cache.prompt_values[:, studies]

    def step(self, tokens: Tensor) -> Tensor:
        embeddings = self._model.get_input_embeddings()(tokens)
        positions = self._next_positions.expand(self._num_axes, -1)
        states = self._family.last_states(self._model, embeddings, positions, self, {})
        self._next_positions = self._next_positions + 1
        self._step += 1
        return self._logits(states)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attends with one softmax over the prompt's and the row's own keys."""
        # Autocast would round all cached keys at every token, and the scores with them.
        with torch.autocast(query.device.type, enabled=False):
            return self._attend(layer, query, key, value, scale)

    def _attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        cache, end = self._caches[layer], self._step + 1
        cache.own_keys[:, :, self._step], cache.own_values[:, :, self._step] = key, value
        key_heads, num_rows, width = key.shape
        # [key heads, R, heads of each, d]
        grouped = (query.float() * scale).view(key_heads, -1, num_rows, width).transpose(1, 2).contiguous()
        to_prompt = _by_study(grouped, cache.prompt_keys)
        if self._is_padding is not None:
            to_prompt = to_prompt.masked_fill(self._is_padding, -torch.inf)
        to_own = grouped @ cache.own_keys[:, :, :end].transpose(2, 3)
        weights = torch.softmax(torch.cat([to_prompt, to_own], dim=-1), dim=-1)
        on_prompt, on_own = torch.split(weights, [to_prompt.shape[-1], end], dim=-1)
        attended = _by_study(on_prompt, cache.prompt_values) + on_own @ cache.own_values[:, :, :end]
        return attended.transpose(0, 1).reshape(num_rows, -1, width).to(query.dtype)


def _by_study(rows: Tensor, prompts: Tensor) -> Tensor:
    """Multiplies [key heads, R, G, m] with [key heads, B, m, n], each row by its study's: [key heads, R, G, n]."""
    key_heads, num_rows, groups, _ = rows.shape
    folded = rows.reshape(key_heads, prompts.shape[1], -1, rows.shape[-1])
    product: Tensor = folded @ prompts
    return product.view(key_heads, num_rows, groups, -1)
