"""What the policy computed while it sampled, kept so that the update by the same weights need not compute it again.

A rollout is a forward pass over its tokens, and the first update after it differentiates the same pass. Kept is what
the language model's layers gave for prompts and rollouts, as far as its gradient asks for it, and the probabilities;
the update takes them instead of computing them, and its gradients are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import RolloutTrace, StudyTrace
from orapo.policy.packing import PackedRow
from orapo.policy.settings import SamplingSettings
from orapo.policy.token_logps import MAX_LOGITS_AT_ONCE

Part = Literal["heads", "attended", "log_sums", "after_attention", "gate", "up", "after_layer"]
"""What is kept of a decoder layer: queries and keys, turned, and values; what the heads attended to, and the log sums
of their scores; the states behind the attention; both inputs of the MLP's product before the activation; and the states
behind the layer."""

OF_ALL_TOKENS: frozenset[Part] = frozenset({"heads", "attended", "log_sums"})
"""The parts that the last layer has for all tokens of a prompt, and not for its last token alone."""

MAX_TRACE_BYTES = 2**31
"""Above 2 GB nothing is kept: memory goes before time."""


class RolloutTracer:
    """Collects what one call of ``draw_completions`` computes: tensors that do not change any more."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        prompt_lengths: Sequence[int],
        settings: SamplingSettings,
    ) -> None:
        """Begins.

        Args:
            model: what samples.
            prompt_lengths: of B studies, in tokens.
            settings: how tokens are drawn, and how many at most.
        """
        self._prompt_lengths, self._settings = tuple(prompt_lengths), settings
        self._num_rollouts = len(prompt_lengths) * settings.per_study
        num_layers = len(model.model.language_model.layers)
        self._prompts: list[dict[Part, Tensor]] = [{} for _ in range(num_layers)]
        self._rollouts: list[dict[Part, list[Tensor]]] = [{} for _ in range(num_layers)]
        # The rollouts of each step, by their numbers, that were drawn for and that went on.
        self._drawing: list[Tensor] = []
        self._following: list[Tensor] = []
        vocabulary_size = model.get_output_embeddings().weight.shape[0]
        num_drawn = self._num_rollouts * settings.max_new_tokens
        self._probabilities: list[Tensor] | None = [] if num_drawn * vocabulary_size <= MAX_LOGITS_AT_ONCE else None

    def write_prompts(self, layer: int, part: Part, values: Tensor) -> None:
        """What a decoder layer gave for all prompts, [tokens that it goes on with, width]."""
        self._prompts[layer][part] = values

    def draw(self, rollouts: Tensor, probabilities: Tensor) -> None:
        """From what, [R, V], the next tokens of these rollouts (their numbers, ascending) are drawn."""
        self._drawing.append(rollouts)
        if self._probabilities is not None:
            self._probabilities.append(probabilities)

    def follow(self, rollouts: Tensor) -> None:
        """What is written next are the tokens of these rollouts, which others will follow."""
        self._following.append(rollouts)

    def write(self, layer: int, part: Part, values: Tensor) -> None:
        """What a decoder layer gave for these tokens, [R, width]."""
        self._rollouts[layer].setdefault(part, []).append(values)

    def trace(self) -> RolloutTrace:
        """All of it, rollout by rollout where all went on to the end, and step by step otherwise."""
        followed, drawn = self._places(self._following), self._places(self._drawing)
        layers: list[Mapping[str, Tensor]] = []
        for prompts, rollouts in zip(self._prompts, self._rollouts, strict=True):
            layer: dict[str, Tensor] = {}
            # Attention that keeps no sums leaves parts out.
            for part, values in prompts.items():
                layer[part] = self._joined(values, rollouts.get(part, []))
            rollouts.clear()
            layers.append(layer)
        probabilities = None if self._probabilities is None else self._joined(None, self._probabilities)
        return RolloutTrace(
            prompt_lengths=self._prompt_lengths,
            per_study=self._settings.per_study,
            layers=tuple(layers),
            followed=followed,
            temperature=self._settings.temperature,
            probabilities=probabilities,
            drawn=drawn,
        )

    def _places(self, steps: Sequence[Tensor]) -> Tensor:
        """[rollouts, steps]: where each token stands in ``_joined``; -1 where there is none."""
        if self._are_all(steps):
            return torch.arange(self._num_rollouts * len(steps)).view(self._num_rollouts, -1)
        places = torch.full((self._num_rollouts, len(steps)), -1)
        start = 0
        for step, rollouts in enumerate(steps):
            places[rollouts, step] = torch.arange(start, start + len(rollouts))
            start += len(rollouts)
        return places

    def _joined(self, prompts: Tensor | None, steps: list[Tensor]) -> Tensor:
        """Rows of prompts, then those of the steps."""
        num_prompts = 0 if prompts is None else len(prompts)
        some = steps[0] if prompts is None else prompts
        rows = some.new_empty(num_prompts + sum(len(step) for step in steps), some.shape[1])
        if prompts is not None:
            rows[:num_prompts] = prompts
        if steps and self._are_all(steps):
            torch.stack(steps, dim=1, out=rows[num_prompts:].view(self._num_rollouts, len(steps), -1))
        elif steps:
            torch.cat(steps, out=rows[num_prompts:])
        return rows

    def _are_all(self, steps: Sequence[Tensor]) -> bool:
        return all(len(step) == self._num_rollouts for step in steps)


def trace_bytes(model: Qwen2_5_VLForConditionalGeneration, num_tokens: int) -> int:
    """What a trace of so many tokens takes, but for its probabilities."""
    widths = [_widths(layer) for layer in model.model.language_model.layers]
    return 4 * num_tokens * sum(sum(layer.values()) for layer in widths)


def _widths(layer: Any) -> dict[Part, int]:
    attention, mlp = layer.self_attn, layer.mlp
    inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
    return {
        "heads": sum(projection.out_features for projection in inputs),
        "attended": attention.o_proj.in_features,
        "log_sums": attention.q_proj.out_features // attention.head_dim,
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
        tokens: [m], int64: where the probabilities of each leading token stand; None: as they are.
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
        lengths = whole.prompt_lengths
        num_prompt_tokens = sum(lengths)
        bodies, tokens = [], []
        for number, (study, length) in enumerate(row.completions[: len(traces) * whole.per_study]):
            rollout = traces[study].study * whole.per_study + number % whole.per_study
            bodies.append(whole.followed[rollout, : length - 1])
            tokens.append(whole.drawn[rollout, :length])
        prompts = [sum(lengths[: one.study]) + torch.arange(lengths[one.study]) for one in traces]
        ends, body = torch.tensor([one.study for one in traces]), torch.cat(bodies)
        num_bodies = len(whole.layers[-1]["heads"]) - num_prompt_tokens
        num_drawn = 0 if whole.probabilities is None else len(whole.probabilities)
        return cls(
            trace=whole,
            rows=_unless_all(torch.cat([*prompts, num_prompt_tokens + body]), num_prompt_tokens + num_bodies),
            predicting_rows=_unless_all(torch.cat([ends, len(lengths) + body]), len(lengths) + num_bodies),
            tokens=_unless_all(torch.cat(tokens), num_drawn),
        )

    def layer(self, number: int) -> Mapping[str, Tensor]:
        """What a decoder layer gave for the first tokens of those that it goes on with: [n, width] by name."""
        kept = self.trace.layers[number]
        is_last = number == len(self.trace.layers) - 1
        found = {}
        for part, values in kept.items():
            rows = self.predicting_rows if is_last and part not in OF_ALL_TOKENS else self.rows
            found[part] = values if rows is None else values[rows]
        return found

    def probabilities(self, temperature: float) -> Tensor | None:
        """[m, V] of the leading tokens, or None where they were not kept, or at another temperature."""
        kept = self.trace.probabilities
        if kept is None or temperature != self.trace.temperature:
            return None
        return kept if self.tokens is None else kept[self.tokens]


def _unless_all(index: Tensor, count: int) -> Tensor | None:
    """None for an index of everything in order, so that nothing is copied."""
    return None if torch.equal(index, torch.arange(count)) else index
