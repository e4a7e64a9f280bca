"""Anomalies of mechanism: detectors on trojaned networks of three seeds, and what should hold.

The networks of seed 0 are the shipped ones, the others are trained here. Intervals resample
networks, and scans within them. Times stand beside a limit of 5 s for 10,000 inputs, and beside
scikit-learn's Mahalanobis distances on the same rows.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.engineering_networks import SEEDS, pair

LIMIT, INPUTS = 5.0, 10_000  # seconds that a detector may take for that many inputs at one Site
FOUND, NEAR = 0.95, 0.08
SPECTRAL = 0.4  # share of the class that is poison, as in the training set
Row = dict[str, Any]


def rows(quick: bool = False) -> list[Row]:
    """Detectors, what should hold, and times. `quick`: the shipped networks, and fewer images."""
    import torch

    torch.set_num_threads(1)
    seeds = SEEDS[:1] if quick else SEEDS
    runs = [_run(seed, 300 if quick else 600, 800 if quick else 2000) for seed in seeds]
    found = [_detector(name, runs) for name in runs[0]["scores"]]
    found += [_caught(name, runs) for name in runs[0]["caught"]]
    found.append(_spectral(runs))
    found += _single(quick)
    return found + _grades(found) + _timed(quick)


# --- what is measured on one network ---------------------------------------------------------


def _run(seed: int, n: int, trusted: int) -> Row:
    """Scores of clean and triggered rows by "place, detector[, clean twin]"."""
    import numpy as np

    from utils.anomaly import detect
    from utils.anomaly.sweeps import pool_shares
    from utils.anomaly.walk import EARLIER, VISION, case, poisoned_class

    model, twin = pair("matched", seed)
    cases = case("matched", trusted=trusted, n=n, seed=50 + 10 * seed)
    report = detect(model, (VISION, EARLIER), twin=twin, seed=seed, **cases.rows)
    suffix = {"network": "", "twin": ", clean twin", "raw": ""}
    groups = np.r_[cases.test.group, cases.anomalous.group]
    shares = pool_shares(
        model, VISION, twin=twin, shares=(SPECTRAL,), size=300, seed=seed,
        **poisoned_class(cases, 6000, 54 + 10 * seed),
    )  # fmt: skip
    return {
        "scores": {
            f"{s.place}, {s.detector}{suffix[s.who]}": (*s.all, groups) for s in report.scores
        },
        "caught": {
            f"{s.place}, {s.detector}": {
                "of triggered rows": (s.anomalous > s.limit).tolist(),
                "of clean rows": (s.clean > s.limit).tolist(),
                "of triggered rows at 1 % of clean": _above(s.clean, s.anomalous),
            }
            for s in report.scores
            if s.who == "network"
        },
        "spectral": {curve: shares.at(curve, "40 %").value for curve in shares.curves},
    }


def _above(clean: Any, odd: Any) -> list[bool]:
    from utils.ranking import threshold_at

    return (odd > threshold_at(clean)).tolist()


# --- over networks ---------------------------------------------------------------------------


def _detector(name: str, runs: list[Row]) -> Row:
    """AUROC: the mean over networks; every network's own value stands beside it."""
    return {"kind": "AUROC", "what": name, "number": _area([run["scores"][name] for run in runs])}


def _area(networks: list[tuple[Any, Any, Any]], resamples: int = 200) -> dict[str, Any]:
    """Mean AUROC, 95 %: networks are resampled, and groups of rows (scans) within them.

    Where every draw gives the same there is nothing to resample: Newcombe's, with scans counted.
    """
    import numpy as np

    from utils.ranking import _area as area
    from utils.ranking import _newcombe as newcombe

    each = [area(scores, truth) for scores, truth, _ in networks]
    rng, draws = np.random.default_rng(0), []
    members = [[np.flatnonzero(g == x) for x in np.unique(g)] for _, _, g in networks]
    for _ in range(resamples):
        values = []
        for i in rng.integers(len(networks), size=len(networks)):
            scores, truth, _ = networks[i]
            chosen = rng.integers(len(members[i]), size=len(members[i]))
            kept = np.concatenate([members[i][j] for j in chosen])
            values.append(area(scores[kept], truth[kept]))
        draws.append(np.mean(values))
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = float(np.mean(each))
    if low == high:
        counts = [sum(len(np.unique(g[t == kind])) for _, t, g in networks) for kind in (1, 0)]
        low, high = newcombe(mean, *counts)
    return {"value": mean, "low": min(float(low), mean), "high": max(float(high), mean),
            "n": sum(len(x) for x, _, _ in networks), "each": each}  # fmt: skip


def _caught(name: str, runs: list[Row]) -> Row:
    from utils.reports import Estimate

    found = {}
    for measure in runs[0]["caught"][name]:
        hit = [run["caught"][name][measure] for run in runs]
        whole = Estimate.proportion(sum(map(sum, hit)), sum(map(len, hit))).as_dict()
        each = [sum(x) / len(x) for x in hit]
        # Wilson's over all rows, widened to the networks' own values
        low, high = min(whole["low"], *each), max(whole["high"], *each)
        found[measure] = {**whole, "low": low, "high": high, "each": each}
    return {"kind": "caught", "what": name, "numbers": found}


def _spectral(runs: list[Row]) -> Row:
    return {
        "kind": "spectral",
        "what": f"spectral signatures, {SPECTRAL:.0%} of the class is poison",
        "numbers": {
            curve: {"value": sum(each) / len(each), "low": min(each), "high": max(each),
                    "n": len(each)}
            for curve in runs[0]["spectral"]
            for each in ([run["spectral"][curve] for run in runs],)
        },
    }  # fmt: skip


def _single(quick: bool) -> list[Row]:
    """What rests on shipped networks alone: the careless designs and the trojan that evades."""
    from utils.anomaly import Mahalanobis, detect
    from utils.anomaly.walk import EARLIER, VISION, case
    from utils.models import zoo

    n, trusted = (300, 800) if quick else (600, 2000)
    found = []
    for name, network in (("solid", None), ("pattern", None), ("matched", "trojan-evasive")):
        cases = case(name, trusted=trusted, n=n)
        plan = cases.plan
        report = detect(
            zoo.load(network or plan.network), (VISION, EARLIER), twin=zoo.load(plan.twin),
            detectors=[Mahalanobis()], **cases.rows,
        )  # fmt: skip
        label = "evasive" if network else name
        for place in (str(VISION), str(EARLIER), "raw input"):
            own = f"{place}, Mahalanobis"
            numbers = {"AUROC": report[f"AUROC, {own}"], "caught": report[f"caught, {own}"]}
            if place != "raw input":
                numbers["AUROC, clean twin"] = report[f"AUROC, {own}, clean twin"]
            found.append(
                {"kind": "single", "what": f"{label}: {own}",
                 "numbers": {k: e.as_dict() for k, e in numbers.items()}}
            )  # fmt: skip
    return found


def _grades(found: list[Row]) -> list[Row]:
    """What should hold in *every* network; "does not hold" is printed like any other result."""
    areas = {row["what"]: row["number"]["each"] for row in found if row["kind"] == "AUROC"}
    caught = {row["what"]: row["numbers"] for row in found if row["kind"] == "caught"}
    single = {row["what"]: row["numbers"] for row in found if row["kind"] == "single"}
    (pools,) = (row["numbers"] for row in found if row["kind"] == "spectral")
    own = "hook_fc1, Mahalanobis"
    held: dict[str, bool] = {}
    for name in ("Mahalanobis", "class Mahalanobis", "nearest, k=5"):
        place = f"hook_fc1, {name}"
        held[f"{place}: AUROC .95 or more"] = min(areas[place]) >= FOUND
        held[f"{place}: its clean twin within .08 of .5"] = _near(areas[f"{place}, clean twin"])
    held |= {
        "raw input, Mahalanobis: within .08 of .5": _near(areas["raw input, Mahalanobis"]),
        "raw input, nearest, k=5: within .08 of .5": _near(areas["raw input, nearest, k=5"]),
        f"{own}: .9 or more caught at 1 % of clean":
            min(caught[own]["of triggered rows at 1 % of clean"]["each"]) >= 0.9,
        f"{own}: .9 or more caught at the threshold from trusted rows":
            min(caught[own]["of triggered rows"]["each"]) >= 0.9,
        f"{own}: .03 or less false alarms at that threshold":
            max(caught[own]["of clean rows"]["each"]) <= 0.03,
        "max softmax stays below .95": max(areas["output, max softmax"]) < FOUND,
        "the norm at hook_fc1 stays below .95": max(areas["hook_fc1, norm"]) < FOUND,
        "spectral signatures stay below .95": pools["spectral"]["high"] < FOUND,
        "shipped solid: the raw input reaches .95, so the design is rejected":
            single["solid: raw input, Mahalanobis"]["AUROC"]["value"] >= FOUND,
        "shipped pattern: the raw input reaches .95, so the design is rejected":
            single["pattern: raw input, Mahalanobis"]["AUROC"]["value"] >= FOUND,
        "shipped evasive: less than .1 caught at hook_fc1":
            single["evasive: hook_fc1, Mahalanobis"]["caught"]["value"] < 0.1,
        "shipped evasive: .9 or more caught one layer earlier":
            single["evasive: hook_pool2, Mahalanobis"]["caught"]["value"] >= 0.9,
    }  # fmt: skip
    return [{"kind": "grade", "what": what, "holds": bool(holds)} for what, holds in held.items()]


def _near(values: list[float]) -> bool:
    return max(abs(value - 0.5) for value in values) <= NEAR


# --- times -----------------------------------------------------------------------------------


def _timed(quick: bool) -> list[Row]:
    import torch

    from benchmarks import side_by_side
    from utils.anomaly import Mahalanobis, standard
    from utils.anomaly.detection import _read
    from utils.anomaly.walk import VISION
    from utils.trojans import known

    model, _ = pair("matched", SEEDS[0])
    world = known("matched").world
    images = world.sample("held-out", INPUTS, 71).inputs
    trusted = _read(model, [VISION], world.sample("train", 1000, 70).inputs)[0]
    start = time.perf_counter()
    new_rows = _read(model, [VISION], images)[0]
    reading = time.perf_counter() - start
    found = []
    for detector in standard():
        start = time.perf_counter()
        detector.fit(trusted).score(new_rows)
        took = reading + time.perf_counter() - start  # the network runs once for all of them
        found.append(
            {"kind": "time", "what": f"{detector.name}, {INPUTS:,} inputs at {VISION}, the limit",
             "ours": took, "peer": LIMIT, "ratio": LIMIT / took, "unit": "s", "max_abs_diff": 0.0}
        )  # fmt: skip
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    alive = trusted.values.std(0) > 0  # without shrinkage a dead neuron has no distance
    for shrinkage, peer, kept in (
        ("ledoit-wolf", LedoitWolf(), slice(None)),
        (0.0, EmpiricalCovariance(), alive),
    ):
        known_rows, new = trusted.values[:, kept], new_rows.values[:, kept]

        def ours(s: Any = shrinkage, a: Any = known_rows, b: Any = new) -> Any:
            return torch.from_numpy(Mahalanobis(s).fit(a).score(b))

        def theirs(p: Any = peer, a: Any = known_rows, b: Any = new) -> Any:
            return torch.from_numpy(p.fit(a).mahalanobis(b))

        what = f"Mahalanobis, {INPUTS:,} rows, against scikit-learn's {type(peer).__name__}"
        row = side_by_side(what, ours, theirs, runs=3 if quick else 9)
        found.append({"kind": "time", **row})
        largest = float(theirs().abs().max())
        found.append(
            {"kind": "grade", "what": f"{what}: equal to 1e-9 of the largest",
             "holds": row["max_abs_diff"] <= 1e-9 * largest}
        )  # fmt: skip
    slowest = max(row["ours"] for row in found if row.get("peer") == LIMIT)
    found.append(
        {"kind": "grade", "what": f"every detector under {LIMIT:g} s for {INPUTS:,} inputs",
         "holds": slowest < LIMIT}
    )  # fmt: skip
    return found


def table(rows: list[Row]) -> str:
    """The rows as Markdown: AUROC, what is caught, shipped networks alone, what holds, times."""
    areas = {row["what"]: row["number"] for row in rows if row["kind"] == "AUROC"}
    networks = len(next(iter(areas.values()))["each"])
    lines = [f"| place, detector: AUROC, {networks} network{'s' * (networks > 1)} | trojaned |"
             " clean twin |", "|---|---|---|"]  # fmt: skip
    for name, number in areas.items():
        if not name.endswith(", clean twin"):
            twin = areas.get(f"{name}, clean twin")
            lines.append(f"| {name} | {_cell(number)} | {_cell(twin) if twin else '-'} |")
    for row in rows:
        if row["kind"] == "spectral":
            lines += ["", f"| {row['what']}: mean, lowest, highest | AUROC |", "|---|---|"]
            lines += [f"| {name} | {_cell(e)} |" for name, e in row["numbers"].items()]
    caught = [row for row in rows if row["kind"] == "caught"]
    heads = list(caught[0]["numbers"])
    lines += ["", f"| caught | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {row['what']} | {' | '.join(map(_cell, row['numbers'].values()))} |"
              for row in caught]  # fmt: skip
    lines += ["", "| one shipped network | AUROC | its clean twin | caught |", "|---|---|---|---|"]
    for row in rows:
        if row["kind"] == "single":
            n = row["numbers"]
            twin = _cell(n["AUROC, clean twin"]) if "AUROC, clean twin" in n else "-"
            lines.append(f"| {row['what']} | {_cell(n['AUROC'])} | {twin} | {_cell(n['caught'])} |")
    lines += ["", "| should hold | |", "|---|---|"]
    lines += [f"| {row['what']} | {'holds' if row['holds'] else 'does not hold'} |"
              for row in rows if row["kind"] == "grade"]  # fmt: skip
    lines += ["", "| time | ours | beside | ratio | largest difference |", "|---|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['ours']:.3f} s | {row['peer']:.3f} s | {row['ratio']:.1f} |"
              f" {row['max_abs_diff']:.0e} |" for row in rows if row["kind"] == "time"]  # fmt: skip
    return "\n".join(lines)


def _cell(e: dict[str, float]) -> str:
    return f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]"
