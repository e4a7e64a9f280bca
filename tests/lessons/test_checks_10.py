"""Checks of lesson 10: wrong answers somebody would plausibly hand in."""

import torch

from tests.lessons.machinery import CheckSuite
from utils.data import truth

# --- 10.1 ----------------------------------------------------------------------------------------


def _parts(x, z):
    mean = x.mean(0)
    x, z = x - mean, z - z.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    root = values.clamp(min=1e-10).sqrt()
    return mean, x, z, vectors / root @ vectors.T, vectors * root @ vectors.T


def _kept(whiten, cross):
    u, size, _ = torch.linalg.svd(whiten @ cross, full_matrices=False)
    return u[:, size > 1e-6]


def _mean_difference(x, z):
    mean, x, z, _, _ = _parts(x, z)
    u = _kept(torch.eye(x.shape[1], dtype=x.dtype), x.T @ z / len(x))
    return u @ u.T, mean


def _not_back(x, z):
    mean, x, z, whiten, _ = _parts(x, z)
    u = _kept(whiten, x.T @ z / len(x))
    return u @ u.T @ whiten, mean


def _turned(x, z):
    matrix, mean = _leace(x, z)
    return matrix.T, mean


def _leace(x, z):
    mean, x, z, whiten, back = _parts(x, z)
    u = _kept(whiten, x.T @ z / len(x))
    return back @ u @ u.T @ whiten, mean


def _z_as_it_is(x, z):
    mean = x.mean(0)
    centred = x - mean
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))  # not centred
    whiten, back = vectors / values.sqrt() @ vectors.T, vectors * values.sqrt() @ vectors.T
    u = _kept(whiten, x.T @ z / len(centred))
    return back @ u @ u.T @ whiten, mean


def _everything(x, z):
    return torch.eye(x.shape[1], dtype=x.dtype), x.mean(0)


def _all_columns(x, z):
    mean, x, z, whiten, back = _parts(x, z)
    u = torch.linalg.svd(whiten @ (x.T @ z / len(x)))[0]
    return back @ u @ u.T @ whiten, mean


# --- 10.2, 10.3 ----------------------------------------------------------------------------------


def _right(predict, part):
    return (predict(part[0]) == part[1]).double().mean().item()


def _pooled(train, a, b):
    x, z = torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])
    return _right(train(x, z), (x, z))


def _shares(first, second):
    def still_right(logits, rows):
        said = logits.argmax(-1)
        return (
            (first(said) == truth.is_correct(rows)).double().mean().item(),
            (second(said) == truth.agrees(rows)).double().mean().item(),
        )

    return still_right


def _whole(logits, rows):
    right = (logits.argmax(-1) == truth.verdict(rows)).double().mean().item()
    return right, right


# --- 10.4, 10.5 ----------------------------------------------------------------------------------


def _edges(value):
    def edges(x, correct, agrees):
        return torch.stack([value(x, correct, part) for part in (agrees, ~agrees)])

    return edges


def _columns(value):
    return lambda correct, agrees: value(correct.double(), agrees.double())


# --- 10.6, 10.7 ----------------------------------------------------------------------------------


def _doses(value):
    def response(network, tokens, site, direction, doses, measure):
        def at(d):
            return measure(value(network, tokens, site, direction, d)).mean()

        return torch.stack([at(d) for d in doses])

    return response


def _written(new):
    return _doses(
        lambda network, tokens, site, v, d: site.write(
            network, tokens, lambda old: new(old, v, d), allow_unchanged=True
        )
    )


def _changes(network, tokens, site, direction, doses, measure):
    found = _written(lambda old, v, d: old + d * v)(
        network, tokens, site, direction, [*doses, 0.0], measure
    )
    return found[:-1] - found[-1]


def _folded(weight, bias):
    return lambda w, b, left, right, mean: (
        weight(w, left @ right), bias(w, b, left @ right, mean)
    )  # fmt: skip


def _good_weight(w, taken):
    return w - w @ taken


def _good_bias(w, b, taken, mean):
    return b + w @ taken @ mean


RIGHT = {"guard": True, "blind": False, "thorough": False, "layer 0": False, "foretold": True,
         "only": False}  # fmt: skip

WRONG = {
    "10.1": [
        _mean_difference,
        _not_back,
        _turned,
        _z_as_it_is,
        _everything,
        _all_columns,
        lambda x, z: (_leace(x, z)[0], torch.zeros(x.shape[1], dtype=x.dtype)),
        lambda x, z: torch.eye(x.shape[1], dtype=x.dtype) - _leace(x, z)[0],
    ],
    "10.2": [
        lambda train, a, b: (_right(train(*a), a) + _right(train(*b), b)) / 2,
        lambda train, a, b: _right(train(*a), b),
        lambda train, a, b: _right(train(*b), a),
        _pooled,
        lambda train, a, b: max(_right(train(*a), b), _right(train(*b), a)),
    ],
    "10.3": [
        _whole,
        _shares(lambda v: v > 3, lambda v: v % 3 == 2),
        _shares(lambda v: v >= 3, lambda v: v % 3 > 0),
        _shares(lambda v: v >= 3, lambda v: v % 3 == 1),
        lambda logits, rows: _shares(lambda v: v >= 3, lambda v: v % 3 == 2)(logits, rows)[::-1],
        lambda logits, rows: _shares(lambda v: v >= 3, lambda v: v % 3 == 2)(-logits, rows),
    ],
    "10.4": [
        _edges(lambda x, c, part: x[~c & part].mean(0) - x[c & part].mean(0)),
        _edges(lambda x, c, part: x[c & part].mean(0) - x[~c].mean(0)),
        _edges(lambda x, c, part: (x[c & part].mean(0) - x[~c & part].mean(0)) / 2),
        _edges(lambda x, c, part: x[c & part].sum(0) - x[~c & part].sum(0)),
        lambda x, c, a: _edges(lambda x, c, p: x[c & p].mean(0) - x[~c & p].mean(0))(x, c, ~a),
        lambda x, c, a: torch.stack([x[c].mean(0) - x[~c].mean(0)] * 2),
    ],
    "10.5": [
        _columns(lambda c, a: c[:, None]),
        _columns(lambda c, a: torch.stack([c, c * a], 1)),
        _columns(lambda c, a: torch.stack([c, a], 1)),
        _columns(lambda c, a: torch.stack([c, a, (2 * c - 1) * (2 * a - 1)], 1)),
        _columns(lambda c, a: ((2 * c - 1) * (2 * a - 1))[:, None]),
        _columns(lambda c, a: torch.ones(len(c), 1).double()),
    ],
    "10.6": [
        _written(lambda old, v, d: old + d * v / v.norm()),
        _written(lambda old, v, d: old - d * v),
        _written(lambda old, v, d: d * v.expand_as(old)),
        _written(lambda old, v, d: old + v),
        _changes,
    ],
    "10.7": [
        _folded(_good_weight, lambda w, b, taken, mean: b),
        _folded(_good_weight, lambda w, b, taken, mean: b - w @ taken @ mean),
        _folded(_good_weight, lambda w, b, taken, mean: b + taken[: len(b)] @ mean),
        _folded(lambda w, taken: w - w @ taken.T, _good_bias),
        _folded(lambda w, taken: w @ taken, _good_bias),
        _folded(lambda w, taken: w, _good_bias),
    ],
    "10.8": [
        RIGHT | {"blind": True},
        RIGHT | {"thorough": True, "only": True},
        RIGHT | {"guard": False, "foretold": False},
        dict.fromkeys(RIGHT, True),
        dict.fromkeys(RIGHT, False),
        {key: value for key, value in RIGHT.items() if key != "only"},
        RIGHT | {"layer 0": "False"},
    ],
}


class TestChecks10(CheckSuite):
    lesson = "10"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks10().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "times as much as they need to" in _message("10.1", _mean_difference)
    assert "still covaries" in _message("10.1", _turned)
    assert "is enough" in _message("10.1", _everything)
    assert "by heart" in _message("10.2", WRONG["10.2"][0])
    assert "both ways" in _message("10.2", WRONG["10.2"][1])
    assert "right as a whole" in _message("10.3", _whole)
    assert "exchanged" in _message("10.3", WRONG["10.3"][4])
    assert "turn them round" in _message("10.4", WRONG["10.4"][0])
    assert "product with agreement" in _message("10.5", WRONG["10.5"][0])
    assert "covary with agreement" in _message("10.5", WRONG["10.5"][3])
    assert "one long" in _message("10.6", WRONG["10.6"][0])
    assert "against dose 0" in _message("10.6", _changes)
    assert "the bias is the old one" in _message("10.7", WRONG["10.7"][0])
    assert "changed places" in _message("10.7", WRONG["10.7"][3])
    assert "who heard a rude word" in _message("10.8", RIGHT | {"only": True})


def test_other_right_ways_pass():
    def by_cholesky(x, z):
        """Any whitening will do: the map that moves least is the same."""
        mean, x, z, _, _ = _parts(x, z)
        spread = x.T @ x / len(x)
        cross = x.T @ z / len(x)
        inner = torch.linalg.pinv(cross.T @ torch.linalg.solve(spread, cross), rtol=1e-8)
        return cross @ inner @ torch.linalg.solve(spread, cross).T, mean

    for exercise, answer in (
        ("10.1", by_cholesky),
        ("10.5", _columns(lambda c, a: torch.stack([9 * (2 * c - 1) * (a - 0.5), c], 1))),
        ("10.6", _doses(lambda network, tokens, site, v, d: site.write(
            network, tokens, site.read(network, tokens) + d * v, allow_unchanged=True))),
        ("10.7", lambda w, b, left, right, mean: (w - (w @ left) @ right,
                                                  w @ (left @ (right @ mean)) + b)),
    ):  # fmt: skip
        assert TestChecks10().grade(exercise, answer).status == "passed", _message(exercise, answer)
