"""A model behind an API, through the real litellm and a real HTTP server that refuses, fails and cuts off on demand."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from orapo.data.collate import StudyImages
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.phantoms.source import PhantomSource
from orapo.errors import RunPaused, SettingError
from orapo.experiment.api_endpoint import check_privacy
from orapo.experiment.api_policy import ApiPolicy, ApiRejected
from orapo.experiment.evaluate_config import ApiSettings
from orapo.experiment.targets import plain
from orapo.prompt import Prompt
from orapo.settings import read

DEFAULTS = Path(__file__).parents[3] / "conf" / "system" / "api.yaml"
INSTRUCTION = "Describe this drawing."


@dataclass
class ReportServer:
    """Answers chat completions with what ``answer`` makes of the call's number and body."""

    answer: Callable[[int, dict[str, Any]], tuple[int, str, str]]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> "ReportServer":
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._respond)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.port = runner.addresses[0][1]
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _respond(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        status, text, finish = self.answer(len(self.bodies), body)
        if status != 200:
            return web.json_response({"error": {"message": text, "type": "made_up", "code": text}}, status=status)
        message = {"role": "assistant", "content": text}
        return web.json_response(
            {
                "id": "made-up",
                "object": "chat.completion",
                "created": 1,
                "model": "drawer-1",
                "choices": [{"index": 0, "finish_reason": finish, "message": message}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050},
            }
        )


@pytest.fixture(scope="module")
def studies() -> EvaluationStudies:
    source = PhantomSource(num_train=4, num_validate=2, num_test=4, image_size=56)
    return EvaluationStudies.read(source, None)


@pytest.fixture
def policy_of(tmp_path: Path) -> Callable[..., ApiPolicy]:
    def make(server: ReportServer | None, prompt: Prompt = Prompt(INSTRUCTION), **changes: Any) -> ApiPolicy:  # noqa: B008
        return ApiPolicy(settings(tmp_path, server, **changes), prompt)

    return make


def settings(folder: Path, server: ReportServer | None, **changes: Any) -> ApiSettings:
    section = OmegaConf.load(DEFAULTS)
    own = {
        "model": "openai/drawer",
        "api_base": None if server is None else server.api_base,
        "cache_path": str(folder / "api.sqlite"),
        "is_private": False,
        "timeout_seconds": 20.0,
        "identity": "drawer",
        "prices": [2.0, 8.0],
        "max_concurrent": 1,
    }
    merged = OmegaConf.merge(section, own, changes)
    assert isinstance(merged, DictConfig)
    return read(ApiSettings, plain(merged), "system")


def numbered(number: int, body: dict[str, Any]) -> tuple[int, str, str]:
    return 200, f" Report {number}. ", "stop"


@pytest.mark.slow
def test_what_a_model_thinks_is_no_report(studies: EvaluationStudies, policy_of: Any) -> None:
    answers = ("<think>Edema?</think> Clear. ", "Edema? </think>Clear.", "<think>Edema", "Clear.")
    with ReportServer(lambda number, _: (200, answers[(number - 1) % 4], "stop")) as server:
        # The third answer is nothing but thoughts: asked again, the fourth is the report.
        assert policy_of(server).write(studies, None).reports == ("Clear.",) * 4


def test_reports_tokens_cost_seconds_and_what_is_sent(studies: EvaluationStudies, policy_of: Any) -> None:
    with ReportServer(numbered) as server:
        policy = policy_of(server, reasoning_effort="high")
        written = policy.write(studies, None)
    assert written.reports == ("Report 1.", "Report 2.", "Report 3.", "Report 4.")
    assert written.cost_usd == pytest.approx((1000 * 2e-6 + 50 * 8e-6,) * 4)
    assert written.seconds is not None
    assert all(0 < seconds < 60 for seconds in written.seconds)
    assert policy.described["usage"]["calls"] == 4
    body = server.bodies[0]
    assert (body["reasoning_effort"], body["temperature"], body["model"]) == ("high", 0.0, "drawer")
    (message,) = body["messages"]
    picture, text = message["content"]
    assert text == {"type": "text", "text": INSTRUCTION}
    url = picture["image_url"]["url"]
    shown = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    (own,) = studies.source.load_images(studies.studies[0])
    assert shown.tobytes() == own.tobytes()


def test_a_prior_study_is_shown_and_told_and_belongs_to_the_key(policy_of: Any) -> None:
    studies = EvaluationStudies.read(PhantomSource(num_test=2, followup=True), None)
    prompt = Prompt(INSTRUCTION, ("prior_report", "prior_image"))
    with ReportServer(numbered) as server:
        policy_of(server, prompt=prompt).write(studies, None)
        told = server.bodies[0]["messages"][0]["content"]
        policy_of(server, prompt=Prompt(INSTRUCTION, ("prior_image",))).write(studies, None)
        assert len(server.bodies) == 4, "other words are another request"
    prior_picture, picture, words = told
    row = StudyImages(studies.source.load_images, studies.studies, with_priors=True)[0]
    for sent, image in ((prior_picture, *row.prior_images), (picture, *row.images)):
        png = base64.b64decode(sent["image_url"]["url"].partition(",")[2])
        assert Image.open(io.BytesIO(png)).tobytes() == image.tobytes()
    assert words["text"].endswith(INSTRUCTION)
    assert row.study.context.prior.report in words["text"]


def test_effort_is_sent_only_when_given(studies: EvaluationStudies, policy_of: Any) -> None:
    with ReportServer(numbered) as server:
        policy_of(server).write(studies, None)
    assert ["reasoning_effort" in body for body in server.bodies] == [False] * 4


def test_nothing_is_paid_twice_and_shuffled_images_need_no_new_answer(
    studies: EvaluationStudies, policy_of: Any
) -> None:
    with ReportServer(numbered) as server:
        first = policy_of(server).write(studies, None)
        again = policy_of(server)
        assert again.write(studies, None) == first
        shuffled = again.write(studies, [1, 2, 3, 0])
        assert len(server.bodies) == 4
        assert again.described["usage"]["cache_hits"] == 8
        policy_of(server, reasoning_effort="low").write(studies, None)
        assert len(server.bodies) == 8, "another effort is another question"
    # The report follows the images.
    assert shuffled.reports == (*first.reports[1:], first.reports[0])


def test_failures_are_tried_again_and_rate_limits_waited_for(studies: EvaluationStudies, policy_of: Any) -> None:
    def failing(number: int, body: dict[str, Any]) -> tuple[int, str, str]:
        return (503, "overloaded", "") if number == 1 else (200, "" if number == 3 else f"Report {number}.", "stop")

    with ReportServer(failing) as server:
        policy = policy_of(server)
        written = policy.write(studies, None)
    assert written.reports == ("Report 2.", "Report 4.", "Report 5.", "Report 6.")
    assert policy.described["usage"]["retries"] == 2
    # The empty answer was paid for too.
    assert written.cost_usd == pytest.approx((0.0024, 0.0048, 0.0024, 0.0024))


def test_refusals_silence_and_cut_off_reports_are_counted(studies: EvaluationStudies, policy_of: Any) -> None:
    def odd(number: int, body: dict[str, Any]) -> tuple[int, str, str]:
        kinds = {1: (400, "content_filter", ""), 2: (400, "content_filter", ""), 3: (200, "", "stop")}
        return kinds.get(number) or {4: (200, " ", "stop"), 5: (200, "Cut", "length")}.get(
            number, (200, "Whole.", "stop")
        )

    with ReportServer(odd) as server:
        written = policy_of(server, max_tries=2).write(studies, None)
    assert written.reports == ("", "", "Cut", "Whole.")
    assert written.counts == {"refused_reports": 1, "unanswered_reports": 1, "cut_off_reports": 1}


def test_an_outage_stops_and_the_same_command_goes_on(studies: EvaluationStudies, policy_of: Any) -> None:
    is_out = True

    def failing(number: int, body: dict[str, Any]) -> tuple[int, str, str]:
        return (503, "overloaded", "") if is_out and number > 2 else (200, f"Report {number}.", "stop")

    with ReportServer(failing) as server:
        with pytest.raises(RunPaused, match=r"doesn't answer: .*503.*goes on from there"):
            policy_of(server, max_tries=2).write(studies, None)
        is_out = False
        written = policy_of(server).write(studies, None)
        assert written.reports == ("Report 1.", "Report 2.", "Report 5.", "Report 6.")


def test_the_budget_is_never_passed(studies: EvaluationStudies, policy_of: Any) -> None:
    with ReportServer(numbered) as server:
        # A call may cost 2 * 2008 / 10^6 + 8 * 1024 / 10^6 = 0.0122 and costs 0.0024.
        with pytest.raises(RunPaused, match=r"max_cost=0.016: 0.0048 US dollars are spent"):
            policy_of(server, max_cost=0.016).write(studies, None)
        assert len(server.bodies) == 2
        policy_of(server, max_cost=0.016).write(studies, None)
        assert len(server.bodies) == 4


def test_a_wrong_key_is_one_line_without_the_key(
    studies: EvaluationStudies, policy_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MADE_UP_KEY", "sk-made-up-0123456789abcdef")
    with ReportServer(lambda number, body: (401, "sk-made-up-0123456789abcdef is wrong", "")) as server:
        with pytest.raises(ApiRejected, match="status 401") as raised:
            policy_of(server, api_key_variable="MADE_UP_KEY").write(studies, None)
        assert server.keys[0] == "Bearer sk-made-up-0123456789abcdef"
    assert "0123456789" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_refusal_that_repeats_what_was_told_of_the_patient_is_not_quoted(policy_of: Any) -> None:
    studies = EvaluationStudies.read(PhantomSource(num_test=2, followup=True), None)

    def repeat(number: int, body: dict[str, Any]) -> tuple[int, str, str]:
        return 400, f"no model takes: {body['messages'][0]['content'][-1]['text']}", ""

    with ReportServer(repeat) as server, pytest.raises(ApiRejected, match="status 400") as raised:
        policy_of(server, prompt=Prompt(INSTRUCTION, ("prior_report",))).write(studies, None)
    assert "no model takes" not in str(raised.value)


def test_private_images_stay_here_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"allow_external is false.*openai/drawer"):
        check_privacy(settings(tmp_path, None, is_private=True))
    with pytest.raises(SettingError, match="allow_external"):
        check_privacy(settings(tmp_path, None, is_private=True, api_base="http://10.0.0.5/v1"))
    check_privacy(settings(tmp_path, None, is_private=True, api_base="http://127.0.0.1:1/v1"))
    check_privacy(settings(tmp_path, None, is_private=True, allow_external=True))
    check_privacy(settings(tmp_path, None, is_private=False))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reasoning_effort": "enormous"}, "reasoning_effort is 'enormous'"),
        ({"max_cost": 0}, "system.max_cost is 0"),
        ({"prices": [1.0]}, "system.prices"),
        ({"cache": "maybe"}, "system.cache is 'maybe'"),
        ({"max_tries": 0}, "system.max_tries is 0"),
        ({"temprature": 1}, "did you mean system.temperature"),
        ({"api_base": "ftp://nowhere"}, "system.api_base is 'ftp://nowhere'"),
    ],
)
def test_bad_settings_name_their_key(changes: dict[str, Any], told: str, policy_of: Any) -> None:
    with pytest.raises(SettingError) as raised:
        policy_of(None, **changes)
    assert told in str(raised.value)


def test_a_budget_needs_a_price(studies: EvaluationStudies, policy_of: Any) -> None:
    policy = policy_of(None, model="openai/nobody-knows-this-one", prices=None, max_cost=1.0)
    with pytest.raises(SettingError, match=r"price of openai/nobody-knows-this-one is unknown; set system.prices"):
        policy.write(studies, None)


def test_a_read_only_cache_asks_nobody(studies: EvaluationStudies, policy_of: Any) -> None:
    with ReportServer(numbered) as server:
        first = policy_of(server).write(studies, None)
    assert policy_of(None, cache="read_only").write(studies, None).reports == first.reports
    with pytest.raises(SettingError, match=r"system.cache=read_only: .*lacks a report"):
        policy_of(None, cache="read_only", max_output_tokens=7).write(studies, None)


def test_no_report_stands_in_what_is_stored_as_a_key(
    studies: EvaluationStudies, policy_of: Any, tmp_path: Path
) -> None:
    with ReportServer(numbered) as server:
        policy_of(server).write(studies, None)
    stored = (tmp_path / "api.sqlite").read_bytes()
    assert INSTRUCTION.encode() not in stored
    assert json.dumps({"report": "Report 1."})[1:-1].encode() in stored + b"".join(
        path.read_bytes() for path in tmp_path.glob("api.sqlite-*")
    )
