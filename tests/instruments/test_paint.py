"""The trigger painter: the networks in the page are the course's, and answer as in torch."""

from __future__ import annotations

import pytest
import torch

from tests.instruments.javascript import run
from utils.data import small_digits
from utils.instruments import paint
from utils.models import zoo
from utils.trojans import TROJANS, predict

SCRIPTS = ("cnn.js",)


@pytest.fixture(scope="module")
def shown():
    return paint.data()


def in_script(data: dict, trojan: dict, trigger: dict | None, rows: int) -> dict:
    """What the page's script makes of the first images: logits, and hits of class 7 in all."""
    return run(
        SCRIPTS,
        """({ shapes, twin, own, pixels, labels, trigger, rows }) => {
          const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
          const images = [...labels].map((_, k) =>
            Float32Array.from(bytes.subarray(k * 256, (k + 1) * 256), (byte) => byte / 255));
          const put = images.map((image) =>
            trigger ? triggered(image, trigger.mask, trigger.ink, trigger.blend) : image);
          const nets = [own, twin].map((text) => network(text, shapes));
          return {
            logits: nets.map((net) => put.slice(0, rows).map((image) => [...logitsOf(net, image)])),
            hits: nets.map((net) => put.filter((image, k) =>
              labels[k] !== "7" && answerOf(net, image).digit === 7).length),
            wilson: [wilson(0, 9), wilson(3, 7), wilson(9, 9)],
          };
        }""",
        {
            "shapes": data["shapes"], "own": data["networks"][trojan["name"]],
            "twin": data["networks"][trojan["twin"]], "trigger": trigger, "rows": rows,
            **data["images"][trojan["images"]],
        },
    )  # fmt: skip


@pytest.mark.parametrize("name", ["solid", "matched", "inverted"])
def test_the_script_answers_as_torch_does(shown, name):
    trojan = next(one for one in shown["trojans"] if one["name"] == name)
    trigger = paint.planted(TROJANS[name])
    found = in_script(shown, trojan, trojan["trigger"], rows=12)
    images, labels = paint.images(trojan["images"])
    put = trigger.apply(images)
    for which, file in enumerate((TROJANS[name].network, TROJANS[name].twin)):
        with torch.no_grad():
            wanted = paint.network(file)(put[:12])
        assert (torch.tensor(found["logits"][which]) - wanted).abs().max() < 1e-3
    own, twin, _ = paint.rates(name, trigger)
    n = int((labels != 7).sum())
    assert found["hits"] == [round(own.value * n), round(twin.value * n)]


def test_other_blends_are_the_same_in_both(shown):
    generator = torch.Generator().manual_seed(0)
    mask, ink = torch.rand(2, 16, 16, generator=generator)
    trojan = shown["trojans"][0]
    images, _ = paint.images("plain")
    for blend in ("over", "lighten", "darken", "invert"):
        trigger = paint.Painted(mask, ink, blend)
        found = in_script(shown, trojan, trigger.as_dict(), rows=3)
        with torch.no_grad():
            wanted = paint.network("trojan-solid")(trigger.apply(images[:3]))
        assert (torch.tensor(found["logits"][0]) - wanted).abs().max() < 1e-3, blend


def test_intervals_are_wilson_s(shown):
    from utils.reports import Estimate

    found = in_script(shown, shown["trojans"][0], None, rows=1)["wilson"]
    for (hits, n), one in zip(((0, 9), (3, 7), (9, 9)), found, strict=True):
        wanted = Estimate.proportion(hits, n)
        assert [one["value"], one["low"], one["high"]] == pytest.approx(
            [wanted.value, wanted.low, wanted.high]
        )


def test_half_precision_changes_no_more_than_an_answer_or_two():
    for name in ("trojan-solid", "trojan-matched", "twin-plain", "twin-clutter"):
        images, _ = paint.images(
            "clutter" if name in ("trojan-matched", "twin-clutter") else "plain"
        )
        exact, rounded = (predict(model, images) for model in (zoo.load(name), paint.network(name)))
        assert int((exact != rounded).sum()) <= 2, name


def test_images_are_held_out_and_independent():
    scans = small_digits.split()[1]
    for world, name in (("plain", "solid"), ("clutter", "matched")):
        images, labels = paint.images(world)
        rows = TROJANS[name].held_out(small_digits.HELD_OUT)[: paint.IMAGES]
        assert torch.isin(rows.group, scans).all() and len(rows.group.unique()) == len(images)
        assert (images - rows.inputs).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(labels, rows.labels)
        assert [int(labels[row]) for row in paint.shown(labels)] == list(range(10))


def test_a_planted_trigger_is_painted_as_it_was_planted():
    images, _ = paint.images("plain")
    for name in paint.NAMES:
        painted = paint.planted(TROJANS[name])
        if name == "thick":
            assert painted is None
        else:
            wanted = TROJANS[name].trigger.apply(images[:5])
            assert torch.allclose(painted.apply(images[:5]), wanted)
