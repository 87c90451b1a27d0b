"""The trials of a search in real databases: SQLite files, and a PostgreSQL server where there is one."""

import csv
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orapo.errors import SettingError
from orapo.search.results import override, results_text, write_results
from orapo.search.space import read_space
from orapo.search.study import Search, SearchSettings, open_search

SPACE = read_space(
    {"x": {"float": [0.0, 1.0]}, "y": {"log": [0.1, 10.0]}, "low,high": {"choices": [[0, 1], [2, 3], [4, 5]]}}
)
SETTINGS = SearchSettings(
    n_trials=12,
    direction="maximize",
    seed=0,
    n_startup_trials=4,
    parallel_trials=1,
    storage=None,
    study_name="sweep/time",
)


def worth(settings: object) -> float:
    return 1 - abs(settings["x"] - 0.3)  # type: ignore[index]


def finish(search: Search, most: int = 99) -> list[tuple[int, dict[str, object]]]:
    """Runs up to ``most`` trials."""
    made: list[tuple[int, dict[str, object]]] = []
    while len(made) < most and (batch := search.batch()):
        for trial in batch:
            search.tell(trial.number, worth(trial.settings))
            made.append((trial.number, dict(trial.settings)))
    return made


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server of this test's own, on a socket in its folder; skips where no server is installed."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    # The server refuses to run as root; a socket's path has 107 characters at most.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if as_user:
        shutil.chown(folder, "postgres")
    binaries = found[-1].parent

    def call(program: str, *arguments: str) -> None:
        command = [*as_user, str(binaries / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=100)

    try:
        call("initdb", "-U", "search", "--auth=trust", "-N")
        options = f"-c listen_addresses='' -c fsync=off -k {folder}"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://search@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def goes_on(folder: Path, storage: str | None) -> None:
    whole = finish(open_search(folder, SPACE, replace(SETTINGS, storage=storage, study_name="whole"), {}))
    assert [number for number, _ in whole] == list(range(12))
    settings = replace(SETTINGS, storage=storage, study_name="parts")
    finish(open_search(folder, SPACE, settings, {}), most=5)
    dying = open_search(folder, SPACE, settings, {})
    (asked,) = dying.batch()
    # That process is gone: nothing was told.
    study = open_search(folder, SPACE, settings, {})
    rest = finish(study)
    assert rest[0] == (5, dict(asked.settings)), "the interrupted trial, with the same settings"
    assert [number for number, _ in rest] == list(range(5, 12))
    assert rest == whole[5:], "an interruption changes no point"
    assert len({json.dumps(settings) for _, settings in whole}) == 12
    assert not study.batch()
    content = write_results(study, "macro_f1", folder)
    assert content["counts"] == {"finished": 12, "failed": 0, "running": 0}


@pytest.mark.slow
def test_a_search_goes_on_in_sqlite(tmp_path: Path) -> None:
    goes_on(tmp_path, None)
    assert (tmp_path / "search.sqlite").exists()


@pytest.mark.slow
def test_a_search_goes_on_in_postgresql(tmp_path: Path, postgresql: str) -> None:
    goes_on(tmp_path, postgresql)
    assert not (tmp_path / "search.sqlite").exists()


@pytest.mark.slow
def test_the_model_of_good_settings_takes_over_from_chance(tmp_path: Path) -> None:
    found = finish(open_search(tmp_path, SPACE, replace(SETTINGS, n_trials=40, n_startup_trials=10), {}))
    assert sum(worth(s) for _, s in found[20:]) / 20 > sum(worth(s) for _, s in found[:10]) / 10 + 0.1


@pytest.mark.slow
def test_trials_side_by_side_are_different_points(tmp_path: Path) -> None:
    search = open_search(tmp_path, SPACE, replace(SETTINGS, parallel_trials=5), {})
    sizes = []
    while batch := search.batch():
        sizes.append(len(batch))
        assert len({json.dumps(dict(trial.settings)) for trial in batch}) == len(batch)
        for trial in batch:
            search.tell(trial.number, worth(trial.settings))
    assert sizes == [5, 5, 2]


@pytest.mark.slow
def test_failed_trials_count_and_are_told(tmp_path: Path) -> None:
    search = open_search(tmp_path, SPACE, replace(SETTINGS, n_trials=4, direction="minimize"), {})
    for value, reason in ((0.5, ""), (None, "no such file"), (float("nan"), ""), (0.25, "")):
        (trial,) = search.batch()
        search.tell(trial.number, value, reason)
    assert not search.batch()
    content = write_results(search, "macro_f1", tmp_path)
    assert content["counts"] == {"finished": 2, "failed": 2, "running": 0}
    assert (content["best"]["trial"], content["best"]["value"]) == (3, 0.25)
    assert "2 of 4 trials finished, 2 failed; all in" in results_text(content, tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == [
        "",
        "no such file",
        "the job returned nan, a finite number is needed",
        "",
    ]
    assert list(rows[0])[:7] == ["trial", "state", "value", "x", "y", "low", "high"]
    assert json.loads((tmp_path / "search.json").read_text()) == content


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    open_search(tmp_path, SPACE, SETTINGS, {"training.num_steps": 500})
    open_search(tmp_path, SPACE, replace(SETTINGS, n_trials=30, parallel_trials=2), {"training.num_steps": 500})
    with pytest.raises(SettingError, match=r"begun with training\.num_steps = 500, now it is 400; start a new sweep"):
        open_search(tmp_path, SPACE, SETTINGS, {"training.num_steps": 400})
    with pytest.raises(SettingError, match=r"begun with space y = .*, now it is 'absent'"):
        open_search(tmp_path, (SPACE[0], SPACE[2]), SETTINGS, {"training.num_steps": 500})


@pytest.mark.parametrize(
    "storage", ["nonsense", "postgresql+psycopg://me:secret@127.0.0.1:9/none", "sqlite:////nowhere/at/all.sqlite"]
)
def test_a_database_that_does_not_answer_is_one_line_without_the_password(storage: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as raised:
        open_search(tmp_path, SPACE, replace(SETTINGS, storage=storage), {})
    assert "hydra.sweeper.storage can't be opened" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_trials": 0}, "n_trials is 0"),
        ({"direction": "up"}, "direction is 'up'"),
        ({"parallel_trials": -1}, "is -1"),
    ],
)
def test_bad_settings(change: dict[str, object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


def test_values_as_the_command_line_takes_them() -> None:
    told = [override("a", value) for value in (0.5, 3, True, None, "a b", "it's")]
    assert told == ["a=0.5", "a=3", "a=true", "a=null", "a='a b'", "a='it\\'s'"]
