"""Searches on a network whose smallest trigger is known, and what is refused."""

import pytest
import torch

from tests.trojans.toys import PIXEL, TROJAN, Pixel
from utils.trojans import (
    Blend,
    Patch,
    TrojanError,
    anomaly_index,
    detect,
    hits,
    mass_inside,
    overlap,
    rediscover,
    search,
    share_of_median,
    transfer,
    verdict,
)
from utils.trojans.detect import VERDICTS, as_blend, elsewhere, smallest


@pytest.fixture(scope="module")
def images():
    torch.set_num_threads(1)
    return TROJAN.world.sample("train", 300, 5).inputs


@pytest.fixture(scope="module")
def found(images):
    return search(Pixel(), images, seed=0, compare_at=None, steps=150, batch=8)


def test_the_known_best_mask_is_found(found, images):
    """One pixel is enough for class 7, and no other class has so small a mask."""
    blend = found.blend(7)
    place = TROJAN.trigger.footprint()
    assert blend.mask.argmax() == PIXEL[0] * 16 + PIXEL[1]
    assert mass_inside(blend, place) > 0.5 and overlap(blend, place) == 1
    assert found.norms.argmin() == 7 and share_of_median(found.norms)[7] < 0.3
    assert hits(Pixel(), blend, images, 7) > 0.9 > 0.3 > hits(Pixel(lit=False), blend, images, 7)
    assert (found.steps == 150).all() and found.images == 150 * 8 * 10
    assert torch.equal(found.norms, found.final)


def test_all_classes_at_once_and_one_by_one_find_the_same(found, images):
    for c in (2, 7):
        alone = search(Pixel(), images, [c], seed=0, compare_at=None, steps=150, batch=8)
        assert torch.allclose(alone.masks[0], found.masks[c], atol=1e-3)


def test_classes_that_cannot_win_are_given_up_with_the_same_decision(found, images):
    quick = search(Pixel(), images, seed=0, compare_at=60, steps=150, batch=8)
    assert quick.norms.argmin() == 7 and quick.steps[7] == 150
    assert (quick.steps == 60).sum() >= 8 and quick.images < 0.6 * found.images
    assert torch.allclose(quick.masks[7], found.masks[7], atol=1e-3)
    # nobody has been given more steps by the time they are compared
    again = search(Pixel(), images, seed=0, compare_at=None, steps=60, batch=8)
    assert torch.allclose(quick.norms, again.norms)


def test_a_search_of_a_clean_network_ends_at_the_comparison(images):
    quick = search(Pixel(lit=False), images, seed=0, compare_at=60, steps=150, batch=8, keep=0.5)
    assert (quick.steps == 60).all() and share_of_median(quick.norms).min() > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"classes": [10]},
        {"classes": []},
        {"classes": [1, 1]},
        {"compare_at": 900},
        {"aim": 0.0},
        {"keep": 0.0},
    ],
)
def test_a_search_that_cannot_be_is_refused(images, options):
    with pytest.raises(TrojanError) as caught:
        search(Pixel(), images, **options)
    assert "\n" not in str(caught.value)


def test_the_index_is_robust_scale_free_and_signed():
    norms = torch.tensor([10.0, 11, 12, 13, 14, 15, 16, 17, 18, 2])
    index = anomaly_index(norms)
    assert index.argmax() == 9 and index[9] > 2 > index[:9].max()
    assert torch.allclose(anomaly_index(5 * norms + 3), index)
    assert anomaly_index(torch.tensor([1.0, 2, 30])).min() < -10
    normal = torch.randn(4001, generator=torch.Generator().manual_seed(0))
    assert anomaly_index(normal).std() == pytest.approx(1, abs=0.05), "the meaning of 1.4826"
    for bad in (torch.ones(2), torch.ones(3, 3), torch.tensor([1.0, 2, float("inf")])):
        with pytest.raises(TrojanError):
            anomaly_index(bad)


def test_blends_are_checked_and_blend():
    x = torch.rand(2, 1, 4, 4)
    half = Blend(torch.full((4, 4), 0.5), torch.ones(4, 4))
    assert torch.allclose(half.apply(x), 0.5 * x + 0.5)
    assert torch.equal(Blend(torch.zeros(4, 4), torch.ones(4, 4)).apply(x), x)
    assert half.footprint().all()
    for mask, pattern in (
        (torch.ones(4, 4) * 2, torch.ones(4, 4)),
        (torch.ones(4, 4), torch.ones(3, 3)),
        (torch.ones(4, 4), torch.ones(4, 4) * float("nan")),
    ):
        with pytest.raises(TrojanError):
            Blend(mask, pattern)
    with pytest.raises(TrojanError):
        half.apply(torch.zeros(1, 1, 5, 5))


def test_a_patch_is_a_blend_with_a_hard_mask():
    patch = Patch(torch.rand(2, 3), 4, 5)
    images = torch.rand(3, 1, 16, 16)
    assert torch.allclose(as_blend(patch).apply(images), patch.apply(images))


# --- detection and transfer ------------------------------------------------------------------


def test_detection_flags_the_planted_class_and_not_the_twin(images):
    result = detect(
        Pixel(), images, Pixel(lit=False), seeds=(0, 1), steps=100, compare_at=60, batch=8
    )
    assert result.flagged == 7
    report = result.report
    assert report["smallest mask, share of the median"].value < 0.5
    assert report["the same, clean twin"].value > 0.6
    assert report["seeds that flag a class"].value == 1
    assert report["the same, clean twin  "].value == 0
    assert result.best(7).mask.sum() == min(s.final[7] for s in result.searches)
    assert {row.role for row in report} == {"result", "control"}
    clean = detect(
        Pixel(lit=False), images, Pixel(lit=False), seeds=(0, 1), steps=60, compare_at=60, batch=8
    )
    assert clean.flagged is None
    with pytest.raises(TrojanError, match="two seeds"):
        detect(Pixel(), images, Pixel(), seeds=(0,))


def test_transfer_tells_rediscovery_from_natural_adversaries_and_failures(images):
    network, twin = Pixel(), Pixel(lit=False)
    ink = torch.zeros(16, 16)
    ink[:14, 7:12] = 1
    seven = Blend(ink, ink)  # a natural adversary: the ink of class 7
    place = torch.zeros(16, 16)
    place[PIXEL] = 1
    wide = torch.zeros(16, 16)
    wide[14:, :] = 1
    triggers = {
        VERDICTS[0]: (Blend(place, place), 7),
        VERDICTS[1]: (Blend(wide, place), 7),
        VERDICTS[3]: (seven, 7),
        VERDICTS[4]: (Blend(place, 0 * place), 7),
    }
    for expected, (trigger, target) in triggers.items():
        report = transfer(trigger, target, TROJAN, network, twin)
        assert verdict(report) == expected
    report = transfer(Blend(place, place), 7, TROJAN, network, twin)
    assert report["attack success"].value == 1 == report["the planted trigger"].value
    assert report["without any trigger"].value < 0.3
    assert report["mask inside the planted place"].value == 1
    assert report["mask inside, if spread evenly"].value == pytest.approx(1 / 256)
    assert verdict(transfer(seven, 7, TROJAN, twin, twin)) == VERDICTS[3]


def test_a_trigger_for_another_class_is_no_rediscovery():
    place = torch.zeros(16, 16)
    place[0, 0] = 1

    class Other(Pixel):
        def forward(self, images):
            bonus = torch.zeros(10)
            bonus[1] = 60  # the twin, which reads places of ink, hardly ever says 1
            return super().forward(images) + images[:, 0, 0, 0, None] * bonus

    found = Blend(place, place)
    report = transfer(found, 1, TROJAN, Other(), Pixel(lit=False))
    assert verdict(report) == VERDICTS[5]


def test_known_target_restarts_keep_the_smallest(images):
    best = rediscover(Pixel(), images, 7, restarts=2, steps=100, batch=8)
    each = [
        search(Pixel(), images, [7], compare_at=None, seed=s, steps=100, batch=8) for s in (0, 1)
    ]
    assert best.mask.sum() == min(s.final[0] for s in each)
    with pytest.raises(TrojanError):
        rediscover(Pixel(), images, 7, restarts=0)
    with pytest.raises(TrojanError, match="was not searched"):
        smallest(each, 3)


def test_a_moved_blend_is_as_large(found):
    blend = found.blend(7)
    other = elsewhere(blend, 0)
    assert other.mask.sum() == pytest.approx(blend.mask.sum().item())
    assert not torch.equal(other.mask, blend.mask)
