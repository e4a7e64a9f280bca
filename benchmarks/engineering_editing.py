"""Editing one fact: every method on networks of three seeds, and each ordering that should hold.

Networks of both kinds; the first of each is the shipped one, the others are trained here. Intervals
resample networks, and edits within them. The time of an edit stands beside the limit of a second.
"""

from __future__ import annotations

import statistics
from typing import Any

EDITS, SEEDS = 20, {"facts": (0, 1, 2), "facts-planted": (1, 2, 3)}
LIMIT = 1.0  # seconds that an edit may take once its covariance is there
PLACE = "MLP 0 at the person"
Row = dict[str, Any]


def rows(quick: bool = False) -> list[Row]:
    """Methods, tracing, sequences, orderings and time. `quick`: shipped networks, four edits."""
    import torch

    torch.set_num_threads(1)
    seeds = {kind: found[:1] if quick else found for kind, found in SEEDS.items()}
    runs = {
        kind: [_run(kind, seed, seed == SEEDS[kind][0], 4 if quick else EDITS) for seed in found]
        for kind, found in seeds.items()
    }
    found = [row for kind in runs for row in _methods(kind, runs[kind])]
    found += [_single(kind, runs[kind]) for kind in runs]
    return found + _grades(found) + [_timed(runs)]


def _run(kind: str, seed: int, shipped: bool, edits: int) -> Row:
    """Everything that is measured on one network."""
    from utils.challenges import facts as walk
    from utils.data import facts
    from utils.editing import compare, covariance, edit, random_facts, sequential
    from utils.models import zoo
    from utils.models.facts import share_known

    model = zoo.load(kind) if shipped else _trained(kind, seed)
    requests = random_facts(facts.table(), edits, seed=1)
    cov = covariance(model, walk.SUBJECT_SITE, walk.prompts())
    seconds = []
    for request in requests[:5]:
        with edit(model, request, walk.SUBJECT_SITE, cov) as made:
            seconds.append(made.seconds)
    sequence = sequential(model, requests, walk.SUBJECT_SITE, cov, walk.untouched(requests))
    traced = {how: walk.traced(model, how, samples=3) for how in ("noise", "swap")}
    return {
        "known": share_known(model, facts.table()),
        "compared": compare(model, requests, walk.SUBJECT_SITE, cov),
        "in force": float(sequence.held[:, -1].double().mean()),
        "untouched": float(sequence.kept[-1].double().mean()),
        "seconds": seconds,
        **{how: found[PLACE].value / found["total"].value for how, found in traced.items()},
    }


def _trained(kind: str, seed: int) -> Any:
    from utils.data import facts
    from utils.models.facts import build_facts, build_planted, train_facts
    from utils.models.recipes import FACTS_STEPS

    steps, rate = FACTS_STEPS[kind]
    model = (build_facts if kind == "facts" else build_planted)(seed)
    train_facts(model, facts.table(), steps=steps, max_lr=rate)
    return model.eval().requires_grad_(False)


def _methods(kind: str, runs: list[Row]) -> list[Row]:
    comparisons = [run["compared"] for run in runs]
    first = comparisons[0]
    return [
        {
            "kind": "method", "what": f"{kind}, {method}", "network": kind, "method": method,
            "numbers": {
                metric: _interval(
                    [c.values(method, metric).tolist() for c in comparisons], metric != "KL drift"
                )
                for metric in first.metrics
            },
        }
        for method in first.hits
    ]  # fmt: skip


def _interval(
    networks: list[list[float]], share: bool = True, resamples: int = 1000
) -> dict[str, float]:
    """Mean of all edits, 95 %; networks are resampled, and edits within them.

    Where every edit gave the same share, 0 or 1, there is nothing to resample: Wilson, over edits.
    """
    import numpy as np

    from utils.reports import Estimate

    values = np.array(networks)
    if share and set(values.ravel().tolist()) in ({0.0}, {1.0}):
        return Estimate.proportion(int(values.sum()), values.size).as_dict()
    rng, (n, m) = np.random.default_rng(0), values.shape
    draws = [
        values[rng.integers(n, size=n)[:, None], rng.integers(m, size=(n, m))].mean()
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = float(values.mean())
    return {"value": mean, "low": min(float(low), mean), "high": max(float(high), mean),
            "n": values.size}  # fmt: skip


def _single(kind: str, runs: list[Row]) -> Row:
    """What is one number a network: mean, lowest and highest."""
    names = ("known", "noise", "swap", "in force", "untouched")
    return {
        "kind": "network", "network": kind,
        "what": f"{kind}, {len(runs)} network{'s' * (len(runs) > 1)}",
        "edits": len(runs[0]["compared"].names),
        "numbers": {
            name: {"value": statistics.mean(run[name] for run in runs),
                   "low": min(run[name] for run in runs), "high": max(run[name] for run in runs),
                   "n": len(runs)}
            for name in names
        },
    }  # fmt: skip


def _grades(found: list[Row]) -> list[Row]:
    """What should hold, by the means; "does not hold" is printed like any other result."""
    at = {(row["network"], row.get("method", "")): row["numbers"] for row in found}

    def value(kind: str, metric: str, method: str = "rank-one edit") -> float:
        return at[kind, method][metric]["value"]

    held: dict[str, bool] = {}
    for kind, least in (("facts", 0.3), ("facts-planted", 0.05)):
        lost = value(kind, "neighbourhood") - value(kind, "neighbourhood", "identity covariance")
        ties = abs(value(kind, "efficacy") - value(kind, "efficacy", "fine-tuning"))
        own, rehearsed = "rank-one edit", "fine-tuning, rehearsed"
        held |= {
            f"{kind}: efficacy .9 or more": value(kind, "efficacy") >= 0.9,
            f"{kind}: neighbourhood .98 or more": value(kind, "neighbourhood") >= 0.98,
            f"{kind}: C = I loses {least:g} of the neighbourhood or more": lost >= least,
            f"{kind}: a random key gives an efficacy below .1":
                value(kind, "efficacy", "random key") < 0.1,
            f"{kind}: efficacy cannot tell the edit from fine-tuning (within .05)": ties <= 0.05,
            f"{kind}: other relations fall below .7":
                at[kind, own]["other relations"]["high"] < 0.7,
            f"{kind}: the edit keeps more neighbours than rehearsed fine-tuning":
                value(kind, "neighbourhood") > value(kind, "neighbourhood", rehearsed),
            f"{kind}: the edit keeps more other relations than rehearsed fine-tuning":
                value(kind, "other relations") > value(kind, "other relations", rehearsed),
            f"{kind}: the wrong site loses the paraphrase (below .3)":
                value(kind, "paraphrase", "wrong site") < 0.3,
        }  # fmt: skip
    planted = at["facts-planted", ""]
    held |= {
        "facts-planted: noise gives the only place below .3 of the effect":
            planted["noise"]["high"] < 0.3,
        "facts-planted: a swap gives it more than .5": planted["swap"]["low"] > 0.5,
    }  # fmt: skip
    return [{"kind": "grade", "what": what, "holds": bool(holds)} for what, holds in held.items()]


def _timed(runs: dict[str, list[Row]]) -> Row:
    seconds = [s for group in runs.values() for run in group for s in run["seconds"]]
    middle = statistics.median(seconds)
    return {
        "kind": "time", "what": "one edit after its covariance, beside the limit", "ours": middle,
        "peer": LIMIT, "ratio": LIMIT / middle, "unit": "s", "max_abs_diff": 0.0,
        "slowest": max(seconds), "runs": len(seconds),
    }  # fmt: skip


def table(rows: list[Row]) -> str:
    """The rows as Markdown: methods, networks, orderings, time."""
    methods = [row for row in rows if row["kind"] == "method"]
    metrics = list(methods[0]["numbers"])
    lines = [f"| network, method | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    lines += [f"| {row['what']} | {' | '.join(map(_cell, row['numbers'].values()))} |"
              for row in methods]  # fmt: skip
    networks = [row for row in rows if row["kind"] == "network"]
    heads = ("facts known", "traced by noise", "by a swap", "in force at the end", "untouched kept")
    lines += ["", f"| networks: mean, lowest, highest | {' | '.join(heads)} |",
              "|---" * (len(heads) + 1) + "|"]  # fmt: skip
    for row in networks:
        cells = " | ".join(map(_cell, row["numbers"].values()))
        lines.append(f"| {row['what']}, {row['edits']} edits each | {cells} |")
    lines += ["", "| should hold | |", "|---|---|"]
    lines += [f"| {row['what']} | {'holds' if row['holds'] else 'does not hold'} |"
              for row in rows if row["kind"] == "grade"]  # fmt: skip
    (time,) = (row for row in rows if row["kind"] == "time")
    lines += ["", f"{time['what']}: median {time['ours']:.2f} s, slowest {time['slowest']:.2f} s of"
              f" {time['runs']}; limit {time['peer']:g} s."]  # fmt: skip
    return "\n".join(lines)


def _cell(e: dict[str, float]) -> str:
    return f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]"
