"""The model card of an exported model: what it is, where it comes from, what it is not for; from `model_card.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from lfvar.interop.tokenizers import hash_file
from lfvar.metrics.tokenizer_report import show

MODEL_CARD_FILE = "README.md"
TEMPLATE_FILE = Path(__file__).with_name("model_card.md")

DATA_LICENSES: Mapping[str, tuple[str, str]] = {
    "lfvar.data.sources.phantom.Phantom": (
        "mit",
        "Procedural phantom images of lfvar; no photograph of a patient was used.",
    ),
    "lfvar.data.sources.ham10000.HAM10000": (
        "cc-by-nc-4.0",
        "HAM10000 (Tschandl et al., Sci Data 2018, doi:10.1038/sdata.2018.161), CC BY-NC 4.0: name the source, and do "
        "not use it commercially. Whether weights inherit this is disputed; they are handed on as if they did.",
    ),
    "lfvar.data.sources.isic2017.ISIC2017": ("cc0-1.0", "ISIC 2017 challenge (Codella et al., ISBI 2018), CC0."),
}
"""What reads the data (`data.source`) → licence of the weights as the Hub names it, and what is to be said.

Of other data nothing is assumed."""

_UNKNOWN = (
    "Trained on {name}, whose terms lfvar does not know. **State them here before you share this model**, and check "
    "that they allow sharing what was trained on the data."
)
_TOKENIZER, _TRANSFORMER = "vqvae", "var"


def render_model_card(
    config: Mapping[str, Any], weights: Path, *, run_card: Mapping[str, Any] | None, license: str | None
) -> str:
    """Fill the template.

    Args:
        config: Of the exported net (`lfvar.interop.pretrained_files.read_config`).
        weights: The file of weights.
        run_card: Of the training; None: the card says that it is not known.
        license: Given by the user; None: what the data ask for, else "other".
    """
    settings: Mapping[str, Any] = (run_card or {}).get("config", {})
    data = settings.get("data", {})
    name = str(data.get("name", "data that are not named"))
    # What reads the files, not what somebody calls them, says which data they are.
    known = DATA_LICENSES.get(str(data.get("source", {}).get("_target_", "")))
    licence = license or (known[0] if known else "other\nlicense_name: not-stated")
    is_tokenizer = config["kind"] == _TOKENIZER
    kind = "multi-scale VQ-VAE" if is_tokenizer else "transformer for controllable synthesis"
    values = {
        "license": licence,
        "task": "image-feature-extraction" if is_tokenizer else "image-to-image",
        "method": "vq-vae" if is_tokenizer else "visual-autoregressive-modeling",
        "title": f"lfvar: {kind}, {name}",
        "what": _WHAT[config["kind"]],
        "download": "hf download OWNER/NAME --local-dir FOLDER",
        "command": _COMMANDS[config["kind"]],
        "python": _PYTHON[config["kind"]],
        "facts": "\n".join(f"| {name} | {value} |" for name, value in _facts(config, weights).items()),
        "training": _training(run_card),
        "results": _results(run_card),
        "data": known[1] if known else _UNKNOWN.format(name=name),
        "limits": _LIMITS[config["kind"]],
    }
    return Template(TEMPLATE_FILE.read_text(encoding="utf-8")).substitute(values).rstrip() + "\n"


_WHAT = {
    _TOKENIZER: "Turns a dermoscopy image into token maps from coarse to fine, and back.",
    _TRANSFORMER: "Paints a lesion of a given type, with given measurements, into a skin image, inside a mask; or "
    "makes whole images. Its tokenizer is in `tokenizer/`.",
}
_COMMANDS = {
    _TOKENIZER: "python -m lfvar.evaluate target=tokenizer ckpt=FOLDER data=NAME data.root=PATH",
    _TRANSFORMER: "python -m lfvar.generate mode=matrix ckpt=FOLDER data=NAME data.root=PATH",
}
_PYTHON = {
    _TOKENIZER: 'from lfvar.interop.pretrained import from_pretrained\n\nnet = from_pretrained("FOLDER").net\n'
    "ids = net.encode_ids(image_BCHW)  # images in [-1, 1]",
    _TRANSFORMER: 'from lfvar.synthesizer import Synthesizer\n\nsynthesizer = Synthesizer.from_pretrained("FOLDER")\n'
    'images = synthesizer.edit(photograph, mask, type="mel", seeds=range(8))',
}
_LIMITS = {
    _TOKENIZER: "- Fine structure below the finest token map is invented, inside lesions too.",
    _TRANSFORMER: "- Measurements steer; they are not guaranteed. Measure what was made before you rely on it.",
}


def _facts(config: Mapping[str, Any], weights: Path) -> dict[str, str]:
    model = config["model"]
    facts = {
        "kind": config["kind"],
        "token maps": ", ".join(f"{side}×{side}" for side in model["patch_nums"]),
        "codes": str(model["vocab_size"]),
        "weights": f"{weights.stat().st_size / 1e6:.1f} MB, SHA-256 `{hash_file(weights)}`",
        "lfvar": config["lfvar_version"],
    }
    if config["kind"] == _TRANSFORMER:
        groups: dict[str, int] = {}
        for feature in config["feature_names"]:
            group = feature.partition("_")[0]
            groups[group] = groups.get(group, 0) + 1
        counts = ", ".join(f"{count} {group}" for group, count in groups.items())
        facts |= {
            "types": ", ".join(config["classes"]),
            "measurements": f"{len(config['feature_names'])} ({counts})" if groups else "none",
            "tokenizer": f"tokens `{config['tokenizer']['hash'][:16]}`",
        }
    return facts


def _training(run_card: Mapping[str, Any] | None) -> str:
    if run_card is None:
        return "Not known: the checkpoint came without its run card."
    git = run_card.get("git")
    manifest = run_card["data"].get("manifest", "unknown")
    lines = [
        f"- command: `python -m lfvar.train {' '.join(run_card['overrides'])}`",
        f"- images: {run_card['config']['image_size']} px, manifest `{manifest[:16]}`",
        f"- seed {run_card['seed']}, started {run_card['started']}",
        f"- versions: {', '.join(f'{name} {version}' for name, version in run_card['versions'].items() if version)}",
    ]
    if git is not None:
        lines.append(f"- revision `{git['revision'][:12]}`{' with local changes' if git['dirty'] else ''}")
    return "\n".join(lines)


def _results(run_card: Mapping[str, Any] | None) -> str:
    metrics = ((run_card or {}).get("result") or {}).get("metrics", {})
    rows = [f"| {name} | {show(value, 4)} |" for name, value in metrics.items() if name.startswith("val/")]
    if not rows:
        return "None are stored with the training. `python -m lfvar.evaluate` gives numbers with their floors."
    intro = "On the validation split, at the last step. `python -m lfvar.evaluate` gives more numbers, with floors."
    return "\n".join([intro, "", "| | |", "| --- | --- |", *rows])
