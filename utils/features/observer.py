"""Do pictures of a unit help to predict it? A two-alternative test, by a simulated observer.

Borowski et al. ("Exemplary Natural Images Explain CNN Activations Better than State-of-the-Art
Feature Visualization", 2020) and Zimmermann et al. ("How Well do Feature Visualizations Support
Causal Understanding of CNN Activations?", 2021) showed people reference images of a unit and asked
which of two others excites it more. Here the observer is a rule: nearest neighbour in pixels. It
sees what is drawn and has none of a person's ideas, so its score says what is in the pictures, not
what people would see in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.features.attribution import FeatureError
from utils.features.synthesis import activations, exemplars, synthesise
from utils.reports import Report, Row, bootstrap
from utils.sites import Site


def choose(high: Tensor, low: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Which query the observer takes for the more exciting one: [n] bool, true for the first.

    high, low: reference images that excite the unit much and little, [k, ...]. first, second:
    queries [n, ...]. It goes by the distance to the nearest low reference minus that to the nearest
    high one; a tie is the second.
    """

    def lead(queries: Tensor) -> Tensor:
        flat = queries.flatten(1)
        far, near = (torch.cdist(flat, r.flatten(1)).min(1).values for r in (low, high))
        return far - near

    return lead(first) > lead(second)


def observe(
    model: nn.Module,
    site: Site,
    pool: Tensor,
    held_out: Tensor,
    units: Sequence[int],
    *,
    references: int = 9,
    trials: int = 40,
    share: float = 0.1,
    steps: int = 80,
    seed: int = 0,
) -> Report:
    """Exemplars against synthesised images: how often the observer finds the more exciting query.

    site: best before the ReLU, where low values differ too. pool: images from which exemplars are
    taken. held_out: from which queries are, one of the `share` highest and one of the `share`
    lowest for the unit. units: each gives one accuracy; the interval is over units. Nulls: the
    exemplars of another unit, and images of the pool at random.
    """
    units = list(units)
    if len(units) < 2:
        raise FeatureError("The observer needs two units or more: the interval is over units.")
    count = max(1, round(share * len(held_out)))
    if not 0 < share <= 0.5 or trials < 1:
        raise FeatureError("The observer needs 0 < share <= 0.5 and trials >= 1.")
    generator = torch.Generator().manual_seed(seed)
    values = activations(model, held_out, site)
    repeated = [u for u in units for _ in range(references)]
    drawn = {
        lowest: synthesise(
            model,
            site,
            repeated,
            shape=tuple(pool.shape[1:]),
            lowest=lowest,
            steps=steps,
            seed=seed,
        ).view(len(units), references, *pool.shape[1:])
        for lowest in (False, True)
    }
    natural = {
        lowest: torch.stack(
            [pool[exemplars(model, pool, site, u, references, lowest=lowest)] for u in units]
        )
        for lowest in (False, True)
    }
    right: dict[str, list[float]] = {}
    for i, unit in enumerate(units):
        order = values[:, unit].argsort()
        high = order[-count:][torch.randint(count, (trials,), generator=generator)]
        low = order[:count][torch.randint(count, (trials,), generator=generator)]
        swap = torch.rand(trials, generator=generator) < 0.5
        first = held_out[torch.where(swap, low, high)]
        second = held_out[torch.where(swap, high, low)]
        another = (i + 1) % len(units)
        loose = torch.randperm(len(pool), generator=generator)[: 2 * references]
        shown = {
            f"{references} exemplars each way": (natural[False][i], natural[True][i]),
            f"{references} synthesised each way": (drawn[False][i], drawn[True][i]),
            "1 exemplar each way": (natural[False][i, :1], natural[True][i, :1]),
            "1 synthesised each way": (drawn[False][i, :1], drawn[True][i, :1]),
            "exemplars of another unit": (natural[False][another], natural[True][another]),
            "random images": (pool[loose[:references]], pool[loose[references:]]),
        }
        for name, (above, below) in shown.items():
            found = choose(above, below, first, second) != swap
            right.setdefault(name, []).append(float(found.double().mean()))
    nulls = ("exemplars of another unit", "random images")
    rows = [
        Row(
            name,
            bootstrap(lambda x: float(x.mean()), torch.tensor(found), n_resamples=1000),
            "null" if name in nulls else "result",
        )
        for name, found in right.items()
    ]
    return Report(
        "Which of two images excites the unit more? Share right",
        rows,
        {
            "units": len(units),
            "site": str(site),
            "trials a unit": trials,
            "queries": f"held out, one of the highest and one of the lowest {share:.0%}",
            "observer": "nearest reference in pixels",
        },
        ["Chance is one half."],
    )
