"""Metric servers for tests: the real one as a process, and one in this process that fails on demand."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

SCRIPT = Path(__file__).parents[1] / "tools" / "metric_server.py"


class ServerProcess:
    """A running tools/metric_server.py.

    Attributes:
        process: the process.
        api_base: where it answers.
        log: the file that it writes its log to.
    """

    def __init__(self, process: "subprocess.Popen[str]", api_base: str, log: Path) -> None:
        self.process, self.api_base, self.log = process, api_base, log

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running_server(folder: Path, *options: str, python: str = sys.executable) -> Iterator[ServerProcess]:
    """The real server on a free port, stopped at the end; ``options`` follow --port."""
    log = folder / "server.log"
    with log.open("a") as stream:
        command = [python, str(SCRIPT), "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True, cwd=folder)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line.startswith("metric server at http://"), log.read_text()
        yield ServerProcess(process, line.split()[3].rstrip(":"), log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def length_share(ref: str, hyp: str) -> float:
    """The metric of ``FaultyServer``, in [0, 1]."""
    return len(hyp) / (len(ref) + len(hyp)) if ref or hyp else 0.0


class FaultyServer:
    """A server with the metrics "share" and "other" (twice of it), to be used in a ``with`` statement.

    Attributes:
        faults: of the next calls of /score, in order; None for a right answer. See ``_Handler``.
        health_faults: of the next calls of /health.
        versions: of its metrics.
        retry_after: sent with a 503.
        seconds: that each answer takes.
        calls: bodies of all calls of /score.
        times: when they came.
        most_under_way: calls at once.
    """

    def __init__(self) -> None:
        self.faults: list[str | None] = []
        self.health_faults: list[str | None] = []
        self.versions = {"share": "1", "other": "1"}
        self.retry_after = "0.3"
        self.seconds = 0.0
        self.calls: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.most_under_way = self.under_way = 0
        self.lock = threading.Lock()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "FaultyServer":
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer

    def do_GET(self) -> None:
        with self.owner.lock:
            fault = self.owner.health_faults.pop(0) if self.owner.health_faults else None
        answer = json.dumps({"metrics": self.owner.versions}) if fault != "other" else '{"status": "ok"}'
        self._answer(fault, answer, "")

    def do_POST(self) -> None:
        owner = self.owner
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            owner.calls.append(asked)
            owner.times.append(time.monotonic())
            owner.under_way += 1
            owner.most_under_way = max(owner.most_under_way, owner.under_way)
            fault = owner.faults.pop(0) if owner.faults else None
        time.sleep(owner.seconds)
        values = self._values(fault, asked)
        with owner.lock:
            owner.under_way -= 1
        self._answer(fault, values if isinstance(values, str) else json.dumps(values), asked["hyps"][0])

    def _values(self, fault: str | None, asked: dict[str, Any]) -> Any:
        shares = [length_share(ref, hyp) for ref, hyp in zip(asked["refs"], asked["hyps"], strict=True)]
        answer: dict[str, Any] = {"share": shares, "other": [2 * share for share in shares]}
        answer = {name: answer[name] for name in asked["metrics"]}
        spoiled: dict[str | None, Any] = {
            "too few": {**answer, "share": shares[:-1]},
            "too many": {**answer, "share": [*shares, 0.0]},
            "missing": {name: values for name, values in answer.items() if name != "share"},
            "null": {**answer, "share": [None, *shares[1:]]},
            "text": {**answer, "share": ["0.5", *shares[1:]]},
            "true": {**answer, "share": [True, *shares[1:]]},
            "nan": {**answer, "share": [float("nan"), *shares[1:]]},
            "infinite": json.dumps({**answer, "share": [7.25, *shares[1:]]}).replace("7.25", "1e999"),
            "huge": {**answer, "share": [10**400, *shares[1:]]},
            "number": {**answer, "share": 0.5},
            "a list": [shares],
        }
        return spoiled.get(fault, answer)

    def _answer(self, fault: str | None, body: str, quoted: str) -> None:
        if fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 10))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2].encode())
            return
        if fault == "slow":
            time.sleep(1.0)
        if fault == "html":
            body = "<html>starting</html>"
        status = int(fault) if fault is not None and fault.isdigit() else 200
        if status != 200:
            body = json.dumps({"error": f"cannot score {quoted}" if status == 422 else "out of order"})
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", self.owner.retry_after)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/score")
        self.send_header("Metric-Versions", json.dumps(self.owner.versions))
        self.end_headers()
        if fault == "drip":
            for letter in body:
                time.sleep(0.1)
                self.wfile.write(letter.encode())
            return
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Sequence[object]) -> None:
        pass
