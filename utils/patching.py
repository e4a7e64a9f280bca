"""Activation patching and its relatives, for any model a Site can speak to.

Two runs, clean and corrupted, and the question which piece of one carries what the other lacks.
Denoising puts clean values into the corrupted run and asks what suffices; noising puts corrupted
values into the clean run and asks what is needed. The two differ ("How to use and interpret
activation patching", Heimersheim & Nanda 2024), so there is no default. Path patching is in
`utils.paths`, and importable from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.errors import CourseError
from utils.hooked import axes_of
from utils.paths import PathError, patch_path
from utils.reports import Estimate, Report, Row, bootstrap
from utils.sites import Site, donor_rows, random_cycle, run, sweep

__all__ = [
    "Metric",
    "PatchingError",
    "PathError",
    "Trace",
    "ablate",
    "accuracy",
    "attribution",
    "attribution_report",
    "kl",
    "logit_difference",
    "loss",
    "patch",
    "patch_path",
    "patching_report",
    "recovered",
    "trace",
]

Metric = Callable[[Tensor], Tensor]  # output [batch, ...] -> [batch]
Group = Site | Sequence[Site]
Direction = Literal["denoise", "noise"]


class PatchingError(CourseError, ValueError):
    """Two runs that cannot be compared, or a question that patching cannot answer."""


# --- metrics -----------------------------------------------------------------------------------


def _logits(output: Tensor, position: int | None) -> Tensor:
    if output.ndim == 2 and position in (None, -1):
        return output
    if output.ndim == 3 and position is not None:
        return output[:, position]
    raise PatchingError(
        f"An output of shape {list(output.shape)} and position={position} do not go together: name"
        " a position for [batch, position, classes], and none for [batch, classes]."
    )


def _each(value: int | Tensor, logits: Tensor) -> Tensor:
    if isinstance(value, int):
        return torch.full((len(logits),), value, device=logits.device)
    if value.shape != logits.shape[:1]:
        raise PatchingError(
            f"The metric holds {list(value.shape)} labels, but the output has {len(logits)} rows."
        )
    return value.to(logits.device)


def logit_difference(right: int | Tensor, wrong: int | Tensor, position: int | None = -1) -> Metric:
    """Logit of `right` less that of `wrong`; each a class, or [batch] classes. Linear."""

    def metric(output: Tensor) -> Tensor:
        logits = _logits(output, position)
        a, b = (_each(value, logits)[:, None] for value in (right, wrong))
        return (logits.gather(1, a) - logits.gather(1, b))[:, 0]

    return metric


def loss(labels: int | Tensor, position: int | None = -1) -> Metric:
    """Cross-entropy in nats against [batch] classes."""

    def metric(output: Tensor) -> Tensor:
        logits = _logits(output, position)
        return functional.cross_entropy(logits, _each(labels, logits).long(), reduction="none")

    return metric


def accuracy(labels: int | Tensor, position: int | None = -1) -> Metric:
    """1 where the largest logit is the label's, else 0. A sharp metric: it hides small effects."""

    def metric(output: Tensor) -> Tensor:
        logits = _logits(output, position)
        return (logits.argmax(-1) == _each(labels, logits)).to(logits.dtype)

    return metric


def kl(reference: Tensor, position: int | None = -1) -> Metric:
    """KL(reference || output) in nats; reference: an output of the same shape, e.g. the clean."""
    target = _logits(reference, position).detach().log_softmax(-1)

    def metric(output: Tensor) -> Tensor:
        logits = _logits(output, position)
        if logits.shape != target.shape:
            raise PatchingError(
                f"The reference has shape {list(target.shape)}, the output {list(logits.shape)}."
            )
        return (target.exp() * (target - logits.log_softmax(-1))).sum(-1)

    return metric


# --- patching ----------------------------------------------------------------------------------


def patch(
    model: nn.Module,
    clean: Tensor,
    corrupted: Tensor,
    sites: Sequence[Group],
    *,
    direction: Direction,
    metric: Metric | None = None,
    batch_size: int = 64,
    allow_unchanged: bool = False,
) -> Tensor:
    """Each site (or group of sites) patched alone: [site, batch], or outputs without metric.

    clean, corrupted: [batch, ...], row by row a pair. "denoise": the corrupted run with the site's
    clean value; "noise": the clean run with its corrupted value. All of it in few large forwards.
    Raises PatchingError for pairs that do not match, UnchangedError for a site at which the two
    runs are the same (nothing was patched), SiteError for what is no Site of the model.
    """
    base, source = _base_and_source(clean, corrupted, direction)
    flat = [site for group in sites for site in _members(group)]
    if not flat:
        raise PatchingError("Name at least one site to patch.")
    values = iter(run(model, source, read=flat, batch_size=batch_size).values)
    given = [
        next(values) if isinstance(group, Site) else [next(values) for _ in group]
        for group in sites
    ]
    return sweep(
        model, base, sites, given, metric=metric, batch_size=batch_size,
        allow_unchanged=allow_unchanged,
    )  # fmt: skip


def ablate(
    model: nn.Module,
    inputs: Tensor,
    sites: Sequence[Group],
    how: Literal["zero", "mean", "resample"],
    *,
    donors: Tensor | None = None,
    seed: int = 0,
    metric: Metric | None = None,
    batch_size: int = 64,
    allow_unchanged: bool = False,
) -> Tensor:
    """Each site (or group) ablated alone: [site, batch], or outputs without metric.

    zero: 0. mean: the mean over the donors. resample: a random donor's values, the same donor for
    all sites of a group and for every group, so that groups compare. donors: [n, ...]; the inputs
    themselves if None, and then nobody receives their own.
    """
    if how not in ("zero", "mean", "resample"):
        raise PatchingError(f'how must be "zero", "mean" or "resample", got {how!r}.')
    flat = [site for group in sites for site in _members(group)]
    if not flat:
        raise PatchingError("Name at least one site to ablate.")
    options = {"metric": metric, "batch_size": batch_size, "allow_unchanged": allow_unchanged}
    if how == "zero":
        return sweep(model, inputs, sites, 0.0, **options)
    source = inputs if donors is None else donors
    values = run(model, source, read=flat, batch_size=batch_size).values
    if how == "mean":
        values = [value.mean(0, keepdim=True) for value in values]
    else:
        rows = donor_rows(len(inputs), len(source), donors is None, seed)
        values = [value[rows] for value in values]
    each = iter(values)
    given = [
        next(each) if isinstance(group, Site) else [next(each) for _ in group] for group in sites
    ]
    return sweep(model, inputs, sites, given, **options)


def recovered(patched: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """(patched - start) / (target - start) of the batch means: 0 no effect, 1 all of it.

    patched: [..., batch]; start: [batch], the metric of the run patched into; target: [batch], of
    the run patched from. Not clipped. PatchingError when the two runs do not differ.
    """
    gap = float((target - start).double().mean())
    if abs(gap) < 1e-6 * max(1.0, float(start.double().abs().mean())):
        raise PatchingError(
            "The metric is the same in both runs, so there is no effect to share out: choose pairs"
            " on which the model answers differently, or another metric."
        )
    return (patched.double().mean(-1) - start.double().mean()) / gap


def patching_report(
    model: nn.Module,
    clean: Tensor,
    corrupted: Tensor,
    sites: dict[str, Group],
    metric: Metric,
    *,
    direction: Direction,
    batch_size: int = 64,
    seed: int = 0,
    digits: int = 2,
) -> Report:
    """Share of the effect each named site carries, with intervals, beside its null.

    The null patches from a random other pair: what the site's values do when they belong to
    another input. Intervals resample pairs.
    """
    base, source = _base_and_source(clean, corrupted, direction)
    names, groups = list(sites), list(sites.values())
    start, target = (
        metric(run(model, x, batch_size=batch_size).output).double() for x in (base, source)
    )
    recovered(start, start, target)  # the message for runs that do not differ
    options = {"direction": direction, "metric": metric, "batch_size": batch_size}
    found = patch(model, clean, corrupted, groups, **options)
    generator = torch.Generator().manual_seed(seed)
    order = random_cycle(len(base), generator)
    pairs = (clean, corrupted[order]) if direction == "noise" else (clean[order], corrupted)
    null = patch(model, *pairs, groups, allow_unchanged=True, **options)

    def share(values: Tensor) -> Estimate:
        def statistic(p: Any, s: Any, t: Any) -> float:
            return float((p - s).mean() / (t - s).mean())

        return bootstrap(statistic, values, start, target, n_resamples=300, seed=seed)

    rows = [Row(name, share(v), "result") for name, v in zip(names, found, strict=True)]
    rows += [
        Row(f"{name}, from another pair", share(v), "null")
        for name, v in zip(names, null, strict=True)
    ]
    rows += [
        Row("nothing patched", Estimate.exact(0.0, len(base)), "baseline"),
        Row("everything patched", Estimate.exact(1.0, len(base)), "ceiling"),
    ]
    what = "clean values into the corrupted run" if direction == "denoise" else (
        "corrupted values into the clean run"
    )  # fmt: skip
    protocol: dict[str, str | int | float] = {
        "direction": f"{direction}: {what}",
        "pairs": len(base),
    }
    return Report("Patching: share of the effect", rows, protocol, digits=digits)


# --- attribution -------------------------------------------------------------------------------


def attribution(
    model: nn.Module,
    clean: Tensor,
    corrupted: Tensor,
    sites: Sequence[Site],
    metric: Metric,
    *,
    direction: Direction,
) -> Tensor:
    """First-order estimate of each site's patching effect: [site, batch], in units of the metric.

    Gradient of the metric in the run patched into, times the change of the site's value
    ("Attribution patching: activation patching at industrial scale", Nanda 2023): two forwards and
    one backward for any number of sites. Where the metric bends, it is wrong; see
    `attribution_report`.
    """
    base, source = _base_and_source(clean, corrupted, direction)
    if not sites:
        raise PatchingError("Name at least one site.")
    hooks = list(dict.fromkeys(site.hook for site in sites))
    whole = [Site(hook) for hook in hooks]
    here = dict(zip(hooks, run(model, base, read=whole).values, strict=True))
    there = dict(zip(hooks, run(model, source, read=whole).values, strict=True))
    # zeros added at every hook: their gradient is the activation's, and no path is cut
    extra = {hook: torch.zeros_like(here[hook], requires_grad=True) for hook in hooks}
    edits = [(site, _adding(extra[site.hook])) for site in whole]
    output = run(model, base, edits=edits, allow_unchanged=True, grad=True).output
    with torch.enable_grad():
        grads = torch.autograd.grad(metric(output).sum(), list(extra.values()), allow_unused=True)
    slope = dict(zip(hooks, grads, strict=True))
    effects = []
    for site in sites:
        g = slope[site.hook]
        if g is None:
            effects.append(torch.zeros(len(base)))
            continue
        axes = axes_of(model, site.hook, g.ndim)
        change = site.get(there[site.hook] - here[site.hook], axes)
        effects.append((site.get(g, axes) * change).reshape(len(base), -1).sum(-1))
    return torch.stack(effects).detach()


def attribution_report(
    model: nn.Module,
    clean: Tensor,
    corrupted: Tensor,
    sites: Sequence[Site],
    metric: Metric,
    *,
    direction: Direction,
    batch_size: int = 64,
    seed: int = 0,
    digits: int = 2,
) -> Report:
    """How far attribution patching can be trusted here: it against the exact sweep, site by site.

    The null gives every site another site's estimate.
    """
    if len(sites) < 3:
        raise PatchingError("Comparing estimates with exact effects needs three sites or more.")
    base, _ = _base_and_source(clean, corrupted, direction)
    guess = attribution(model, clean, corrupted, sites, metric, direction=direction).mean(-1)
    start = metric(run(model, base, batch_size=batch_size).output)
    exact = patch(
        model, clean, corrupted, sites, direction=direction, metric=metric, batch_size=batch_size,
        allow_unchanged=True,
    )  # fmt: skip
    exact = (exact - start).mean(-1)
    guess, exact = guess.double().cpu(), exact.double().cpu()
    order = torch.randperm(len(guess), generator=torch.Generator().manual_seed(seed))
    size = float(exact.abs().max())
    if size == 0:
        raise PatchingError("No site has any effect on the metric, so there is nothing to compare.")

    def correlation(a: Any, b: Any) -> float:
        a, b = a - a.mean(), b - b.mean()
        scale = float(((a * a).sum() * (b * b).sum()) ** 0.5)
        return float((a * b).sum()) / scale if scale > 0 else 0.0

    wrong = (guess.sign() != exact.sign()) & (exact.abs() > 0.01 * size)
    rows = [
        Row("correlation with the exact effect", bootstrap(correlation, guess, exact), "result"),
        Row("correlation, sites shuffled", bootstrap(correlation, guess[order], exact), "null"),
        Row(
            "largest error", Estimate.exact(float((guess - exact).abs().max()) / size, len(guess)),
            "result", "in units of the largest exact effect",
        ),
        Row(
            "wrong sign", Estimate.proportion(int(wrong.sum()), len(wrong)), "result",
            "among all sites; effects under 1 % of the largest count as right",
        ),
        Row("largest exact effect", Estimate.exact(size, len(guess)), "control", "of the metric"),
    ]  # fmt: skip
    protocol: dict[str, str | int | float] = {
        "direction": direction, "pairs": len(base), "sites": len(sites),
    }  # fmt: skip
    return Report("Attribution patching against the exact sweep", rows, protocol, digits=digits)


def _adding(extra: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda old: old + extra


# --- causal tracing ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """Causal tracing: what corrupting the subject destroys, and what restoring a site brings back.

    total: [samples, batch], metric of the clean run less that of the corrupted one.
    indirect: [site, samples, batch], metric with the site restored less that of the corrupted run.
    """

    total: Tensor
    indirect: Tensor
    sites: tuple[Group, ...]
    protocol: dict[str, str | int | float]

    def average(self) -> Tensor:
        """Average indirect effect of each site: [site]."""
        return self.indirect.mean((1, 2))

    def report(self, names: Sequence[str], digits: int = 2) -> Report:
        """Average effects with intervals over inputs; a site's effect is at most the total."""
        if len(names) != len(self.sites):
            raise PatchingError(f"There are {len(self.sites)} sites, but {len(names)} names.")
        mean = _over_inputs
        rows = [Row(n, mean(e), "result") for n, e in zip(names, self.indirect, strict=True)]
        rows.append(Row("total effect", mean(self.total), "ceiling", "all of it restored"))
        rows.append(Row("nothing restored", Estimate.exact(0.0, self.total.shape[1]), "baseline"))
        return Report("Causal tracing: effect of restoring a site", rows, self.protocol,
                      digits=digits)  # fmt: skip


def trace(
    model: nn.Module,
    clean: Tensor,
    sites: Sequence[Group],
    metric: Metric,
    *,
    subject: Site,
    corrupted: Tensor | None = None,
    scale: float = 3.0,
    samples: int = 10,
    seed: int = 0,
    batch_size: int = 64,
) -> Trace:
    """Corrupt the subject, restore one site at a time, see what comes back.

    After "Locating and Editing Factual Associations in GPT" (Meng, Bau, Andonian & Belinkov 2022).
    subject: the Site of the input that is corrupted, such as the embeddings of the subject's
        tokens, or a region of an image.
    corrupted: [batch, ...], inputs from which the subject's values are taken instead of noise
        (symmetric token replacement; "Towards best practices of activation patching", Zhang & Nanda
        2024). Without them Gaussian noise is added, `samples` times, of `scale` times the standard
        deviation of the subject's values; noise leaves the data's distribution, a swap does not.
    """
    if not sites:
        raise PatchingError("Name at least one site to restore.")
    if samples < 1 or scale <= 0:
        raise PatchingError("trace needs samples >= 1 and scale > 0.")
    flat = [site for group in sites for site in _members(group)]
    first = run(model, clean, read=[subject, *flat], batch_size=batch_size)
    own, restored = first.values[0], first.values[1:]
    whole = metric(first.output)
    if corrupted is not None:
        _base_and_source(clean, corrupted, "noise")
        values = [run(model, corrupted, read=[subject], batch_size=batch_size).values[0]]
    else:
        generator = torch.Generator().manual_seed(seed)
        width = scale * float(own.std())
        values = [
            own + width * torch.randn(own.shape, generator=generator).to(own)
            for _ in range(samples)
        ]
    total, indirect = [], []
    for value in values:
        broken = metric(run(model, clean, edits=[(subject, value)], batch_size=batch_size).output)
        each = iter(restored)
        groups = [[subject, *_members(group)] for group in sites]
        given = [[value, *(next(each) for _ in group[1:])] for group in groups]
        back = sweep(model, clean, groups, given, metric=metric, batch_size=batch_size)
        total.append(whole - broken)
        indirect.append(back - broken)
    how = "subject swapped" if corrupted is not None else f"noise of {scale:g} standard deviations"
    protocol: dict[str, str | int | float] = {
        "corruption": how, "at": str(subject), "samples": len(values), "inputs": len(clean),
    }  # fmt: skip
    return Trace(torch.stack(total), torch.stack(indirect, 1), tuple(sites), protocol)


def _over_inputs(effects: Tensor) -> Estimate:
    return bootstrap(lambda x: float(x.mean()), effects.mean(0).double(), n_resamples=300)


def _members(group: Group) -> list[Site]:
    return [group] if isinstance(group, Site) else list(group)


def _base_and_source(clean: Tensor, corrupted: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    if direction not in ("denoise", "noise"):
        raise PatchingError(f'direction must be "denoise" or "noise", got {direction!r}.')
    if clean.shape != corrupted.shape:
        raise PatchingError(
            f"The clean inputs have shape {list(clean.shape)}, the corrupted ones"
            f" {list(corrupted.shape)}: they must be pairs, row by row."
        )
    return (corrupted, clean) if direction == "denoise" else (clean, corrupted)
