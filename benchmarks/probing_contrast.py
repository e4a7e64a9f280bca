"""Contrast pairs on the truth language: what ten restarts find, over three networks.

Networks of three seeds; the first is the shipped one, the others are trained here. A third of the
subjects is held out everywhere. Rows hold what was found, then each ordering that should hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

FINAL, EARLY = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
PAIRS, RESTARTS, DOSE = 1500, 10, 1.5
Row = dict[str, Any]


def rows(quick: bool = False, seeds: int = 3) -> list[Row]:
    """One row a setting and quantity, one an ordering, one for time. `quick`: one network."""
    import torch

    torch.set_num_threads(1)
    runs = [_network(seed) for seed in range(1 if quick else seeds)]
    settings = [_setting(name, [run[name] for run in runs]) for name in SETTINGS]
    moved = [_moved(name, [run["steering"][name] for run in runs]) for name in STEERED]
    return settings + moved + _orderings(runs) + [_timed(runs=1 if quick else 5)]


def table(rows: list[Row]) -> str:
    """The rows as Markdown: settings, steering, orderings, time."""
    lines = [
        "| setting | restarts that find truth | ... the opinion | CCS accuracy | highest loss "
        "| regression | mass mean | first component | random direction |",
        "|---|---|---|---|--:|---|---|---|---|",
    ]
    for row in rows:
        if row["kind"] == "setting":
            found = [_count(row[key]) for key in ("truth", "opinion")]
            shares = [_range(row[key]) for key in ("regression", "mass mean", "first", "random")]
            lines.append(
                f"| {row['what']} | {found[0]} | {found[1]} | {_range(row['ccs'])} "
                f"| {row['loss']:.3f} | {' | '.join(shares)} |"
            )
    lines += ["", "| added at the end of the network | verdicts that change | agreement kept |",
              "|---|---|---|"]  # fmt: skip
    for row in rows:
        if row["kind"] == "steering":
            lines.append(f"| {row['what']} | {_range(row['flips'])} | {_range(row['kept'])} |")
    lines += ["", "| ordering | |", "|---|---|"]
    for row in rows:
        if row["kind"] == "ordering":
            lines.append(f"| {row['what']} | {'holds' if row['holds'] else 'does not hold'} |")
    (row,) = (r for r in rows if r["kind"] == "time")
    lines += ["", f"{row['what']}: {row['ours']:.2f} s, {row['peer']:.2f} s, {row['ratio']:.1f}x; "
              f"largest difference of a loss {row['max_abs_diff']:.0e}."]  # fmt: skip
    return "\n".join(lines)


def _count(value: Any) -> str:
    if value is None:
        return ""
    found, low, high, n = value
    return f"{found} of {n} [{low:.2f}, {high:.2f}]"


def _range(values: list[float]) -> str:
    """Mean over networks, and from the lowest to the highest."""
    mean = sum(values) / len(values)
    return f"{mean:.2f}" + (f" [{min(values):.2f}, {max(values):.2f}]" if len(values) > 1 else "")


# --- one network ---------------------------------------------------------------------------------


def _spoken() -> dict[str, tuple[int, ...]]:
    from utils.data import truth

    return {
        "no opinion": (truth.SILENT,),
        "random opinion": truth.SPOKEN,
        "always said to be true": (truth.SAYS_TRUE,),
        "always said to be false": (truth.SAYS_FALSE,),
    }


SETTINGS = (
    "no opinion", "random opinion", "always said to be true", "always said to be false",
    "opinion always right, same pairs", "opinion always right, other pairs",
    "layer 0, no opinion", "layer 0, random opinion",
)  # fmt: skip
STEERED = (
    "difference of class means", "pattern of CCS", "pattern of the first component",
    "readout of CCS", "readout of regression", "random directions",
)  # fmt: skip


def _network(seed: int) -> dict[str, Any]:
    """All the settings on one network, by name; and what steering does to it."""
    import torch

    from utils.data import truth
    from utils.models import zoo
    from utils.models.recipes import build_truth, train_truth
    from utils.probing.contrast import contrast
    from utils.probing.rows import Split
    from utils.sites import Site

    if seed:
        model = build_truth(seed)
        train_truth(model, lambda *step: None, seed=seed)
    else:
        model = zoo.load("truth")
    model.requires_grad_(False)
    order = torch.randperm(truth.SUBJECTS, generator=torch.Generator().manual_seed(seed))
    apart = order[: truth.SUBJECTS // 3]

    def look(hook: str, opinions: tuple[int, ...], kept: Callable[..., Any] | None = None,
             others: bool = False) -> Any:  # fmt: skip
        """`contrast`, fitted on the pairs kept; on held-out pairs kept, or all of them."""
        many = PAIRS if kept is None else 2 * PAIRS
        yes, no = truth.pairs(many, 1000 + seed, opinions=opinions)
        held, site = torch.isin(yes[:, 0], apart), Site(hook, position=truth.LENGTH - 1)
        keep = torch.ones_like(held) if kept is None else kept(yes)
        parts = (keep & ~held, held if others else keep & held)
        known = truth.concepts(yes)
        known = {"opinion": known["opinion"]} if "opinion" in known else {}
        return contrast(
            site.read(model, yes), site.read(model, no), truth.is_true(yes),
            known=known, groups=yes[:, 0], restarts=RESTARTS, seed=seed,
            rows=Split(*(part.nonzero()[:, 0].numpy() for part in parts)),
        )  # fmt: skip

    said = _spoken()
    found = {name: look(FINAL, opinions) for name, opinions in said.items()}
    for name, others in (("same", False), ("other", True)):
        found[f"opinion always right, {name} pairs"] = look(
            FINAL, truth.SPOKEN, lambda r: truth.is_true(r) == (r[:, 3] == truth.SAYS_TRUE), others
        )
    for name in ("no opinion", "random opinion"):
        found[f"layer 0, {name}"] = look(EARLY, said[name])
    return {**found, "steering": _steering(model, found["no opinion"], seed)}


def _steering(model: Any, found: Any, seed: int) -> dict[str, tuple[float, float]]:
    """Shares of verdicts that change between correct and wrong, and that keep agreement."""
    import torch

    from utils.data import truth
    from utils.sites import Site
    from utils.steering import random_directions

    statements, site = truth.statements(1000, 2000 + seed), Site(FINAL, position=truth.LENGTH - 1)
    before = model(statements)[:, -1].argmax(-1)
    towards = torch.where(before >= 3, -1.0, 1.0)[:, None]

    def moved(direction: Any) -> tuple[float, float]:
        after = site.write(model, statements, lambda old: old + DOSE * towards * direction)
        after = after[:, -1].argmax(-1)
        flips, kept = (after >= 3) != (before >= 3), after % 3 == before % 3
        return flips.double().mean().item(), kept.double().mean().item()

    means = found.directions["mass mean"]
    length = float(means.norm())
    draws = [moved(d) for d in random_directions(len(means), 100, seed=seed, norm=length)]
    cosine = torch.cosine_similarity(found.readouts["logistic regression"], means, dim=0)
    return {
        "difference of class means": moved(means),
        "pattern of CCS": moved(found.directions["CCS 1"]),
        "pattern of the first component": moved(found.directions["first component"]),
        "readout of CCS": moved(found.readouts["CCS 1"] * length),
        "readout of regression": moved(found.readouts["logistic regression"] * length),
        "random directions": tuple(sum(x) / len(draws) for x in zip(*draws, strict=True)),
        "cosine": (float(cosine), 0.0),
    }


# --- over the networks ---------------------------------------------------------------------------


def _setting(name: str, found: list[Any]) -> Row:
    from utils.reports import Estimate

    def count(concept: str) -> tuple[int, float, float, int] | None:
        if concept not in found[0].restarts[0].accuracy:
            return None
        n = sum(len(f.restarts) for f in found)
        e = Estimate.proportion(sum(f.found(concept) for f in found), n)
        return round(e.value * n), e.low, e.high, n

    def each(row: str) -> list[float]:
        return [f.report[row].value for f in found]

    ccs, chance = each("CCS, truth: all restarts"), each("random directions")
    ours, peer = sum(ccs) / len(ccs), sum(chance) / len(chance)
    return {
        "kind": "setting", "what": name, "unit": "share", "ours": ours, "peer": peer,
        "ratio": ours / peer, "truth": count("truth"), "opinion": count("opinion"), "ccs": ccs,
        "loss": max(r.loss for f in found for r in f.restarts),
        "regression": each("logistic regression, truth"), "mass mean": each("mass mean, truth"),
        "first": each("first component, truth"), "random": chance,
    }  # fmt: skip


def _moved(name: str, shares: list[tuple[float, float]]) -> Row:
    flips, kept = ([share[i] for share in shares] for i in (0, 1))
    return {"kind": "steering", "what": name, "unit": "share", "ours": sum(flips) / len(flips),
            "flips": flips, "kept": kept}  # fmt: skip


def _orderings(runs: list[dict[str, Any]]) -> list[Row]:
    """Each ordering, true only where it holds on every network."""

    def everywhere(test: Callable[[dict[str, Any]], bool]) -> bool:
        return all(test(run) for run in runs)

    def share(run: dict[str, Any], setting: str, row: str) -> float:
        return run[setting].report[row].value

    def flips(run: dict[str, Any], name: str) -> float:
        return run["steering"][name][0]

    constant = ("always said to be true", "always said to be false")
    ccs, regression = "CCS, truth: all restarts", "logistic regression, truth"
    claims = {
        "no opinion: at least 9 of 10 restarts find truth":
            lambda r: r["no opinion"].found("truth") >= 9,
        "no opinion: a random direction is right on more than .75 on average":
            lambda r: share(r, "no opinion", "random directions") > 0.75,
        "random opinion: restarts of both kinds, none of a third":
            lambda r: 0 < r["random opinion"].found("opinion") < 10
            and r["random opinion"].found("truth") + r["random opinion"].found("opinion") == 10,
        "random opinion: every loss is below a tenth of that of broken pairs":
            lambda r: max(x.loss for x in r["random opinion"].restarts)
            < 0.1 * share(r, "random opinion", "CCS loss, pairs broken up"),
        "random opinion: the restart of lowest loss finds the opinion":
            lambda r: r["random opinion"].restarts[r["random opinion"].lowest].accuracy["opinion"]
            >= 0.95,
        "constant opinion, either: at least 9 of 10 restarts find truth":
            lambda r: all(r[name].found("truth") >= 9 for name in constant),
        "opinion always right: 10 of 10 restarts look right on such pairs, at most 3 on others":
            lambda r: r["opinion always right, same pairs"].found("truth") == 10
            and r["opinion always right, other pairs"].found("truth") <= 3,
        "layer 0, random opinion: at least 9 of 10 restarts find the opinion":
            lambda r: r["layer 0, random opinion"].found("opinion") >= 9,
        "layer 0, no opinion: no restart finds truth":
            lambda r: r["layer 0, no opinion"].found("truth") == 0,
        "layer 0, no opinion: regression is better than CCS by .05":
            lambda r: share(r, "layer 0, no opinion", regression)
            > share(r, "layer 0, no opinion", ccs) + 0.05,
        "steering: the pattern of CCS changes more than .9, random directions less than a quarter":
            lambda r: flips(r, "pattern of CCS") > 0.9 and flips(r, "random directions") < 0.25,
        "steering: the readout of CCS changes less than half of what its pattern does":
            lambda r: flips(r, "readout of CCS") < 0.5 * flips(r, "pattern of CCS"),
        "steering: the readout of regression lies along the class means (cosine above .9)":
            lambda r: r["steering"]["cosine"][0] > 0.9,
    }  # fmt: skip
    return [
        {"kind": "ordering", "what": what, "unit": "", "ours": float(holds), "holds": holds}
        for what, holds in ((what, everywhere(test)) for what, test in claims.items())
    ]


# --- time ----------------------------------------------------------------------------------------


def _timed(runs: int) -> Row:
    """All restarts as one problem, against one after the other, as published code does it."""
    import torch

    from utils.data import truth
    from utils.models import zoo
    from utils.probing.ccs import Normaliser, fit_ccs
    from utils.sites import Site
    from utils.steering import random_directions

    site = Site(FINAL, position=truth.LENGTH - 1)
    model = zoo.load("truth")
    yes, no = (site.read(model, side).numpy() for side in truth.pairs(1000, 5))
    pairs = Normaliser.fit(yes, no)(yes, no)

    def together() -> Any:
        return fit_ccs(*pairs, restarts=RESTARTS).loss

    def in_turn() -> Any:
        starts = random_directions(yes.shape[1], RESTARTS).split(1)
        return torch.cat([fit_ccs(*pairs, start=start).loss for start in starts])

    together()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    losses = {}
    for _ in range(runs):
        for side, run in (("ours", together), ("peer", in_turn)):
            start = time.perf_counter()
            losses[side] = run()
            seconds[side].append(time.perf_counter() - start)
    ours_s, peer_s = (sorted(seconds[side])[runs // 2] for side in ("ours", "peer"))
    return {
        "kind": "time", "what": "10 restarts of CCS, 1,000 pairs of 64: together, in turn",
        "unit": "s", "ours": ours_s, "peer": peer_s, "ratio": peer_s / ours_s,
        "max_abs_diff": float((losses["ours"] - losses["peer"]).abs().max()),
    }  # fmt: skip
