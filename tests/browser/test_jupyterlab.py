"""Lesson 00 in a real JupyterLab, from the first cell to an exercise that passes."""

from __future__ import annotations

import json
import re

import pytest

from tests.browser.lab import ROOT, START, Notebook, answer_of, jupyter_lab

EXERCISE = "0.1"
WRONG = """\
def agreement(a: Tensor, b: Tensor) -> float:
    return (a != b).double().mean().item()


lab.check("0.1", agreement)"""


@pytest.fixture(scope="module")
def notebook(browser, tmp_path_factory):
    """Lesson 00, opened by README's command, with every cell run and no exercise solved."""
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        opened = Notebook(page, address)
        opened.run_all()
        yield opened
        page.close()


def test_a_fresh_notebook_runs_to_its_end(notebook):
    cells = json.loads((ROOT / START).read_text(encoding="utf-8"))["cells"]
    exercises = [c["metadata"]["exercise"] for c in cells if "exercise" in c["metadata"]]
    assert len(exercises) > 3
    for exercise in exercises:
        # the cell itself is there from the start; off screen its output has no text that is drawn
        assert "not attempted" in (notebook.result(exercise).text_content() or ""), exercise
    assert notebook.panel.locator(".jp-OutputArea-output img[alt]").count() > 0
    assert notebook.panel.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0


def test_a_wrong_answer_fails_and_a_right_one_passes(notebook):
    """In one test, because the second answer replaces the first in the same cell."""
    from playwright.sync_api import expect

    result = notebook.result(EXERCISE)
    notebook.answer(EXERCISE, WRONG)
    expect(result).to_have_text(re.compile("failed"))
    with pytest.raises(AssertionError):  # so what is awaited below can be missed
        expect(result).to_have_text(re.compile("passed"), timeout=1)
    notebook.answer(EXERCISE, answer_of(EXERCISE))
    expect(result).to_have_text(re.compile("passed"))
    typed = notebook.cell(EXERCISE).locator(".cm-content").inner_text()
    assert "==" in typed and "SOLUTION" not in typed


def test_instruments_move_in_the_notebook(notebook):
    """In their frames, where JupyterLab puts what a cell shows."""
    from playwright.sync_api import expect

    def shown(call, name):
        notebook.answer(EXERCISE, call)
        frame = f'iframe[data-instrument="{name}"]'
        notebook.cell(EXERCISE).locator(frame).scroll_into_view_if_needed()  # it loads only then
        return notebook.cell(EXERCISE).frame_locator(frame)

    frame = shown('lab.instrument("scrub")', "scrub")
    text = frame.locator("#claim-text")
    expect(text).to_contain_text("a2.h1: horizon")
    frame.get_by_label("a2.h1 tells both").check()
    expect(text).to_contain_text("a2.h1: both")

    frame = shown('lab.instrument("grid", mine=lambda a, b: (a + b) % 2)', "grid")
    count = frame.locator("#counts tr:first-child td").first
    before = count.inner_text()
    frame.locator("#formula").fill("a < 20")
    expect(count).not_to_have_text(before)

    frame = shown('lab.instrument("paint")', "paint")
    verdict = frame.locator("#verdict")
    frame.get_by_role("button", name="clear").click()
    expect(verdict).to_contain_text("Nothing is painted")
    frame.get_by_role("button", name="the planted trigger").click()
    expect(verdict).not_to_contain_text("Nothing is painted")


def test_a_server_that_does_not_come_up_is_said_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.browser.lab.START", "--no-such-option")
    with pytest.raises(RuntimeError, match="no-such-option"), jupyter_lab(tmp_path):
        pass
