"""Errors that are the user's to mend: one line that names the value, where it stands, and what is allowed."""

from orapo.display import visible


def first_line(error: BaseException) -> str:
    """The first line of a library's message, without the period at its end; its kind where it says nothing."""
    return next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)


class OrapoError(Exception):
    """Base of every error whose message is meant to be read by a user without a traceback."""

    def __init__(self, *arguments: object) -> None:
        """Takes the message; of one that a data loader's worker process hands on with its traceback, the last line."""
        if arguments and isinstance(message := arguments[0], str) and "\nOriginal Traceback" in message:
            told = message.rstrip().rpartition("\n")[2].partition(": ")[2]
            arguments = (told, *arguments[1:])
        super().__init__(*(visible(each) if isinstance(each, str) else each for each in arguments))


class SettingError(OrapoError, ValueError):
    """A setting is out of range or contradicts another one."""


class DataError(OrapoError):
    """A file, table, study or image can't be used as it is."""


class CheckpointError(OrapoError):
    """A model folder or checkpoint is missing, incomplete or of another architecture."""


class NonFiniteError(OrapoError):
    """A loss, reward or log-probability became NaN or infinite during training.

    Attributes:
        study_ids: the studies among which it happened; empty where it is raised by code that does not know them.
    """

    study_ids: tuple[str, ...] = ()


class RunPaused(OrapoError):
    """A run can't continue for now: no judge answers, or the budget or its time is spent; nothing is wrong with it."""


class SweepFailed(OrapoError):
    """Jobs of a sweep failed and were listed one by one; the other jobs have run."""


class RunInterrupted(OrapoError):
    """The user asked the command to stop."""


class RunTerminated(RunInterrupted):
    """The machine or its scheduler stopped the command."""
