"""Text files that appear whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes UTF-8 as a draft beside ``path``, then renames it; what was there before stays till then.

    Raises:
        OSError: it can't be written; no draft is left.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
