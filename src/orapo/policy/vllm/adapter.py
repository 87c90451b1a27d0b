"""The policy's adapter on the server, beside the base model that it serves."""

import logging
import threading

from orapo.errors import SettingError
from orapo.policy.vllm.client import Refused
from orapo.policy.vllm.published import PublishedWeights

log = logging.getLogger(__name__)


class PublishedAdapter(PublishedWeights):
    """A LoRA adapter, which the server knows by its digest.

    So a request can't be answered by an older adapter without an error, and the server's prefix cache, which tells
    adapters apart by name, never serves keys and values of other weights.
    """

    is_named_in_answers = True

    def model_of(self, name: str) -> str:
        return name

    def is_served(self, name: str) -> bool:
        return name in self._client.served_models()

    def _save(self, folder: str) -> None:
        self._policy.adapter.save_pretrained(folder, save_embedding_layers=False)

    def _load(self, name: str, path: str) -> None:
        try:
            self._client.post("load_lora_adapter", {"lora_name": name, "lora_path": path}, is_settled_by_500=True)
        except Refused as refused:
            if "max_lora_rank" in refused.reason:
                raise SettingError(
                    f"model.lora.rank is {self._policy.adapter.peft_config['default'].r}, and the rollout server "
                    f"takes less ({refused}): start it with a --max-lora-rank of at least that"
                ) from None
            raise

    def _unload(self, name: str, stop: threading.Event | None = None) -> None:
        try:
            self._client.post("unload_lora_adapter", {"lora_name": name}, stop)
        except Refused as refused:
            # Unknown to a server that was restarted, or unloaded by another process of this run.
            if refused.status != 404:
                log.warning("rollout server: the old adapter %s was not unloaded: %s", name, refused)

    def _replaced(self, name: str) -> None:
        self._unload(name)
