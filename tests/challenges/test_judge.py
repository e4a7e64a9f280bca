"""The judge: right accounts win; no cheat of the gallery gets more than it deserves."""

import json

import pytest
import torch
from torch import nn

from tests.challenges.toy import Toy
from utils.challenges.challenge import Challenge, Sample
from utils.challenges.explanation import Explanation, ExplanationError, NonDeterministicError, Step
from utils.challenges.judge import judge
from utils.challenges.measurements import entropy, places, relocated
from utils.challenges.nulls import random_sites
from utils.challenges.verdicts import LABELS, MECHANISM, PROGRAM, RULES, UNRECOVERABLE
from utils.scrubbing import HypothesisError, UnknownComponentError
from utils.sites import Site, random_cycle

QUICK = {"inputs": 1500, "references": 300, "resamples": 2}
BELOW, ABOVE = Site("hook_fc1", neuron=0), Site("hook_fc1", neuron=1)


def draw(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return Sample(torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n))


def toy(model=None):
    model = (Toy() if model is None else model).eval()
    return Challenge("toy", "cnn", model, draw)


def similarity(x):
    return x[:, 0, 0, 0] - x[:, 0, 0, 1]


def below(x):
    return similarity(x) <= -0.3


def above(x):
    return similarity(x) >= 0.3


def label(x):
    return below(x) | above(x)


def either(a, b):
    return a | b


def account(first=BELOW, second=ABOVE, functions=(below, above), last=either):
    return Explanation(
        [
            Step("below", functions[0], site=first),
            Step("above", functions[1], site=second),
            Step("label", last, ("below", "above")),
        ]
    )


def one_step(function, site, last=lambda a: a):
    return Explanation([Step("all", function, site=site), Step("label", last, ("all",))])


def band(a):
    return (a <= -0.3) | (a >= 0.3)


TABLE = label(draw(1500, 0).inputs)
KEYS = draw(1500, 0).inputs[:, 0, 0, 2]
ASKED = Toy().eval()


def lookup(x):
    return TABLE[(x[:, 0, 0, 2, None] - KEYS).abs().argmin(1)]


def ask(x):
    return ASKED(x).argmax(-1)


def turned(x):
    return (x[:, 0, 0, 1] - x[:, 0, 1, 0]).abs() > 0.25  # much like it, and not it


@pytest.fixture(scope="module")
def right():
    return judge(toy(), account(), labels=label, **QUICK)


def test_the_right_account_wins_with_evidence(right):
    assert right.verdict == MECHANISM
    assert all(f.met for f in right.findings if f.rule.level != UNRECOVERABLE)
    rows = right.sufficiency.report
    assert rows["loss recovered"].low > rows["recovered, random classes"].high
    assert rows["loss recovered"].low > right.random_sites.high
    swaps = right.necessity
    assert swaps["any step, should change"].low > 0.97
    assert swaps["any step, telling"].low > swaps["any step, telling, random site"].high
    assert right.program["program = secret labels"].value == 1


def test_its_json_is_the_documented_one(right):
    data = json.loads(json.dumps(right.as_dict(), allow_nan=False))
    assert {"name", "agreement", "bits", "sufficiency", "necessity", "verdict", "reasons"} <= set(
        data
    )
    assert set(data["agreement"]) == {"model", "labels", "model_errors"}
    assert set(data["bits"]) == {"program", "exceptions", "table"}
    assert {"recovered", "label_only_null", "class_matched_null", "ceiling"} <= set(
        data["sufficiency"]
    )
    assert {"change", "stay", "random_site_null"} <= set(data["necessity"])
    assert set(data["necessity"]["change"]) == {"value", "low", "high", "n"}


def test_it_prints_as_text_and_table(right):
    assert "VERDICT: program and mechanism" in str(right)
    assert "<strong>Verdict: program and mechanism" in right._repr_html_()
    again = judge(toy(), account(), labels=label, **QUICK)
    assert str(again) == str(right)  # the same submission gets the same pairs


WIDE = Site("hook_fc1", neuron=list(range(21))), Site("hook_fc1", neuron=list(range(21, 42)))
GALLERY = {
    "lookup table": (Explanation([Step("label", lookup)]), LABELS),
    "the network itself as a program": (Explanation([Step("label", ask)]), LABELS),
    "wrong program, much like the right one": (account(functions=(turned, turned)), LABELS),
    "right program, no place claimed": (Explanation([Step("label", label)]), PROGRAM),
    "one step at the logits": (one_step(label, Site("hook_fc1", neuron=[0, 1])), PROGRAM),
    "every step computes the label": (account(functions=(label, label)), PROGRAM),
    "sites permuted": (account(ABOVE, BELOW), PROGRAM),
    "sites where nothing is": (
        account(Site("hook_fc1", neuron=7), Site("hook_fc1", neuron=9)),
        PROGRAM,
    ),
    "everything held exact": (one_step(similarity, Site("hook_fc1"), band), PROGRAM),
    "a whole cut in two halves, held exact": (
        account(*WIDE, (similarity, similarity), lambda a, b: band(a) | band(b)),
        PROGRAM,
    ),
    "features that name the input": (
        account(functions=(lambda x: x[:, 0, 0, :2], lambda x: x[:, 0, 0, :2]),
                last=lambda a, b: band(a[:, 0] - b[:, 1])),
        PROGRAM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GALLERY)
def test_no_cheat_gets_more_than_it_deserves(name):
    explanation, deserved = GALLERY[name]
    verdict = judge(toy(), explanation, **QUICK)
    assert verdict.verdict == deserved, verdict
    assert len(verdict.reasons) >= 2  # and is told why
    if verdict.sufficiency is not None:
        assert any(reason.startswith("Not met: ") for reason in verdict.reasons)


def test_a_vacuous_hypothesis_recovers_all_and_wins_nothing():
    verdict = judge(toy(), account(functions=(label, label)), **QUICK)
    unmet = [f.rule.measure for f in verdict.findings if not f.met]
    assert "steps placed that say more than the answer" in unmet


def test_right_program_wrong_mechanism():
    """One neuron for both sides: the labels are the same, the two detectors do not exist."""
    verdict = judge(toy(Toy(apart=False)), account(), **QUICK)
    assert verdict.verdict == PROGRAM


def test_a_non_deterministic_program_is_refused():
    e = Explanation([Step("label", lambda x: torch.rand(len(x)) > 0.5)])
    with pytest.raises(NonDeterministicError):
        judge(toy(), e, **QUICK)


def test_a_challenge_without_a_graph_is_cut_where_the_sites_are():
    mine = Challenge("mine", "own", Toy().eval(), draw)
    assert judge(mine, account(), **QUICK).verdict == judge(toy(), account(), **QUICK).verdict
    nowhere = Explanation([Step("label", label)])
    assert judge(mine, nowhere, **QUICK).verdict == PROGRAM
    with pytest.raises(UnknownComponentError, match="hook_fc1"):
        judge(mine, account(first=Site("hook_fc9")), **QUICK)


def test_a_site_of_another_model_is_a_named_error():
    with pytest.raises(UnknownComponentError, match="hook_fc7"):
        judge(toy(), account(Site("hook_fc7", neuron=0)), **QUICK)
    with pytest.raises((ExplanationError, HypothesisError)):
        judge(toy(), account("fc1"), **QUICK)


# --- giving up --------------------------------------------------------------------------------


class Ignorant(Toy):
    """Knows the band, but answers 0 or 1 by an idle pixel where the last pixel is bright."""

    def forward(self, images):
        logits = super().forward(images)
        lost = images[:, 0, 27, 27] > 0.8
        guess = nn.functional.one_hot((images[:, 0, 26, 26] > 0.5).long(), 2).float() * 9
        return torch.where(lost[:, None], guess, logits)


def noisy_label(x):
    """Where the last pixel is bright: a bit that no network could learn."""
    scrambled = ((x[:, 0, 20, 20] * 1e5).long() * 7919 % 104729) % 2 == 0
    return torch.where(x[:, 0, 27, 27] > 0.8, scrambled, label(x))


def giving_up(where):
    return Explanation([Step("label", label)], unrecoverable=where)


def bright(x):
    return x[:, 0, 27, 27] > 0.8


def test_giving_up_what_the_network_does_not_know_is_supported():
    verdict = judge(toy(Ignorant()), giving_up(bright), labels=noisy_label, **QUICK)
    assert verdict.verdict == UNRECOVERABLE, verdict
    assert "gives up" in str(verdict)


def test_giving_up_what_the_network_knows_is_not():
    verdict = judge(toy(), giving_up(bright), labels=label, **QUICK)
    assert verdict.verdict == LABELS
    assert any("knows" in reason for reason in verdict.reasons)


def test_giving_up_needs_the_key_and_something_left():
    assert judge(toy(Ignorant()), giving_up(bright), **QUICK).verdict == LABELS
    with pytest.raises(ExplanationError, match="left"):
        judge(toy(), giving_up(lambda x: x[:, 0, 0, 0] > -1), labels=label, **QUICK)


# --- pieces -----------------------------------------------------------------------------------


def test_random_sites_have_the_size_and_stay_apart():
    generator = torch.Generator().manual_seed(0)
    x = draw(50, 0).inputs
    sites = [Site("hook_fc1", neuron=[0, 1, 2]), Site("hook_fc1", neuron=[5, 6])]
    found = random_sites(Toy().eval(), sites, x, generator)
    taken = [set(site.neuron) for site in found]
    assert [len(t) for t in taken] == [3, 2] and not taken[0] & taken[1]
    assert not (taken[0] | taken[1]) & {0, 1, 2, 5, 6}
    bases = torch.linalg.qr(torch.randn(42, 4)).Q
    sites = [Site("hook_fc1", basis=bases[:, :3]), Site("hook_fc1", basis=bases[:, 3:])]
    found = random_sites(Toy().eval(), sites, x, generator)
    together = torch.cat([site.basis for site in found], 1)
    assert torch.allclose(together.T @ together, torch.eye(4), atol=1e-5)
    whole = random_sites(Toy().eval(), [Site("hook_fc1")], x, generator)
    assert whole == [Site("hook_fc1")]
    moved = relocated(toy(), account(), x, generator)
    assert [step.name for step in moved.steps] == ["below", "above", "label"]
    assert all(s not in (BELOW, ABOVE) for s in places(moved))


def test_a_random_cycle_moves_everyone():
    order = random_cycle(50, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(50)) and (order != torch.arange(50)).all()


def test_entropy_of_known_cases():
    assert entropy(torch.zeros(8, 2)) == 0
    assert entropy(torch.arange(8)[:, None]) == pytest.approx(3)


def test_every_rule_says_why():
    assert {rule.level for rule in RULES} == {PROGRAM, MECHANISM, UNRECOVERABLE}
    assert all(rule.why and rule.measure for rule in RULES)
    assert len({rule.measure for rule in RULES}) == len(RULES)


def test_the_network_of_challenge_1_and_its_account():
    from utils.challenges import cnn
    from utils.data.programs import challenge_1

    torch.set_num_threads(1)
    explanation = cnn.explanation(cnn.held_out_case(2000))
    verdict = judge(cnn.challenge(), explanation, labels=challenge_1().labels, **QUICK)
    assert verdict.verdict == MECHANISM, verdict
