"""A sentence to the page's controls, and what was understood of it."""

from __future__ import annotations

from typing import Any

from lfvar.generation.choose_mask import MaskChooser
from lfvar.generation.prompts import read_prompts
from lfvar.generation.settings import Wish
from lfvar.measure.schema import FROM_MASK
from lfvar.sampling.prompt import COLUMNS
from lfvar.studio.workbench import Workbench


def understand(workbench: Workbench, text: str, seed: int = 0) -> dict[str, Any]:
    """Read a sentence for the page.

    Args:
        workbench: Its model and profiles say what words mean.
        text: One English sentence.
        seed: Of a drawn outline.

    Returns:
        `label`, `measurements` (value and probability by name), `shape` (of a drawn mask; None where the sentence says
        nothing that a mask decides), `samples`, and the table `rows` under `columns`.

    Raises:
        ConfigError: When the sentence cannot be read, or asks for what this model cannot give.
    """
    names = workbench.synthesizer.feature_names
    known = {*names, *FROM_MASK}
    (prompt,) = read_prompts([text], workbench.synthesizer.classes, workbench.profiles, known)
    quantiles = prompt.request.get("quantiles", {})
    shape = {name: value for name, value in prompt.values.items() if name in FROM_MASK}
    drawn = None
    if shape:
        chooser = MaskChooser(Wish(mode="prompt", prompts=(text,)), workbench.pool, workbench.vectors)
        plan = chooser.choose(None, prompt.label, seed, shape)
        drawn = {**plan.shape, "seed": plan.seed}
    return {
        "label": prompt.label,
        "measurements": {
            name: {"value": value, "probability": quantiles.get(name)}
            for name, value in prompt.values.items()
            if name not in FROM_MASK
        },
        "shape": drawn,
        "samples": min(prompt.count, workbench.limits.samples),
        "asked_samples": prompt.count,
        "columns": list(COLUMNS),
        "rows": [list(row) for row in prompt.rows],
    }
