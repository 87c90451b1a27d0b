"""The files that may stay although a rule refuses their kind: each by path, SHA-256 and reason."""

import hashlib
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from finding import Finding, GuardError

_KEYS = {"path", "sha256", "reason"}


@dataclass(frozen=True)
class AllowedFiles:
    """The list.

    Attributes:
        source: where it was read.
        paths: SHA-256 by path.
    """

    source: str
    paths: dict[str, str]

    @classmethod
    def read(cls, source: Path) -> "AllowedFiles":
        """Reads ``[[file]]`` tables with path, sha256 and reason.

        Raises:
            GuardError: the list is missing or malformed, or an entry has no reason.
        """
        try:
            entries = tomllib.loads(source.read_text(encoding="utf-8")).get("file", [])
        except (OSError, ValueError) as error:
            raise GuardError(f"{source} can't be read: {error}") from error
        for entry in entries:
            if set(entry) != _KEYS or not all(str(value).strip() for value in entry.values()):
                raise GuardError(f"{source}: entry {entry.get('path')!r} must have path, sha256 and reason")
        return cls(source.name, {entry["path"]: entry["sha256"] for entry in entries})

    def holds(self, path: str, content: bytes) -> bool:
        """Whether this very file is on the list."""
        return self.paths.get(path) == hashlib.sha256(content).hexdigest()

    def without_file(self, tracked: Collection[str]) -> Iterator[Finding]:
        """Entries whose file is gone: a list that only grows is one that nobody reads."""
        for path in self.paths:
            if path not in tracked:
                yield Finding(path, 0, "gone", f"git tracks no such file any more; take it out of {self.source}")
