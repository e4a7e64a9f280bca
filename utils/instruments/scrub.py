"""The hypothesis builder of lesson 06: every claim about five parts, scrubbed beforehand.

`scrub.json` holds what `compute` found: 3,125 claims, each with its interval, its nulls and its
ceiling, by the engine of `utils.scrubbing` with the strings, references and seeds of the lesson.
`python -m utils instrument scrub --refresh` makes it again (minutes); the tests compare a sample.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from utils.challenges.brackets import both_tests, claims
from utils.data import brackets
from utils.errors import CourseError
from utils.instruments.document import Instrument
from utils.models import zoo
from utils.reports import Estimate
from utils.scrubbing import Hypothesis, Node, TransformerGraph, cross_entropy
from utils.scrubbing.plan import Plan
from utils.scrubbing.runner import Runner
from utils.scrubbing.samplers import Sampler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = Path(__file__).resolve().parent / "scrub.json"
PARTS = ("a2.h0", "m0", "a0.h1", "a1.h0", "a2.h1")
FEATURES: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "horizon": brackets.horizon_test,
    "endings": brackets.endings_test,
    "count": brackets.count_test,
    "both": both_tests,
}
# those of lesson 06: its strings, 800 references, three resamples of each, two shuffles
STRINGS, SEED, BALANCED = 3000, 2**31 + 6, 0.46
REFS, RESAMPLES, SHUFFLES = 800, 3, 2
FOUR = PARTS[:4]
Progress = Callable[[int, int], None]
Claim = tuple[str, ...]  # a feature for each of PARTS


def accounts() -> dict[str, Claim]:
    """Claims to start from, by name."""
    return {
        "both ends": (*["endings"] * 4, "horizon"),
        "both ends, refined": (*["endings"] * 4, "both"),
        "count and horizon": (*["count"] * 4, "horizon"),
        "features swapped": (*["horizon"] * 4, "endings"),
        "a2.h1 alone: horizon": (*["none"] * 4, "horizon"),
        "both tests in all parts": ("both",) * 5,
        "nothing claimed": ("none",) * 5,
    }


def number(claim: Claim) -> int:
    """Its place in the table: in base 5, the first part the last digit."""
    names = list(FEATURES)
    return sum(names.index(feature) * len(names) ** k for k, feature in enumerate(claim))


def subset(claim: Claim) -> int:
    """Which parts it names, as bits; the label-only null and the ceiling hang on that alone."""
    return sum(2**k for k, feature in enumerate(claim) if feature != "none")


def every_claim() -> list[Claim]:
    """All 3,125, those that name the same parts one after the other."""
    found = [tuple(reversed(c)) for c in product(FEATURES, repeat=len(PARTS))]
    return sorted(found, key=lambda claim: (subset(claim), number(claim)))


def hypothesis(claim: Claim) -> Hypothesis:
    """The claim as the lesson's tree; with nothing claimed, the empty one."""
    told = {part: FEATURES[f] for part, f in zip(PARTS, claim, strict=True) if f != "none"}
    name = ", ".join(f"{p} {f}" for p, f in zip(PARTS, claim, strict=True) if f != "none")
    return claims(told, name) if told else Hypothesis((), "shared", "nothing claimed")


@lru_cache(maxsize=1)
def setting() -> tuple[TransformerGraph, brackets.Strings]:
    """The network of lesson 06 on its strings."""
    data = brackets.make(STRINGS, SEED, balanced=BALANCED)
    return TransformerGraph(zoo.load("brackets"), data.tokens, answer=0), data


def features_bits() -> dict[str, float]:
    """The entropy of each feature over the strings, in bits: what a swap keeps."""
    _, data = setting()
    found = {}
    for name, feature in FEATURES.items():
        if feature is None:
            found[name] = 0.0
            continue
        values = feature(data.tokens).reshape(len(data.tokens), -1)
        counts = values.unique(dim=0, return_counts=True)[1].double()
        shares = counts / counts.sum()
        found[name] = round(float(-(shares * shares.log2()).sum()), 4)
    return found


def measure(
    wanted: Iterable[Claim], progress: Progress = lambda done, total: None
) -> dict[Claim, Any]:
    """Claim -> {"recovered", "random", "label", "exact"}, an Estimate each.

    The same numbers as `scrub(graph, hypothesis, ..., refs=800, resamples=3, nulls=2)`, which makes
    the network's clean activations again for every call; here they are made once for many.
    """
    graph, data = setting()
    rows = torch.randint(STRINGS, (REFS,), generator=torch.Generator().manual_seed(0))
    run = Runner(
        graph, data.tokens, data.balanced, cross_entropy, rows, RESAMPLES, "gather", 2048, None
    )
    clean = run.clean()
    own = run.measure(clean[rows][None], rows[None])[0]
    base = run.baseline(clean, Sampler(hypothesis(("none",) * 5), data.tokens))

    share = _Shares(rows, base, own)
    found: dict[Claim, dict[str, Estimate]] = {}
    of_parts: dict[int, dict[str, Estimate]] = {}
    wanted = list(wanted)
    for done, claim in enumerate(wanted):
        tree = hypothesis(claim)
        plan, sampler = Plan(graph, tree), Sampler(tree, data.tokens)
        outputs, _ = run(tree.name, plan, sampler)
        shuffled = [run.shuffled(plan, sampler, k) for k in range(SHUFFLES)]
        key = subset(claim)
        if key not in of_parts:
            ceiling = tree.map(_exact)
            of_parts[key] = {
                "label": share(run.null(plan, sampler, data.balanced)),
                "exact": share(run.score("ceiling", ceiling, 0, None)),
            }
        found[claim] = {
            "recovered": share(run.losses(outputs).mean(0)),
            "random": share(torch.stack(shuffled).mean(0)),
            **of_parts[key],
        }
        progress(done + 1, len(wanted))
    return found


class _Shares:
    """Losses a reference -> the loss recovered with the interval that `scrub` gives it.

    `reports.bootstrap` with groups, 500 resamples: the same draws, made once and kept as a matrix,
    since here they serve thousands of claims.
    """

    def __init__(self, rows: Tensor, base: Tensor, own: Tensor, resamples: int = 500) -> None:
        self.base, self.gap = base, (own - base).double()
        self.unit = rows.unique(return_inverse=True)[1]
        units = int(self.unit.max()) + 1
        random = np.random.default_rng(0)
        picks = [random.integers(units, size=units) for _ in range(resamples)]
        drawn = np.stack([np.bincount(pick, minlength=units) for pick in picks])
        self.drawn = torch.from_numpy(drawn).double()  # [resamples, units]
        self.of_gap = self.drawn @ self._sums(self.gap)

    def _sums(self, values: Tensor) -> Tensor:
        """Sums over the references that are the same row of the data."""
        return torch.zeros(self.drawn.shape[1]).double().index_add(0, self.unit, values)

    def __call__(self, scrubbed: Tensor) -> Estimate:
        won = (scrubbed - self.base).double()
        value = float(won.sum() / self.gap.sum())
        shares = (self.drawn @ self._sums(won)) / self.of_gap
        low, high = shares.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
        return Estimate(
            value, min(low, value), max(high, value), self.drawn.shape[1],
            "percentile bootstrap 95 %, 500 resamples of groups",
        )  # fmt: skip


def _exact(path: str, node: Node) -> Node:
    return replace(node, feature="exact")


def compute(progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """The whole table: thousandths, `[value, low, high, value, low, high, ...]` by `number`, and
    for what hangs on the named parts alone by `subset`."""
    found = measure(every_claim(), progress)
    flat = {key: [0] * 3 * len(found) for key in ("recovered", "random")}
    flat |= {key: [0] * 3 * 2 ** len(PARTS) for key in ("label", "exact")}
    for claim, estimates in found.items():
        for key, estimate in estimates.items():
            at = 3 * (number(claim) if key in ("recovered", "random") else subset(claim))
            flat[key][at : at + 3] = thousandths(estimate)
    return {"network": network(), "bits": features_bits(), **flat}


def thousandths(estimate: Estimate) -> list[int]:
    """Value, low, high."""
    return [round(1000 * x) for x in (estimate.value, estimate.low, estimate.high)]


def network() -> str:
    """The SHA-256 of the weights that the table was made with."""
    return str(zoo.manifest()["brackets"]["sha256"])


def write(table: dict[str, Any], path: Path = TABLE) -> None:
    """Keep the table, a line for each list."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """What was computed beforehand. Raises CourseError where it is missing or of other weights."""
    try:
        found = json.loads(TABLE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CourseError(
            f"{TABLE.name} cannot be read ({type(error).__name__}); restore it with git, or run "
            "python -m utils instrument scrub --refresh."
        ) from error
    if found.get("network") != network():
        raise CourseError(
            "The network of lesson 06 was trained anew since its claims were scrubbed: run python "
            "-m utils instrument scrub --refresh."
        )
    return found


def stored(claim: Claim) -> dict[str, tuple[float, float, float]]:
    """What the table says of a claim: value, low, high of each of its four numbers."""
    kept = table()
    places = {"recovered": number(claim), "random": number(claim)}
    places |= {"label": subset(claim), "exact": subset(claim)}
    return {key: tuple(x / 1000 for x in kept[key][3 * k : 3 * k + 3]) for key, k in places.items()}


def data() -> dict[str, Any]:
    """What the page shows."""
    kept = table()
    names = {"none": "nothing"}
    return {
        "parts": PARTS,
        "features": [{"name": names.get(f, f), "bits": kept["bits"][f]} for f in FEATURES],
        "presets": [{"name": name, "claim": number(claim)} for name, claim in accounts().items()],
        **{key: kept[key] for key in ("recovered", "random", "label", "exact")},
    }


def bits(claim: Claim) -> float:
    """What the features of a claim hold in all."""
    return math.fsum(table()["bits"][feature] for feature in claim)


def rows() -> list[dict[str, Any]]:
    """The text twin: each account with its interval, nulls and ceiling."""
    found = []
    for name, claim in accounts().items():
        numbers = stored(claim)
        found.append(
            {"claim": name, "bits": round(bits(claim), 1)}
            | dict(zip(("recovered", "low", "high"), numbers["recovered"], strict=True))
            | {
                "random classes": numbers["random"][0],
                "label only": numbers["label"][0],
                "parts exact": numbers["exact"][0],
            }
        )
    return found


def still() -> Figure:
    """The accounts with intervals, nulls and ceiling."""
    import matplotlib.pyplot as plt

    from utils import plots

    figure, axis = plt.subplots(figsize=(8, 3.8), layout="constrained")
    marks = {
        "recovered": (plots.BLUE, "o", "the claim, with its interval"),
        "random": (plots.ORANGE, "^", "random classes of the same sizes"),
        "label": (plots.VERMILION, "v", "the label in every named part"),
        "exact": (plots.GREEN, "s", "named parts exact"),
    }
    names = list(accounts())
    for key, (tone, mark, legend) in marks.items():
        found = [stored(claim)[key] for claim in accounts().values()]
        values = [value for value, _, _ in found]
        axis.plot(values, range(len(names)), mark, color=tone, label=legend, markersize=7)
        if key == "recovered":
            axis.hlines(range(len(names)), [f[1] for f in found], [f[2] for f in found], color=tone)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlabel="loss recovered (0: a random other output, 1: the network)", xlim=(-0.05, 1.05))
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2, frameon=False)
    return figure


def make() -> Instrument:
    """The hypothesis builder."""
    best, published = (stored(accounts()[n]) for n in ("both ends, refined", "count and horizon"))
    return Instrument(
        name="scrub",
        lesson="06",
        title="Hypothesis builder: what does each part tell?",
        summary="Choose for each of five parts of the bracket checker what it tells the rest, and "
        "see at once what scrubbing that claim recovers, with its nulls and its ceiling. Try to "
        "recover 0.9 with as few bits as you can, and to find a false claim that scores well.",
        data=data(),
        sentence=f"{len(every_claim()):,} claims about five parts, each scrubbed beforehand on "
        f"{STRINGS:,} strings with {REFS} references. The refined account of both ends recovers "
        f"{best['recovered'][0]:.3f} ({best['recovered'][1]:.3f} to {best['recovered'][2]:.3f}), "
        f"random classes in its place {best['random'][0]:.3f}; count and horizon recovers "
        f"{published['recovered'][0]:.3f}.",
        table=rows(),
        still=still,
        alt="Loss recovered by seven claims. The refined account of both ends lies near the "
        "ceiling, count and horizon well below it, random classes lowest; the label in every part "
        "is near one for each of the claims that name all five parts.",
        scripts=("shared.js", "scrub.js"),
        digits=3,
        height=1180,
    )
