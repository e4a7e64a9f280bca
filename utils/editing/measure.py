"""What an edit did: five numbers, each with its protocol, beside edits that should do worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from utils.editing import edits as editing
from utils.editing.maps import Covariance, EditingError, LinearMap, covariance, linear_behind
from utils.editing.requests import Request, check, logits_of
from utils.reports import Estimate, Report, Role, Row, bootstrap
from utils.sites import Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Score = Literal["argmax", "compare"]
METHODS: dict[str, Role] = {
    "rank-one edit": "result",
    "identity covariance": "control",
    "random key": "null",
    "wrong site": "control",
    "fine-tuning": "baseline",
    "fine-tuning, rehearsed": "baseline",
    "no edit": "baseline",
}
DRIFT = "KL drift"


@dataclass(frozen=True)
class Before:
    """The network's output on all of a request's inputs before an edit; made once for all edits."""

    request: Request
    inputs: Tensor
    parts: dict[str, slice]
    logits: Tensor
    old: int  # what it said on most contexts

    @classmethod
    def of(cls, model: nn.Module, request: Request) -> Before:
        sets = {**request.changed, **request.kept, DRIFT: request.drift}
        parts, start = {}, 0
        for name, inputs in sets.items():
            parts[name] = slice(start, start + len(inputs))
            start += len(inputs)
        inputs = torch.cat(list(sets.values()))
        old = int(logits_of(model, request.contexts).argmax(-1).mode().values)
        return cls(request, inputs, parts, logits_of(model, inputs), old)

    def scores(self, model: nn.Module, score: Score = "argmax") -> dict[str, Tensor]:
        """Each number for each of its inputs: hits as 0 and 1, the drift in nats."""
        now = logits_of(model, self.inputs)
        new, found = self.request.new, {}
        for name, part in self.parts.items():
            a, b = self.logits[part], now[part]
            said = a.argmax(-1)
            if name == DRIFT:
                p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
                found[name] = (p.exp() * (p - q)).sum(-1).clamp(min=0)
            elif name in self.request.changed:
                hit = b.argmax(-1) == new if score == "argmax" else b[:, new] > b[:, self.old]
                found[name] = hit.double()
            elif score == "argmax":
                found[name] = (b.argmax(-1) == said).double()
            else:  # where the network said `new` all along there is nothing to compare
                kept = b.gather(1, said[:, None])[:, 0] > b[:, new]
                found[name] = kept[said != new].double()
        return found


@dataclass(frozen=True)
class Comparison:
    """Edits by several methods: `hits[method][edit][metric]` holds a number for every input."""

    hits: dict[str, list[dict[str, Tensor]]]
    names: tuple[str, ...]
    changed: tuple[str, ...]
    about: dict[str, str]
    protocol: dict[str, str | int | float]
    score: Score

    @property
    def metrics(self) -> list[str]:
        return list(next(iter(self.hits.values()))[0])

    def values(self, method: str, metric: str) -> Tensor:
        """The mean over its inputs for every edit: [edit]."""
        return torch.stack([edit[metric].mean() for edit in self.hits[method]])

    def estimate(self, method: str, metric: str) -> Estimate:
        """Over edits; over the inputs where there is one edit only."""
        one = len(self.names) == 1
        values = self.hits[method][0][metric] if one else self.values(method, metric)
        if metric != DRIFT and set(values.tolist()) <= {0.0, 1.0}:
            return Estimate.proportion(int(values.sum()), len(values))
        if len(values) < 2:
            return Estimate.exact(float(values.mean()), len(values))
        return bootstrap(lambda x: float(x.mean()), values)

    def report(self, metrics: Sequence[str] | None = None, digits: int = 2) -> Report:
        """Every method and metric as a row; the note of a row says what was asked of what."""
        rows = []
        for metric in metrics or self.metrics:
            for method in self.hits:
                name = metric if method == "rank-one edit" else f"{metric}, {method}"
                note = self.asked(metric) if method == "rank-one edit" else ""
                role = METHODS.get(method, "control")
                rows.append(Row(name, self.estimate(method, metric), role, note))
        title = self.names[0] if len(self.names) == 1 else f"{len(self.names)} edits, each alone"
        return Report(title, rows, self.protocol, digits=digits)

    def asked(self, metric: str) -> str:
        """The protocol of one number, in words."""
        if metric == DRIFT:
            return f"nats; {self.about.get('drift', 'inputs of drift')}"
        how = {
            ("argmax", True): "says the new answer",
            ("argmax", False): "says what it said before",
            ("compare", True): "new answer above the old one",
            ("compare", False): "its answer above the new one",
        }[self.score, metric in self.changed]
        return f"{how}; {self.about.get(metric, metric)}"

    def text(self) -> str:
        """The table with intervals, and under it what every number asked of what."""
        width, cells = max(map(len, self.hits)), {}
        for method in self.hits:
            row = (self.estimate(method, m) for m in self.metrics)
            cells[method] = [f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in row]
        title = self.names[0] if len(self.names) == 1 else f"{len(self.names)} edits, each alone"
        lines = [title, f"{'':<{width}}" + "".join(f"{m:>20}" for m in self.metrics)]
        lines += [f"{m:<{width}}" + "".join(f"{c:>20}" for c in row) for m, row in cells.items()]
        lines += [f"  {metric}: {self.asked(metric)}" for metric in self.metrics]
        lines.append("Protocol: " + "; ".join(f"{k}: {v}" for k, v in self.protocol.items()) + ".")
        made = {self.estimate(method, m).method for method in self.hits for m in self.metrics}
        return "\n".join([*lines, f"Intervals: {'; '.join(sorted(made))}."])

    def __str__(self) -> str:
        width = max(map(len, self.hits))
        head = [f"{metric:>15}" for metric in self.metrics]
        lines = [f"{'':<{width}}  {'  '.join(head)}".rstrip()]
        for method in self.hits:
            values = [(m, self.estimate(method, m).value) for m in self.metrics]
            # a drift of several nats has no second decimal worth printing
            cells = [f"{v:>15.{1 if m == DRIFT and v >= 1 else 2}f}" for m, v in values]
            lines.append(f"{method:<{width}}  {'  '.join(cells)}")
        return "\n".join(lines)

    def figure(self, title: str = "") -> Figure:
        """One panel a metric, one line a method, with intervals; a Figure outside pyplot."""
        from matplotlib.figure import Figure

        from utils.plots import BLUE, VERMILION

        methods, metrics = list(self.hits), self.metrics
        figure = Figure(figsize=(1.4 * len(metrics) + 1.8, 0.42 * len(methods) + 1.2),
                        layout="constrained")  # fmt: skip
        for axes, metric in zip(figure.subplots(1, len(metrics), sharey=True), metrics,
                                strict=True):  # fmt: skip
            for y, method in enumerate(methods):
                e = self.estimate(method, metric)
                result = METHODS.get(method) == "result"
                colour = BLUE if result else VERMILION
                axes.plot([e.low, e.high], [y, y], color=colour, linewidth=2)
                axes.plot(e.value, y, "o", color=colour, clip_on=False, zorder=3,
                          markerfacecolor=colour if result else "white")  # fmt: skip
            axes.set_title(metric, fontsize=10)
            axes.set_ylim(len(methods) - 0.5, -0.5)
            axes.grid(axis="x", alpha=0.3)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0, pad=8)
            if metric == DRIFT:
                axes.set_xlabel("nats")
                axes.set_xlim(left=0)
                axes.locator_params(axis="x", nbins=3)
            else:
                axes.set_xlabel("share")
                axes.set_xlim(0, 1)
                axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        figure.axes[0].set_yticks(range(len(methods)), methods)
        figure.suptitle(title or "Edits, each alone", x=0.01, ha="left", fontsize=11)
        return figure


def compare(
    model: nn.Module,
    requests: Sequence[Request],
    site: Site,
    cov: Covariance,
    *,
    wrong: Site | None = None,
    methods: Sequence[str] = tuple(METHODS),
    score: Score = "argmax",
    given: Sequence[Tensor] | None = None,
    seed: int = 0,
    **search: Any,
) -> Comparison:
    """Every request by every method, each edit alone and undone before the next.

    cov: covariance of the keys at `site`. wrong: the Site of the "wrong site" row; by default the
    last position in place of another (or the one before it), or, without positions, another map.
    given: weights [out, in] of rank-one edits made before; else they are made here. score:
    "argmax", the answer is the class of the largest logit; "compare", of the new and the old class
    the larger counts, as for CounterFact. `search`: options of `find_changes`.
    """
    if not requests:
        raise EditingError("Name at least one edit to compare.")
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise EditingError(f"No method {unknown[0]!r}; there are: {', '.join(METHODS)}.")
    at = linear_behind(model, site, requests[0].contexts)
    cov.check(model, at)
    for request in requests:
        check(model, request)
    changes = editing.find_changes(model, requests, site, **search)
    places = {"here": (at, cov, changes)}
    if "wrong site" in methods:
        other = wrong or other_site(model, site, requests[0].contexts)
        there = covariance(model, other, cov.inputs, cov.ridge or 0.01)
        places["wrong"] = (
            linear_behind(model, other, requests[0].contexts), there,
            editing.find_changes(model, requests, other, **search),
        )  # fmt: skip
    if any(request.rehearse is None for request in requests):
        methods = [method for method in methods if method != "fine-tuning, rehearsed"]
    hits: dict[str, list[dict[str, Tensor]]] = {method: [] for method in methods}
    for number, request in enumerate(requests):
        before = Before.of(model, request)
        for method in methods:
            where = "wrong" if method == "wrong site" else "here"
            target, c, change = places[where]
            if method == "rank-one edit" and given is not None:
                weight = given[number]
            else:
                weight = _weights(model, method, target, request, change[number], c, seed + number)
            with editing.weights(target, weight):
                hits[method].append(before.scores(model, score))
    protocol: dict[str, str | int | float] = {
        "edits": len(requests), "site": str(site), "covariance": cov.protocol,
        "key": f"mean over {len(requests[0].contexts)} contexts",
    }  # fmt: skip
    if "wrong" in places:
        protocol["wrong site"] = str(places["wrong"][0].site)
    names = tuple(request.name for request in requests)
    changed = tuple(requests[0].changed)
    return Comparison(hits, names, changed, dict(requests[0].about), protocol, score)


def _weights(
    model: nn.Module, method: str, at: LinearMap, request: Request, change: Tensor,
    cov: Covariance, seed: int,
) -> Tensor:  # fmt: skip
    make: dict[str, Callable[[], Tensor]] = {
        "rank-one edit": lambda: editing.rank_one(
            at.weight.detach(), editing.mean_key(model, at, request), change, cov.matrix
        ),
        "identity covariance": lambda: editing.with_identity(model, at, request, change, cov),
        "random key": lambda: editing.with_random_key(at, change, cov, seed),
        "fine-tuning": lambda: editing.fine_tuned(model, at, request),
        "fine-tuning, rehearsed": lambda: editing.fine_tuned(model, at, request, rehearsed=True),
        "no edit": lambda: at.weight.detach().clone(),
    }
    return make["rank-one edit" if method == "wrong site" else method]()


def other_site(model: nn.Module, site: Site, inputs: Tensor) -> Site:
    """A Site at which an edit should do worse: another position, or another linear map."""
    if site.position is not None:
        length = Site(site.hook).read(model, inputs[:1]).shape[1]
        last = site.position % length == length - 1
        if length == 1:
            raise EditingError("There is one position only: name the wrong site with wrong=.")
        return Site(site.hook, position=length - 2 if last else length - 1)
    mine = linear_behind(model, site, inputs)
    for hook in model.hook_dict:
        try:
            found = linear_behind(model, Site(hook), inputs)
        except ValueError:  # no linear map there, or a hook that does not fire
            continue
        if found.module is not mine.module:
            return Site(hook)
    raise EditingError("This network has one linear map only: name the wrong site with wrong=.")
