"""What a base can do, measured from the written folder: name shapes, write fluent reports, and see findings."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scenes
import torch
from lessons import PHANTOM_SEED, prompt_ids
from PIL import Image
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from orapo.chexpert import OBSERVATIONS, Observation, positive_observations
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.rich import WordingName
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt
from orapo.records import Split

_KEYWORDS = {
    Observation.ENLARGED_CARDIOMEDIASTINUM: "mediastin",
    Observation.CARDIOMEGALY: "cardiomegaly|heart|cardiac",
    Observation.LUNG_LESION: "nodule|mass",
    Observation.LUNG_OPACITY: "opacity",
    Observation.EDEMA: "edema",
    Observation.CONSOLIDATION: "consolidation",
    Observation.PNEUMONIA: "pneumonia",
    Observation.ATELECTASIS: "atelectasis",
    Observation.PNEUMOTHORAX: "pneumothorax",
    Observation.PLEURAL_EFFUSION: "effusion",
    Observation.PLEURAL_OTHER: "thickening",
    Observation.FRACTURE: "fracture",
    Observation.SUPPORT_DEVICES: r"catheter|line\b|pacemaker|tube",
}
_HEDGED = "possible|suspected|probable|may"
_MAX_TOKENS: Mapping[WordingName, int] = {"plain": 48, "rich": 64}


class Reader:
    """A written base, answering with the stock transformers calls alone."""

    def __init__(self, folder: str) -> None:
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(folder)

    @torch.inference_mode()
    def answer(
        self, images: Sequence[Image.Image], instruction: str, *, sample: bool = False, max_tokens: int = 48
    ) -> list[str]:
        """One text per image, greedy or sampled at temperature 1."""
        texts = []
        for first in range(0, len(images), 70):
            encoded = self.processor(images=list(images[first : first + 70]), return_tensors="pt")
            image_tokens = int(encoded["image_grid_thw"][0].prod()) // 4
            ids = prompt_ids(self.tokenizer, Prompt(instruction), image_tokens)
            rows = torch.tensor([ids] * len(encoded["image_grid_thw"]))
            out = self.model.generate(
                input_ids=rows,
                attention_mask=torch.ones_like(rows),
                mm_token_type_ids=(rows == self.model.config.image_token_id).int(),
                do_sample=sample,
                max_new_tokens=max_tokens,
                **({"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}),
                **encoded,
            )
            texts += self.tokenizer.batch_decode(out[:, rows.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]


def sentences(reports: Iterable[str]) -> list[str]:
    """All sentences of some reports."""
    return [sentence for report in reports for sentence in re.split(r"(?<=\.) ", report)]


def fluency(reports: Sequence[str], wording: WordingName) -> float:
    """The share of the reports' sentences that the grammar could have written."""
    num_refused = sum(PhantomReader(wording).read(report).num_refused for report in reports)
    return 1 - num_refused / max(1, len(sentences(reports)))


def keyword_findings(report: str) -> set[Observation]:
    """The observations that a report states as present, by keyword and negation word; No Finding when there is none."""
    found: set[Observation] = set()
    for sentence in sentences([report.lower()]):
        if not re.search(rf"\b(no|not|normal|neither|without|free|{_HEDGED})\b", sentence):
            found |= {o for o, words in _KEYWORDS.items() if re.search(rf"\b\w*({words})", sentence)}
    hedged = re.search(rf"\b({_HEDGED})\b", report.lower())
    if not hedged and not found - {Observation.SUPPORT_DEVICES}:
        found.add(Observation.NO_FINDING)
    return found


def macro_f1(
    predicted: Sequence[set[Observation]], true: Sequence[frozenset[Observation]]
) -> tuple[float, dict[str, float]]:
    """Macro-F1 over the 14 observations, 0 where undefined, and the F1 of each."""
    scores = {}
    for observation in OBSERVATIONS:
        both = sum(observation in p and observation in t for p, t in zip(predicted, true, strict=True))
        either = sum((observation in p) + (observation in t) for p, t in zip(predicted, true, strict=True))
        scores[observation.value] = 2 * both / either if either else 0.0
    return float(np.mean(list(scores.values()))), scores


def probe(folder: str, num_studies: int = 210, wording: WordingName = "plain") -> dict[str, object]:
    """Shape-F1 on unseen scenes, fluency of sampled reports, macro-F1 of greedy reports on balanced phantoms."""
    max_tokens = _MAX_TOKENS[wording]
    torch.manual_seed(0)
    reader = Reader(folder)
    drawn = [scenes.draw_scene(Draws(99, 99, index)) for index in range(min(num_studies, 140))]
    pictures = [Image.fromarray((image * 255).astype(np.uint8)) for image, _, _ in drawn]
    told = [set(re.findall(r"\w+", text)) & set(scenes.NAMES) for text in reader.answer(pictures, scenes.INSTRUCTION)]
    asked = [set(re.findall(r"\w+", caption)) & set(scenes.NAMES) for _, caption, _ in drawn]
    hits = sum(len(a & b) for a, b in zip(told, asked, strict=True))
    source = PhantomSource(seed=PHANTOM_SEED - 3, num_validate=num_studies)
    studies = source.studies(Split.VALIDATE)
    images = [source.load_images(study)[0] for study in studies]
    true = [positive_observations(study.labels, uncertain_is_positive=False) for study in studies]
    greedy = reader.answer(images, DEFAULT_INSTRUCTION, max_tokens=max_tokens)
    sampled = reader.answer(images, DEFAULT_INSTRUCTION, sample=True, max_tokens=max_tokens)
    score, per_observation = macro_f1([keyword_findings(text) for text in greedy], true)
    return {
        "shape_f1": 2 * hits / max(1, sum(map(len, told)) + sum(map(len, asked))),
        "macro_f1": score,
        "macro_f1_sampled": macro_f1([keyword_findings(text) for text in sampled], true)[0],
        "fluent_greedy": fluency(greedy, wording),
        "fluent_sampled": fluency(sampled, wording),
        "mean_words": float(np.mean([len(text.split()) for text in sampled])),
        "f1": per_observation,
        "examples": greedy[:4] + sampled[:4],
    }
