"""What git tracks, as it stands in the index: that, not the working tree, is what a commit takes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from finding import GuardError

_SUBMODULE = "160000"
_HOOK = """#!/bin/sh
# clinical_guard: refuses clinical text and images before they are committed
top=$(git rev-parse --show-toplevel)
python="$top/.venv/bin/python"
[ -x "$python" ] || python=python3
exec "$python" "$top/{folder}" --staged
"""


def _git(*arguments: str, given: bytes = b"") -> bytes:
    try:
        result = subprocess.run(["git", *arguments], input=given, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise GuardError("git isn't installed; the guard looks at what git tracks") from error
    if result.returncode:
        told = result.stderr.decode(errors="replace").strip().splitlines()
        raise GuardError(f"git {arguments[0]} failed: {told[0] if told else result.returncode}")
    return result.stdout


def _root() -> str:
    return _git("rev-parse", "--show-toplevel").decode().rstrip("\n")


def indexed_files(*, only_staged: bool) -> Iterator[tuple[str, bytes]]:
    """Path from the root and content of every tracked file, or of those that the next commit adds or changes.

    Raises:
        GuardError: not inside a git repository.
    """
    root = _root()
    chosen = None
    if only_staged:
        changed = _git("-C", root, "diff", "--cached", "--name-only", "--no-renames", "--diff-filter=d", "-z")
        chosen = set(changed.split(b"\0"))
    blobs = []
    for entry in _git("-C", root, "ls-files", "--stage", "-z").split(b"\0"):
        if not entry:
            continue
        about, _, path = entry.partition(b"\t")
        mode, blob, _ = about.decode().split()
        if mode != _SUBMODULE and (chosen is None or path in chosen):
            blobs.append((path.decode(errors="replace"), blob))
    yield from zip((path for path, _ in blobs), _contents([blob for _, blob in blobs]), strict=True)


def _contents(blobs: list[str]) -> Iterator[bytes]:
    answer = _git("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode())
    start = 0
    for _ in blobs:
        head_end = answer.index(b"\n", start)
        size = int(answer[start:head_end].split()[2])
        yield answer[head_end + 1 : head_end + 1 + size]
        start = head_end + 1 + size + 1


def install_hook(folder: Path) -> Path:
    """Writes git's pre-commit hook, which runs the guard in ``folder`` on what is staged.

    Raises:
        GuardError: there is a hook of someone else's, or ``folder`` isn't inside this repository.
    """
    root = _root()
    if not folder.is_relative_to(root):
        raise GuardError(f"{folder} isn't inside {root}; the hook of a repository runs its own guard")
    own = folder.relative_to(root).as_posix()
    hook = Path(root, _git("-C", root, "rev-parse", "--git-path", "hooks").decode().rstrip("\n"), "pre-commit")
    if hook.exists() and "clinical_guard" not in hook.read_text(errors="replace"):
        raise GuardError(f"{hook} exists; add this line to it: python3 {own} --staged || exit 1")
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(_HOOK.format(folder=own))
    hook.chmod(0o755)
    return hook
