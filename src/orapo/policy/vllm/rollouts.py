"""Rollouts by a vLLM server: one request a study, all at once, with the policy's weights, prompt and pictures."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.adapter import PublishedAdapter
from orapo.policy.vllm.answers import Asked, Drawn
from orapo.policy.vllm.client import Refused, ServerClient, Stopped
from orapo.policy.vllm.exact_logps import NO_GAP, ExactLogps
from orapo.policy.vllm.images import limits_on_server, study_pictures
from orapo.policy.vllm.published import PublishedWeights
from orapo.policy.vllm.requests import SamplingRules, completion_request
from orapo.policy.vllm.whole_model import PublishedModel

_SEEDS = 2**48
"""Exact in any JSON reader, and far enough apart that the K seeds behind one do not meet another's."""


class VllmRollouts:
    """A ``RolloutSource`` over HTTP; evaluation samples there too, greedily, with the current weights."""

    def __init__(self, policy: Policy, client: ServerClient, model: str, folder: Path, studies_per_pass: int) -> None:
        """Sends no request yet.

        Args:
            policy: what trains.
            client: of the server, checked.
            model: the name by which it serves the base model.
            folder: where weights are written unless the settings say otherwise.
            studies_per_pass: studies scored at a time; memory grows with it.
        """
        settings = client.settings
        self._policy = policy
        self._client = client
        self._settings = settings
        self._exact = ExactLogps(policy, settings, studies_per_pass)
        place = folder if settings.adapter_folder is None else Path(settings.adapter_folder)
        there = settings.adapter_folder_on_server
        self._weights: PublishedWeights = (
            PublishedModel(policy, client, place, there, model)
            if policy.adapter is None
            else PublishedAdapter(policy, client, place, there)
        )
        self._rules = SamplingRules.of(policy)
        self._gap = NO_GAP
        self._is_abandoned, self._stop = False, threading.Event()
        self._begun: Future[tuple[RolloutGroup, ...]] = Future()
        self._begun.set_result(())

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """K reports for each of B studies.

        ``old_logps`` are the policy's own, or the server's with ``logps=server``; where ``settings.greedy``, they
        are the server's at temperature 1, since nothing trains on them.

        Raises:
            RunPaused: the server stays silent, or answers something else than what was asked.
        """
        # Drawn from the generator that a checkpoint keeps: a resumed run asks for the same rollouts.
        chosen = torch.randint(_SEEDS, (len(batch),)).tolist() if seeds is None else seeds
        return self.finish(batch, self._prepared(batch, settings, chosen)(), settings)

    def begin(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int]
    ) -> Future[tuple[RolloutGroup, ...]]:
        """Only one batch at a time."""
        sample, begun = self._prepared(batch, settings, seeds), Future[tuple[RolloutGroup, ...]]()

        def work() -> None:
            try:
                begun.set_result(sample())
            except BaseException as error:
                begun.set_exception(error)

        self._begun = begun
        threading.Thread(target=work, name="rollouts", daemon=True).start()
        return begun

    def finish(
        self, batch: StudyBatch, groups: tuple[RolloutGroup, ...], settings: SamplingSettings
    ) -> tuple[RolloutGroup, ...]:
        self._gap = NO_GAP
        if settings.greedy:
            return groups
        # From a checkpoint they come on the CPU.
        groups = tuple(group.to(batch.device) for group in groups)
        groups, self._gap = self._exact.of(batch, groups, settings.temperature)
        return groups

    def stop(self) -> None:
        # In this order: requests that begin meanwhile see the one or the other.
        self._is_abandoned = True
        self._stop.set()

    def _prepared(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int]
    ) -> Callable[[], tuple[RolloutGroup, ...]]:
        """A function that samples with the present weights; waits until sampling with earlier ones has ended."""
        wait([self._begun])
        weights = self._weights.current()
        model = self._weights.model_of(weights)
        pictures = study_pictures(batch, self._policy.image_processor)
        asked = [self._asked(model, batch, i, settings) for i in range(len(batch))]
        requests = [
            partial(completion_request, model, shown, told, settings, self._rules, seed % _SEEDS)
            for shown, told, seed in zip(pictures, batch.messages, seeds, strict=True)
        ]

        def sample() -> tuple[RolloutGroup, ...]:
            drawn = self._draw_by(weights, asked, requests)
            return tuple(self._group(each, completions) for each, completions in zip(asked, drawn, strict=True))

        return sample

    def metrics(self) -> Mapping[str, float]:
        """The difference between server and policy in a token's log-probability; NaN after greedy rollouts."""
        return {"rollout_logp_gap": self._gap.mean, "rollout_logp_gap_max": self._gap.largest}

    def close(self) -> None:
        """Unloads the weights from the server."""
        self._weights.withdraw()

    def _asked(self, model: str, batch: StudyBatch, index: int, settings: SamplingSettings) -> Asked:
        return Asked(
            study_id=batch.studies[index].study_id,
            model=model,
            prompt_ids=tuple(batch.prompt_ids[index].tolist()),
            image_token=self._policy.model.config.image_token_id,
            settings=settings,
            rules=self._rules,
            pixel_limits=limits_on_server(self._policy.image_processor),
        )

    def _draw_by(
        self, weights: str, asked: Sequence[Asked], requests: Sequence[Callable[[], dict[str, Any]]]
    ) -> list[tuple[Drawn, ...]]:
        """Completions with these weights, sampled again if the server has lost the weights meanwhile.

        Each request notices a lost adapter. A lost whole model is noticed only by asking: a restarted server has other
        weights by the same name.
        """
        drawn = self._draw_all(weights, asked, requests)
        if self._weights.is_named_in_answers or self._weights.is_served(weights):
            return drawn
        self._weights.load_again(weights)
        drawn = self._draw_all(weights, asked, requests)
        if not self._weights.is_served(weights):
            raise RunPaused("the rollout server loses the weights that it was sent: somebody else changes them")
        return drawn

    def _draw_all(
        self, weights: str, asked: Sequence[Asked], requests: Sequence[Callable[[], dict[str, Any]]]
    ) -> list[tuple[Drawn, ...]]:
        """Builds each request when it is sent, since pictures take time to encode and memory to keep."""
        stop = self._stop = threading.Event()
        if self._is_abandoned:
            stop.set()
        with ThreadPoolExecutor(min(self._settings.max_concurrent, len(asked))) as pool:
            futures = [
                pool.submit(self._draw, weights, each, request, stop)
                for each, request in zip(asked, requests, strict=True)
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
        self, weights: str, asked: Asked, request: Callable[[], dict[str, Any]], stop: threading.Event
    ) -> tuple[Drawn, ...]:
        body = request()
        try:
            try:
                answer = self._client.post("chat/completions", body, stop)
            except Refused as refused:
                if refused.status != 404:
                    raise
                # A restarted server has lost the adapter.
                self._weights.load_again(weights)
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
    """Removes what may differ between two ways to decode: spaces, and bytes that end within a letter."""
    return "".join(text.replace("\N{REPLACEMENT CHARACTER}", "").split())
