"""Contrast-Consistent Search (CCS): directions on which the two sides of a pair contradict.

Burns, Ye, Klein, Steinhardt, "Discovering Latent Knowledge in Language Models Without Supervision"
(2022). All restarts are fitted at once: they are rows of one matrix, and their losses are added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.probing.rows import ProbingError
from utils.steering import random_directions

STEPS, RATE, DECAY = 600, 0.02, 0.01  # of AdamW, on all pairs at once


class Normaliser(NamedTuple):
    """Each side's own mean [d] and one scale for both, all from the pairs fitted on.

    The means take away what is the same in every pair: above all the word that makes the
    difference. The scale is one number: to divide each feature by its own would change which
    directions are long, and what was found could not be added to an activation as it is.
    """

    yes: np.ndarray
    no: np.ndarray
    scale: float

    @classmethod
    def fit(cls, x_yes: np.ndarray, x_no: np.ndarray) -> Normaliser:
        """From fitted pairs [n, d]. ProbingError when neither side varies."""
        yes, no = x_yes.mean(0), x_no.mean(0)
        scale = float(np.sqrt(((x_yes - yes) ** 2 + (x_no - no) ** 2).mean() / 2))
        if scale < 1e-12:
            raise ProbingError("Neither side varies over the fitted pairs: nothing contrasts.")
        return cls(yes, no, scale)

    def __call__(self, x_yes: np.ndarray, x_no: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Any pairs [n, d], held-out ones too, in the units of the fitted ones."""
        return (x_yes - self.yes) / self.scale, (x_no - self.no) / self.scale


def ccs_loss(p_yes: Tensor, p_no: Tensor) -> Tensor:
    """Inconsistency plus lack of confidence, over the first axis: [n, ...] -> [...].

    (p_yes - (1 - p_no))^2 + min(p_yes, p_no)^2, where p is how probable a probe holds its concept
    on one side. Saying .5 to everything costs .25, a decided and consistent probe nothing.
    """
    return ((p_yes + p_no - 1) ** 2 + torch.minimum(p_yes, p_no) ** 2).mean(0)


class CCS(NamedTuple):
    """Probes sigmoid(weights . x + bias): weights [restarts, d]; bias, fitted loss [restarts]."""

    weights: Tensor
    bias: Tensor
    loss: Tensor

    def losses(self, x_yes: np.ndarray, x_no: np.ndarray) -> Tensor:
        """Loss of each restart on other (normalised) pairs [n, d]: [restarts]."""
        return ccs_loss(*(self._probabilities(_tensor(x)) for x in (x_yes, x_no)))

    def _probabilities(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x @ self.weights.T + self.bias)


def fit_ccs(
    x_yes: np.ndarray,
    x_no: np.ndarray,
    *,
    restarts: int = 10,
    steps: int = STEPS,
    seed: int = 0,
    start: Tensor | None = None,
) -> CCS:
    """Fit `restarts` probes to normalised pairs [n, d], from directions drawn evenly.

    start: begin at these [restarts, d] instead. No label comes in, and no restart is preferred:
    all are returned.
    """
    yes, no = _tensor(x_yes), _tensor(x_no)
    if start is None:
        start = random_directions(yes.shape[1], restarts, seed=seed)
    with torch.enable_grad():
        weights = start.clone().requires_grad_()
        bias = torch.zeros(len(start), requires_grad=True)
        optimizer = torch.optim.AdamW([weights, bias], lr=RATE, weight_decay=DECAY)
        for _ in range(steps):
            p_yes, p_no = (torch.sigmoid(x @ weights.T + bias) for x in (yes, no))
            optimizer.zero_grad()
            ccs_loss(p_yes, p_no).sum().backward()
            optimizer.step()
    found = CCS(weights.detach(), bias.detach(), torch.empty(0))
    return found._replace(loss=found.losses(x_yes, x_no))


def _tensor(x: np.ndarray) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float32)
