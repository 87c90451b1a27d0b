"""What benchmarks/step.py prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

SIDES = {
    "trl": "TRL",
    "ours": "ours, GRPO",
    "ours_with_oracle": "ours, OraPO",
    "ours_later_pass": "ours, GRPO, later pass",
}
RATIOS = {"ours": "", "ours_with_oracle": "_with_oracle", "ours_later_pass": "_later_pass"}
"""How the ratio of each of our sides ends."""


def title(row: Mapping[str, Any], of_grid: bool = False) -> str:
    """What was measured, in a line; ``of_grid`` leaves out what differs between the lines."""
    sizes = "" if of_grid else f"{row['image']} px = {row['image_tokens']} image tokens, K = {row['k']}, "
    trains = "LoRA" if row["lora"] else "all weights"
    return (
        f"{row['size']}, {sizes}{row['prompts']} studies, {row['tokens']} tokens, {row['threads']} thread(s), {trains}"
    )


def phase_table(row: Mapping[str, Any]) -> Table:
    """One measurement: a line per phase, a column per side."""
    table = Table()
    table.add_column("one step, median")
    for name in SIDES.values():
        table.add_column(name, justify="right")
    for phase in row["trl"]["phases"]:
        table.add_row(f"{phase}, s", *(f"{row[side]['phases'][phase]:.2f}" for side in SIDES))
    table.add_section()
    table.add_row("wall time, s", *(f"{row[side]['seconds']:.2f}" for side in SIDES))
    table.add_row("CPU time, s", *(f"{row[side]['cpu_seconds']:.2f}" for side in SIDES))
    table.add_row("tokens per second", *(f"{row[side]['tokens_per_second']:.0f}" for side in SIDES))
    table.add_row("peak memory, GB", *(_gigabytes(row[side]) for side in SIDES))
    table.add_section()
    table.add_row("TRL / ours, wall", "", *(f"{row[f'ratio{side}']:.2f}" for side in RATIOS.values()))
    table.add_row("TRL / ours, CPU", "", *(f"{row[f'ratio_cpu{side}']:.2f}" for side in RATIOS.values()))
    return table


def grid_table(grid: Sequence[Mapping[str, Any]]) -> Table:
    """Several measurements: a line each."""
    table = Table()
    columns = (
        "px",
        "image tokens",
        "K",
        "TRL, s",
        "GRPO, s",
        "OraPO, s",
        "later, s",
        "ratio",
        "ratio CPU",
        "OraPO CPU",
        "later CPU",
        "GB",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for row in grid:
        table.add_row(
            *(str(row[name]) for name in ("image", "image_tokens", "k")),
            *(f"{row[side]['seconds']:.1f}" for side in SIDES),
            *(f"{row[name]:.2f}" for name in ("ratio", "ratio_cpu", "ratio_cpu_with_oracle", "ratio_cpu_later_pass")),
            " / ".join(_gigabytes(row[side]) for side in ("trl", "ours")),
        )
    return table


def _gigabytes(side: Mapping[str, Any]) -> str:
    return f"{side['peak_memory_bytes'] / 1e9:.1f}"
