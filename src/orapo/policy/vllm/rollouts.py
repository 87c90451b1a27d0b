"""Rollouts by a vLLM server: one request a study, all at once, with the policy's weights, prompt and pictures."""

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import torch
from PIL import Image

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.adapter import PublishedAdapter
from orapo.policy.vllm.answers import Asked, Drawn
from orapo.policy.vllm.client import Refused, ServerClient, Stopped
from orapo.policy.vllm.exact_logps import ExactLogps
from orapo.policy.vllm.images import study_pictures
from orapo.policy.vllm.requests import SamplingRules, completion_request

_SEEDS = 2**48
"""Exact in any JSON reader, and far enough apart that the K seeds behind one do not meet another's."""


class VllmRollouts:
    """A ``RolloutSource`` behind HTTP; evaluation is sampled there too, greedily, by the current weights."""

    def __init__(self, policy: Policy, client: ServerClient, folder: Path, studies_per_pass: int) -> None:
        """Asks nothing yet.

        Args:
            policy: with an adapter.
            client: of the server, checked.
            folder: where adapters are written unless the settings say otherwise.
            studies_per_pass: studies scored at a time; memory grows with it.
        """
        settings = client.settings
        self._policy = policy
        self._client = client
        self._settings = settings
        self._exact = ExactLogps(policy, settings, studies_per_pass)
        place = folder if settings.adapter_folder is None else Path(settings.adapter_folder)
        self._adapter = PublishedAdapter(policy, client, place, settings.adapter_folder_on_server)
        self._rules = SamplingRules.of(policy)
        self._gap = math.nan

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """K reports for each of B studies.

        ``old_logps`` are the policy's own, or the server's with ``logps=server``; where ``settings.greedy``, they
        are the server's at temperature 1, since nothing trains on them.

        Raises:
            RunPaused: the server stays silent, or answers something else than what was asked.
        """
        self._gap = math.nan
        adapter = self._adapter.current()
        # Drawn from the generator that a checkpoint keeps: a resumed run asks for the same rollouts.
        drawn_seeds = torch.randint(_SEEDS, (len(batch),)).tolist() if seeds is None else [s % _SEEDS for s in seeds]
        pictures = study_pictures(batch, self._policy.image_processor)
        asked = [self._asked(adapter, batch, i, settings) for i in range(len(batch))]
        drawn = self._draw_all(asked, pictures, drawn_seeds)
        groups = tuple(self._group(each, completions) for each, completions in zip(asked, drawn, strict=True))
        if settings.greedy:
            return groups
        groups, self._gap = self._exact.of(batch, groups, settings.temperature)
        return groups

    def metrics(self) -> Mapping[str, float]:
        """The mean difference between server and policy in a token's log-probability; NaN after greedy rollouts."""
        return {"rollout_logp_gap": self._gap}

    def close(self) -> None:
        """Takes the adapter off the server."""
        self._adapter.withdraw()

    def _asked(self, adapter: str, batch: StudyBatch, index: int, settings: SamplingSettings) -> Asked:
        size = self._policy.image_processor.size
        return Asked(
            study_id=batch.studies[index].study_id,
            adapter=adapter,
            prompt_ids=tuple(batch.prompt_ids[index].tolist()),
            image_token=self._policy.model.config.image_token_id,
            settings=settings,
            rules=self._rules,
            pixel_limits=(size["shortest_edge"], size["longest_edge"]),
        )

    def _draw_all(
        self, asked: Sequence[Asked], pictures: Sequence[Sequence[Image.Image]], seeds: Sequence[int]
    ) -> list[tuple[Drawn, ...]]:
        stop = threading.Event()
        with ThreadPoolExecutor(min(self._settings.max_concurrent, len(asked))) as pool:
            futures = [
                pool.submit(self._draw, each, shown, seed, stop)
                for each, shown, seed in zip(asked, pictures, seeds, strict=True)
            ]
            wait(futures, return_when=FIRST_EXCEPTION)
            stop.set()
            pool.shutdown(cancel_futures=True)
        errors = [future.exception() for future in futures if not future.cancelled()]
        # What stopped because another request had failed is not the reason.
        for error in sorted(filter(None, errors), key=lambda error: isinstance(error, Stopped)):
            raise error
        return [future.result() for future in futures]

    def _draw(
        self, asked: Asked, pictures: Sequence[Image.Image], seed: int, stop: threading.Event
    ) -> tuple[Drawn, ...]:
        body = completion_request(asked.adapter, pictures, self._policy.instruction, asked.settings, self._rules, seed)
        try:
            try:
                answer = self._client.post("chat/completions", body, stop)
            except Refused as refused:
                if refused.status != 404:
                    raise
                # A server that was started anew has lost the adapter.
                self._adapter.load_again(asked.adapter)
                answer = self._client.post("chat/completions", body, stop)
        except Refused as refused:
            raise RunPaused(f"rollout server, study {asked.study_id}: the request is refused: {refused}") from None
        return asked.read(answer)

    def _group(self, asked: Asked, drawn: Sequence[Drawn]) -> RolloutGroup:
        texts = self._policy.tokenizer.batch_decode([each.token_ids for each in drawn], skip_special_tokens=True)
        for index, (each, text) in enumerate(zip(drawn, texts, strict=True)):
            if _bare(each.text) != _bare(text):
                raise RunPaused(
                    f"rollout server, study {asked.study_id}: completion {index} reads otherwise by the policy's "
                    "tokenizer; the server must serve model.path, without reasoning or tool parsers"
                )
        repeats = asked.settings.per_study // len(drawn)
        device = self._policy.device
        return RolloutGroup(
            texts=tuple(text.strip() for text in texts) * repeats,
            token_ids=tuple(torch.tensor(each.token_ids, device=device) for each in drawn) * repeats,
            old_logps=tuple(torch.tensor(each.logps, device=device) for each in drawn) * repeats,
            finished=tuple(each.finished for each in drawn) * repeats,
        )


def _bare(text: str) -> str:
    """Without what may differ between two ways to decode: spaces, and bytes that end in the middle of a letter."""
    return "".join(text.replace("\N{REPLACEMENT CHARACTER}", "").split())
