"""Takes the pictures of pages in docs/: ``python docs/make_screenshots.py CASES.html RESULTS.html``, with Chromium."""

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from tests.browser import Browser  # noqa: E402

CASE = "phantom-test-000083"
"""With hits, a miss and a false alarm."""


def main(cases: Path, results: Path) -> None:
    """Writes cases.png, cases_dark.png, results_page.png."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile), 1400, 880) as browser:
        browser.open(cases, f"#{CASE}")
        browser.picture(DOCS / "cases.png")
        browser.dark()
        browser.picture(DOCS / "cases_dark.png")
        browser.dark(False)
        browser.open(results)
        browser.run("document.getElementById('curves-title').scrollIntoView()")
        browser.run("document.querySelector('#charts svg').focus({preventScroll: true})")
        browser.press(*["ArrowRight"] * 60)
        browser.picture(DOCS / "results_page.png")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/make_screenshots.py CASES.html RESULTS.html")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
