"""Text files that appear whole or not at all, whatever stops the command that writes them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a UTF-8 file beside the place of ``path``, then renames it; what was there before stays until then."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        # As /dev/stdout: what a link or device stands for is written to, and stays what it is.
        with naming(path):
            path.write_text(text, encoding="utf-8")
        return
    draft = path.with_name(f"{path.name}.draft")
    try:
        with naming(path):
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
    except BaseException:
        with suppress(OSError):  # where nothing can be written, nothing can be removed
            draft.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an OSError of the block the file's name, which that of a failed write lacks."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
