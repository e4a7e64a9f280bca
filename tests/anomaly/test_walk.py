"""The walk of `solve anomaly`, on fewer rows than it takes by itself."""

from __future__ import annotations

import pytest

from utils.anomaly import walk


@pytest.fixture(scope="module")
def found():
    return walk.solve(trusted=600, n=200, draws=2)


def test_mechanism_is_told_from_novelty(found):
    assert found.verdict == "anomalies of mechanism found"
    said = {reason.split(":")[0]: reason for reason in found.reasons}
    assert said["X among other patterns in the corner"].endswith(": mechanism")
    assert said["a square in a corner that is always empty"].endswith(": novelty")
    matched = found.reports["matched"]
    assert matched["AUROC, hook_fc1, Mahalanobis"].value > 0.95
    assert abs(matched["AUROC, hook_fc1, Mahalanobis, clean twin"].value - 0.5) < 0.1
    assert abs(matched["AUROC, raw input, Mahalanobis"].value - 0.5) < 0.1


def test_everything_it_says_can_be_shown(found, tmp_path):
    assert len(found.texts()) == len(found.reports) == len(found.as_dict()["rows"])
    files = found.draw(tmp_path)
    assert len(files) == len(found.reports) and all(f.stat().st_size > 5000 for f in files)
