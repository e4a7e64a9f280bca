"""The walk through the bracket checker: the order of accounts, and that each part can fail."""

import pytest
import torch

from utils.challenges import brackets as walk
from utils.data import brackets
from utils.models import zoo
from utils.models.recipes import RECIPES
from utils.scrubbing import HypothesisError, TransformerGraph, scrub


@pytest.fixture(scope="module")
def checker():
    torch.set_num_threads(1)
    return zoo.load("brackets")


@pytest.fixture(scope="module")
def solution(checker):
    return walk.solve(checker, inputs=3000)


def test_the_checker_is_right_on_hard_negatives_too(checker):
    data = brackets.make(20_000, seed=77)
    with torch.no_grad():
        said = torch.cat([checker(rows)[:, 0].argmax(-1) for rows in data.tokens.split(2000)])
    right = (said.bool() == data.balanced).double()
    assert right.mean() >= 0.999
    for kind, name in enumerate(brackets.KINDS):
        assert right[data.kind == kind].mean() >= 0.99, name


def test_the_published_order_of_accounts_holds(solution):
    first, second, count, wrong = (
        solution.scrubbed[name].recovered
        for name in ("both ends", "both ends, refined", "count and horizon", "features swapped")
    )
    assert 0.85 <= first.value < second.value <= 0.97 and first.high < second.low
    assert count.high < first.low and wrong.high < count.low
    best = solution.scrubbed["both ends, refined"]
    assert best["recovered, random classes"].high < 0.5  # the null is far below ...
    assert best["recovered, label only"].low > second.high  # ... and the vacuous account above
    assert best["recovered, named parts exact"].low > second.high


def test_the_scores_move_with_the_share_of_balanced_strings(checker):
    def score(balanced):
        data = brackets.make(3000, seed=3, balanced=balanced)
        graph = TransformerGraph(checker, data.tokens, answer=0)
        return scrub(graph, walk.both_ends(), data.tokens, data.balanced, nulls=0).recovered

    few, many = score(0.2), score(0.6)
    assert few.high < many.low


def test_labels_cannot_tell_the_programs_apart_but_swaps_can(solution):
    agreement, swaps = solution.agreement, solution.necessity
    same = agreement["program = network"]
    assert same.value == agreement["count and horizon = network"].value > 0.999
    assert swaps["either swapped, should change"].low > 0.85
    assert swaps["either swapped, should change, other parts instead"].high < 0.4
    assert solution.verdict == "program and mechanism"


def test_an_untrained_checker_gets_no_mechanism():
    untrained = RECIPES["brackets"].build().eval().requires_grad_(False)
    try:
        result = walk.solve(untrained, inputs=600)
    except HypothesisError as error:
        assert "no loss to recover" in str(error)
    else:
        assert result.verdict == "labels only"


@pytest.mark.parametrize("spoil", ["program", "scrubbing", "swaps"])
def test_the_verdict_falls_with_each_kind_of_evidence(solution, spoil):
    agreement, scrubbed, swaps = solution.agreement, dict(solution.scrubbed), solution.necessity

    class Changed:
        def __init__(self, table, change):
            self.table, self.change = table, change

        def __getitem__(self, name):
            return self.change.get(name) or self.table[name]

    if spoil == "program":
        name = "program = network"
        agreement = Changed(agreement, {name: agreement["count test alone = network"]})
    elif spoil == "swaps":
        low = swaps["either swapped, should change, other parts instead"]
        swaps = Changed(swaps, {"either swapped, should change": low})
    else:
        scrubbed["both ends, refined"] = scrubbed["count and horizon"]
    verdict, _ = walk.judge(agreement, scrubbed, swaps)
    assert verdict == ("labels only" if spoil == "program" else "program")


def test_donors_differ_in_one_test_only():
    tests = walk.both_tests(brackets.make(500, seed=9).tokens)
    for column in (0, 1):
        donors = walk._donors(tests, column, torch.Generator().manual_seed(0))
        assert (tests[donors, column] != tests[:, column]).all()
        assert (tests[donors, 1 - column] == tests[:, 1 - column]).all()


def test_the_two_programs_are_one_function():
    tokens = brackets.make(20_000, seed=10).tokens
    assert torch.equal(walk.both_tests(tokens).all(1), brackets.is_balanced(tokens))
    assert not torch.equal(brackets.endings_test(tokens), brackets.count_test(tokens))
