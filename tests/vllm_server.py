"""A stand-in for a vLLM server on 127.0.0.1 that samples from the embedded policy's files, and fails on demand.

It shares nothing with the trainer but HTTP and the adapter's folder: it loads the model by itself, makes its own prompt
from the messages and the picture in them, loads an adapter when told to, and answers in vLLM's format.
"""

import base64
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file
from tests.conftest import make_study

from orapo.batches import RolloutGroup
from orapo.data.collate import Collate
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import ModelSettings, SamplingSettings

Answer = dict[str, Any]


class StandInServer:
    """The server, to be used in a ``with`` statement; its settings may be changed while it runs.

    Attributes:
        spoil: changes an answer before it is sent.
        status: when not 0, of every answer to a completion request.
        failures: so many completion requests are answered by 500 first.
        resets: of so many completion requests the connection is cut first.
        ignores_reload: whether an adapter that is loaded is not applied.
        takes_adapters: whether it was started to load adapters.
        key: that a request must show; empty: none.
        requests: bodies of all completion requests.
        loaded: adapters by name.
        log: method and path of every request, in order.
    """

    def __init__(self, model: ModelSettings, served_name: str) -> None:
        self.policy: Policy = load_policy(model)
        self.served_name = served_name
        self.spoil: Callable[[Answer], None] | None = None
        self.status = self.failures = self.resets = 0
        self.ignores_reload = False
        self.takes_adapters = True
        self.key = ""
        self.requests: list[Answer] = []
        self.loaded: dict[str, dict[str, torch.Tensor]] = {}
        self.log: list[str] = []
        self.port = 0
        self._lock = threading.Lock()
        adapter = self.policy.adapter
        self._initial = {name: weight.clone() for name, weight in get_peft_model_state_dict(adapter).items()}

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "StandInServer":
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                with server._lock:
                    server.log.append(f"{self.command} {self.path}")
                    if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
                        status, content = 401, _error("Unauthorized")
                    else:
                        status, content = server.answer(self.path.removeprefix("/v1/"), body)
                if status == 0:
                    self.connection.close()
                    return
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "models":
            return 200, {"data": [{"id": name} for name in (self.served_name, *self.loaded)]}
        if path == "chat/completions":
            return self._complete(body)
        if not self.takes_adapters:
            return 404, {"detail": "Not Found"}
        name = body["lora_name"]
        if path == "load_lora_adapter":
            return self._load(name, body["lora_path"])
        if self.loaded.pop(name, None) is None:
            return 404, _error(f"The lora adapter '{name}' cannot be found.")
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def _load(self, name: str, path: str) -> tuple[int, Any]:
        if not name or not path:
            return 400, _error("Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.loaded:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        file = Path(path) / "adapter_model.safetensors"
        if not file.is_file():
            return 404, _error(f"No adapter found for {path}")
        self.loaded[name] = dict(self._initial) if self.ignores_reload else load_file(file)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, body: Answer) -> tuple[int, Any]:
        self.requests.append(body)
        if self.status:
            return self.status, _error("out of order")
        if self.failures:
            self.failures -= 1
            return 500, _error("a hiccup")
        if self.resets:
            self.resets -= 1
            return 0, ""
        if body["model"] not in self.loaded:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        answer = self._sample(body)
        if self.spoil is not None:
            self.spoil(answer)
        return 200, answer

    def _sample(self, body: Answer) -> Answer:
        set_peft_model_state_dict(self.policy.adapter, self.loaded[body["model"]])
        (message,) = body["messages"]
        urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        pictures = tuple(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls)
        instruction = message["content"][-1]["text"]
        collate = Collate(self.policy.processor, instruction, 8)
        batch = collate([(make_study("s", "Normal.", len(pictures)), pictures)])
        greedy = body["temperature"] == 0
        settings = SamplingSettings(
            per_study=body["n"],
            temperature=1.0 if greedy else body["temperature"],
            top_p=body["top_p"],
            max_new_tokens=body["max_completion_tokens"],
            min_new_tokens=body["min_tokens"],
            greedy=greedy,
        )
        with torch.random.fork_rng():
            torch.manual_seed(body["seed"])
            (group,) = self.policy.roll_out(batch, settings)
            raw = self.policy(batch, [group.token_ids], 1.0)[0]
        choices = [self._choice(k, group, raw[k].detach()) for k in range(body["n"])]
        return {"model": body["model"], "prompt_token_ids": batch.prompt_ids[0].tolist(), "choices": choices}

    def _choice(self, k: int, group: RolloutGroup, raw: torch.Tensor) -> Answer:
        ids = group.token_ids[k].tolist()
        content = [{"token": f"token_id:{i}", "logprob": float(p)} for i, p in zip(ids, raw, strict=True)]
        return {
            "index": k,
            "message": {"role": "assistant", "content": group.texts[k]},
            "token_ids": ids,
            "logprobs": {"content": content},
            "finish_reason": "stop" if group.finished[k] else "length",
            "stop_reason": None,
        }


def _error(message: str) -> Answer:
    return {"error": {"message": message, "type": "Error", "code": 400}}
