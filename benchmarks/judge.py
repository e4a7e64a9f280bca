"""The judge as an estimator: false verdicts of both kinds, and the coverage of its intervals.

Networks with known insides are drawn at random, some crisp and some blurred, and each is explained
rightly, half rightly and wrongly. A row counts how often the verdict was the deserved one. The peer
is the rule that most people use by hand, agreement of at least 90 %: it is said how often that rule
would have accepted the same explanation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

QUICK = {"inputs": 1500, "references": 300, "resamples": 2}


def rows(
    quick: bool = False, networks: int | None = None, repeats: int | None = None
) -> list[dict[str, Any]]:
    """A row for each kind of explanation, for speed and for the coverage of each measurement."""
    import torch

    from utils.challenges.judge import judge
    from utils.reports import Estimate

    torch.set_num_threads(1)
    networks = networks or (2 if quick else 30)
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    seconds = []
    for seed in range(networks):
        case = Compiled(seed)
        for what, deserved, explanation in accounts(case, seed):
            started = time.perf_counter()
            verdict = judge(case.challenge, explanation, seed=seed, **QUICK)
            seconds.append(time.perf_counter() - started)
            agreement = verdict.program["program = network"].value
            found.setdefault((what, deserved), []).append((verdict.verdict, agreement))
    result = []
    for (what, deserved), verdicts in found.items():
        right = Estimate.proportion(sum(v == deserved for v, _ in verdicts), len(verdicts))
        above = sum(_rank(v) > _rank(deserved) for v, _ in verdicts)
        by_hand = sum(a >= 0.9 for _, a in verdicts)
        result.append(
            {
                "what": what, "deserves": deserved, "n": len(verdicts), "unit": "share",
                "ours": right.value, "low": right.low, "high": right.high,
                "too_high": Estimate.proportion(above, len(verdicts)).as_dict(),
                "peer": by_hand / len(verdicts), "ratio": None, "max_abs_diff": None,
            }
        )  # fmt: skip
    result += coverage(repeats or (5 if quick else 60))
    result.append(
        {"what": "one verdict", "ours": statistics.median(seconds), "peer": None, "ratio": None,
         "unit": "s", "n": len(seconds), "max_abs_diff": None}
    )  # fmt: skip
    return result


def _rank(verdict: str) -> int:
    return ("labels only", "program", "program and mechanism").index(verdict)


class Compiled:
    """A network whose insides are known: two tests of a few pixels, each held by some of 48
    neurons, and a gate that reads them. `sharp` is how crisp the tests are, `leak` how loudly idle
    neurons speak."""

    def __init__(self, seed: int) -> None:
        import torch

        from utils.challenges.challenge import Challenge, Sample
        from utils.scrubbing import chain

        generator = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        self.gate = ("and", "or", "xor")[seed % 3]
        share = {"and": 0.72, "or": 0.28, "xor": 0.5}[self.gate]
        self.sharp, self.leak = uniform(8, 60), uniform(0.0, 0.8)
        self.pixels = torch.randperm(600, generator=generator)[:4].tolist()
        # the difference of two uniform pixels is triangular on -1..1, their sum less 1 too
        self.cut = round(float(-1 + (2 * share) ** 0.5 if share < 0.5 else
                               1 - (2 * (1 - share)) ** 0.5), 2)  # fmt: skip
        order = torch.randperm(48, generator=generator).tolist()
        sizes = [int(uniform(3, 9)), int(uniform(3, 9))]
        self.first, self.second = order[: sizes[0]], order[sizes[0] : sum(sizes)]
        self.idle = order[sum(sizes) :]
        model = _network(self, generator)

        def draw(n: int, seed: int) -> Sample:
            images = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
            return Sample(images, torch.arange(n))

        self.challenge = Challenge(
            f"compiled {seed}", "cnn", model, draw, lambda x: chain(model, ["hook_fc1"], x[:4])
        )


def _network(case: Compiled, generator: Any) -> Any:
    import torch
    from torch import nn
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    gains = 0.5 + torch.rand(48, generator=generator)

    class Network(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            self.hook_fc1 = HookPoint()
            self.readout = nn.Linear(48, 3, bias=False)
            with torch.no_grad():
                self.readout.weight.zero_()
                for row, neurons in enumerate((case.first, case.second)):
                    self.readout.weight[row, neurons] = 1 / (len(neurons) * gains[neurons])
                noise = torch.randn(len(case.idle), generator=generator)
                self.readout.weight[2, case.idle] = case.leak * noise / len(case.idle) ** 0.5
            self.setup()

        def forward(self, images: Any) -> Any:
            flat = images.flatten(1)
            hidden = flat[:, 700:748].clone()  # idle neurons show pixels that mean nothing
            a, b, c, d = (flat[:, p] for p in case.pixels)
            for neurons, score in ((case.first, a - b), (case.second, c + d - 1)):
                # a threshold on "greater": high cuts make rare tests
                on = torch.sigmoid(case.sharp * (score + case.cut))
                hidden[:, neurons] = on[:, None] * gains[neurons]
            one, two, idle = self.readout(self.hook_fc1(hidden)).unbind(1)
            score = one + two - {"and": 1.5, "or": 0.5}.get(case.gate, 0.5 + 2 * one * two)
            logit = 12 * score + idle
            return torch.stack([torch.zeros_like(logit), logit], 1)

    return Network().eval().requires_grad_(False)


def accounts(case: Compiled, seed: int) -> list[tuple[str, str, Any]]:
    """(what, the verdict it deserves, explanation): right, half right and wrong."""

    from utils.challenges.explanation import Explanation, Step
    from utils.sites import Site

    p, q, r, s = case.pixels
    cut = case.cut

    def first(x: Any) -> Any:
        flat = x.flatten(1)
        return flat[:, p] - flat[:, q] > -cut

    def second(x: Any) -> Any:
        flat = x.flatten(1)
        return flat[:, r] + flat[:, s] - 1 > -cut

    gates: dict[str, Callable[..., Any]] = {
        "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    }  # fmt: skip
    gate = gates[case.gate]
    wrong_gate = gates[{"and": "xor", "or": "xor", "xor": "and"}[case.gate]]

    def label(x: Any) -> Any:
        return gate(first(x), second(x))

    def other(x: Any) -> Any:
        flat = x.flatten(1)
        return flat[:, p] - flat[:, r] > -cut

    def at(neurons: list[int]) -> Any:
        return Site("hook_fc1", neuron=sorted(neurons))

    def account(one: Any, two: Any, functions: Any = (first, second), last: Any = gate) -> Any:
        return Explanation(
            [
                Step("one", functions[0], site=one),
                Step("two", functions[1], site=two),
                Step("label", last, ("one", "two")),
            ]
        )

    here, there = at(case.first), at(case.second)
    idle = case.idle
    far = at(idle[: len(case.first)]), at(idle[-len(case.second) :])
    x = case.challenge.draw(1500, seed).inputs
    keys, table = x[:, 0, 0, 0].clone(), label(x)

    def lookup(x: Any) -> Any:
        return table[(x[:, 0, 0, 0, None] - keys).abs().argmin(1)]

    both, only, labels = "program and mechanism", "program", "labels only"
    return [
        ("right", both, account(here, there)),
        ("half right: one step elsewhere", only, account(here, far[1])),
        ("half right: each step's site lacks two thirds", only,
         account(at(case.first[: max(1, len(case.first) // 3)]),
                 at(case.second[: max(1, len(case.second) // 3)]))),
        ("half right: sites exchanged", only, account(there, here)),
        ("half right: sites that hold nothing", only, account(*far)),
        ("half right: every step is the label", only,
         account(here, there, (label, label), lambda a, b: a | b)),
        ("half right: no site", only, Explanation([Step("label", label)])),
        ("wrong: another gate", labels, account(here, there, last=wrong_gate)),
        ("wrong: another pixel", labels, account(here, there, (other, second))),
        ("wrong: a table", labels, Explanation([Step("label", lookup)])),
    ]  # fmt: skip


def coverage(repeats: int) -> list[dict[str, Any]]:
    """How often the 95 % intervals of three measurements hold what very many inputs give."""
    from utils.challenges.judge import judge
    from utils.reports import Estimate

    case = Compiled(4)
    explanation = accounts(case, 4)[0][2]
    measured = {
        "agreement": lambda v: v.program["program = network"],
        "loss recovered": lambda v: v.sufficiency.recovered,
        "answers that change as predicted": lambda v: v.necessity["any step, should change"],
    }
    large = {"inputs": 20_000, "references": 6000, "resamples": 4}
    truth = judge(case.challenge, explanation, seed=999, **large)
    verdicts = [judge(case.challenge, explanation, seed=1000 + i, **QUICK) for i in range(repeats)]
    result = []
    for name, pick in measured.items():
        value = pick(truth).value
        held = sum(pick(v).low <= value <= pick(v).high for v in verdicts)
        estimate = Estimate.proportion(held, repeats)
        bias = sum(pick(v).value for v in verdicts) / repeats - value
        result.append(
            {
                "what": f"coverage: {name}", "ours": estimate.value, "low": estimate.low,
                "high": estimate.high, "peer": 0.95, "ratio": None, "unit": "share", "n": repeats,
                "bias": bias, "max_abs_diff": None,
            }
        )  # fmt: skip
    return result


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text."""
    head = ("deserved verdict given", "too high", ">= 90 % agree", "n")
    lines = [f"{'what':<48} {head[0]:>24} {head[1]:>9} {head[2]:>14} {head[3]:>4}"]
    for row in found:
        if row["unit"] == "s":
            lines.append(f"{row['what']:<48} {row['ours']:>22.1f} s {'':>9} {'':>14} {row['n']:>4}")
            continue
        interval = f"{row['ours']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        high = f"{row['too_high']['value']:.2f}" if "too_high" in row else ""
        note = f"{row['peer']:.2f}" if "bias" not in row else f"bias {row['bias']:+.4f}"
        lines.append(f"{row['what']:<48} {interval:>24} {high:>9} {note:>14} {row['n']:>4}")
    return "\n".join(lines)
