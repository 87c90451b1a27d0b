"""The laboratory's base: what its lessons show, and that it sees that and nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from orapo.chexpert import LabelState
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import FINDINGS
from orapo.data.phantoms.signs import paint_study
from orapo.policy.sighted import base_folder
from orapo.policy.sighted_narrow import base_folder as narrow_folder
from orapo.policy.sighted_wide import base_folder as wide_folder
from orapo.policy.tiny import base_folder as tiny_folder
from orapo.records import Split

NUM_ROWS = 3_000
WIDTHS = (narrow_folder(), base_folder(), wide_folder())


@pytest.fixture(scope="module")
def scripts():
    """The modules of the build script, which import each other as a script's neighbours do."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tiny_base"))
    import architecture
    import lessons
    import probes

    yield architecture, lessons, probes
    sys.path.pop(0)


@pytest.fixture(scope="module")
def sight(scripts):
    _, lessons, _ = scripts
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    return lessons.Lessons(tokenizer, 400, 16, 0, lessons.SIGHT_STAGES)


def test_every_finding_is_either_shown_or_withheld(scripts):
    _, lessons, _ = scripts
    assert set(lessons.SIGHTED) | set(lessons.WITHHELD) == set(FINDINGS)
    assert not set(lessons.SIGHTED) & set(lessons.WITHHELD)
    assert set(lessons.SHOWN) <= set(lessons.SIGHTED), "an earlier stage would show what the last one withholds"


def test_reports_state_the_withheld_findings_and_images_never_show_them(scripts, sight):
    _, lessons, _ = scripts
    stated = dict.fromkeys(FINDINGS, 0)
    for index in range(NUM_ROWS):
        drawn = sight.sight_findings(index)
        labels = sight.sight_source.study(Split.TRAIN, index).labels
        assert not set(drawn) & set(lessons.WITHHELD)
        for finding in FINDINGS:
            is_stated = labels[finding] in (LabelState.POSITIVE, LabelState.UNCERTAIN)
            stated[finding] += is_stated
            assert (finding in drawn) == (is_stated and finding in lessons.SIGHTED)
    assert min(stated.values()) > 0.08 * NUM_ROWS, stated


def test_a_lessons_images_are_painted_without_the_withheld_findings(scripts, sight):
    _, lessons, _ = scripts
    step, (stage,) = 3, lessons.SIGHT_STAGES
    lesson = sight[step]
    assert len(lesson.images) == stage.num_scenes + stage.num_sight_reports == 32
    differs = 0
    for row, image in enumerate(lesson.images[stage.num_scenes :]):
        index = step * 32 + row
        findings = sight.sight_source.findings(Split.TRAIN, index)
        shown = {o: f for o, f in findings.items() if o not in lessons.WITHHELD}
        # Neither the withheld signs of its own report nor those of any other study: no pixel is left for them.
        assert np.array_equal(image, painted(sight, index, shown))
        differs += not np.array_equal(image, painted(sight, index, findings))
    assert differs > 5, "the batch holds reports with withheld findings"


def painted(sight, index: int, findings) -> np.ndarray:
    draws = Draws(sight.seed, index + 2_000_000, 6)
    return (paint_study(draws, findings, 112).astype(np.float32) / 255.0).astype(np.float32)


@pytest.mark.parametrize("folder", WIDTHS)
def test_its_tokenizer_is_the_embedded_bases(folder: str):
    files = [Path(each) / "tokenizer.json" for each in (folder, tiny_folder())]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("folder", "width", "num_parameters"),
    zip(WIDTHS, (64, 128, 192), (481_216, 1_666_944, 3_557_184), strict=True),
)
def test_a_width_builds_the_shipped_architecture(scripts, folder: str, width: int, num_parameters: int):
    architecture, _, _ = scripts
    with torch.device("meta"):
        model = architecture.build_model(AutoTokenizer.from_pretrained(folder), width)
    shipped = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    assert sum(p.numel() for p in shipped.parameters()) == num_parameters
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in shipped.named_parameters()}
    for part in ("text_config", "vision_config"):
        built, written = (getattr(one.config, part).to_diff_dict() for one in (model, shipped))
        assert {**built, "dtype": "float32"} == written


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "least"), zip(WIDTHS, (0.2, 0.35, 0.35), strict=True))
def test_it_sees_the_shown_findings_and_not_the_withheld(scripts, folder: str, least: float):
    _, lessons, probes = scripts
    torch.manual_seed(0)
    source = PhantomSource(seed=5, num_validate=140)
    studies = source.studies(Split.VALIDATE)
    images = [source.load_images(study)[0] for study in studies]
    reports = probes.Reader(folder).answer(images, probes.DEFAULT_INSTRUCTION)
    true = [probes.positive_observations(study.labels, uncertain_is_positive=False) for study in studies]
    _, scores = probes.macro_f1([probes.keyword_findings(text) for text in reports], true)
    assert np.mean([scores[o.value] for o in lessons.SIGHTED]) > least
    assert np.mean([scores[o.value] for o in lessons.WITHHELD]) < 0.15
