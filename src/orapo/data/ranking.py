"""The table of how often the base policy earns nothing on a study; ``orapo data rank`` writes it."""

import logging
from pathlib import Path

from orapo.data.tables import named, quoted, read_csv
from orapo.errors import DataError
from orapo.foreign import read_json

RANKING_COLUMNS = ("study_id", "zero_reward_rate", "mean_reward", "num_reports", "model", "seed")
"""Of the table: a study a line; rates and rewards in [0, 1]."""

SOURCE_DIGEST = "source_digest"
"""Among the settings beside the table: the digest of the source that was ranked."""

logger = logging.getLogger(__name__)


def settings_path(table: Path) -> Path:
    """The file of the settings that the table was made with."""
    return table.with_name(f"{table.name}.json")


def read_ranking(path: str | Path, source_digest: str | None = None) -> dict[str, float]:
    """The zero-reward rate of each study that was ranked; the ranking of another source is logged as a warning.

    Args:
        path: of the table.
        source_digest: of the source that is chosen from; None for no such look.

    Raises:
        DataError: no such table, a column missing, a study twice, or a rate that isn't a number in [0, 1].
    """
    table = read_csv(path)
    missing = [name for name in RANKING_COLUMNS[:2] if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; `orapo data rank` writes {', '.join(RANKING_COLUMNS)}")
    rates: dict[str, float] = {}
    for line, cells in table.rows:
        study_id, written = cells["study_id"], cells["zero_reward_rate"]
        where = f"{path} line {line}: study {named(study_id)}"
        if study_id in rates:
            raise DataError(f"{where} stands twice")
        try:
            rate = float(written)
        except ValueError:
            rate = -1.0
        if not 0.0 <= rate <= 1.0:
            raise DataError(f"{where}: zero_reward_rate is {quoted(written)}; it must be a number in [0, 1]")
        rates[study_id] = rate
    ranked = _ranked_digest(settings_path(Path(path)))
    if source_digest is not None and ranked is not None and ranked != source_digest:
        logger.warning(
            "%s ranks a source with digest %s, this one has %s: it is another source, or its table, labels, settings "
            "or version of orapo have changed",
            path,
            ranked[:12],
            source_digest[:12],
        )
    return rates


def _ranked_digest(settings: Path) -> str | None:
    """None for a user's own table, which has no settings beside it."""
    if not settings.exists():
        return None
    content = read_json(settings)
    digest = content.get(SOURCE_DIGEST) if isinstance(content, dict) else None
    return digest if isinstance(digest, str) else None
