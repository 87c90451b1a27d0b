"""The guard in real repositories: what it refuses, what it lets pass, and that git obeys it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
GUARD = ROOT / "tools" / "clinical_guard"
NO_GIT_SETTINGS = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

# Numbers that can be real ones, apart from the letters that would make them identifiers here.
PATIENT, SUBJECT, STUDY = 31_415, 13_572_468, 53_572_468
DICOM_ID = "-".join(f"{number:08x}" for number in (0x12F3A4B5, 0x9C8D7E6F, 0x1B2C3D4E, 0xF5A69788, 0x0718293A))

SENTENCES = (
    "Two views of the chest are compared with those of the day before.",
    "The endotracheal tube ends four centimetres above the carina, and a catheter on the right reaches the svc.",
    "The heart is moderately enlarged, as it was, with an unfolded aorta.",
    "There are small effusions on both sides, with atelectasis at the bases of both lungs.",
    "Mild edema of the interstitial kind has come up since.",
    "No pneumothorax can be made out, nor is there a new consolidation.",
    "The ribs show old fractures on the left.",
)


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")
        (folder / "allowed.toml").write_text("")

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=NO_GIT_SETTINGS, capture_output=True, text=True, check=False
        )

    def add(self, path: str, content: bytes | str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        assert self.git("add", "--force", path).returncode == 0

    def allow(self, path: str, content: bytes, reason: str = "a phantom") -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        entry = f'[[file]]\npath = "{path}"\nsha256 = "{sha256}"\nreason = "{reason}"\n'
        (self.folder / "allowed.toml").write_text(entry)

    def guard(self, *options: str) -> tuple[int, list[str]]:
        """Exit code and "path[:line]: rule" of each finding."""
        command = [sys.executable, str(GUARD), "--allowed", str(self.folder / "allowed.toml"), *options]
        done = subprocess.run(
            command, cwd=self.folder, env=NO_GIT_SETTINGS, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        self.told = done.stderr
        findings = done.stderr.split("\n\n")[0].splitlines()
        return done.returncode, [": ".join(line.split(": ")[:2]) for line in findings]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


DICOM = bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + bytes(40)


def test_ordinary_files_pass(repository: Repository) -> None:
    repository.add(
        "src/code.py", 'IMPRESSION = "impression:"\nFINDINGS = ["No pneumothorax.", "Heart size is normal."]\n'
    )
    repository.add(
        "docs/data.md", "| `study_id` | `path_to_image` |\n|---|---|\n| patient00001/study1 | findings: blank |\n"
    )
    repository.add("conf/données.yaml", "text: ≥ 2\n")
    repository.add("logs/.gitkeep", "")
    assert repository.guard() == (0, [])
    assert repository.guard("--staged") == (0, [])


def test_an_image_is_refused_under_any_name(repository: Repository) -> None:
    kinds = ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"]
    for kind in kinds:
        repository.add(f"{kind}.txt", picture(kind))
    assert repository.guard("--staged") == (1, [f"{kind}.txt: content" for kind in kinds])
    for kind in ("BMP", "GIF", "JPEG", "JPEG 2000", "PNG", "TIFF", "WebP"):
        assert f"it is a {kind} image" in repository.told


def test_what_is_no_plain_text_is_refused(repository: Repository) -> None:
    contents = [
        DICOM,
        DICOM[132:] + bytes(10),  # DICOM without its preamble: known by being no text
        bytes(344) + b"n+1\0",
        b"PK\3\4" + bytes(30),
        b"\x1f\x8b\x08" + bytes(30),
        b"PAR1" + b"text only" + b"PAR1",
        b"%PDF-1.4\nplain",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "NARRATIVE".encode("utf-16"),
        "poumon à gauche".encode("latin-1"),
    ]
    for number, content in enumerate(contents):
        repository.add(f"{number}.txt", content)
    assert repository.guard() == (1, [f"{number}.txt: content" for number in range(len(contents))])
    assert "0.txt: content: it is a DICOM file" in repository.told


def test_names_that_give_data_away(repository: Repository) -> None:
    names = [
        ("a/view1_frontal.JPG", "ending"),
        ("slice.dcm", "ending"),
        ("volume.nii.gz", "ending"),
        ("table.csv.gz", "ending"),
        ("table.csv", "ending"),
        ("table.parquet", "ending"),
        ("pixels.npy", "ending"),
        ("labels/report_fixed.json", "data set"),
        ("annotation.json", "data set"),
        ("mimic-cxr-2.0.0-split.json", "data set"),
        ("data/mimic-cxr-jpg-2.1.0/notes.md", "data set"),
        ("CheXpert-v1.0-small/README", "data set"),
        (f"files/p13/p{SUBJECT}/s{STUDY}.txt", "identifier"),
        (f"PNG/train/patient{PATIENT}/study1/note", "identifier"),
        ("logs/run/summary.txt", "run output"),
        ("sweeps/a.yaml", "run output"),
    ]
    for path, _ in names:
        repository.add(path, "nothing\n")
    code, found = repository.guard()
    assert code == 1
    assert sorted(found) == sorted(f"{path}: {rule}" for path, rule in names)


def test_an_allowed_file_passes_until_it_changes(repository: Repository) -> None:
    content = picture("PNG")
    repository.allow("docs/phantom.png", content)
    repository.add("docs/phantom.png", content)
    assert repository.guard() == (0, [])
    changed = content + b"\0"
    repository.add("docs/phantom.png", changed)
    code, found = repository.guard("--staged")
    assert code == 1
    assert found == ["docs/phantom.png: changed", "docs/phantom.png: ending", "docs/phantom.png: content"]
    assert hashlib.sha256(changed).hexdigest() in repository.told
    repository.add("elsewhere.png", content)
    assert "elsewhere.png: ending" in repository.guard()[1]


def test_the_list_of_allowed_files_is_kept_short_and_reasoned(repository: Repository) -> None:
    repository.allow("docs/gone.png", b"")
    assert repository.guard() == (1, ["docs/gone.png: gone"])
    assert repository.guard("--staged") == (0, [])
    repository.allow("docs/gone.png", b"", reason=" ")
    assert repository.guard()[0] == 2
    assert "must have path, sha256 and reason" in repository.told


def test_identifiers_in_text(repository: Repository) -> None:
    identifiers = (
        *(f"patient{PATIENT}", f"p{SUBJECT}", f"s{STUDY}", DICOM_ID),
        *(f'"subject_id": {SUBJECT}', f"study_id={STUDY}"),
    )
    for number, identifier in enumerate(identifiers):
        repository.add(f"{number}.py", f"one\ntwo = '{identifier}/study1'\n")
    assert repository.guard() == (1, [f"{number}.py:2: identifier" for number in range(len(identifiers))])
    assert not [identifier for identifier in identifiers if identifier in repository.told]


def test_made_up_identifiers_may_stand(repository: Repository) -> None:
    identifiers = [
        "patient00001",
        "patient90417",
        "patient12345",
        "patient42142",
        "patient00010",
        "patient64547",
        "p10000001",
        "p10000023",
        "p20481632",
        "p12345678",
        "s50000007",
        "s60481632",
        "s55555555",
        "study_id: 50000001",
        "00000000-00000000-00000000-00000000-00000001",
        "patient_id 31415926",
        "step13572468",
        "patient314159",
    ]
    repository.add("test_loader.py", "".join(f"'{identifier}'\n" for identifier in identifiers))
    assert repository.guard() == (0, [])


def sectioned(head: str = "FINAL REPORT\n") -> str:
    findings, impression = "\n ".join(SENTENCES), "1. Small effusions. 2. Mild edema."
    return (
        f"{head} INDICATION: ___ year old, short of breath.\n\n FINDINGS:\n {findings}\n\n IMPRESSION: {impression}\n"
    )


WRAPPED = (
    " ".join(SENTENCES).replace("chest are", "chest\nare").replace("on the", "on\nthe").replace("at the", "at\nthe")
)


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("s.txt", sectioned(), 1),
        ("s.txt", "\n\n" + sectioned(""), 1),
        ("s.txt", sectioned().upper(), 1),
        ("test.py", f'ONE = 1\nREPORT = """{sectioned()}"""\n', 2),
        (
            "test.py",
            "ONE = 1\nREPORT = (\n" + "".join(f"    {line!r}\n" for line in sectioned().split("\n")) + ")\n",
            3,
        ),
        ("a.json", json.dumps({"id": 1, "report": sectioned()}), 1),
        ("a.json", json.dumps({"id": 1, "report": " ".join(SENTENCES)}), 1),
        ("a.json", json.dumps([{"id": 1, "report": " ".join(SENTENCES)}], indent=1), 4),
        ("a.md", f"# A case\n\n{WRAPPED}\n", 1),
        ("rows.txt", "".join(f'{n},"{" ".join(SENTENCES[1 + n % 2 :][:3])}"\n' for n in range(6)), 1),
    ],
)
def test_text_like_a_report_is_refused(path: str, text: str, line: int, repository: Repository) -> None:
    repository.add(path, text)
    assert repository.guard() == (1, [f"{path}:{line}: report"])
    assert "carina" not in repository.told.lower()


@pytest.mark.parametrize(
    "text",
    [
        '"""FINAL REPORT\n INDICATION: ___\n FINDINGS: The heart is small.\n IMPRESSION: Clear lungs.\n"""\n',
        "".join(f"    ({sentence!r}, 1),\n" for sentence in SENTENCES),
        "\n".join(SENTENCES),  # a list of statements, one a line, as tests have them
        f'REPORT = "{" ".join(SENTENCES[:2])}"\n',
    ],
)
def test_miniatures_and_lists_of_sentences_pass(text: str, repository: Repository) -> None:
    repository.add("test.py", text)
    assert repository.guard() == (0, [])


def test_a_picture_in_a_notebook_is_refused(repository: Repository) -> None:
    import base64

    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8))
    content = io.BytesIO()
    pixels.save(content, "PNG")
    code = base64.b64encode(content.getvalue()).decode()
    repository.add("a.ipynb", json.dumps({"data": {"image/png": code}}, indent=1))
    assert repository.guard() == (1, ["a.ipynb:3: picture"])


def test_the_index_counts_not_the_working_tree(repository: Repository) -> None:
    repository.add("notes.txt", DICOM)
    (repository.folder / "notes.txt").write_text("harmless\n")
    (repository.folder / "untracked.png").write_bytes(picture("PNG"))
    assert repository.guard("--staged") == (1, ["notes.txt: content"])


@pytest.fixture
def own_guard(repository: Repository) -> Path:
    """The guard inside the repository that it guards."""
    folder = repository.folder / "tools" / "clinical_guard"
    shutil.copytree(GUARD, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "allowed.toml").write_text("")
    return folder


def install(guard: Path, repository: Repository) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(guard), "--install"]
    return subprocess.run(
        command, cwd=repository.folder, env=NO_GIT_SETTINGS, capture_output=True, text=True, check=False
    )


def test_the_hook_stops_a_commit_and_looks_at_changes_only(repository: Repository, own_guard: Path) -> None:
    repository.git("add", "tools")
    assert repository.git("commit", "--quiet", "-m", "guard").returncode == 0
    for _ in range(2):  # installing again is harmless
        done = install(own_guard, repository)
        assert done.returncode == 0, done.stderr
    repository.add("renamed.txt", picture("PNG"))
    refused = repository.git("commit", "-m", "a picture")
    assert refused.returncode == 1
    assert "renamed.txt: content: it is a PNG image" in refused.stderr
    assert repository.git("log", "--oneline").stdout.count("\n") == 1
    assert repository.git("commit", "--no-verify", "-m", "past the hook").returncode == 0
    assert repository.guard() == (1, ["renamed.txt: content"])  # which is why continuous integration looks again
    repository.add("code.py", "one = 1\n")
    assert repository.git("commit", "-m", "code").returncode == 0


def test_a_hook_of_someone_else_is_left_alone(repository: Repository, own_guard: Path) -> None:
    hook = repository.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    done = install(own_guard, repository)
    assert done.returncode == 2
    assert "exists; add this line to it: python3 tools/clinical_guard --staged" in done.stderr
    assert hook.read_text() == "#!/bin/sh\n"


def test_outside_a_repository_it_cannot_run(tmp_path: Path) -> None:
    command = [sys.executable, str(GUARD)]
    environment = {**NO_GIT_SETTINGS, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: git rev-parse failed")


@pytest.mark.slow
def test_this_repository_passes() -> None:
    done = subprocess.run([sys.executable, str(GUARD)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2 and not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    assert done.returncode == 0, done.stderr


def test_runs_stay_out_of_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    for path in ("logs/run/rollouts.jsonl", "sweeps/1/test_reports.jsonl"):
        assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0
