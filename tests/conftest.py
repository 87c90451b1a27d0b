"""Fixtures shared by all tests: a folder in the hub's layout with random weights, and batches for it.

The process that hands out the tests imports this file too: what takes seconds to import is imported in the fixtures.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In the background of a script Ctrl-C is ignored, which processes would inherit that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Under nohup a lost terminal is ignored.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side, one to a core; their child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
from hypothesis import settings

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.records import Split, Study
from orapo.stopping import SIGNALS, STOP_SIGNALS

if TYPE_CHECKING:
    from PIL import Image

    from orapo.data.collate import Collate
    from orapo.policy.model import Policy

# No deadlines: an example may take long on a busy machine. `make test-fast` tries fewer examples of each property.
# The same examples every time, so that a failure tells of a change; --hypothesis-profile=explore draws new ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.register_profile("fast", max_examples=20, deadline=None, derandomize=True)

CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


ASKS_LITELLM = ("tests/unit/reward/llm/", "tests/unit/experiment/test_api_policy", "tests/unit/experiment/test_judge_c")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``: one process runs all files that call litellm, which takes five seconds to import."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "litellm" if nodeid.startswith(ASKS_LITELLM) else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _signals_come_back() -> Iterator[None]:
    """A test that leaves Ctrl-C to a run that has ended fails here, not the tests after it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    after = {number: signal.getsignal(number) for number in SIGNALS}
    first, STOP_SIGNALS.first = STOP_SIGNALS.first, None
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before
    assert first is None


@pytest.fixture(scope="session")
def random_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2.5-VL folder with the hub's files and random weights, large enough in scale that logits differ clearly."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = [
        "Write the report of this chest radiograph.",
        "Small left pleural effusion. No pneumothorax. user assistant",
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=list(CONTROL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(text * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=list(CONTROL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            # Two rows more than there are tokens, as in real embedding tables.
            "vocab_size": len(tokenizer) + 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            "tie_word_embeddings": True,
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "initializer_range": 0.25,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.25,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    folder = tmp_path_factory.mktemp("model") / "qwen2_5_vl_random"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=224 * 224).save_pretrained(folder)
    return folder


def make_study(study_id: str, report: str, views: int = 1) -> Study:
    """A study whose images exist only in the test."""
    labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    paths = tuple(f"made:{study_id}-{view}" for view in range(views))
    return Study(study_id, f"p-{study_id}", Split.TRAIN, paths, ("PA",) * views, report, labels)


def chat(instruction: str, num_images: int = 1) -> list[dict[str, Any]]:
    """The messages of a prompt that tells nothing but the instruction."""
    from orapo.prompt import Prompt

    return Prompt(instruction).messages(make_study("s", ""), num_images)


def noise_image(seed: int, size: tuple[int, int]) -> "Image.Image":
    """A random RGB image; size is (width, height)."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def random_policy(random_model_folder: Path) -> "Policy":
    """The random folder as a policy, in float32."""
    from orapo.policy.loading import load_policy
    from orapo.policy.settings import ModelSettings

    return load_policy(ModelSettings(path=str(random_model_folder), instruction="Write the report."))


@pytest.fixture
def collate(random_policy: "Policy") -> "Collate":
    """Batches for ``random_policy``."""
    from orapo.data.collate import Collate

    return Collate(random_policy.processor, random_policy.prompt, 24)
