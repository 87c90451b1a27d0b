"""The policy's adapter on the server: written, loaded under a name that stands for its content, taken away again.

The name is a digest of the weights. So a request can't be answered by an older adapter without an error, a resumed run
and the other processes of a distributed one name the same weights alike, and the server's prefix cache, which tells
adapters apart by name, never serves keys and values of other weights.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.vllm.client import Refused, ServerClient

log = logging.getLogger(__name__)

_WEIGHTS = "adapter_model.safetensors"


class PublishedAdapter:
    """Keeps exactly one adapter of this run on the server: the current one."""

    def __init__(self, policy: Policy, client: ServerClient, folder: Path, folder_on_server: str | None) -> None:
        """Publishes nothing yet.

        Args:
            policy: with an adapter.
            client: of the server.
            folder: where adapters are written.
            folder_on_server: the same folder as the server sees it, or None where the path is the same.
        """
        self._policy = policy
        self._client = client
        self._folder = folder.resolve()
        self._folder_on_server = folder_on_server or str(self._folder)
        self._name: str | None = None
        self._sums: list[int] = []
        self._lock = threading.Lock()

    def current(self) -> str:
        """The name under which the server has the policy's weights as they are now; publishes them if they moved.

        Raises:
            RunPaused: the server can't load them.
        """
        with self._lock:
            sums = bit_sums([weight for weight in self._policy.parameters() if weight.requires_grad])
            if self._name is None or sums != self._sums:
                self._withdraw()
                name = self._write()
                self._load(name)
                self._name, self._sums = name, sums
            return self._name

    def load_again(self, name: str) -> None:
        """Loads the current adapter once more, for a server that was started anew.

        Raises:
            RunPaused: the server can't load it.
        """
        with self._lock:
            self._load(name)

    def withdraw(self) -> None:
        """Takes the adapter off the server, if that is there, and its files off the disk."""
        at_once = threading.Event()
        at_once.set()
        with self._lock:
            try:
                self._withdraw(at_once)
            except RunPaused as error:
                log.warning("the last adapter stays on the server: %s", error)

    def _write(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=self._folder, prefix=".unfinished-"))
        try:
            self._policy.adapter.save_pretrained(str(unfinished), save_embedding_layers=False)
            digest = hashlib.sha256((unfinished / _WEIGHTS).read_bytes())
            # Runs that start alike have equal weights; the folder keeps one from taking away the other's.
            digest.update(str(self._folder).encode())
            name = f"orapo-{digest.hexdigest()[:20]}"
            # The server may run as another user.
            unfinished.chmod(0o755)
            self._put_in_place(unfinished, self._folder / name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return name

    @staticmethod
    def _put_in_place(whole: Path, place: Path) -> None:
        try:
            os.replace(whole, place)
        except OSError:
            # It is there already, with the same content: from before a pause, or from another process of this run.
            if not (place / _WEIGHTS).is_file():
                raise

    def _load(self, name: str) -> None:
        path = f"{self._folder_on_server.rstrip('/')}/{name}"
        try:
            if name in self._client.served_models():
                return
            self._client.post("load_lora_adapter", {"lora_name": name, "lora_path": path})
        except Refused as refused:
            if refused.status == 400 and self._is_served(name):
                return  # by another process of the same run, meanwhile
            raise RunPaused(
                f"the rollout server can't load the adapter {path}: {refused}; it must see that folder "
                "(rollout.server.adapter_folder) and be started with --enable-lora and a --max-lora-rank of at least "
                "model.lora.rank"
            ) from None

    def _is_served(self, name: str) -> bool:
        try:
            return name in self._client.served_models()
        except Refused:
            return False

    def _withdraw(self, stop: threading.Event | None = None) -> None:
        if self._name is None:
            return
        name, self._name = self._name, None
        shutil.rmtree(self._folder / name, ignore_errors=True)
        try:
            self._client.post("unload_lora_adapter", {"lora_name": name}, stop)
        except Refused as refused:
            # Unknown to a server that was started anew, or taken away by another process of this run.
            if refused.status != 404:
                log.warning("rollout server: the old adapter %s was not unloaded: %s", name, refused)


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bit_sums(weights: Sequence[Tensor]) -> list[int]:
    """One number per tensor that an update changes; far cheaper than a digest.

    Tensors' version counters would cost nothing, but a fused optimiser leaves them as they are.
    """
    sums = [w.detach().view(_BITS[w.element_size()]).sum(dtype=torch.int64) for w in weights]
    return [int(value) for value in torch.stack(sums).tolist()]
