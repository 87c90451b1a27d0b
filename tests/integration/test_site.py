"""The site of docs/, built and searched in a real browser without a network."""

import functools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.browser import Browser, browser

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert len(pages) > 30
    loaded = [found for page in pages for found in re.findall(r"<(?:script|img|link|iframe)[^>]*https?://[^>]*>", page)]
    assert [each for each in loaded if 'rel="canonical"' not in each] == []
    assert not any("unpkg" in page for page in pages)


def test_a_link_out_of_the_docs_names_the_file(site: Path) -> None:
    assert "<code>conf/evaluate.yaml</code>" in (site / "evaluation.html").read_text(encoding="utf-8")


def test_a_word_is_found(browser: Browser, address: str) -> None:
    browser.call("Page.navigate", url=f"{address}/index.html")
    deadline = time.monotonic() + 60
    while not browser.run("document.querySelector('.md-search:not([hidden])') !== null"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    browser.run("document.querySelector('.md-search__input').focus()")
    browser.call("Input.insertText", text="FactS")
    # The search says "No matching documents" for a moment before its index answers.
    while not any("Reward" in title for title in browser.texts(".md-search-result__link")):
        assert time.monotonic() < deadline, browser.texts(".md-search-result__meta")
        time.sleep(0.05)
    assert not browser.errors
