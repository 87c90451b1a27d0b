"""The decoding loop: rows that end at different times, adapters, low precision, and what decides a draw."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.decoding import SharedPrefixDecoder
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.rollouts import StopRules, sample_completions
from orapo.policy.sampling import sample_tokens
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    """Prompts of three lengths, so that some are padded."""
    rows = [
        (make_study("a", "x"), (noise_image(0, (112, 84)),)),
        (make_study("b", "x", views=2), (noise_image(1, (56, 56)), noise_image(2, (84, 112)))),
        (make_study("c", "x"), (noise_image(3, (56, 84)),)),
        (make_study("d", "x"), (noise_image(4, (56, 84)),)),
    ]
    return collate(rows)


def test_rows_that_end_at_different_times_keep_their_log_probabilities(
    random_policy: Policy, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    keep = SharedPrefixDecoder.keep

    def watched(self: SharedPrefixDecoder, studies: Tensor, rows: Tensor) -> None:
        keep(self, studies, rows)
        seen.append((len(studies), len(rows) // len(studies)))

    monkeypatch.setattr(SharedPrefixDecoder, "keep", watched)
    torch.manual_seed(5)
    rules = random_policy.stop_rules
    often = StopRules(torch.arange(40, 90), rules.banned)
    settings = SamplingSettings(per_study=5, temperature=3.0, max_new_tokens=30)
    drawn = sample_completions(SharedPrefixDecoder, random_policy.model.eval(), batch, settings, often)
    assert {count for count, _ in seen} >= {3, 4}, "no study left the batch before the others"
    assert len({per_study for _, per_study in seen}) > 1, "no row left a study before the others"
    ids = [[ids for ids, _, _ in drawn[first : first + 5]] for first in range(0, 20, 5)]
    scored = [logps for study in random_policy(batch, ids, 3.0) for logps in study]
    for (tokens, kept, finished), now in zip(drawn, scored, strict=True):
        torch.testing.assert_close(kept, now.detach(), atol=1e-4, rtol=0)
        assert finished == (40 <= int(tokens[-1]) < 90)
        assert not ((tokens[:-1] >= 40) & (tokens[:-1] < 90)).any(), "a rollout went on behind its end"


def adapted_policy(folder: Path, dtype: str = "float32") -> Policy:
    lora = LoraSettings(rank=2, alpha=4)
    policy = load_policy(
        ModelSettings(path=str(folder), instruction="Write.", lora=lora, trainable="language", dtype=dtype)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return policy


def sample(policy: Policy, batch: StudyBatch, num_tokens: int = 8) -> tuple[Tensor, Tensor]:
    """(kept, scored) log-probabilities of one rollout of two per study."""
    settings = SamplingSettings(per_study=2, max_new_tokens=num_tokens, min_new_tokens=num_tokens)
    groups = policy.roll_out(batch, settings, seeds=[1, 2, 3, 4])
    scored = policy(batch, [group.token_ids for group in groups])
    kept = torch.cat([logps for group in groups for logps in group.old_logps])
    return kept, torch.cat([logps for study in scored for logps in study]).detach()


def test_an_adapter_is_sampled_from(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = adapted_policy(random_model_folder)
    kept, scored = sample(policy, batch)
    torch.testing.assert_close(kept, scored, atol=1e-4, rtol=0)
    with policy.adapter.disable_adapter():
        base, _ = sample(policy, batch)
    assert (base - kept).abs().max() > 1e-2


def test_bfloat16_weights_are_sampled_as_precisely_as_they_are_scored(
    random_model_folder: Path, batch: StudyBatch
) -> None:
    kept, scored = sample(adapted_policy(random_model_folder, "bfloat16"), batch, num_tokens=20)
    assert (kept - scored).abs().mean() < 0.05
    assert kept.std() > 0.3


def test_seeds_make_a_study_independent_of_its_neighbours(random_policy: Policy, batch: StudyBatch) -> None:
    settings = SamplingSettings(per_study=3, max_new_tokens=10)
    together = random_policy.roll_out(batch, settings, seeds=[11, 12, 13, 14])
    torch.manual_seed(99)
    apart = random_policy.roll_out(batch.select([2, 0]), settings, seeds=[13, 11])
    for group, same in ((together[2], apart[0]), (together[0], apart[1])):
        assert [ids.tolist() for ids in group.token_ids] == [ids.tolist() for ids in same.token_ids]
    other = random_policy.roll_out(batch.select([2]), settings, seeds=[15])[0]
    assert [ids.tolist() for ids in other.token_ids] != [ids.tolist() for ids in apart[0].token_ids]
    assert len({tuple(ids.tolist()) for ids in together[0].token_ids}) == 3, "rollouts of a study repeat each other"


def draws(settings: SamplingSettings, banned: Tensor) -> Tensor:
    """Relative frequency of each of four tokens among many draws."""
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(40_000, -1)
    uniform = torch.rand(len(logits), generator=torch.Generator().manual_seed(0))
    tokens, logps = sample_tokens(logits, banned, uniform, settings)
    expected = torch.log_softmax(logits / settings.temperature, dim=-1)
    torch.testing.assert_close(logps, expected.gather(1, tokens.unsqueeze(1)).squeeze(1))
    return torch.bincount(tokens, minlength=4) / len(tokens)


@pytest.mark.parametrize(
    ("settings", "banned", "expected"),
    [
        (SamplingSettings(), [0, 0, 0, 0], [0.5, 0.3, 0.15, 0.05]),
        (SamplingSettings(), [1, 0, 0, 0], [0, 0.6, 0.3, 0.1]),
        (SamplingSettings(temperature=0.5), [0, 0, 0, 0], [0.6849, 0.2466, 0.0616, 0.0068]),
        (SamplingSettings(top_p=0.75), [0, 0, 0, 0], [0.625, 0.375, 0, 0]),
        (SamplingSettings(top_p=0.55), [1, 0, 0, 0], [0, 1, 0, 0]),
        (SamplingSettings(top_k=2), [0, 0, 0, 0], [0.625, 0.375, 0, 0]),
        (SamplingSettings(top_k=2), [1, 0, 0, 0], [0, 2 / 3, 1 / 3, 0]),
        (SamplingSettings(top_k=9), [0, 0, 0, 0], [0.5, 0.3, 0.15, 0.05]),
        (SamplingSettings(min_p=0.5), [0, 0, 0, 0], [0.625, 0.375, 0, 0]),
        (SamplingSettings(min_p=0.5), [1, 0, 0, 0], [0, 2 / 3, 1 / 3, 0]),
        # Of 0.625 and 0.375, which top-k leaves, the first alone holds 0.6.
        (SamplingSettings(top_k=2, top_p=0.6), [0, 0, 0, 0], [1, 0, 0, 0]),
        (SamplingSettings(greedy=True), [1, 0, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(
    settings: SamplingSettings, banned: list[int], expected: list[float]
) -> None:
    frequencies = draws(settings, torch.tensor(banned, dtype=torch.bool))
    torch.testing.assert_close(frequencies, torch.tensor(expected, dtype=torch.float32), atol=0.01, rtol=0)
    assert not (frequencies[torch.tensor(expected) == 0] > 0).any()


@pytest.mark.parametrize("vocabulary_size", [63, 64, 200, 256])
def test_blocks_of_tokens_change_no_draw(vocabulary_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, vocabulary_size, generator=generator)
    banned = torch.rand(vocabulary_size, generator=generator) < 0.2
    uniform = torch.rand(len(logits), generator=generator)
    tokens, _ = sample_tokens(logits, banned, uniform, SamplingSettings())
    ends = torch.softmax(logits.double(), dim=-1).masked_fill(banned, 0).cumsum(dim=-1)
    level = uniform.double().unsqueeze(1) * ends[:, -1:]
    assert not banned[tokens].any()
    assert len(tokens.unique()) > 0.7 * vocabulary_size
    end = ends.gather(1, tokens.unsqueeze(1))
    start = torch.where(tokens.unsqueeze(1) > 0, ends.gather(1, (tokens.unsqueeze(1) - 1).clamp_min(0)), 0)
    assert bool((level > start - 1e-5).all())
    assert bool((level < end + 1e-5).all())


def test_the_largest_uniform_number_lands_on_no_banned_token() -> None:
    logits = torch.tensor([[1.0, 2.0, 30.0, -5.0]])
    banned = torch.tensor([False, False, False, True])
    almost_one = torch.tensor([1 - 2**-24])
    tokens, _ = sample_tokens(logits, banned, almost_one, SamplingSettings())
    assert int(tokens) == 2


class Casts(TorchDispatchMode):
    """How many numbers each cast reads."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ == "_to_copy":
            self.sizes.append(args[0].numel())
        return function(*args, **(kwargs or {}))


def test_under_autocast_no_token_casts_the_keys_that_are_kept(random_policy: Policy, batch: StudyBatch) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        decoder = SharedPrefixDecoder(random_policy.model.eval(), batch, 1, 4)
        (kept,) = {layer.prompt_keys.numel() for layer in decoder._caches}
        with Casts() as casts:
            decoder.step(torch.zeros(len(batch), dtype=torch.int64))
    assert casts.sizes, "autocast rounds nothing"
    assert max(casts.sizes) < kept
