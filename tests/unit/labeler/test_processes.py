"""The command as a process: many workers, interruptions, a worker's death, memory."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.labeler.conftest import Run

STATEMENTS = (
    "No pneumothorax.",
    "Possible nodule of {} mm.",
    "Pleural effusion, {} cm.",
    "The heart is enlarged.",
    "No edema on day {}.",
)
HAS_PROC = Path("/proc/self/task").is_dir()


def write_reports(path: Path, num: int, *, filler: str = "", bad_every: int = 0) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_id", "report", "other"])
        for index in range(num):
            text = " ".join(STATEMENTS[(index + step) % 5].format(index % 97) for step in range(1 + index % 4))
            writer.writerow([f"s{index}", "" if bad_every and not index % bad_every else text, filler])
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orapo.labeler", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until_it_works(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size for part in folder.glob(".*.part")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, run: Run) -> None:
    reports = write_reports(tmp_path / "reports.csv", 3000, bad_every=500)
    results = []
    for workers in ("1", "3", "0"):
        labels, evidence = tmp_path / "labels.csv", tmp_path / "evidence.jsonl"
        code, err = run(reports, labels, "--evidence", evidence, "--workers", workers)
        told = [line for line in err.splitlines() if " line " in line]
        assert code == 2
        assert len(told) == 6
        results.append((labels.read_bytes(), evidence.read_bytes(), told))
    assert results[0] == results[1] == results[2]
    ids = [row["study_id"] for row in csv.DictReader((tmp_path / "labels.csv").open())]
    assert ids == [f"s{index}" for index in range(3000) if index % 500]


@pytest.mark.slow
def test_an_unreadable_table_ends_the_workers_too(tmp_path: Path, run: Run) -> None:
    reports = write_reports(tmp_path / "reports.csv", 2000)
    with reports.open("a") as file:
        file.write('s,"Clear.\n')
    code, err = run(reports, tmp_path / "labels.csv", "--workers", "2")
    assert code == 1
    assert "a quote is missing" in err
    assert {path.name for path in tmp_path.iterdir()} == {"reports.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(workers: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    reports = write_reports(tmp_path / "reports.csv", 400_000)
    process = start(reports, tmp_path / "labels.csv", "--workers", workers)
    wait_until_it_works(process, tmp_path)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal's Ctrl-C goes to every process of the command
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    if number is signal.SIGINT:
        assert err == "interrupted; nothing is written\n"
    assert {path.name for path in tmp_path.iterdir()} == {"reports.csv"}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROC, reason="needs /proc to find the workers")
def test_the_death_of_a_worker_is_one_line(tmp_path: Path) -> None:
    reports = write_reports(tmp_path / "reports.csv", 400_000)
    process = start(reports, tmp_path / "labels.csv", "--workers", "2")
    wait_until_it_works(process, tmp_path)
    os.kill(children_of(process.pid)[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "error: a worker process died (out of memory, or killed); nothing is written\n"
    assert {path.name for path in tmp_path.iterdir()} == {"reports.csv"}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROC, reason="needs /proc to find the workers")
def test_workers_do_not_outlive_the_command(tmp_path: Path) -> None:
    reports = write_reports(tmp_path / "reports.csv", 400_000)
    process = start(reports, tmp_path / "labels.csv", "--workers", "2")
    wait_until_it_works(process, tmp_path)
    workers = children_of(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROC, reason="needs /proc: a process started by a large one counts that one's memory too")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_memory_does_not_grow_with_the_file(workers: str, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from orapo.labeler.command import main; code = main(sys.argv[1:])\n"
        "(peak,) = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(code, peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peaks = []
    for num in (200, 20_000):  # 0.4 and 40 MB
        reports = write_reports(tmp_path / "reports.csv", num, filler="x" * 2000)
        command = [sys.executable, "-c", script, str(reports), str(tmp_path / "labels.csv"), "--workers", workers]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        code, here, workers_peak = map(int, result.stdout.split())
        assert code == 0, result.stderr
        assert here < 100_000  # kilobytes
        peaks.append((here, workers_peak))
    assert abs(peaks[1][0] - peaks[0][0]) < 8_000
    assert abs(peaks[1][1] - peaks[0][1]) < 8_000
