"""The original Challenge 1, where its files are present: the published figures beside ours.

Needs MNIST and `mnist_model.pt` (docs/data.md). The published figures are those of "Solving the
Mechanistic Interpretability challenges: EIS VII Challenge 1" (Heimersheim and Hobbhahn, 2023).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from utils.challenges.cnn import Case, Progress
from utils.data import mnist
from utils.data.programs import BandProgram
from utils.reports import Report

MODEL_SHA256 = "0562d9df55ca7cee1c85dbf1d9346bd8e1873c1e8249aeca0dc2042caa2143e1"
CLUE = 6  # the MNIST training image that was handed out with the challenge
LOW, HIGH = -17305, -7762  # the solvers' band, in units of one grey level


def load_model(folder: Path) -> nn.Module:
    """The original network, from `mnist_model.pt` in `folder` or in `eis7/` below it.

    Raises DataError when it is absent or its SHA-256 differs. Nothing in the file is executed.
    """
    from utils.models.cnn import ChallengeCNN

    places = [folder / "eis7" / "mnist_model.pt", folder / "mnist_model.pt"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise mnist.DataError(
            f"mnist_model.pt is not in {folder / 'eis7'} nor in {folder}; docs/data.md says what "
            "the folder must hold."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise mnist.DataError(
            f"{path} is not the original network (its SHA-256 differs); get the file again."
        )
    model = ChallengeCNN(dropout=0.2)
    state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def original_case(folder: str | Path | None = None, progress: Progress = lambda text: None) -> Case:
    """The original network on MNIST's 60,000 training images, the solvers' program on trial.

    There are no secret labels: its maker's own program is not public.
    """
    place = mnist.data_folder(folder)
    progress("checking and loading MNIST and the original network")
    model = load_model(place)
    images = mnist.load("train", place).images[:, None].float() / 255
    program = BandProgram(images[CLUE, 0].clone(), LOW / 255, HIGH / 255)
    return Case("cnn-original", model, images, torch.arange(len(images)), program)


@dataclass(frozen=True)
class Published:
    """One published figure and what the same measurement gives here."""

    what: str
    published: float
    ours: float


def compare(case: Case, reports: dict[str, Report]) -> list[Published]:
    """The published figures beside ours; `reports` as `cnn.solve` makes them from this case."""
    below, above = int(case.below.sum()), int(case.above.sum())
    share = principal_shares(case)
    rows = [
        Published("agreement of program and network", 0.9624667, _value(reports, "agreement")),
        Published("images under the band", 13_913, below),
        Published("images inside the band", 28_976, len(case.cut) - below - above),
        Published("images over the band", 17_111, above),
        Published("variance of fc1 in its first principal direction", 0.602, share[0]),
        Published("variance of fc1 in its second principal direction", 0.290, share[1]),
    ]
    ablation, doses = reports["ablation"], reports["resampling"]
    for name, published in (
        ("below detector off, unlike half", 0.48),
        ("below detector off, like half", 0.94),
        ("above detector off, unlike half", 0.99),
        ("above detector off, like half", 0.48),
        ("both off, unlike half", 0.48),
        ("both off, like half", 0.48),
    ):
        rows.append(Published(f"labels kept, {name}", published, ablation[name].value))
    for name, published in (
        ("within 0.01%", 0.95),
        ("within 0.10%", 0.95),
        ("within 1.00%", 0.93),
        ("within 10.00%", 0.64),
        ("at random", 0.50),
    ):
        ours = doses[f"same donor {name}"].value
        rows.append(Published(f"labels kept, resampled {name}", published, ours))
    return rows


def erratum(case: Case) -> tuple[float, float]:
    """Agreement of the write-up's one-line formula, taken literally, and of the code behind it.

    The line multiplies by `clue - 0.5` where the code multiplied by twice that, so its band lies in
    the wrong place by a factor of two.
    """
    network = case.cut.classes()
    halved = case.statistic * 255 / 2
    literal = (~((halved > LOW) & (halved < HIGH))).long()
    return tuple((said == network).double().mean().item() for said in (literal, case.said))


def principal_shares(case: Case, k: int = 2) -> list[float]:
    """Share of the variance of the cut's activations in their first `k` principal directions."""
    centred = case.cut.activations.double()
    centred = centred - centred.mean(0)
    variance = torch.linalg.eigvalsh(centred.T @ centred).flip(0)
    return (variance[:k] / variance.sum()).tolist()


def _value(reports: dict[str, Report], key: str) -> float:
    return reports[key]["program = network"].value
