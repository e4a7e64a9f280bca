"""Probes and their controls on the language of hidden classes, over three networks.

Networks of three seeds, each beside itself before training; the first is the shipped one, the
others are trained here. Rows hold what each probe reads, whether a push along what it read does
anything, each ordering that should hold, and what `probe` costs beside the bare fits it makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.probing_time import OVERHEAD, timed

SWEEP = (0, 16, 64)  # widths of the timed sweep
PLACES = {"word vectors": "hook_embed", "end": "blocks.1.hook_resid_post"}
BEFORE = "blocks.0.hook_resid_pre"
COLUMNS = ("class", "by lot", "selectivity", "unseen types", "previous class")
_NAMES = ("accuracy", "control task", "selectivity", "unseen types")
LIMITS = {"linear": 5.0, "sweep": 40.0}  # seconds at full size
Row = dict[str, Any]


class Size(NamedTuple):
    """sentences: 15 rows each. wide: neurons of the probe with room. splits: and lots, averaged.
    draws: random directions. rows: of the timed activations. runs: of each timing."""

    sentences: int = 434
    wide: int = 256
    splits: int = 2
    draws: int = 100
    rows: int = 6500
    runs: int = 3


FULL, QUICK = Size(), Size(100, 32, 1, 20, 750, 1)


def rows(quick: bool = False, seeds: int = 3) -> list[Row]:
    """One row a place and probe, one a push, one an ordering, one a time. `quick`: one network, and
    all of it smaller, without limits on seconds."""
    import torch

    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    runs = [_network(seed, size) for seed in range(1 if quick else seeds)]
    found = [
        _probed(place, kind, [run[place][kind] for run in runs])
        for place in runs[0] if place != "pushed" for kind in runs[0][place]
    ]  # fmt: skip
    pushed = [_pushed(name, [run["pushed"][name] for run in runs]) for name in runs[0]["pushed"]]
    widths = SWEEP[:2] if quick else SWEEP
    sweep = "sweep of widths " + ", ".join(map(str, widths))
    times = [
        timed(what, size.rows, of_width, None if quick else limit, size.runs)
        for what, of_width, limit in (
            ("linear probe and its controls", (0,), LIMITS["linear"]),
            (sweep, widths, LIMITS["sweep"]),
        )
    ]
    return found + pushed + _orderings(runs) + times


def table(rows: list[Row]) -> str:
    """The rows as Markdown: probes, pushes, orderings, times."""
    lines = [
        f"| place, probe | {' | '.join(COLUMNS)} | code, class | code, by lot |",
        "|---|" + "--:|" * (len(COLUMNS) + 2),
    ]
    for row in rows:
        if row["kind"] == "probe":
            cells = [_cell(row["numbers"].get(name)) for name in (*COLUMNS, "code", "code by lot")]
            lines.append(f"| {row['what']} | {' | '.join(cells)} |")
    lines += ["", "| pushed before layer 0 | accuracy | effect | random, as long | ratio |",
              "|---|--:|--:|--:|--:|"]  # fmt: skip
    for row in rows:
        if row["kind"] == "pushed":
            lines.append(
                f"| {row['what']} | {_range(row['accuracy'])} | {_range(row['effect'])} "
                f"| {_range(row['random'])} | {_range(row['ratios'])} |"
            )
    lines += ["", "| ordering | |", "|---|---|"]
    for row in rows:
        if row["kind"] == "ordering":
            lines.append(f"| {row['what']} | {'holds' if row['holds'] else 'does not hold'} |")
    lines += ["", "| seconds | `probe` | bare fits | times | limits |", "|---|--:|--:|--:|---|"]
    for row in rows:
        if row["kind"] == "time":
            limits = f"{row['limit']:g} s and " if row["limit"] else ""
            limits += f"{OVERHEAD:g} times: {'met' if row['met'] else 'not met'}"
            lines.append(
                f"| {row['what']} | {row['ours']:.1f} | {row['peer']:.1f} | {row['overhead']:.2f} "
                f"| {limits} |"
            )
    return "\n".join(lines)


def _cell(number: dict[str, float] | None) -> str:
    if number is None:
        return ""
    return f"{number['value']:.3f} [{number['low']:.3f}, {number['high']:.3f}]"


def _range(values: Sequence[float]) -> str:
    """Mean over networks, and from the lowest to the highest."""
    mean = sum(values) / len(values)
    return f"{mean:.2f}" + (f" [{min(values):.2f}, {max(values):.2f}]" if len(values) > 1 else "")


# --- one network ---------------------------------------------------------------------------------


def _network(seed: int, size: Size) -> dict[str, Any]:
    """By place, trained and untrained: by probe, its numbers as (value, low, high). "pushed": what
    directions do."""
    from utils.data import words
    from utils.models import zoo
    from utils.models.recipes import RECIPES

    twin = zoo.untrained("words", seed)
    if seed:
        trained = RECIPES["words"].build(seed)
        RECIPES["words"].train(trained, lambda *step: None, None)
        trained.requires_grad_(False)
    else:
        trained = zoo.load("words")
    tokens = words.make(size.sentences, seed=1000 + seed)
    result: dict[str, Any] = {}
    for name, model in (("trained", trained), ("untrained", twin)):
        for place, hook in PLACES.items():
            result[f"{name}, {place}"] = _readings(_rows_of(model, hook, tokens), tokens, size)
    result["pushed"] = _pushes(trained, tokens, words.make(120, seed=2000 + seed), size.draws)
    return result


def _rows_of(model: Any, hook: str, tokens: Any) -> Any:
    from utils.sites import Site

    values = Site(hook).read(model, tokens)[:, 1:]
    return values.reshape(-1, values.shape[-1])


def _readings(x: Any, tokens: Any, size: Size) -> dict[str, dict[str, tuple[float, ...]]]:
    """By `probe`, linear and with room; the class of the word before beside it."""
    from utils.data import words
    from utils.probing.probes import probe

    row = words.rows(tokens)
    shared = {"groups": row.sentence, "widths": (0, size.wide)}
    found = probe(x, row.cls, types=row.type, seeds=range(size.splits), **shared)
    before = probe(x, row.previous, seeds=(0,), code=False, **shared)

    def number(report: Any, name: str) -> tuple[float, ...]:
        e = report[name]
        return e.value, e.low, e.high

    result = {}
    for kind, lead in (("linear", ""), (f"MLP-{size.wide}", f"MLP-{size.wide}: ")):
        numbers = {c: number(found, lead + n) for c, n in zip(COLUMNS, _NAMES, strict=False)}
        numbers["previous class"] = number(before, lead + "accuracy")
        result[kind] = numbers
    result["linear"]["code"] = number(found, "code length")
    result["linear"]["code by lot"] = number(found, "code length, control task")
    return result


def _pushes(model: Any, tokens: Any, fresh: Any, draws: int) -> dict[str, dict[str, float]]:
    """Place and class 0, equally plain to read before layer 0: how far predictions move when each
    direction is added, and when random ones as long are."""
    import torch

    from utils.data import words
    from utils.probing.classifiers import fitted, linear
    from utils.probing.rows import split
    from utils.sites import Site
    from utils.steering import random_directions, steer

    row, site = words.rows(tokens), Site(BEFORE)
    x = _rows_of(model, BEFORE, tokens).double()
    fit, held = split(len(x), groups=row.sentence.numpy(), seed=0)
    members = torch.nn.functional.one_hot(words.class_of_type()).float()
    clean = model(fresh).softmax(-1) @ members

    def effect(direction: Any) -> float:
        pushed = steer(model, fresh, site, direction).softmax(-1) @ members
        return float((pushed - clean).abs().sum(-1).mean()) / 2

    found = {}
    labels = {"place 9 or later": row.position >= 9, "class 0": row.cls == 0,
              "class 0 by lot": row.control == 0}  # fmt: skip
    for name, y in labels.items():
        probe_ = fitted(linear(), x[fit].numpy(), y[fit].numpy())
        towards = (x[fit][y[fit]].mean(0) - x[fit][~y[fit]].mean(0)).float()
        many = random_directions(len(towards), draws, seed=1, norm=float(towards.norm()))
        luck = [effect(d) for d in many]
        found[name] = {
            "accuracy": probe_.score(x[held].numpy(), y[held].numpy()), "effect": effect(towards),
            "random": sum(luck) / len(luck), "lowest": min(luck), "highest": max(luck),
        }  # fmt: skip
    return found


# --- over the networks ---------------------------------------------------------------------------


def _over(
    numbers: list[tuple[float, ...]], most: float = 1.0, draws: int = 4000
) -> dict[str, float]:
    """Mean over networks with a 95 % interval: networks are resampled, and each moves within its
    own interval (taken as that of a normal distribution). Shares of rows end at 1."""
    import numpy as np

    values = np.array([value for value, _, _ in numbers])
    spread = np.array([(high - low) / 2 / 1.96 for _, low, high in numbers])
    rng = np.random.default_rng(0)
    which = rng.integers(len(values), size=(draws, len(values)))
    means = (values[which] + spread[which] * rng.normal(size=which.shape)).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(values.mean())
    return {"value": mean, "low": min(float(low), mean), "high": min(max(float(high), mean), most)}


def _probed(place: str, kind: str, found: list[dict[str, tuple[float, ...]]]) -> Row:
    numbers = {
        name: _over([f[name] for f in found], math.inf if name.startswith("code") else 1.0)
        for name in found[0]
    }
    ours, peer = numbers["class"]["value"], numbers["by lot"]["value"]
    return {
        "kind": "probe", "what": f"{place}, {kind}", "unit": "share", "ours": ours, "peer": peer,
        "ratio": ours / peer, "numbers": numbers, "networks": len(found),
    }  # fmt: skip


def _pushed(name: str, found: list[dict[str, float]]) -> Row:
    def each(key: str) -> list[float]:
        return [f[key] for f in found]

    ours, peer = (sum(each(key)) / len(found) for key in ("effect", "random"))
    return {
        "kind": "pushed", "what": name, "unit": "share", "ours": ours, "peer": peer,
        "ratio": ours / peer, "accuracy": each("accuracy"), "effect": each("effect"),
        "random": each("random"), "ratios": [f["effect"] / f["random"] for f in found],
    }  # fmt: skip


def _orderings(runs: list[dict[str, Any]]) -> list[Row]:
    """Each ordering, true only where it holds on every network."""
    (room,) = (kind for kind in runs[0]["trained, end"] if kind != "linear")

    def get(run: dict[str, Any], place: str, what: str, kind: str = "linear") -> float:
        return run[place][kind][what][0]

    def gain(run: dict[str, Any], place: str, kind: str = "linear") -> float:
        return get(run, place, "selectivity", kind)

    vectors, end = "trained, word vectors", "trained, end"
    noise, noise_end = "untrained, word vectors", "untrained, end"
    claims: dict[str, Callable[[dict[str, Any]], bool]] = {
        "word vectors, trained: selectivity falls by .08 or more from linear to MLP":
            lambda r: gain(r, vectors) - gain(r, vectors, room) > 0.08,
        "end, trained: selectivity falls by .08 or more from linear to MLP":
            lambda r: gain(r, end) - gain(r, end, room) > 0.08,
        "word vectors, linear: unseen types gain .25 or more by training":
            lambda r: get(r, vectors, "unseen types") - get(r, noise, "unseen types") > 0.25,
        "end, linear: unseen types gain .25 or more by training":
            lambda r: get(r, end, "unseen types") - get(r, noise_end, "unseen types") > 0.25,
        "trained, linear: unseen types at the end exceed word vectors by .3 or more":
            lambda r: get(r, end, "unseen types") - get(r, vectors, "unseen types") > 0.3,
        "end, trained: the class costs less than half of the lot's code":
            lambda r: get(r, end, "code") < 0.5 * get(r, end, "code by lot"),
        "by accuracy word vectors lead the end; by selectivity the end leads (linear, trained)":
            lambda r: get(r, vectors, "class") > get(r, end, "class")
            and gain(r, end) > gain(r, vectors),
        "an MLP on untrained word vectors is more accurate than linear at the trained end":
            lambda r: get(r, noise, "class", room) > get(r, end, "class"),
        "untrained: no selectivity above .05, by either probe":
            lambda r: max(gain(r, p, k) for p in (noise, noise_end) for k in r[p]) < 0.05,
        "place and class 0 are read alike before layer 0 (accuracy .99 or more)":
            lambda r: min(r["pushed"][k]["accuracy"] for k in ("place 9 or later", "class 0"))
            >= 0.99,
        "place moves predictions less than every random direction as long":
            lambda r: r["pushed"]["place 9 or later"]["effect"]
            < r["pushed"]["place 9 or later"]["lowest"],
        "place moves predictions no further than the strongest random direction as long":
            lambda r: r["pushed"]["place 9 or later"]["effect"]
            < r["pushed"]["place 9 or later"]["highest"],
        "class 0 moves predictions more than every random direction as long":
            lambda r: r["pushed"]["class 0"]["effect"] > r["pushed"]["class 0"]["highest"],
    }  # fmt: skip
    found = {what: all(test(run) for run in runs) for what, test in claims.items()}
    return [{"kind": "ordering", "what": what, "unit": "", "ours": float(holds), "holds": holds}
            for what, holds in found.items()]  # fmt: skip
