"""Scores pairs of reports over HTTP, in an environment of its own: docs/metric_server.md.

One file that imports nothing of this project. The standard library is enough for the built-in metrics; radeval is
imported where one of its metrics is asked for. No report's words get into an answer's error or into the log.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import inspect
import ipaddress
import json
import logging
import math
import os
import platform
import queue
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "1"
"""Of the built-in metrics: to be raised whenever a value of theirs changes."""
LARGEST_BODY = 16_000_000
SECONDS_FOR_A_REQUEST = 60.0
SECONDS_TO_STOP = 5.0

Texts = list[str]
Values = dict[str, list[float]]
Scorer = Callable[[Texts, Texts], Values]
"""(references, hypotheses) -> the values of each pair, by metric."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Refused(Exception):
    """A request that isn't answered with values.

    Attributes:
        status: of HTTP.
        reason: one line, without a word of a report.
        retry_after: seconds, where asking again makes sense.
    """

    def __init__(self, status: HTTPStatus, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


# ---- metrics


def token_f1(refs: Texts, hyps: Texts) -> list[float]:
    """F1 over lower-case words, each as often as it stands there; 1 for two texts without words."""
    return [_overlap(_words(ref), _words(hyp)) for ref, hyp in zip(refs, hyps, strict=True)]


def exact(refs: Texts, hyps: Texts) -> list[float]:
    """1 where both texts have the same words in the same order."""
    return [float(_words(ref) == _words(hyp)) for ref, hyp in zip(refs, hyps, strict=True)]


BUILT_IN: dict[str, Callable[[Texts, Texts], list[float]]] = {"exact": exact, "token_f1": token_f1}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _overlap(ref: list[str], hyp: list[str]) -> float:
    if not (ref or hyp):
        return 1.0
    return 2 * (Counter(ref) & Counter(hyp)).total() / (len(ref) + len(hyp))


@dataclass(frozen=True)
class Loaded:
    """A scorer with its weights in memory.

    Attributes:
        scorer: gives all of ``names`` at once.
        names: of its metrics.
        version: changes whenever a value may.
    """

    scorer: Scorer
    names: tuple[str, ...]
    version: str


def load(name: str, own: dict[str, Loaded], allow_external: bool) -> Loaded:
    """One name of ``--metrics``: an own metric, a built-in one, or RadEval's.

    Raises:
        SystemExit: nobody knows it, or it would send reports away.
    """
    if name in own:
        return own[name]
    if name in BUILT_IN:
        function = BUILT_IN[name]
        return Loaded(lambda refs, hyps: {name: function(refs, hyps)}, (name,), f"metric_server {VERSION}")
    return _load_radeval(name, allow_external)


def load_own(path: str) -> dict[str, Loaded]:
    """The functions in ``METRICS`` of a Python file, each (references, hypotheses) -> values.

    Raises:
        SystemExit: no such file, or no such mapping in it.
    """
    file = Path(path)
    if not file.is_file():
        sys.exit(f"metric server: --own is {path}; there is no such file")
    spec = importlib.util.spec_from_file_location("own_metrics", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.exit(f"metric server: {path} can't be loaded ({_told(error)})")
    functions = getattr(module, "METRICS", {})
    if not functions or not all(_NAME.fullmatch(str(name)) and callable(each) for name, each in functions.items()):
        sys.exit(f'metric server: {path} needs METRICS = {{"NAME": function}}, names of letters, digits, _ . and -')
    version = f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    return {name: Loaded(_named(name, function), (name,), version) for name, function in functions.items()}


def _named(name: str, function: Callable[[Texts, Texts], list[float]]) -> Scorer:
    return lambda refs, hyps: {name: function(refs, hyps)}


def _load_radeval(name: str, allow_external: bool) -> Loaded:
    try:
        from radeval import RadEval
        from radeval.metrics._registry import METRIC_REGISTRY, get_metric_class
    except ImportError as error:
        sys.exit(f"metric server: {name} is not built in ({', '.join(BUILT_IN)}) and radeval is missing: {error}")
    if name not in METRIC_REGISTRY:
        sys.exit(f"metric server: --metrics has {name!r}; allowed: {', '.join([*BUILT_IN, *METRIC_REGISTRY])}")
    of_class = inspect.signature(get_metric_class(name).__init__).parameters
    is_local = not get_metric_class(name).is_api_based or getattr(of_class.get("provider"), "default", None) == "hf"
    if not (is_local or allow_external):
        sys.exit(f"metric server: {name} sends reports to a provider of language models; allowed with --allow-external")
    try:
        evaluator = RadEval(metrics=[name], per_sample=True, show_progress=False)
        # What one pair gives are its metrics: their names depend on RadEval's mode. The weights are there afterwards.
        names = tuple(evaluator(refs=["No pleural effusion."], hyps=["No pleural effusion."]))
    except Exception as error:
        sys.exit(f"metric server: {name} can't be loaded ({_told(error)})")
    return Loaded(
        lambda refs, hyps: evaluator(refs=refs, hyps=hyps), names, f"radeval {importlib.metadata.version('radeval')}"
    )


def _told(error: Exception) -> str:
    """An error on one line; of loading, when no report is there yet."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# ---- requests in batches


@dataclass
class Job:
    """One request on its way; ``done`` is set once ``values`` or ``failure`` is there."""

    refs: Texts
    hyps: Texts
    metrics: tuple[str, ...]
    values: Values = field(default_factory=dict)
    failure: Refused | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def add(self, found: Values) -> None:
        """Takes the values that are asked for; a failure where one is no finite number."""
        for metric, column in found.items():
            if metric in self.metrics:
                self.values[metric] = column
                wrong = [place for place, value in enumerate(column) if not math.isfinite(value)]
                if wrong:  # it will be no number the next time either
                    reason = f"{metric} is no finite number for pair {wrong[0]}"
                    self.failure = Refused(HTTPStatus.UNPROCESSABLE_ENTITY, reason)


class Batches:
    """One thread that scores what waits, several requests at once.

    Args:
        loaded: the metrics.
        batch_size: pairs that are enough for one batch; a single request may have more.
        queue_size: requests that may wait.
    """

    def __init__(self, loaded: Sequence[Loaded], batch_size: int, queue_size: int) -> None:
        self.versions = {name: each.version for each in loaded for name in each.names}
        self._loaded = loaded
        self._batch_size = batch_size
        self._queue: queue.Queue[Job | None] = queue.Queue(queue_size)
        self._last_seconds = 0.0
        self._is_stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="scorer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.qsize()

    def score(self, job: Job) -> Values:
        """The values of one request, once its turn has come.

        Raises:
            Refused: the queue is full, the server is stopping, or a metric failed.
        """
        with self._lock:
            if self._is_stopping:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping", 1)
            try:
                self._queue.put_nowait(job)
            except queue.Full:
                wait = max(1, math.ceil(self._last_seconds))
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the queue is full", wait) from None
        job.done.wait()
        if job.failure is not None:
            raise job.failure
        return job.values

    def stop(self) -> None:
        """Takes no more, and waits for what is in the queue."""
        with self._lock:
            self._is_stopping = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            jobs, goes_on = self._next()
            began = time.monotonic()
            self._run(jobs)
            self._last_seconds = time.monotonic() - began

    def _next(self) -> tuple[list[Job], bool]:
        """Waits for a request and takes what else is there, up to a full batch; False beside the last ones."""
        jobs: list[Job] = []
        while sum(len(job.refs) for job in jobs) < self._batch_size:
            try:
                job = self._queue.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                return jobs, False
            jobs.append(job)
        return jobs, True

    def _run(self, jobs: list[Job]) -> None:
        for loaded in self._loaded:
            asking = [job for job in jobs if not set(loaded.names).isdisjoint(job.metrics) and job.failure is None]
            failure = self._add(loaded, asking) if asking else None
            for job in asking if failure else ():
                # One request's texts must not fail those that happen to stand beside it.
                job.failure = self._add(loaded, [job]) if len(asking) > 1 else failure
        for job in jobs:
            job.done.set()

    @staticmethod
    def _add(loaded: Loaded, jobs: list[Job]) -> Refused | None:
        """Scores all pairs of these requests in one call; why that failed as a whole, or None."""
        refs, hyps = [ref for job in jobs for ref in job.refs], [hyp for job in jobs for hyp in job.hyps]
        try:
            values = loaded.scorer(refs, hyps)
            found = {metric: [_number(value) for value in values[metric]] for metric in loaded.names}
        except Exception as error:  # its text may quote a report
            reason = f"{'/'.join(loaded.names)} failed ({type(error).__name__})"
            return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
        for metric, column in found.items():
            if len(column) != len(refs):
                reason = f"{metric} gave {len(column)} values for {len(refs)} pairs"
                return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
        for job in jobs:
            job.add({metric: column[: len(job.refs)] for metric, column in found.items()})
            found = {metric: column[len(job.refs) :] for metric, column in found.items()}
        return None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


# ---- HTTP


class MetricServer(ThreadingHTTPServer):
    """The server; listens once its metrics are loaded."""

    daemon_threads = True
    request_queue_size = 128
    batches: Batches
    queue_size: int
    max_pairs: int

    def __init__(self, host: str, port: int, log: Callable[[str], None]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.log = log
        self.active = 0
        self.lock = threading.Lock()
        self.server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line: a traceback may quote what was sent."""
        self.log(f"a connection failed ({type(sys.exception()).__name__})")


class Handler(BaseHTTPRequestHandler):
    """Answers GET /health and POST /score."""

    server: MetricServer
    timeout = SECONDS_FOR_A_REQUEST
    server_version, sys_version = f"metric_server/{VERSION}", ""

    def do_GET(self) -> None:
        batches = self.server.batches
        versions = {"metric_server": VERSION, "python": platform.python_version(), **_radeval_version()}
        health = {
            "status": "ready",
            "versions": versions,
            "metrics": batches.versions,
            "queue": {"waiting": batches.waiting, "size": self.server.queue_size},
        }
        if self.path != "/health":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(HTTPStatus.OK, health, {})

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.active += 1
        try:
            self._answer_score()
        finally:
            with self.server.lock:
                self.server.active -= 1

    def _answer_score(self) -> None:
        began, what = time.monotonic(), "not read"
        headers: dict[str, str] = {}
        answer: Values | dict[str, str]
        try:
            if self.path != "/score":
                raise Refused(HTTPStatus.NOT_FOUND, "no such path; known: GET /health, POST /score")
            versions = self.server.batches.versions
            job = read_job(self._body(), versions, self.server.max_pairs)
            what = f"{len(job.refs)} pairs, {'/'.join(job.metrics)}"
            status, answer = HTTPStatus.OK, self.server.batches.score(job)
            headers["Metric-Versions"] = json.dumps({name: versions[name] for name in job.metrics})
        except Refused as refused:
            status, answer = refused.status, {"error": refused.reason}
            if refused.retry_after is not None:
                headers["Retry-After"] = str(refused.retry_after)
        self._send(status, answer, headers)
        self.server.log(f"{status.value} {what}, {time.monotonic() - began:.3f} s")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One line of JSON without what was sent."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._send(status, {"error": f"{status.phrase}; known: GET /health, POST /score"}, {})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what http.server logs holds what was sent."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,12}", length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request has no Content-Length")
        if int(length) > LARGEST_BODY:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body has {int(length)} bytes; at most {LARGEST_BODY}")
        return self.rfile.read(int(length))

    def _send(self, status: HTTPStatus, answer: Any, headers: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def read_job(body: bytes, known: dict[str, str], max_pairs: int) -> Job:
    """The request in a body.

    Raises:
        Refused: it isn't one; the reason names the field.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("the body is not JSON") from None
    if not isinstance(content, dict):
        raise _bad("the body is no JSON object")
    for name in sorted(content.keys() ^ {"refs", "hyps", "metrics"}):
        what = "is missing" if name in ("refs", "hyps", "metrics") else "is not known; allowed: refs, hyps, metrics"
        raise _bad(f"{_quoted(name)} {what}")
    lists = {name: _texts(name, content[name]) for name in ("refs", "hyps", "metrics")}
    refs, hyps, metrics = lists.values()
    if len(hyps) != len(refs):
        raise _bad(f"hyps has {len(hyps)} texts and refs {len(refs)}; they must be equally many")
    if len(refs) > max_pairs:
        raise _bad(f"refs has {len(refs)} texts; at most {max_pairs}")
    if len(set(metrics)) < len(metrics):
        raise _bad("metrics names one twice")
    for name in metrics:
        if name not in known:
            raise Refused(HTTPStatus.NOT_FOUND, f"metrics: {_quoted(name)} is not ready; known: {', '.join(known)}")
    return Job(refs, hyps, tuple(metrics))


def _texts(name: str, value: object) -> Texts:
    if not isinstance(value, list) or not value:
        raise _bad(f"{name} must be a list of at least one text")
    for place, each in enumerate(value):
        if not isinstance(each, str):
            raise _bad(f"{name}[{place}] must be a text")
    return value


def _bad(reason: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, reason)


def _quoted(name: str) -> str:
    """A name in an error, unless it could be a sentence."""
    return repr(name) if _NAME.fullmatch(name) else "a name"


def _radeval_version() -> dict[str, str]:
    return {"radeval": importlib.metadata.version("radeval")} if "radeval" in sys.modules else {}


# ---- start and stop


def main() -> None:
    """Loads the metrics, serves until SIGTERM or SIGINT, and finishes what is in the queue."""
    options = _options()
    own = {name: loaded for path in options.own for name, loaded in load_own(path).items()}
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    try:
        server = MetricServer(options.host, options.port, lambda line: print(f"metric server: {line}", file=stream))
    except OSError as error:
        sys.exit(f"metric server: {options.host}:{options.port} can't be used: {error.strerror}; choose another --port")
    loaded = [load(name, own, options.allow_external) for name in dict.fromkeys(options.metrics)]
    given = Counter(name for each in loaded for name in each.names)
    if twice := [name for name, times in given.items() if times > 1]:
        sys.exit(f"metric server: --metrics gives {twice[0]} twice; name an own metric otherwise")
    server.batches = Batches(loaded, options.batch_size, options.queue_size)
    server.queue_size, server.max_pairs = options.queue_size, options.max_pairs
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)  # the second one ends it at once

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.server_activate()
    host, port = server.server_address[:2]
    ready = ", ".join(f"{name} ({version})" for name, version in server.batches.versions.items())
    print(f"metric server at http://{f'[{host}]' if ':' in str(host) else host}:{port}: {ready}", flush=True)
    _silence()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    stopping.wait()
    server.batches.stop()
    ends = time.monotonic() + SECONDS_TO_STOP
    while server.active and time.monotonic() < ends:
        time.sleep(0.02)
    server.shutdown()
    server.server_close()
    server.log("stopped")


def _silence() -> None:
    """From here on no library, nor a process that it starts, has a way to print a report."""
    logging.disable()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Scores pairs of reports over HTTP: docs/metric_server.md.")
    parser.add_argument("--metrics", nargs="+", required=True, help="loaded at the start: built-in, own, or RadEval's")
    parser.add_argument("--own", nargs="+", default=[], metavar="FILE", help="Python files with METRICS of one's own")
    parser.add_argument("--host", default="127.0.0.1", help="another one than loopback needs --allow-external")
    parser.add_argument("--port", type=int, default=8500, help="0 takes a free one")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs that make a batch full")
    parser.add_argument("--queue-size", type=int, default=64, help="requests that may wait; the next gets a 503")
    parser.add_argument("--max-pairs", type=int, default=1024, help="of one request")
    parser.add_argument("--allow-external", action="store_true", help="other machines may ask, and providers be asked")
    options = parser.parse_args()
    for name in ("batch_size", "queue_size", "max_pairs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least 1")
    if not 0 <= options.port <= 65535:
        parser.error(f"--port is {options.port}; it must be 0 to 65535")
    if not (_is_loopback(options.host) or options.allow_external):
        parser.error(f"--host is {options.host}: reports would come from other machines; add --allow-external")
    return options


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
