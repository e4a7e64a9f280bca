"""Two transformers that know the facts of `utils.data.facts`: one trained freely, one planted.

In the planted one everything but the first MLP is drawn at random or set by hand before the first
fact is seen, and stays so. Whatever it knows of a person it learned there, where the person stands.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.data import facts
from utils.models.training import Checkpoint, train_language
from utils.models.transformer import build_transformer

WIDTH, HEADS, NEURONS = 64, 4, 256  # one head for each relation in the planted network
CODE = 8  # the last entries of the stream: 4 name the relation, 2 where a token stands, 2 stay free
SHARPNESS = 32.0  # of a planted head's query; makes weights of about .99
PLANTED = "layers.0._original_component.mlp."  # the parameters that the planted network learns


def build_facts(seed: int = 0) -> nn.Module:
    """Two layers, four heads, width 64, 256 neurons: 24 towns, read off at the last position."""
    return build_transformer(
        seed=seed, d_model=WIDTH, d_head=WIDTH // HEADS, n_heads=HEADS, n_layers=2, d_mlp=NEURONS,
        n_ctx=facts.LENGTH, d_vocab=facts.VOCABULARY, d_vocab_out=len(facts.OBJECTS),
    )  # fmt: skip


def build_planted(seed: int = 0) -> nn.Module:
    """The same architecture, in which MLP 0 alone can learn.

    Attention of layer 0 and the MLP of layer 1 add nothing. Head h of layer 1 looks from the last
    position at the person if the token there is a synonym of relation h, else at itself; what it
    carries over, and how that becomes a town, are random matrices. So the answer depends on the
    person through the stream at the person's position alone, which MLP 0 writes to.
    """
    model = build_facts(seed)
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / WIDTH**0.5

    first, second = (model.blocks[layer].attn.original_component for layer in (0, 1))
    last_mlp = model.blocks[1].mlp.original_component.fc_out
    native = model.original_model
    with torch.no_grad():
        for parameter in (
            *first.o.parameters(), *last_mlp.parameters(),
            *(p for part in (second.q, second.k, second.v, second.o) for p in part.parameters()),
        ):  # fmt: skip
            parameter.zero_()
        for embedding in (native.tok_embed.weight, native.pos.weight):
            embedding.copy_(3 * noise(*embedding.shape))
            embedding[:, -CODE:] = 0
        relations = torch.arange(len(facts.RELATIONS)).repeat_interleave(facts.SYNONYMS)
        code = functional.one_hot(relations, len(facts.RELATIONS)).float()
        native.tok_embed.weight[facts.FIRST_RELATION :, -CODE : -CODE + 4] = code
        native.pos.weight[facts.SUBJECT, -4] = native.pos.weight[facts.LAST, -3] = 1
        width = WIDTH // HEADS
        for head in range(HEADS):
            query, key = (p.weight.view(HEADS, width, WIDTH)[head] for p in (second.q, second.k))
            own = torch.zeros(4).index_fill(0, torch.tensor([head]), SHARPNESS)
            query[0, -CODE : -CODE + 4], key[0, -4] = own, 1  # its relation: look at the person
            query[1, -CODE : -CODE + 4], key[1, -3] = SHARPNESS - own, 1  # another: at itself
        second.v.weight[:, :-CODE] = 2 * noise(WIDTH, WIDTH - CODE)
        second.o.weight.copy_(noise(WIDTH, WIDTH))
        native.head.weight.copy_(8 * noise(*native.head.weight.shape))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(PLANTED in name)
    return model


def train_facts(
    model: nn.Module,
    table: Tensor,
    *,
    steps: int,
    max_lr: float,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
    seed: int = 0,
) -> None:
    """Fit `model` in place to all 384 prompts with fresh fillers every step; ten seconds or so.

    table: [48, 4] int64, the towns. Parameters without gradients stay as they are.
    """

    def batch(step: int) -> tuple[Tensor, Tensor]:
        tokens, subjects, relations = facts.every_prompt(seed * 10**6 + step)
        return tokens, table[subjects, relations]

    def loss(tokens: Tensor, towns: Tensor) -> Tensor:
        return functional.cross_entropy(model(tokens)[:, -1], towns)

    train_language(
        model, batch, loss, steps=steps, max_lr=max_lr, progress=progress, checkpoint=checkpoint
    )


@torch.no_grad()
def share_known(model: nn.Module, table: Tensor, draws: int = 5) -> float:
    """Share of prompts with the right town, over `draws` draws of fillers not used in training."""
    right = []
    for draw in range(draws):
        tokens, subjects, relations = facts.every_prompt(2**31 + draw)
        right.append(model(tokens)[:, -1].argmax(-1) == table[subjects, relations])
    return torch.cat(right).double().mean().item()
