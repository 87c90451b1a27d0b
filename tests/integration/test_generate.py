"""generate.py from the command line: runs, checkpoints, adapters, folders, JSON, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import noise_image
from tests.integration.test_evaluate import train_in

from orapo.chexpert import OBSERVATIONS
from orapo.data.collate import Collate
from orapo.data.images import load_study_images
from orapo.data.own_images import find_own_images
from orapo.data.phantoms.source import PhantomSource
from orapo.experiment.command_line import run_command
from orapo.experiment.generate_command import generate_command, with_paths_quoted
from orapo.policy.checkpoints import load_checkpoint
from orapo.policy.loading import load_policy
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings
from orapo.records import Split

ROOT = Path(__file__).parents[2]
INSTRUCTION = "Write the report of this chest radiograph."


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command in this process (imports cost seconds); gives the lines of JSON, or one error with ``code``."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*arguments: str, code: int = 0) -> Any:
        options = ["accelerator=cpu", *arguments]
        monkeypatch.setattr(sys, "argv", ["generate.py", *with_paths_quoted(options)])
        capfd.readouterr()
        if not code:
            run_command(generate_command, "generate", tells_hydra=False)
            return [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        with pytest.raises(SystemExit) as stop:
            run_command(generate_command, "generate", tells_hydra=False)
        assert stop.value.code == code
        out, err = capfd.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return err

    return call


def phantoms(folder: Path) -> list[str]:
    """The first test phantoms as PNG files named by their place; their ids."""
    source = PhantomSource(num_train=60, num_validate=4, num_test=6)
    studies = list(source.studies(Split.TEST))
    for place, study in enumerate(studies):
        source.load_images(study)[0].save(folder / f"{place}.png")
    return [study.study_id for study in studies]


def save_dicom(image: Image.Image, path: Path) -> None:
    """8-bit grey whose window maps every stored value to itself."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["orapo"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Columns, dataset.Rows = image.size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.add_new("PixelData", "OB", np.asarray(image).tobytes())
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.slow
def test_a_runs_model_writes_what_its_test_wrote(tmp_path: Path, generated: Callable[..., Any]) -> None:
    run, images = tmp_path / "run", tmp_path / "images"
    run.mkdir()
    images.mkdir()
    train_in(run, "training.eval_batch_size=4", "training.learning_rate=0.002")
    ids = phantoms(images)
    rows = [json.loads(line) for line in (run / "test_reports.jsonl").read_text().splitlines()]
    tested = {row["study_id"]: row for row in rows}
    base = [json.loads(line)["generated_report"] for line in (run / "base_test_reports.jsonl").read_text().splitlines()]
    written = generated(f"image={images}", f"model={run}", "format=json")
    assert [row["report"] for row in written] == [tested[study_id]["generated_report"] for study_id in ids]
    assert [row["report"] for row in written] != base, "training must matter"
    for row, study_id in zip(written, ids, strict=True):
        labels = {name: reading["label"] for name, reading in row["observations"].items()}
        assert labels == tested[study_id]["generated_states"]
    assert all("drawn phantoms only" in row["notice"] for row in written), "it was trained from the embedded policy"
    # One image alone, and through DICOM.
    (alone,) = generated(f"image={images / '2.png'}", f"model={run}", "format=json")
    assert alone["report"] == written[2]["report"]
    with Image.open(images / "2.png") as image:
        save_dicom(image, images / "IM0001")
    (dicom,) = generated(f"image={images / 'IM0001'}", f"model={run}", "format=json")
    assert dicom["report"] == written[2]["report"]


@pytest.mark.slow
def test_the_command_with_a_folder_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "my scans (1)"
    folder.mkdir()
    phantoms(folder)
    with Image.open(folder / "1.png") as image:
        image.save(folder / "a.jpg")
        save_dicom(image, folder / "b.dcm")
    (folder / "c.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")
    command = [sys.executable, str(ROOT / "generate.py"), f"image={folder}", "format=json", "accelerator=cpu"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["study"] for row in rows] == [*(f"{place}.png" for place in range(6)), "a.jpg", "b.dcm"]
    assert rows[7]["report"] == rows[1]["report"], "DICOM with the same pixels"
    for row in rows:
        assert row["report"]
        assert row["facts"]
        assert set(row["observations"]) == {observation.value for observation in OBSERVATIONS}
        assert row["seconds_per_image"] > 0
        assert row["notice"].startswith("Not for clinical use.")
    told = result.stderr.splitlines()
    assert "9 studies, 1 other file passed over" in told[0]
    assert "drawn phantoms only" in told[0]
    assert "c.png is truncated or damaged" in told[1]
    assert "8 images, 0." in told[2]
    assert told[3] == "error: 1 of 9 studies could not be read; each is named above"
    assert len(told) == 4
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing is left behind"


def expected(folder: Path, base: Path | None, paths: list[str]) -> str:
    """The greedy report of one study, straight from the policy."""
    policy = load_checkpoint(ModelSettings(str(folder), INSTRUCTION), None if base is None else str(base))
    (study,) = find_own_images(paths, "image").studies
    collate = Collate(policy.processor, policy.prompt, None)
    batch = collate([(study, load_study_images(study, 512, None))])
    sampling = SamplingSettings(max_new_tokens=12, min_new_tokens=1, greedy=True)
    return policy.roll_out(batch, sampling)[0].texts[0]


@pytest.mark.slow
def test_checkpoints_and_adapters_with_several_images_of_one_study(
    random_model_folder: Path, tmp_path: Path, generated: Callable[..., Any]
) -> None:
    paths = [str(tmp_path / name) for name in ("frontal.png", "lateral.jpg")]
    for number, path in enumerate(paths):
        noise_image(number, (90, 60 + 20 * number)).save(path)
    policy = load_policy(
        ModelSettings(str(random_model_folder), INSTRUCTION, lora=LoraSettings(rank=2, alpha=64), trainable="language")
    )
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    adapter = tmp_path / "adapter"
    policy.save(str(adapter))
    settings = [f"image=[{','.join(paths)}]", "format=json", "max_new_tokens=12"]
    (own,) = generated(*settings, f"model={random_model_folder}")
    assert own["images"] == paths
    assert own["report"] == expected(random_model_folder, None, paths)
    assert own["notice"] == "Not for clinical use."
    (adapted,) = generated(*settings, f"model={adapter}", f"base={random_model_folder}")
    assert adapted["report"] == expected(adapter, random_model_folder, paths)
    assert adapted["report"] != own["report"], "the adapter must matter"
    (frontal,) = generated(*settings[1:], f"model={random_model_folder}", f"image={paths[0]}")
    assert frontal["report"] != own["report"], "the second image must matter"


@pytest.mark.slow
def test_no_name_of_an_image_steers_the_terminal(tmp_path: Path, generated: Callable[..., Any]) -> None:
    phantoms(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "images" / "\x1b[2J.png")
    assert generated(f"image={tmp_path / 'images'}", f"out={tmp_path / 'out.txt'}") == []
    assert r"== \x1b[2J.png ==" in (tmp_path / "out.txt").read_text()


@pytest.mark.slow
def test_drawn_reports_do_not_depend_on_the_batch(tmp_path: Path, generated: Callable[..., Any]) -> None:
    phantoms(tmp_path)
    (tmp_path / "1.png").write_text("no image")
    settings = ["format=json", "num_reports=3", "seed=7"]
    reports = []
    for batch_size in (1, 4):
        out = tmp_path / f"{batch_size}.jsonl"
        with pytest.raises(SystemExit):
            generated(f"image={tmp_path}", *settings, f"batch_size={batch_size}", f"out={out}")
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 5
        reports.append([[row["report"], *(other["report"] for other in row["other_reports"])] for row in rows])
    assert reports[0] == reports[1]
    assert len({report for row in reports[0] for report in row[1:]}) > 1
    (alone,) = generated(f"image={tmp_path / '0.png'}", *settings)
    assert alone["report"] == reports[0][0][0]
    assert sum(alone["verdict_counts"]["Edema"].values()) == 3
    (other_seed,) = generated(f"image={tmp_path / '0.png'}", *settings[:2], "seed=8")
    assert other_seed["report"] == alone["report"], "the first is greedy"
    assert other_seed["other_reports"] != alone["other_reports"]


def test_text_says_that_it_is_not_for_clinical_use(tmp_path: Path, generated: Callable[..., Any]) -> None:
    phantoms(tmp_path)
    out = tmp_path / "reports.txt"
    assert generated(f"image={tmp_path / '0.png'}", f"out={out}") == [], "nothing on standard output"
    text = out.read_text()
    assert text.startswith("Not for clinical use. The embedded policy knows drawn phantoms only")
    assert f"== {tmp_path / '0.png'} ==" in text
    assert "seconds per image. Not for clinical use." in text
    assert "exists already" in generated(f"image={tmp_path / '0.png'}", f"out={out}", code=1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["image=absent.png"], "image=absent.png does not exist"),
        (["image=EMPTY"], "holds no image"),
        (["image=BROKEN"], "is neither PNG nor JPEG"),
        (["image=TEXT"], "ends in '.txt'"),
        (["image=GOOD", "model=absent"], "model=absent does not exist"),
        (["image=GOOD", "imag=x"], "imag"),
        (["image=GOOD", "model.dtype=half"], "model.dtype is 'half'; it must be one of float32, bfloat16"),
        (["image=GOOD", "precision=half"], "precision is 'half'; it must be one of 32-true, bf16-mixed"),
        ([], "image must be given"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, generated: Callable[..., Any]
) -> None:
    noise_image(0, (40, 40)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_text("no image")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    paths = {"GOOD": "good.png", "BROKEN": "broken.png", "TEXT": "notes.txt", "EMPTY": "empty"}
    for word, name in paths.items():
        arguments = [argument.replace(word, str(tmp_path / name)) for argument in arguments]
    assert told in generated(*arguments, code=1)


@pytest.mark.slow
def test_help_and_bad_settings_come_before_heavy_imports(tmp_path: Path) -> None:
    noise_image(0, (40, 40)).save(tmp_path / "good.png")
    for arguments, told in ((["image=good.png", "format=xml"], "exit 1"), (["--help"], "num_reports=5")):
        script = (
            f"import sys; sys.argv = {['generate.py', *arguments]!r};"
            "import runpy\n"
            f"try: runpy.run_path({str(ROOT / 'generate.py')!r}, run_name='__main__')\n"
            "except SystemExit as stop: print('exit', stop.code)\n"
            "print('heavy', sorted({'torch', 'transformers', 'lightning', 'peft', 'litellm'} & set(sys.modules)))"
        )
        result = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert told in result.stdout, result.stderr
        assert "heavy []" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["good.png"]
