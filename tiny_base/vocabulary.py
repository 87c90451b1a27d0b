"""The embedded policy's tokenizer: byte-level BPE cut as Qwen2 cuts it; every word of the grammars is one token."""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

PAD, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
IMAGE = "<|image_pad|>"
SPECIAL_TOKENS = (
    PAD,
    "<|im_start|>",
    END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    IMAGE,
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's conversation format, without its default system prompt: every prompt token costs time here."""


def build_tokenizer(sentences: Iterable[str]) -> Qwen2Tokenizer:
    """Merges bytes until every word of the sentences is one token, then adds Qwen's special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The list is complete before training starts: the tokenizer can't be asked while it trains.
    bpe.train_from_iterator(_words(bpe, sentences), trainer)
    vocabulary, merges = bpe.get_vocab(), _merges(bpe)
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, eos_token=END_OF_TURN, pad_token=PAD, unk_token=PAD, model_max_length=4096
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [t for t in SPECIAL_TOKENS if t not in (PAD, END_OF_TURN)]}
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _words(bpe: Tokenizer, sentences: Iterable[str]) -> list[str]:
    """Every distinct word once: merges then follow the words' common pieces, not their frequency."""
    words = {word for sentence in sentences for word, _ in bpe.pre_tokenizer.pre_tokenize_str(sentence)}
    decoder = decoders.ByteLevel()
    return sorted(decoder.decode([word]) for word in words)


def _merges(bpe: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
