"""Which settings a resumed run may change, and where it continues from."""

from pathlib import Path

CHANGEABLE = (
    "reward.max_cost",
    "reward.pause_limit_seconds",
    "reward.api_base",
    "reward.api_key_variable",
    "reward.cache",
    "reward.cache_path",
    "reward.max_concurrent",
    "reward.requests_per_minute",
    "reward.tokens_per_minute",
    "reward.timeout_seconds",
    "reward.max_tries",
    "reward.deadline_seconds",
    "rollout.server.api_base",
    "rollout.server.api_key_variable",
    "rollout.server.model",
    "rollout.server.adapter_folder",
    "rollout.server.adapter_folder_on_server",
    "rollout.server.max_concurrent",
    "rollout.server.timeout_seconds",
    "rollout.server.pause_limit_seconds",
    "rollout.server.max_logp_gap",
)
"""What a resumed run may change: how judge and rollout server are reached, never what is trained or judged."""

SUMMARY = "summary.json"
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
