"""The config tree as it lies in the package, and what ``--help`` says of it. Hydra would take a second and a half."""

from pathlib import Path

import yaml

CONF = Path(__file__).resolve().parents[1] / "conf"
"""In a checkout a link to the top-level conf/."""

_FIRST_LINES = {
    "train": """\
    orapo train +experiment=smoke                        # under a minute on a CPU
    orapo train +experiment=mimic data.root=FOLDER       # real data
    orapo train -m objective.alpha=0.3,0.5 seed=0,1      # a sweep of four runs
    orapo train resume=FOLDER                            # a run, or a whole sweep, that stopped""",
    "evaluate": """\
    orapo evaluate run=FOLDER                            # a run's model on its test split
    orapo evaluate checkpoint=FOLDER_OR_HUB_NAME         # a model, or a PEFT adapter
    orapo evaluate reports=FILE                          # what something else wrote, CSV or JSONL
    orapo evaluate run=FOLDER against=OTHER              # paired bootstrap between two systems""",
    "generate": """\
    orapo generate image=FILE_OR_FOLDER model=RUN_OR_CHECKPOINT
    orapo generate image=[A,B] format=json out=FILE      # two images of one study, as JSON lines
    orapo generate image=FILE num_reports=5              # drawn reports beside the greedy one""",
}


def config_help(command: str, config_name: str) -> str:
    """How a command with a config is called, the options of the config's groups, and its keys with their comments."""
    file = CONF / f"{config_name}.yaml"
    text = file.read_text(encoding="utf-8")
    groups = [group for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict) for group in entry]
    groups = [group for group in groups if not group.startswith("optional ")]
    options = {group: group_options(group) for group in groups if group != "hydra"}
    if command == "train":
        options |= {f"+{group}": group_options(group) for group in ("experiment", "sweep", "row")}
    own_keys = text[text.index("  - _self_\n") + len("  - _self_\n") :].strip("\n")
    return "\n".join(
        [
            _FIRST_LINES[command],
            "\ngroups:",
            *(f"    {group}={'|'.join(names)}" for group, names in options.items() if len(names) > 1),
            "\nown keys:",
            *(f"    {line}" for line in own_keys.splitlines()),
            f"\nall keys, resolved: orapo {command} --cfg job; comments: {CONF}; Hydra's own flags: --hydra-help",
        ]
    )


def group_options(group: str) -> list[str]:
    """Names of the files of a config group, in order."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))
