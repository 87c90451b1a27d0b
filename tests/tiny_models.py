"""Folders in the hub's layout of many architectures, a few thousand random weights each.

Classes and processors are those of transformers; the tokenizer is the embedded policy's with the architecture's image
tokens added.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Gemma3ImageProcessorPil,
    GotOcr2ImageProcessorPil,
    Idefics3ImageProcessorPil,
    LlavaOnevisionImageProcessorPil,
    PixtralImageProcessorPil,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    SmolVLMImageProcessorPil,
)

from orapo.policy.tiny import base_folder

SIDE = 56
"""Of images whose size a model fixes: 4 x 4 patches of 14 pixels."""

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
SEEN = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 14,
}
QWEN_SEEN = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14}


@dataclass(frozen=True)
class Architecture:
    """What ``write`` needs.

    Attributes:
        config: from the ids of the tokens below, the fields of the model's config.
        images: image processor.
        placeholder: what the chat template writes for an image.
        tokens: control tokens that the tokenizer gains: by name where the processor asks for them, else by themselves.
        processor: fields of processor_config.json.
    """

    config: Callable[[dict[str, int]], dict[str, Any]]
    images: Any
    placeholder: str
    tokens: dict[str, str] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)


def _qwen(text: dict[str, Any], seen: dict[str, Any], **images: Any) -> Architecture:
    def config(ids: dict[str, int]) -> dict[str, Any]:
        names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
        names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
        own = {name: ids[f"<|{token}|>"] for name, token in names.items()}
        return {"text_config": TEXT | text, "vision_config": QWEN_SEEN | seen, **own}

    pixels = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=112 * 112, **images)
    return Architecture(config, pixels, "<|vision_start|><|image_pad|><|vision_end|>")


def _rope(**fields: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **fields}}


_IDEFICS_TOKENS = {token: token for token in ("<image>", "<fake_token_around_image>", "<global-img>")} | {
    f"<row_{i}_col_{j}>": f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)
}
_IDEFICS_SIZE = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}


def _idefics(images: Any) -> Architecture:
    return Architecture(
        lambda ids: {
            "text_config": TEXT | {"model_type": "llama"},
            "vision_config": SEEN,
            "scale_factor": 2,
            "image_token_id": ids["<image>"],
        },
        images,
        "<image>",
        _IDEFICS_TOKENS,
        {"image_seq_len": 4},
    )


ARCHITECTURES: dict[str, Architecture] = {
    "qwen2_vl": _qwen(
        _rope(mrope_section=[1, 1, 2]),
        {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "spatial_merge_size": 2},
    ),
    "qwen2_5_vl": _qwen(
        _rope(mrope_section=[1, 1, 2]), {"out_hidden_size": 32, "window_size": 56, "fullatt_block_indexes": [1]}
    ),
    "qwen3_vl": _qwen(
        {"head_dim": 8, **_rope(mrope_section=[2, 1, 1], mrope_interleaved=True)},
        {"out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
    ),
    "qwen3_5": _qwen(
        {
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "linear_attention", "full_attention"],
            **_rope(mrope_section=[2, 1, 1], mrope_interleaved=True, partial_rotary_factor=1.0),
        },
        {"out_hidden_size": 32, "num_position_embeddings": 16},
    ),
    "gemma3": Architecture(
        lambda ids: {
            "text_config": TEXT
            | {
                "head_dim": 8,
                "sliding_window": 16,
                "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
                "final_logit_softcapping": 5.0,
            },
            "vision_config": SEEN,
            "mm_tokens_per_image": 4,
            "boi_token_index": ids["<start_of_image>"],
            "eoi_token_index": ids["<end_of_image>"],
            "image_token_index": ids["<image_soft_token>"],
        },
        Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE}),
        "<start_of_image>",
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        {"image_seq_length": 4},
    ),
    "internvl": Architecture(
        lambda ids: {
            "text_config": TEXT | {"model_type": "qwen2"},
            "vision_config": SEEN | {"image_size": [SIDE, SIDE], "patch_size": [14, 14]},
            "image_seq_length": 4,
            "image_token_id": ids["<IMG_CONTEXT>"],
        },
        GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, min_patches=1, max_patches=3),
        "<IMG_CONTEXT>",
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        {"image_seq_length": 4},
    ),
    "smolvlm": _idefics(SmolVLMImageProcessorPil(**_IDEFICS_SIZE)),
    "idefics3": _idefics(Idefics3ImageProcessorPil(**_IDEFICS_SIZE)),
    "llava_onevision": Architecture(
        lambda ids: {
            "text_config": TEXT | {"model_type": "qwen2"},
            "vision_config": SEEN | {"model_type": "siglip_vision_model", "vision_use_head": False},
            "image_grid_pinpoints": [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
            "image_token_index": ids["<image>"],
            "video_token_index": ids["<video>"],
        },
        LlavaOnevisionImageProcessorPil(
            size={"height": SIDE, "width": SIDE},
            image_grid_pinpoints=[[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
        ),
        "<image>",
        {"image_token": "<image>", "video_token": "<video>"},
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    "mistral3": Architecture(
        lambda ids: {
            "text_config": TEXT | {"model_type": "mistral", "head_dim": 8, "sliding_window": None},
            "vision_config": SEEN | {"model_type": "pixtral", "head_dim": 8, "image_size": 2 * SIDE},
            "image_token_index": ids["[IMG]"],
            "spatial_merge_size": 2,
            "vision_feature_layer": -1,
        },
        PixtralImageProcessorPil(size={"longest_edge": 2 * SIDE}, patch_size=14),
        "[IMG]",
        {token: token for token in ("[IMG]", "[IMG_BREAK]", "[IMG_END]")},
        {"patch_size": 14, "spatial_merge_size": 2},
    ),
}


def write(model_type: str, folder: Path, seed: int = 0, head_dim: int = 8) -> Path:
    """Writes config, weights, tokenizer with chat template, and processor; gives the folder."""
    one = ARCHITECTURES[model_type]
    tokenizer = _tokenizer(one)
    ids = tokenizer.get_vocab()
    control = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    fields = one.config(ids)
    fields["text_config"] |= {"vocab_size": len(tokenizer) + 2, "bos_token_id": None, **control}
    fields["text_config"] = _wider_heads(fields["text_config"], head_dim)
    config = AutoConfig.for_model(model_type, **fields, **control, tie_word_embeddings=True)
    config.get_text_config().tie_word_embeddings = True
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                # Large enough in scale that logits differ clearly.
                torch.nn.init.normal_(weight, std=0.2)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    one.images.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(one.processor))
    return folder


def _wider_heads(text: dict[str, Any], head_dim: int) -> dict[str, Any]:
    """The language model with heads of so many channels: a server may not know those of 8."""
    if head_dim == 8:
        return text
    rope = dict(text.get("rope_parameters", {}))
    if "mrope_section" in rope:
        rope["mrope_section"] = [part * head_dim // 8 for part in rope["mrope_section"]]
    return text | {"head_dim": head_dim} | ({"rope_parameters": rope} if rope else {})


def _tokenizer(one: Architecture) -> PreTrainedTokenizerFast:
    base = AutoTokenizer.from_pretrained(base_folder())
    named = {name: token for name, token in one.tokens.items() if name != token}
    base.add_special_tokens({"extra_special_tokens": [*base.extra_special_tokens, *one.tokens.values()]})
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
        "{% if part.type == 'image' %}" + one.placeholder + "{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=base.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
        **({"extra_special_tokens": named} if named else {}),
    )
