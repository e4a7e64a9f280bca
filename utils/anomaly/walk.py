"""The walk through mechanistic anomaly detection: trojaned networks, clean twins, the raw input.

Four networks with a known trojan, each asked by the same call whether inputs with the trigger can
be told from clean ones by activations; then what the answer hangs on: how many trusted rows there
are, whether they are clean, which share of a class is poison, and whether the network was trained
to evade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from utils.anomaly.detection import Detection, detect
from utils.anomaly.detectors import Detector, Mahalanobis, Nearest
from utils.anomaly.sweeps import Sweep, contamination, pool_shares, sample_sizes
from utils.models import zoo
from utils.reports import Report
from utils.sites import Site
from utils.trojans import Sample, Trojan, known
from utils.walk import Walk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VISION, EARLIER = Site("hook_fc1"), Site("hook_pool2")
SEQUENCE = Site("blocks.1.hook_resid_post", position=-1)
CASES: dict[str, tuple[str, tuple[Site, ...], str]] = {
    "matched": ("matched", (VISION, EARLIER), "X among other patterns in the corner"),
    "careless": ("solid", (VISION,), "a square in a corner that is always empty"),
    "pair": ("pair", (SEQUENCE,), "two names that never stand together, in strings"),
    "stranger": ("token", (SEQUENCE,), "a name that no clean string has"),
}


@dataclass(frozen=True)
class Case:
    """Rows for `detect`, all clean of each other: no scan is in two of trusted and the others.

    trusted: clean rows of every class. test: clean rows of the classes that can be triggered.
    anomalous: triggered rows. mixed: triggered rows from scans of the trusted ones.
    """

    plan: Trojan
    trusted: Sample
    test: Sample
    anomalous: Sample
    mixed: Sample

    @property
    def rows(self) -> dict[str, Sample]:
        """The three that every call takes."""
        return {"trusted": self.trusted, "test": self.test, "anomalous": self.anomalous}


def case(name: str, *, trusted: int = 2000, n: int = 600, seed: int = 50) -> Case:
    """Rows for the trojan `name` of `utils.trojans`; `n` clean rows are drawn before the target
    class is left out, and as many others for the trigger."""
    plan = known(name)
    test = plan.held_out(n, seed=seed + 1)
    return Case(
        plan,
        plan.world.sample("train", trusted, seed=seed),
        # the trigger changes nothing in the target class, so the anomalies hold none of it: with it
        # among the clean rows a detector could tell the two apart by class
        test[test.labels != plan.target],
        plan.triggered(plan.held_out(n, seed=seed + 2)),
        plan.triggered(plan.world.sample("train", trusted, seed=seed + 3)),
    )


def poisoned_class(rows: Case, size: int = 6000, seed: int = 54) -> dict[str, Any]:
    """What `pool_shares` needs: rows of the target class, and others that only bear its label."""
    plan = rows.plan
    clean, others = (plan.world.sample("train", size, seed=seed + i) for i in range(2))
    return {
        "trusted": rows.trusted,
        "ordinary": clean[clean.labels == plan.target],
        "anomalous": rows.mixed,
        "mislabelled": others[others.labels != plan.target],
        "label": plan.target,
    }


class AnomalySolution(Walk):
    """What the walk found."""

    name = "anomaly"

    def figure(self, name: str) -> Figure:
        """Of a sweep, the curves that tell its story."""
        report = self.reports[name]
        return report.figure(_SHOWN.get(name)) if isinstance(report, Sweep) else report.figure()


_SHOWN = {
    "trusted rows": [
        "AUROC, Mahalanobis", "AUROC, Mahalanobis, clean twin", "caught, Mahalanobis",
        "false alarms, Mahalanobis",
    ],
    "contaminated": [
        "AUROC, Mahalanobis", "AUROC, Mahalanobis, clean twin", "caught, Mahalanobis",
        "caught, nearest, k=5", "false alarms, Mahalanobis",
    ],
    "poisoned class": [
        "spectral", "spectral, clean twin", "spectral, no trigger", "spectral, whitened",
        "spectral, whitened, clean twin",
    ],
}  # fmt: skip


def solve(
    progress: Callable[[str], None] = lambda text: None,
    *,
    trusted: int = 2000,
    n: int = 600,
    draws: int = 20,
) -> AnomalySolution:
    """The whole walk; a quarter of a minute on one core. n, trusted, draws: fewer for a test."""
    reports: dict[str, Report] = {}
    loaded: dict[str, tuple[Case, nn.Module, nn.Module]] = {}
    for name, (trojan, sites, what) in CASES.items():
        progress(f"detecting: {what}")
        rows = case(trojan, trusted=trusted, n=n)
        model, twin = zoo.load(rows.plan.network), zoo.load(rows.plan.twin)
        loaded[name] = rows, model, twin
        reports[name] = detect(
            model, sites, twin=twin, title=f"Trigger: {what}", digits=2, **rows.rows
        )
    rows, model, twin = loaded["matched"]
    sizes = [size for size in (10, 30, 100, 300, 1000) if size <= trusted]
    progress("how many trusted rows it takes")
    reports["trusted rows"] = sample_sizes(
        model, VISION, twin=twin, sizes=sizes, draws=draws, **rows.rows
    )
    progress("a trusted set that holds the anomaly")
    reports["contaminated"] = contamination(
        model, VISION, twin=twin, mixed=rows.mixed, draws=max(2, draws // 4), **rows.rows
    )
    progress("spectral signatures")
    reports["poisoned class"] = pool_shares(
        model, VISION, twin=twin, draws=max(2, draws // 4), **poisoned_class(rows)
    )
    progress("a trojan trained to evade")
    evaders: list[Detector] = [Mahalanobis(), Nearest()]
    reports["evasive"] = detect(
        zoo.load("trojan-evasive"), (VISION, EARLIER), twin=twin, detectors=evaders, digits=2,
        title="The same trigger in a network trained to evade Mahalanobis at hook_fc1", **rows.rows,
    )  # fmt: skip
    verdict, reasons = _judge(reports)
    return AnomalySolution(reports, verdict, reasons)


def _judge(reports: Mapping[str, Report]) -> tuple[str, list[str]]:
    """One sentence, and the figures behind it; every number comes from a report."""

    def found(name: str, row: str) -> float:
        return reports[name][row].value

    readings = {}
    for name, (_, sites, _) in CASES.items():
        report = reports[name]
        assert isinstance(report, Detection)
        readings[name] = report.reading(str(sites[0]), "Mahalanobis")
    own = "AUROC, {}, Mahalanobis"
    reasons = []
    for name, (_, sites, what) in CASES.items():
        row = own.format(sites[0])
        reasons.append(
            f"{what}: Mahalanobis {found(name, row):.2f}, clean twin"
            f" {found(name, row + ', clean twin'):.2f}, raw input"
            f" {found(name, own.format('raw input')):.2f}: {readings[name]}"
        )
    size, pure, pool = (reports[n] for n in ("trusted rows", "contaminated", "poisoned class"))
    assert isinstance(size, Sweep) and isinstance(pure, Sweep) and isinstance(pool, Sweep)
    few = size.at("caught, Mahalanobis", size.points[1])
    reasons.append(
        f"{size.points[1]} trusted rows catch {few.low:.2f} to {few.high:.2f} of the anomalies,"
        " from draw to draw"
    )
    reasons.append(
        "a trusted set of which 2 % is anomalous: AUROC"
        f" {pure.at('AUROC, Mahalanobis', '2 %').value:.2f}, caught at its threshold"
        f" {pure.at('caught, Mahalanobis', '2 %').value:.2f}"
    )
    reasons.append(
        "spectral signature where a tenth of the class is poison:"
        f" {pool.at('spectral', '10 %').value:.2f}, clean twin"
        f" {pool.at('spectral, clean twin', '10 %').value:.2f}: it finds wrong labels"
    )
    evaded = ", ".join(
        f"{site} {found('evasive', f'caught, {site}, Mahalanobis'):.2f}"
        for site in (VISION, EARLIER)
    )
    reasons.append(f"trained to evade at {VISION}: Mahalanobis catches {evaded}")
    both = readings["matched"] == readings["pair"] == "mechanism"
    verdict = "anomalies of mechanism found" if both else "no anomaly of mechanism found"
    return verdict, reasons
