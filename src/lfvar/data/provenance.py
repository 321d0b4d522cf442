"""What a generated image says of itself, inside its PNG file, so that it is known as synthetic wherever it goes.

Three notes, in the words that others read too:

- PNG's own keywords (PNG specification, 11.3.4.2): `Title`, `Software` and `Disclaimer`, plain text;
- `lfvar`: JSON with what made the image (`read_provenance`);
- XMP with IPTC's `DigitalSourceType`, the term that search engines and archives look for.

Pixels are not touched, and nothing depends on when or where an image was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lfvar
from lfvar.data.imageio import XMP, read_png_text

KEY = "lfvar"
DISCLAIMER = "Synthetic image, made by a model. For research; not for diagnosis."
_DIGITS = 6
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_WHOLE, _EDIT = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Provenance:
    """What made one image, or a picture of several."""

    hashes: Mapping[str, str]
    """SHA-256 of the checkpoints: "transformer", "tokenizer"."""
    title: str = "Synthetic skin lesion"
    seed: int | None = None
    """None: the picture shows images of several seeds."""
    type: str | None = None
    """Lesion type that was asked for; None: any."""
    measurements: Mapping[str, float] = field(default_factory=dict)
    """What was asked for, in natural units; stored to six digits."""
    prompt: str | None = None
    mask: str | None = None
    """Where the lesion's place comes from: source, file, bank, drawn or none."""
    source: str | None = None
    """The real image whose skin it shows outside the lesion; None: nothing in it is a photograph."""

    def to_text(self) -> dict[str, str]:
        """Keyword and text of each note; the same provenance gives the same text."""
        facts = asdict(self)
        facts["measurements"] = {name: _rounded(value) for name, value in sorted(self.measurements.items())}
        facts["hashes"] = dict(sorted(self.hashes.items()))
        facts = {"synthetic": True, "not_for_diagnosis": True, "lfvar_version": lfvar.__version__, **facts}
        return {
            "Title": self.title,
            "Software": f"lfvar {lfvar.__version__}",
            "Disclaimer": DISCLAIMER + (" Skin outside the lesion is a photograph." if self.source else ""),
            KEY: json.dumps(facts),
            XMP: _xmp(_WHOLE if self.source is None else _EDIT),
        }


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """What a PNG file says of how it was made; None when lfvar did not write it.

    Returns:
        The fields of `Provenance`, with `synthetic`, `not_for_diagnosis` and `lfvar_version`.

    Raises:
        PairError: The file is missing or no image.
    """
    stored = read_png_text(Path(path)).get(KEY)
    try:
        facts = None if stored is None else json.loads(stored)
    except ValueError:
        return None  # somebody else's keyword
    return facts if isinstance(facts, dict) else None


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _xmp(source_type: str) -> str:
    """An XMP packet that says one thing (IPTC Photo Metadata Standard 2023.1, Digital Source Type)."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPES}{source_type}"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
