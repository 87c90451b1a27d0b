"""The source of rollouts that the config names."""

from pathlib import Path

from orapo.experiment.config import Experiment
from orapo.policy.model import Policy
from orapo.policy.rollout_source import LocalRollouts, RolloutSource
from orapo.policy.vllm.client import ServerClient
from orapo.policy.vllm.rollouts import VllmRollouts

ADAPTERS = "adapters"


def reach_server(experiment: Experiment) -> ServerClient | None:
    """The rollout server, once it is sure that it is there and serves this model; None without one.

    Raises:
        RunPaused: it does not answer.
        SettingError: it can't serve this run.
    """
    if experiment.server is None:
        return None
    client = ServerClient(experiment.server)
    client.check(experiment.server.model or experiment.model.path)
    return client


def build_rollouts(experiment: Experiment, policy: Policy, server: ServerClient | None, folder: Path) -> RolloutSource:
    """Rollouts by the policy itself, or by the server that was reached.

    Args:
        experiment: checked settings.
        policy: loaded.
        server: of ``reach_server``.
        folder: of the run; adapters are written below it unless the config names another place.
    """
    if server is None:
        return LocalRollouts(policy)
    return VllmRollouts(policy, server, folder / ADAPTERS, experiment.training.studies_per_micro_batch)
