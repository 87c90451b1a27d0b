"""The policy's weights on the server: written to a folder, loaded from there, named by a digest.

The digest gives a resumed run, and every process of a distributed one, the same name for the same weights. So each of
the server's answers is known to be of these weights or of others.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.vllm.client import Refused, ServerClient

log = logging.getLogger(__name__)

_NAME = "orapo-"
_UNFINISHED = ".unfinished-"
_LOCK = ".lock"


class PublishedWeights(ABC):
    """Keeps one state of the weights on the server, the current one, and at most two on disk.

    Attributes:
        is_named_in_answers: whether each answer names the weights that gave it.
    """

    is_named_in_answers: bool

    def __init__(self, policy: Policy, client: ServerClient, folder: Path, folder_on_server: str | None) -> None:
        """Publishes nothing yet.

        Args:
            policy: whose weights train.
            client: of the server.
            folder: where weights are written.
            folder_on_server: the same folder as the server sees it, or None where the path is the same.
        """
        self._policy = policy
        self._client = client
        self._folder = folder.resolve()
        self._folder_on_server = (folder_on_server or str(self._folder)).rstrip("/")
        self._name: str | None = None
        self._lock = threading.Lock()

    def current(self) -> str:
        """Publishes the present weights, unless the server has them; returns their name.

        Raises:
            RunPaused: they can't be written, or the server can't load them.
            SettingError: the server's own settings rule them out.
        """
        with self._lock:
            name = self._digest()
            if name != self._name:
                with self._alone():
                    self._publish(name)
            return name

    def load_again(self, name: str) -> None:
        """Loads the current weights again, after a restart of the server.

        Raises:
            RunPaused: the server can't load them.
        """
        with self._lock, self._alone():
            self._load_unless_served(name)

    def withdraw(self) -> None:
        """Unloads the weights from the server, if it is there, and deletes their files."""
        at_once = threading.Event()
        at_once.set()
        with self._lock:
            name, self._name = self._name, None
            try:
                if name is not None:
                    self._unload(name, at_once)
            except (Refused, RunPaused) as error:
                log.warning("the last weights stay on the rollout server: %s", error)
            self._prune(keep=())
            (self._folder / _LOCK).unlink(missing_ok=True)

    @abstractmethod
    def model_of(self, name: str) -> str:
        """The name by which a request selects these weights."""

    @abstractmethod
    def is_served(self, name: str) -> bool:
        """Whether the server holds these weights now."""

    @abstractmethod
    def _save(self, folder: str) -> None:
        """Writes the weights in the server's format."""

    @abstractmethod
    def _load(self, name: str, path: str) -> None:
        """Makes the server load the weights from ``path``, a path on the server."""

    @abstractmethod
    def _unload(self, name: str, stop: threading.Event | None = None) -> None:
        """Makes the server unload these weights."""

    @abstractmethod
    def _replaced(self, name: str) -> None:
        """Unloads weights that are not needed any more, where the server requires it."""

    def _publish(self, name: str) -> None:
        before = self._name
        # Of a run that was killed, more may be here than the weights before.
        self._prune(keep=(name, before))
        self._write(name)
        self._load_unless_served(name)
        self._name = name
        if before is not None:
            self._replaced(before)
        self._prune(keep=(name,))

    def _write(self, name: str) -> None:
        """Writes the weights unless a pause, or another process of this run, left them there."""
        if (self._folder / name).is_dir():
            return
        unfinished = Path(tempfile.mkdtemp(dir=self._folder, prefix=_UNFINISHED))
        try:
            self._save(str(unfinished))
            # The server may run as another user.
            unfinished.chmod(0o755)
            os.replace(unfinished, self._folder / name)
        except OSError as error:
            raise self._unwritten(error) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _load_unless_served(self, name: str) -> None:
        path = f"{self._folder_on_server}/{name}"
        try:
            if not self.is_served(name):
                self._load(name, path)
        except Refused as refused:
            raise RunPaused(
                f"the rollout server can't load {path}: {refused}; it must see that folder "
                "(rollout.server.adapter_folder)"
            ) from None

    def _prune(self, keep: Sequence[str | None]) -> None:
        if self._folder.is_dir():
            for place in self._folder.iterdir():
                if place.name.startswith((_NAME, _UNFINISHED)) and place.name not in keep:
                    shutil.rmtree(place, ignore_errors=True)

    def _digest(self) -> str:
        sums = bit_sums([weight for weight in self._policy.parameters() if weight.requires_grad])
        # Runs that start alike have equal weights; the folder keeps one from taking away the other's.
        return _NAME + hashlib.sha256(f"{sums} {self._folder}".encode()).hexdigest()[:20]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lets one process of this run in at a time: the others find what the first has written and loaded."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unwritten(self, error: OSError) -> RunPaused:
        return RunPaused(
            f"weights for the rollout server can't be written in {self._folder}: {error.strerror or error}; "
            "rollout.server.adapter_folder names another place"
        )


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bit_sums(weights: Sequence[Tensor]) -> list[int]:
    """One number per tensor that an update changes; far cheaper than a digest of all bytes.

    Tensors' version counters would cost nothing, but a fused optimiser leaves them as they are.
    """
    sums = [w.detach().view(_BITS[w.element_size()]).sum(dtype=torch.int64) for w in weights]
    return [int(value) for value in torch.stack(sums).tolist()]
