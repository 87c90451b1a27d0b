"""Random policies of three sizes for measuring time and memory: Qwen2.5-VL folders in the hub's layout.

What a step costs depends on the sizes of the weights, not on their values, so that nothing has to be downloaded.

Usage: python benchmarks/random_policy.py tiny FOLDER
       python benchmarks/random_policy.py 3b FOLDER --dtype bfloat16   # 7.5 GB
"""

import argparse
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

PAD, END, IMAGE = "<|endoftext|>", "<|im_end|>", "<|image_pad|>"
CONTROL_TOKENS = (
    PAD,
    "<|im_start|>",
    END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    IMAGE,
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH, MERGE = 14, 2
SMALLEST, LARGEST = 56, 1792
"""Sides in pixels between which the image processor leaves a square image as it is."""


@dataclass(frozen=True)
class PolicySize:
    """What the time depends on.

    Attributes:
        vocabulary: tokens.
        text: of the language model.
        vision: of the vision tower.
        rows: of the embedding table, at least the vocabulary; None: equally many.
    """

    vocabulary: int
    text: Mapping[str, int]
    vision: Mapping[str, object]
    rows: int | None = None


SIZES: Mapping[str, PolicySize] = {
    "tiny": PolicySize(
        vocabulary=2048,
        text={
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        vision={
            "hidden_size": 192,
            "intermediate_size": 384,
            "depth": 4,
            "num_heads": 4,
            "fullatt_block_indexes": [1, 3],
        },
    ),
    "mid": PolicySize(
        vocabulary=8192,
        text={
            "hidden_size": 768,
            "intermediate_size": 2048,
            "num_hidden_layers": 8,
            "num_attention_heads": 12,
            "num_key_value_heads": 6,
        },
        vision={
            "hidden_size": 384,
            "intermediate_size": 1024,
            "depth": 8,
            "num_heads": 6,
            "fullatt_block_indexes": [3, 7],
        },
    ),
    # Qwen2.5-VL-3B's: 3,754,622,976 weights.
    "3b": PolicySize(
        vocabulary=2048,
        rows=151936,
        text={
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
        },
        vision={
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "depth": 32,
            "num_heads": 16,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    ),
}


def image_tokens(side: int) -> int:
    """Tokens that a square image of so many pixels takes in the prompt."""
    return (side // (PATCH * MERGE)) ** 2


def random_words(count: int, seed: int) -> str:
    """So many made-up words of five to nine letters, from an alphabet of syllables."""
    draw = random.Random(seed)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return " ".join("".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(count))


def write_policy(
    size: str, folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> int:
    """Writes weights, tokenizer and image processor.

    Args:
        size: of ``SIZES``.
        folder: where to.
        seed: of the weights and of the words that the tokenizer knows.
        dtype: of the weights.
        device: that draws them.

    Returns:
        The number of parameters.
    """
    tokenizer = _tokenizer(SIZES[size].vocabulary, seed)
    torch.manual_seed(seed)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(policy_config(SIZES[size], tokenizer), dtype=dtype)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (PAD, END)}
    model.generation_config = GenerationConfig(eos_token_id=ids[END], pad_token_id=ids[PAD], bos_token_id=ids[PAD])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=SMALLEST**2, max_pixels=LARGEST**2).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _tokenizer(vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over made-up words, so that every token decodes to text and any text survives."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([random_words(4 * vocabulary, seed)], trainer)
    if bpe.get_vocab_size() != vocabulary:
        raise SystemExit(f"the tokenizer has {bpe.get_vocab_size()} tokens, not {vocabulary}")
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(CONTROL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
    )


def policy_config(size: PolicySize, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """The config of a size, with the ids of its tokenizer."""
    width = size.text["hidden_size"] // size.text["num_attention_heads"]
    sections = [width // 8, 3 * width // 16, 3 * width // 16]
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in CONTROL_TOKENS}
    special = {"pad_token_id": ids[PAD], "bos_token_id": ids[PAD], "eos_token_id": ids[END]}
    return Qwen2_5_VLConfig(
        text_config={
            **size.text,
            **special,
            "vocab_size": size.rows or size.vocabulary,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": sections},
            "tie_word_embeddings": True,
        },
        vision_config={
            **size.vision,
            "out_hidden_size": size.text["hidden_size"],
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 112,
        },
        image_token_id=ids[IMAGE],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        **special,
    )


def main() -> None:
    """Writes one policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    parameters = write_policy(arguments.size, arguments.folder, arguments.seed, dtype)
    print(f"{parameters:,} parameters in {arguments.folder}")


if __name__ == "__main__":
    main()
