"""A pytest plugin: the contract tests meet a real vLLM, run by .venv-vllm on this machine's CPU (``make vllm-test``).

Their figures are printed as a table at the end.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest

from orapo.policy.loading import load_processor
from orapo.policy.settings import ModelSettings
from orapo.policy.vllm.images import limits_on_server

ROOT = Path(__file__).parents[1]
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
SECONDS_TO_START = 900.0
MAX_LORA_RANK, MAX_MODEL_LEN = 32, 2048
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class RealServer:
    """``vllm serve`` of a model folder on a free port, to be used in a ``with`` statement.

    Attributes:
        served_name: of the base model.
        api_base: its address.
        seconds_to_start: that it took until it answered.
    """

    def __init__(self, folder: str, key: str = "", *options: str) -> None:
        self.served_name, self.key = folder, key
        self.seconds_to_start = 0.0
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> "RealServer":
        began = time.monotonic()
        limits = limits_on_server(load_processor(ModelSettings(self.served_name, "Write.")).image_processor)
        command = [
            *(str(VLLM), "serve", self.served_name, "--host", "127.0.0.1", "--port", str(self._port)),
            *("--dtype", "float32", "--enable-lora", "--max-lora-rank", str(MAX_LORA_RANK), "--max-loras", "1"),
            *("--max-model-len", str(MAX_MODEL_LEN), "--limit-mm-per-prompt", '{"image": 2}'),
            *(
                ("--mm-processor-kwargs", json.dumps({"min_pixels": limits[0], "max_pixels": limits[1]}))
                if limits
                else ()
            ),
            # A seeded request whose prefill is split ends the CPU's engine.
            *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
            *self._options,
        ]
        settings = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            **({"VLLM_API_KEY": self.key} if self.key else {}),
        }
        self._log = tempfile.NamedTemporaryFile(prefix="vllm-", suffix=".log", delete=False)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM),
        )
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() - began > SECONDS_TO_START:
                self.stop()
                raise RuntimeError(f"vllm did not start: {self._log.name}")
            time.sleep(1)
        self.seconds_to_start = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server and its engine, which has a process of its own."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(timeout=20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def restart(self) -> None:
        """Kills it, as a crash would, and starts another one at the same address."""
        self.stop()
        self.__enter__()

    def _is_up(self) -> bool:
        try:
            return httpx.get(self.api_base.removesuffix("/v1") + "/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def pytest_configure(config: pytest.Config) -> None:
    if not VLLM.is_file():
        raise pytest.UsageError(f"{VLLM} is missing; make vllm-test makes it")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = terminalreporter.stats.get("passed", [])
    figures = [pair for report in passed for pair in report.user_properties]
    terminalreporter.section("figures")
    for name, value in figures:
        terminalreporter.write_line(f"| {name} | {value} |")
