"""The pages in a real browser: what they show, keys, filters, links, print, and how fast many cases open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.browser import Browser, browser
from tests.unit.comparison.run_folders import FakeRun, marks, write_run
from tests.unit.comparison.run_folders import pairs as labeled_pairs

from orapo.comparison.cases import Cases, CaseSystem, case_page
from orapo.data.phantoms.source import PhantomSource
from orapo.evaluation.report_pairs import ReportPair, write_report_pairs
from orapo.experiment.compare_command import main
from orapo.labeler import Labeler
from orapo.records import Split

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.slow

LABELER = Labeler()


def pairs(count: int, shift: int, repeats: int = 1) -> list[ReportPair]:
    """Phantoms' reports beside those of their neighbours, repeated to be as long as real ones."""
    source = PhantomSource()
    reports = [" ".join([source.study(Split.TEST, place).oracle_report] * repeats) for place in range(count + shift)]
    states = [LABELER.label(report).states for report in reports]
    return [ReportPair(f"s{n}", reports[n], reports[n + shift], states[n], states[n + shift]) for n in range(count)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    systems = CaseSystem("ours", pairs(40, 1)), CaseSystem("theirs", pairs(40, 2))
    source = PhantomSource()

    def images(study_id: str) -> Sequence[Image.Image]:
        return source.load_images(source.study(Split.TEST, int(study_id[1:])))

    path = tmp_path_factory.mktemp("page") / "cases.html"
    path.write_text(case_page(Cases(systems, False, False, False, images)), encoding="utf-8")
    return path


def numbers(browser: Browser) -> list[float]:
    """The first system's rewards, as listed."""
    return [float(text.split("|")[0]) for text in browser.texts("#list .reward")]


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(f"at('{name}').value = '{value}', at('{name}').dispatchEvent(new Event('input'))")


def test_keys_links_and_search(browser: Browser, page: Path) -> None:
    browser.open(page, "#s37")
    assert browser.texts("main h2") == ["s37"], "a link opens its case"
    assert browser.run("scrollY") == 0, "and the page stays at its top"
    browser.press("j", "ArrowDown")
    assert browser.texts("main h2") == ["s39"]
    browser.press("k")
    assert browser.run("location.hash") == "#s38"
    browser.press("/", "s", "1", "2")
    assert browser.run("at('search').value") == "s12", "in the search, letters are letters"
    assert browser.texts("#count") == ["1 of 40 cases"]
    browser.press("Escape", "j")
    assert browser.texts("main h2") == ["s12"]
    assert browser.texts("main section h3") == ["Radiologist", "ours", "theirs"]
    browser.press("s")
    assert browser.texts("main section h3") == ["Radiologist", "theirs", "ours"]
    assert not browser.errors


def test_filters_and_sorting(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "sort", "worst")
    assert numbers(browser) == sorted(numbers(browser))
    choose(browser, "sort", "best")
    assert numbers(browser) == sorted(numbers(browser), reverse=True)
    choose(browser, "outcome", "missed")
    choose(browser, "observation", "10")
    listed = browser.texts("#list a > :first-child")
    expected = [
        pair.study_id
        for pair in pairs(40, 1)
        if [states["Pleural Effusion"].value for states in (pair.oracle_states, pair.generated_states)]
        in (["positive", other] for other in ("negative", "uncertain", "unmentioned"))
    ]
    assert sorted(listed) == sorted(expected)
    assert listed
    assert not browser.errors


def test_marks_are_told_without_colour(browser: Browser, page: Path) -> None:
    browser.open(page, "#s3")
    style = "[each.className, getComputedStyle(each).borderBottomStyle]"
    lines = browser.run(f"[...document.querySelectorAll('.report mark')].map(each => {style})")
    assert {tuple(line) for line in lines} <= {("entailed", "solid"), ("contradicted", "dashed"), ("none", "solid")}
    tags = browser.run("[...document.querySelectorAll('.report .tag')].map(each => each.textContent)")
    assert any(tag.startswith("entailed, ") for tag in tags), "read aloud"
    assert all("✓" in tag or "✗" in tag for tag in tags)
    named = "each.labels?.length || each.alt || each.textContent.trim()"
    every = "[...document.querySelectorAll('input, select, img, button, a')]"
    unnamed = browser.run(f"{every}.filter(each => !({named}) && each.offsetParent).length")
    assert unnamed == 0
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.dark()
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
    browser.dark(False)


def test_the_open_case_is_printed(browser: Browser, page: Path) -> None:
    browser.open(page, "#s5")
    assert browser.pdf().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="print")
    hidden = browser.run("['nav', '.controls'].map(each => getComputedStyle(document.querySelector(each)).display)")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert hidden == ["none", "none"]


def test_a_thousand_cases_open_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    """Two systems, reports of some hundred words, two films of noise each, which compress worst."""
    noise = np.random.default_rng(0)
    films = [Image.fromarray(noise.normal(120, 25, (512, 512)).clip(0, 255).astype(np.uint8)) for _ in range(8)]
    systems = CaseSystem("ours", pairs(1000, 1, 4)), CaseSystem("theirs", pairs(1000, 2, 4))
    path = tmp_path / "cases.html"
    path.write_text(case_page(Cases(systems, False, False, False, lambda _: films[:2])), encoding="utf-8")
    megabytes = path.stat().st_size / 1e6
    seconds = min(browser.open(path) for _ in range(3))
    print(f"1,000 cases: {megabytes:.1f} MB, opened in {seconds:.2f} s")
    assert megabytes < 30
    assert seconds < 2
    assert browser.texts("#count") == ["1000 of 1000 cases"]


def sweep(folder: Path, num_runs: int) -> Path:
    """Groups of three seeds with their own rewards; the curve of group g is 0.1 + g / 1000 + 0.002 a step."""
    called, true = marks(0, 60, 0.5)
    for number in range(num_runs):
        rewards = [0.1 + number // 3 / 1000 + 0.002 * step for step in range(200)]
        settings = {"objective__alpha": number // 3 / 100, "seed": number % 3}
        write_run(folder / f"{number}", FakeRun(settings, called, true, 200, rewards))
    return folder


def step(told: str) -> float:
    return float(told.split()[1].rstrip("."))


def test_three_hundred_runs_are_read_hovered_and_switched(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "results.html"
    assert main([str(sweep(tmp_path / "runs", 300)), "--page", str(page)]) == 0
    seconds = min(browser.open(page) for _ in range(3))
    print(f"300 runs: {page.stat().st_size / 1e6:.1f} MB, opened in {seconds:.2f} s")
    assert seconds < 2
    assert len(browser.texts("#legend li")) == 100
    assert browser.run("document.querySelectorAll('#charts figure:first-child polyline').length") == 7
    place = "document.querySelector('#charts svg').getBoundingClientRect()"
    left, top, width = browser.run(
        f"document.querySelector('#charts').scrollIntoView(), [{place}.left, {place}.top, {place}.width]"
    )
    browser.hover(left + width * 0.55, top + 60)
    (tip,) = browser.texts("#charts figure:first-child .tip")
    assert tip.startswith("step ")
    assert "alpha=0" in tip
    browser.run("document.querySelector('#charts svg').focus()")
    browser.press("ArrowRight")
    (reading,) = browser.texts("#reading")
    assert step(reading) > step(tip), "the next one, read aloud"
    browser.run("document.querySelector('#charts select').value = 'macro_f1'")
    browser.run("document.querySelector('#charts select').dispatchEvent(new Event('input'))")
    assert "Validation macro F1" in browser.run("document.querySelector('#charts svg').getAttribute('aria-label')")
    browser.run(
        "[...document.querySelectorAll('.controls button')].find(each => each.textContent === 'draw none').click()"
    )
    assert browser.run("document.querySelectorAll('#charts polyline').length") == 0
    bars = browser.run("document.querySelectorAll('table.sortable svg.interval').length")
    assert bars >= 300, "every mean with its SD, every difference with its interval"
    browser.run("const box = document.querySelector('.controls input[type=search]'); box.value = '0.42'; box.oninput()")
    assert browser.run("[...document.querySelector('table').tBodies[0].rows].filter(each => !each.hidden).length") == 1
    assert not browser.errors


def test_the_cross_table_is_a_heat_map(browser: Browser, tmp_path: Path) -> None:
    called, true = marks(0, 40, 0.9)
    base, _ = marks(1, 40, 0.3)
    for name, terms in (("facts", {"facts": 1.0}), ("rouge", {"rouge_l": 1.0})):
        reward = {"_target_": "orapo.reward.weighted.WeightedReward", "terms": terms}
        write_run(tmp_path / name, FakeRun({"reward": reward}, called if name == "facts" else base, true))
        write_report_pairs(tmp_path / name / "base_test_reports.jsonl", labeled_pairs(base, true))
    page = tmp_path / "cross.html"
    assert main([str(tmp_path), "--cross", "--page", str(page)]) == 0
    browser.open(page)
    assert browser.run("document.querySelectorAll('table.heat').length") == 1, "all columns in one"
    cells = "[...document.querySelectorAll('table.heat td:not(.text)')]"
    risen = browser.run(f"{cells}.filter(each => each.classList.contains('sure')).map(each => each.style.background)")
    assert risen
    assert all("--up" in background for background in risen)
    assert browser.run(f"{cells}.filter(each => each.classList.contains('marked')).length") >= 1
    assert not browser.errors
