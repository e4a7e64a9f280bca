"""One data set and its references, run under several hypotheses: the work behind a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from utils.scrubbing.engine import Cost, Store, choose, gather, make_store, wanted
from utils.scrubbing.graph import OUTPUT, Graph
from utils.scrubbing.hypothesis import Hypothesis, HypothesisError, Node
from utils.scrubbing.plan import Plan
from utils.scrubbing.reference import naive, prefix
from utils.scrubbing.samplers import Classes, Draws, Sampler, classes_of, joined

Loss = Callable[[Tensor, Tensor], Tensor]
Engine = Literal["auto", "gather", "prefix", "naive"]


class Runner:
    """One data set and its references, run under several hypotheses with common draws."""

    def __init__(
        self,
        graph: Graph,
        inputs: Tensor,
        targets: Tensor,
        loss: Loss,
        rows: Tensor,
        resamples: int,
        engine: Engine,
        memory_mb: float,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self.graph, self.inputs, self.all_targets = graph, inputs, targets
        self.loss, self.rows, self.resamples = loss, rows, resamples
        self.engine: str = engine
        self.memory_mb, self.progress = memory_mb, progress
        self.cost, self.reason = Cost(), ""
        self.store: Store | None = None

    def prepare(self, plan: Plan, variants: int) -> None:
        rows = len(self.rows) * self.resamples * variants
        if self.engine == "auto":
            self.engine, self.reason = choose(plan, len(self.inputs), rows)
        elif self.engine not in ("gather", "prefix", "naive"):
            raise HypothesisError(
                f'engine must be "auto", "gather", "prefix" or "naive", got {self.engine!r}.'
            )

    def __call__(self, what: str, plan: Plan, sampler: Sampler) -> tuple[Tensor, Draws]:
        """Outputs [resamples, references, ...] and the draws of all rounds in one."""
        draws = joined([sampler.draw(self.rows, r, plan.sources) for r in range(self.resamples)])
        tick = None
        if self.progress is not None:
            show = self.progress

            def tick(done: int, total: int) -> None:
                show(what, done, total)

        if self.engine == "gather":
            output = gather(
                plan, self.inputs, draws, store=self._stored(plan), memory_mb=self.memory_mb,
                cost=self.cost, progress=tick,
            )  # fmt: skip
        else:
            function = prefix if self.engine == "prefix" else naive
            size = 256
            pieces = []
            for start in range(0, len(draws), size):
                part = draws.rows(slice(start, start + size))
                pieces.append(function(plan, self.inputs, part, cost=self.cost))
                if tick is not None:
                    tick(min(start + size, len(draws)), len(draws))
            output = torch.cat(pieces)
        return output.reshape(self.resamples, len(self.rows), *output.shape[1:]), draws

    def _stored(self, plan: Plan) -> Store | None:
        """The store, made once; a hypothesis of the same parts needs the same or less."""
        if self.store is None or not self.store.covers(*wanted(plan)):
            if not Store.fits(plan, self.inputs, self.memory_mb):
                return None
            self.store = make_store(plan, self.inputs, cost=self.cost)
        return self.store

    def clean(self) -> Tensor:
        """The model's own outputs on the data [N, ...]."""
        if self.store is not None:
            return self.store.output(torch.arange(len(self.inputs)))
        answer = self.graph.answer()
        pieces = [
            self.graph.clean(rows, {OUTPUT: answer}, {})[0][OUTPUT]
            for rows in self.inputs.split(256)
        ]
        return torch.cat(pieces)

    def targets(self, rows: Tensor) -> Tensor:
        return self.all_targets[rows.to(self.all_targets.device)]

    def measure(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Losses [rounds, B] of outputs [rounds, B, ...] against the targets of `rows`."""
        flat = outputs.reshape(-1, *outputs.shape[2:])
        with torch.no_grad():
            values = self.loss(flat, self.targets(rows.reshape(-1)).to(flat.device))
        if values.shape != flat.shape[:1]:
            raise HypothesisError(
                f"The loss gave shape {list(values.shape)} for {len(flat)} outputs; it must give"
                " one number a row."
            )
        if values.isnan().any():
            raise HypothesisError("The loss is NaN for some outputs.")
        return values.double().cpu().reshape(outputs.shape[:2])

    def losses(self, outputs: Tensor) -> Tensor:
        return self.measure(outputs, self.rows.expand(len(outputs), -1))

    def baseline(self, clean: Tensor, sampler: Sampler) -> Tensor:
        """Mean loss a reference when the output is that on random other inputs: [references]."""
        rounds = max(self.resamples, 20)
        generator = torch.Generator().manual_seed(sampler.seed)
        other = torch.stack([sampler.everything.draw(self.rows, generator) for _ in range(rounds)])
        return self.measure(clean[other], self.rows.expand(rounds, -1)).mean(0)

    def score(self, what: str, hypothesis: Hypothesis, seed: int, ids: Tensor | None) -> Tensor:
        """Mean loss a reference under another hypothesis, with the same draws where they agree."""
        sampler = Sampler(hypothesis, self.inputs, seed=seed, ids=ids)
        return self.losses(self(what, Plan(self.graph, hypothesis), sampler)[0]).mean(0)

    def null(self, plan: Plan, sampler: Sampler, label: Tensor) -> Tensor:
        classes = classes_of(lambda _: label, self.inputs, "the label", sampler.order)
        changed = {p: classes for p, node in featured(plan.hypothesis)}
        return self._with("label-only null", plan, sampler, changed)

    def shuffled(self, plan: Plan, sampler: Sampler, k: int) -> Tensor:
        """The same classes over inputs in random order, one order for all features."""
        generator = torch.Generator().manual_seed(sampler.seed * 1000 + k)
        order = torch.randperm(sampler.n, generator=generator)
        changed = {
            p: Classes.from_values(sampler.classes[p].of[order], sampler.order)
            for p, _ in featured(plan.hypothesis)
        }
        return self._with(f"random classes {k + 1}", plan, sampler, changed)

    def _with(
        self, what: str, plan: Plan, sampler: Sampler, classes: Mapping[str, Classes]
    ) -> Tensor:
        other = sampler.with_classes(classes)
        return self.losses(self(what, plan, other)[0]).mean(0)

    def notes(self) -> list[str]:
        c = self.cost
        per_row = c.computed / max(c.rows, 1) if self.engine == "gather" else None
        text = f"cost: {c.computed:.0f} component evaluations"
        if per_row is not None:
            text += f" ({per_row:.2f} a row), and {c.cached:.0f} once for clean activations"
        return [text, *dict.fromkeys(c.notes), *([self.reason] if self.reason else [])]


def featured(hypothesis: Hypothesis) -> list[tuple[str, Node]]:
    return [(path, node) for path, node in hypothesis.nodes() if callable(node.feature)]
