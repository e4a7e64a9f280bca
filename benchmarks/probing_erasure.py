"""Erasure on the truth language over three networks, and a habit folded out of a generator.

Networks of three seeds; the first two are shipped, the third is trained here. No prompt is both
fitted and judged on: each probe is trained on one half of the judged prompts and asked about the
other. Intervals are 95 %: networks are resampled, and prompts within them. Then what should hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

FINAL, MIDDLE, EARLY = (
    "blocks.1.hook_resid_post", "blocks.1.hook_resid_mid", "blocks.0.hook_resid_post",
)  # fmt: skip
ROWS = 9000
ERASERS = (
    "nothing", "LEACE", "mean difference", "INLP, one step", "INLP, ten steps",
    "LEACE, joint", "LEACE, four verdicts", "LEACE, agrees", "LEACE, random labels",
    "random direction",
)  # fmt: skip
SETTINGS = (
    *((FINAL, name) for name in ERASERS),
    (MIDDLE, "nothing"), (MIDDLE, "LEACE"), (MIDDLE, "LEACE, joint"),
    (EARLY, "nothing"), (EARLY, "LEACE"),
)  # fmt: skip
COLUMNS = ("linear, correct", "linear, agrees", "within one opinion", "MLP, correct",
           "network, correct", "network, agrees")  # fmt: skip
PLACES = {FINAL: "end", MIDDLE: "middle of layer 1", EARLY: "end of layer 0"}
Row = dict[str, Any]


def rows(quick: bool = False, seeds: int = 3) -> list[Row]:
    """Erasers, edges, the edit, what should hold, time. `quick`: one network, few texts."""
    import torch

    from utils.challenges import manners as walk

    torch.set_num_threads(1)
    runs = [_network(seed) for seed in ((1,) if quick else range(seeds))]
    found = [_setting(place, name, [run[place, name] for run in runs]) for place, name in SETTINGS]
    found.append({
        "kind": "edges", "what": "cosine of the edges wrong to correct, by opinion", "unit": "",
        "ours": sum(run["cosine"] for run in runs) / len(runs),
        "cosines": [run["cosine"] for run in runs],
        "kept": [_mean(run[FINAL, "LEACE"]["network, correct"]) for run in runs],
    })  # fmt: skip
    solved = walk.solve(**({"n": 100, "fit": 150, "draws": 2, "steps": 6} if quick else {}))
    found += _edit(solved.reports)
    same = _timed(runs=1 if quick else 9)
    return [*found, *_orderings(runs, walk.claims(solved.reports), same), same]


def table(rows: list[Row]) -> str:
    """The rows as Markdown: erasers, edges, the edit, what should hold, time."""
    lines = ["| erased | " + " | ".join(COLUMNS) + " | variance moved |",
             "|---|" + "---|" * (len(COLUMNS) + 1)]  # fmt: skip
    for row in rows:
        if row["kind"] == "setting":
            cells = [_cell(row["numbers"].get(column)) for column in COLUMNS]
            lines.append(f"| {row['what']} | {' | '.join(cells)} | {row['moved']:.2f} |")
    (edges,) = (row for row in rows if row["kind"] == "edges")
    lines += ["", "| network | cosine of its edges | network, correct, after LEACE at the end |",
              "|---|--:|--:|"]  # fmt: skip
    for number, (cosine, kept) in enumerate(zip(edges["cosines"], edges["kept"], strict=True)):
        lines.append(f"| {number} | {cosine:.2f} | {kept:.2f} |")
    lines += ["", "| the edit of a generator | |", "|---|---|"]
    lines += [f"| {row['what']} | {_cell(row['numbers'], 3)} |"
              for row in rows if row["kind"] == "edit"]  # fmt: skip
    lines += ["", "| should hold | |", "|---|---|"]
    for row in rows:
        if row["kind"] == "ordering":
            told = "holds" if row["holds"] else "does not hold"
            lines.append(f"| {row['what']} | {told}{row['note'] and ' (' + row['note'] + ')'} |")
    (row,) = (row for row in rows if row["kind"] == "time")
    ours, peer = (1000 * row[side] for side in ("ours", "peer"))
    lines += ["", f"{row['what']}: {ours:.1f} ms, {peer:.1f} ms; largest difference of the"
              f" projections {row['max_abs_diff']:.0e}."]  # fmt: skip
    return "\n".join(lines)


def _cell(numbers: dict[str, float] | None, digits: int = 2) -> str:
    if numbers is None:
        return ""
    return (f"{numbers['value']:.{digits}f} [{numbers['low']:.{digits}f},"
            f" {numbers['high']:.{digits}f}]")  # fmt: skip


# --- one network ---------------------------------------------------------------------------------


def _network(seed: int) -> Row:
    """Every setting on one network: for each instrument what is right of each judged prompt."""
    import numpy as np
    import torch

    from utils.data import truth
    from utils.models import zoo
    from utils.models.recipes import build_truth, train_truth
    from utils.probing.classifiers import fitted, linear, mlp
    from utils.sites import Site

    if seed < 2:
        model = zoo.load(("truth", "truth-second")[seed])
    else:
        model = build_truth(seed)
        train_truth(model, lambda *step: None, seed=seed)
    model.eval().requires_grad_(False)
    drawn = truth.statements(ROWS, 3000 + seed, opinions=truth.SPOKEN)
    prompt = (truth.fact(drawn) * truth.VALUES + drawn[:, 2]) * 2 + drawn[:, 3]
    names = prompt.unique()
    order = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    sixth = len(order) // 6
    parts = [torch.isin(prompt, order[i * sixth : (i + 1) * sixth]) for i in range(2)]
    fit, held = drawn[~parts[0] & ~parts[1]], drawn[parts[0] | parts[1]]
    half = parts[0][parts[0] | parts[1]].numpy()
    groups = prompt[parts[0] | parts[1]].numpy()
    correct, agrees = truth.is_correct(held), truth.agrees(held)

    def told(kind: Callable[[], Any], x: Any, labels: Any) -> Any:
        right = np.zeros(len(x))
        for a in (half, ~half):
            right[~a] = fitted(kind(), x[a], labels[a]).predict(x[~a]) == labels[~a]
        return right

    def by_prompt(right: Any) -> Any:
        """Rows that are right, and rows, of each prompt: [prompts, 2]. Half of the rows are about
        true statements, so their prompts come more often than others and must count for more."""
        return np.array(
            [(right[groups == g].sum(), (groups == g).sum()) for g in np.unique(groups)]
        )

    run: Row = {}
    for place in (FINAL, MIDDLE, EARLY):
        site = Site(place, position=truth.LENGTH - 1)
        x_fit, x = (site.read(model, part).double() for part in (fit, held))
        makers = _makers(x_fit, fit, seed)
        for name in (name for where, name in SETTINGS if where == place):
            eraser = makers[name]()
            change = eraser.apply if eraser is not None else (lambda old: old)
            y = change(x).numpy()
            c, a = correct.numpy(), agrees.numpy()
            within = np.zeros(len(y))
            for said in (True, False):
                mine = a == said
                for one in (half, ~half):
                    probe = fitted(linear(), y[mine & one], c[mine & one])
                    within[mine & ~one] = probe.predict(y[mine & ~one]) == c[mine & ~one]
            said = site.write(model, held, change, allow_unchanged=True)[:, -1].argmax(-1)
            run[place, name] = {
                "linear, correct": by_prompt(told(linear, y, c)),
                "linear, agrees": by_prompt(told(linear, y, a)),
                "within one opinion": by_prompt(within),
                "network, correct": by_prompt(((said >= 3) == correct).double().numpy()),
                "network, agrees": by_prompt(((said % 3 == 2) == agrees).double().numpy()),
                "moved": float(((change(x) - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()),
            }
            if name in ("nothing", "LEACE", "LEACE, joint"):
                run[place, name]["MLP, correct"] = by_prompt(told(lambda: mlp(64), y, c))
        if place == FINAL:
            right, agree = truth.is_correct(fit), truth.agrees(fit)
            edges = [x_fit[right & p].mean(0) - x_fit[~right & p].mean(0) for p in (agree, ~agree)]
            run["cosine"] = float(torch.cosine_similarity(*edges, dim=0))
    return run


def _makers(x: Any, fit: Any, seed: int) -> dict[str, Callable[[], Any]]:
    """The erasers by name, each fitted on the rows x of `fit`."""
    import torch

    from utils.data import truth
    from utils.probing.erasure import erase
    from utils.probing.weights import along

    correct, agrees = truth.is_correct(fit), truth.agrees(fit)
    c, a = (2 * part.double() - 1 for part in (correct, agrees))
    draw = torch.Generator().manual_seed(seed)
    shuffled = correct[torch.randperm(len(correct), generator=draw)]
    return {
        "nothing": lambda: None,
        "LEACE": lambda: erase(x, correct),
        "mean difference": lambda: erase(x, correct, "mean"),
        "INLP, one step": lambda: erase(x, correct, "inlp"),
        "INLP, ten steps": lambda: erase(x, correct, "inlp", steps=10),
        "LEACE, joint": lambda: erase(x, torch.stack([c, c * a], 1)),
        "LEACE, four verdicts": lambda: erase(x, truth.verdict(fit)),
        "LEACE, agrees": lambda: erase(x, agrees),
        "LEACE, random labels": lambda: erase(x, shuffled),
        "random direction": lambda: along(torch.randn(x.shape[1], generator=draw), x.mean(0)),
    }


# --- over the networks ---------------------------------------------------------------------------


def _mean(counts: Any) -> float:
    """counts: [prompts, 2], right and in all."""
    right, all_rows = counts.sum(0)
    return float(right / all_rows)


def _interval(networks: list[Any], resamples: int = 1000) -> dict[str, float]:
    """Mean over networks, 95 %; networks are resampled, and prompts within them."""
    import numpy as np

    rng, value = np.random.default_rng(0), float(np.mean([_mean(one) for one in networks]))
    draws = []
    for _ in range(resamples):
        picked = [networks[i] for i in rng.integers(len(networks), size=len(networks))]
        draws.append(np.mean([_mean(one[rng.integers(len(one), size=len(one))]) for one in picked]))
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value),
            "n": len(networks)}  # fmt: skip


def _setting(place: str, name: str, found: list[Row]) -> Row:
    numbers = {column: _interval([one[column] for one in found])
               for column in COLUMNS if column in found[0]}  # fmt: skip
    return {
        "kind": "setting", "what": f"{PLACES[place]}: {name}", "unit": "share",
        "ours": numbers["linear, correct"]["value"], "numbers": numbers,
        "each": {column: [_mean(one[column]) for one in found] for column in numbers},
        "moved": sum(one["moved"] for one in found) / len(found),
    }  # fmt: skip


def _edit(reports: Any) -> list[Row]:
    """The rows of the walk on manners; from the shipped generator."""
    return [
        {"kind": "edit", "what": row.name, "unit": "share", "ours": row.estimate.value,
         "numbers": row.estimate.as_dict()}
        for name in ("effect", "elsewhere") for row in reports[name]
        if not row.name.startswith("before:")
    ]  # fmt: skip


def _orderings(runs: list[Row], edit: dict[str, bool], same: Row) -> list[Row]:
    """What should hold, true only where it holds on every network; the note counts them."""

    def at(run: Row, name: str, column: str, place: str = FINAL) -> float:
        return _mean(run[place, name][column])

    def near(value: float, wanted: float, by: float) -> bool:
        return abs(value - wanted) <= by

    joint, random = "LEACE, joint", "LEACE, random labels"
    claims: dict[str, Callable[[Row], bool]] = {
        "LEACE at the end: a linear probe of held-out prompts within .05 of chance":
            lambda r: near(at(r, "LEACE", "linear, correct"), 0.5, 0.05),
        "LEACE in the middle of layer 1: within .05 of chance":
            lambda r: near(at(r, "LEACE", "linear, correct", MIDDLE), 0.5, 0.05),
        "LEACE at the end: the kept concept stays at .99 or more":
            lambda r: at(r, "LEACE", "linear, agrees") >= 0.99
            and at(r, "LEACE", "network, agrees") >= 0.99,
        "LEACE at the end: an MLP reads it at .9 or more":
            lambda r: at(r, "LEACE", "MLP, correct") >= 0.9,
        "LEACE at the end: linear within one opinion at .9 or more":
            lambda r: at(r, "LEACE", "within one opinion") >= 0.9,
        "LEACE at the end: the network stays right in .7 of the rows or more":
            lambda r: at(r, "LEACE", "network, correct") >= 0.7,
        "LEACE in the middle of layer 1: the network stays right in .7 or more":
            lambda r: at(r, "LEACE", "network, correct", MIDDLE) >= 0.7,
        "joint erasure at the end: the network is right in .6 or fewer, agreement .99 or more":
            lambda r: at(r, joint, "network, correct") <= 0.6
            and at(r, joint, "network, agrees") >= 0.99,
        "INLP, one step: no guard (linear probe above .8)":
            lambda r: at(r, "INLP, one step", "linear, correct") > 0.8,
        "LEACE at the end of layer 0: the network stays as right as it was (within .02)":
            lambda r: near(at(r, "LEACE", "network, correct", EARLY),
                           at(r, "nothing", "network, correct", EARLY), 0.02),
        "random labels change nothing: probe and network within .02":
            lambda r: all(near(at(r, random, c), at(r, "nothing", c), 0.02)
                          for c in ("linear, correct", "network, correct", "network, agrees")),
        "a random direction changes nothing: probe and network within .02":
            lambda r: all(near(at(r, "random direction", c), at(r, "nothing", c), 0.02)
                          for c in ("linear, correct", "network, correct", "network, agrees")),
    }  # fmt: skip
    found = []
    for what, test in claims.items():
        held = sum(bool(test(run)) for run in runs)
        found.append(_ordering(what, held == len(runs), f"{held} of {len(runs)} networks"))
    order = sorted(runs, key=lambda run: run["cosine"])
    kept = [at(run, "LEACE", "network, correct") for run in order]
    found.append(_ordering(
        "the more parallel the edges, the less of the behaviour LEACE leaves",
        kept == sorted(kept, reverse=True), f"in order: {', '.join(f'{k:.2f}' for k in kept)}",
    ))  # fmt: skip
    found.append(_ordering("eight lines give the package's projection to 1e-5",
                           same["max_abs_diff"] <= 1e-5))  # fmt: skip
    return found + [_ordering(f"the edit: {what}", holds) for what, holds in edit.items()]


def _ordering(what: str, holds: bool, note: str = "") -> Row:
    return {"kind": "ordering", "what": what, "unit": "", "ours": float(holds),
            "holds": bool(holds), "note": note}  # fmt: skip


# --- LEACE in eight lines, against its authors' package -------------------------------------------


def _eight_lines(x: Any, z: Any) -> Any:
    import torch

    x, z = x - x.mean(0), z - z.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    root = values.clamp(min=1e-10).sqrt()
    whiten, back = vectors / root @ vectors.T, vectors * root @ vectors.T
    u, size, _ = torch.linalg.svd(whiten @ (x.T @ z / len(x)), full_matrices=False)
    u = u[:, size > 1e-6]
    return torch.eye(x.shape[1], dtype=x.dtype) - back @ u @ u.T @ whiten


def _timed(runs: int) -> Row:
    import torch
    from concept_erasure import LeaceFitter

    from utils.data import truth
    from utils.models import zoo
    from utils.sites import Site

    drawn = truth.statements(4000, 5, opinions=truth.SPOKEN)
    x = Site(FINAL, position=truth.LENGTH - 1).read(zoo.load("truth"), drawn).double()
    z = torch.stack([truth.is_correct(drawn), truth.agrees(drawn)], 1).double()

    def package() -> Any:
        return LeaceFitter.fit(x, z, svd_tol=1e-6, shrinkage=False).eraser.P

    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    maps = {}
    for _ in range(runs + 1):  # the first warms up
        for side, make in (("ours", lambda: _eight_lines(x, z)), ("peer", package)):
            start = time.perf_counter()
            maps[side] = make()
            seconds[side].append(time.perf_counter() - start)
    ours, peer = (sorted(seconds[side][1:])[runs // 2] for side in ("ours", "peer"))
    return {
        "kind": "time", "what": "LEACE of 4,000 rows of 64, two labels: eight lines, the package",
        "unit": "s", "ours": ours, "peer": peer, "ratio": peer / ours,
        "max_abs_diff": float((maps["ours"] - maps["peer"]).abs().max()),
    }  # fmt: skip
