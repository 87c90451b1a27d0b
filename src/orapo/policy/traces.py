"""What the policy computed while it sampled, kept so that the update by the same weights need not compute it again.

A rollout is a forward pass over its tokens, and the first update after it differentiates the same pass. Kept are
products and states of the language model's layers, for prompts and rollouts, in the order of the packed row; the update
takes them instead of computing them, and its gradients are the same.
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

Part = Literal["query_key_value", "after_attention", "gate", "up", "after_layer"]
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
        self._num_rollouts = len(prompt_lengths) * per_study
        self._places: tuple[Tensor | slice, int] = (slice(None), 0)
        num_followed = max_new_tokens - 1
        self._prompts: list[dict[str, Tensor]] = []
        self._rollouts: list[dict[str, Tensor]] = []
        rooms: list[dict[str, Tensor]] = []
        layers = model.model.language_model.layers
        for layer in layers:
            room: dict[str, Tensor] = {}
            prompts: dict[str, Tensor] = {}
            rollouts: dict[str, Tensor] = {}
            for part, width in _widths(layer).items():
                # Behind the attention of the last layer, the last token of a prompt is all that counts.
                is_behind = layer is layers[-1] and part != "query_key_value"
                num_prompt_rows = len(prompt_lengths) if is_behind else sum(prompt_lengths)
                rows = torch.empty(num_prompt_rows + self._num_rollouts * num_followed, width)
                room[part], prompts[part] = rows, rows[:num_prompt_rows]
                rollouts[part] = rows[num_prompt_rows:].view(self._num_rollouts, num_followed, width)
            rooms.append(room)
            self._prompts.append(prompts)
            self._rollouts.append(rollouts)
        vocabulary_size = model.get_output_embeddings().weight.shape[0]
        shape = (self._num_rollouts, max_new_tokens, vocabulary_size)
        self._logits = torch.empty(shape) if math.prod(shape) <= MAX_LOGITS_AT_ONCE else None
        self.trace = RolloutTrace(tuple(prompt_lengths), per_study, tuple(rooms), self._logits)

    def write_prompts(self, layer: int, part: Part, values: Tensor) -> None:
        """What a decoder layer gave for all prompts, [tokens that it goes on with, width]."""
        self._prompts[layer][part].copy_(values)

    def at(self, rollouts: Tensor, step: int) -> None:
        """What is written next belongs to these rollouts (their numbers, ascending) and to this step."""
        self._places = (slice(None) if len(rollouts) == self._num_rollouts else rollouts, step)

    def write(self, layer: int, part: Part, values: Tensor) -> None:
        """What a decoder layer gave for the tokens of this step, [R, width]."""
        self._rollouts[layer][part][self._places] = values

    def write_logits(self, logits: Tensor) -> None:
        """The logits [R, V] from which the tokens of this step are drawn."""
        if self._logits is not None:
            self._logits[self._places] = logits


def trace_bytes(model: Qwen2_5_VLForConditionalGeneration, num_tokens: int) -> int:
    """What a trace of so many tokens takes, but for its logits."""
    widths = [_widths(layer) for layer in model.model.language_model.layers]
    return 4 * num_tokens * sum(sum(layer.values()) for layer in widths)


def _widths(layer: Any) -> dict[Part, int]:
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
        predicting_rows: likewise, of the tokens that predict, which are all behind the last layer's attention.
        tokens: [m], int64: where the logits of each leading token stand; None: as they are.
    """

    trace: RolloutTrace
    rows: Tensor | None
    predicting_rows: Tensor | None
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
        lengths, num_rollouts = whole.prompt_lengths, len(whole.prompt_lengths) * whole.per_study
        num_prompt_tokens = sum(lengths)
        num_followed = (len(whole.layers[-1]["query_key_value"]) - num_prompt_tokens) // num_rollouts
        bodies, tokens = [], []
        for number, (study, length) in enumerate(row.completions[: len(traces) * whole.per_study]):
            rollout = traces[study].study * whole.per_study + number % whole.per_study
            bodies.append(rollout * num_followed + torch.arange(length - 1))
            tokens.append(rollout * (num_followed + 1) + torch.arange(length))
        prompts = [sum(lengths[: one.study]) + torch.arange(lengths[one.study]) for one in traces]
        ends, body = torch.tensor([one.study for one in traces]), torch.cat(bodies)
        num_bodies = num_rollouts * num_followed
        return cls(
            trace=whole,
            rows=_unless_all(torch.cat([*prompts, num_prompt_tokens + body]), num_prompt_tokens + num_bodies),
            predicting_rows=_unless_all(torch.cat([ends, len(lengths) + body]), len(lengths) + num_bodies),
            tokens=_unless_all(torch.cat(tokens), num_bodies + num_rollouts),
        )

    def layer(self, number: int) -> Mapping[str, Tensor]:
        """What a decoder layer gave for the first tokens of those that it goes on with: [n, width] by name."""
        kept = self.trace.layers[number]
        is_last = number == len(self.trace.layers) - 1
        found = {}
        for part, values in kept.items():
            rows = self.predicting_rows if is_last and part != "query_key_value" else self.rows
            found[part] = values if rows is None else values[rows]
        return found

    def logits(self) -> Tensor | None:
        """[m, V] of the leading tokens, or None where they were not kept."""
        if self.trace.logits is None:
            return None
        flat = self.trace.logits.flatten(0, 1)
        return flat if self.tokens is None else flat[self.tokens]


def _unless_all(index: Tensor, count: int) -> Tensor | None:
    """None for an index of everything in order, so that nothing is copied."""
    return None if torch.equal(index, torch.arange(count)) else index
