import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.labeler import Labeler, self_test
from orapo.labeler.command import main
from orapo.labeler.self_test import Statement, load_statements
from orapo.labeler.types import LabeledReport

STATES = (LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN)


def test_the_installation_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--self-test"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("self-test: ")
    assert out.endswith("all right\n")
    assert err == ""


@pytest.mark.parametrize("mode", ["none", "original"])
def test_every_observation_stands_in_every_state(mode: str) -> None:
    seen = {(o, s) for statement in load_statements() for o, s in statement.states[mode].items()}
    wanted = {(o, s) for o in OBSERVATIONS for s in (*STATES, LabelState.UNMENTIONED)}
    never = {(Observation.NO_FINDING, LabelState.NEGATIVE), (Observation.NO_FINDING, LabelState.UNCERTAIN)}
    assert seen == wanted - never


def test_the_modes_differ_somewhere_and_no_statement_stands_twice() -> None:
    statements = load_statements()
    assert 60 <= len(statements) <= 120
    assert len({statement.text for statement in statements}) == len(statements)
    assert sum(statement.states["none"] != statement.states["original"] for statement in statements) >= 1


class NeverNegates(Labeler):
    """As if every negation had got lost: what the original does when its parser's versions disagree."""

    def label(self, text: str) -> LabeledReport:
        labeled = super().label(text)
        states = {o: LabelState.POSITIVE if s is LabelState.NEGATIVE else s for o, s in labeled.states.items()}
        return LabeledReport(states, labeled.mentions)


def test_a_labeler_that_never_negates_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(self_test, "Labeler", NeverNegates)
    assert main(["--self-test"]) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert "quirks none: 'There is no evidence of pneumonia.': Pneumonia is positive, expected negative" in lines, err[
        :500
    ]
    assert f"{len(lines)} mismatches" in out
    assert len(lines) > 60


def test_a_broken_lexicon_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = self_test.load_statements
    changed = [Statement(s.text, s.states) for s in load()]
    wrong = {**changed[0].states["none"], Observation.FRACTURE: LabelState.NEGATIVE}
    changed[0] = Statement(changed[0].text, {**changed[0].states, "none": wrong})
    monkeypatch.setattr(self_test, "load_statements", lambda: tuple(changed))
    assert main(["--self-test"]) == 1
    out, err = capsys.readouterr()
    assert "1 mismatches" in out
    assert "Fracture is unmentioned, expected negative" in err


def test_missing_files_fail_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(self_test, "files", lambda _: (_ for _ in ()).throw(FileNotFoundError("self_test.toml")))
    assert main(["--self-test"]) == 1
    assert "install it again" in capsys.readouterr().err
