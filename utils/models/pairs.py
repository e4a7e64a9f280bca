"""A one-layer transformer that reads a pair and answers at the last position, and its fast path.

At the last position the query is the same for every pair, and a key or a value depends on one token
alone. So attention there is a look-up in tables of 113 rows, and the MLP runs at one position of
three: the same function, the same gradients, a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.data import grid
from utils.models.training import Checkpoint, train_language
from utils.models.transformer import build_transformer

HEADS, WIDTH, NEURONS = 8, 128, 256


def build_pairs(seed: int = 0) -> nn.Module:
    """The architecture of Challenge 2, with 256 neurons instead of 1,024 and two logits."""
    return build_transformer(
        seed=seed, d_model=WIDTH, d_head=WIDTH // HEADS, n_heads=HEADS, n_layers=1, d_mlp=NEURONS,
        n_ctx=3, d_vocab=grid.SIZE + 1, d_vocab_out=2,
    )  # fmt: skip


def last_logits(model: nn.Module, cells: Tensor) -> Tensor:
    """`model(grid.tokens(cells))[:, -1]` by tables: cells [n, 2] -> [n, 2].

    model: as `build_pairs` makes it (one layer, no layer norm, ReLU).
    """
    w = {name.replace("._original_component", ""): p for name, p in model.named_parameters()}

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    place, embedding, attention = w["pos.weight"], w["tok_embed.weight"], "layers.0.attn"
    last = embedding[grid.EQUALS] + place[2]
    sources = [embedding[:-1] + place[0], embedding[:-1] + place[1], last[None]]
    rows = [cells[:, 0], cells[:, 1], torch.zeros_like(cells[:, 0])]
    query = linear(f"{attention}.q", last).view(HEADS, -1)
    keys = [linear(f"{attention}.k", x).view(len(x), HEADS, -1) for x in sources]
    values = [linear(f"{attention}.v", x).view(len(x), HEADS, -1) for x in sources]
    scores = [
        ((k * query).sum(-1) / query.shape[-1] ** 0.5)[r] for k, r in zip(keys, rows, strict=True)
    ]
    pattern = torch.stack(scores, -1).softmax(-1)  # [n, head, source]
    mixed = sum(
        pattern[..., i : i + 1] * v[r] for i, (v, r) in enumerate(zip(values, rows, strict=True))
    )
    middle = last + linear(f"{attention}.o", mixed.flatten(1))
    hidden = functional.relu(linear("layers.0.mlp.fc_in", middle))
    return (middle + linear("layers.0.mlp.fc_out", hidden)) @ w["head.weight"].T


def train_pairs(
    model: nn.Module,
    labels: Tensor,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
    steps: int = 1500,
) -> None:
    """Fit `model` in place to the training half of a grid; about ten seconds on one core.

    labels: [113, 113] int64. Only the cells of `grid.split()[0]` are read.
    """
    seen, _ = grid.split()
    answers = labels[seen[:, 0], seen[:, 1]]

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pick = torch.randint(len(seen), (512,), generator=torch.Generator().manual_seed(step))
        return seen[pick], answers[pick]

    def loss(cells: Tensor, answer: Tensor) -> Tensor:
        return functional.cross_entropy(last_logits(model, cells), answer)

    train_language(
        model, batch, loss,
        steps=steps, max_lr=6e-3, weight_decay=1.0, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


@torch.no_grad()
def answers(model: nn.Module) -> Tensor:
    """What the network says of every cell, [113, 113] int64."""
    return last_logits(model, grid.every_cell()).argmax(-1).view(grid.SIZE, grid.SIZE)
