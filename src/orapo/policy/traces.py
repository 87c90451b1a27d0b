"""What the policy computed while it sampled, kept so that the update by the same weights need not compute it again.

A rollout is a forward pass over its tokens, and the first update after it differentiates the same pass. Kept are the
products of the language model's layers, for prompts and rollouts, in the order of the packed row; the update takes them
instead of computing them, and its gradients are the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import RolloutTrace, StudyTrace
from orapo.policy.packing import PackedRow
from orapo.policy.token_logps import MAX_LOGITS_AT_ONCE

Product = Literal["query_key_value", "after_attention", "gate", "up", "after_layer"]
"""What is kept of a decoder layer: queries, keys and values before they are turned, the states behind the attention,
both inputs of the MLP's product before the activation, and the states behind the layer."""

MAX_TRACE_BYTES = 2**31
"""Above 2 GB nothing is kept: memory goes before time."""


class RolloutTracer:
    """Writes a trace during one call of ``draw_completions``."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        prompt_lengths: Sequence[int],
        per_study: int,
        max_new_tokens: int,
    ) -> None:
        """Makes room; memory is taken when tokens are written.

        Args:
            model: what samples.
            prompt_lengths: of B studies, in tokens.
            per_study: K.
            max_new_tokens: how far the rollouts can go.
        """
        self._num_prompt_tokens = sum(prompt_lengths)
        self._num_rollouts = len(prompt_lengths) * per_study
        self._places: tuple[Tensor | slice, int] = (slice(None), 0)
        num_followed = max_new_tokens - 1
        num_rows = self._num_prompt_tokens + self._num_rollouts * num_followed
        rooms: list[dict[str, Tensor]] = [
            {name: torch.empty(num_rows, width) for name, width in _widths(layer).items()}
            for layer in model.model.language_model.layers
        ]
        # The rollouts' part of each room, as [rollouts, tokens, width].
        self._rollouts = [
            {
                name: room[self._num_prompt_tokens :].view(self._num_rollouts, num_followed, room.shape[1])
                for name, room in layer.items()
            }
            for layer in rooms
        ]
        vocabulary_size = model.get_output_embeddings().weight.shape[0]
        shape = (self._num_rollouts, max_new_tokens, vocabulary_size)
        self._logits = torch.empty(shape) if math.prod(shape) <= MAX_LOGITS_AT_ONCE else None
        self._rooms = rooms
        self.trace = RolloutTrace(tuple(prompt_lengths), per_study, tuple(rooms), self._logits)

    def write_prompts(self, layer: int, product: Product, values: Tensor) -> None:
        """What a decoder layer gave for all prompts, [prompt tokens, width]."""
        self._rooms[layer][product][: self._num_prompt_tokens] = values

    def at(self, rollouts: Tensor, step: int) -> None:
        """What is written next belongs to these rollouts (their numbers, ascending) and to this step."""
        self._places = (slice(None) if len(rollouts) == self._num_rollouts else rollouts, step)

    def write(self, layer: int, product: Product, values: Tensor) -> None:
        """What a decoder layer gave for the tokens of this step, [R, width]."""
        self._rollouts[layer][product][self._places] = values

    def write_logits(self, logits: Tensor) -> None:
        """The logits [R, V] from which the tokens of this step are drawn."""
        if self._logits is not None:
            self._logits[self._places] = logits


def trace_bytes(model: Qwen2_5_VLForConditionalGeneration, num_tokens: int) -> int:
    """What a trace of so many tokens takes, but for its logits."""
    widths = [_widths(layer) for layer in model.model.language_model.layers]
    return 4 * num_tokens * sum(sum(layer.values()) for layer in widths)


def _widths(layer: Any) -> dict[Product, int]:
    attention, mlp = layer.self_attn, layer.mlp
    inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
    return {
        "query_key_value": sum(projection.out_features for projection in inputs),
        "after_attention": attention.o_proj.out_features,
        "gate": mlp.gate_proj.out_features,
        "up": mlp.up_proj.out_features,
        "after_layer": mlp.down_proj.out_features,
    }


@dataclass(frozen=True)
class KnownRows:
    """What a trace holds of a packed row's prompts and leading completions, which stand before all others.

    Attributes:
        trace: of the rollouts.
        rows: [n], int64: the trace's rows in the order of the packed row; None: as they are.
        tokens: [m], int64: where the logits of each leading token stand; None: as they are.
    """

    trace: RolloutTrace
    rows: Tensor | None
    tokens: Tensor | None

    @classmethod
    def of(cls, row: PackedRow, traces: Sequence[StudyTrace]) -> "KnownRows | None":
        """Looks up where everything stands.

        Args:
            row: whose leading completions are the rollouts.
            traces: of its studies, in order.

        Returns:
            None where the studies were not sampled together.
        """
        whole = traces[0].whole
        if any(one.whole is not whole for one in traces):
            return None
        first_rows = [sum(whole.prompt_lengths[:study]) for study in range(len(whole.prompt_lengths))]
        rows = [torch.arange(whole.prompt_lengths[one.study]) + first_rows[one.study] for one in traces]
        num_prompt_tokens, num_rollouts = sum(whole.prompt_lengths), len(first_rows) * whole.per_study
        room = (len(whole.layers[0]["after_layer"]) - num_prompt_tokens) // num_rollouts
        tokens = []
        for number, (study, length) in enumerate(row.completions[: len(traces) * whole.per_study]):
            rollout = traces[study].study * whole.per_study + number % whole.per_study
            rows.append(num_prompt_tokens + rollout * room + torch.arange(length - 1))
            tokens.append(rollout * (room + 1) + torch.arange(length))
        num_rows = num_prompt_tokens + num_rollouts * room
        return cls(
            whole, _unless_all(torch.cat(rows), num_rows), _unless_all(torch.cat(tokens), num_rollouts * (room + 1))
        )

    def layer(self, number: int) -> Mapping[str, Tensor]:
        """What a decoder layer gave for the first n tokens of the packed row: [n, width] by name."""
        kept = self.trace.layers[number]
        return kept if self.rows is None else {name: values[self.rows] for name, values in kept.items()}

    def logits(self) -> Tensor | None:
        """[m, V] of the leading tokens, or None where they were not kept."""
        if self.trace.logits is None:
            return None
        flat = self.trace.logits.flatten(0, 1)
        return flat if self.tokens is None else flat[self.tokens]


def _unless_all(index: Tensor, count: int) -> Tensor | None:
    """None for an index of everything in order, so that nothing is copied."""
    return None if torch.equal(index, torch.arange(count)) else index
