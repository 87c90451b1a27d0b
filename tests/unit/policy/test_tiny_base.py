import json
import re
from pathlib import Path

import pytest
import torch
from tests.conftest import chat
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from orapo.data.phantoms import PhantomSource
from orapo.policy.tiny import base_folder
from orapo.prompt import DEFAULT_INSTRUCTION
from orapo.records import Split

FOLDER = Path(base_folder())
SOURCE = PhantomSource(num_train=8_000, num_test=14, train_prevalence="balanced")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def inputs(tokenizer, model):
    images = [SOURCE.load_images(study)[0] for study in SOURCE.studies(Split.TEST)]
    encoded = Qwen2VLImageProcessorPil.from_pretrained(FOLDER)(images=images, return_tensors="pt")
    prompt = tokenizer.apply_chat_template(chat(DEFAULT_INSTRUCTION), tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt.replace("<|image_pad|>", "<|image_pad|>" * 16), return_tensors="pt")["input_ids"]
    ids = ids.expand(14, -1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        **encoded,
    }


def test_folder_is_complete_and_small():
    names = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "preprocessor_config.json",
        "generation_config.json",
        "README.md",
    }
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 6_000_000


def test_special_ids_agree_everywhere(tokenizer, model):
    text_config = json.loads((FOLDER / "config.json").read_text())["text_config"]
    for name, token in (("pad", "<|endoftext|>"), ("bos", "<|endoftext|>"), ("eos", "<|im_end|>")):
        token_id = tokenizer.convert_tokens_to_ids(token)
        assert text_config[f"{name}_token_id"] == getattr(model.generation_config, f"{name}_token_id") == token_id
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert tokenizer.convert_tokens_to_ids("<|image_pad|>") == model.config.image_token_id
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize(
    "text", ["Small left pleural effusion. No pneumothorax.", "12.5 mm «näh» 肺\n\n\tok", "  two  spaces ", "<x|y>"]
)
def test_any_text_survives_the_tokenizer(tokenizer, text: str):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_word_of_the_grammar_is_one_token(tokenizer):
    for study in SOURCE.studies(Split.TRAIN)[:600]:
        pieces = re.findall(r" ?[\w]+|[.,]", study.oracle_report)
        assert len(tokenizer(study.oracle_report)["input_ids"]) == len(pieces), study.oracle_report


def test_an_image_is_sixteen_tokens_and_changes_the_report(model, inputs):
    assert inputs["image_grid_thw"].tolist() == [[1, 8, 8]] * 14
    with torch.inference_mode():
        logits = model(**inputs).logits[:, -1]
    assert torch.isfinite(logits).all()
    assert logits.std(dim=0).max() > 0.05


def test_greedy_reports_are_sentences_of_the_grammar(model, tokenizer, inputs):
    known = {s for study in SOURCE.studies(Split.TRAIN) for s in re.split(r"(?<=\.) ", study.oracle_report)}
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=48)
    texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    sentences = [s for text in texts for s in re.split(r"(?<=\.) ", text.strip())]
    assert sum(s in known for s in sentences) >= 0.8 * len(sentences), texts
