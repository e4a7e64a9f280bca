"""The instruments in a browser: each control moved, and the right number changes."""

from __future__ import annotations

import re

import pytest

from tests.browser.chromium import PATIENCE
from utils.instruments import NAMES, grid, instrument, paint, scrub

WAIT = PATIENCE * 1000  # milliseconds


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instruments")
    for name in NAMES:
        (folder / f"{name}.html").write_text(instrument(name).document, encoding="utf-8")
    return folder


@pytest.fixture
def visit(browser, files):
    """Opens an instrument; afterwards nothing may have been said on the console."""
    said, contexts = [], []

    def opened(name, width=1100, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme,
            java_script_enabled=scripts,
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if "file:" not in request.url
                and "data:" not in request.url else None)  # fmt: skip
        page.goto((files / f"{name}.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def expect(page, selector, pattern):
    """Waits until the text of an element matches, and returns it."""
    found = page.locator(selector).filter(has_text=re.compile(pattern))
    found.first.wait_for(timeout=WAIT)
    return found.first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_telephone(visit, name, scheme):
    page = visit(name, width=360, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("name", NAMES)
def test_without_scripts_the_words_and_numbers_are_there(visit, name):
    page = visit(name, scripts=False)
    assert page.locator(".instrument").is_hidden()
    assert page.locator("details.twin table").is_visible()
    assert instrument(name).sentence in page.locator("details.twin").inner_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_page_around_it_may_choose_the_theme(visit, name):
    page = visit(name)
    page.evaluate("postMessage({theme: 'dark'}, '*')")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground != "rgb(255, 255, 255)"


def test_hypotheses_are_counted(visit):
    page, its = visit("grid"), grid.case()
    first = "#counts tr:first-child td >> nth=0"
    for preset in grid.PRESETS:
        page.locator("#preset").select_option(label=preset.name)
        share = grid.agreements(grid.cells_of(preset, its)[0], its)[0]
        expect(page, first, f"^{100 * share.value:.1f} %")
    page.locator("#formula").fill("(a + b) % 2 == 0")
    odd = next(p for p in grid.PRESETS if p.name == "odd sum")
    share = grid.agreements(1 - grid.cells_of(odd, its)[0], its)[0]
    expect(page, first, f"^{100 * share.value:.1f} %")
    page.locator("#formula").fill("a +")
    expect(page, "#fault", "too early")
    expect(page, first, f"^{100 * share.value:.1f} %")  # the last one that was understood


def test_cells_rows_and_brush(visit):
    page, its = visit("grid"), grid.case()
    plane = page.locator("#plane")
    box = plane.bounding_box()
    step = box["width"] / 113

    def at(a, b):
        return {"x": (b + 0.5) * step, "y": (a + 0.5) * step}

    plane.click(position=at(20, 30))
    text = expect(page, "#cell", "^a 20, b 30:")
    assert f"label {int(its.labels[20, 30])}, network {int(its.answers[20, 30])}" in text
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page, "#cell", "^a 21, b 31:")
    changes = (its.labels[21, 1:] != its.labels[21, :-1]).nonzero()[:, 0] + 1
    wanted = f"at {', '.join(map(str, changes.tolist()))}" if len(changes) else "nowhere"
    assert f"Row a = 21 changes: labels {wanted};" in page.locator("#row-text").inner_text()
    plane.drag_to(plane, source_position=at(10, 20), target_position=at(14, 29))
    inside = ~its.seen[10:15, 20:30]
    right = (its.answers == its.labels)[10:15, 20:30][inside].sum()
    text = expect(page, "#brush", "^Rows 10 to 14, columns 20 to 29: 50 pairs")
    assert f"{int(inside.sum())} held out; of these the network has {int(right)} right" in text
    plane.focus()
    page.keyboard.press("Escape")
    expect(page, "#brush", "^Pair a 14, b 29")
    page.get_by_text("network ≠ labels", exact=True).click()
    expect(page, "#legend", "the network errs")


def test_a_learner_s_labels_come_first(browser, tmp_path):
    made = instrument("grid", mine=lambda a, b: a > b)
    (tmp_path / "mine.html").write_text(made.document, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "mine.html").as_uri())
    share = made.table[0]["= network, held-out"].split(" %")[0]
    expect(page, "#counts tr:first-child td >> nth=0", f"^{share} %")
    assert page.locator("#formula").input_value() == "mine"
    page.close()


def test_claims_are_looked_up(visit):
    page = visit("scrub")
    chosen = list(scrub.accounts()["both ends"])

    def shown():
        kept = scrub.stored(tuple(chosen))
        text = expect(page, "#claim-text", f"{kept['recovered'][0]:.3f} of the loss")
        numbers = page.locator("#numbers td").all_inner_texts()
        for k, key in enumerate(("recovered", "random", "label", "exact")):
            value, low, high = kept[key]
            assert numbers[2 * k : 2 * k + 2] == [f"{value:.3f}", f"{low:.3f} to {high:.3f}"]
        return text

    shown()
    page.get_by_label("a2.h1 tells both").check()
    chosen[4] = "both"
    assert "a2.h1: both" in shown()
    page.get_by_label("m0: nothing claimed").check()
    chosen[1] = "none"
    assert "m0" not in shown()
    page.keyboard.press("ArrowRight")  # radios move with the arrow keys
    chosen[1] = "horizon"
    assert "m0: horizon" in shown()
    assert page.locator("#tried tr").count() == 4
    page.locator("#preset").select_option(label="count and horizon")
    chosen[:] = scrub.accounts()["count and horizon"]
    shown()
    better = sum(
        scrub.stored(claim)["recovered"][0] > scrub.stored(tuple(chosen))["recovered"][0] + 5e-4
        for claim in scrub.every_claim()
    )
    assert f"{better:,} recover more" in page.locator("#rank").inner_text()


def test_painted_triggers_are_tried(visit):
    page = visit("paint")
    share = "#rates tbody tr:nth-child({}) td >> nth=0"
    for name in ("solid", "matched", "inverted"):
        page.locator("#trojan").select_option(label=name)
        page.locator("#show").click()
        own, twin, none = paint.rates(name, paint.planted(paint.TROJANS[name]))
        for row, rate in ((1, own), (2, twin), (3, none)):
            expect(page, share.format(row), f"^{100 * rate.value:.1f} %")
        expect(page, "#verdict", "on this network alone")
    page.locator("#clear").click()
    expect(page, "#where", "^0 pixels")
    expect(page, "#verdict", "Nothing is painted")
    page.locator("#board").focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    expect(page, "#where", "^2 pixels")
    page.keyboard.press("Delete")
    expect(page, "#where", "^1 pixels")
    page.get_by_label("move right").click()
    page.get_by_label("move right").click()
    expect(page, "#where", "^0 pixels")  # it was moved off the edge
    board = page.locator("#board")
    box = board.bounding_box()
    pixel = box["width"] / 16
    board.drag_to(
        board, source_position={"x": 2.5 * pixel, "y": 3.5 * pixel},
        target_position={"x": 6.5 * pixel, "y": 3.5 * pixel},
    )  # fmt: skip
    expect(page, "#where", r"^[2-5] pixels")
    page.locator("#target").select_option("3")
    expect(page, "#verdict", "land in class 3")
