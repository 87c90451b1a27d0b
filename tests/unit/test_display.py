"""What others wrote steers no terminal, no log and no spreadsheet."""

import csv
import logging
from pathlib import Path

import pytest

from orapo.comparison.run_state import RunState
from orapo.comparison.tables import Table
from orapo.comparison.text_table import print_tables
from orapo.display import _VisibleRecord, is_formula, is_plain_id, spreadsheet_cell, visible
from orapo.errors import DataError
from orapo.evaluation.exports import EXPORTS
from orapo.evaluation.report_pairs import ReportPair

ESCAPES = ("\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\r", "\b", "\x00", "\u202e", "\u2028", "\ud800")


@pytest.mark.parametrize("escape", ESCAPES)
def test_escapes_are_shown(escape: str) -> None:
    shown = visible(f"a{escape}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.isascii()
    assert str(DataError(f"a{escape}b")) == shown
    record = _VisibleRecord("x", logging.INFO, "", 0, "a%sb", (escape,), None)
    assert record.getMessage() == shown


@pytest.mark.parametrize("text", ["", "plain", "Ünïcode \N{GRINNING FACE} 漢字", "two\nlines\tand a tab", "e\u0301"])
def test_words_stay_as_they_are(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", "- No"])
def test_formulas_are_kept_from_spreadsheets(cell: str) -> None:
    assert is_formula(cell)
    assert spreadsheet_cell(cell) == f"'{cell}"
    assert not is_plain_id(cell)


@pytest.mark.parametrize("cell", ["", "-", "-5", "+1.5e-3", "-.5", "12 %", "No effusion.", "a=b", "1-2", 5, -0.1, None])
def test_numbers_and_words_are_no_formulas(cell: object) -> None:
    assert spreadsheet_cell(cell) == cell


def test_an_exported_report_is_no_formula(tmp_path: Path) -> None:
    EXPORTS["rexrank"](tmp_path, [ReportPair("s1", "- No effusion.", "=HYPERLINK(1)", {}, {})])
    for name in ("rexrank_gt_reports.csv", "rexrank_predicted_reports.csv"):
        _, (_, report) = csv.reader((tmp_path / name).open(newline=""))
        assert report[0] == "'"


def test_a_name_on_the_terminal_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"group": "\x1b[2J[red]x", "state": RunState.FINISHED.value}
    print_tables(
        [Table("t", (row,), frozenset({"group"}), notes=("\x1b[2J",), warnings=("\x1b[2J",))], ["\x1b]0;x\x07"]
    )
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert "\x1b]" not in printed
    assert "[red]x" in printed


def test_a_login_in_an_address_is_not_shown() -> None:
    address = "https://user:pa55word@mirror.test/x and http://token@proxy.test:8080"
    shown = "https://mirror.test/x and http://proxy.test:8080"
    assert str(DataError(f"no answer of {address}")) == f"no answer of {shown}"
    assert _VisibleRecord("x", logging.INFO, "", 0, "%s", (address,), None).getMessage() == shown
    assert visible("hf://datasets/name@main") == "hf://datasets/name@main"
