"""What the guard finds, and why it can't look."""

from dataclasses import dataclass


class GuardError(Exception):
    """The guard can't run; the message is one line."""


@dataclass(frozen=True)
class Finding:
    """One reason to refuse a file.

    Attributes:
        path: from the root of the repository.
        line: counted from 1; 0 for the file as a whole.
        rule: short name of the rule.
        told: what the rule saw and what to do, without the text itself.
    """

    path: str
    line: int
    rule: str
    told: str

    def line_of_text(self) -> str:
        """The finding as one line."""
        return f"{self.path}{f':{self.line}' if self.line else ''}: {self.rule}: {self.told}"
