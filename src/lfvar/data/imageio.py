"""The one image decoder: every image and mask that lfvar reads from or writes to disk passes through here.

JPEG decoders differ by up to 4 grey levels, so nothing else in lfvar opens image files. Whatever a file holds, an image
comes out as RGB uint8 the right way up, a mask as booleans.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from lfvar.data.files import hash_bytes, replace_file
from lfvar.data.records import PairError

MAX_PIXELS = 100_000_000
"""Larger files are taken for decompression bombs (the largest dermoscopy images have about 24 million pixels)."""

XMP = "XML:com.adobe.xmp"
"""Keyword of the PNG note that holds XMP."""

_LONG_TEXT = 1000
"""Characters from which on a note of a PNG file is compressed."""

_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow raises on damaged files, depending on the format and the place of the damage."""

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image as RGB uint8, height × width × 3, with its EXIF orientation applied.

    16-bit grey is scaled by 1/257, palettes are resolved, transparent parts become black.

    Raises:
        PairError: When the file is missing, damaged, cut short or of more than `max_pixels`, which is looked at before
            decoding.
    """
    image = _open(path, "image", max_pixels)
    if image.mode in _SIXTEEN_BIT_MODES:
        grey = np.clip(np.asarray(image).astype(np.float64), 0, 65535)
        image = Image.fromarray(np.round(grey / 257).astype(np.uint8))
    elif image.mode == "F":
        raise PairError(f"undecodable image: {path.name} holds floating-point values, whose range is unknown")
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def read_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Read a mask as booleans, height × width, True = lesion.

    A pixel is lesion from half of the full range up: 253 of 255 counts, and JPEG noise around it does not matter. The
    full range is 1, 255 or 65535, the smallest that holds the highest value, so that masks of 0 and 1 work. In colour
    masks the brightest channel decides (a red lesion is as good as a white one); transparent pixels are background.

    Raises:
        PairError: When the file is missing, damaged or too large, or when its highest value is neither 1 nor in the
            upper half of a range, as in a map of label numbers.
    """
    mask = _open(path, "mask", max_pixels)
    if mask.mode not in ("1", "L", "F", "RGB", "RGBA", *_SIXTEEN_BIT_MODES):
        transparent = "A" in mask.getbands() or "transparency" in mask.info
        mask = mask.convert("RGBA" if transparent else "RGB")
    values = np.asarray(mask)
    if mask.mode == "RGBA":
        values = values[..., :3].max(axis=-1) * (values[..., 3].astype(np.float32) / 255)
    elif mask.mode == "RGB":
        values = values.max(axis=-1)
    highest = float(values.max(initial=0))
    full_range = next((top for top in (1, 255, 65535) if highest <= top), None)
    if full_range is None:
        raise PairError(f"undecodable mask: {path.name} has values up to {highest:g}, beyond 16 bits")
    if 0 < highest < full_range / 2:
        raise PairError(
            f"undecodable mask: the highest value in {path.name} is {highest:g}, below half of {full_range}: "
            "neither a mask of 0 and 1 nor of black and white"
        )
    lesion_HW: NDArray[np.bool_] = values >= full_range / 2
    return lesion_HW


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.bool_], text: Mapping[str, str] | None = None) -> bytes:
    """Encode RGB or grey uint8, or booleans (as 0 and 255), as PNG.

    Args:
        pixels: (H, W) or (H, W, 3).
        text: Notes to store beside the pixels, by keyword (1 to 79 Latin-1 characters).
    """
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    notes = PngInfo()
    for key, value in (text or {}).items():
        if key == XMP:  # readers expect it as uncompressed UTF-8
            notes.add_itxt(key, value)
        else:
            notes.add_text(key, value, zip=len(value) >= _LONG_TEXT)
    buffer = io.BytesIO()  # Pillow loses the errno of a full disk when it writes to the file itself
    # 9 % larger than level 4 in half the time
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=2, pnginfo=notes)
    return buffer.getvalue()


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.bool_], text: Mapping[str, str] | None = None) -> str:
    """Write a PNG file whole or not at all, and return the SHA-256 of its bytes; arguments as of `encode_png`."""
    data = encode_png(pixels, text)
    replace_file(path, data)
    return hash_bytes(data)


def read_png_text(path: Path) -> dict[str, str]:
    """The notes that a PNG file holds beside its pixels, by keyword; none in files of other kinds.

    Raises:
        PairError: When the file is missing, damaged, or no image.
    """
    info = _open(path, "image", MAX_PIXELS).info  # resolution and the like are in it as well, as numbers
    return {str(key): str(value) for key, value in info.items() if isinstance(value, str)}


def _open(path: Path, what: str, max_pixels: int) -> Image.Image:
    """Open and decode fully, so that damage shows here and not later."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                width, height = opened.size
                if width * height > max_pixels:
                    raise PairError(f"undecodable {what}: {path.name} claims {width}×{height} pixels, too many")
                opened.load()
                return ImageOps.exif_transpose(opened)
    except FileNotFoundError as error:
        raise PairError(f"missing {what}: {path}") from error
    except Image.DecompressionBombError as error:
        raise PairError(f"undecodable {what}: {path.name} claims far too many pixels") from error
    except _DECODING_ERRORS as error:
        detail = "not an image file" if isinstance(error, UnidentifiedImageError) else str(error)
        raise PairError(f"undecodable {what}: {path.name}: {detail}") from error
