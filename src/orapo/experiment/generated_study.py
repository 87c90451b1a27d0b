"""One study with its generated reports, as text for a reader and as a line of JSON for a program."""

import json
from dataclasses import dataclass
from typing import Any

from orapo.chexpert import Observation
from orapo.experiment.report_reading import ReportReading, count_verdicts
from orapo.records import Judgement, Study

FORMAT = 1
"""Of a line of JSON; counted up when a key changes its meaning."""

NOT_CLINICAL = "Not for clinical use."
ABOUT_PHANTOMS = "The embedded policy knows drawn phantoms only: what it writes about a radiograph means nothing."

_WIDTH = max(len(observation.value) for observation in Observation)


@dataclass(frozen=True, slots=True)
class GeneratedStudy:
    """What came of one study.

    Attributes:
        study: the images.
        readings: of its reports, at least one, the greedy one first.
        seconds_per_image: that generating took, the study's share being equal to that of the others in its batch.
        model: that wrote them.
        notice: what must stand beside them.
    """

    study: Study
    readings: tuple[ReportReading, ...]
    seconds_per_image: float
    model: str
    notice: str

    def json_line(self) -> str:
        """One line; strings only where texts are meant, lists and objects for the rest."""
        first, *others = self.readings
        content: dict[str, Any] = {
            "format": FORMAT,
            "study": self.study.study_id,
            "images": list(self.study.image_paths),
            **first.to_dict(),
            "seconds_per_image": round(self.seconds_per_image, 4),
            "model": self.model,
            "notice": self.notice,
        }
        if others:
            content["other_reports"] = [reading.to_dict() for reading in others]
            content["verdict_counts"] = {
                name.value: {kind.value: count for kind, count in counts.items()}
                for name, counts in count_verdicts(self.readings).items()
            }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    def text(self) -> str:
        """A few lines for the terminal, the last one blank."""
        first, *others = self.readings
        lines = [f"== {self.study.study_id} ==", first.report or "(an empty report)"]
        if not first.is_finished:
            lines.append("(cut off at max_new_tokens)")
        lines += ["", "Facts", *(f"  {place}. {fact.text}" for place, fact in enumerate(first.facts, start=1))]
        if not first.facts:
            lines.append("  none")
        lines += [f"  not a fact ({reason}): {text}" for text, reason in first.rejected.items()]
        lines += ["", *self._observations()]
        lines += [f"Report {number}: {reading.report}" for number, reading in enumerate(others, start=2)]
        lines += [f"{self.seconds_per_image:.3f} seconds per image. {NOT_CLINICAL}", ""]
        return "\n".join(lines)

    def _observations(self) -> list[str]:
        first = self.readings[0]
        counts = count_verdicts(self.readings)
        silent = [name for name in Observation if counts[name][Judgement.NOT_MENTIONED] == len(self.readings)]
        silent = [name for name in silent if not first.observations[name].is_mentioned]
        told = [name for name in Observation if name not in silent]
        lines = [f"{'Observation':<{_WIDTH}}  {'label':<11}  {'verdict':<13}  rests on"] if told else []
        for name in told:
            reading = first.observations[name]
            rests_on = " | ".join(reading.supporting_facts or reading.evidence) or "-"
            lines.append(
                f"{name.value:<{_WIDTH}}  {reading.state.value:<11}  {reading.judgement.value:<13}  {rests_on}"
            )
            if len(self.readings) > 1:
                agreed = ", ".join(f"{kind.value} in {count}" for kind, count in counts[name].items() if count)
                lines.append(f"{'':<{_WIDTH}}  of {len(self.readings)} reports: {agreed}")
        return [*lines, f"Not mentioned: {', '.join(silent) or 'none'}"]
