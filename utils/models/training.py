"""Training loops small enough to read, used by every `retrain` recipe."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.errors import CourseError


class CheckpointError(CourseError, ValueError):
    """A checkpoint that cannot be read or belongs to another training."""


class Checkpoint:
    """A file from which an interrupted training goes on where it was, to the same weights.

    Written about every `seconds`, and in one step: a crash leaves the last whole one.
    """

    def __init__(self, path: Path, seconds: float = 20.0) -> None:
        self.path, self.seconds = path, seconds
        self._written = time.monotonic()

    def restore(self, total: int, **parts: Any) -> int:
        """Load the parts (each has load_state_dict or set_state); the steps done, 0 if no file.

        Raises CheckpointError when the file is damaged or from a training of another length.
        """
        if not self.path.is_file():
            return 0
        advice = f"Delete {self.path} to begin anew."
        try:
            saved = torch.load(self.path, weights_only=True)
            if saved["total"] != total:
                raise CheckpointError(
                    f"{self.path} is from a training of {saved['total']} steps, not {total}."
                    f" {advice}"
                )
            for name, part in parts.items():
                load = getattr(part, "load_state_dict", None) or part.set_state
                load(saved[name])
            return int(saved["done"])
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{self.path} does not fit this training ({type(error).__name__}). {advice}"
            ) from error

    def keep(self, done: int, total: int, **parts: Any) -> None:
        """Save if it is time to."""
        if time.monotonic() - self._written < self.seconds:
            return
        state = {
            name: part.state_dict() if hasattr(part, "state_dict") else part.get_state()
            for name, part in parts.items()
        }
        draft = self.path.with_name(self.path.name + ".part")
        torch.save({"done": done, "total": total, **state}, draft)
        os.replace(draft, self.path)
        self._written = time.monotonic()

    def remove(self) -> None:
        """After the training is complete."""
        self.path.unlink(missing_ok=True)


def train_classifier(
    model: nn.Module,
    epoch_data: Callable[[int], tuple[Tensor, Tensor]],
    *,
    epochs: int,
    batch_size: int,
    max_lr: float,
    weight_decay: float = 0.0,
    max_norm: float | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fit `model` in place to class labels with AdamW under a one-cycle learning rate.

    epoch_data: epoch number -> (inputs [n, ...], labels [n] int64); called anew every epoch so that
        augmentation can be fresh. n must be the same each time.
    max_norm: longest gradient; a longer one is scaled down to it. None: as it comes.
    on_epoch: called after each epoch with its number and mean loss; for progress bars.
    checkpoint: where to go on from after an interruption; kept between epochs.
    Single-threaded runs repeat bit for bit; more threads change the order of float sums.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=max_lr, weight_decay=weight_decay)
    schedule = None
    model.train()
    done, epoch = 0, 0
    while epoch < epochs:
        inputs, labels = epoch_data(epoch)
        if schedule is None:
            steps = epochs * -(-len(inputs) // batch_size)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=steps)
            parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
            parts["generator"] = generator
            done = checkpoint.restore(epochs, **parts) if checkpoint is not None else 0
            if done:
                epoch = done
                continue
        batches = torch.randperm(len(inputs), generator=generator).split(batch_size)
        total = 0.0
        for batch in batches:
            loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            if max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if on_epoch is not None:
            on_epoch(epoch, total / len(inputs))
        epoch += 1
        if checkpoint is not None:
            checkpoint.keep(epoch, epochs, **parts)
    model.eval()


def train_language(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    *,
    steps: int,
    max_lr: float,
    weight_decay: float = 0.01,
    rate: Callable[[int], float] | None = None,
    stop: int | None = None,
    max_norm: float | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fit a sequence model in place, a new batch every step, AdamW under a one-cycle rate.

    batch: step number -> tensors. loss: those tensors -> scalar.
    rate: step number -> share of `max_lr`, in place of the one-cycle rate.
    stop: leave after so many steps of the same run; the weights are those it had then, bit for bit.
    max_norm: longest gradient; a longer one is scaled down to it. None: as it comes.
    progress: called every 50 steps with steps done, steps in all and the latest loss.
    checkpoint: where to go on from after an interruption.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=max_lr, weight_decay=weight_decay, betas=(0.9, 0.98)
    )
    schedule: torch.optim.lr_scheduler.LRScheduler
    if rate is None:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=steps)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    last = steps if stop is None else stop
    first = 0 if checkpoint is None else checkpoint.restore(steps, **parts)
    model.train()
    for step in range(first, last):
        value = loss(*batch(step))
        optimizer.zero_grad()
        value.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        schedule.step()
        if progress is not None and (step + 1) % 50 == 0:
            progress(step + 1, last, value.item())
        if checkpoint is not None:
            checkpoint.keep(step + 1, steps, **parts)
    model.eval()
