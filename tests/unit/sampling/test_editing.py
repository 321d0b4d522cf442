from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.var_examples import SIZES, tiny_tokenizer

from lfvar.nn.conditioning import Condition
from lfvar.nn.mask_pyramid import overlap_pyramid
from lfvar.nn.var import VAR
from lfvar.sampling.editing import EditConfig, Job, Sources, edit_batch
from lfvar.sampling.filling import fill_hole
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.skin import cover_with_skin


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer().net


@pytest.fixture(scope="module", params=[False, True], ids=["", "skin"])
def net(request):
    torch.manual_seed(3)
    net = VAR(replace(SIZES, skin_aware=request.param)).eval()
    for tensor in net.parameters():  # fresh heads predict nearly nothing: make logits differ
        torch.nn.init.normal_(tensor, std=0.15)
    return net


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def square(top, left, side=5):
    mask = np.zeros((16, 16), bool)
    mask[top : top + side, left : left + side] = True
    return mask


JOBS = [
    Job(0, image_HWC=picture(0), mask_HW=square(1, 1)),
    Job(1, image_HWC=picture(0), mask_HW=square(1, 1)),
    Job(2, image_HWC=picture(1), mask_HW=square(9, 8)),
    Job(3),
    Job(4, mask_HW=square(4, 4)),
]


def run(net, tokenizer, jobs, config=None, sources=None, **options):
    sources = sources or Sources(tokenizer, config or EditConfig())
    condition = Condition(torch.tensor([job.seed % 3 for job in jobs]))
    settings = {"guidance": Guidance(0.5), "filters": Filters(top_p=0.95)} | options
    return edit_batch(net, sources, jobs, condition, **settings)


def test_skin_keeps_its_bytes_and_the_lesion_changes(net, tokenizer):
    for job, result in zip(JOBS, run(net, tokenizer, JOBS), strict=True):
        assert result.image_HWC.shape == (16, 16, 3)
        assert result.ids_L.shape == (21,)
        if job.image_HWC is None:
            assert np.array_equal(result.image_HWC, result.raw_HWC)
            continue
        outside = ~job.mask_HW
        assert np.array_equal(result.image_HWC[outside], job.image_HWC[outside])
        assert not np.array_equal(result.raw_HWC[outside], job.image_HWC[outside])
        assert (result.image_HWC != job.image_HWC)[job.mask_HW].mean() > 0.5


def test_a_result_depends_on_its_own_job_alone(net, tokenizer):
    """Per-sample masks and noise: alone, together, and in another order give the same ids and the same bytes."""
    together = run(net, tokenizer, JOBS)
    order = [3, 0, 4, 2, 1]
    mixed = run(net, tokenizer, [JOBS[index] for index in order])
    for place, index in enumerate(order):
        alone = run(net, tokenizer, JOBS[index : index + 1])[0]
        for other in (mixed[place], alone):
            assert np.array_equal(other.ids_L, together[index].ids_L)
            assert np.array_equal(other.image_HWC, together[index].image_HWC)
    assert not np.array_equal(together[0].ids_L, together[1].ids_L)  # another seed


def test_tokens_outside_are_the_sources_own(net, tokenizer):
    config = EditConfig(ring=0, fill=False, requantise=False)
    result = run(net, tokenizer, JOBS[2:3], config)[0]
    own = torch.cat(tokenizer.encode_ids(torch.from_numpy(picture(1)).permute(2, 0, 1)[None] / 127.5 - 1), dim=1)[0]
    mask = torch.from_numpy(JOBS[2].mask_HW)[None, None].float()
    painted = torch.cat(overlap_pyramid(mask, tokenizer.schedule), dim=1)[0]
    assert np.array_equal(result.ids_L[~painted], own[~painted])
    assert not np.array_equal(result.ids_L[painted], own[painted])


def test_filling_hides_the_old_lesion(tokenizer):
    """Two sources that differ inside the mask alone are kept alike with filling, and differ without."""
    mask = square(5, 5, 6)
    one = np.full((16, 16, 3), 180, np.uint8)
    other = one.copy()
    other[mask] = (60, 10, 10)
    for fill, same in ((True, True), (False, False)):
        sources = Sources(tokenizer, EditConfig(fill=fill, ring=0))
        kept = [sources.encoded(Job(0, image_HWC=image, mask_HW=mask)).kept for image in (one, other)]
        assert torch.allclose(kept[0].features_BChw, kept[1].features_BChw, atol=1e-5) is same
    assert sources.num_encoded == 2


def test_forced_scales_are_the_sources_own(net, tokenizer):
    """Of the lesion as it is without filling, of bare skin with it."""
    job = Job(0, image_HWC=picture(2), mask_HW=square(5, 5, 6))
    image = torch.from_numpy(picture(2)).permute(2, 0, 1)[None] / 127.5 - 1
    mask = torch.from_numpy(job.mask_HW)[None, None]
    for fill in (False, True):
        own = tokenizer.encode_ids(fill_hole(image, mask, round(0.1 * 16)) if fill else image)
        settings = {"fill": fill, "fill_margin": 0.1}
        some = run(net, tokenizer, [job], EditConfig(num_kept_scales=2, **settings))[0]
        assert some.ids_L[:5].tolist() == torch.cat(own[:2], dim=1)[0].tolist()
        assert some.ids_L[5:].tolist() != own[2][0].tolist()
        everything = run(net, tokenizer, [job], EditConfig(num_kept_scales=9, **settings))[0]
        assert everything.ids_L.tolist() == torch.cat(own, dim=1)[0].tolist()


def test_a_net_that_looks_at_skin_is_told_that_of_the_source(tokenizer):
    """Two skins around one mask, no token kept: what is painted differs by what is told alone."""
    torch.manual_seed(3)
    net = VAR(replace(SIZES, skin_aware=True)).eval()
    for tensor in net.parameters():
        torch.nn.init.normal_(tensor, std=0.15)
    torch.nn.init.normal_(net.conditioning.skin.weight, std=3.0)  # features of this tokenizer are small
    mask = square(2, 2, 12)
    for told, same in ((True, False), (False, True)):
        config = EditConfig(tell_skin=told, ring=4)  # the ring covers what the mask leaves
        jobs = [Job(0, image_HWC=picture(seed), mask_HW=mask) for seed in (7, 8)]
        one, other = (run(net, tokenizer, [job], config)[0].ids_L for job in jobs)
        assert np.array_equal(one, other) is same


def test_one_source_is_encoded_once(net, tokenizer):
    sources = Sources(tokenizer, EditConfig(), capacity=1)
    run(net, tokenizer, JOBS[:2], sources=sources)
    assert sources.num_encoded == 1
    run(net, tokenizer, JOBS[2:], sources=sources)
    assert sources.num_encoded == 2
    run(net, tokenizer, JOBS[:1], sources=sources)  # forgotten meanwhile
    assert sources.num_encoded == 3


def test_what_is_erased_is_painted_too(net, tokenizer):
    job = Job(0, image_HWC=picture(5), mask_HW=square(1, 1, 4), erase_HW=square(8, 8, 6))
    result = run(net, tokenizer, [job])[0]
    changed = (result.image_HWC != job.image_HWC).any(axis=-1)
    assert not changed[~(job.mask_HW | job.erase_HW)].any()
    assert changed[job.erase_HW].mean() > 0.5
    assert np.array_equal(result.mask_HW, job.mask_HW)
    uncovered = run(net, tokenizer, [job], EditConfig(cover=False))[0]
    assert np.array_equal(uncovered.raw_HWC, result.raw_HWC)
    assert (uncovered.image_HWC != result.image_HWC).any()
    # the old lesion is covered with skin of the source, not with what was painted
    skin = cover_with_skin(job.image_HWC, job.painted)
    bare = job.erase_HW & ~job.mask_HW
    assert np.array_equal(result.image_HWC[bare], skin[bare])


@pytest.mark.parametrize(
    "config",
    [
        EditConfig(fill=False),
        EditConfig(requantise=False),
        EditConfig(published_masks=True),
        EditConfig(ring=0, num_kept_scales=1),
        EditConfig(composite=False),
        EditConfig(match_skin=True),
    ],
)
def test_every_measure_can_be_switched_off(net, tokenizer, config):
    full, less = run(net, tokenizer, JOBS), run(net, tokenizer, JOBS, config)
    assert any(not np.array_equal(a.image_HWC, b.image_HWC) for a, b in zip(full, less, strict=True))
    assert np.array_equal(full[3].ids_L, less[3].ids_L)  # whole images have no source to keep
    for job, result in zip(JOBS, less, strict=True):
        if job.image_HWC is not None:
            same = np.array_equal(result.image_HWC[~job.mask_HW], job.image_HWC[~job.mask_HW])
            assert same is config.composite


def test_a_lesion_that_covers_everything(net, tokenizer):
    job = Job(0, image_HWC=picture(6), mask_HW=np.ones((16, 16), bool))
    new = Job(0)
    edited, whole = run(net, tokenizer, [job, new])
    assert np.array_equal(edited.image_HWC, whole.image_HWC)  # nothing is kept


def test_bf16_still_keeps_the_skin(net, tokenizer):
    results = run(net, tokenizer, JOBS, bf16=True)
    for job, result in zip(JOBS, results, strict=True):
        if job.image_HWC is not None:
            assert np.array_equal(result.image_HWC[~job.mask_HW], job.image_HWC[~job.mask_HW])


def test_the_mask_that_is_told_is_larger_by_a_share_of_the_side():
    job = Job(0, image_HWC=picture(1), mask_HW=square(6, 6, 3))
    told = job.overpainted(2 / 16)
    assert np.array_equal(job.mask_HW, square(6, 6, 3))
    assert told.mask_HW[square(5, 5, 5)].all()
    assert told.mask_HW.sum() > 25
    assert not told.mask_HW[~square(4, 4, 7)].any()
    assert job.overpainted(0) is job
    assert Job(0, mask_HW=square(6, 6, 3)).overpainted(0.2).mask_HW.sum() == 9  # a whole new image gets what was asked


def test_nonsense_is_refused():
    for wrong in ({"ring": -1}, {"num_kept_scales": -1}, {"feather": 0.7}, {"fill_margin": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EditConfig(**wrong)
