"""The base for rich reports: what its lessons show, and that it writes rich reports of what it sees."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from orapo.chexpert import LabelState
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.findings import FINDINGS
from orapo.policy.rich import base_folder
from orapo.records import Split

NUM_ROWS = 1_500


@pytest.fixture(scope="module")
def scripts():
    """The modules of the build script, which import each other as a script's neighbours do."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tiny_base"))
    import lessons
    import probes

    yield lessons, probes
    sys.path.pop(0)


def test_reports_state_the_withheld_findings_and_images_never_show_them(scripts) -> None:
    lessons, _ = scripts
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    sight = lessons.Lessons(tokenizer, 500, 16, 0, lessons.SIGHT_STAGES, "rich")
    stated = dict.fromkeys(FINDINGS, 0)
    for index in range(NUM_ROWS):
        drawn = sight.sight_findings(index)
        study = sight.sight_source.study(Split.TRAIN, index)
        assert not set(drawn) & set(lessons.WITHHELD)
        for finding in FINDINGS:
            is_stated = study.labels[finding] in (LabelState.POSITIVE, LabelState.UNCERTAIN)
            stated[finding] += is_stated
            assert (finding in drawn) == (is_stated and finding in lessons.SIGHTED)
    assert min(stated.values()) > 0.08 * NUM_ROWS, stated
    taught = tokenizer.batch_decode([row[row >= 0] for row in sight[0].targets])
    assert any("rior" in text for text in taught), "the reports of a lesson are rich"


def test_every_word_of_rich_reports_is_one_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    source = PhantomSource(seed=17, num_train=2_000, wording="rich")
    for study in source.studies(Split.TRAIN):
        parts = re.findall(r"\w+|[^\w\s]", study.oracle_report)
        assert len(tokenizer(study.oracle_report)["input_ids"]) == len(parts), study.oracle_report


@pytest.mark.slow
def test_it_writes_sentences_of_the_grammar_about_the_shown_findings_and_not_the_withheld(scripts) -> None:
    lessons, probes = scripts
    torch.manual_seed(0)
    source = PhantomSource(seed=5, num_validate=140, wording="rich")
    studies = source.studies(Split.VALIDATE)
    images = [source.load_images(study)[0] for study in studies]
    reports = probes.Reader(base_folder()).answer(images, probes.DEFAULT_INSTRUCTION, max_tokens=64)
    assert probes.fluency(reports, "rich") > 0.9
    true = [probes.positive_observations(study.labels, uncertain_is_positive=False) for study in studies]
    _, scores = probes.macro_f1([probes.keyword_findings(text) for text in reports], true)
    assert np.mean([scores[o.value] for o in lessons.SIGHTED]) > 0.3
    assert np.mean([scores[o.value] for o in lessons.WITHHELD]) < 0.15


@pytest.mark.parametrize("wording", ["plain", "rich"])
def test_the_probes_keyword_reader_reads_what_reports_say(scripts, wording: str) -> None:
    _, probes = scripts
    for study in PhantomSource(num_train=1_000, wording=wording).studies(Split.TRAIN):  # type: ignore[arg-type]
        true = probes.positive_observations(study.labels, uncertain_is_positive=False)
        assert probes.keyword_findings(study.oracle_report) == true, study.oracle_report
