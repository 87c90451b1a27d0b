"""Shapes of vision-language bases: configs from which transformers builds each with random weights, by hub name.

They hold what decides the number of weights, the pattern of attention and the positions. A test counts the weights of
each and compares them with the number that is published.
"""

from copy import deepcopy
from typing import Any

from transformers import AutoConfig, PretrainedConfig

Fields = dict[str, Any]


def model_config(name: str) -> PretrainedConfig:
    """The config of one of ``MODEL_SHAPES``."""
    fields = deepcopy(MODEL_SHAPES[name])
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def _text(hidden: int, intermediate: int, layers: int, heads: int, key_heads: int, vocabulary: int) -> Fields:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocabulary,
    }


def _rope(theta: float, **fields: Any) -> Fields:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **fields}}


_QWEN_TOKENS = {
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}


def _qwen2_5_vl(*text: int, is_tied: bool) -> Fields:
    return {
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": is_tied,
        **_QWEN_TOKENS,
        "text_config": _text(*text)
        | _rope(1e6, mrope_section=[16, 24, 24])
        | {"max_position_embeddings": 128000, "tie_word_embeddings": is_tied},
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": text[0],
            "patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    }


def _qwen3_vl(*text: int, is_tied: bool, vision: Fields) -> Fields:
    return {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": is_tied,
        **_QWEN_TOKENS,
        "text_config": _text(*text)
        | _rope(5e6, mrope_section=[24, 20, 20], mrope_interleaved=True)
        | {"head_dim": 128, "max_position_embeddings": 262144, "tie_word_embeddings": is_tied},
        "vision_config": vision
        | {"num_heads": 16, "out_hidden_size": text[0], "patch_size": 16, "num_position_embeddings": 2304},
    }


_QWEN3_SMALL_TOWER = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
_QWEN3_TOWER = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}

_GEMMA3_4B = {
    "model_type": "gemma3",
    "tie_word_embeddings": True,
    "mm_tokens_per_image": 256,
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "image_token_index": 262144,
    "text_config": _text(2560, 10240, 34, 8, 4, 262208)
    | {
        "head_dim": 256,
        "sliding_window": 1024,
        "layer_types": ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(34)],
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}


def _internvl3_5(*text: int) -> Fields:
    # The published files hold a head of their own.
    return {
        "model_type": "internvl",
        "tie_word_embeddings": False,
        "image_token_id": 151671,
        "image_seq_length": 256,
        "text_config": _text(*text, 151936)
        | _rope(1e6)
        | {"model_type": "qwen3", "head_dim": 128, "max_position_embeddings": 40960, "tie_word_embeddings": False},
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attention_bias": True,
            "image_size": [448, 448],
            "patch_size": [14, 14],
        },
    }


def _smolvlm2(*text: int, theta: float, scale: int, vision: Fields) -> Fields:
    return {
        "model_type": "smolvlm",
        "tie_word_embeddings": False,
        "image_token_id": 49190,
        "scale_factor": scale,
        "text_config": _text(*text, 49280)
        | _rope(theta)
        | {"model_type": "llama", "max_position_embeddings": 8192, "pad_token_id": 2, "tie_word_embeddings": False},
        "vision_config": vision,
    }


_SMALL_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
_SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}

_QWEN2_5_VL_3B = _qwen2_5_vl(2048, 11008, 36, 16, 2, 151936, is_tied=True)
_QWEN2_5_VL_7B = _qwen2_5_vl(3584, 18944, 28, 28, 4, 152064, is_tied=False)

MODEL_SHAPES: dict[str, Fields] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": _QWEN2_5_VL_3B,
    "Qwen/Qwen2.5-VL-7B-Instruct": _QWEN2_5_VL_7B,
    "Qwen/Qwen3-VL-2B-Instruct": _qwen3_vl(2048, 6144, 28, 16, 8, 151936, is_tied=True, vision=_QWEN3_SMALL_TOWER),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen3_vl(2560, 9728, 36, 32, 8, 151936, is_tied=True, vision=_QWEN3_SMALL_TOWER),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3_vl(4096, 12288, 36, 32, 8, 151936, is_tied=False, vision=_QWEN3_TOWER),
    "google/medgemma-1.5-4b-it": _GEMMA3_4B,
    "OpenGVLab/InternVL3_5-1B-HF": _internvl3_5(1024, 3072, 28, 16, 8),
    "OpenGVLab/InternVL3_5-2B-HF": _internvl3_5(2048, 6144, 28, 16, 8),
    "OpenGVLab/InternVL3_5-4B-HF": _internvl3_5(2560, 9728, 36, 32, 8),
    "OpenGVLab/InternVL3_5-8B-HF": _internvl3_5(4096, 12288, 36, 32, 8),
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": _smolvlm2(
        576, 1536, 30, 9, 3, theta=1e5, scale=4, vision=_SMALL_SIGLIP
    ),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": _smolvlm2(2048, 8192, 24, 32, 32, theta=1.3e5, scale=3, vision=_SIGLIP),
    "StanfordAIMI/CheXOne": _QWEN2_5_VL_3B,
    "lingshu-medical-mllm/Lingshu-7B": _QWEN2_5_VL_7B,
    "FreedomIntelligence/HuatuoGPT-Vision-7B-Qwen2.5VL": _QWEN2_5_VL_7B,
}

PUBLISHED_WEIGHTS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    "google/medgemma-1.5-4b-it": 4_300_079_472,
    "OpenGVLab/InternVL3_5-1B-HF": 1_060_897_792,
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": 256_484_928,
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": 2_246_784_880,
}
"""As stated for the published files, where an exact number is known (MedGemma 1.5: that of MedGemma 1)."""
