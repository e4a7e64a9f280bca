"""What a challenge's network is, what it reads, and how it is trained: one `Setting` a family.

The inputs on which a challenge is judged are never trained on: images come from scans set aside,
pairs and strings from a list of held-out ones that lies in the challenge's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.challenges.challenge import Sample
from utils.challenges.families import Program, derived, images, pairs, sequences
from utils.data import digits
from utils.models.training import train_classifier
from utils.scrubbing import Graph, TransformerGraph

Progress = Callable[[int, int, float], None]  # epochs done, epochs in all, mean loss
Materials = Mapping[str, Tensor]

POOL = 6000  # held-out strings in a folder
TRAINED_SHARE = 0.7  # of all pairs


@dataclass(frozen=True)
class Effort:
    """How long to train. rows: inputs an epoch (pairs: how often each pair comes in one)."""

    epochs: int
    rows: int
    batch_size: int
    max_lr: float
    weight_decay: float = 0.0
    max_norm: float | None = None  # of the gradient


@dataclass(frozen=True)
class Probe:
    """Inputs with the single features that a shortcut could use.

    features: [n, k] int64, small numbers, one column a feature; names: the columns' names.
    linear: [n, d] float32, what a linear read-out of the input sees.
    """

    inputs: Tensor
    features: Tensor
    names: tuple[str, ...]
    linear: Tensor


class Setting:
    """A family's inputs, network and training. Subclasses say how."""

    effort: Effort
    answer: int | None = None  # the position of the answer, for transformers

    def materials(self, program: Program, seed: int, *, clue: bool) -> dict[str, Tensor]:
        """What goes into the folder beside the weights."""
        raise NotImplementedError

    def architecture(self, program: Program) -> dict[str, Any]:
        """How to build the network, as JSON holds it."""
        raise NotImplementedError

    def data(self, architecture: Mapping[str, Any]) -> str:
        """What the inputs are, in words, for the card."""
        raise NotImplementedError

    def build(self, architecture: Mapping[str, Any], seed: int = 0) -> nn.Module:
        raise NotImplementedError

    def fresh(self, program: Program, materials: Materials, n: int, seed: int) -> Tensor:
        """Training inputs; the whole training part where there is no more of it."""
        raise NotImplementedError

    def trained_on(self, program: Program, materials: Materials, n: int, seed: int) -> Sample:
        """At most `n` inputs of the kind that is trained on."""
        inputs = self.fresh(program, materials, n, seed)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(inputs), generator=generator)[:n]
        return Sample(inputs[chosen], chosen)

    def held_out(self, materials: Materials, n: int, seed: int) -> Sample:
        """Inputs nobody trained on; all there are if n is larger."""
        raise NotImplementedError

    def probe(self, sample: Sample) -> Probe:
        raise NotImplementedError

    def graph(self, model: nn.Module) -> Callable[[Tensor], Graph] | None:
        """What `Challenge` calls graph."""
        return None

    def read(self, output: Tensor) -> Tensor:
        """The network's output -> logits [n, 2]."""
        return output if self.answer is None else output[:, self.answer]

    def given(self, materials: Materials) -> dict[str, Tensor]:
        """What a solver is handed."""
        return {name: value for name, value in materials.items() if name != "inputs"}

    def train(
        self,
        program: Program,
        materials: Materials,
        effort: Effort,
        seed: int,
        progress: Progress = lambda done, total, loss: None,
    ) -> nn.Module:
        """A network trained from that seed, in eval mode. One thread repeats bit for bit."""
        architecture = self.architecture(program)
        model = self.build(architecture, seed=derived(seed, "weights") % 2**31)

        def epoch_data(epoch: int) -> tuple[Tensor, Tensor]:
            inputs = self.fresh(program, materials, effort.rows, derived(seed, "epoch", epoch))
            return inputs, program.labels(inputs)

        train_classifier(
            model if self.answer is None else AnswerOnly(model, self.answer),
            epoch_data,
            epochs=effort.epochs,
            batch_size=effort.batch_size,
            max_lr=effort.max_lr,
            weight_decay=effort.weight_decay,
            max_norm=effort.max_norm,
            seed=derived(seed, "batches"),
            on_epoch=lambda epoch, loss: progress(epoch + 1, effort.epochs, loss),
        )
        return model.eval().requires_grad_(False)


class Images(Setting):
    """28x28 digits and the CNN of Challenge 1."""

    effort = Effort(epochs=14, rows=25_000, batch_size=125, max_lr=0.005)

    def materials(self, program: Program, seed: int, *, clue: bool) -> dict[str, Tensor]:
        scans = images.scans(program.constants)
        return {"clue": digits.originals().images[scans, 0]} if clue and scans else {}

    def architecture(self, program: Program) -> dict[str, Any]:
        return {"kind": "ChallengeCNN"}

    def data(self, architecture: Mapping[str, Any]) -> str:
        return (
            "Handwritten digits of 28x28 pixels as `utils.data.digits` makes them, ink is 1."
            ' Trained on fresh images of the scans "train"; judged on images of those "held-out".'
        )

    def build(self, architecture: Mapping[str, Any], seed: int = 0) -> nn.Module:
        from utils.models.cnn import ChallengeCNN

        with torch.random.fork_rng(devices=[]):  # the caller's random numbers are theirs
            torch.manual_seed(seed)
            return ChallengeCNN()

    def fresh(self, program: Program, materials: Materials, n: int, seed: int) -> Tensor:
        return digits.make("train", n, seed=seed).images

    def trained_on(self, program: Program, materials: Materials, n: int, seed: int) -> Sample:
        made = digits.make("train", n, seed=seed)
        return Sample(made.images, made.original)

    def held_out(self, materials: Materials, n: int, seed: int) -> Sample:
        made = digits.make("held-out", n, seed=derived(seed, "held-out"))
        return Sample(made.images, made.original)

    def probe(self, sample: Sample) -> Probe:
        flat = sample.inputs.flatten(1)
        digit = digits.originals().digit[sample.groups]
        features = torch.cat([digit[:, None], (flat * 3.999).long()], 1)
        names = ("the digit", *(f"pixel {i // 28}, {i % 28}" for i in range(flat.shape[1])))
        return Probe(sample.inputs, features, names, flat)


class _Transformer(Setting):
    def build(self, architecture: Mapping[str, Any], seed: int = 0) -> nn.Module:
        from utils.models.transformer import build_transformer

        config = {key: value for key, value in architecture.items() if key != "kind"}
        with torch.random.fork_rng(devices=[]):
            return build_transformer(seed=seed, **config)

    def graph(self, model: nn.Module) -> Callable[[Tensor], Graph]:
        return lambda inputs: TransformerGraph(model, inputs, answer=self.answer)

    def held_out(self, materials: Materials, n: int, seed: int) -> Sample:
        rows = materials["inputs"].long()
        generator = torch.Generator().manual_seed(derived(seed, "held-out"))
        chosen = torch.randperm(len(rows), generator=generator)[:n]
        return Sample(rows[chosen], chosen)


class Pairs(_Transformer):
    """The table of all pairs, a part of it trained on, and one layer that reads at "="."""

    effort = Effort(epochs=100, rows=1, batch_size=512, max_lr=0.005, weight_decay=1.0)
    answer = 2

    def materials(self, program: Program, seed: int, *, clue: bool) -> dict[str, Tensor]:
        cells = pairs.grid()
        generator = torch.Generator().manual_seed(derived(seed, "split"))
        order = torch.randperm(len(cells), generator=generator)
        return {"inputs": cells[order[round(TRAINED_SHARE * len(cells)) :].sort().values]}

    def architecture(self, program: Program) -> dict[str, Any]:
        return {
            "kind": "transformer", "n_layers": 1, "d_model": 64, "n_heads": 4, "d_head": 16,
            "d_mlp": 256, "n_ctx": pairs.LENGTH, "d_vocab": pairs.P + 1, "d_vocab_out": 2,
        }  # fmt: skip

    def data(self, architecture: Mapping[str, Any]) -> str:
        p = architecture["d_vocab"] - 1
        return (
            f'Tokens [a, b, "="]: a and b from 0 to {p - 1}, "=" is token {p}, where the answer is'
            f" read. Trained on {TRAINED_SHARE:.0%} of the {p * p} pairs; judged on the others,"
            ' which the materials list as "inputs".'
        )

    def fresh(self, program: Program, materials: Materials, n: int, seed: int) -> Tensor:
        cells = pairs.grid()
        codes = cells[:, 0] * pairs.P + cells[:, 1]
        held = materials["inputs"].long()
        return cells[~torch.isin(codes, held[:, 0] * pairs.P + held[:, 1])].repeat(n, 1)

    def probe(self, sample: Sample) -> Probe:
        numbers = sample.inputs[:, :2]
        linear = functional.one_hot(numbers, pairs.P).flatten(1).float()
        return Probe(sample.inputs, numbers, ("a", "b"), linear)


class Sequences(_Transformer):
    """Short strings, and two bidirectional layers that answer at START."""

    # clipped: without it one training in ten fell back to chance half-way and stayed there
    effort = Effort(
        epochs=60, rows=5120, batch_size=256, max_lr=0.002, weight_decay=0.1, max_norm=1.0
    )
    answer = 0

    def materials(self, program: Program, seed: int, *, clue: bool) -> dict[str, Tensor]:
        parts: list[Tensor] = []
        while sum(map(len, parts)) < POOL:  # one string in eight is set aside
            made = sequences.sample(
                program.template, program.constants, 2 * POOL, derived(seed, "pool", len(parts))
            )
            parts.append(made[sequences.set_aside(made)])
        return {"inputs": torch.cat(parts)[:POOL].to(torch.uint8)}

    def architecture(self, program: Program) -> dict[str, Any]:
        c = program.constants
        return {
            "kind": "transformer", "n_layers": 2, "d_model": 48, "n_heads": 2, "d_head": 24,
            "d_mlp": 96, "n_ctx": c["length"] + 1, "d_vocab": c["letters"] + 1, "d_vocab_out": 2,
            "normalization_type": "LN", "attention_dir": "bidirectional",
        }  # fmt: skip

    def data(self, architecture: Mapping[str, Any]) -> str:
        letters = architecture["d_vocab"] - 1
        return (
            f"Strings of {architecture['n_ctx'] - 1} tokens from 0 to {letters - 1}, behind START"
            f" (token {letters}), where the answer is read. Trained on fresh strings drawn as those"
            ' in the materials, "inputs", were, and never on one of these: a fixed hash'
            " (`utils.challenges.families.sequences.set_aside`) parts the two."
        )

    def fresh(self, program: Program, materials: Materials, n: int, seed: int) -> Tensor:
        made = sequences.sample(program.template, program.constants, round(1.3 * n) + 50, seed)
        return made[~sequences.set_aside(made)][:n]

    def probe(self, sample: Sample) -> Probe:
        letters, tokens = int(sample.inputs[0, 0]), sample.inputs[:, 1:]
        marks = functional.one_hot(tokens, letters)
        names = [f"token {i + 1}" for i in range(tokens.shape[1])]
        names += [f"the number of {sequences.LETTERS[i]}" for i in range(letters)]
        features = torch.cat([tokens, marks.sum(1)], 1)
        return Probe(sample.inputs, features, tuple(names), marks.flatten(1).float())


SETTINGS: dict[str, Setting] = {"cnn": Images(), "pairs": Pairs(), "sequence": Sequences()}


class AnswerOnly(nn.Module):
    """A native transformer without rotary positions, computed where the answer is read and no more.

    The last layer asks only there, which halves the work of training; the values are those of the
    model's own forward. The position must see every other one: any if attention is bidirectional,
    else the last. No hooks fire.
    """

    def __init__(self, model: nn.Module, answer: int) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, positions] -> logits [n, vocabulary]."""
        model: Any = self.model
        native = model.original_model
        stream = native.tok_embed(tokens) + native.pos(torch.arange(tokens.shape[1]))
        for layer, block in enumerate(model.blocks):
            attn = block.attn.original_component
            normed = block.ln1.original_component(stream)
            asking = normed
            if layer == len(model.blocks) - 1:
                here = slice(self.answer, self.answer + 1)
                asking, stream = normed[:, here], stream[:, here]
            q, k, v = (
                x.unflatten(2, (attn.n_heads, -1)).transpose(1, 2)
                for x in (attn.q(asking), attn.k(normed), attn.v(normed))
            )
            z = functional.scaled_dot_product_attention(q, k, v)
            stream = stream + attn.o(z.transpose(1, 2).flatten(2))
            hidden = block.ln2.original_component(stream)
            stream = stream + block.mlp.original_component(hidden)
        stream = model.ln_final.original_component(stream)
        return model.unembed.original_component(stream)[:, 0]
