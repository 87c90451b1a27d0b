"""A stand-in for a vLLM server on 127.0.0.1 that samples from the embedded policy's files, and fails on demand.

It shares nothing with the trainer but HTTP and the folder of weights: it loads the model by itself, makes its own
prompt from the messages and the picture in them, loads weights when told to, and answers in vLLM's format. What it does
is held to what a real vLLM does by tests/unit/policy/vllm/test_contract.py.
"""

import base64
import io
import json
import threading
import time
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
from orapo.policy.vllm.images import limits_on_server
from orapo.prompt import Prompt

Answer = dict[str, Any]


class StandInServer:
    """The server, to be used in a ``with`` statement; its settings may be changed while it runs.

    Attributes:
        spoil: changes an answer before it is sent.
        status: when not 0, of every answer to a completion request.
        message: beside that status.
        failures: so many completion requests are answered by 500 first.
        resets: of so many completion requests the connection is cut first.
        ignores_reload: whether an adapter that is loaded is not applied.
        takes_adapters: whether it was started to load adapters.
        takes_weights: whether it was started to reload its whole model.
        renormalises: whether its log-probabilities are those after top-p and top-k.
        max_lora_rank: of an adapter that it loads.
        max_model_len: tokens of prompt and completion.
        key: that a request must show; empty: none.
        seconds: that it lets pass before it answers a completion request.
        requests: bodies of all completion requests.
        loaded: adapters by name.
        log: method and path of every request, in order.
    """

    def __init__(self, model: ModelSettings, served_name: str) -> None:
        self.policy: Policy = load_policy(model)
        self.served_name = served_name
        self.spoil: Callable[[Answer], None] | None = None
        self.status = self.failures = self.resets = 0
        self.message = "out of order"
        self.ignores_reload = False
        self.takes_adapters = self.takes_weights = True
        self.renormalises = False
        self.max_lora_rank, self.max_model_len = 32, 2048
        self.key = ""
        self.seconds = 0.0
        self.requests: list[Answer] = []
        self.loaded: dict[str, dict[str, torch.Tensor]] = {}
        self.log: list[str] = []
        self.port = 0
        self._lock = threading.Lock()
        # As docs/vllm.md has a real one started: pictures of any size that the policy sends are left as they are.
        if limits := limits_on_server(self.policy.image_processor):
            self.policy.image_processor.size = dict(zip(("shortest_edge", "longest_edge"), limits, strict=True))
        adapter = self.policy.adapter
        self._initial = {} if adapter is None else cloned(get_peft_model_state_dict(adapter))
        self._model = model.path
        self._reloaded: Path | None = None
        self._stale_caches: set[str] = set()
        self.weight_version = "default"

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
                if self.path == "/v1/chat/completions":
                    time.sleep(server.seconds)
                with server._lock:
                    server.log.append(f"{self.command} {self.path}")
                    shown = self.headers["Authorization"] == f"Bearer {server.key}"
                    if server.key and self.path.startswith("/v1/") and not shown:
                        status, content = 401, {"error": "Unauthorized"}
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

    def restart(self) -> None:
        """As a server that was started anew, at the same address."""
        self.loaded.clear()
        self.reload(self._model, "default")

    def reload(self, folder: str, version: str) -> None:
        weights = load_policy(ModelSettings(folder, "Write the report.")).model.state_dict()
        self.policy.model.load_state_dict(weights, strict=self.policy.adapter is None)
        self.weight_version = version

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "models":
            own = {"id": self.served_name, "root": self._model, "max_model_len": self.max_model_len}
            return 200, {"data": [own, *({"id": name} for name in self.loaded)]}
        if path == "chat/completions":
            return self._complete(body)
        if path.startswith("/"):
            return self._change(path, body) if self.takes_weights else (404, {"detail": "Not Found"})
        if not self.takes_adapters:
            return 404, {"detail": "Not Found"}
        name = body["lora_name"]
        if path == "load_lora_adapter":
            return self._load(name, body["lora_path"])
        if self.loaded.pop(name, None) is None:
            return 404, _error(f"The lora adapter '{name}' cannot be found.", 404)
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def _change(self, path: str, body: Any) -> tuple[int, Any]:
        """What a server does in its development mode."""
        if path == "/weight_info":
            return 200, {"weight_version": self.weight_version}
        if path == "/update_weight_version":
            self.weight_version = body["new_version"]
            return 200, {"success": True, "new_version": body["new_version"]}
        if path == "/collective_rpc":
            folder = Path(body["kwargs"]["weights_path"])
            if body["method"] != "reload_weights" or not (folder / "model.safetensors").is_file():
                return 500, _error(f"Call to collective_rpc method failed: '{folder}'", 500)
            if not self.ignores_reload:
                # Old keys, values and image features are served on until both caches are emptied.
                self._reloaded, self._stale_caches = folder, {"/reset_prefix_cache", "/reset_encoder_cache"}
            return 200, {"results": [None]}
        if path not in ("/reset_prefix_cache", "/reset_encoder_cache"):
            return 404, {"detail": "Not Found"}
        self._stale_caches.discard(path)
        if self._reloaded is not None and not self._stale_caches:
            self.reload(str(self._reloaded), self.weight_version)
            self._reloaded = None
        return 200, {"success": True} if path == "/reset_prefix_cache" else ""

    def _load(self, name: str, path: str) -> tuple[int, Any]:
        if not name or not path:
            return 400, _error("Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.loaded:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        file = Path(path) / "adapter_model.safetensors"
        if not file.is_file():
            return 404, _error(f"Loading lora {name} failed: No adapter found for {path}", 404)
        rank = json.loads((Path(path) / "adapter_config.json").read_text())["r"]
        if rank > self.max_lora_rank:
            return 500, _error(f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.", 500)
        self.loaded[name] = dict(self._initial) if self.ignores_reload else load_file(file)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, body: Answer) -> tuple[int, Any]:
        if isinstance(body["messages"][0]["content"], str):
            return 200, self._one_token(body)
        self.requests.append(body)
        if self.status:
            return self.status, _error(self.message, self.status)
        if self.failures:
            self.failures -= 1
            return 500, _error("a hiccup", 500)
        if self.resets:
            self.resets -= 1
            return 0, ""
        if body["model"] not in (*self.loaded, self.served_name):
            return 404, _error(f"The model `{body['model']}` does not exist.", 404)
        if body["temperature"] == 0 and body["n"] > 1:
            return 400, _error(f"n must be 1 when using greedy sampling, got {body['n']}.")
        answer = self._sample(body)
        if len(answer["prompt_token_ids"]) + body["max_completion_tokens"] > self.max_model_len:
            return 400, _error(f"This model's maximum context length is {self.max_model_len} tokens.")
        if self.spoil is not None:
            self.spoil(answer)
        return 200, answer

    def _one_token(self, body: Answer) -> Answer:
        """The answer to a prompt without pictures: which token, nobody reads."""
        logp = 0.0 if self.renormalises and body.get("top_k") == 1 else -3.0
        content = [{"token": "a", "logprob": logp}]
        return {"model": body["model"], "choices": [{"index": 0, "logprobs": {"content": content}}]}

    def _sample(self, body: Answer) -> Answer:
        if self.policy.adapter is not None:
            set_peft_model_state_dict(self.policy.adapter, self.loaded.get(body["model"], self._initial))
        (message,) = body["messages"]
        urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        pictures = tuple(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls)
        instruction = message["content"][-1]["text"]
        collate = Collate(self.policy.processor, Prompt(instruction), 8)
        batch = collate([(make_study("s", "Normal.", len(pictures)), pictures)])
        greedy = body["temperature"] == 0
        settings = SamplingSettings(
            per_study=body["n"],
            temperature=1.0 if greedy else body["temperature"],
            top_p=body["top_p"],
            top_k=body["top_k"],
            min_p=body["min_p"],
            max_new_tokens=body["max_completion_tokens"],
            min_new_tokens=body["min_tokens"],
            greedy=greedy,
        )
        # Never torch's own generator: the trainer uses it in another thread of this process.
        (group,) = self.policy.roll_out(batch, settings, [body["seed"]])
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


def cloned(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in weights.items()}


def _error(message: str, status: int = 400) -> Answer:
    return {"error": {"message": message, "type": "Error", "param": None, "code": status}}
