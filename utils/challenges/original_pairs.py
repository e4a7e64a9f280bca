"""The original Challenge 2, where its labels are present: what was published, and what is so.

Needs `transformer_labels.npz` or the pickle it was made from (docs/data.md). The network's weights
are not needed: its answers to all 12,769 pairs were published with the labels, and a replica can be
trained in half a minute.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.challenges import curves as cv
from utils.challenges.original import Published
from utils.challenges.pairs import Case, Progress
from utils.data import grid, mnist
from utils.reports import Estimate, Report, Row

NAMES = ("transformer_labels.npz", "transformer_label_info.pkl")
SHA256 = {  # of the cells as bytes 0 and 1, row by row
    "labels": "2a6385f0ade920377f3fa3aa054f03b9328221e6a530281727799aea6c20cc6c",
    "model_labels": "1f1ddf7d054fc48a4af7b1e1dc1dcd7af8a70931af60bb64a8fa49daa430545a",
}
PUBLISHED_ACCURACY = 0.9727  # as the network's test accuracy
SEEDS = 20  # other seeds of the split


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of numpy arrays and nothing else, so that it can execute nothing."""

    allowed = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy" or name not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_labels(folder: Path) -> tuple[Tensor, Tensor]:
    """The secret labels and the network's answers, [113, 113] int64 each.

    From either file in `folder` or in `eis7/` below it. Raises DataError when both are absent, or
    when a file does not hold the published cells.
    """
    places = [folder / part / name for name in NAMES for part in ("eis7", ".")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise mnist.DataError(
            f"{NAMES[0]} is not in {folder / 'eis7'} nor in {folder}; docs/data.md says what the "
            "folder must hold."
        )
    try:
        content = io.BytesIO(path.read_bytes())
        if path.suffix == ".npz":
            with np.load(content, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in SHA256}
        else:
            whole = _ArraysOnly(content).load()
            arrays = {name: whole[name] for name in SHA256}
        cells = {name: np.ascontiguousarray(x).astype(np.uint8) for name, x in arrays.items()}
        good = all(
            hashlib.sha256(cells[name].tobytes()).hexdigest() == digest
            for name, digest in SHA256.items()
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, IndexError,
            zipfile.BadZipFile, pickle.UnpicklingError) as error:  # fmt: skip
        raise mnist.DataError(
            f"{path} is damaged ({type(error).__name__}); get the file again."
        ) from error
    if not good:
        raise mnist.DataError(
            f"{path} does not hold the published labels (their SHA-256 differs); get the file "
            "again."
        )
    labels, answers = (torch.from_numpy(cells[name].astype(np.int64)) for name in SHA256)
    return labels, answers


def original_case(folder: str | Path | None = None) -> Case:
    """The original network's answers, with the split that its errors give away."""
    labels, answers = load_labels(mnist.data_folder(folder))
    return Case("pairs-original", answers, labels, grid.training_mask())


def replica_case(case: Case, progress: Progress = lambda text: None) -> Case:
    """A network of the course's architecture, trained on the original's training half."""
    from utils.models import pairs

    model = pairs.build_pairs()

    def tick(done: int, total: int, loss: float) -> None:
        if done % 250 == 0:
            progress(f"training the replica: {done} of {total} steps, loss {loss:.3f}")

    pairs.train_pairs(model, case.labels, tick)
    model.requires_grad_(False)
    return Case("pairs-replica", pairs.answers(model), case.labels, case.seen, model)


# --- what the published grid gives away ----------------------------------------------------------


def split_report(case: Case) -> Report:
    """Which half was trained on? Errors gather in the other half, for the right seed alone."""
    wrong = case.wrong.flatten()
    n, cells = int(wrong.sum()), [(a, b) for a in range(case.size) for b in range(case.size)]
    half = len(cells) // 2

    def share(order: list[int]) -> int:
        return int(wrong[torch.tensor(order[half:])].sum())

    counts = []
    for seed in range(SEEDS + 1):
        order = list(range(len(cells)))
        random.Random(seed).shuffle(order)
        counts.append(share(order))
    numpy_order = np.random.RandomState(0).permutation(len(cells)).tolist()
    torch_order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0)).tolist()
    others = torch.tensor(counts[1:], dtype=torch.double) / n
    span = Estimate(
        others.mean().item(), others.min().item(), others.max().item(), SEEDS,
        "lowest to highest of the seeds",
    )  # fmt: skip
    return Report(
        "Errors of the original network that fall in the second half of a shuffled order",
        [
            Row("random.seed(0)", Estimate.proportion(counts[0], n), "result"),
            Row(f"random.seed(1) to ({SEEDS})", span, "null"),
            Row("numpy, seed 0", Estimate.proportion(share(numpy_order), n), "null"),
            Row("torch, seed 0", Estimate.proportion(share(torch_order), n), "null"),
        ],
        {"errors": n, "order": "all pairs, row by row, shuffled; the second half is held out"},
        digits=3,
    )


def compare(case: Case) -> list[Published]:
    """The published accuracy beside what the split says."""
    n, wrong = case.size**2, int(case.wrong.sum())
    right = ~case.wrong
    return [
        Published("test accuracy, all errors counted against one half",
                  PUBLISHED_ACCURACY, 1 - 2 * wrong / n),
        Published("accuracy on the training half, which that assumes",
                  1.0, right[case.seen].double().mean().item()),
        Published("test accuracy by the split found, as issue 1 of the challenge gives it",
                  0.975724, right[~case.seen].double().mean().item()),
    ]  # fmt: skip


def exact_heights(size: int = grid.SIZE) -> Tensor:
    """The three curves that give the original grid exactly, in whole numbers: [3, size].

    b^4 >= 360000 a; a^4 < 40000 b; a + b >= 133.
    """
    a, b = torch.arange(size)[:, None], torch.arange(size)[None]
    sides = (b**4 >= 360_000 * a, a**4 < 40_000 * b, (a + b >= 133) & (b >= 0))
    # each side is an upper part of its row, so the number of cells below it is its height
    return torch.stack([(~side).sum(1) for side in sides])


def exact_report(case: Case) -> Report:
    """Three curves and a table of row bits against the labels: exact, and against plainer cuts."""
    n, heights = case.size**2, exact_heights(case.size)
    pieces = cv.cut(case.labels, heights)

    def row(name: str, cut: cv.Pieces, role: Any) -> Row:
        bits = int((cut.bits >= 0).sum())
        right = Estimate.proportion(n - cut.wrong, n)
        return Row(name, right, role, f"{n - cut.wrong} of {n} cells, {bits} row bits")

    order = torch.randperm(case.size, generator=torch.Generator().manual_seed(0))
    rows = [row("three curves and a table of row bits", pieces, "result")]
    for k, left_out in enumerate(("b^4 >= 360000 a", "a^4 < 40000 b", "a + b >= 133")):
        others = heights[[i for i in range(3) if i != k]]
        rows.append(row(f"without {left_out}", cv.cut(case.labels, others), "control"))
    rows.append(row("the same curves, rows shuffled", cv.cut(case.labels[order], heights), "null"))
    rows.append(row("no curve, one bit a row", cv.cut(case.labels, heights[:0]), "baseline"))
    return Report(
        "Cells of the original grid that a description gives",
        rows,
        {"curves": "b^4 >= 360000 a; a^4 < 40000 b; a + b >= 133", "row bits": "best for each"},
        digits=4,
    )


def replica_report(case: Case, replica: Case) -> Report:
    """Do two networks trained on the same pairs err at the same places?"""
    out = ~case.seen
    first, second = case.wrong & out, replica.wrong & out
    n, both = int(out.sum()), int((first & second).sum())
    expected = int(first.sum()) * int(second.sum()) / n
    return Report(
        "The original network and a replica, on held-out pairs",
        [
            Row("original right", case.share(~case.wrong, out), "result"),
            Row("replica right", case.share(~replica.wrong, out), "result"),
            Row("errors of the original that the replica shares",
                Estimate.proportion(both, int(first.sum())), "result"),
            Row("errors shared by chance",
                Estimate.exact(expected / int(first.sum()), int(first.sum())), "null"),
        ],
        {"replica": "256 neurons instead of 1,024, 1,500 steps on 512 pairs", "pairs": n},
        digits=3,
    )  # fmt: skip
