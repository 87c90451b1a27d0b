"""Which studies a number that is not finite came from: whoever stops the run says it, so that they can be looked at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orapo.errors import NonFiniteError
from orapo.records import Study


@contextmanager
def naming_studies(studies: Sequence[Study]) -> Iterator[None]:
    """Adds the ids of ``studies`` to a ``NonFiniteError`` that does not name any yet."""
    try:
        yield
    except NonFiniteError as error:
        if error.study_ids:
            raise
        study_ids = tuple(study.study_id for study in studies)
        named = NonFiniteError(f"{error} (studies {', '.join(study_ids)})")
        named.study_ids = study_ids
        raise named from error
