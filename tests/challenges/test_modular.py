"""Modular addition: the tools on planted circles, the algorithm on the network and its control."""

import math

import pytest
import torch

from utils.challenges import modular as addition
from utils.challenges.explanation import Explanation
from utils.challenges.judge import judge
from utils.data import modular
from utils.models import recipes, zoo
from utils.scrubbing import Step, TransformerGraph, scrub, treeify
from utils.sites import Site

P = modular.PRIME


@pytest.fixture(scope="module")
def final():
    torch.set_num_threads(1)
    return zoo.load("modular")


@pytest.fixture(scope="module")
def early():
    torch.set_num_threads(1)
    return zoo.load("modular-early")


@pytest.fixture(scope="module")
def tokens():
    return modular.grid()


@pytest.fixture(scope="module")
def answer(tokens):
    return modular.answer(tokens)


def planted(sizes, width=10, seed=0):
    """[113, width]: a circle for each frequency, of that size, in directions of its own."""
    noise = torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
    directions = torch.linalg.qr(noise).Q[:, : 2 * len(sizes)]
    waves = addition.waves(list(sizes), torch.arange(P))
    scale = torch.tensor(list(sizes.values())).repeat(2)
    return (waves * scale) @ directions.T + 3.0


# --- tools ---------------------------------------------------------------------------------------


def test_power_finds_planted_circles():
    share = addition.power(planted({5: 2.0, 40: 1.0}))
    assert share.sum().item() == pytest.approx(1)
    assert share[4].item() == pytest.approx(0.8, abs=1e-5)
    assert share[39].item() == pytest.approx(0.2, abs=1e-5)


def test_doubles_are_folded_and_listed_once():
    assert addition.doubles([30, 1]) == [53, 2]
    assert addition.doubles([19, 38]) == [37]  # 38 is there already
    for f in range(1, 57):
        (g,) = addition.doubles([f]) or [f]
        n = torch.arange(P).double()
        same = (2 * math.pi * g * n / P).cos() - (4 * math.pi * f * n / P).cos()
        assert g == f or same.abs().max() < 1e-9


def test_a_subspace_holds_its_circles_and_no_other():
    values = planted({5: 2.0, 40: 1.0})
    basis = addition.subspace(values, [40])
    assert torch.allclose(basis.T @ basis, torch.eye(2), atol=1e-5)
    centred = values - values.mean(0)
    inside = addition.power(centred @ basis)
    assert inside[39].item() == pytest.approx(1, abs=1e-5)


def test_what_labels_explain():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(20, (4000,), generator=generator)
    table = torch.randn(20, 3, generator=generator)
    noise = torch.randn(4000, 3, generator=generator)
    assert addition.explained(table[labels], labels) == pytest.approx(1, abs=1e-6)
    assert addition.explained(noise, labels) == pytest.approx(20 / 4000, abs=0.004)
    assert addition.explained(noise + 3 * table[labels], labels) > 0.8


def test_amplitudes_of_planted_logits(tokens):
    rows = tokens[::97]
    distance = modular.answer(rows)[:, None] - torch.arange(P)
    heights = torch.linspace(1, 4, len(rows))
    logits = heights[:, None] * (2 * math.pi * 7 * distance / P).cos() + 5.0
    assert torch.allclose(addition.amplitudes(logits, rows, 7), heights, atol=1e-3)
    assert addition.amplitudes(logits, rows, 8).abs().max() < 1e-3


# --- the networks --------------------------------------------------------------------------------


def test_attention_is_uniform_and_the_numbers_commute(final, early, tokens):
    for model in (final, early):
        pattern = Site("blocks.0.attn.hook_pattern", position=-1).read(model, tokens[::50])
        assert torch.allclose(pattern, torch.full_like(pattern, 1 / 3), atol=1e-6)
        with torch.no_grad():
            said = model(tokens[::50])[:, -1]
            mirrored = model(tokens[::50][:, [1, 0, 2]])[:, -1]
        assert torch.allclose(said, mirrored, atol=1e-3)


def test_the_short_form_of_training_is_the_network(final, early, tokens):
    for model in (final, early, recipes.RECIPES["modular"].build()):
        with torch.no_grad():
            whole = model(tokens[::40])[:, -1]
            short = recipes.modular_logits(model, tokens[::40])
        assert torch.allclose(whole, short, atol=2e-3)


def test_one_run_generalised_and_its_beginning_did_not(final, early, tokens, answer):
    seen = modular.trained_on(tokens)
    for model, low, high in ((final, 0.999, 1.0), (early, 0.0, 0.03)):
        right = recipes.modular_logits(model, tokens).argmax(-1) == answer
        assert right[seen].double().mean() > 0.999
        assert low <= right[~seen].double().mean() <= high


def test_the_early_network_is_the_beginning_of_the_same_run(monkeypatch):
    """Thirty steps of both recipes, of which the early one stops after twenty."""
    kept = {}
    real = recipes.train_language

    def short(model, batch, loss, **options):
        stop = 20 if options["stop"] == recipes.MODULAR_EARLY else 30

        def watched(*tensors):
            states = kept.setdefault(stop, [])
            states.append(model.embed.weight.detach().clone())
            return loss(*tensors)

        real(model, batch, watched, **{**options, "stop": stop})

    monkeypatch.setattr(recipes, "train_language", short)
    for name in ("modular", "modular-early"):
        recipe = recipes.RECIPES[name]
        recipe.train(recipe.build(), lambda *call: None, None)
    assert len(kept[20]) == 20 and len(kept[30]) == 30
    assert all(torch.equal(a, b) for a, b in zip(kept[20], kept[30], strict=False))


def test_the_key_frequencies_stand_out_and_their_doubles_are_needed(final, tokens, answer):
    keys = addition.key_frequencies(final)
    assert 3 <= len(keys) <= 6
    assert addition.power(addition.contributions(final))[[f - 1 for f in keys]].sum() > 0.9

    def right(frequencies):
        hits = addition.only(final, tokens, frequencies).argmax(-1) == answer
        return hits.double().mean().item()

    alone, mended = right(keys), right(keys + addition.doubles(keys))
    assert alone < 0.97 and mended > 0.999
    others = [f for f in (11, 24, 47) if f not in keys]
    assert right(keys + others) < 0.97


def test_a_circle_without_its_double_is_deaf_for_some_differences(final, tokens):
    keys = addition.key_frequencies(final)
    lone = [f for f in keys if addition.doubles([f])[0] not in keys]
    logits = {"whole": addition.only(final, tokens, range(1, 57))}
    logits["alone"] = addition.only(final, tokens, keys)
    difference = (tokens[:, 0] - tokens[:, 1]) % P
    for f in lone[:2]:
        curve = {
            name: addition.group_means(
                addition.amplitudes(of, tokens, f)[:, None], difference
            )[:, 0]
            for name, of in logits.items()
        }  # fmt: skip
        assert curve["alone"].min() / curve["alone"].max() < 0.02
        assert curve["whole"].min() / curve["whole"].max() > 0.5
        length = (math.pi * f * torch.arange(P) / P).cos().abs()
        assert torch.corrcoef(torch.stack([curve["alone"], length]))[0, 1] > 0.999


def test_the_sum_is_known_behind_the_mlp_and_not_before(final, early, tokens, answer):
    def told(model, hook):
        return addition.explained(Site(hook, position=-1).read(model, tokens), answer)

    assert told(final, addition.ATTENTION) < 1e-4
    assert told(final, addition.MLP) > 0.85 > 0.3 > told(early, addition.MLP)


# --- the explanation -----------------------------------------------------------------------------


def kept(model, steps, tokens):
    graph = TransformerGraph(model, tokens, answer=-1)
    claim = treeify(steps, unimportant="shared")
    report = scrub(graph, claim, tokens, modular.answer(tokens), refs=400, resamples=2, nulls=0)
    return report["agreement with the model"].value


def test_resampling_along_the_steps_keeps_every_answer_and_its_nulls_keep_none(
    final, early, tokens
):
    bases = addition.key_subspaces(final)
    assert [basis.shape[0] for basis in bases.values()] == [128] * 3
    assert all(basis.shape[1] <= 16 for basis in bases.values())
    assert kept(final, addition.reference_steps(final), tokens) > 0.995
    random = addition.random_subspaces(bases, 3)
    assert {k: v.shape for k, v in random.items()} == {k: v.shape for k, v in bases.items()}
    assert kept(final, addition.reference_steps(final, random), tokens) < 0.05
    for name in bases:  # any one of them elsewhere is enough
        moved = {**bases, name: random[name]}
        assert kept(final, addition.reference_steps(final, moved), tokens) < 0.1
    keys = addition.key_frequencies(final)
    bare = {
        **bases,
        "numbers": addition.subspace(addition.embeddings(final), keys),
        "pair": addition.subspace(addition.contributions(final), keys),
    }
    assert 0.5 < kept(final, addition.reference_steps(final, bare), tokens) < 0.95
    assert kept(early, addition.reference_steps(early), tokens) < 0.2


def test_a_wrong_step_is_noticed(final, tokens):
    steps = addition.reference_steps(final)
    wrong = Step("sum", lambda pair: (pair[:, 1] - pair[:, 0]) % P, ("pair",), steps[3].site)
    assert kept(final, [*steps[:3], wrong, steps[4]], tokens) < 0.1


def test_the_challenge_draws_held_out_pairs_and_keeps_mirrors_together():
    case = addition.challenge()
    sample = case.draw(2000, 5)
    assert len(sample) == 2000 and len(sample.inputs.unique(dim=0)) == 2000
    assert not modular.trained_on(sample.inputs).any()
    assert not torch.equal(sample.inputs, case.draw(2000, 6).inputs)
    everything = case.draw(10**6, 0)
    assert len(everything) == 6385 and len(everything.groups.unique()) == 3221
    low, high = everything.groups // P, everything.groups % P
    assert bool((low <= high).all())
    assert torch.equal(low + high, everything.inputs[:, :2].sum(1))
    assert modular.trained_on(addition.challenge(trained=True).draw(500, 0).inputs).all()


@pytest.mark.parametrize(
    "name, trained, verdict",
    [
        ("modular", False, "program and mechanism"),
        ("modular-early", False, "labels only"),
        ("modular-early", True, "program"),
    ],
)
def test_verdicts(name, trained, verdict):
    case = addition.challenge(name, trained=trained)
    explanation = Explanation(addition.reference_steps(case.model))
    found = judge(case, explanation, inputs=addition.ALL, references=400, resamples=1)
    assert found.verdict == verdict, found.reasons


def test_random_subspaces_of_the_right_network_are_no_mechanism(final):
    random = addition.random_subspaces(addition.key_subspaces(final), 0)
    explanation = Explanation(addition.reference_steps(final, random))
    found = judge(addition.challenge(), explanation, inputs=1500, references=300, resamples=1)
    assert found.verdict == "program"


def test_the_walk_has_its_nulls_and_its_control(final, early):
    report = addition.mechanism_report(final, early)
    values = {row.name: row.estimate.value for row in report}
    for role in ("null", "control"):
        assert any(row.role == role for row in report)
    held = [value for name, value in values.items() if name.startswith("variance in the")]
    assert held[0] > 0.9 > 0.5 > held[2] > held[1]
    right = [value for name, value in values.items() if name.startswith("right answers")]
    assert right[1] > 0.999 > 0.97 > max(right[0], right[2])


def whole(hook, position):
    return Site(hook, position=position)


HELD_EXACT = {
    "tokens at the embedding, whole cuts on the way": [
        Step("a", lambda x: x[:, 0], site=whole("hook_embed", 0)),
        Step("b", lambda x: x[:, 1], site=whole("hook_embed", 1)),
        Step("pair", lambda a, b: torch.stack([a, b], 1), ("a", "b"),
             whole("blocks.0.hook_attn_out", -1)),
        Step("out", lambda pair: pair, ("pair",), whole("blocks.0.hook_mlp_out", -1)),
        Step("answer", lambda p, q: (p[:, 0] + q[:, 1]) % 113, ("out", "pair")),
    ],
    "the whole residual stream": [
        Step("all", lambda x: x[:, :2], site=whole("blocks.0.hook_resid_post", -1)),
        Step("answer", lambda p: (p[:, 0] + p[:, 1]) % 113, ("all",)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", HELD_EXACT)
def test_holding_whole_places_exact_recovers_everything_and_wins_nothing(name):
    found = judge(
        addition.challenge(),
        Explanation(HELD_EXACT[name]),
        inputs=3000,
        references=300,
        resamples=2,
    )
    assert found.verdict == "program"
    assert found.sufficiency.recovered.value > 0.99 and found.random_sites.value > 0.99
