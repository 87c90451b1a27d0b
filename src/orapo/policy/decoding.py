"""Decoding over shared prompts: each study's prompt keys are kept once, whatever the number of its rollouts.

A step computes only what depends on its tokens. Rollouts of a study attend to the prompt as further queries of the same
keys; each has keys of its own for what it has written. Key heads stand in front, so that all of this is views.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration

from orapo.policy.block_functions import half_negative, turn_heads
from orapo.policy.packing import PackedRow
from orapo.policy.projections import Write, layer_projections, normed


@dataclass
class _LayerCache:
    """Keys and values of one layer, in float32: scores rounded to less would differ from those of scoring.

    Attributes:
        prompt_keys: [key heads, B, d, P]; transposed as the product with the queries wants them.
        prompt_values: [key heads, B, P, d].
        own: [2 * key heads, R, T, d]: the rows' own keys, then their values.
    """

    prompt_keys: Tensor
    prompt_values: Tensor
    own: Tensor


@dataclass(frozen=True)
class PromptCache:
    """Keys and values of all prompts, as the prefill leaves them.

    Attributes:
        layers: per decoder layer, keys and values [key heads, B, P, d].
        is_prompt: [B, P], bool: False behind the end of a prompt.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    is_prompt: Tensor

    @classmethod
    def of(cls, cache: DynamicCache, row: PackedRow) -> "PromptCache":
        """From the cache of a packed row of prompts."""
        index = row.prompts.index
        layers = tuple((layer.keys[0][:, index], layer.values[0][:, index]) for layer in cache.layers)
        return cls(layers, row.prompts.is_token)


class Decoder:
    """Continues R = B * K rollouts token by token; rows that have ended can be left out."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        prompts: PromptCache,
        first_positions: Tensor,
        per_study: int,
        max_new_tokens: int,
        write: Write | None = None,
    ) -> None:
        """Takes over the prompts' keys and values.

        Args:
            model: in eval mode; call under ``torch.no_grad``.
            prompts: of B studies.
            first_positions: [B], int64: rotary position of each study's first new token.
            per_study: K, rollouts of each study.
            max_new_tokens: how far the rollouts can go.
            write: is told each part of what a layer gives, where the weights are copied.
        """
        text, is_prompt = model.config.get_text_config(), prompts.is_prompt
        device = is_prompt.device
        self._model = model.model.language_model
        num_rows = len(is_prompt) * per_study
        self._layers, self._to_vocabulary = layer_projections(model, num_rows, write)
        self._write = write
        self._num_heads, self._num_key_heads = text.num_attention_heads, text.num_key_value_heads
        self._step = 0
        # R rows in rectangles of B studies and equally many rollouts; None: the rows are the rectangle.
        self._studies = torch.arange(len(is_prompt), device=device).repeat_interleave(per_study)
        self._rectangle: Tensor | None = None
        self._slots: Tensor | None = None
        self._per_study = per_study
        self._caches = [self._take_over(*layer, num_rows, max_new_tokens) for layer in prompts.layers]
        self._hidden_prompt = None if bool(is_prompt.all()) else ~is_prompt[None, :, None, :]
        self._cosines, self._sines = self._rotations(first_positions, max_new_tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        """[R, V], float32, from the states [R, H] that predict."""
        return self._to_vocabulary(hidden).float()

    def keep(self, rows: Tensor) -> None:
        """Leaves out all rows but these (indices into the present ones, ascending); their keys and values go too."""
        self._studies = self._studies[rows]
        for layer in self._caches:
            # What has not been written yet need not be moved, but a product wants one stride for all rows.
            layer.own = layer.own[:, rows]
        present, counts = torch.unique_consecutive(self._studies, return_counts=True)
        if len(present) < self._cosines.shape[0]:
            self._leave_studies(present)
        self._studies = torch.arange(len(present), device=rows.device).repeat_interleave(counts)
        self._per_study = int(counts.max())
        self._rectangle, self._slots = self._as_rectangle(counts)

    def step(self, tokens: Tensor) -> Tensor:
        """The states [R, H] that predict what follows ``tokens`` [R], the latest token of each row."""
        model = self._model
        hidden: Tensor = model.embed_tokens(tokens)
        cosine = self._cosines[self._studies, self._step].unsqueeze(1)
        sine = self._sines[self._studies, self._step].unsqueeze(1)
        num_turning = self._num_heads + self._num_key_heads
        for number, (projections, cache) in enumerate(zip(self._layers, self._caches, strict=True)):
            projected = projections.query_key_value(hidden).float()
            by_head = projected.view(len(projected), num_turning + self._num_key_heads, -1)
            turn_heads(by_head[:, :num_turning], cosine, sine)
            cache.own[:, :, self._step] = by_head[:, self._num_heads :].transpose(0, 1)
            attended, log_sums = self._attend(by_head[:, : self._num_heads], cache)
            if self._write and log_sums is not None:
                self._write(number, "heads", projected)
                self._write(number, "attended", attended)
                self._write(number, "log_sums", log_sums)
            hidden = projections.add_attention(hidden, attended.to(hidden.dtype))
            hidden = projections.add_mlp(hidden)
        self._step += 1
        return normed(hidden, model.norm)

    def _attend(self, heads: Tensor, cache: _LayerCache) -> tuple[Tensor, Tensor | None]:
        """One softmax over the prompt's and the row's own keys.

        Args:
            heads: [R, heads, d], the queries.
            cache: of the layer.

        Returns:
            [R, heads * d]; and the log sums of the scores, [R, heads], where a trace is written.
        """
        num_rows, width = len(heads), heads.shape[-1]
        grouped = heads.view(num_rows, self._num_key_heads, -1, width).transpose(0, 1)
        key_heads, _, groups, _ = grouped.shape
        # Scaled into [key heads, R, G, d] at once.
        query = torch.mul(grouped, width**-0.5, out=heads.new_empty(grouped.shape))
        end = self._step + 1
        own_keys, own_values = (own.flatten(0, 1) for own in cache.own[:, :, :end].chunk(2))
        to_prompt = self._prompt_product(query, cache.prompt_keys)
        if self._hidden_prompt is not None:
            hidden = self._hidden_prompt[:, self._studies]
            to_prompt = to_prompt.masked_fill(hidden, -torch.inf)
        to_own = torch.bmm(query.flatten(0, 1), own_keys.transpose(1, 2)).view(key_heads, num_rows, groups, end)
        scores = torch.cat([to_prompt, to_own], dim=-1)
        weights = torch.softmax(scores, dim=-1)
        prompt_length = to_prompt.shape[-1]
        from_prompt = self._prompt_product(weights[..., :prompt_length], cache.prompt_values).flatten(0, 1)
        mixed = torch.baddbmm(from_prompt, weights[..., prompt_length:].flatten(0, 1), own_values)
        attended = mixed.view(key_heads, num_rows, groups, width).transpose(0, 1).reshape(num_rows, -1)
        if self._write is None:
            return attended, None
        # The largest weight is that of the largest score, and never rounds to 0.
        log_sums = scores.amax(dim=-1) - weights.amax(dim=-1).log()
        return attended, log_sums.transpose(0, 1).reshape(num_rows, -1)

    def _prompt_product(self, rows: Tensor, prompts: Tensor) -> Tensor:
        """[key heads, R, G, m] by [key heads, B, m, n], each row by its study's: [key heads, R, G, n]."""
        key_heads, _, groups, _ = rows.shape
        by_study = rows if self._rectangle is None else rows[:, self._rectangle]
        num_studies = prompts.shape[1]
        folded = by_study.reshape(key_heads * num_studies, self._per_study * groups, -1)
        product = torch.bmm(folded, prompts.flatten(0, 1))
        flat = product.view(key_heads, num_studies * self._per_study, groups, -1)
        return flat if self._slots is None else flat[:, self._slots]

    def _take_over(self, keys: Tensor, values: Tensor, num_rows: int, max_new_tokens: int) -> _LayerCache:
        keys, values = keys.float(), values.float()
        return _LayerCache(
            prompt_keys=keys.transpose(2, 3).contiguous(),
            prompt_values=values.contiguous(),
            own=keys.new_zeros(2 * keys.shape[0], num_rows, max_new_tokens, keys.shape[-1]),
        )

    def _rotations(self, first_positions: Tensor, max_new_tokens: int) -> tuple[Tensor, Tensor]:
        """Cosines, and sines negative in the first half, [B, T, d], of all positions that the rollouts can reach."""
        steps = torch.arange(max_new_tokens, device=first_positions.device)
        positions = (first_positions.unsqueeze(1) + steps).expand(3, -1, -1)
        template = torch.zeros(1, device=first_positions.device)
        cosines, sines = self._model.rotary_emb(template, positions)
        return cosines, half_negative(sines)

    def _leave_studies(self, present: Tensor) -> None:
        self._cosines, self._sines = self._cosines[present], self._sines[present]
        if self._hidden_prompt is not None:
            self._hidden_prompt = self._hidden_prompt[:, present]
        for layer in self._caches:
            layer.prompt_keys, layer.prompt_values = layer.prompt_keys[:, present], layer.prompt_values[:, present]

    def _as_rectangle(self, counts: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Which row stands at each place of the rectangle, and the place of each row; None: no places are empty."""
        if bool((counts == self._per_study).all()):
            return None, None
        first = counts.cumsum(0) - counts
        offsets = torch.arange(self._per_study, device=counts.device)
        is_row = offsets < counts.unsqueeze(1)
        # An empty place repeats the study's first row, and nobody reads what comes of it.
        rectangle = (first.unsqueeze(1) + offsets * is_row).flatten()
        return rectangle, is_row.flatten().nonzero().squeeze(1)
