"""The source of rollouts that the config names."""

from pathlib import Path

from orapo.experiment.config import Experiment
from orapo.policy.model import Policy
from orapo.policy.rollout_source import LocalRollouts, RolloutSource
from orapo.policy.vllm.client import ServerClient
from orapo.policy.vllm.rollouts import VllmRollouts
from orapo.policy.vllm.settings import ServerSettings
from orapo.training.ahead import RolloutsAhead

ADAPTERS = "adapters"


def reach_server(experiment: Experiment) -> ServerClient | None:
    """The rollout server, after checking that it answers and serves this model; None without one.

    Raises:
        RunPaused: it does not answer.
        SettingError: it can't serve this run.
    """
    if experiment.server is None:
        return None
    client = ServerClient(experiment.server)
    client.check(
        _served_model(experiment, experiment.server),
        has_adapter=experiment.model.lora is not None,
        sampling=experiment.rollout,
    )
    return client


def build_rollouts(experiment: Experiment, policy: Policy, server: ServerClient | None, folder: Path) -> RolloutSource:
    """Rollouts by the policy, or by the server; weights go below ``folder`` unless the config names another place."""
    if server is None:
        return LocalRollouts(policy)
    model = _served_model(experiment, server.settings)
    return VllmRollouts(policy, server, model, folder / ADAPTERS, experiment.training.micro_batch)


def build_ahead(experiment: Experiment, rollouts: RolloutSource) -> RolloutsAhead | None:
    """What samples the next batch while one is updated; None where each is sampled when its turn comes."""
    if experiment.rollout.ahead == 0:
        return None
    assert isinstance(rollouts, VllmRollouts)
    return RolloutsAhead(rollouts, experiment.rollout)


def _served_model(experiment: Experiment, server: ServerSettings) -> str:
    return server.model or experiment.model.path
