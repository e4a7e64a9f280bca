"""The machinery on the pipeline's own small lesson."""

from pathlib import Path

import torch

from tests.lessons.machinery import CheckSuite, factory

WRONG = {
    "7.1": [
        lambda x: x,
        lambda x: x - x.mean(),
        lambda x: x - x.mean(dim=1, keepdim=True),
        lambda x: torch.zeros_like(x),
        lambda x: x.sub_(x.mean(dim=0)) + 1,
    ],
    "7.2": [3, 5, factory(lambda: 40), factory(lambda lab: lab.data["x"].numel())],
}


class TestFixtureLesson(CheckSuite):
    lesson = "07"
    wrong = WRONG
    root = Path(__file__).parent / "fixture_root"
