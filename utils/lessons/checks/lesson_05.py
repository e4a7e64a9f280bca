"""Lesson 05: its two networks, its strings and images, its checks.

Checks run the learner's function on toy networks with a planted truth first, and on the bracket
checker where the shapes of a real network matter.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_tensor

BAND = (-5.35, 29.58)  # the band that lesson 02 fits, in inked pixels


def load_model() -> SimpleNamespace:
    from utils.models import zoo

    return SimpleNamespace(brackets=zoo.load("brackets"), cnn=zoo.load("cnn-challenge"))


def load_data() -> SimpleNamespace:
    from utils.data import brackets

    # training drew its strings from the seeds 0, 1, 2 ...
    strings = brackets.make(1500, seed=2**31 + 50, balanced=1.0).tokens
    return SimpleNamespace(strings=strings, images=_images())


def _images(most: int = 200) -> SimpleNamespace:
    """Images over, under and inside the band, each from a scan of its own, and the detectors."""
    from utils.challenges.evidence import find_detectors
    from utils.data import digits
    from utils.models import zoo
    from utils.models.cnn import predict
    from utils.sites import Site

    cnn, drawn, clue = (
        zoo.load("cnn-challenge"),
        digits.make("held-out", 3600, seed=41),
        digits.clue(),
    )
    score = (drawn.images[:, 0] * (2 * clue - 1)).sum((1, 2))
    classes = predict(cnn, drawn.images)
    low, high = BAND

    def one_a_scan(mask: Tensor, seed: int) -> Tensor:
        first: dict[int, int] = {}
        for row in mask.nonzero()[:, 0].tolist():
            first.setdefault(int(drawn.original[row]), row)
        rows = torch.tensor(list(first.values()))
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        return drawn.images[rows[order[:most]]]

    activations = Site("hook_fc1").read(cnn, drawn.images)
    detectors = find_detectors(activations, score <= low, score >= high, ratio=2.0, floor=0.02)
    live = (activations > 0).any(0).nonzero()[:, 0].tolist()
    sorted_out = detectors.both.tolist()
    return SimpleNamespace(
        over=one_a_scan((score >= high) & (classes == 1), 1),
        under=one_a_scan((score <= low) & (classes == 1), 2),
        inside=one_a_scan((score > low) & (score < high) & (classes == 0), 3),
        above_detector=detectors.above.tolist(),
        below_detector=detectors.below.tolist(),
        other_live=[neuron for neuron in live if neuron not in sorted_out],
        live=live,
    )


# --- toys --------------------------------------------------------------------------------------


def _module(forward: Callable[[Any, Tensor], Tensor], *hooks: str) -> nn.Module:
    """A hooked network made of one function; copies of it are itself, so hooks left can be seen."""
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Toy(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            for hook in hooks:
                setattr(self, hook, HookPoint())
            self.setup()

        def __deepcopy__(self, memo: Any) -> Toy:
            return self

        def forward(self, inputs: Tensor) -> Tensor:
            return forward(self, inputs)

    return Toy()


_WEIGHTS = torch.tensor([1.0, 2.0, -1.0, 0.5])


def _two_ways() -> nn.Module:
    """Four units; each reaches the output directly, by its weight, and through one bent sum."""

    def forward(toy: Any, inputs: Tensor) -> Tensor:
        units = toy.hook_units(inputs)
        late = toy.hook_late(units.sum(1, keepdim=True) ** 2)
        return units @ _WEIGHTS + 3 * late[:, 0]

    return _module(forward, "hook_units", "hook_late")


def _alarms() -> nn.Module:
    """Two alarms of which one is enough, and a third thing that adds up: out = -max(0, 1) - 2."""

    def forward(toy: Any, inputs: Tensor) -> Tensor:
        units = toy.hook_units(inputs)
        return -units[:, :2].amax(1) - 0.25 * units[:, 2]

    return _module(forward, "hook_units")


def _pairs(n: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator), torch.randn(n, 4, generator=generator) + 1


def _identity(output: Tensor) -> Tensor:
    return output


def _hooks_left(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def _refuse_leftovers(model: nn.Module) -> None:
    if _hooks_left(model):
        raise CheckFailed("a hook was left on the model; `Site` removes its own.", credit=0.5)


def _broken(strings: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Strings with an open at `place`, and the same with a close there."""
    clean = strings[strings[:, place] == 0]
    corrupted = clean.clone()
    corrupted[:, place] = 1
    return clean, corrupted


def _answer_metric() -> Callable[[Tensor], Tensor]:
    from utils.patching import logit_difference

    return logit_difference(1, 0, position=0)


# --- checks ------------------------------------------------------------------------------------


@check(
    "5.1",
    hints=[
        "Balanced strings pass both tests with nothing to spare: the whole string is a beginning "
        "and an ending. What does one open turned into a close do to the beginnings? To the "
        "endings?",
        "A random place among those that hold the right bracket: random keys for all places, -1 "
        "where another token stands, and `argmax(1, keepdim=True)`.",
        "`tokens.scatter(1, place, 1 - old)` writes the other bracket at one place in each row.",
    ],
    expects="a function of tokens, the name of a test and a generator",
)
def check_pairs(answer: Any, lab: Any) -> str | None:
    from utils.data import brackets

    tokens = lab.data.strings[:400]
    tests = {"beginnings": brackets.horizon_test, "endings": brackets.endings_test}
    for test, passes in tests.items():
        other = next(name for name in tests if name != test)
        found, again = (
            expect_tensor(
                call(answer, tokens, test, torch.Generator().manual_seed(seed)),
                tuple(tokens.shape), "int", name="the corrupted tokens",
            )
            for seed in (1, 2)
        )  # fmt: skip
        if (found[:, 0] != brackets.START).any():
            raise CheckFailed("position 0 holds START and must stay.")
        if not ((found[:, 1:] == 0) | (found[:, 1:] == 1)).all():
            raise CheckFailed("every place but the first holds 0 (open) or 1 (close).")
        changed = (found != tokens).sum(1)
        if (changed == 0).any():
            raise CheckFailed(f"for {test!r} {int((changed == 0).sum())} rows came back unchanged.")
        if (brackets.count_test(found)).any():
            raise CheckFailed(
                "an open and a close changed places: then opens and closes stay equally many, and "
                "the two tests fail or pass together. Change one bracket only.",
                credit=0.25,
            )
        if (changed > 1).any():
            raise CheckFailed(
                f"a row has {int(changed.max())} changed places; change exactly one bracket."
            )
        if passes(found).all() and not tests[other](found).any():
            raise CheckFailed(
                f"asked to break {test!r}, you broke {other!r}. An open that becomes a close makes "
                "beginnings sink; a close that becomes an open makes endings too open."
            )
        if passes(found).any() or not tests[other](found).all():
            raise CheckFailed(f"{test!r} must fail in every row, and {other!r} pass.")
        place = (found != tokens).int().argmax(1)
        old = brackets.OPEN if test == "beginnings" else brackets.CLOSE
        may = (tokens == old).sum(0) > 20
        used = torch.zeros_like(may)
        used[place.unique()] = True
        if not used[may].all():
            raise CheckFailed(
                "the place is not random: some places that hold the right bracket are never used. "
                "`argmax` of the tokens themselves finds the first one only.",
                credit=0.5,
            )
        # uniform among the candidates: their rank is in the first half about half of the time
        rank = ((tokens == old) & (torch.arange(tokens.shape[1]) < place[:, None])).sum(1)
        early = (rank < 6).double().mean().item()
        if not 0.4 < early < 0.6:
            raise CheckFailed(
                f"all candidates should be equally likely; yours are in the first half {early:.0%} "
                "of the time.",
                credit=0.5,
            )
        if torch.equal(found, again):
            raise CheckFailed("two generators gave the same places: pass `generator` to the draw.")
    return "One bracket a row, one test broken, any place."


@check(
    "5.2",
    hints=[
        '"noise": the clean run goes on, with one piece from the corrupted run. "denoise": the '
        "other way round. Name the run that goes on `base` and the other `source`.",
        "`site.read(model, source)` gives the piece, `site.write(model, base, piece)` the output.",
    ],
    expects="a function of a model, two batches, a Site and a direction",
)
def check_patch(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    toy, (clean, corrupted) = _two_ways(), _pairs()
    site = Site("hook_units", neuron=[1, 3])
    _compare_directions(answer, toy, clean, corrupted, site)
    _refuse_leftovers(toy)
    strings, broken = _broken(lab.data.strings[:60], 12)
    head = Site("blocks.2.attn.hook_z", head=1, position=0)
    _compare_directions(answer, lab.model.brackets, strings, broken, head)
    return None


def _compare_directions(answer: Any, model: Any, clean: Any, corrupted: Any, site: Any) -> None:
    def put(base: Tensor, source: Tensor) -> Tensor:
        return site.write(model, base, site.read(model, source), allow_unchanged=True)

    for direction, (base, source) in (
        ("noise", (clean, corrupted)), ("denoise", (corrupted, clean)),
    ):  # fmt: skip
        wanted = put(base, source)
        found = expect_tensor(
            call(answer, model, clean, corrupted, site, direction), tuple(wanted.shape),
            name=f"the output for {direction!r}",
        )  # fmt: skip
        for wrong, message in (
            (put(source, base), f"{direction!r} is the other direction: noising damages the clean "
             "run, denoising repairs the corrupted one."),
            (put(base, base), "nothing was patched: this is the run on its own values. Read the "
             "site on the *other* batch."),
            (put(source, source), "this is the other run, whole; patch the site only."),
        ):  # fmt: skip
            if torch.allclose(found, wrong, atol=1e-4):
                raise CheckFailed(message)
        expect_close(found, wanted, atol=1e-4, name=f"the output for {direction!r}")


@check(
    "5.3",
    hints=[
        "How far did the patch move the metric, and how far is it from `start` to `target`?",
        "Take the means over the last axis first, then divide. Do not clip.",
    ],
    expects="a function of three tensors",
)
def check_share(answer: Any, lab: Any) -> str | None:
    start = torch.tensor([7.0, 7.5, 8.0, 5.5])  # mean 7
    target = torch.tensor([-9.0, -10.0, -8.0, -9.0])  # mean -9
    values = torch.stack([
        start, target, torch.full((4,), -1.0), torch.full((4,), 9.0),
        torch.tensor([-13.0, -12.0, -14.0, -9.0]),
    ])  # fmt: skip
    wanted = torch.tensor([0.0, 1.0, 0.5, -0.125, 1.1875])
    found = expect_tensor(call(answer, values, start, target), (5,), name="the shares").double()

    def like(*other: float) -> bool:
        return torch.allclose(found, torch.tensor(other).double(), atol=1e-3)

    if like(0.0, 1.0, 0.5, 0.0, 1.0):
        raise CheckFailed(
            "clipped to 0..1. A share below 0 (the patch works the other way) or above 1 (it "
            "overshoots) is a finding; keep it.",
            credit=0.5,
        )
    if like(*(1 - wanted).tolist()):
        raise CheckFailed("start and target are exchanged: no effect must give 0, all of it 1.")
    if like(*wanted.abs().tolist()):
        raise CheckFailed("keep the sign: a patch can move the metric the wrong way.", credit=0.25)
    if like(*((values - start) / (target - start)).mean(-1).tolist()):
        raise CheckFailed(
            "this is the mean of the pairs' ratios, in which a pair with hardly any gap decides. "
            "Average first, then divide.",
            credit=0.5,
        )
    expect_close(found, wanted, name="the share", hint="(patched - start) / (target - start).")
    # a pair whose gap is nearly nothing must not decide
    start, target = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([4.0, 4.0, 0.01])
    found = expect_tensor(
        call(answer, torch.tensor([[2.0, 2.0, 1.0]]), start, target), (1,), name="the share"
    ).double()
    expect_close(found, [5 / 8.01], name="the share", hint="Average first, then divide.")
    one = expect_tensor(call(answer, torch.tensor([2.0, 2.0, 1.0]), start, target), (), name="the "
                        "share of a single row of values")  # fmt: skip
    expect_close(one, 5 / 8.01, name="the share of a single row of values")
    return None


@check(
    "5.4",
    hints=[
        "`patch` takes a list whose entries are Sites or lists of Sites; a list is patched "
        "together.",
        "`[[a, b] for a in sites for b in sites]` names all pairs in order, the diagonal included.",
        "`patch(..., metric=metric)` gives [pair, row]; reshape the first axis to two.",
    ],
    expects="a function of a model, two batches, sites, a metric and a direction",
)
def check_together(answer: Any, lab: Any) -> str | None:
    from utils.patching import patch
    from utils.sites import Site

    toy = _alarms()
    clean, corrupted = torch.zeros(5, 4), torch.ones(5, 4)
    sites = [Site("hook_units", neuron=i) for i in range(3)]
    tables = {
        "noise": [[-1.0, -1.0, -1.25], [-1.0, -1.0, -1.25], [-1.25, -1.25, -0.25]],
        "denoise": [[-1.25, -0.25, -1.0], [-0.25, -1.25, -1.0], [-1.0, -1.0, -1.0]],
    }
    for direction, table in tables.items():
        wanted = torch.tensor(table)
        found = expect_tensor(
            call(answer, toy, clean, corrupted, sites, _identity, direction), (3, 3, 5),
            name="the values of the pairs",
        ).to(wanted.dtype)  # fmt: skip
        other = torch.tensor(tables["noise" if direction == "denoise" else "denoise"])
        if torch.allclose(found, other[..., None].expand(3, 3, 5), atol=1e-5):
            raise CheckFailed(f"asked for {direction!r}, this is the other direction.", credit=0.25)
        single = wanted.diagonal()
        base = -1.25 if direction == "denoise" else 0.0
        added = single[:, None] + single[None, :] - base
        added = torch.where(torch.eye(3).bool(), single[:, None], added)
        if torch.allclose(found, added[..., None].expand(3, 3, 5), atol=1e-5):
            raise CheckFailed(
                "two single effects were added up. Patch the two sites in one run: whether effects "
                "add is the question."
            )
        if torch.allclose(found, single[:, None, None].expand(3, 3, 5), atol=1e-5) or (
            torch.allclose(found, single[None, :, None].expand(3, 3, 5), atol=1e-5)
        ):
            raise CheckFailed("only one site of each pair was patched.")
        expect_close(found, wanted[..., None].expand(3, 3, 5), name=f"the values for {direction!r}")
    strings, broken = _broken(lab.data.strings[:20], 1)
    heads = [Site("blocks.0.attn.hook_z", head=0, position=0),
             Site("blocks.2.attn.hook_z", head=1, position=0)]  # fmt: skip
    metric = _answer_metric()
    found = call(answer, lab.model.brackets, strings, broken, heads, metric, "denoise")
    found = expect_tensor(found, (2, 2, len(strings)), name="the values of the pairs")
    both = patch(
        lab.model.brackets, strings, broken, [heads], direction="denoise", metric=metric
    )  # fmt: skip
    expect_close(found[0, 1], both[0], atol=1e-3, name="the value of both heads")
    return None


@check(
    "5.5",
    hints=[
        'One Site a head and position: `Site("blocks.0.attn.hook_z", head=1, position=12)`.',
        "A list of 6 x 25 Sites, positions innermost, and one call of `patch` with "
        "`allow_unchanged=True`.",
        "`patch` gives [site, row]; `reshape(6, positions, -1)` puts it in order if layers come "
        "first, then heads, then positions.",
    ],
    expects="a function of a model, two batches, a metric and a direction",
)
def check_map(answer: Any, lab: Any) -> str | None:
    from utils.patching import patch
    from utils.sites import Site

    strings, broken = _broken(lab.data.strings[:16], 12)
    model, metric, rows = lab.model.brackets, _answer_metric(), len(strings)

    def reference(direction: str, hook: str = "attn.hook_z") -> Tensor:
        sites = [
            Site(f"blocks.{layer}.{hook}", head=head, position=position)
            for layer in range(3) for head in range(2) for position in range(25)
        ]  # fmt: skip
        values = patch(
            model, strings, broken, sites, direction=direction, metric=metric, batch_size=500,
            allow_unchanged=True,
        )  # fmt: skip
        return values.reshape(3, 2, 25, -1)

    tables = {direction: reference(direction) for direction in ("noise", "denoise")}
    for direction, table in tables.items():
        found = call(answer, model, strings, broken, metric, direction)
        if isinstance(found, Tensor) and tuple(found.shape) == (25, 6, rows):
            raise CheckFailed("positions come first here; return [head, position, row].")
        found = expect_tensor(found, (6, 25, rows), name="the map").to(table.dtype)
        wanted = table.reshape(6, 25, -1)
        other = tables["noise" if direction == "denoise" else "denoise"].reshape(6, 25, -1)

        def like(value: Tensor, found: Tensor = found) -> bool:
            return torch.allclose(found, value, atol=1e-2)

        if like(other):
            raise CheckFailed(f"asked for {direction!r}, this is the other direction.", credit=0.25)
        if like(table.transpose(0, 1).reshape(6, 25, -1)):
            raise CheckFailed(
                "the rows are not in the order a0.h0, a0.h1, a1.h0 ...: put layers outside, heads "
                "inside.",
                credit=0.5,
            )
        if like(table.transpose(1, 2).reshape(6, 25, -1)):
            raise CheckFailed(
                "heads and positions are mixed up by the reshape: the positions must be the "
                "innermost loop.",
                credit=0.5,
            )
        if (found - found[:, :1]).abs().max() < 1e-3:
            raise CheckFailed("every position has the same value: name the position in the Site.")
        expect_close(
            found, wanted, atol=1e-2, name=f"the map for {direction!r}",
            hint="The hook is attn.hook_z, the axes [head, position, row].",
        )  # fmt: skip
    return None


@check(
    "5.6",
    hints=[
        "The change is `site.read(model, source) - site.read(model, base)`.",
        "Make `extra = torch.zeros_like(here).requires_grad_(True)` and run with `site.write(model,"
        " base, lambda old: old + extra, allow_unchanged=True, grad=True)`.",
        "`torch.autograd.grad(metric(output).sum(), extra)` gives a tuple with the slope in it. "
        "Rows do not influence each other, so the sum is only a trick.",
    ],
    expects="a function of a model, two batches, a hook's name and a metric",
)
def check_attribution(answer: Any, lab: Any) -> str | None:
    toy, (base, source) = _two_ways(), _pairs()
    slope = _WEIGHTS + 6 * base.sum(1, keepdim=True)
    there = _WEIGHTS + 6 * source.sum(1, keepdim=True)
    change = source - base
    found = call(answer, toy, base, source, "hook_units", _identity)
    found = expect_tensor(found, (9, 4), name="the attributions").to(base.dtype)
    for wrong, message in (
        (slope.expand(9, 4), "this is the slope alone; multiply it by the change of the value."),
        (change, "this is the change alone; multiply it by the slope."),
        (-slope * change, "the sign is reversed: the change is source minus base."),
        (slope * source, "the slope was multiplied by the source's value, not by the *change*."),
        (there * change, "the slope was taken in the source run; take it in the run that is "
         "patched, `base`."),
        (slope * change / 9, "the metric was averaged over rows before the gradient; use the sum, "
         "each row's slope is its own."),
    ):  # fmt: skip
        if torch.allclose(found, wrong, atol=1e-3):
            raise CheckFailed(message)
    expect_close(found, slope * change, atol=1e-3, name="the attributions on a toy network")
    _refuse_leftovers(toy)
    strings, broken = _broken(lab.data.strings[:20], 12)
    found = call(answer, lab.model.brackets, strings, broken, "blocks.2.attn.hook_z",
                 _answer_metric())  # fmt: skip
    found = expect_tensor(found, (len(strings), 25, 2, 28), name="the attributions of hook_z")
    if found[:, 1:].abs().max() > 1e-4:
        raise CheckFailed("in the last layer only START reaches the answer; others must be 0.")
    return "Slope times change, at every number of the activation in one backward pass."


@check(
    "5.7",
    hints=[
        "Three things are needed: the frozen sites' own values (from the clean run), the sender's "
        "value (from the corrupted run), and one run with all of them written.",
        "`run(model, clean, read=frozen).values` is a list in the order of `frozen`; "
        "`run(model, clean, edits=[(site, value), ...]).output` writes them all.",
        "If the sender lies in a frozen hook, the later edit wins: put the sender last. Frozen "
        "values change nothing, hence `allow_unchanged=True`.",
    ],
    expects="a function of a model, two batches, a Site and a list of Sites",
)
def check_direct(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site, run

    toy, (clean, corrupted) = _two_ways(), _pairs()
    late, units = Site("hook_late"), Site("hook_units")
    sender = Site("hook_units", neuron=1)
    with torch.no_grad():
        before = toy(clean)
    for frozen, what in (([late], "late"), ([units, late], "all units and late")):
        wanted = before + 2 * (corrupted[:, 1] - clean[:, 1])
        found = expect_tensor(
            call(answer, toy, clean, corrupted, sender, frozen), (9,), name="the output"
        ).to(wanted.dtype)
        total = sender.write(toy, clean, sender.read(toy, corrupted))
        if torch.allclose(found, before, atol=1e-4):
            raise CheckFailed(
                "the sender did not change: write it *after* the frozen sites, since of two edits "
                "at one hook the later wins; and read it on the corrupted batch."
            )
        if torch.allclose(found, total, atol=1e-4):
            raise CheckFailed(
                "this is the total effect: what lies behind the sender was free to react."
            )
        foreign = run(
            toy, clean, edits=[(late, late.read(toy, corrupted)),
                               (sender, sender.read(toy, corrupted))],
        ).output  # fmt: skip
        if torch.allclose(found, foreign, atol=1e-4):
            raise CheckFailed("frozen sites keep the values of the *clean* run.")
        expect_close(found, wanted, atol=1e-4, name=f"the output with {what} frozen")
    strings, broken = _broken(lab.data.strings[:20], 12)
    head = Site("blocks.2.attn.hook_z", head=1, position=0)
    frozen = [Site("blocks.2.attn.hook_z"), Site("blocks.2.hook_mlp_out")]
    wanted = run(
        lab.model.brackets, strings,
        edits=[(frozen[1], frozen[1].read(lab.model.brackets, strings)),
               (head, head.read(lab.model.brackets, broken))],
        allow_unchanged=True,
    ).output  # fmt: skip
    found = call(answer, lab.model.brackets, strings, broken, head, frozen)
    expect_close(found, wanted, atol=1e-3, name="the output on the bracket checker")
    return None


@check(
    "5.8",
    hints=[
        "Two runs on the clean batch: one with the subject overwritten, one with the subject "
        "overwritten *and* the site put back to its clean value.",
        "`subject.write(model, clean, value)` is the first. `run(model, clean, edits=[(subject, "
        "value), (site, site.read(model, clean))]).output` is the second.",
        "The effect is the metric of the second less that of the first, row by row.",
    ],
    expects="a function of a model, a batch, two Sites, a value and a metric",
)
def check_restore(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site, run

    def forward(toy: Any, inputs: Tensor) -> Tensor:
        first = toy.hook_input(inputs)
        middle = toy.hook_middle(2 * first)
        return middle @ _WEIGHTS

    toy, (clean, other) = _module(forward, "hook_input", "hook_middle"), _pairs()
    subject = Site("hook_input", neuron=[0, 1])
    value = other[:, :2]
    for site, units in (
        (Site("hook_middle", neuron=1), [1]), (Site("hook_middle", neuron=[0, 2]), [0]),
    ):  # fmt: skip
        wanted = (2 * (clean - other)[:, units] * _WEIGHTS[units]).sum(1)
        found = expect_tensor(
            call(answer, toy, clean, subject, value, site, _identity), (9,), name="the effect"
        ).to(wanted.dtype)
        with torch.no_grad():
            whole = toy(clean)
        broken = subject.write(toy, clean, value)
        for wrong, message in (
            (-wanted, "the sign is reversed: restored less corrupted."),
            (broken + wanted, "this is the metric itself; subtract that of the corrupted run."),
            (broken + wanted - whole, "compare with the corrupted run, not with the clean one."),
            (whole - broken, "this is the total effect: nothing was restored."),
            (torch.zeros(9), "the effect is 0 everywhere: was the site read in the *clean* run, "
             "and the subject corrupted?"),
        ):  # fmt: skip
            if torch.allclose(found, wrong, atol=1e-4):
                raise CheckFailed(message)
        expect_close(found, wanted, atol=1e-4, name="the effect on a toy network")
    _refuse_leftovers(toy)
    images, fresh = lab.data.images.over[:10], lab.data.images.inside[:10]
    middle = Site("hook_input", row=slice(8, 20), column=slice(8, 20))
    layer, cnn = Site("hook_fc1"), lab.model.cnn

    def metric(logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    value = middle.read(cnn, fresh)
    total = metric(run(cnn, images).output) - metric(middle.write(cnn, images, value))
    found = call(answer, cnn, images, middle, value, layer, metric)
    expect_close(
        found, total, atol=1e-3, name="the effect of a whole layer of the CNN",
        hint="Behind it nothing is left corrupted, so it restores everything.",
    )  # fmt: skip
    return None
