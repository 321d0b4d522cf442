import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfvar.data import files, imageio
from lfvar.data.imageio import encode_png, read_image, read_mask, write_png
from lfvar.data.records import PairError


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def blob() -> np.ndarray:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:25, 20:50] = True
    return mask


def test_png_round_trip_is_exact(tmp_path, rgb, blob):
    write_png(tmp_path / "image.png", rgb)
    write_png(tmp_path / "mask.png", blob)
    assert np.array_equal(read_image(tmp_path / "image.png"), rgb)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), blob)
    assert np.asarray(Image.open(tmp_path / "mask.png")).max() == 255
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.png", "mask.png"]


def test_write_png_returns_the_hash_of_the_file(tmp_path, rgb):
    path = tmp_path / "image.png"
    assert write_png(path, rgb) == files.hash_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a, 1))],
)
def test_exif_orientation_is_applied(tmp_path, rgb, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(tmp_path / "image.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "image.png"), undo(rgb))


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path):
    grey = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    assert image.shape == (40, 60, 3)
    assert image.min() == 0
    assert image.max() == 255
    assert np.abs(image[..., 0] - grey / 257).max() <= 0.5


def test_palette_alpha_and_grey_become_rgb(tmp_path, rgb):
    Image.fromarray(rgb).quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (40, 60, 3)
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(rgb[..., :1], 3, axis=2))
    alpha = np.full((40, 60, 1), 255, dtype=np.uint8)
    alpha[:5] = 0
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "alpha.png")
    image = read_image(tmp_path / "alpha.png")
    assert np.array_equal(image[5:], rgb[5:])
    assert not image[:5].any()


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.97])
def test_truncated_jpeg_is_a_pair_error(tmp_path, rgb, kept):
    path = tmp_path / "image.jpg"
    Image.fromarray(rgb).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(PairError, match=r"undecodable image: image.jpg"):
        read_image(path)


def test_missing_text_and_folder_are_pair_errors(tmp_path):
    with pytest.raises(PairError, match="missing image"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(PairError, match="not an image file"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(PairError, match="undecodable mask"):
        read_mask(tmp_path)


@pytest.mark.parametrize("side", [10_500, 60_000])
def test_decompression_bomb_is_a_pair_error(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(PairError, match="too many"):
        read_image(tmp_path / "bomb.png")


def save_mask(blob: np.ndarray, kind: str, path: Path) -> None:
    grey = blob.astype(np.uint8)
    rgb = np.repeat(grey[..., None] * 255, 3, axis=2)
    if kind == "1-bit":
        Image.fromarray(grey * 255).convert("1").save(path)
    elif kind == "253":
        Image.fromarray(grey * 253).save(path)
    elif kind == "0/1":
        Image.fromarray(grey).save(path)
    elif kind == "16-bit":
        Image.fromarray(blob.astype(np.uint16) * 65535).save(path)
    elif kind == "16-bit holding 0/255":
        Image.fromarray(blob.astype(np.uint16) * 255).save(path)
    elif kind == "RGB":
        Image.fromarray(rgb).save(path)
    elif kind == "red":
        Image.fromarray(rgb * np.uint8([1, 0, 0])).save(path)
    elif kind == "RGBA":
        Image.fromarray(np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=2)).save(path)
    elif kind == "in the alpha channel":
        Image.fromarray(np.concatenate([np.full_like(rgb, 255), rgb[..., :1]], axis=2)).save(path)
    elif kind == "palette":
        Image.fromarray(rgb).quantize(2).save(path)


@pytest.mark.parametrize(
    "kind",
    ["1-bit", "253", "0/1", "16-bit", "16-bit holding 0/255", "RGB", "red", "RGBA", "in the alpha channel", "palette"],
)
def test_masks_of_all_kinds_read_alike(tmp_path, blob, kind):
    save_mask(blob, kind, tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, blob)


def test_mask_threshold_is_half_of_the_range(tmp_path):
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, False, True, True]]


def test_jpeg_noise_around_a_mask_is_ignored(tmp_path, blob):
    Image.fromarray(blob.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=70)
    assert np.array_equal(read_mask(tmp_path / "mask.jpg"), blob)


def test_label_numbers_are_not_a_mask(tmp_path, blob):
    Image.fromarray(blob.astype(np.uint8) * 7).save(tmp_path / "mask.png")
    with pytest.raises(PairError, match=r"highest value in mask\.png is 7"):
        read_mask(tmp_path / "mask.png")


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, rgb, monkeypatch):
    path = tmp_path / "image.png"
    write_png(path, rgb)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_png(path, 255 - rgb)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["image.png"]


def test_encoding_is_deterministic(rgb):
    assert encode_png(rgb) == encode_png(rgb.copy())
    assert imageio.encode_png(rgb) != imageio.encode_png(255 - rgb)
