"""Lesson 05: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch

from tests.lessons.machinery import CheckSuite
from utils.data import brackets
from utils.patching import patch
from utils.sites import Site, run, sweep

# --- 5.1 ---------------------------------------------------------------------------------------


def _flip(tokens, old, generator, where=None):
    keys = torch.rand(tokens.shape, generator=generator)
    keys = keys.masked_fill(tokens != old, -1)
    if where is not None:
        keys = keys.masked_fill(~where, -1)
    place = keys.argmax(1, keepdim=True)
    return tokens.scatter(1, place, 1 - old)


def _old(test):
    return brackets.OPEN if test == "beginnings" else brackets.CLOSE


def _wrong_bracket(tokens, test, generator):
    return _flip(tokens, 1 - _old(test), generator)


def _always_an_open(tokens, test, generator):
    return _flip(tokens, brackets.OPEN, generator)


def _first_place(tokens, test, generator):
    place = (tokens == _old(test)).int().argmax(1, keepdim=True)
    return tokens.scatter(1, place, 1 - _old(test))


def _swap(tokens, test, generator):
    keys = torch.rand(tokens.shape, generator=generator)
    opens = keys.masked_fill(tokens != 0, -1).argmax(1, keepdim=True)
    closes = keys.masked_fill(tokens != 1, -1).argmax(1, keepdim=True)
    return tokens.scatter(1, opens, 1).scatter(1, closes, 0)


def _two_flips(tokens, test, generator):
    return _flip(_flip(tokens, _old(test), generator), _old(test), generator)


def _own_randomness(tokens, test, generator):
    return _flip(tokens, _old(test), torch.Generator().manual_seed(0))


def _over_start(tokens, test, generator):
    result = tokens.clone()
    result[:, 0] = 1 - _old(test)
    return result


def _first_half(tokens, test, generator):
    """A place near the front, or the one candidate that is left: all are used, not equally."""
    early = torch.arange(tokens.shape[1])[None].expand_as(tokens) < 13
    front = _flip(tokens, _old(test), generator, early)
    anywhere = _flip(tokens, _old(test), generator)
    rare = torch.rand(len(tokens), 1, generator=generator) < 0.2
    return torch.where(rare | (front == tokens).all(1, keepdim=True), anywhere, front)


# --- 5.2 ---------------------------------------------------------------------------------------


def _patched(choose, allow=True):
    def patched(model, clean, corrupted, site, direction):
        base, source = choose(clean, corrupted, direction)
        return site.write(model, base, site.read(model, source), allow_unchanged=allow)

    return patched


def _reversed(clean, corrupted, direction):
    return (corrupted, clean) if direction == "noise" else (clean, corrupted)


# --- 5.3 ---------------------------------------------------------------------------------------


def _share(formula):
    return lambda values, start, target: formula(values, start, target)


def _mean_ratio(values, start, target):
    return ((values - start) / (target - start)).mean(-1)


def _right_share(values, start, target):
    return (values.mean(-1) - start.mean()) / (target.mean() - start.mean())


# --- 5.4 ---------------------------------------------------------------------------------------


def _pairs(make, direction=None):
    def together(model, clean, corrupted, sites, metric, asked):
        groups = [make(a, b) for a in sites for b in sites]
        values = patch(
            model, clean, corrupted, groups, direction=direction or asked, metric=metric
        )  # fmt: skip
        return values.reshape(len(sites), len(sites), -1)

    return together


def _added(model, clean, corrupted, sites, metric, direction):
    single = patch(model, clean, corrupted, sites, direction=direction, metric=metric)
    base = metric(run(model, clean if direction == "noise" else corrupted).output)
    both = single[:, None] + single[None] - base
    same = torch.eye(len(sites)).bool()[..., None]
    return torch.where(same, single[:, None], both)


def _averaged(model, clean, corrupted, sites, metric, direction):
    return _pairs(lambda a, b: [a, b])(model, clean, corrupted, sites, metric, direction).mean(-1)


# --- 5.5 ---------------------------------------------------------------------------------------


def _map(order, name="attn.hook_z", direction=None, shape=None, positions=True):
    def head_map(model, clean, corrupted, metric, asked):
        sites = [
            Site(f"blocks.{layer}.{name}", head=h, position=p if positions else None)
            for layer, h, p in order(clean.shape[1])
        ]
        values = patch(
            model, clean, corrupted, sites, direction=direction or asked, metric=metric,
            batch_size=500, allow_unchanged=True,
        )  # fmt: skip
        return shape(values) if shape else values.reshape(6, 25, -1)

    return head_map


def _usual(size):
    return [(n, h, p) for n in range(3) for h in range(2) for p in range(size)]


def _heads_outside(size):
    return [(n, h, p) for h in range(2) for n in range(3) for p in range(size)]


def _positions_outside(size):
    return [(n, h, p) for n in range(3) for p in range(size) for h in range(2)]


# --- 5.6 ---------------------------------------------------------------------------------------


def _attribution(value, slope_at="base", reduce="sum"):
    def attribute(model, base, source, hook, metric):
        site = Site(hook)
        here, there = site.read(model, base), site.read(model, source)
        zeros = torch.zeros_like(here).requires_grad_(True)
        output = site.write(
            model, base if slope_at == "base" else source, lambda old: old + zeros, grad=True,
            allow_unchanged=True,
        )  # fmt: skip
        metrics = metric(output)
        total = metrics.sum() if reduce == "sum" else metrics.mean()
        (slope,) = torch.autograd.grad(total, zeros)
        return value(slope, here, there)

    return attribute


def _no_graph(model, base, source, hook, metric):
    """The activation itself is asked for its gradient, which frozen weights never gave it."""
    values = Site(hook).read(model, base, grad=True)
    (slope,) = torch.autograd.grad(metric(model(base)).sum(), values)
    return slope * (Site(hook).read(model, source) - values)


# --- 5.7 ---------------------------------------------------------------------------------------


def _direct(frozen_from="clean", sender_last=True, freeze=True, sender_from="corrupted"):
    def direct(model, clean, corrupted, sender, frozen):
        batches = {"clean": clean, "corrupted": corrupted}
        own = run(model, batches[frozen_from], read=frozen).values if freeze else []
        edits = list(zip(frozen, own, strict=True)) if freeze else []
        sent = (sender, sender.read(model, batches[sender_from]))
        edits = [*edits, sent] if sender_last else [sent, *edits]
        return run(model, clean, edits=edits, allow_unchanged=True).output

    return direct


def _frozen_at_zero(model, clean, corrupted, sender, frozen):
    edits = [(site, 0.0) for site in frozen] + [(sender, sender.read(model, corrupted))]
    return run(model, clean, edits=edits, allow_unchanged=True).output


# --- 5.8 ---------------------------------------------------------------------------------------


def _restore(value):
    def restore(model, clean, subject, new, site, metric):
        broken = metric(subject.write(model, clean, new))
        whole = metric(run(model, clean).output)
        edits = [(subject, new), (site, site.read(model, clean))]
        back = metric(run(model, clean, edits=edits).output)
        return value(whole, broken, back)

    return restore


def _restored_after_corruption(model, clean, subject, new, site, metric):
    """Reads the site in the corrupted run, and so restores nothing."""
    result = subject.write(model, clean, new, read=[site])
    edits = [(subject, new), (site, result.values[0])]
    back = run(model, clean, edits=edits, allow_unchanged=True).output
    return metric(back) - metric(result.output)


def _only_restored(model, clean, subject, new, site, metric):
    """Never corrupts in the second run."""
    back = site.write(model, clean, site.read(model, clean), allow_unchanged=True)
    return metric(back) - metric(subject.write(model, clean, new))


WRONG = {
    "5.1": [
        _wrong_bracket,
        _always_an_open,
        _first_place,
        _swap,
        _two_flips,
        _own_randomness,
        _over_start,
        _first_half,
        lambda tokens, test, generator: tokens,
        lambda tokens, test, generator: torch.where(tokens == _old(test), 1 - _old(test), tokens),
    ],
    "5.2": [
        _patched(_reversed),
        _patched(lambda clean, corrupted, direction: (clean, corrupted)),
        _patched(lambda clean, corrupted, direction: (corrupted, clean)),
        _patched(lambda clean, corrupted, direction: (clean, clean)),
        lambda model, clean, corrupted, site, direction: run(model, corrupted).output,
        lambda model, clean, corrupted, site, direction: site.write(model, clean, 0.0),
    ],
    "5.3": [
        _share(_mean_ratio),
        _share(lambda v, s, t: _right_share(v, s, t).clamp(0, 1)),
        _share(lambda v, s, t: _right_share(v, t, s)),
        _share(lambda v, s, t: _right_share(v, s, t).abs()),
        _share(lambda v, s, t: v.mean(-1) - s.mean()),
        _share(lambda v, s, t: v.mean(-1) / t.mean()),
        _share(lambda v, s, t: (v.mean() - s.mean()) / (t.mean() - s.mean())),
    ],
    "5.4": [
        _added,
        _averaged,
        _pairs(lambda a, b: a),
        _pairs(lambda a, b: b),
        _pairs(lambda a, b: [a, b], direction="noise"),
        _pairs(lambda a, b: [a, b], direction="denoise"),
        lambda model, clean, corrupted, sites, metric, direction: _pairs(lambda a, b: [a, b])(
            model, corrupted, clean, sites, metric, direction
        ),
    ],
    "5.5": [
        _map(_heads_outside),
        _map(_positions_outside),
        _map(_usual, direction="noise"),
        _map(_usual, direction="denoise"),
        _map(_usual, name="attn.hook_v"),
        _map(_usual, positions=False),
        _map(_usual, shape=lambda v: v.reshape(6, 25, -1).transpose(0, 1)),
        _map(_usual, shape=lambda v: v.reshape(6, 25, -1).mean(-1)),
    ],
    "5.6": [
        _attribution(lambda slope, here, there: slope),
        _attribution(lambda slope, here, there: there - here),
        _attribution(lambda slope, here, there: slope * (here - there)),
        _attribution(lambda slope, here, there: slope * there),
        _attribution(lambda slope, here, there: slope * (there - here), slope_at="source"),
        _attribution(lambda slope, here, there: slope * (there - here), reduce="mean"),
        _attribution(lambda slope, here, there: (slope * (there - here)).sum(-1)),
        _no_graph,
    ],
    "5.7": [
        _direct(freeze=False),
        _direct(sender_last=False),
        _direct(frozen_from="corrupted"),
        _direct(sender_from="clean"),
        _frozen_at_zero,
    ],
    "5.8": [
        _restore(lambda whole, broken, back: broken - back),
        _restore(lambda whole, broken, back: back),
        _restore(lambda whole, broken, back: back - whole),
        _restore(lambda whole, broken, back: whole - broken),
        _restore(lambda whole, broken, back: (back - broken) / (whole - broken)),
        _restored_after_corruption,
        _only_restored,
    ],
}


class TestChecks05(CheckSuite):
    lesson = "05"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks05().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "you broke 'endings'" in _message("5.1", _wrong_bracket)
    assert "not random" in _message("5.1", _first_place)
    assert "changed places" in _message("5.1", _swap)
    assert "`generator`" in _message("5.1", _own_randomness)
    assert "START" in _message("5.1", _over_start)
    assert "equally likely" in _message("5.1", _first_half)
    assert "other direction" in _message("5.2", WRONG["5.2"][0])
    assert "nothing was patched" in _message("5.2", WRONG["5.2"][3])
    assert "Average first" in _message("5.3", _mean_ratio)
    assert "clipped" in _message("5.3", WRONG["5.3"][1])
    assert "exchanged" in _message("5.3", WRONG["5.3"][2])
    assert "added up" in _message("5.4", _added)
    assert "only one site" in _message("5.4", WRONG["5.4"][2])
    assert "layers outside" in _message("5.5", WRONG["5.5"][0])
    assert "innermost" in _message("5.5", WRONG["5.5"][1])
    assert "every position" in _message("5.5", WRONG["5.5"][5])
    assert "positions come first" in _message("5.5", WRONG["5.5"][6])
    assert "slope alone" in _message("5.6", WRONG["5.6"][0])
    assert "sign" in _message("5.6", WRONG["5.6"][2])
    assert "source run" in _message("5.6", WRONG["5.6"][4])
    assert "averaged" in _message("5.6", WRONG["5.6"][5])
    assert "total effect" in _message("5.7", WRONG["5.7"][0])
    assert "*after*" in _message("5.7", WRONG["5.7"][1])
    assert "*clean* run" in _message("5.7", WRONG["5.7"][2])
    assert "sign" in _message("5.8", WRONG["5.8"][0])
    assert "not with the clean one" in _message("5.8", WRONG["5.8"][2])
    assert "0 everywhere" in _message("5.8", _restored_after_corruption)


def test_other_right_ways_pass():
    def by_loop(tokens, test, generator):
        result = tokens.clone()
        for row in result:
            places = (row == _old(test)).nonzero()[:, 0]
            row[places[torch.randint(len(places), (1,), generator=generator)]] = 1 - _old(test)
        return result

    def by_library(model, clean, corrupted, site, direction):
        return patch(model, clean, corrupted, [site], direction=direction)[0]

    def by_position(model, clean, corrupted, metric, direction):
        base, source = (clean, corrupted) if direction == "noise" else (corrupted, clean)
        rows = []
        for layer in range(3):
            whole = Site(f"blocks.{layer}.attn.hook_z").read(model, source)
            for head in range(2):
                sites = [
                    Site(f"blocks.{layer}.attn.hook_z", head=head, position=p) for p in range(25)
                ]
                values = [whole[:, p, head] for p in range(25)]
                rows.append(
                    sweep(model, base, sites, values, metric=metric, allow_unchanged=True)
                )  # fmt: skip
        return torch.stack(rows)

    def only_off_diagonal_twice(model, clean, corrupted, sites, metric, direction):
        groups = [[a] if a is b else [b, a] for a in sites for b in sites]
        values = patch(model, clean, corrupted, groups, direction=direction, metric=metric)
        return values.unflatten(0, (len(sites), len(sites)))

    for exercise, answer in (
        ("5.1", by_loop),
        ("5.2", by_library),
        ("5.4", only_off_diagonal_twice),
        ("5.5", by_position),
    ):
        assert TestChecks05().grade(exercise, answer).status == "passed", _message(exercise, answer)
