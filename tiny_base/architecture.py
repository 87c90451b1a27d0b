"""The embedded policy: a real Qwen2.5-VL, of 1.7 million parameters or another width, and faster passes."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)
from vocabulary import END_OF_TURN, IMAGE, PAD

WIDTH, HEAD_WIDTH = 128, 32
PATCH, MERGE, TEMPORAL = 14, 2, 2
IMAGE_SIZE = 112
TOKENS_PER_SIDE = IMAGE_SIZE // (PATCH * MERGE)
IMAGE_TOKENS = TOKENS_PER_SIDE**2
PATCHES = (IMAGE_SIZE // PATCH) ** 2
MEAN, STD = 0.45, 0.25


def build_model(tokenizer: PreTrainedTokenizerBase, width: int = WIDTH) -> Qwen2_5_VLForConditionalGeneration:
    """Fresh weights, with every special token's id where transformers looks for it.

    Args:
        tokenizer: its length is the vocabulary's.
        width: hidden size of language model and vision tower, a multiple of 64. Heads keep their 32 dimensions, and so
            their rotary sections; their number and the MLPs are in proportion to the width.
    """
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (PAD, END_OF_TURN, IMAGE)}
    special = {"pad_token_id": ids[PAD], "bos_token_id": ids[PAD], "eos_token_id": ids[END_OF_TURN]}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": width // HEAD_WIDTH,
            "num_key_value_heads": width // (2 * HEAD_WIDTH),
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            **special,
        },
        vision_config={
            "depth": 3,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_heads": width // HEAD_WIDTH,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "window_size": IMAGE_SIZE,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0, 1, 2],
        },
        image_token_id=ids[IMAGE],
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
        **special,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=64, **special)
    return model


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """Keeps 112 x 112 images as they are (16 tokens) and brings every other size to about that many pixels."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=TEMPORAL,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
        min_pixels=IMAGE_SIZE**2,
        max_pixels=IMAGE_SIZE**2,
    )


def patchify(images: Tensor) -> Tensor:
    """Grey images [B, 112, 112] in [0, 1] to pixel values [B * 64, 1176], as the image processor would make them."""
    count, blocks = len(images), TOKENS_PER_SIDE
    normed = (images - MEAN) / STD
    cut = normed.view(count, blocks, MERGE, PATCH, blocks, MERGE, PATCH).permute(0, 1, 4, 2, 5, 3, 6)
    flat = cut.reshape(count * PATCHES, 1, PATCH * PATCH)
    return flat.expand(-1, 3 * TEMPORAL, -1).reshape(count * PATCHES, -1)


@dataclass
class FastPasses:
    """Training passes over same-shaped rows: a prompt that begins with N images of 112 x 112 pixels, then text.

    The stock model loops over images in its vision attention and over rows for its positions; here all rows are alike.
    """

    model: Qwen2_5_VLForConditionalGeneration
    image_start: int

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """[B, 16, width]."""
        visual = self.model.model.visual
        weight = visual.patch_embed.proj.weight.flatten(1)
        hidden = F.linear(pixel_values, weight).unflatten(0, (-1, PATCHES))
        cos, sin = self._vision_rotary(hidden)
        for layer in visual.blocks:
            hidden = hidden + self._vision_attention(layer.attn, layer.norm1(hidden), cos, sin)
            hidden = hidden + layer.mlp(layer.norm2(hidden))
        features: Tensor = visual.merger(hidden).unflatten(0, (-1, IMAGE_TOKENS))
        return features

    def hidden_states(self, input_ids: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """[B, L, width] after each layer, the last one normed, of rows that all have their N images in the same place.

        Args:
            input_ids: [B, L], padded on the right.
            features: [B, N, 16, width].
        """
        embeddings = self.model.get_input_embeddings()(input_ids)
        parts, end = [], 0
        for number in range(features.shape[1]):
            start = self.start_of(number)
            parts += [embeddings[:, end:start], features[:, number]]
            end = start + IMAGE_TOKENS
        embeddings = torch.cat([*parts, embeddings[:, end:]], dim=1)
        positions = self._positions(input_ids.shape[1], features.shape[1])[:, None].expand(-1, len(input_ids), -1)
        output = self.model.model.language_model(
            inputs_embeds=embeddings, position_ids=positions, use_cache=False, output_hidden_states=True
        )
        states: tuple[Tensor, ...] = (*output.hidden_states[1:-1], output.last_hidden_state)
        return states

    def start_of(self, number: int) -> int:
        """Where the tokens of image ``number`` begin, from 0; one token closes an image, one opens the next."""
        return self.image_start + number * (IMAGE_TOKENS + 2)

    def _positions(self, length: int, num_images: int) -> Tensor:
        """Temporal, height and width positions [3, L]: an image takes as many as it has rows of tokens."""
        cells, parts, place, end = torch.arange(IMAGE_TOKENS), [], 0, 0
        for number in range(num_images):
            start = self.start_of(number)
            parts.append((place + torch.arange(start - end)).expand(3, -1))
            place += start - end
            parts.append(place + torch.stack([cells * 0, cells // TOKENS_PER_SIDE, cells % TOKENS_PER_SIDE]))
            place, end = place + TOKENS_PER_SIDE, start + IMAGE_TOKENS
        return torch.cat([*parts, (place + torch.arange(length - end)).expand(3, -1)], dim=1)

    def _vision_rotary(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        side = torch.arange(IMAGE_SIZE // PATCH)
        grid = torch.stack(torch.meshgrid(side, side, indexing="ij"))
        cut = grid.view(2, TOKENS_PER_SIDE, MERGE, TOKENS_PER_SIDE, MERGE).transpose(2, 3).reshape(2, -1)
        cos, sin = self.model.model.visual.rotary_pos_emb(hidden, cut.T)
        return cos, sin

    def _vision_attention(self, attention: torch.nn.Module, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        count, heads = len(hidden), attention.num_heads
        query, key, value = attention.qkv(hidden).view(count, PATCHES, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(_rotate(query, cos, sin), _rotate(key, cos, sin), value)
        return attention.proj(mixed.transpose(1, 2).flatten(2))


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = states.shape[-1] // 2
    turned = torch.cat([-states[..., half:], states[..., :half]], dim=-1)
    return states * cos + turned * sin
