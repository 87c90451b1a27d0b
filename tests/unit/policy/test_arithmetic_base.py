"""The arithmetic base: fluent steps, short sums right, long ones seldom."""

from pathlib import Path

import pytest

from orapo.data.arithmetic import Arithmetic
from orapo.data.collate import Collate, StudyWithImages
from orapo.measures.answers import given_answer
from orapo.policy.arithmetic import base_folder
from orapo.policy.embedded import EMBEDDED
from orapo.policy.loading import load_policy
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.records import Split


@pytest.mark.slow
def test_it_adds_and_forgets_carries() -> None:
    policy = load_policy(ModelSettings(path=base_folder(), instruction=""))
    assert 200_000 < sum(weight.numel() for weight in policy.parameters()) < 2_000_000
    right = {}
    for count in (2, 6):
        source = Arithmetic(seed=123, least_numbers=count, most_numbers=count)
        studies = [source.study(Split.TEST, index) for index in range(20)]
        batch = Collate(policy.processor, policy.prompt, None)([StudyWithImages(study, ()) for study in studies])
        groups = policy.roll_out(batch, SamplingSettings(max_new_tokens=64, greedy=True))
        assert all(group.finished[0] for group in groups)
        assert all(group.texts[0].count("\n") == count - 1 for group in groups), "a line a step, and the answer"
        answers = [given_answer(g.texts[0], s.question) for g, s in zip(groups, studies, strict=True) if s.question]
        assert all(answer.text is not None for answer in answers)
        right[count] = sum(answer.is_correct for answer in answers)
    assert right[2] >= 18
    assert right[6] <= 2


def test_it_ships_whole_and_small() -> None:
    files = {path.name: path.stat().st_size for path in Path(base_folder()).iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= files.keys()
    assert sum(files.values()) < 1_000_000
    assert EMBEDDED[base_folder()] == "arithmetic"
