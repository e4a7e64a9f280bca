"""Modular addition found whole: the network, its algorithm as steps, and what to test them with.

The network adds two numbers modulo 113 (`utils.data.modular`). Every number is embedded on a few
circles, one for each key frequency. Attention, uniform by construction, adds the two embeddings.
The multi-layer perceptron (MLP) turns the sum of two points on a circle into a point at the sum of
their angles. The logits are cosines of (a + b - c). Circles and cosines are the account of
"Progress measures for grokking via mechanistic interpretability" (Nanda et al. 2023); attention
that does not depend on its inputs makes the strength of a circle vary with a - b, as in "The Clock
and the Pizza" (Zhong et al. 2023), and this network mends that with circles of twice the frequency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges.challenge import Challenge, Sample
from utils.challenges.explanation import Explanation
from utils.challenges.judge import Verdict, judge
from utils.data import modular
from utils.models import zoo
from utils.reports import Estimate, Report, Row
from utils.scrubbing import Step, TransformerGraph
from utils.sites import Site, run

P = modular.PRIME
SHUFFLES = 20  # for the null of `key_frequencies`
# All held-out pairs, or all others: swaps that must *not* move the answer are one in 113, and the
# judge needs twenty of them.
ALL = 6400
EMBED, ATTENTION, MLP = "hook_embed", "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"


# --- frequencies -------------------------------------------------------------------------------


def embeddings(model: nn.Module) -> Tensor:
    """The embedding of every number: [113, d_model]."""
    return Site(EMBED, position=0).read(model, _numbers())


def contributions(model: nn.Module) -> Tensor:
    """What each number adds to the stream at the last position, up to a constant: [113, d_model].

    It is the same from position 0 and from position 1, since attention is uniform.
    """
    return Site(ATTENTION, position=-1).read(model, _numbers())


def _numbers() -> Tensor:
    return torch.stack([torch.arange(P), torch.zeros(P).long(), torch.full((P,), P)], 1)


def power(values: Tensor) -> Tensor:
    """Share of the variance of values [113, width] over the numbers at each frequency 1 ... 56.

    Frequency f is cos and sin of 2 pi f n / 113; the shares add to 1. Place 0 is frequency 1.
    """
    spectrum = torch.fft.rfft(values.double(), dim=0)[1:].abs().pow(2).sum(1)
    return spectrum / spectrum.sum()


def key_frequencies(model: nn.Module, seed: int = 0) -> list[int]:
    """Frequencies of `contributions` that no shuffle of the numbers reaches, strongest first.

    The null gives the numbers other numbers' rows, `SHUFFLES` times: what a network without any
    order among the numbers would show at its strongest frequency.
    """
    values = contributions(model)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(P, generator=generator) for _ in range(SHUFFLES)]
    null = max(float(power(values[order]).max()) for order in orders)
    share = power(values)
    return [int(f) + 1 for f in share.argsort(descending=True) if share[f] > null]


def doubles(frequencies: Sequence[int]) -> list[int]:
    """Twice each frequency, as it looks modulo 113 (60 looks like 53), without those given."""
    folded = [min(2 * f % P, -2 * f % P) for f in frequencies]
    return [f for f in dict.fromkeys(folded) if f not in frequencies]


def waves(frequencies: Sequence[int], numbers: Tensor) -> Tensor:
    """cos, then sin of 2 pi f n / 113 for each f: numbers [n] -> [n, 2 * len(frequencies)]."""
    angles = 2 * math.pi / P * torch.tensor(list(frequencies)) * numbers[:, None]
    return torch.cat([angles.cos(), angles.sin()], 1)


def subspace(values: Tensor, frequencies: Sequence[int]) -> Tensor:
    """The directions in which values [113, width] vary at these frequencies: [width, 2k].

    Orthonormal columns. A value's row number is the number it belongs to.
    """
    directions = waves(frequencies, torch.arange(P)).T @ values
    return torch.linalg.qr(directions.T).Q


def only(model: nn.Module, tokens: Tensor, frequencies: Sequence[int]) -> Tensor:
    """Logits [n, 113] when the embedding of the numbers varies at these frequencies alone.

    What every number's embedding has in common stays.
    """
    table = embeddings(model)
    basis = waves(frequencies, torch.arange(P)) / math.sqrt(P / 2)  # orthonormal columns
    kept = table.mean(0) + basis @ (basis.T @ (table - table.mean(0)))
    edits = [(Site(EMBED, position=i), kept[tokens[:, i]]) for i in (0, 1)]
    return run(model, tokens, edits=edits, batch_size=4000, allow_unchanged=True).output[:, -1]


# --- what the MLP and the logits hold ----------------------------------------------------------


def explained(values: Tensor, labels: Tensor) -> float:
    """Share of the variance of values [n, width] that the means over each label's inputs hold.

    1: the values are a function of the label. For random labels about (number of labels) / n.
    """
    centred = (values - values.mean(0)).double()
    means = group_means(centred, labels)
    return float(means[labels].pow(2).sum() / centred.pow(2).sum())


def group_means(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of values [n, width] over the inputs with each label 0, 1 ...: [labels, width]."""
    count = torch.bincount(labels)
    total = values.new_zeros(len(count), values.shape[1]).index_add_(0, labels, values)
    return total / count[:, None]


def amplitudes(logits: Tensor, tokens: Tensor, frequency: int) -> Tensor:
    """How strongly each pair's logits follow cos(2 pi f (a + b - c) / 113) over c: [n].

    logits [n, 113] are fitted by their own projection, so that the amplitude of 3 cos(...) is 3.
    """
    wave = waves([frequency], torch.arange(P))[:, 0].to(logits.dtype)
    distance = (modular.answer(tokens)[:, None] - torch.arange(P)) % P
    return (logits * wave[distance]).sum(1) * 2 / P


# --- the challenge, and the reference explanation ----------------------------------------------


def challenge(name: str = "modular", *, trained: bool = False) -> Challenge:
    """The finished network, or "modular-early": the same training run when it only remembered.

    trained: judge it on the pairs that it was trained on, in both orders, instead of on those that
        were held out. There both networks give the same answers, for different reasons.
    """
    model = zoo.load(name)
    tokens = modular.grid()
    pairs = tokens[modular.trained_on(tokens) == trained]

    def draw(n: int, seed: int) -> Sample:
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
        chosen = pairs[order[:n]]
        low, high = chosen[:, :2].amin(1), chosen[:, :2].amax(1)
        return Sample(chosen, P * low + high)  # (a, b) and (b, a) are one pair to the network

    return Challenge(
        f"{name}, on its training pairs" if trained else name, "sequence", model, draw,
        graph=lambda inputs: TransformerGraph(model, inputs, answer=-1),
        read=lambda output: output[:, -1],
        card={
            "inputs": "tokens a, b, =; a and b from 0 to 112",
            "classes": P,
            "judged on": "pairs it was trained on" if trained else "pairs held out in both orders",
        },
    )  # fmt: skip


def first(tokens: Tensor) -> Tensor:
    """The first number: [n] int64."""
    return tokens[:, 0]


def second(tokens: Tensor) -> Tensor:
    """The second number: [n] int64."""
    return tokens[:, 1]


def unordered(a: Tensor, b: Tensor) -> Tensor:
    """Both numbers, without which came first: [n, 2] int64, the smaller one in front."""
    return torch.stack([torch.minimum(a, b), torch.maximum(a, b)], 1)


def total(pair: Tensor) -> Tensor:
    """(a + b) mod 113 of pairs [n, 2]: [n] int64."""
    return pair.sum(1) % P


def same(value: Tensor) -> Tensor:
    """The value as it is: the answer is the sum."""
    return value


def key_subspaces(model: nn.Module, frequencies: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Where a number, a pair and a sum are kept: orthonormal bases [d_model, 2k] by name.

    numbers: in the embedding; pair: in what attention adds at the last position; both for the
    frequencies and their doubles. sum: in what the MLP adds there, for the frequencies of a + b
    alone. frequencies: those of `key_frequencies` if None.
    """
    chosen = key_frequencies(model) if frequencies is None else list(frequencies)
    both = chosen + doubles(chosen)
    tokens = modular.grid()
    sums = group_means(Site(MLP, position=-1).read(model, tokens), modular.answer(tokens))
    return {
        "numbers": subspace(embeddings(model), both),
        "pair": subspace(contributions(model), both),
        "sum": subspace(sums, chosen),
    }


def random_subspaces(like: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Random subspaces of the same sizes, for the null."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.linalg.qr(torch.randn(basis.shape, generator=generator)).Q
        for name, basis in like.items()
    }


def reference_steps(model: nn.Module, bases: Mapping[str, Tensor] | None = None) -> list[Step]:
    """The algorithm as five steps, four of them placed; the last is the answer.

    bases: the subspaces to claim, as `key_subspaces` gives them, which is also what is used
        without; `random_subspaces` of the same sizes make the null.
    """
    found = key_subspaces(model) if bases is None else bases
    return [
        Step("a", first, site=Site(EMBED, position=0, basis=found["numbers"])),
        Step("b", second, site=Site(EMBED, position=1, basis=found["numbers"])),
        Step("pair", unordered, ("a", "b"), Site(ATTENTION, position=-1, basis=found["pair"])),
        Step("sum", total, ("pair",), Site(MLP, position=-1, basis=found["sum"])),
        Step("answer", same, ("sum",)),
    ]


# --- the reference walk ------------------------------------------------------------------------


@dataclass(frozen=True)
class ModularSolution:
    """What `python -m utils solve modular` shows.

    mechanism: the algorithm's parts in numbers. verdict: of the finished network, on held-out
    pairs. control: of the same explanation, read off the early network, on the pairs it was
    trained on, where its answers are right too.
    """

    mechanism: Report
    verdict: Verdict
    control: Verdict

    @property
    def controls(self) -> dict[str, Verdict]:
        """What each control is, and its verdict."""
        return {f"{self.control.name}, the same steps": self.control}

    def as_dict(self) -> dict[str, Any]:
        """The JSON of the command, in the form of every challenge."""
        rows = {row.name: row.estimate.as_dict() for row in self.mechanism}
        return {
            **self.verdict.as_dict(),
            "rows": {"mechanism": rows},
            "control": self.control.as_dict(),
        }


def solve(
    progress: Callable[[str], None] = lambda text: None, *, references: int = 1000
) -> ModularSolution:
    """All the evidence on the adding network, and on the control; references: for scrubbing."""
    finished, early = challenge("modular"), challenge("modular-early", trained=True)
    progress("measuring the parts of the algorithm")
    mechanism = mechanism_report(finished.model, early.model)
    verdicts = []
    for case in (finished, early):
        explanation = Explanation(reference_steps(case.model), name="addition by circles")

        def tell(text: str, name: str = case.name) -> None:
            progress(f"{name}: {text}")

        verdicts.append(judge(case, explanation, inputs=ALL, references=references, progress=tell))
    return ModularSolution(mechanism, *verdicts)


def mechanism_report(model: nn.Module, early: nn.Module, seed: int = 0) -> Report:
    """The parts of the algorithm in numbers, on the whole grid; `early` is the control."""
    tokens = modular.grid()
    labels = modular.answer(tokens)
    generator = torch.Generator().manual_seed(seed)
    mixed = labels[torch.randperm(len(labels), generator=generator)]
    chosen = key_frequencies(model)
    both = chosen + doubles(chosen)
    unused = [f for f in range(1, P // 2 + 1) if f not in both]
    others = [unused[i] for i in torch.randperm(len(unused), generator=generator)]

    def strongest(values: Tensor) -> float:
        return float(power(values).topk(len(chosen)).values.sum())

    def right(frequencies: Sequence[int]) -> Estimate:
        hits = only(model, tokens, frequencies).argmax(-1) == labels
        return Estimate.exact(float(hits.double().mean()), len(tokens))

    def by_sum(hook: str, network: nn.Module, of: Tensor = labels) -> Estimate:
        values = Site(hook, position=-1).read(network, tokens, batch_size=4000)
        return Estimate.exact(explained(values, of), len(tokens))

    parts = contributions(model)
    shuffled = parts[torch.randperm(P, generator=generator)]
    held = f"variance in the {len(chosen)} strongest frequencies"
    known = "variance told by a + b"
    answers = "right answers, embedding at"
    rows = [
        Row(held, Estimate.exact(strongest(parts), P), "result", " ".join(map(str, chosen))),
        Row(f"{held}, numbers shuffled", Estimate.exact(strongest(shuffled), P), "null"),
        Row(f"{held}, early network", Estimate.exact(strongest(contributions(early)), P),
            "control"),
        Row(f"{known}: what attention adds", by_sum(ATTENTION, model), "baseline"),
        Row(f"{known}: what the MLP adds", by_sum(MLP, model), "result"),
        Row(f"{known}: what the MLP adds, random sums", by_sum(MLP, model, mixed), "null"),
        Row(f"{known}: what the MLP adds, early network", by_sum(MLP, early), "control"),
        Row(f"{answers} these frequencies", right(chosen), "result"),
        Row(f"{answers} these and their doubles", right(both), "result",
            " ".join(map(str, doubles(chosen)))),
        Row(f"{answers} these and as many others",
            right(chosen + others[: len(both) - len(chosen)]), "control"),
    ]  # fmt: skip
    protocol = {"pairs": len(tokens), "drawn": "the whole grid"}
    return Report("The parts of the algorithm", rows, protocol, digits=2)
