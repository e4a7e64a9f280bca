"""Lesson 04: one training run at two times, the whole grid of pairs, and the checks.

Checks use planted circles and other primes than 113 wherever a slip would not show otherwise.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from utils.lessons.checking import CheckFailed, call, check, clone
from utils.lessons.expect import expect_close, expect_number, expect_tensor, expect_type


def load_model() -> SimpleNamespace:
    from utils.models import zoo

    return SimpleNamespace(final=zoo.load("modular"), early=zoo.load("modular-early"))


def load_data() -> SimpleNamespace:
    from utils.data import modular

    tokens = modular.grid()
    return SimpleNamespace(
        tokens=tokens, answer=modular.answer(tokens), trained=modular.trained_on(tokens)
    )


def _wave(frequency: int, p: int, phase: float = 0.0) -> Tensor:
    return (2 * math.pi * frequency * torch.arange(p) / p + phase).cos()


def _circles(p: int, sizes: dict[int, float], width: int = 12, seed: int = 0) -> Tensor:
    """Vectors [p, width] with a circle of each frequency, of these sizes, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(width, width, generator=generator)
    directions = torch.linalg.qr(noise).Q
    values = torch.zeros(p, width)
    for n, (frequency, size) in enumerate(sizes.items()):
        for k, phase in enumerate((0.0, -math.pi / 2)):
            values += size * _wave(frequency, p, phase)[:, None] * directions[:, 2 * n + k]
    return values


@check(
    "4.1",
    hints=[
        "The transform runs over the numbers, axis 0. What it gives is complex: `.abs()` is its "
        "size, and power is the square of that.",
        "Leave out frequency 0, add the powers of all columns, and only then divide, by the total.",
        "Three moves: `torch.fft.rfft(values, dim=0)[1:]`, its size squared summed over axis 1, "
        "and that divided by its own sum.",
    ],
    expects="a function of values that gives one share a frequency",
)
def check_power(answer: Any, lab: Any) -> str | None:
    p = 23
    values = _circles(p, {3: 2.0, 7: 1.0})
    found = expect_tensor(call(answer, values), None, name="the shares")
    if found.shape == (12,):
        raise CheckFailed(
            "there are 12 shares for 23 numbers, so frequency 0 is among them; it is the mean, not "
            "a part of the variance."
        )
    found = expect_tensor(found, (11,), name="the shares")
    wanted = torch.zeros(11)
    wanted[2], wanted[6] = 0.8, 0.2
    sizes = torch.fft.rfft(values, dim=0)[1:].abs().sum(1)
    if torch.allclose(found.double(), (sizes / sizes.sum()).double(), atol=1e-3):
        raise CheckFailed(
            "a circle of twice the radius got twice the share; variance grows with the square.",
            credit=0.5,
        )
    if abs(float(found.double().sum()) - 1) > 1e-3:
        raise CheckFailed(f"the shares add up to {float(found.sum()):.3g}, not to 1.")
    expect_close(
        found, wanted, atol=1e-4, name="the shares of two planted circles",
        hint="Frequency 3 has twice the radius of frequency 7, and place 0 is frequency 1.",
    )  # fmt: skip
    expect_close(
        call(answer, values + 5.0), wanted, atol=1e-4, name="the shares after adding 5 everywhere"
    )
    uneven = torch.zeros(p, 3)
    uneven[:, 0], uneven[:, 1] = 3 * _wave(2, p), _wave(9, p, 1.0)
    wanted = torch.zeros(11)
    wanted[1], wanted[8] = 0.9, 0.1
    expect_close(
        call(answer, uneven), wanted, atol=1e-4, name="the shares with a large and a small column",
        hint="Add the power of all columns first and divide once.",
    )  # fmt: skip
    return "The shares do not depend on the mean."


@check(
    "4.2",
    hints=[
        "`values[order]` gives every number another number's row. What is the largest share then?",
        "The null is one number: the largest share of any frequency in any shuffle. Compare all "
        "shares with it.",
        "Sort the places by share, descending, keep those whose share is above the null, and add 1 "
        "to turn a place into a frequency.",
    ],
    expects="a function of values, shuffles and a power function that gives a list of frequencies",
)
def check_above_null(answer: Any, lab: Any) -> str | None:
    p = 29

    def power(values: Tensor) -> Tensor:
        total = torch.fft.rfft(values.double(), dim=0)[1:].abs().pow(2).sum(1)
        return total / total.sum()

    generator = torch.Generator().manual_seed(26)
    # frequency 6 beats most shuffles and not all of them
    values = _circles(p, {11: 3.0, 4: 2.2, 6: 1.8}) + 0.7 * torch.randn(p, 12, generator=generator)
    orders = torch.stack([torch.randperm(p, generator=generator) for _ in range(12)])

    def chosen(threshold: float) -> list[int]:
        share = power(values)
        return [int(f) + 1 for f in share.argsort(descending=True) if share[f] > threshold]

    tops = [power(values[order]).max().item() for order in orders]
    wanted = chosen(max(tops))
    found = _frequencies(call(answer, values, orders, power))
    if found == [f - 1 for f in wanted]:
        raise CheckFailed(
            "each frequency is one too small: place 0 of the shares is frequency 1.", credit=0.5
        )
    if sorted(found) == sorted(wanted) and found != wanted:
        raise CheckFailed("the right frequencies, but not the strongest first.", credit=0.5)
    if len(found) > len(wanted):
        raise CheckFailed(
            f"{len(found)} frequencies passed, {len(wanted)} beat every shuffle: compare with the "
            "largest share of any frequency in any shuffle, since you pick the best of many too."
        )
    if found != wanted:
        raise CheckFailed(f"on planted circles you found {found}; {wanted} beat every shuffle.")
    # a null that is itself high: shuffles that keep some of the order
    kept = torch.arange(p).repeat(2, 1)
    if _frequencies(call(answer, values, kept, power)):
        raise CheckFailed(
            "with 'shuffles' that change nothing, frequencies still passed; the null must come "
            "from `values[order]`, and a share must be larger than it."
        )
    return None


def _frequencies(found: Any) -> list[int]:
    if isinstance(found, Tensor):
        if found.is_floating_point() or found.is_complex() or found.ndim != 1:
            raise CheckFailed("return the frequencies as a list of whole numbers.")
        found = found.tolist()
    found = expect_type(found, list, name="the frequencies")
    if any(isinstance(f, bool) or not isinstance(f, int) for f in found):
        raise CheckFailed(f"return whole numbers, got {found[:4]}.")
    return found


@check(
    "4.3",
    hints=[
        "A wave over the numbers [p], times the values [p, width], summed over the numbers, is a "
        "direction [width].",
        "Stack the cosine and sine of every frequency to [2k, p]; one matrix product with `values` "
        "gives all directions [2k, width].",
        "`torch.linalg.qr` wants the directions as columns, so transpose before it. Its Q is the "
        "answer.",
    ],
    expects="a function of values and frequencies that gives a matrix",
)
def check_subspace(answer: Any, lab: Any) -> str | None:
    p = 29
    values = _circles(p, {4: 3.0, 11: 1.0, 6: 2.0}, seed=2) + 1.0
    for chosen in ([11], [4, 11]):
        found = expect_tensor(call(answer, values, chosen), None, name="the basis")
        if found.shape == (p, 2 * len(chosen)):
            raise CheckFailed(
                "these are waves over the numbers; asked are directions of the vectors. Multiply "
                "with `values`."
            )
        if found.shape == (12, len(chosen)):
            raise CheckFailed(
                "one direction a frequency; a circle has two, cosine and sine.", credit=0.25
            )
        found = expect_tensor(found, (12, 2 * len(chosen)), name="the basis").double()
        gram = found.T @ found
        if not torch.allclose(gram, torch.eye(len(gram)).double(), atol=1e-4):
            raise CheckFailed("the columns are not orthonormal: Q'Q is not the identity.")
        centred = (values - values.mean(0)).double()
        inside = torch.fft.rfft(centred @ found @ found.T, dim=0).abs().pow(2).sum(1)
        full = torch.fft.rfft(centred, dim=0).abs().pow(2).sum(1)
        for f in (4, 6, 11):
            share = float(inside[f] / full[f])
            if f in chosen and share < 0.999:
                raise CheckFailed(
                    f"the basis for {chosen} holds {share:.2f} of frequency {f}, not all of it."
                )
            if f not in chosen and share > 0.001:
                raise CheckFailed(
                    f"the basis for {chosen} also holds {share:.2f} of frequency {f}, whose circle "
                    "lies in other directions."
                )
    return None


@check(
    "4.4",
    hints=[
        "`site.read(model, donors)` gives what to write; `site.write(model, tokens, values, "
        "allow_unchanged=True)` gives logits for every position.",
        "The class is the largest logit at the last position.",
        "What the program says: the *donor's* first number, the pair's *own* second number, added, "
        "modulo 113. Compare, and return the booleans.",
    ],
    expects="a function of a model, tokens, donors and a Site",
)
def check_follows(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    model = lab.model.final
    generator = torch.Generator().manual_seed(8)
    pick = torch.randint(len(lab.data.tokens), (2, 400), generator=generator)
    own, donors = lab.data.tokens[pick[0]], lab.data.tokens[pick[1]]
    # pairs in which a slip could be right by accident are left out
    differ = (own[:, 0] != donors[:, 0]) & (own[:, 1] != donors[:, 1])
    differ &= (own[:, 0] + donors[:, 1] - donors[:, 0] - own[:, 1]) % 113 != 0
    own, donors = own[differ], donors[differ]
    whole = expect_tensor(
        call(answer, clone(model), own, donors, Site("hook_embed", position=0)), (len(own),),
        dtype="bool", name="follows(...)",
    )  # fmt: skip
    if not whole.bool().all():
        raise CheckFailed(
            f"with the whole first number swapped, {whole.double().mean():.2f} of the answers "
            "count as right; all must. Is it the donor's first and the pair's own second number, "
            "modulo 113, and the answer at the last position?"
        )
    second = call(answer, clone(model), own, donors, Site("hook_embed", position=1))
    if torch.as_tensor(second).bool().any():
        raise CheckFailed(
            "with the *second* number swapped the answer still counts as a' + b: read and write "
            "the site that was given."
        )
    nothing = call(answer, clone(model), own, donors, Site("hook_embed", position=2))
    if torch.as_tensor(nothing).bool().any():
        raise CheckFailed("nothing of the pair was swapped, and the answer still counts as a' + b.")
    same = call(answer, clone(model), own, own, Site("hook_embed", position=0))
    if not torch.as_tensor(same).bool().all():
        raise CheckFailed("a pair that is its own donor must keep its answer.")
    return None


@check(
    "4.5",
    hints=[
        "Doubling an angle: cos(2t) and sin(2t) from cos t and sin t.",
        "cos(2t) = cos² t - sin² t, and sin(2t) = 2 sin t cos t. Put u and v in place of cos and "
        "sin.",
        "Two columns, u² - v² and 2uv, stacked along axis 1.",
    ],
    expects="a function of points [n, 2]",
)
def check_double_angle(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(1)
    x, y = (2 * math.pi * torch.rand(200, generator=generator) for _ in range(2))
    points = torch.stack([x.cos() + y.cos(), x.sin() + y.sin()], 1)
    found = expect_tensor(call(answer, points), (200, 2), name="the points")
    found = found.float()
    long = points.norm(dim=1) > 0.2
    direction = torch.stack([(x + y).cos(), (x + y).sin()], 1)
    unit = found / found.norm(dim=1, keepdim=True).clamp(min=1e-9)
    along = (unit * direction).sum(1)[long]
    if along.min() < 0.999:
        if torch.allclose(unit.flip(1)[long], direction[long], atol=1e-2):
            raise CheckFailed("the two coordinates are exchanged; cosine comes first.", credit=0.5)
        if torch.allclose(unit[long] * torch.tensor([1.0, -1.0]), direction[long], atol=1e-2):
            raise CheckFailed("this lies at the angle -(x + y): the sine has the wrong sign.")
        half = points / points.norm(dim=1, keepdim=True).clamp(min=1e-9)
        if torch.allclose(unit[long], half[long], atol=1e-2):
            raise CheckFailed(
                "this is the point that came in, half way between x and y; its angle must be "
                "doubled."
            )
        raise CheckFailed("the point does not lie at the angle x + y.")
    expect_close(
        found.norm(dim=1), points.norm(dim=1) ** 2, atol=1e-3, name="the length",
        hint="By products alone, the length comes out as the square of the given one.",
    )  # fmt: skip
    return "Direction x + y, length 4 cos²((x - y) / 2)."


@check(
    "4.6",
    hints=[
        "2 * 30 = 60 goes round 60 times among 113 numbers. Backwards that is 53 times.",
        "cos(2 pi g n / p) is the same for g and p - g, for whole n.",
        "Of 2f and p - 2f, the smaller one.",
    ],
    expects="a function of a frequency and the number of numbers",
)
def check_double(answer: Any, lab: Any) -> str | None:
    for p in (113, 23):
        for f in range(1, (p + 1) // 2):
            found = expect_number(call(answer, f, p), what=f"double({f}, {p})", reveal=False)
            if found == 2 * f and found > (p - 1) // 2:
                raise CheckFailed(
                    f"double({f}, {p}) is {found:g}, which is beyond {(p - 1) // 2}; which smaller "
                    "frequency has the same cosine?"
                )
            n = torch.arange(p).double()
            mine, asked = ((2 * math.pi * g * n / p).cos() for g in (found, 2 * f))
            if not 1 <= found <= (p - 1) // 2 or not torch.allclose(mine, asked, atol=1e-6):
                raise CheckFailed(
                    f"double({f}, {p}) is {found:g}, whose cosine over the numbers 0 ... {p - 1} "
                    f"is not that of {2 * f}."
                )
    return None


@check(
    "4.7",
    hints=[
        "The distance between a candidate and the sum is a + b - c; with `torch.arange(113)` for c "
        "that is [n, 113].",
        "One circle gives amplitude * cos(2 pi * frequency * distance / 113). Add up the circles.",
        "Give amplitude and frequency two more axes (`[:, None, None]`), multiply, and sum over "
        "axis 0.",
    ],
    expects="a function of tokens, amplitudes and frequencies",
)
def check_cosines(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(2)
    tokens = lab.data.tokens[torch.randint(len(lab.data.tokens), (60,), generator=generator)]
    amplitude, frequency = torch.tensor([3.0, -0.5, 1.5]), torch.tensor([4, 31, 50])
    found = expect_tensor(call(answer, tokens, amplitude, frequency), (60, 113), name="the logits")

    def logits(sign: int = -1, wave: Any = math.cos) -> Tensor:
        table = torch.zeros(60, 113)
        for i, (a, b, _) in enumerate(tokens.tolist()):
            for c in range(113):
                for h, f in zip(amplitude.tolist(), frequency.tolist(), strict=True):
                    table[i, c] += h * wave(2 * math.pi * f * (a + b + sign * c) / 113)
        return table

    wanted = logits()
    for wrong, message in (
        (logits(1), "c is added; the distance between c and a + b is asked."),
        (logits(wave=math.sin), "this is the sine; a distance of 0 must count most."),
    ):
        if torch.allclose(found.float(), wrong, atol=1e-2):
            raise CheckFailed(message)
    expect_close(found, wanted, atol=1e-2, name="the logits")
    alone = call(answer, tokens, amplitude[:1], frequency[:1])
    top = expect_tensor(alone, (60, 113), name="the logits of one circle").argmax(1)
    if not torch.equal(top, (tokens[:, 0] + tokens[:, 1]) % 113):
        raise CheckFailed("with one circle the largest logit is not at (a + b) mod 113.")
    return None


@check(
    "4.8",
    hints=[
        "Five `Step`s in a list. The first two have no inputs, so their functions get the tokens "
        "[n, 3]; the others name earlier steps.",
        'Site("hook_embed", position=0, basis=bases["numbers"]) is where `a` is. `pair` and `sum` '
        "sit at position -1 of their hooks.",
        "`pair` can be the smaller and the larger number stacked to [n, 2]; `sum` adds its columns "
        "modulo 113; `answer` returns the sum and has no site.",
    ],
    expects="a function of the bases that gives a list of steps",
)
def check_steps(answer: Any, lab: Any) -> str | None:
    from utils.challenges import modular as addition
    from utils.errors import CourseError
    from utils.scrubbing import Plan, Step, TransformerGraph, treeify
    from utils.scrubbing.samplers import Classes, classes_of

    model, tokens = lab.model.final, lab.data.tokens
    bases = addition.key_subspaces(model)
    steps = expect_type(call(answer, bases), list, name="the steps")
    for step in steps:
        expect_type(step, Step, name="a step")
    try:
        tree = treeify(steps, unimportant="shared")
        Plan(TransformerGraph(model, tokens[:2], answer=-1), tree)
    except CourseError as error:
        raise CheckFailed(str(error)) from None
    nodes = {path: node for path, node in tree.nodes()}
    order = ("hook_mlp_out", "hook_attn_out", "hook_embed")
    chain: list[list[Any]] = [[n for n in nodes.values() if str(n.site.hook).endswith(hook)]
                              for hook in order]  # fmt: skip
    if [len(found) for found in chain] != [1, 1, 2]:
        raise CheckFailed(
            "the tree has "
            + ", ".join(f"{len(c)} at {h}" for c, h in zip(chain, order, strict=True))
            + "; asked are one, one and two."
        )
    (mlp,), (attention,), numbers = chain
    if mlp.inputs != (attention,) or set(attention.inputs) != set(numbers):
        raise CheckFailed("`sum` is computed from `pair`, and `pair` from `a` and `b`.")

    def partition(values: Any, name: str) -> Tensor:
        return classes_of(lambda _: values, tokens, name).of

    def finer(a: Tensor, b: Tensor) -> bool:
        """Whether inputs of one class of `a` are of one class of `b` too."""
        both = Classes.from_values(torch.stack([a, b], 1))
        return len(both) == int(a.max()) + 1

    of = {node.name: classes_of(node.feature, tokens, node.name).of for node in nodes.values()}
    total = partition(lab.data.answer, "sum")
    last = partition(_last_value(steps, tokens), "answer")
    for what, found in (("the last step", last), (f"step {mlp.name!r}", of[mlp.name])):
        if not torch.equal(found, total):
            raise CheckFailed(
                f"{what} is not (a + b) mod 113: it has {int(found.max()) + 1} classes over the "
                "grid, and the sum has 113."
            )
    for node in numbers:
        position = node.site.position
        if position not in (0, 1):
            raise CheckFailed("the numbers stand at positions 0 and 1.")
        if not torch.equal(of[node.name], partition(tokens[:, position], "number")):
            raise CheckFailed(f"the step at position {position} is not the token at this position.")
    if {node.site.position for node in numbers} != {0, 1}:
        raise CheckFailed("both numbers are read at one position.")
    pair = partition(torch.stack([tokens[:, :2].amin(1), tokens[:, :2].amax(1)], 1), "pair")
    if not finer(of[attention.name], pair):
        raise CheckFailed(
            "inputs with different numbers are one class at `pair`; attention adds up vectors and "
            "cannot know the sum of the numbers yet.",
            credit=0.5,
        )
    for node, key in ((mlp, "sum"), (attention, "pair"), *((n, "numbers") for n in numbers)):
        if node.site.basis is None:
            raise CheckFailed(f"step {node.name!r} claims a whole place: give its Site a basis.")
        if node.site.basis.shape != bases[key].shape or not torch.allclose(
            node.site.basis, bases[key]
        ):
            raise CheckFailed(f"step {node.name!r} has not the basis {key!r}.")
        if key != "numbers" and node.site.position not in (-1, 2):
            raise CheckFailed(f"step {node.name!r} must sit at the last position.")
    return "The steps are the algorithm. Now see whether the network agrees."


def _last_value(steps: list[Any], tokens: Tensor) -> Any:
    known: dict[str, Any] = {}
    for step in steps:
        given = [known[name] for name in step.inputs] if step.inputs else [tokens]
        known[step.name] = step.function(*given)
    return known[steps[-1].name]
