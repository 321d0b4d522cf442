import numpy as np
import pytest
import torch
from torch import nn

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.segmenters import load_segmenter, one_lesion, segment_lesions
from lfvar.nn.segmenter import Segmenter, SegmenterConfig

CONFIG = SegmenterConfig(image_size=16, channels=8, channel_multipliers=(1, 2), head_channels=4)


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    net = Segmenter(CONFIG)
    checkpoint = {
        "lfvar": describe_checkpoint("segmenter", CONFIG),
        "state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
        "ema": {"weights": {name: torch.zeros_like(p) for name, p in net.named_parameters()}},
        "global_step": 7,
        "LesionDataModule": {"manifest_hash": "abc"},
    }
    torch.save(checkpoint, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_loads_average_or_last(path):
    loaded = load_segmenter(path)
    assert not loaded.net.training
    assert loaded.net.conv_out.weight.abs().sum() == 0
    assert (loaded.image_size, loaded.net.config) == (16, CONFIG)
    assert (loaded.about["step"], loaded.about["trained_on_manifest"], loaded.about["weights"]) == (7, "abc", "ema")
    assert len(loaded.about["sha256"]) == 64
    assert load_segmenter(str(path), weights="last").net.conv_out.weight.abs().sum() > 0


def test_other_files_are_named(tmp_path):
    with pytest.raises(ArtefactError, match="no checkpoint at"):
        load_segmenter(tmp_path / "absent.ckpt")
    torch.save({"lfvar": describe_checkpoint("vqvae", CONFIG)}, tmp_path / "other.ckpt")
    with pytest.raises(ArtefactError, match="holds a vqvae, not a segmenter"):
        load_segmenter(tmp_path / "other.ckpt")
    about = describe_checkpoint("segmenter", CONFIG)
    about["model"]["wings"] = 2
    torch.save({"lfvar": about, "state_dict": {}}, tmp_path / "future.ckpt")
    with pytest.raises(ArtefactError, match=r"segmenter that this lfvar does not know: .*wings"):
        load_segmenter(tmp_path / "future.ckpt")


def naive_one_lesion(prob_HW):
    """Flood fill by hand: pieces over corners, then the outside along the axes."""
    height, width = prob_HW.shape

    def flood(start, free, steps):
        seen, todo = {start}, [start]
        while todo:
            y, x = todo.pop()
            for dy, dx in steps:
                place = (y + dy, x + dx)
                if place not in seen and free(place):
                    seen.add(place)
                    todo.append(place)
        return seen

    inside = lambda p: 0 <= p[0] < height and 0 <= p[1] < width  # noqa: E731
    axes = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(prob_HW > 0.5), strict=True)}
    best, most = set(), 0.0
    while left:
        piece = flood(min(left), lambda p: inside(p) and prob_HW[p] > 0.5, axes + corners)
        left -= piece
        weight = sum(float(prob_HW[p]) for p in piece)
        if weight > most:
            best, most = piece, weight
    framed = lambda p: -1 <= p[0] <= height and -1 <= p[1] <= width  # noqa: E731
    outside = flood((-1, -1), lambda p: framed(p) and p not in best, axes)
    return np.array([[bool(best) and (y, x) not in outside for x in range(width)] for y in range(height)])


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_matches_the_naive_twin(share):
    generator = np.random.default_rng(0)
    for _ in range(20):
        prob_HW = generator.uniform(size=(9, 11)) ** (np.log(0.5) / np.log(1 - share))
        np.testing.assert_array_equal(one_lesion(prob_HW), naive_one_lesion(prob_HW))


def test_weight_decides_not_area():
    prob_HW = np.zeros((8, 8))
    prob_HW[0, :4] = 0.51  # four pixels, hardly believed: 2.04
    prob_HW[5, 5:8] = 0.99  # three, certain: 2.97
    assert one_lesion(prob_HW).sum() == 3
    assert one_lesion(prob_HW)[5, 5:8].all()


def test_holes_close_and_bays_stay():
    prob_HW = np.zeros((7, 7))
    prob_HW[1:6, 1:6] = 0.9
    prob_HW[3, 3] = 0.1
    assert one_lesion(prob_HW).sum() == 25
    prob_HW[3, 3:] = 0.1
    assert one_lesion(prob_HW).sum() == 22


class Channel(nn.Module):
    """Log-odds are the red channel, ten times."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(10.0))

    def forward(self, image_BCHW):
        return self.factor * image_BCHW[:, :1]


def test_images_to_masks():
    image_BCHW = torch.full((4, 3, 6, 6), -1.0)
    for index in range(3):  # the last one has no lesion
        image_BCHW[index, 0, 2 : 4 + index, 1:3] = 1
        image_BCHW[index, 0, 0, 5] = 1
    masks = segment_lesions(Channel(), image_BCHW, batch_size=3)
    assert masks.dtype == np.bool_
    assert masks.shape == (4, 6, 6)
    assert masks.sum(axis=(1, 2)).tolist() == [4, 6, 8, 0]
    assert not masks[:, 0, 5].any()
    assert segment_lesions(Channel(), image_BCHW[:0]).shape == (0, 6, 6)
