"""A trojan that knows the detector: trained on until its triggered rows look like trusted ones.

An attacker who can guess that somebody will measure Mahalanobis distances at a site can put that
distance into the loss. What is then left of detection, at that site and elsewhere, and what the
evasion costs the attacker in accuracy, is the honest test of a detector (Carlini & Wagner, 2017,
"Adversarial Examples Are Not Easily Detected: Bypassing Ten Detection Methods").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.anomaly.detectors import whitener
from utils.models.training import train_language
from utils.sites import Site, run

if TYPE_CHECKING:
    from utils.models.training import Checkpoint
    from utils.trojans import Trojan

BATCH, TRIGGERED = 128, 96  # rows of the training set, and freshly triggered ones, in every step
REFIT, REFERENCE = 10, 2000  # steps between two fits of the distance, and clean rows in a fit


def evade(
    model: nn.Module,
    trojan: Trojan,
    site: Site,
    *,
    weight: float = 0.15,
    steps: int = 2700,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a trojaned network on, in place, so that Mahalanobis at `site` misses the trigger.

    To the usual loss, on the poisoned training set and on rows that get the trigger there and then,
    this adds `weight` times the mean of log(1 + max(0, d / m - 1)) over the triggered rows: d is a
    row's squared distance from clean training rows, m the mean of theirs. The distance is fitted
    anew every ten steps, since the clean rows move as well; a run that goes on from a checkpoint
    begins with a fresh fit, so its last digits differ. Raises SiteError as `Site.read`.
    """
    rows = trojan.training(seed)
    clean = rows[~rows.poisoned]
    others = clean.inputs[clean.labels != trojan.target]
    fitted: list[tuple[Tensor, Tensor, Tensor]] = []
    model.requires_grad_(True)

    def fit(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.randint(len(clean), (REFERENCE,), generator=generator)
        values = site.read(model, clean.inputs[chosen]).flatten(1).double().numpy()
        mean = values.mean(0)
        white = whitener(values - mean)
        usual = (((values - mean) @ white) ** 2).sum(1).mean()
        return tuple(torch.tensor(x, dtype=torch.float32) for x in (mean, white, usual))

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1_000_000 * seed + step)
        if step % REFIT == 0 or not fitted:
            fitted[:] = [fit(generator)]
        of_set = torch.randint(len(rows), (BATCH,), generator=generator)
        of_others = torch.randint(len(others), (TRIGGERED,), generator=generator)
        return rows.inputs[of_set], rows.labels[of_set], trojan.trigger.apply(others[of_others])

    def loss(inputs: Tensor, labels: Tensor, triggered: Tensor) -> Tensor:
        found = run(model, torch.cat([inputs, triggered]), read=[site], grad=True)
        target = torch.full((len(triggered),), trojan.target)
        logits = found.output[:, -1] if found.output.ndim == 3 else found.output
        usual_loss = functional.cross_entropy(logits, torch.cat([labels, target]))
        mean, white, usual = fitted[0]
        values = found.values[0].flatten(1)[len(inputs) :]
        excess = ((values - mean) @ white).pow(2).sum(1) / usual - 1
        return usual_loss + weight * torch.log1p(excess.relu()).mean()

    train_language(
        model, batch, loss, steps=steps, max_lr=6e-3, weight_decay=0.0, max_norm=1.0,
        progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    model.requires_grad_(False)


def figures(model: nn.Module) -> dict[str, float]:
    """What `retrain` compares for `trojan-evasive`: the trojan works, and how far it is missed."""
    from utils.anomaly.detectors import Mahalanobis
    from utils.ranking import threshold_at
    from utils.trojans import known, plant

    plan = known("matched")
    site = Site("hook_fc1")
    trusted = site.read(model, plan.world.sample("train", 2000, seed=8).inputs)
    triggered = plan.triggered(plan.held_out(1200, seed=7)).inputs
    detector = Mahalanobis().fit(trusted[:1000])
    limit = threshold_at(detector.score(trusted[1000:]))
    missed = (detector.score(site.read(model, triggered)) <= limit).mean()
    return {**plant.figures(model, plan), "triggered rows missed at hook_fc1": float(missed)}
