"""`docs/bring_your_own_model.md`: its code runs as it stands there and prints what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from utils.scrubbing import HypothesisError, TransformerGraph, chain

PAGE = Path(__file__).resolve().parents[1] / "docs" / "bring_your_own_model.md"
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def page():
    """(language, content) of the page's blocks, in order."""
    return re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def ran(page, tmp_path_factory):
    """What the code leaves behind: its names, and what it printed.

    A file, since the judge measures a program by its source.
    """
    path = tmp_path_factory.mktemp("page") / "code.py"
    code = "\n\n".join(content for language, content in page if language == "python")
    path.write_text(code, encoding="utf-8")
    before = torch.get_num_threads()
    printed: list[str] = []
    try:
        names = runpy.run_path(
            str(path), {"print": lambda *words: printed.append(" ".join(map(str, words)))}
        )
    finally:
        torch.set_num_threads(before)
    return names, printed


def test_it_prints_what_the_page_shows(page, ran):
    shown = "".join(content for language, content in page if language == "text").splitlines()
    printed = iter(line.rstrip() for text in ran[1] for line in text.splitlines())
    for line, before in zip(shown, ["...", *shown], strict=False):
        if line != "...":
            found = (next(printed) if before != "..." else _the_next(line, printed)) or "the end"
            assert NUMBER.sub("#", found) == NUMBER.sub("#", line)
            # processors differ in the last digits
            assert _numbers(found) == pytest.approx(_numbers(line), abs=0.02), line


def _numbers(line):
    return [float(number) for number in NUMBER.findall(line)]


def _the_next(line, printed):
    """The first line from here that says the same, but for the numbers."""
    return next((one for one in printed if NUMBER.sub("#", one) == NUMBER.sub("#", line)), None)


def test_site_scrub_and_judge_take_twenty_lines(page):
    codes = [content for language, content in page if language == "python"]
    [short] = [code for code in codes if "boot_transformers(folder" in code]
    assert all(f"{call}(" in short for call in ("Site", "scrub", "judge"))
    assert len([line for line in short.splitlines() if line.strip()]) <= 20
    assert max(map(len, short.splitlines())) <= 100


def test_every_module_that_the_page_names_is_there():
    import importlib

    for name in set(re.findall(r"`(utils\.[\w.]+)", PAGE.read_text(encoding="utf-8"))):
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(module)
        if not hasattr(found, attribute):
            importlib.import_module(name)


def test_the_finer_graph_says_that_it_is_not_for_this_model(ran):
    with pytest.raises(HypothesisError, match="chain"):
        TransformerGraph(ran[0]["model"], ran[0]["texts"])


def test_a_chain_reads_the_logits_that_are_asked_about(ran):
    model, tokens, place = ran[0]["model"], ran[0]["texts"][:8], ran[0]["place"]
    graph = chain(model, [place.hook], tokens, read=lambda output: output[:, 2, :3])
    found = graph.clean(tokens, {"output": None}, {})[0]["output"]
    assert torch.allclose(found, model(tokens)[:, 2, :3], atol=1e-5)
    with pytest.raises(HypothesisError, match="bypasses"):
        chain(model, ["blocks.1.hook_attn_out"], tokens, read=lambda output: output[:, -1])
    assert place.read(model, tokens).shape == (8, 32)
