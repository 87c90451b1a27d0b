"""What is printed and written: table, CSV, LaTeX, pictures, page, the paper's rows; and how fast."""

import csv
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.comparison.run_folders import FakeRun, marks, write_run

from orapo.comparison.compare import compare_runs
from orapo.comparison.published import comparability, published_tables
from orapo.comparison.run_state import RunState
from orapo.comparison.table_files import latex_tables
from orapo.comparison.tables import comparison_tables
from orapo.experiment.compare_command import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two values of alpha and two of w_max, two seeds; one run failed, one still runs, a label with odd characters."""
    folder = tmp_path / "sweeps" / "orapo" / "2026-01-31_12-00-00"
    number = 0
    for alpha in (0.3, 0.7):
        for w_max in (0.1, 0.2):
            for seed in (0, 1):
                called, true = marks(number, 40, 0.3 + alpha / 4)
                state = {3: RunState.FAILED, 6: RunState.RUNNING}.get(number, RunState.FINISHED)
                settings = {"objective__alpha": alpha, "objective__w_max": w_max, "seed": seed}
                reason = "w_max is <b>9</b>; allowed: 0 to 1" if state is RunState.FAILED else ""
                steps = 60 if state is RunState.FINISHED else 11
                overrides = (f"objective.alpha={alpha}", f"objective.w_max={w_max}", f"seed={seed}")
                fake = FakeRun(settings, called, true, steps, None, state, reason, overrides)
                write_run(folder / f"{number}_{','.join(overrides)}", fake)
                number += 1
    return folder


def test_the_table_shows_every_run_and_state(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--sort", "name", "--baseline", "alpha=0.7, w_max=0.2"]) == 0
    out = capsys.readouterr().out
    assert "8 runs in 4 groups, sorted by name" in out
    assert re.search(r"alpha=0\.3, w_max=0\.2 +2: 1 finished, 1 failed +11–60", out)
    assert re.search(r"alpha=0\.7, w_max=0\.2 +2: 1 finished, 1 running .* baseline", out)
    assert re.search(r"failed +11 of 60 +1 .*w_max is <b>9</b>; allowed: 0 to 1", out)
    assert re.search(r"running +11 of 60 +0 ", out)
    assert "2 runs without test scores" in out


def test_the_csv_holds_groups_and_runs(sweep: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.csv"
    assert main([str(sweep), "--csv", str(path), "--published"]) == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("group"), kinds.count("run"), kinds.count("published")) == (4, 8, 68)
    group = next(row for row in rows if row["group"] == "alpha=0.7, w_max=0.1")
    runs = [row for row in rows if row["kind"] == "run" and row["group"] == group["group"]]
    values = [float(row["macro_f1"]) for row in runs]
    mean = sum(values) / 2
    assert float(group["macro_f1"]) == pytest.approx(mean, abs=1e-7)
    assert float(group["macro_f1_sd"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-7)
    assert (group["macro_f1_n"], group["setting:alpha"], group["seeds"]) == ("2", "0.7", "0 1")
    unfinished = next(row for row in rows if row["kind"] == "run" and row["state"] == "failed")
    assert (unfinished["macro_f1"], unfinished["last_step"]) == ("", "11")
    low, high = float(group["macro_f1_difference_low"]), float(group["macro_f1_difference_high"])
    assert low < float(group["macro_f1_difference"]) < high


def test_latex_is_escaped_and_marks_the_best(sweep: Path) -> None:
    text = latex_tables(comparison_tables(compare_runs([sweep], with_published=True)))
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{llrrrrrrrrr}"
    assert text.count(r"\begin{tabular}") == 3 + len(published_tables())
    rows = [line for line in lines[: lines.index(r"\end{tabular}")] if line.startswith("alpha")]
    assert len(rows) == 4
    assert all(line.count("&") == 10 for line in rows)
    assert r"w\_max" in rows[0]
    assert rows[0].split("&")[3].strip().startswith(r"\textbf{"), "the first by macro F1 is the best"
    assert sum(line.split("&")[3].count(r"\textbf") for line in rows) == 1
    assert r"$\pm$" in rows[0]
    (paper, *_) = [line for line in lines if line.startswith("OraPO (the paper)")]
    assert " & 0.237 & 0.832 & 0.341 & " in paper


class Page(HTMLParser):
    """Collects what a page would load, and checks that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tables += tag == "table"
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_no_name_is_markup_of_the_page(tmp_path: Path) -> None:
    for number in range(2):
        called, true = marks(number, 20, 0.5)
        settings = {"model__instruction": f"<i>{number}"}
        write_run(tmp_path / "runs" / f"<i>{number}", FakeRun(settings, called, true))
    (tmp_path / "runs" / "<i>1" / "test_reports.jsonl").write_text("[")
    page = tmp_path / "page.html"
    assert main([str(tmp_path / "runs"), "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<h2>Not read</h2>" in text
    assert "&lt;i&gt;1/test_reports.jsonl" in text
    assert "instruction=&lt;i&gt;0" in text
    assert "<i>" not in text


@pytest.mark.slow
def test_the_page_stands_alone(sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main([str(sweep), "--page", str(page), "--published"]) == 0
    text = page.read_text(encoding="utf-8")
    parser = Page()
    parser.feed(text)
    assert not parser.open
    assert len(parser.loaded) == 1, "the effects"
    assert all(value.startswith("data:image/svg+xml;base64,") for value in parser.loaded)
    assert set(re.findall(r"https?://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}, "a name, which nothing loads"
    assert "default-src 'none'" in text
    assert parser.tables == 3 + len(published_tables())
    assert "w_max is &lt;b&gt;9&lt;/b&gt;" in text, "text is never markup"
    assert "Made-up" not in text, "no report's words"
    again = tmp_path / "again.html"
    main([str(sweep), "--page", str(again), "--published"])
    assert again.read_bytes() == page.read_bytes(), "the same runs give the same page"


@pytest.mark.slow
def test_pictures(sweep: Path, tmp_path: Path) -> None:
    assert main([str(sweep), "--plots", str(tmp_path / "plots")]) == 0
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "curves.png",
        "effects.png",
        "observations.png",
    ]
    with Image.open(tmp_path / "plots" / "curves.png") as picture:
        assert picture.width == 1500
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    for drawn in ((0, 0, 0), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        assert drawn in colours, f"no line in {drawn}"


@pytest.mark.slow
def test_runs_that_did_not_validate_observations_have_no_picture_of_them(tmp_path: Path) -> None:
    called, true = marks(0, 20, 0.5)
    write_run(tmp_path / "old", FakeRun(called=called, true=true, has_observations=False))
    assert main([str(tmp_path / "old"), "--plots", str(tmp_path / "plots")]) == 0
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "error: nowhere is not a folder"),
        (["{sweep}", "--sort", "f1"], "error: --sort is 'f1'; allowed: macro_precision, macro_recall, macro_f1"),
        (["{sweep}", "--baseline", "beta"], "error: --baseline 'beta' names no group; the groups are: alpha=0.3"),
        (["{sweep}", "--csv", "{sweep}"], "error: "),
    ],
)
def test_errors_are_one_line(arguments: list[str], told: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument.replace("{sweep}", str(sweep)) for argument in arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == 1


def test_published_rows_are_the_papers() -> None:
    tables = {table.number: table for table in published_tables()}
    assert {number: len(table.rows) for number, table in tables.items()} == {1: 23, 2: 17, 3: 10, 5: 3, 7: 15}
    own = {number: next(row for row in table.rows if "OraPO" in row.name) for number, table in tables.items()}
    assert {number: (row.precision, row.recall, row.f1) for number, row in own.items()} == {
        1: (0.237, 0.832, 0.341),
        2: (0.237, 0.832, 0.341),
        3: (0.242, 0.891, 0.357),
        5: (0.234, 0.641, 0.288),
        7: (0.342, 0.811, 0.481),
    }
    # Check sums over all rows, added up apart from this file: in thousandths.
    sums = {
        number: [
            round(1000 * sum(getattr(row, kind) or 0.0 for row in table.rows)) for kind in ("precision", "recall", "f1")
        ]
        for number, table in tables.items()
    }
    assert sums == SUMS
    assert [row.name for row in tables[5].rows if row.is_recomputed] == ["GPT-4.1", "GPT-5 Thinking"]
    # Against OraPO's 0.641 and 0.288: +110.2 %, +13.8 %; +52.3 %, -4.3 %.
    for row, of_recall, of_f1 in zip(tables[5].rows[1:], (2.102, 1.523), (1.138, 0.957), strict=True):
        assert row.recall == pytest.approx(0.641 / of_recall, abs=5e-4)
        assert row.f1 == pytest.approx(0.288 / of_f1, abs=5e-4)


SUMS = {
    1: [6219, 5786, 4935],
    2: [5180, 4531, 4063],
    3: [2538, 2780, 3165],
    5: [234, 1367, 842],
    7: [6621, 6230, 6080],
}


def test_published_rows_stand_beside_ones_own_with_a_warning(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--published"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"alpha=0\.7, w_max=0\.1 +this comparison +0\.\d{3}", out)
    assert "NOT COMPARABLE: your runs were tested on PhantomSource, these rows on the MIMIC-CXR test split." in out
    comparison = compare_runs([sweep])
    table = published_tables()[0]
    for run in comparison.runs:
        run.settings["data.source._target_"] = "orapo.data.chexpert_plus.source.ChexpertPlusSource"  # type: ignore[index]
    assert comparability(table, comparison.groups).startswith("Your runs were tested on ChexpertPlusSource: comparable")
    untested = replace(comparison.groups[0], runs=(replace(comparison.groups[0].runs[0], state=RunState.KILLED),))
    assert comparability(table, [*comparison.groups, untested]) == comparability(table, comparison.groups)
    assert comparability(table, [untested]).startswith("None of your runs was tested yet")


@pytest.mark.slow
def test_three_hundred_runs_take_seconds(tmp_path: Path) -> None:
    called, true = marks(0, 100, 0.5)
    for number in range(300):
        settings = {"objective__alpha": number // 3 / 100, "seed": number % 3}
        write_run(tmp_path / "s" / f"{number}", FakeRun(settings, called, true, 200))
    start = time.process_time()
    comparison = compare_runs([tmp_path / "s"])
    assert time.process_time() - start < 10
    assert len(comparison.groups) == 100


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys; from orapo.experiment.compare_command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'transformers', 'wandb', 'matplotlib', 'torchmetrics', 'pyarrow', 'litellm'}\n"
        "print('heavy', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "heavy []" in done.stdout, done.stderr


def test_beside_the_reward_stands_what_it_was_earned_with_and_older_runs_have_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called, true = marks(0, 20, 0.5)
    for name in ("new", "old"):
        write_run(tmp_path / name, FakeRun({"objective__alpha": 0.3 if name == "new" else 0.7}, called, true, 20))
    path = tmp_path / "new" / "metrics.csv"
    header, *rows = path.read_text().splitlines()
    columns = "reward_precision,completion_tokens,repetition,term_facts"
    path.write_text("\n".join([f"{header},{columns}", *(f"{row},0.25,33,0.125,0.5" for row in rows)]) + "\n")
    assert main([str(tmp_path), "--sort", "reward", "--csv", str(tmp_path / "table.csv")]) == 0
    told = capsys.readouterr().out
    for words in ("precision of rollouts", "tokens per rollout", "repeated 4-grams"):
        assert words.split()[0] in told
    with (tmp_path / "table.csv").open() as file:
        cells = {row["setting:alpha"]: row for row in csv.DictReader(file) if row["kind"] == "group"}
    assert float(cells["0.3"]["repetition"]) == 0.125
    assert not cells["0.7"]["repetition"]


@pytest.mark.parametrize("option", ["csv", "latex", "page", "cases"])
def test_a_folder_in_place_of_a_file_is_refused_before_the_work(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none"), f"--{option}", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: --{option} is {str(tmp_path)!r}, a folder; name a file\n"
