"""The metric server as a process of its own; radeval's metrics where `make radeval` has made their environment."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.metric_server import SCRIPT, ServerProcess, running_server

from orapo.measures.served import MetricServerRejected, ServedMetric, ServedMetrics, ServedSettings

RADEVAL = Path(os.environ.get("ORAPO_RADEVAL_PYTHON", SCRIPT.parents[1] / ".venv-radeval" / "bin" / "python"))
HTTP = httpx.Client(trust_env=False, timeout=30)
"""One for all: making it takes longer than an answer."""
REPORT = "Zzyzx opacity beside the quaint hilum."
"""A report whose words stand nowhere else."""
METRICS = """
import logging, subprocess, sys, time, warnings

def slow(refs, hyps):
    with open("batches.txt", "a") as log:
        log.write(f"{len(refs)}\\n")
    time.sleep(0.4)
    return [float(len(hyp)) for hyp in hyps]

def touchy(refs, hyps):
    if any("Zzyzx" in hyp for hyp in hyps):
        raise ValueError(hyps)
    return [1.0] * len(hyps)

def chatty(refs, hyps):
    print(hyps)
    print(hyps, file=sys.stderr, flush=True)
    subprocess.run(["echo", *hyps], stdout=2)
    logging.error(hyps)
    warnings.warn(str(hyps))
    return [1.0] * len(hyps)

def gaps(refs, hyps):
    return [None if "Zzyzx" in hyp else 1.0 for hyp in hyps]

METRICS = {
    "slow": slow,
    "touchy": touchy,
    "chatty": chatty,
    "nan": lambda refs, hyps: [float("nan")] * len(hyps),
    "gaps": gaps,
    "few": lambda refs, hyps: [1.0] * (len(hyps) - 1),
    "none": lambda refs, hyps: None,
}
"""
NAMES = ("slow", "touchy", "chatty", "nan", "gaps", "few", "none", "token_f1", "exact")


def options(folder: Path, *more: str) -> tuple[str, ...]:
    (folder / "own.py").write_text(METRICS)
    return ("--metrics", *NAMES, "--own", "own.py", *more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, *options(folder, "--max-pairs", "50")) as running:
        yield running
        assert "Zzyzx" not in running.log.read_text()


def score(server: ServerProcess, metrics: list[str], hyps: list[str], **body: Any) -> httpx.Response:
    content = {"refs": ["No effusion."] * len(hyps), "hyps": hyps, "metrics": metrics, **body}
    return HTTP.post(f"{server.api_base}/score", json=content)


def test_values_and_health(server: ServerProcess) -> None:
    answer = score(server, ["token_f1", "exact"], ["No effusion", "An effusion", "Clear", ""])
    assert answer.json() == {"token_f1": [1.0, 0.5, 0.0, 0.0], "exact": [1.0, 0.0, 0.0, 0.0]}
    health = HTTP.get(f"{server.api_base}/health").json()
    assert (health["status"], list(health["metrics"])) == ("ready", list(NAMES))
    assert health["metrics"]["token_f1"] == "metric_server 1"
    assert health["metrics"]["slow"].startswith("own.py ")
    assert health["versions"]["metric_server"] == "1"
    assert health["queue"] == {"waiting": 0, "size": 64}
    assert json.loads(answer.headers["Metric-Versions"]) == dict.fromkeys(["token_f1", "exact"], "metric_server 1")


BAD: list[tuple[Any, int, str]] = [
    (b"{", 400, "the body is not JSON"),
    (b"", 400, "the body is not JSON"),
    (b"[" * 5000, 400, "the body is not JSON"),
    (b"[1]", 400, "the body is no JSON object"),
    ({"refs": ["a"], "hyps": ["a"]}, 400, "'metrics' is missing"),
    (
        {"refs": ["a"], "hyps": ["a"], "metrics": ["exact"], "beta": 1},
        400,
        "'beta' is not known; allowed: refs, ",
    ),
    ({"refs": ["a"], "hyps": ["a"], "metrics": ["exact"], REPORT: 1}, 400, "a name is not known"),
    ({"refs": "a", "hyps": ["a"], "metrics": ["exact"]}, 400, "refs must be a list of at least one text"),
    ({"refs": [], "hyps": [], "metrics": ["exact"]}, 400, "refs must be a list of at least one text"),
    ({"refs": ["a"], "hyps": ["a"], "metrics": []}, 400, "metrics must be a list of at least one text"),
    ({"refs": ["a", "b"], "hyps": [REPORT, None], "metrics": ["exact"]}, 400, "hyps[1] must be a text"),
    ({"refs": ["a", "b"], "hyps": [REPORT], "metrics": ["exact"]}, 400, "hyps has 1 texts and refs 2; they must be"),
    ({"refs": ["a"] * 51, "hyps": ["a"] * 51, "metrics": ["exact"]}, 400, "refs has 51 texts; at most 50"),
    ({"refs": ["a"], "hyps": ["a"], "metrics": ["exact", "exact"]}, 400, "metrics names one twice"),
    ({"refs": ["a"], "hyps": ["a"], "metrics": ["bleu"]}, 404, "metrics: 'bleu' is not ready; known: slow, touchy, "),
    ({"refs": ["a"], "hyps": ["a"], "metrics": [REPORT]}, 404, "metrics: a name is not ready; known: slow, "),
    ({"refs": ["a"], "hyps": [REPORT], "metrics": ["touchy"]}, 500, "touchy failed (ValueError)"),
    ({"refs": ["a"], "hyps": [REPORT], "metrics": ["exact", "nan"]}, 422, "nan is no finite number for pair 0"),
    ({"refs": ["a"] * 2, "hyps": ["a", REPORT], "metrics": ["gaps"]}, 422, "gaps is no finite number for pair 1"),
    ({"refs": ["a"], "hyps": [REPORT], "metrics": ["few"]}, 500, "few gave 0 values for 1 pairs"),
    ({"refs": ["a"], "hyps": [REPORT], "metrics": ["none"]}, 500, "none failed (TypeError)"),
]


@pytest.mark.parametrize(("body", "status", "message"), BAD)
def test_bad_requests_get_one_line_without_a_word_of_a_report(
    server: ServerProcess, body: Any, status: int, message: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = HTTP.post(f"{server.api_base}/score", content=content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert message in answer.json()["error"]
    assert "Zzyzx" not in answer.text
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (f"GET /{REPORT.replace(' ', '_')} HTTP/1.1", 404),
        (f"POST /{REPORT.split()[0]} HTTP/1.1", 404),
        (f"{REPORT.split()[0]} /score HTTP/1.1", 501),
        (f"GET {REPORT} HTTP/1.1", 400),
        ("POST /score HTTP/1.1", 400),
        ("POST /score HTTP/1.1\r\nContent-Length: -1", 400),
        ("POST /score HTTP/1.1\r\nContent-Length: 99999999", 400),
        ("POST /score HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_what_is_no_request_gets_one_line_too(server: ServerProcess, request_: str, status: int) -> None:
    host, port = server.api_base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{request_}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    assert f" {status} " in answer.splitlines()[0]
    assert "Zzyzx" not in answer
    assert list(json.loads(answer.splitlines()[-1])) == ["error"]


def test_what_a_metric_prints_goes_nowhere(server: ServerProcess) -> None:
    assert score(server, ["chatty"], [REPORT]).json() == {"chatty": [1.0]}
    deadline = time.monotonic() + 10
    while "1 pairs, chatty" not in server.log.read_text():  # which it writes after its answer
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Zzyzx" not in server.log.read_text()


def test_requests_that_wait_are_scored_together_and_apart_where_one_fails(server: ServerProcess) -> None:
    sizes = server.log.parent / "batches.txt"
    sizes.write_text("")
    texts = [["a" * (place + 1)] * 2 for place in range(8)] + [[REPORT], ["Clear.", REPORT]]
    metrics = [["slow", "touchy"]] * 9 + [["slow", "gaps"]]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda names, hyps: score(server, names, hyps), metrics, texts))
    assert [answer.status_code for answer in answers] == [200] * 8 + [500, 422]
    for place, answer in enumerate(answers[:8]):
        assert answer.json() == {"slow": [place + 1.0] * 2, "touchy": [1.0] * 2}
    batches = [int(line) for line in sizes.read_text().split()]
    assert sum(batches) == 19
    assert len(batches) <= 4  # the first ones go alone; what waits meanwhile goes as one


def test_the_client_tells_which_pair_has_no_value(server: ServerProcess) -> None:
    settings = ServedSettings({"exact": ServedMetric(), "gaps": ServedMetric()}, server.api_base, cache="off")
    with pytest.raises(MetricServerRejected) as caught:
        ServedMetrics(settings).score(["Clear.", "Clear."], ["Clear.", REPORT])
    assert str(caught.value).endswith(": status 422: gaps is no finite number for pair 1")


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    full = options(tmp_path, "--queue-size", "2", "--batch-size", "1")
    with running_server(tmp_path, *full) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: score(server, ["slow"], ["abc"]), range(8)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert 2 <= len(refused) <= 5  # one is being scored, two wait
        assert {answer.json()["error"] for answer in refused} == {"the queue is full"}
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
        assert [answer.json() for answer in answers if answer.status_code == 200] == [{"slow": [3.0]}] * (
            8 - len(refused)
        )
        # The client waits for as long and gets all of its values.
        settings = ServedSettings({"slow": ServedMetric(high=99.0)}, server.api_base, 1, 8, cache="off")
        metrics = ServedMetrics(settings)
        assert metrics.score([""] * 6, ["a" * place for place in range(6)])["slow"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_what_was_asked(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path, *options(tmp_path, "--batch-size", "1")) as server, ThreadPoolExecutor(3) as pool:
        under_way = [pool.submit(score, server, ["slow"], ["abc"]) for _ in range(3)]
        time.sleep(0.3)
        server.process.send_signal(number)
        assert [each.result().json() for each in under_way] == [{"slow": [3.0]}] * 3
        assert server.process.wait(10) == 0
        assert server.log.read_text().endswith("metric server: stopped\n")


def started(*arguments: str, folder: Path) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, check=False)
    assert run.returncode != 0
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    return run.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_start_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    assert "add --allow-external" in started("--metrics", "exact", "--host", "0.0.0.0", folder=tmp_path)
    assert "--port is 99999; it must be 0 to 65535" in started("--metrics", "exact", "--port", "99999", folder=tmp_path)
    assert "--batch-size is 0" in started("--metrics", "exact", "--batch-size", "0", folder=tmp_path)
    assert "--own is nowhere.py; there is no such file" in started(
        "--metrics", "x", "--own", "nowhere.py", folder=tmp_path
    )
    (tmp_path / "number.py").write_text("METRICS = {'x': 1}")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "needs.py").write_text("import radgraph_of_another_planet")
    for name in ("empty.py", "number.py"):
        assert f"{name} needs METRICS = " in started("--metrics", "x", "--own", name, folder=tmp_path)
    assert "broken.py can't be loaded (ZeroDivisionError: " in started(
        "--metrics", "x", "--own", "broken.py", folder=tmp_path
    )
    assert "needs.py can't be loaded (ModuleNotFoundError: " in started(
        "--metrics", "x", "--own", "needs.py", folder=tmp_path
    )
    assert "radgraph is not built in (exact, token_f1) and radeval is missing" in started(
        "--metrics", "radgraph", folder=tmp_path
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port} can't be used: Address already in use" in started(
            "--metrics", "exact", "--port", port, folder=tmp_path
        )


def test_it_needs_the_standard_library_and_radeval_only() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for name in ([alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert imported - sys.stdlib_module_names == {"radeval"}


@pytest.mark.slow
@pytest.mark.skipif(not RADEVAL.is_file(), reason="radeval needs an environment of its own: make radeval")
def test_radevals_metrics_that_need_no_weights(tmp_path: Path) -> None:
    refs = ["Small left pleural effusion.", "No pneumothorax.", "The heart is enlarged."]
    hyps = ["Small left effusion.", "", "The heart is enlarged."]
    with running_server(tmp_path, "--metrics", "bleu", "rouge", "token_f1", python=str(RADEVAL)) as server:
        names = ("bleu", "rouge1", "rouge2", "rougeL")
        settings = ServedSettings({name: ServedMetric() for name in names}, server.api_base, cache="off")
        metrics = ServedMetrics(settings)
        versions = metrics.check()
        assert set(versions) == set(names)
        assert versions["bleu"].startswith("radeval 2.")
        under_way = [metrics.start(refs, hyps) for _ in range(3)]
        values = under_way[0].result()
        assert values["rougeL"] == pytest.approx([6 / 7, 0.0, 1.0])
        assert values["rouge2"] == pytest.approx([0.4, 0.0, 1.0])
        assert values["bleu"][2] == pytest.approx(1.0)
        assert values["bleu"][0] < 0.01
        assert all(each.result() == values for each in under_way)
        assert score(server, ["rouge"], hyps).status_code == 404  # values are asked for, not the metric's group
        assert server.stop() == 0
