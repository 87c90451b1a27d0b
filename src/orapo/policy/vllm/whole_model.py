"""All weights of the policy on the server, which reloads its model from a folder."""

import threading
from pathlib import Path
from typing import Any

from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.vllm.client import OWN_WEIGHTS, Refused, ServerClient
from orapo.policy.vllm.published import PublishedWeights

_UNKNOWN = "orapo-reloading"
"""The version while the server reloads: if that fails half-way, its weights aren't mistaken for a run's."""


class PublishedModel(PublishedWeights):
    """The whole model; the server reports the version of its weights at ``/weight_info``."""

    is_named_in_answers = False

    def __init__(
        self, policy: Policy, client: ServerClient, folder: Path, folder_on_server: str | None, model: str
    ) -> None:
        """Publishes nothing yet.

        Args:
            policy: all or some of whose own weights train.
            client: of the server.
            folder: where weights are written.
            folder_on_server: the same folder as the server sees it, or None where the path is the same.
            model: the name by which the server serves it.
        """
        super().__init__(policy, client, folder, folder_on_server)
        self._model = model

    def model_of(self, name: str) -> str:
        """The server has one model only."""
        return self._model

    def is_served(self, name: str) -> bool:
        """Whether the server holds the weights of this version."""
        return self._client.weight_version() == name

    def _save(self, folder: str) -> None:
        model: Any = self._policy.model
        # Of several processes transformers has the first one write; here it is whichever comes first.
        model.should_save_on_this_rank = lambda is_main_process: True
        try:
            self._policy.save(folder)
        finally:
            del model.should_save_on_this_rank

    def _load(self, name: str, path: str) -> None:
        self._reload(path, name)

    def _unload(self, name: str, stop: threading.Event | None = None) -> None:
        """Restores the weights that the server was started with."""
        self._reload(self._client.model_root(self._model, stop), OWN_WEIGHTS, stop)

    def _replaced(self, name: str) -> None:
        """Nothing to unload: the reload has replaced the weights."""

    def _reload(self, path: str, version: str, stop: threading.Event | None = None) -> None:
        post = self._client.post
        post("/update_weight_version", {"new_version": _UNKNOWN}, stop)
        asked = {"method": "reload_weights", "kwargs": {"weights_path": path}}
        try:
            post("/collective_rpc", asked, stop, is_settled_by_500=True)
        except Refused as refused:
            # vLLM lets go of its weights first, and its engine ends at the next request.
            raise RunPaused(
                f"the rollout server could not reload {path}, and must be started anew: {refused}; it must see that "
                "folder (rollout.server.adapter_folder)"
            ) from None
        # Neither cache tells weights apart: keys, values and image features of the old ones would be served on.
        if post("/reset_prefix_cache", {}, stop) != {"success": True}:
            raise RunPaused("the rollout server kept its prefix cache: it works for somebody else too")
        post("/reset_encoder_cache", {}, stop)
        post("/update_weight_version", {"new_version": version}, stop)
