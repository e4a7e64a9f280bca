"""Training loops small enough to read, used by every `retrain` recipe."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def train_classifier(
    model: nn.Module,
    epoch_data: Callable[[int], tuple[Tensor, Tensor]],
    *,
    epochs: int,
    batch_size: int,
    max_lr: float,
    weight_decay: float = 0.0,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Fit `model` in place to class labels with AdamW under a one-cycle learning rate.

    epoch_data: epoch number -> (inputs [n, ...], labels [n] int64); called anew every epoch so that
        augmentation can be fresh. n must be the same each time.
    on_epoch: called after each epoch with its number and mean loss; for progress bars.
    Single-threaded runs repeat bit for bit; more threads change the order of float sums.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=max_lr, weight_decay=weight_decay)
    schedule = None
    model.train()
    for epoch in range(epochs):
        inputs, labels = epoch_data(epoch)
        batches = torch.randperm(len(inputs), generator=generator).split(batch_size)
        if schedule is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr, total_steps=epochs * len(batches)
            )
        total = 0.0
        for batch in batches:
            loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if on_epoch is not None:
            on_epoch(epoch, total / len(inputs))
    model.eval()


def train_language(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    *,
    steps: int,
    max_lr: float,
    weight_decay: float = 0.01,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Fit a sequence model in place, a new batch every step, AdamW under a one-cycle rate.

    batch: step number -> tensors. loss: those tensors -> scalar.
    progress: called every 50 steps with steps done, steps in all and the latest loss.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=max_lr, weight_decay=weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=steps)
    model.train()
    for step in range(steps):
        value = loss(*batch(step))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if progress is not None and (step + 1) % 50 == 0:
            progress(step + 1, steps, value.item())
    model.eval()
