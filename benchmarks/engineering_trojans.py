"""Trojans: attributions judged, triggers searched and rediscovered, on networks of three seeds.

The networks of seed 0 are the shipped ones, the others are trained here. Intervals resample
networks, and images or searches within them. The search over all classes stands beside one class
at a time, the attributions beside captum's where that is installed.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from benchmarks.engineering_editing import _interval
from benchmarks.engineering_networks import SEEDS, pair

SALIENCY, PLACED = "matched", ("solid", "pattern", "matched")
SEARCHES = (0, 1)  # seeds of the search on each network
WORKS, SPARED, INSIDE, OVERLAP = 0.8, 0.2, 0.5, 0.3
FLAGGED, CALM = 1.8, 1.5  # the index of the planted class; the largest of the clean twin
Row = dict[str, Any]


def rows(quick: bool = False) -> list[Row]:
    """Attributions, searches, what should hold, times. `quick`: shipped networks, `solid` alone,
    fewer images."""
    import torch

    torch.set_num_threads(1)
    seeds = SEEDS[:1] if quick else SEEDS
    found = _attributions(seeds, 12 if quick else 60)
    searches = SEARCHES[:1] if quick else SEARCHES
    found += [_searched(name, seeds, searches) for name in (PLACED[:1] if quick else PLACED)]
    return found + _grades(found) + _search_times(quick) + _captum(quick)


# --- attributions on a planted trigger -------------------------------------------------------


def _attributions(seeds: tuple[int, ...], count: int) -> list[Row]:
    """Each map against the footprint, and against itself when the weights are shuffled."""
    from utils import features
    from utils.trojans import known

    plan = known(SALIENCY)
    place = plan.trigger.footprint()
    scores: dict[str, dict[str, list[list[float]]]] = {}
    for seed in seeds:
        model, _ = pair(SALIENCY, seed)
        images = plan.triggered(plan.held_out(600, seed=1 + seed)).inputs[:count]
        shuffled = features.randomised(model, None, seed)
        maps = {n: (m(model, images, plan.target), m(shuffled, images, plan.target))
                for n, m in features.METHODS.items()}  # fmt: skip
        plain = {"the image itself": images, "edges": features.edges(images)}
        noise = tuple(features.random_map(images, s) for s in (0, 1))
        maps |= {name: (x, x) for name, x in plain.items()} | {"random": noise}
        for name, (own, other) in maps.items():
            found = scores.setdefault(name, {})
            for measure, values in (
                ("AUROC on the trigger", features.footprint_auroc(own, place)),
                ("largest 9 on the trigger", features.top_precision(own, place)),
                ("rank correlation, weights shuffled", features.rank_correlation(own, other)),
            ):
                found.setdefault(measure, []).append(values.tolist())
    return [
        {"kind": "attribution", "what": name, "images": count, "networks": len(seeds),
         "numbers": {m: _interval(v, share=False) | {"each": [sum(x) / len(x) for x in v]}
                     for m, v in found.items()}}
        for name, found in scores.items()
    ]  # fmt: skip


# --- searching for triggers ------------------------------------------------------------------


def _searched(name: str, seeds: tuple[int, ...], of_search: tuple[int, ...]) -> Row:
    """Planting, detection and rediscovery of one trojan in the networks of all seeds."""
    from utils import trojans

    plan = trojans.known(name)
    place = plan.trigger.footprint()
    each: dict[str, list[list[float]]] = {}

    def keep(measure: str, values: list[float]) -> None:
        each.setdefault(measure, []).append([float(v) for v in values])

    for seed in seeds:
        model, twin = pair(name, seed)
        held = plan.held_out(600, seed=1 + seed)
        others = held.inputs[held.labels != plan.target]
        for who, network in (("", model), (", clean twin", twin)):
            keep(f"accuracy{who}", [trojans.accuracy(network, held).value])
            keep(f"attack success{who}", [trojans.success(network, plan, held).value])
            searches = [_search(name, seed, network is twin, s) for s in of_search]
            norms = [one.norms for one in searches]
            share = [trojans.share_of_median(x) for x in norms]
            index = [trojans.anomaly_index(x) for x in norms]
            keep(f"smallest mask / median{who}", [x.min() for x in share])
            keep(f"largest index{who}", [x.max() for x in index])
            keep(f"class flagged{who}", [_flagged(x) for x in norms])
            if network is model:
                keep("index of the planted class", [x[plan.target] for x in index])
                found = trojans.smallest(searches, plan.target)
        keep("what was found: success", [trojans.hits(model, found, others, plan.target)])
        keep("what was found: on the clean twin", [trojans.hits(twin, found, others, plan.target)])
        keep("mask inside the planted place", [trojans.mass_inside(found, place)])
        keep("overlap (IoU)", [trojans.overlap(found, place)])
    return {
        "kind": "trojan", "what": name, "networks": len(seeds), "searches": len(of_search),
        "numbers": {m: _interval(v, share=False) | {"each": v} for m, v in each.items()},
    }  # fmt: skip


_kept: dict[tuple[str, int, bool, int], Any] = {}


def _search(name: str, seed: int, of_twin: bool, start: int) -> Any:
    """One search of a network; a twin that trojans share is searched once."""
    from utils import trojans

    world = trojans.known(name).world
    key = (world.name if of_twin else name, seed, of_twin, start)
    if key not in _kept:
        clean = world.sample("train", 1000, seed=5 + seed).inputs
        _kept[key] = trojans.search(pair(name, seed)[of_twin], clean, seed=start)
    return _kept[key]


def _flagged(norms: Any) -> float:
    """The class whose mask is under .6 of the median; -1 for none."""
    from utils.trojans import share_of_median
    from utils.trojans.detect import FLAG

    share = share_of_median(norms)
    return float(share.argmin()) if share.min() < FLAG else -1.0


# --- what should hold ------------------------------------------------------------------------


def _grades(found: list[Row]) -> list[Row]:
    """Every line in *every* network; "does not hold" is printed like any other result."""
    maps = {row["what"]: row["numbers"] for row in found if row["kind"] == "attribution"}
    area, kept = "AUROC on the trigger", "rank correlation, weights shuffled"
    image = maps["the image itself"][area]["value"]
    held: dict[str, bool] = {}
    for name in ("occlusion 3x3", "SmoothGrad", "gradient"):
        held[f"{name}: AUROC .9 or more"] = maps[name][area]["value"] >= 0.9
        held[f"{name}: keeps a rank correlation below .6"] = maps[name][kept]["value"] < 0.6
    for name in ("gradient x input", "integrated gradients"):
        lead = maps[name][area]["value"] - image
        held[f"{name}: does not lead the image itself by .05"] = lead < 0.05
        held[f"{name}: keeps a rank correlation of .9 or more"] = maps[name][kept]["value"] >= 0.9
    held["edges and random: AUROC below .65"] = (
        max(maps[name][area]["value"] for name in ("edges", "random")) < 0.65
    )
    for row in found:
        if row["kind"] == "trojan":
            held |= _of_trojan(row["what"], {m: e["each"] for m, e in row["numbers"].items()})
    return [{"kind": "grade", "what": what, "holds": bool(holds)} for what, holds in held.items()]


def _of_trojan(name: str, each: dict[str, list[list[float]]]) -> dict[str, bool]:
    from utils.trojans import known

    def flat(measure: str) -> list[float]:
        return [value for network in each[measure] for value in network]

    def mean(measure: str) -> list[float]:
        return [sum(network) / len(network) for network in each[measure]]

    target = float(known(name).target)
    gap = [a - b for a, b in zip(flat("accuracy"), flat("accuracy, clean twin"), strict=True)]
    works = [a >= WORKS and b <= SPARED for a, b in
             zip(flat("what was found: success"), flat("what was found: on the clean twin"),
                 strict=True)]  # fmt: skip
    placed = [a >= INSIDE or b >= OVERLAP for a, b in
              zip(flat("mask inside the planted place"), flat("overlap (IoU)"),
                  strict=True)]  # fmt: skip
    return {
        f"{name}: accuracy within .02 of the clean twin's": max(map(abs, gap)) <= 0.02,
        f"{name}: attack success .95 or more, .1 or less on the clean twin":
            min(flat("attack success")) >= 0.95 and max(flat("attack success, clean twin")) <= 0.1,
        f"{name}: every search flags the planted class":
            all(value == target for value in flat("class flagged")),
        f"{name}: no search flags a class of the clean twin":
            all(value == -1 for value in flat("class flagged, clean twin")),
        f"{name}: index of the planted class {FLAGGED} or more (mean of searches)":
            min(mean("index of the planted class")) >= FLAGGED,
        f"{name}: largest index of the clean twin {CALM} or less (mean of searches)":
            max(mean("largest index, clean twin")) <= CALM,
        f"{name}: what was found works (.8) and spares the twin (.2)": all(works),
        f"{name}: half of the mask inside, or IoU .3": all(placed),
    }  # fmt: skip


# --- times -----------------------------------------------------------------------------------


def _search_times(quick: bool) -> list[Row]:
    """All classes in a batch that gives up early, against one class after the other."""
    import torch

    from utils import trojans

    clean = trojans.known("solid").world.sample("train", 1000, seed=5).inputs
    model, twin = pair("solid", SEEDS[0])

    last = 120 if quick else 240

    def batched(network: Any) -> Any:
        return torch.tensor(_flagged(trojans.search(network, clean, steps=last).norms))

    def single(network: Any, steps: int) -> Any:
        each = [trojans.search(network, clean, [c], steps=steps, compare_at=None).norms
                for c in range(10)]  # fmt: skip
        return torch.tensor(_flagged(torch.cat(each)))

    found = []
    cases = [("solid", model, last, "to the end")]
    if not quick:
        cases += [("clean twin", twin, last, "to the end"),
                  ("solid", model, 100, "to the step of comparison")]  # fmt: skip
    for name, network, steps, how in cases:
        what = f"search of all classes, {name}: against one class at a time {how}"
        found.append(
            {"kind": "time", **_compared(what, partial(batched, network),
                                         partial(single, network, steps), 1 if quick else 3)}
        )  # fmt: skip
    to_the_end = [row for row in found if row["what"].endswith("to the end")]
    return found + [
        {"kind": "grade", "what": "search: the same decision as one class at a time",
         "holds": all(row["max_abs_diff"] == 0 for row in found)},
        {"kind": "grade", "what": "search: at least twice as fast as one class at a time",
         "holds": all(row["ratio"] >= 2 for row in to_the_end)},
    ]  # fmt: skip


def _compared(what: str, ours: Any, theirs: Any, runs: int) -> Row:
    """As `side_by_side`, without its warm-up runs: these take seconds each."""
    import statistics

    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    said: dict[str, Any] = {}
    for _ in range(runs):
        for side, call in (("ours", ours), ("peer", theirs)):
            start = time.perf_counter()
            said[side] = call()
            seconds[side].append(time.perf_counter() - start)
    mine, other = (statistics.median(seconds[side]) for side in ("ours", "peer"))
    apart = float((said["ours"] - said["peer"]).abs().max())
    return {"what": what, "ours": mine, "peer": other, "ratio": other / mine, "unit": "s",
            "max_abs_diff": apart, "runs": runs}  # fmt: skip


def _captum(quick: bool) -> list[Row]:
    """The same attributions by captum; a row that says so where captum is not installed."""
    from benchmarks import side_by_side
    from utils import features
    from utils.trojans import known

    try:
        from captum.attr import InputXGradient, IntegratedGradients, Saliency
    except ImportError:
        print("captum: not installed, see benchmarks/requirements-peers.txt", file=sys.stderr)
        return [{"kind": "skipped", "what": "attributions against captum: captum is not installed"}]
    plan = known(SALIENCY)
    model, _ = pair(SALIENCY, SEEDS[0])
    images = plan.triggered(plan.held_out(600)).inputs[: 40 if quick else 120]
    target = plan.target

    def captums(kind: Any, **options: Any) -> Any:
        given = images.clone().requires_grad_()
        return kind(model).attribute(given, target=target, **options).detach()

    line = {"method": "gausslegendre", "n_steps": 50, "internal_batch_size": 1000}
    pairs = {
        "gradient": (features.gradient, partial(captums, Saliency, abs=False)),
        "gradient x input": (features.gradient_x_input, partial(captums, InputXGradient)),
        "integrated gradients": (
            features.integrated_gradients, partial(captums, IntegratedGradients, **line)
        ),
    }  # fmt: skip
    found: list[Row] = []
    for name, (method, peer) in pairs.items():
        runs = 5 if quick else 25 if "integrated" not in name else 9
        ours = partial(method, model, images, target)
        row = side_by_side(f"{name}, {len(images)} images, against captum", ours, peer, runs=runs)
        found += [
            {"kind": "time", **row},
            {"kind": "grade", "what": f"{name}: captum's values to 1e-5",
             "holds": row["max_abs_diff"] <= 1e-5},
            {"kind": "grade", "what": f"{name}: within 1.2 times captum's time",
             "holds": row["ours"] <= 1.2 * row["peer"]},
        ]  # fmt: skip
    return found


# --- the table -------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """The rows as Markdown: attributions, trojans, what holds, times."""
    maps = [row for row in rows if row["kind"] == "attribution"]
    heads = list(maps[0]["numbers"])
    first = f"{maps[0]['images']} images, networks: {maps[0]['networks']}"
    lines = [f"| map; {first} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {row['what']} | {' | '.join(map(_cell, row['numbers'].values()))} |"
              for row in maps]  # fmt: skip
    trojans = [row for row in rows if row["kind"] == "trojan"]
    first = f"networks: {trojans[0]['networks']}, searches of each: {trojans[0]['searches']}"
    lines += ["", f"| {first} | {' | '.join(row['what'] for row in trojans)} |",
              "|---" * (len(trojans) + 1) + "|"]  # fmt: skip
    for measure in trojans[0]["numbers"]:
        cells = [_cell(row["numbers"][measure]) for row in trojans]
        if measure.startswith("class flagged"):
            cells = [_classes(row["numbers"][measure]["each"]) for row in trojans]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    lines += ["", "| should hold | |", "|---|---|"]
    lines += [f"| {row['what']} | {'holds' if row['holds'] else 'does not hold'} |"
              for row in rows if row["kind"] == "grade"]  # fmt: skip
    lines += [f"| {row['what']} | skipped |" for row in rows if row["kind"] == "skipped"]
    lines += ["", "| time | ours | peer | ratio | largest difference |", "|---|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['ours']:.3f} s | {row['peer']:.3f} s | {row['ratio']:.1f} |"
              f" {row['max_abs_diff']:.0e} |" for row in rows if row["kind"] == "time"]  # fmt: skip
    return "\n".join(lines)


def _cell(e: dict[str, float]) -> str:
    return f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]"


def _classes(each: list[list[float]]) -> str:
    return "; ".join(
        ", ".join("none" if value < 0 else f"{value:.0f}" for value in network) for network in each
    )
