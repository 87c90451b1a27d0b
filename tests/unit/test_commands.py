"""The console command: its names, its --help in no time, and one line for what there is not."""

import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from orapo.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "numpy",
    "lightning",
    "transformers",
    "torchmetrics",
    "litellm",
    "wandb",
    "peft",
    "datasets",
    "matplotlib",
}


@pytest.mark.parametrize(
    "arguments",
    [
        *([name] for name in COMMANDS),
        *(["data", name] for name in ("check", "miniature", "rank")),
        *(["judge", name] for name in ("report", "compare", "estimate")),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        f"import sys; sys.argv = ['orapo', *{arguments!r}, '--help']\n"
        "from orapo.__main__ import main\n"
        "try: code = main()\n"
        "except SystemExit as stop: code = stop.code\n"
        f"print('exit', code, 'heavy', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("exit 0 heavy []\n"), done.stdout + done.stderr
    assert f"orapo {arguments[0]}" in done.stdout


@pytest.mark.parametrize("script", ["train", "evaluate", "generate", "compare"])
def test_the_scripts_are_the_commands(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / f"{script}.py"), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    with suppress(SystemExit):  # argparse exits
        main([script, "--help"])
    assert " ".join(done.stdout.split()) == " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["train", "evaluate", "generate"])
def test_help_tells_every_key_and_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--help"])
    told = capsys.readouterr().out
    file = ROOT / "conf" / f"{COMMANDS[name].config}.yaml"
    for key in set(yaml.safe_load(file.read_text())) - {"defaults"}:
        assert f"\n    {key}: " in told or f"\n    {key}:\n" in told
    assert "model=arithmetic|checkpoint|" in told
    assert ("+experiment=" in told) == (name == "train")


def test_what_a_command_logs_steers_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    try:
        with suppress(SystemExit):
            main(["compare", "--help"])
        logging.getLogger("of.any.library").warning("a%sb", "\x1b[2J")
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == ["a\\x1b[2Jb"]


def test_what_there_is_not_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: orapo trian: there is no such command; did you mean train? allowed: train, ")


def test_without_a_command_all_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("orapo 0.")


def test_the_tree_in_the_package_is_the_one_copy() -> None:
    link = ROOT / "src" / "orapo" / "conf"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "conf"
