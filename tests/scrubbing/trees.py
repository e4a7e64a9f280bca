"""Small transformers and random hypotheses on them, for the tests that engines agree."""

from __future__ import annotations

import random
from functools import cache

import torch
from torch import Tensor

from utils.models.transformer import build_transformer
from utils.scrubbing import Hypothesis, HypothesisError, Node, Plan, TransformerGraph
from utils.sites import Site

LENGTH, WIDTH, HEAD = 5, 8, 4
KINDS = ("bidirectional", "causal", "attention only")


@cache
def network(kind: str) -> TransformerGraph:
    """A graph of an untrained transformer with weights large enough to matter."""
    options = {
        "bidirectional": {"d_mlp": 12, "normalization_type": "LN",
                          "attention_dir": "bidirectional"},
        "causal": {"d_mlp": 12, "normalization_type": "LN"},
        "attention only": {"attn_only": True},
    }[kind]  # fmt: skip
    model = build_transformer(
        seed=3, d_model=WIDTH, d_head=HEAD, n_heads=2, n_layers=2, n_ctx=LENGTH, d_vocab=6,
        d_vocab_out=3, **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.original_model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    model.eval().requires_grad_(False)
    return TransformerGraph(model, tokens(), answer=0 if kind == "bidirectional" else -1)


def tokens(n: int = 40, seed: int = 0) -> Tensor:
    return torch.randint(0, 6, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


def first(x: Tensor) -> Tensor:
    return x[:, 0]


def total(x: Tensor) -> Tensor:
    return x.sum(1) % 4


def last_two(x: Tensor) -> Tensor:
    return x[:, -2:]


FEATURES = (first, total, last_two, "any", "exact")


def random_hypothesis(kind: str, seed: int, *, nodes: int = 9) -> Hypothesis:
    """A random valid tree: heads, MLPs and embeddings, whole or in part, by slots, at positions."""
    rng = random.Random(seed)
    graph = network(kind)
    policy = rng.choice(["shared", "separate", "exact"])
    budget = [nodes]

    def site(name: str) -> Site | str:
        if rng.random() < 0.4:
            return name
        position = rng.choice([None, sorted(rng.sample(range(LENGTH), 2)), slice(1, None)])
        basis = torch.linalg.qr(
            torch.randn(HEAD if name[0] == "a" else WIDTH, 2,
                        generator=torch.Generator().manual_seed(rng.randrange(99)))
        ).Q  # fmt: skip
        part = rng.choice([{}, {"neuron": [0, 2]}, {"basis": basis}])
        if name == "embed":
            return Site("hook_embed", position=position, **part)
        layer = name[1]
        if name[0] == "a":
            hook = f"blocks.{layer}.attn.hook_z"
            return Site(hook, head=int(name[4]), position=position, **part)
        if rng.random() < 0.5 and "basis" not in part:
            return Site(f"blocks.{layer}.mlp.hook_post", position=position, neuron=[1, 5, 7])
        return Site(f"blocks.{layer}.hook_mlp_out", position=position, **part)

    def below(parent: str, depth: int) -> tuple[Node, ...]:
        if depth > 3 or parent == "embed":
            return ()
        base = graph.base_of(parent)
        sources = next(iter(graph.slots(base).values()), ())
        chosen = rng.sample(sources, min(len(sources), rng.randrange(0, 4)))
        made = []
        for name in chosen:
            if budget[0] <= 0:
                break
            budget[0] -= 1
            via = rng.choice([None, "v", ("q", "k")]) if parent[0] == "a" else None
            place = site(name)
            leafy = isinstance(place, Site) and place.hook.endswith("hook_post")
            children = () if leafy and rng.random() < 0.5 else below(name, depth + 1)
            feature = rng.choice(FEATURES)
            word = "w" if feature is first and rng.random() < 0.5 else None
            made.append(Node(place, feature, children, via, word, name=f"{name} {len(made)}"))
        return tuple(made)

    for _ in range(200):
        budget[0] = nodes
        hypothesis = Hypothesis(below("output", 0), policy)
        try:
            Plan(graph, hypothesis)
        except HypothesisError:  # e.g. a position that is never read: draw again
            continue
        if len(hypothesis) > 2:
            return hypothesis
    raise AssertionError("no valid tree was drawn")
