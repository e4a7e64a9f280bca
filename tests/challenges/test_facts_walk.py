"""The walk of `solve facts`: what is true of the planted network by construction; the verdict."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from utils.__main__ import main
from utils.challenges import facts as walk
from utils.data import facts
from utils.editing import EditingError, compare, covariance, random_facts
from utils.models import zoo

TABLE = facts.table()


@pytest.fixture(scope="module")
def planted():
    return zoo.load("facts-planted")


@pytest.fixture(scope="module")
def solution():
    return walk.solve(edits=6)


def test_pairs_differ_in_the_person_alone_and_in_the_town():
    clean, swapped, towns = walk.pairs()
    differ = clean != swapped
    assert differ.any(0).tolist() == [False, False, True, False] and bool(differ[:, 2].all())
    who, what, _ = facts.parse(swapped)
    assert bool((TABLE[who, what] != towns).all()) and len(clean) > 150


def test_noise_hides_the_one_place_that_holds_the_facts_and_a_swap_finds_it(planted):
    noise, swap = (walk.traced(planted, how, samples=2) for how in ("noise", "swap"))
    place = "MLP 0 at the person"
    assert noise[place].high < 0.3 * noise["total"].low
    assert swap[place].low > 0.6 * swap["total"].high
    for name in ("attention 0 at the person", "MLP 1 at the end", "MLP 0 at the end"):
        assert noise[name].value == swap[name].value == 0
    assert abs(swap["attention 1 at the end"].value - swap["total"].value) < 0.01


def test_untouched_prompts_are_about_no_request():
    requests = random_facts(TABLE, 5, seed=2)
    who, what, _ = facts.parse(walk.untouched(requests))
    assert len(who) == 2 * (192 - 5)
    for request in requests:
        subject, relation, _ = facts.parse(request.contexts[:1])
        assert not bool(((who == subject) & (what == relation)).any())


def test_the_relation_left_out_is_in_no_prompt_that_the_search_sees():
    request = random_facts(TABLE, 1, seed=2)[0]
    told = walk.left_out(request)
    seen = set(facts.parse(told.protect)[1].tolist())
    hidden = set(facts.parse(told.kept["the third relation"])[1].tolist())
    assert len(seen) == 2 and len(hidden) == 1 and not seen & hidden
    assert set(facts.parse(told.kept["two protected relations"])[1].tolist()) == seen


def test_the_verdict_and_its_evidence(solution):
    assert solution.verdict == "the edit holds, with damage next door"
    assert len(solution.reasons) == 6 and set(solution.figures()) == {
        "edits-facts", "edits-facts-planted", "tracing-and-editing",
    }  # fmt: skip
    protected = solution.protected
    told = protected["two protected relations, told"].value
    assert told > protected["the third relation, told"].value + 0.3
    assert told > protected["two protected relations, not told"].value + 0.3


def test_edits_that_do_not_hold_or_do_no_harm_are_said_so(solution):
    none = {
        name: replace(c, hits={**c.hits, "rank-one edit": c.hits["no edit"]})
        for name, c in solution.compared.items()
    }
    rest = (solution.places, solution.protected, solution.sequences)
    assert walk.judge(none, *rest)[0] == "no reliable edit"

    def healed(edit):
        return {**edit, "other relations": torch.ones_like(edit["other relations"])}

    whole = {
        name: replace(c, hits={**c.hits, "rank-one edit": [healed(e) for e in c.hits["no edit"]]})
        for name, c in solution.compared.items()
    }
    for name, c in solution.compared.items():
        for new, edit in zip(whole[name].hits["rank-one edit"], c.hits["rank-one edit"],
                             strict=True):  # fmt: skip
            new.update({key: edit[key] for key in ("efficacy", "paraphrase")})
    assert walk.judge(whole, *rest)[0] == "the edit holds"


def test_a_site_where_nothing_arrives_cannot_be_edited(planted):
    site = walk.SITES["attention 0 at the end"]
    requests = random_facts(TABLE, 1)
    found = compare(planted, requests, site, covariance(planted, site, walk.prompts(1)),
                    methods=["rank-one edit"])  # fmt: skip
    assert found.estimate("rank-one edit", "efficacy").value in (0.0, 1.0)
    with pytest.raises(EditingError, match="belongs to"):
        compare(planted, requests, walk.SUBJECT_SITE, covariance(planted, site, walk.prompts(1)))


def test_the_command_prints_its_tables_and_writes_pictures(solution, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(walk, "solve", lambda step: solution)
    assert main(["solve", "facts", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert err == "" and shown["name"] == "facts" and len(shown["reasons"]) == 6
    assert set(shown["rows"]) == set(solution.reports)
    assert {"value", "low", "high", "n"} == set(shown["rows"]["edits, facts"]["efficacy"])
    assert len(shown["files"]) == 3
    for file in shown["files"]:
        assert Path(file).read_bytes().startswith(b"\x89PNG")
    assert main(["solve", "facts", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "VERDICT: " in text and "other relations: says what it said before" in text
    assert main(["solve", "facts", "--original"]) == 2
