"""Random texts, answers, overrides and files against everything that reads what others wrote.

The seed is fixed. To look further, with other seeds and for so many minutes of processor time a test:
ORAPO_FUZZ_MINUTES=10 pytest tests/integration/test_fuzz.py -k labeler. What a failure prints becomes a test of its own.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.comparison.evaluation_folder import read_evaluation
from orapo.comparison.run_folder import read_run
from orapo.comparison.run_state import RunState
from orapo.data.ranking import read_ranking
from orapo.data.report_sections import parse_sections
from orapo.data.study_table import StudyTable
from orapo.data.subset_manifest import SubsetManifest
from orapo.data.tables import read_columns
from orapo.errors import DataError, OrapoError, RunPaused
from orapo.experiment.command_line import compose_config
from orapo.experiment.finished_run import read_saved
from orapo.experiment.judge_tasks import read_labels, read_reports_with_labels
from orapo.experiment.written_reports import ReportFile, ScoreFile
from orapo.foreign import parse_json
from orapo.labeler import Labeler
from orapo.measures.served_server import _values
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.answers import Asked
from orapo.policy.vllm.requests import SamplingRules
from orapo.records import Fact
from orapo.remote.call_errors import CallError, InvalidAnswer, quotable
from orapo.reward.llm.answers import key_of, read_combined, read_facts, read_verdicts
from orapo.reward.llm.attributes import read_attributes
from orapo.reward.llm.litellm_client import plain_completion
from orapo.reward.llm.rubric import Grader, load_rubric

pytestmark = pytest.mark.slow

SLOWEST_SECONDS = 5.0
"""Of one example, on a busy machine: what is quadratic takes minutes."""

WORDS = r"""FINDINGS:|IMPRESSION:|**Findings:**|1. IMPRESSION|FINAL REPORT|______|.|, |: |; |/|(|)|[|]|<br>|</p>
|no |and |or |possible |without |not |left |right |both |cannot exclude |versus |effusion|pneumothorax|the heart is
|enlarged|edema|lungs are clear|opacity|catheter|fracture|normal|no new |1.5 cm |___|XXXX|N/A|-|--|=1+1|see above
|compared to |resolved|unchanged|"|'|,|0|9999999999|:::|a|A""".replace("\n|", "|")
PIECES = st.sampled_from(
    [
        *WORDS.split("|"),
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "\x00",
        "\x1b[2J",
        "\ud800",
        "\u2028",
        "\u202e",
        "e\u0301",
        "\U0001f600",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(PIECES, max_size=60).map("".join),
    st.builds(lambda piece, times: piece * times, PIECES, st.integers(1, 4_000)),
    st.builds(lambda one, other, times: (one + other) * times, PIECES, PIECES, st.integers(1, 2_000)),
)
NUMBERS = st.one_of(st.integers(), st.integers(-3, 30), st.floats(), st.sampled_from([10**30, -(10**400), 10**18]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8), PIECES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
BOMBS = st.sampled_from(
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        "1" * 5_000,
        "[1" + ",1" * 50_000,
        '"' + "\\" * 9_999,
        "\ufeff{}",
        "",
        "\x00",
        "- " * 9_000,
    ]
)

REPORT = "The heart is enlarged. There is a small left pleural effusion, no pneumothorax."
FACTS = (Fact("enlarged heart", 0, 0, 21), Fact("small left pleural effusion", 1, 23, 78))
VERDICTS = {key_of(each): {"verdict": "not mentioned", "supported_by": []} for each in OBSERVATIONS}


def spoiled(right: str) -> st.SearchStrategy[str]:
    """A right text with pieces put in, taken out or written twice."""

    def spoil(cuts: list[tuple[float, float, str]]) -> str:
        text = right
        for start, length, put in cuts:
            at = int(start * len(text))
            text = text[:at] + put + text[at + int(length * 12) :]
        return text

    cut = st.tuples(
        st.floats(0, 1), st.floats(0, 1), st.one_of(PIECES, st.sampled_from([*'{}[]",:', "null", "1e999", "NaN"]))
    )
    return st.lists(cut, max_size=4).map(spoil)


def other_values(right: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A right object of which some values, at any depth, are others, are missing, or stand under another key."""

    def spoil(changes: list[tuple[float, Any, str]]) -> dict[str, Any]:
        content = json.loads(json.dumps(right))
        for place, value, how in changes:
            spots = list(_spots(content))
            if not spots:
                break
            holder, key = spots[int(place * (len(spots) - 1))]
            if how == "gone":
                del holder[key]
            elif how == "added" and isinstance(holder, dict):
                holder[str(value)[:20]] = value
            else:
                holder[key] = value
        return dict(content)

    change = st.tuples(st.floats(0, 1), JSON, st.sampled_from(["other", "gone", "added"]))
    return st.lists(change, max_size=3).map(spoil)


def _spots(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def look(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Checks so many examples of a fixed seed, or as many as take ORAPO_FUZZ_MINUTES of other ones."""

    def run(*, is_fixed: bool) -> None:
        @settings(
            max_examples=examples,
            derandomize=is_fixed,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(example: Any) -> None:
            # The first of two may have to import something.
            assert seconds_of(example) < SLOWEST_SECONDS or seconds_of(example) < SLOWEST_SECONDS

        def seconds_of(example: Any) -> float:
            began = time.process_time()
            check(example)
            return time.process_time() - began

        one()

    end = time.process_time() + 60 * float(os.environ.get("ORAPO_FUZZ_MINUTES", 0))
    run(is_fixed=True)
    while time.process_time() < end:
        run(is_fixed=False)


# ---- texts


def test_labeler() -> None:
    labelers = (Labeler(), Labeler("original"))

    def check(text: str) -> None:
        for labeler in labelers:
            read = labeler.label(text)
            assert tuple(read.states) == OBSERVATIONS
            assert labeler.label(text) == read
            assert all(0 <= mention.start < mention.end <= len(text) for mention in read.mentions)
            others = {o for o, state in read.states.items() if state is LabelState.POSITIVE}
            if Observation.NO_FINDING in others:
                assert others <= {Observation.NO_FINDING, Observation.SUPPORT_DEVICES}

    look(TEXTS, check, 150)


def test_section_parser() -> None:
    def check(text: str) -> None:
        sections = parse_sections(text)
        letters = re.sub(r"\s", "", text)
        for name, body in sections.items():
            assert name == name.lower()
            assert body == body.strip()
            assert all(re.sub(r"\s", "", line) in letters for line in body.splitlines()), name

    look(TEXTS, check, 300)


# ---- answers


def test_judge_answers() -> None:
    grader = Grader(load_rubric(None), "v1")
    names = re.findall(r"^- (\w+): ", grader.request(REPORT, REPORT).messages[0]["content"], re.MULTILINE)
    facts = [{"sentence": 0, "text": "enlarged heart"}, {"sentence": 1, "text": "small left pleural effusion"}]
    right = {
        "facts": facts,
        "verdicts": VERDICTS | {"cardiomegaly": {"verdict": "entailed", "supported_by": [0]}},
        "criteria": {name: {"met": False, "sentences": []} for name in names},
        "attributes": [
            {"sentence": 1, "finding": "pleural_effusion", "kind": "side", "value": "left", "words": "left"}
        ],
    }
    readers: list[Callable[[str], Any]] = [
        lambda answer: read_facts(answer, REPORT),
        lambda answer: read_verdicts(answer, FACTS),
        lambda answer: read_combined(answer, REPORT),
        lambda answer: read_attributes(answer, REPORT),
        lambda answer: grader.read(answer, REPORT),
    ]

    def check(answer: str) -> None:
        for reader in readers:
            with contextlib.suppress(InvalidAnswer):
                reader(answer)

    keys = [("facts",), ("verdicts",), ("facts", "verdicts"), ("attributes",), ("criteria",)]
    objects = [{key: right[key] for key in each} for each in keys]
    for reader, each in zip(readers, objects, strict=True):
        reader(json.dumps(each))  # what is spoiled below is right to begin with
    answers = [spoiled(json.dumps(each)) for each in objects] + [other_values(each).map(json.dumps) for each in objects]
    look(st.one_of(*answers, TEXTS, BOMBS, JSON.map(json.dumps)), check, 250)


def test_server_bodies() -> None:
    settings_ = SamplingSettings(per_study=1, temperature=1.0, top_p=1.0, max_new_tokens=4, min_new_tokens=1)
    rules = SamplingRules(stop_ids=(2,), banned_ids=frozenset({3}), num_tokens=1000)
    asked = Asked("s1", "adapter", (1, 7, 1), 7, settings_, rules, (1, 2))
    completion = {
        "model": "adapter",
        "prompt_token_ids": [1, 7, 1],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "clear"},
                "token_ids": [5, 2],
                "logprobs": {
                    "content": [{"token": "token_id:5", "logprob": -1.0}, {"token": "token_id:2", "logprob": -1.0}]
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        "error": {"message": "no " * 100},
    }
    assert asked.read(completion)[0].token_ids == (5, 2)

    def check(answer: Any) -> None:
        body = json.dumps(answer).encode()
        with contextlib.suppress(RunPaused, DataError):
            asked.read(parse_json(body, "the answer"))
        plain = plain_completion(body)
        assert not plain or json.loads(plain)["object"] == "chat.completion"
        with contextlib.suppress(CallError):
            _values("metric", answer, 2)
        assert len(quotable(body.decode(), ("a report",))) < 200

    look(st.one_of(other_values(completion), JSON), check, 300)


# ---- config


@cache
def known_keys() -> tuple[str, ...]:
    from orapo.experiment.config_keys import _paths

    return tuple(_paths(compose_config([])))


def test_config_overrides() -> None:
    values = st.one_of(
        PIECES,
        NUMBERS.map(str),
        st.sampled_from(
            ["null", "true", "[]", "{}", "[1,2]", "{a:1}", "${seed}", "${nope}", "${oc.env:HOME}", "???", "'"]
        ),
        st.text(max_size=10),
    )
    keys = st.one_of(st.sampled_from(known_keys()), st.text(max_size=10))
    overrides = st.lists(
        st.builds(
            lambda mark, key, value: f"{mark}{key}={value}", st.sampled_from(["", "", "+", "++", "~"]), keys, values
        ),
        max_size=2,
    )

    def check(arguments: list[str]) -> None:
        from orapo.experiment.config import read_experiment

        with contextlib.suppress(OrapoError):
            config = compose_config(arguments)
            read_experiment(config)

    look(overrides, check, 8)


def test_config_files(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    right = OmegaConf.to_yaml(compose_config([]))
    path = tmp_path / "config.yaml"

    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="replace")
        with contextlib.suppress(OrapoError):
            read_saved(path)
        read_run(tmp_path)

    aliases = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    look(st.one_of(spoiled(right), TEXTS, BOMBS, JSON.map(json.dumps), st.just(aliases)), check, 25)


# ---- files


RUN = {
    "run_state.json": {
        "state": "running", "overrides": ["seed=1"], "reason": "", "host": "h", "process_id": 1, "process_start": None,
        "since": "2026-01-01T00:00:00+00:00",
    },
    "summary.json": {
        "trained": {"clinical": {"macro": {"f1": 0.5, "precision": 0.1, "recall": 1}}, "seconds_per_study": 1.0},
        "counts": {"training_steps": 4},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(RUN))
def test_run_records(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")

    def check(text: str) -> None:
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        run = read_run(tmp_path)
        assert run.state in RunState
        assert run.reason.isprintable()

    right = RUN[name]
    look(st.one_of(other_values(right).map(json.dumps), spoiled(json.dumps(right)), BOMBS), check, 60)


def test_evaluations(tmp_path: Path) -> None:
    measures = {f"all_14/{a}/{k}": {"value": 0.5, "low": 0.1, "high": 0.9} for a in ("macro", "micro") for k in ("f1",)}
    measures |= {f"{a}/{k}": {"value": 0.5, "low": 0.1, "high": 0.9} for a in ("macro", "micro") for k in ("f1",)}
    right = {
        "format": 1, "name": "e", "settings": {"seed": 1, "data": {"uncertain_is_positive": False}},
        "data": {"num_studies": 2}, "scores": {"system": {"measures": measures}},
    }  # fmt: skip

    def check(text: str) -> None:
        (tmp_path / "evaluation.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        evaluation = read_evaluation(tmp_path)
        assert evaluation.reason.isprintable()

    look(st.one_of(other_values(right).map(json.dumps), spoiled(json.dumps(right)), BOMBS), check, 60)


def test_reports_files(tmp_path: Path) -> None:
    for name in ("0.png", "1.png"):
        Image.new("L", (32, 32)).save(tmp_path / name)
    row = {"study_id": "s1", "generated_report": "No effusion.", "oracle_labels": {}, "system": "system", "score": 0.5}
    lines = f"{json.dumps(row)}\n{json.dumps(row | {'study_id': 's2'})}\n"
    table = (
        "study_id,patient_id,split,image_path,view,report,generated_report,zero_reward_rate\n"
        's1,p1,train,0.png,PA,"No, effusion.",Normal.,0.5\ns2,p2,test,1.png,AP,Clear.,Normal.,1\n'
    )
    subset = json.dumps({"study_ids": ["s1"], "num_requested": 1, "num_pool": 1})
    readers: dict[str, Callable[[Path], Any]] = {
        "reports.jsonl": lambda path: ReportFile(path),
        "reports.csv": lambda path: ReportFile(path),
        "scores.jsonl": lambda path: ScoreFile(path),
        "scores.csv": lambda path: ScoreFile(path),
        "labels.json": lambda path: read_labels(str(path)),
        "labels.csv": lambda path: read_labels(str(path)),
        "rollouts.jsonl": lambda path: read_reports_with_labels(str(path), None),
        "columns.csv": lambda path: read_columns(path, ["study_id"], ["split"]),
        "columns.parquet": lambda path: read_columns(path, ["study_id"], ["split"]),
        "ranking.csv": lambda path: read_ranking(path),
        "subset.json": lambda path: SubsetManifest.read(path),
        "studies.csv": lambda path: StudyTable(csv=str(path), root=str(tmp_path)).open(),
    }

    def check(example: tuple[str, str]) -> None:
        name, text = example
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(DataError):
            readers[name](path)

    contents = st.one_of(
        spoiled(lines), spoiled(table), spoiled(subset), other_values(row).map(json.dumps), TEXTS, BOMBS
    )
    look(st.tuples(st.sampled_from(list(readers)), contents), check, 250)
