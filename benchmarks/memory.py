"""Memory of each base that conf/model knows, counted before any weight is there, and the count against real passes.

The table tells for LoRA and for all weights what one process needs at B = 16, K = 8 and 256 tokens a report, and which
cards hold it. --check runs one update of Qwen2.5-VL-3B, all 36 layers, with tensors that have sizes but no contents,
adds up what is alive at once, and sets it beside the estimate of orapo.policy.memory.

Usage: python benchmarks/memory.py
       python benchmarks/memory.py --check
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForImageTextToText

from orapo.policy.attention import NAME, TreeAttention
from orapo.policy.families import shared_prefix
from orapo.policy.memory import Load, MemoryCount, ModelSize, count_memory, model_size
from orapo.policy.packing import pack_row
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.token_logps import token_logps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.live_bytes import LiveBytes
from benchmarks.model_shapes import MODEL_SHAPES, model_config

CARDS = (24, 48, 80)
LORA = LoraSettings(rank=32, alpha=64)
TEXT_TOKENS = 74
IMAGE_TOKENS = {"qwen2_5_vl": 324, "qwen3_vl": 256, "gemma3": 256, "internvl": 256, "smolvlm": 81}
"""Of an image of 512 x 512 pixels, as the presets set them; an image is one tile."""
CHECKED = "Qwen/Qwen2.5-VL-3B-Instruct"
LOAD = Load(
    rows=128,
    studies=16,
    update_studies=1,
    completions=9,
    prompt_tokens=0,
    new_tokens=256,
    checkpointing=True,
    autocast=False,
    has_reference=True,
)


def size_of(name: str, lora: LoraSettings | None) -> ModelSize:
    """The sizes of one of ``MODEL_SHAPES``: in bfloat16 with an adapter, in float32 where all weights train."""
    with tempfile.TemporaryDirectory() as folder:
        model_config(name).save_pretrained(folder)
        dtype, trainable = ("float32", "all") if lora is None else ("bfloat16", "language")
        return model_size(ModelSettings(folder, "Write.", dtype=dtype, lora=lora, trainable=trainable))  # type: ignore[arg-type]


def counted(name: str, lora: LoraSettings | None) -> MemoryCount:
    """What one process needs."""
    prompt_tokens = IMAGE_TOKENS[str(MODEL_SHAPES[name]["model_type"])] + TEXT_TOKENS
    return count_memory(size_of(name, lora), replace(LOAD, prompt_tokens=prompt_tokens, autocast=lora is None))


def table_row(name: str) -> str:
    """One base in Markdown."""
    memory = [counted(name, lora) for lora in (LORA, None)]
    path = "shared" if shared_prefix(model_config(name)) else "general"
    cells = [f"{one.total / 1e9:.1f} | {_smallest_card(one)}" for one in memory]
    weights = size_of(name, LORA).num_weights / 1e9
    return f"| {name} | {weights:.2f} | {path} | " + " | ".join(cells) + " |"


def _smallest_card(memory: MemoryCount) -> str:
    fitting = [f"{card} GB" for card in CARDS if memory.total <= card * 1e9]
    return fitting[0] if fitting else "none"


def update_bytes(name: str, load: Load, num_layers: int | None = None) -> int:
    """Bytes alive at once in one update with LoRA in bfloat16, image features given; nothing is computed.

    Args:
        name: of ``MODEL_SHAPES``, with a shared prefix.
        load: one study in ``update_studies``.
        num_layers: of the language model; None: all.
    """
    config = model_config(name)
    text = config.get_text_config()
    text.num_hidden_layers = num_layers or text.num_hidden_layers
    config._attn_implementation = {"text_config": NAME, "vision_config": "sdpa", "": "sdpa"}
    completions = [torch.zeros(load.new_tokens, dtype=torch.int64) for _ in range(load.completions)]
    row = pack_row([torch.arange(load.prompt_tokens).expand(3, -1)], [completions])
    family = shared_prefix(config)
    assert family is not None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        get_peft_model(model, LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules=LORA.target_modules))
    if load.checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    with FakeTensorMode(allow_non_fake_inputs=True):
        _without_contents(model.train())
        with LiveBytes() as live:
            embeddings = torch.zeros(row.position_ids.shape[1], text.hidden_size, dtype=torch.bfloat16)
            states = family.last_states(model, embeddings, row.position_ids, TreeAttention(row), {})
            logps = token_logps(states[row.logit_positions], row.targets, model.get_output_embeddings(), 1.0)
            logps.sum().backward()
    return live.most


def _without_contents(model: nn.Module) -> None:
    """Gives a model on the meta device fake tensors of the CPU, for which torch takes the CPU's kernels."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            fake = torch.empty(weight.shape, dtype=weight.dtype)
            module.register_parameter(name, nn.Parameter(fake, weight.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))


def check() -> None:
    """The estimate beside what passes hold, for a few sizes."""
    size = size_of(CHECKED, LORA)
    print(f"\n{CHECKED}, LoRA of rank {LORA.rank} in bfloat16, one study, 8 rollouts and the oracle report\n")
    print("| layers | prompt, tokens | report, tokens | checkpointing | held, GB | estimated, GB | estimated / held |")
    print("|---|---|---|---|---|---|---|")
    for num_layers, prompt, tokens, checkpointing in (
        (2, 330, 256, True),
        (2, 330, 256, False),
        (36, 330, 256, True),
        (36, 330, 256, False),
        (36, 570, 512, True),
    ):
        load = replace(LOAD, prompt_tokens=prompt, new_tokens=tokens, checkpointing=checkpointing)
        held = update_bytes(CHECKED, load, num_layers)
        trained = size.num_trained * num_layers // size.num_layers
        estimated = count_memory(replace(size, num_layers=num_layers, num_trained=trained), load).update
        print(
            f"| {num_layers} | {prompt} | {tokens} | {'yes' if checkpointing else 'no'} | {held / 1e9:.2f} | "
            f"{estimated / 1e9:.2f} | {estimated / held:.2f} |",
            flush=True,
        )


def main() -> None:
    """Prints the table or the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="the estimate against passes, instead of the table")
    if parser.parse_args().check:
        check()
        return
    print("| base | weights, billions | path | LoRA, GB | smallest card | all weights, GB | smallest card |")
    print("|---|---|---|---|---|---|---|")
    for name in MODEL_SHAPES:
        print(table_row(name), flush=True)


if __name__ == "__main__":
    main()
