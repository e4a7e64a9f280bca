"""Truth in a pretrained language model: the course's probes, contrast and erasure on real text.

    python -m utils solve text --model FOLDER

Nobody planted anything here, so there is no verdict: the reports say what can be read, beside what
could be read from an untrained twin, and whether the model uses it. Statements come from
`utils.data.statements`, where truth is crossed with negation; whole cities are held out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from utils.data import statements
from utils.errors import CourseError
from utils.models import pretrained
from utils.models.pretrained import Texts
from utils.probing.causal import Causal
from utils.probing.contrast import contrast
from utils.probing.erasure import erase
from utils.probing.probes import probe
from utils.probing.rows import codes, split
from utils.reports import Report
from utils.sites import Site

ASK = "This statement is"
WORDS = (" true", " false")


@dataclass(frozen=True)
class TextCase:
    """A model, its untrained twin, the statements and the place at which they are read."""

    model: nn.Module
    twin: nn.Module
    statements: statements.Statements
    site: Site
    asked: Texts


def case(
    source: str | Path, cache: str | Path | None = None, layer: int | None = None, seed: int = 0
) -> TextCase:
    """The model in a folder or hub cache; `layer` counts from 0, None is two thirds of the way up.

    The layer is chosen before anything is measured. Raises PretrainedError for a model that is not
    here, CourseError for a layer that it has not.
    """
    model = pretrained.load(source, cache)
    depth = model.cfg.n_layers
    layer = (2 * depth) // 3 if layer is None else layer
    if not 0 <= layer < depth:
        raise CourseError(f"This model has the layers 0 to {depth - 1}; there is no layer {layer}.")
    made = statements.make(seed)
    return TextCase(
        model,
        pretrained.untrained(source, cache, seed=seed),
        made,
        Site(f"blocks.{layer}.hook_resid_post", position=-1),
        Texts(model, [f"{text} {ASK}" for text in made.texts]),
    )


def prefers_truth(case: TextCase, write: Callable[[Tensor], Tensor] | None = None) -> np.ndarray:
    """Whether the model would rather say " true" of a true statement, " false" of a false one: [n].

    write: what to do with the activations at the case's site; None: nothing.
    """
    edits = [] if write is None else [(case.site, write)]
    logits = case.asked.logits(edits, allow_unchanged=True)
    yes, no = (logits[:, case.asked.token(word)] for word in WORDS)
    return ((yes > no).numpy() == case.statements.truth).astype(float)


def reports(case: TextCase, tell: Callable[[str], None] = lambda text: None) -> dict[str, Report]:
    """probe, contrast and erasure of "is true", each with its controls."""
    made = case.statements
    city = codes(made.city, len(made), "city")[0]
    tell("reading activations")
    values = case.asked.read(case.site)
    twin = Texts(case.twin, case.asked.texts).read(case.site)
    rows = _commonest(case.asked)
    yes, no = (case.asked.token(word) for word in WORDS)
    tell("probing, with its controls")
    probed = probe(
        values, made.truth, groups=made.city, types=made.country, random_init=twin,
        causal=Causal(
            case.model, rows, case.site, lambda out: out[:, -1, yes] - out[:, -1, no], target=True
        ),
        title=f'Reading "is true" at {case.site}',
    )  # fmt: skip
    tell("contrasting")
    sides = [Texts(case.model, made.answered(side)).read(case.site) for side in (True, False)]
    contrasted = contrast(*sides, made.truth, known={"negated": made.negated}, groups=made.city)
    tell("erasing")
    fit, held = split(len(made), held_out=0.5, groups=city, labels=made.truth.astype(int))
    eraser = erase(values[fit], made.truth[fit])

    def kept_truth(write: Callable[[Tensor], Tensor] | None) -> np.ndarray:
        return prefers_truth(case, write)[held]

    erased = eraser.report(
        values[held], made.truth[held], concept="is true",
        kept={"negated": made.negated[held]}, behaviour={"says so": kept_truth},
    )  # fmt: skip
    return {"probe": probed, "contrast": contrasted.report, "erase": erased}


def as_dict(name: str, case: TextCase, found: dict[str, Report]) -> dict[str, Any]:
    """What `solve text --json` prints."""
    return {
        "name": "text",
        "model": name,
        "site": str(case.site),
        "statements": len(case.statements),
        "reports": {key: json.loads(report.to_json()) for key, report in found.items()},
    }


def _commonest(texts: Texts) -> Tensor:
    """The texts of the commonest length as tokens: steering takes one tensor of inputs."""
    return max(texts.buckets, key=lambda bucket: len(bucket[0]))[1]
