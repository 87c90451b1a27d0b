"""A chat-completions server on 127.0.0.1 that answers the judge's questions by the offline judge, and fails on demand.

What it answers depends on the question alone. Which fault a call meets depends on the seed, the question and how often
it was asked before, not on the order of arrival: a run can be repeated.

By itself: python benchmarks/judge_server.py '{"fault_rate": 0.3, "latency_seconds": 0.2}'
prints its port, serves until its standard input closes, and then prints its calls as JSON.
"""

import asyncio
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

from orapo.chexpert import LabelState, Observation
from orapo.labeler import Labeler
from orapo.records import Fact, LabelVerdict
from orapo.reward.entailment import OfflineJudge
from orapo.reward.facts import extract_facts
from orapo.reward.llm.answers import key_of

CALL_FAULTS = ("429", "500", "503", "reset", "slow")
TEXT_FAULTS = ("truncated", "malformed", "refusal", "null", "no_choices")
FACT_FAULTS = ("invented_fact", "unknown_sentence")
VERDICT_FAULTS = ("unknown_observation", "missing_observation", "unknown_support")
RUBRIC_FAULTS = ("missing_criterion", "unknown_criterion", "uncited", "criterion_of_nothing")
HOSTILE_FAULTS = ("endless_no", "endless_word", "odd_usage")
"""An error of 120 kB, a word of 600 letters, counts of tokens that are none; drawn where asked for only."""
ATTRIBUTE_FAULTS = ("invented_words", "impossible_value", "attribute_of_nothing")
FAULTS = (*CALL_FAULTS, *TEXT_FAULTS, *FACT_FAULTS, *VERDICT_FAULTS)
ANSWERED_FAULTS = frozenset((*TEXT_FAULTS, *FACT_FAULTS, *VERDICT_FAULTS, *RUBRIC_FAULTS, *ATTRIBUTE_FAULTS))
"""Faults that come as a success, to be found by reading the answer."""

_APPLICABLE = {
    "extract": (*CALL_FAULTS, *TEXT_FAULTS, *FACT_FAULTS, *HOSTILE_FAULTS),
    "entail": (*CALL_FAULTS, *TEXT_FAULTS, *VERDICT_FAULTS, "endless_no", "odd_usage"),
    "combined": (*FAULTS, *HOSTILE_FAULTS),
    "rubric": (*CALL_FAULTS, *TEXT_FAULTS, *RUBRIC_FAULTS),
    "attributes": (*CALL_FAULTS, *TEXT_FAULTS, *ATTRIBUTE_FAULTS),
}
_ODD_COUNTS = (10**30, -5, 2.5, 1e300, float("nan"), "7", [7], {"text": 7}, None)
_SUBJECT = re.compile(r"<(report|facts)>\n(.*?)\n?</\1>", re.DOTALL)
_LINE = re.compile(r"^\[\d+\] (.*)$", re.MULTILINE)
_CRITERION = re.compile(r"^- (\w+): (.*?)( \(cite\))?$", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]+)"')
_PROBLEM = {"429": "rate_limit_exceeded", "500": "internal_error", "503": "overloaded"}

SENTENCES = (
    "Small left pleural effusion.",
    "No pleural effusion.",
    "The heart is enlarged.",
    "Heart size is normal.",
    "Right pneumothorax.",
    "No pneumothorax.",
    "Left lower lobe consolidation.",
    "Endotracheal tube in place.",
    "Possible pneumonia.",
    "Mild pulmonary edema.",
    "Bibasilar atelectasis.",
    "There is a rib fracture.",
    "The lungs are clear.",
)


def made_up_reports(count: int, seed: int) -> list[str]:
    """``count`` different reports of two to five sentences."""
    draw = random.Random(seed)
    reports: dict[str, None] = {}
    while len(reports) < count:
        reports[" ".join(draw.sample(SENTENCES, draw.randint(2, 5)))] = None
    return list(reports)


@dataclass(frozen=True)
class Call:
    """One call as the server saw it."""

    stage: str
    subject: str
    fault: str | None
    seconds: float
    key: str
    messages: int


@dataclass
class JudgeServer:
    """The server, to be used in a ``with`` statement; its settings may be changed while it runs."""

    fault_rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    seed: int = 0
    latency_seconds: float = 0.0
    slow_seconds: float = 5.0
    retry_after: str = "1"
    key: str = ""
    model: str = "judge-1"
    always: str = ""
    status: int = 0
    prompt_tokens: int = 1000
    completion_tokens: int = 100
    attributes: Callable[[list[str]], list[dict[str, object]]] = lambda sentences: []
    """How attributes are read: sentences in, entries of the answer out."""
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        self._asked: Counter[tuple[str, str]] = Counter()
        self._num_odd = 0
        self._offline = OfflineJudge()
        self._labeler = Labeler()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> "JudgeServer":
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def api_base(self) -> str:
        """The address to give to an ``Endpoint``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def good_calls(self) -> list[Call]:
        """The calls that got a right answer."""
        return [call for call in self.calls if call.fault is None]

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(_end(runner))
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        messages = body["messages"]
        stage, subject, texts = _question(messages)
        fault = self._fault(stage, subject)
        self.calls.append(Call(stage, subject, fault, time.monotonic(), key, len(body["messages"])))
        if self.key and key != self.key:
            return _problem(
                401, "invalid_api_key", f"Incorrect API key provided: {key}. See https://keys.test/?k={key}"
            )
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.slow_seconds if fault == "slow" else self.latency_seconds)
        finally:
            self.under_way -= 1
        if self.status:
            return _problem(self.status, "a_problem", f"The server says no to {subject}")
        if fault == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault == "filter":
            return _problem(400, "content_filter", "stopped by the content management policy")
        if fault == "endless_no":
            return web.Response(status=503, text="no," * 40_000, content_type="application/json")
        if fault in _PROBLEM:
            headers = {"Retry-After": self.retry_after} if fault != "500" else {}
            return _problem(int(fault), _PROBLEM[fault], "try later", headers)
        completion = self._completion(stage, messages[0]["content"], texts, fault)
        if fault == "odd_usage":
            completion["usage"] = dict.fromkeys(
                ("prompt_tokens", "completion_tokens", "total_tokens"), self._odd_count()
            )
        return web.json_response(completion)

    def _odd_count(self) -> object:
        self._num_odd += 1
        return _ODD_COUNTS[self._num_odd % len(_ODD_COUNTS)]

    def _fault(self, stage: str, subject: str) -> str | None:
        self._asked[stage, subject] += 1
        if self.always:
            return self.always
        draw = random.Random(f"{self.seed} {stage} {subject} {self._asked[stage, subject]}")
        kinds = [kind for kind in _APPLICABLE[stage] if kind in self.faults]
        return draw.choice(kinds) if kinds and draw.random() < self.fault_rate else None

    def _completion(self, stage: str, system: str, texts: list[str], fault: str | None) -> dict[str, object]:
        answer = self._right_answer(stage, system, texts)
        content: str | None = _spoiled(answer, fault)
        message = {"role": "assistant", "content": content}
        finish = {"truncated": "length", "filtered_answer": "content_filter"}.get(fault or "", "stop")
        return {
            "id": "made-up",
            "object": "chat.completion",
            "created": 1,
            "model": self.model,
            "choices": [] if fault == "no_choices" else [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens + self.completion_tokens,
            },
        }

    def _right_answer(self, stage: str, system: str, texts: list[str]) -> dict[str, object]:
        if stage == "rubric":
            return {"criteria": {name: _graded(asks, texts) for name, asks, _ in _CRITERION.findall(system)}}
        if stage == "attributes":
            return {"attributes": self.attributes(texts)}
        if stage == "entail":
            return {"verdicts": self._verdicts(texts)}
        facts = [(number, fact.text) for number, sentence in enumerate(texts) for fact in self._facts(f"{sentence}.")]
        answer: dict[str, object] = {"facts": [{"sentence": number, "text": text} for number, text in facts]}
        return answer if stage == "extract" else {**answer, "verdicts": self._verdicts([text for _, text in facts])}

    def _facts(self, sentence: str) -> tuple[Fact, ...]:
        return extract_facts(sentence, self._labeler.mentions(sentence)).facts

    def _verdicts(self, texts: list[str]) -> dict[str, object]:
        """The offline judge's on a report that has each text in a line of its own, as one fact."""
        report, facts = "", []
        for number, text in enumerate(texts):
            start = len(report)
            report += f"{text}\n"
            mentions = (mention.span for mention in self._labeler.mentions(text))
            moved = tuple(span._replace(start=start + span.start, end=start + span.end) for span in mentions)
            facts.append(Fact(text, number, start, start + len(text), moved))
        states = self._labeler.aggregate(mention for fact in facts for mention in fact.mentions)
        is_normal = states[Observation.NO_FINDING] is LabelState.POSITIVE
        verdicts = self._offline.verdicts(report, facts, is_normal=is_normal)
        return {key_of(verdict.observation): _written(verdict, facts) for verdict in verdicts}


def _written(verdict: LabelVerdict, facts: list[Fact]) -> dict[str, object]:
    return {
        "verdict": verdict.judgement.value,
        "supported_by": [facts.index(fact) for fact in verdict.supporting_facts],
    }


def _question(messages: list[dict[str, str]]) -> tuple[str, str, list[str]]:
    """Stage, subject, and the numbered texts of it."""
    found = _SUBJECT.search(messages[1]["content"])
    assert found is not None, "the prompts have another form now"
    marks = {"14 verdicts": "combined", "Grade the report": "rubric", "List the attributes": "attributes"}
    asked = next((stage for mark, stage in marks.items() if mark in messages[1]["content"]), "extract")
    stage = "entail" if found[1] == "facts" else asked
    return stage, found[2], [json.loads(line) for line in _LINE.findall(found[2])]


def _graded(asks: str, sentences: list[str]) -> dict[str, object]:
    """Met where a sentence has the first words that the question quotes."""
    wanted = _QUOTED.search(asks)
    numbers = [n for n, text in enumerate(sentences) if wanted is not None and wanted[1].lower() in text.lower()]
    return {"met": bool(numbers), "sentences": numbers}


def _spoiled(answer: dict[str, object], fault: str | None) -> str | None:
    """The answer with a fault put in."""
    facts, verdicts = answer.get("facts"), answer.get("verdicts")
    criteria, attributes = answer.get("criteria"), answer.get("attributes")
    if fault == "null":
        return None
    if fault == "refusal":
        return "I'm sorry, but I can't help with that."
    if fault == "invented_fact" and isinstance(facts, list):
        facts.append({"sentence": 0, "text": "a swallowed umbrella in the gastric bubble"})
    if fault == "endless_word" and isinstance(facts, list):
        facts.append({"sentence": 0, "text": 600 * "a"})
    if fault == "unknown_sentence" and isinstance(facts, list):
        facts.append({"sentence": 99, "text": "no pneumothorax"})
    if isinstance(verdicts, dict):
        if fault == "unknown_observation":
            verdicts["umbrella"] = {"verdict": "not mentioned", "supported_by": []}
        if fault == "missing_observation":
            del verdicts["edema"]
        if fault == "unknown_support":
            verdicts["edema"] = {"verdict": "entailed", "supported_by": [99]}
    if isinstance(criteria, dict):
        first = next(iter(criteria))
        if fault == "missing_criterion":
            del criteria[first]
        if fault == "unknown_criterion":
            criteria["umbrella"] = {"met": True, "sentences": [0]}
        if fault == "uncited":
            criteria[first] = {"met": True, "sentences": []}
        if fault == "criterion_of_nothing":
            criteria[first] = {"met": True, "sentences": [99]}
    if isinstance(attributes, list):
        odd = {"sentence": 0, "finding": "pleural_effusion", "kind": "side", "value": "left", "words": "an umbrella"}
        if fault == "invented_words":
            attributes.append(odd)
        if fault == "impossible_value":
            attributes.append({**odd, "value": "upstairs"})
        if fault == "attribute_of_nothing":
            attributes.append({**odd, "sentence": 99})
    text = json.dumps(answer)
    if fault == "truncated":
        return text[: len(text) // 2]
    return text.replace(":", "=", 3) if fault == "malformed" else text


def _problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "made_up", "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


async def _end(runner: web.AppRunner) -> None:
    """Ends slow answers too, which nobody waits for any more."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runner.cleanup()


def _main() -> None:
    with JudgeServer(**json.loads(sys.argv[1])) as server:
        print(server.port, flush=True)
        sys.stdin.read()
        print(json.dumps([(call.stage, call.subject, call.fault) for call in server.calls]), flush=True)


if __name__ == "__main__":
    _main()
