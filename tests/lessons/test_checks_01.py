"""Lesson 01: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch

from tests.lessons.machinery import CheckSuite
from utils.sites import Site

# --- 1.1 ---------------------------------------------------------------------------------------


def _read(catch, keep=False):
    def read_by_hand(model, name, inputs):
        caught = []
        handle = model.hook_dict[name].register_forward_hook(
            lambda module, args, output: caught.append(catch(args, output))
        )
        model(inputs)
        if not keep:
            handle.remove()
        return caught[0]

    return read_by_hand


def _model_output(model, name, inputs):
    return model(inputs)


def _silencing(model, name, inputs):
    """Returns something from the hook, so that it writes."""
    caught = []

    def hook(module, args, output):
        caught.append(output)
        return torch.zeros_like(output)

    model.hook_dict[name].register_forward_hook(hook)
    model(inputs)
    return caught[0]


def _last_hook(model, name, inputs):
    name = list(model.hook_dict)[-1]
    return Site(name).read(model, inputs)


# --- 1.2, 1.3 ----------------------------------------------------------------------------------


def _previous(offset):
    return lambda pattern: pattern.diagonal(offset, 2, 3).mean((0, 2))


def _previous_over_all(pattern):
    return pattern.diagonal(-1, 2, 3).sum(2).mean(0) / pattern.shape[2]


def _previous_sum(pattern):
    return pattern.diagonal(-1, 2, 3).sum((0, 2))


def _previous_swapped(pattern):
    return pattern.diagonal(-1, 1, 2).mean((0, 1))[: pattern.shape[1]]


def _tables(tokens):
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    after = torch.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]
    return same, after


def _scored(pattern, table, repeat):
    given = (pattern * table[:, None]).sum(-1)
    return (given * repeat[:, None]).sum((0, 2)) / repeat.sum()


def _looks_at_match(pattern, tokens):
    same, _ = _tables(tokens)
    return _scored(pattern, same, same.any(-1))


def _all_positions(pattern, tokens):
    _, after = _tables(tokens)
    return _scored(pattern, after, torch.ones_like(tokens, dtype=torch.bool))


def _latest_only(pattern, tokens):
    same, _ = _tables(tokens)
    latest = same & (same.flip(-1).cumsum(-1).flip(-1) == 1)
    after = torch.zeros_like(same)
    after[:, :, 1:] = latest[:, :, :-1]
    return _scored(pattern, after, same.any(-1))


def _itself_too(pattern, tokens):
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(0)
    after = torch.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]
    return _scored(pattern, after, same.any(-1))


def _moved_left(pattern, tokens):
    same, _ = _tables(tokens)
    before = torch.zeros_like(same)
    before[:, :, :-1] = same[:, :, 1:]
    return _scored(pattern, before, same.any(-1))


def _mean_per_pair(pattern, tokens):
    _, after = _tables(tokens)
    return (pattern * after[:, None]).sum((0, 2, 3)) / after.sum()


# --- 1.4 ---------------------------------------------------------------------------------------


def _ablated(hook="hook_z", how=None, whole=False, transposed=False, clean=False):
    def accuracy_without(model, tokens, asked, metric):
        result = torch.empty(2, 2, len(tokens))
        for layer in (0, 1):
            for head in (0, 1):
                site = Site(f"blocks.{layer}.attn.{hook}", head=None if whole else head)
                out = model(tokens) if clean else site.ablate(model, tokens, how or asked)
                result[layer, head] = metric(out)
        return result.transpose(0, 1) if transposed else result

    return accuracy_without


def _drop_instead(model, tokens, how, metric):
    return metric(model(tokens)) - _ablated()(model, tokens, how, metric)


def _averaged(model, tokens, how, metric):
    return _ablated()(model, tokens, how, metric).mean(-1)


# --- 1.5 ---------------------------------------------------------------------------------------


def _patched(donor, base=lambda tokens: tokens):
    def patch(model, tokens, site):
        values = site.read(model, donor(tokens))
        return site.write(model, base(tokens), values, allow_unchanged=True)

    return patch


def _right(tokens):
    return torch.cat([tokens[:, :1], tokens[:, :-1]], 1)


# --- 1.6 ---------------------------------------------------------------------------------------


def _firing(reduce):
    return lambda model, images, hook: reduce(Site(hook).read(model, images))


def _neurons_only(model, images, hook):
    return (Site(hook).read(model, images) > 0).double().mean(0)


def _flat(values):
    return values.reshape(*values.shape[:2], -1)


# --- 1.7 ---------------------------------------------------------------------------------------


def _svd(activation, centre=True):
    samples = activation.reshape(-1, activation.shape[-1])
    return torch.linalg.svd(samples - samples.mean(0) * centre, full_matrices=False)


def _one_row_only(activation, k):
    """Takes the first axis for the batch, and the rest for features of one sample."""
    return _svd(activation[0])[2][:k].T


def _random(activation, k):
    return torch.linalg.qr(torch.randn(activation.shape[-1], k)).Q


# --- 1.8 ---------------------------------------------------------------------------------------


def _important(value, default="resample", allow=True):
    def importance(model, sites, inputs, metric, how=default):
        clean = metric(model(inputs))
        after = [metric(s.ablate(model, inputs, how, allow_unchanged=allow)) for s in sites]
        return value(clean, torch.stack(after))

    return importance


def _cumulative(model, sites, inputs, metric, how="resample"):
    from utils.sites import run

    result, edits = [], []
    for site in sites:
        values = site.read(model, inputs)
        new = 0.0 if how == "zero" else values.mean(0, keepdim=True)
        new = values.roll(1, 0) if how == "resample" else new
        edits.append((site, new))
        result.append(metric(run(model, inputs, edits=edits, allow_unchanged=True).output))
    return metric(model(inputs)) - torch.stack(result)


WRONG = {
    "1.1": [
        _read(lambda args, output: output, keep=True),
        _read(lambda args, output: args),
        _model_output,
        _silencing,
        _last_hook,
    ],
    "1.2": [
        _previous(0),
        _previous(1),
        _previous(-2),
        _previous_over_all,
        _previous_sum,
        _previous_swapped,
    ],
    "1.3": [
        _looks_at_match,
        _all_positions,
        _latest_only,
        _itself_too,
        _moved_left,
        _mean_per_pair,
    ],
    "1.4": [
        _ablated(how="zero"),
        _ablated(how="mean"),
        _ablated(hook="hook_pattern"),
        _ablated(hook="hook_v"),
        _ablated(whole=True),
        _ablated(transposed=True),
        _ablated(clean=True),
        _drop_instead,
        _averaged,
    ],
    "1.5": [
        _patched(lambda t: t),
        _patched(lambda t: t.roll(1, 1)),
        _patched(lambda t: t.roll(-1, 1)),
        _patched(lambda t: t.roll(1, 0)),
        _patched(lambda t: t, base=_right),
        _patched(_right, base=_right),
        lambda model, tokens, site: site.ablate(model, tokens, "resample"),
    ],
    "1.6": [
        _neurons_only,
        _firing(lambda v: (_flat(v) > 0).double().mean((0, 2))),
        _firing(lambda v: (_flat(v) != 0).any(2).double().mean(0)),
        _firing(lambda v: (_flat(v).mean(2) > 0).double().mean(0)),
        _firing(lambda v: (_flat(v) > 0).all(2).double().mean(0)),
        _firing(lambda v: (_flat(v) > 0).any(2).double().mean(1)),
    ],
    "1.7": [
        lambda a, k: _svd(a, centre=False)[2][:k].T,
        lambda a, k: _svd(a)[2][-k:].T,
        lambda a, k: _svd(a)[2][:k],
        lambda a, k: _svd(a)[2][:, :k],
        lambda a, k: _svd(a)[2][:k].T * _svd(a)[1][:k],
        lambda a, k: _svd(a)[2][:k].T.flip(1),
        _one_row_only,
        _random,
    ],
    "1.8": [
        _important(lambda clean, after: after - clean),
        _important(lambda clean, after: (clean - after).abs()),
        _important(lambda clean, after: after),
        _important(lambda clean, after: (clean - after).mean(1)),
        _important(lambda clean, after: clean - after, default="zero"),
        _important(lambda clean, after: clean - after, default="mean"),
        _important(lambda clean, after: clean - after, allow=False),
        _cumulative,
    ],
}


class TestChecks01(CheckSuite):
    lesson = "01"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks01().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "left on the model" in _message("1.1", WRONG["1.1"][0])
    assert "tuple" in _message("1.1", WRONG["1.1"][1])
    assert "future" in _message("1.2", _previous(1))
    assert "one place after" in _message("1.3", _looks_at_match)
    assert "number of repeats" in _message("1.3", _all_positions)
    assert "latest occurrence" in _message("1.3", _latest_only)
    assert "`hook_z`" in _message("1.4", _ablated(hook="hook_pattern"))
    assert "exchanged" in _message("1.4", _ablated(transposed=True))
    assert "came round" in _message("1.5", WRONG["1.5"][1])
    assert "*places*" in _message("1.6", WRONG["1.6"][1])
    assert "mean" in _message("1.7", WRONG["1.7"][0])
    assert "smallest" in _message("1.7", WRONG["1.7"][1])
    assert "together" in _message("1.8", _cumulative)
    assert "allow_unchanged" in _message("1.8", WRONG["1.8"][6])


def test_other_right_ways_pass():
    def with_eigh(activation, k):
        samples = activation.reshape(-1, activation.shape[-1]).double()
        return -torch.linalg.eigh(torch.cov(samples.T)).eigenvectors.flip(1)[:, :k]

    def own_seed(model, sites, inputs, metric, how="resample"):
        options = {"seed": 3} if how == "resample" else {}
        after = [s.ablate(model, inputs, how, allow_unchanged=True, **options) for s in sites]
        return torch.stack([metric(model(inputs)) - metric(a) for a in after])

    def by_loop(pattern):
        size = pattern.shape[2]
        return sum(pattern[:, :, i, i - 1].mean(0) for i in range(1, size)) / (size - 1)

    def by_hook_name(model, name, inputs):
        kept = {}

        def look(module, args, output):
            kept["value"] = output.detach().clone()

        handle = model.hook_dict[name].register_forward_hook(look)
        try:
            model(inputs)
        finally:
            handle.remove()
        return kept["value"]

    for exercise, answer in (
        ("1.1", by_hook_name),
        ("1.2", by_loop),
        ("1.7", with_eigh),
        ("1.8", own_seed),
    ):
        assert TestChecks01().grade(exercise, answer).status == "passed", _message(exercise, answer)
