"""Refuses clinical text and images in what git tracks: ``python tools/clinical_guard [--staged] [--install]``.

Free-standing: the standard library and git. Findings name file, line and rule and never quote what was found.
Exit code 0: nothing found; 1: something is refused; 2: it could not run.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from allowed import AllowedFiles
from file_rules import check_content, check_name
from finding import Finding, GuardError
from git_index import indexed_files, install_hook
from text_rules import check_text

HERE = Path(__file__).resolve().parent
_EVERY_RULE = """
A finding stands for a file that may hold a patient's text or picture. Take the file out of the commit
(git rm --cached PATH), or, if nobody's data are in it, make it smaller or list it in {allowed} with its SHA-256
and the reason. What was ever committed stays in the history: don't commit first and mend later.
"""


def check_file(path: str, content: bytes, allowed: AllowedFiles) -> Iterator[Finding]:
    """All findings in one file."""
    if allowed.holds(path, content):
        return
    found = [*check_name(path), *check_content(path, content), *check_text(path, content)]
    if found and path in allowed.paths:
        sha256 = hashlib.sha256(content).hexdigest()
        yield Finding(path, 0, "changed", f"it's not the file that is allowed; if it may stay, its SHA-256 is {sha256}")
    yield from found


def main() -> int:
    """Checks, or installs the hook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--staged", action="store_true", help="only what the next commit changes")
    parser.add_argument("--install", action="store_true", help="make git run this before every commit")
    parser.add_argument("--allowed", type=Path, default=HERE / "allowed.toml", help="list of files that may stay")
    asked = parser.parse_args()
    try:
        if asked.install:
            print(f"installed {install_hook(HERE)}")
            return 0
        allowed = AllowedFiles.read(asked.allowed)
        findings: list[Finding] = []
        paths: list[str] = []
        for path, content in indexed_files(only_staged=asked.staged):
            paths.append(path)
            findings += check_file(path, content, allowed)
        if not asked.staged:
            findings += allowed.without_file(paths)
    except GuardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding.line_of_text(), file=sys.stderr)
    if findings:
        print(_EVERY_RULE.format(allowed=asked.allowed.name), file=sys.stderr)
    print(f"clinical content: {len(paths)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
