"""What rollouts.jsonl tells of a fact leads back to the words of the report."""

import json

from orapo.records import MentionSpan
from orapo.reward import OfflineJudge
from orapo.training.run_files import fact_row

REPORT = (
    "IMPRESSION:\n1. NO  Pneumothorax,\nor Left   EFFUSION.\n2) **Moderate** cardiomegaly; possible edema.\n\n"
    "- <b>Rib</b> fracture."
)


def test_places_in_a_row_are_those_of_the_report() -> None:
    (judged,) = OfflineJudge().judge([REPORT])
    rows = json.loads(json.dumps([fact_row(fact) for fact in judged.facts]))
    assert [
        (
            REPORT[row["start"] : row["end"]],
            [
                (m["observation"], m["state"], REPORT[m["start"] : m["end"]], REPORT[m["cue_start"] : m["cue_end"]])
                for m in row["mentions"]
            ],
        )
        for row in rows
    ] == [
        (
            "NO  Pneumothorax,\nor Left   EFFUSION",
            [
                ("Pneumothorax", "negative", "Pneumothorax", "NO"),
                ("Pleural Effusion", "negative", "EFFUSION", "NO"),
            ],
        ),
        ("Moderate** cardiomegaly", [("Cardiomegaly", "positive", "cardiomegaly", "")]),
        ("possible edema", [("Edema", "uncertain", "edema", "possible")]),
    ]
    assert rows[0]["text"] == "NO Pneumothorax, or Left EFFUSION"
    assert "Rib</b> fracture" in judged.rejected  # markup within a sentence is no statement
    assert [MentionSpan.from_row(m) for row in rows for m in row["mentions"]] == [
        mention for fact in judged.facts for mention in fact.mentions
    ]
