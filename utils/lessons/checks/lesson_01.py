"""Lesson 01: its two networks, its data, its checks.

Checks run the learner's function on toy networks with a planted truth wherever a plausible mistake
would not show on the shipped ones.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from utils.lessons.checking import CheckFailed, call, check, clone
from utils.lessons.expect import expect_close, expect_tensor


def load_model() -> SimpleNamespace:
    from utils.models import zoo

    return SimpleNamespace(transformer=zoo.load("induction"), cnn=zoo.load("cnn-challenge"))


def load_data() -> SimpleNamespace:
    from utils.data import digits, sequences

    # training drew its rows from the seeds 0, 1, 2 ...
    tokens, predictable = sequences.repeats(500, seed=2**31 + 10)
    period = 22 - predictable.sum(1, keepdim=True)
    second_copy = predictable & (torch.arange(23)[None] <= 2 * period)
    drawn = digits.make("held-out", 2000, seed=15)
    return SimpleNamespace(
        tokens=tokens,
        predictable=predictable,
        second_copy=second_copy,
        images=drawn.images,
        scan=drawn.original,
    )


def _toy() -> nn.Module:
    """Four units that carry the input's columns as they are, and their weighted sum as output.

    Unit 0 is always 0; the output is 1 * unit 1 + 2 * unit 2 - 1 * unit 3, with a second hook that
    holds twice the units. Copies of it are itself, so that hooks left behind can be seen.
    """
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Toy(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            self.hook_units = HookPoint()
            self.hook_double = HookPoint()
            self.setup()

        def __deepcopy__(self, memo: Any) -> Toy:
            return self

        def forward(self, inputs: Tensor) -> Tensor:
            units = self.hook_units(inputs * torch.tensor([0.0, 1.0, 1.0, 1.0]))
            double = self.hook_double(2 * units)
            return double @ torch.tensor([0.5, 0.5, 1.0, -0.5])

    return Toy()


def _left_behind(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@check(
    "1.1",
    hints=[
        "A hook may put what it sees into a list that was made outside it.",
        "Register the hook on `model.hook_dict[name]`, run the model, remove the hook through the "
        "handle that registering returned, and only then return.",
        "Four steps: an empty list; `register_forward_hook` with a function of (module, inputs, "
        "output) that appends the output and returns None; `model(inputs)`; `handle.remove()`.",
    ],
    expects="a function of a model, a hook's name and inputs",
)
def check_read(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    toy, inputs = _toy(), torch.arange(12.0).reshape(3, 4)
    units = inputs * torch.tensor([0.0, 1.0, 1.0, 1.0])
    for name, wanted in (("hook_double", 2 * units), ("hook_units", units)):
        found = call(answer, toy, name, inputs)
        if isinstance(found, (list, tuple)):
            raise CheckFailed(
                f"a {type(found).__name__} came back; return the tensor in it. A hook's inputs are "
                "a tuple, its output is the tensor."
            )
        found = expect_tensor(found, (3, 4) if not _is_output(found) else None, name="the reading")
        if found.ndim == 1:
            raise CheckFailed("this is the model's output, not the activation at the hook.")
        expect_close(found, wanted, name=f"the reading at {name}")
    if _left_behind(toy):
        raise CheckFailed(
            "a hook was left on the model. Remove it with the handle's `remove()`, before you "
            "return.",
            credit=0.5,
        )
    with torch.no_grad():
        again = toy(inputs)
    expect_close(again, units @ torch.tensor([1.0, 1.0, 2.0, -1.0]), name="the model's output")
    for model, name, batch in (
        (lab.model.cnn, "hook_conv2", lab.data.images[:4]),
        (lab.model.transformer, "blocks.1.attn.hook_pattern", lab.data.tokens[:4]),
    ):
        wanted = Site(name).read(clone(model), batch)
        found = expect_tensor(call(answer, model, name, batch), tuple(wanted.shape))
        expect_close(found, wanted, name=f"the reading at {name}")
    return "No hook was left behind."


def _is_output(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1


def _random_pattern(generator: torch.Generator, size: int = 8) -> Tensor:
    """A causal pattern [5, 3, size, size] of random weights."""
    weights = torch.rand(5, 3, size, size, generator=generator).tril() ** 2
    return weights / weights.sum(-1, keepdim=True)


@check(
    "1.2",
    hints=[
        "Which entry of the pattern says how much position 5 looks at position 4? And 6 at 5?",
        "These entries form a diagonal, one below the main one. `Tensor.diagonal(offset, dim1, "
        "dim2)` takes it out; positions and keys are axes 2 and 3.",
        "Below the main diagonal means offset -1. What is left is [row, head, 7 of 8 positions]; "
        "average over rows and positions.",
    ],
    expects="a function of a pattern that gives one number for each head",
)
def check_previous(answer: Any, lab: Any) -> str | None:
    size = 8
    planted = torch.zeros(2, 3, size, size)
    i = torch.arange(1, size)
    planted[:, :, 0, 0] = 1
    planted[:, 0, i, i - 1] = 1  # always the token before
    planted[:, 1, i, i] = 1  # always itself
    planted[0, 2, i, i - 1], planted[1, 2, i, 0] = 1, 1  # in one of two rows, or at the start
    found = expect_tensor(call(answer, planted), (3,), name="the scores")
    # A head that looks at the start looks one back at position 1.
    wanted = torch.tensor([1, 0, (1 + 1 / 7) / 2])
    if torch.allclose(found.double(), (wanted * 7 / 8).double(), atol=1e-5):
        raise CheckFailed(
            "a head that always looks one back got 0.875: position 0 has no position before it, "
            "so it must not count.",
            credit=0.5,
        )
    if torch.allclose(found.double(), torch.tensor([0, 1, 0]).double(), atol=0.2):
        raise CheckFailed("this is the attention of each position to itself, the main diagonal.")
    if found.abs().max() < 1e-6:
        raise CheckFailed(
            "every score is 0, also for a head that always looks one back: this is the diagonal "
            "*above* the main one, which would be the future."
        )
    expect_close(found, wanted, name="the score on a planted pattern")
    pattern = _random_pattern(torch.Generator().manual_seed(3))
    wanted = torch.stack([pattern[:, :, k, k - 1] for k in range(1, size)]).mean((0, 1))
    expect_close(call(answer, pattern), wanted, name="the score on a random pattern")
    return None


def _induction(pattern: Tensor, tokens: Tensor, nearest: bool = False, everyone: bool = False,
               shift: int = 1) -> Tensor:  # fmt: skip
    """The score written as loops; the options are common slips."""
    total, count = torch.zeros(pattern.shape[1]), 0
    for r, row in enumerate(tokens.tolist()):
        for t, token in enumerate(row):
            earlier = [s for s in range(t) if row[s] == token]
            count += bool(earlier) or everyone
            for s in earlier[-1:] if nearest else earlier:
                total += pattern[r, :, t, s + shift]
    return total / count


@check(
    "1.3",
    hints=[
        "Make a table same[row, t, s]: do positions t and s hold the same token, and is s earlier "
        "than t? Broadcasting `tokens[:, :, None]` against `tokens[:, None, :]` compares all "
        "pairs.",
        "`.tril(-1)` keeps the earlier ones. The place *after* an earlier occurrence is the same "
        "table moved one column to the right.",
        "Multiply the pattern by the moved table (give it an axis for the heads), add up over "
        "keys, then over the repeats, and divide by the number of repeats: rows of the first "
        "table with any True in them.",
    ],
    expects="a function of a pattern and tokens that gives one number for each head",
)
def check_induction(answer: Any, lab: Any) -> str | None:
    row = torch.tensor([[16, 5, 8, 2, 5, 8]])
    pattern = torch.zeros(1, 3, 6, 6)
    pattern[:, :, range(6), range(6)] = 1
    for head, targets in enumerate(((2, 3), (1, 2), (3, 4))):  # after, at, one too far
        for t, target in zip((4, 5), targets, strict=True):
            pattern[0, head, t] = 0
            pattern[0, head, t, target] = 1
    found = expect_tensor(call(answer, pattern, row), (3,), name="the scores")
    if found.argmax() == 1:
        raise CheckFailed(
            "the head that looks *at* the earlier occurrence scores highest; the prediction "
            "stands one place after it."
        )
    if torch.allclose(found.double(), torch.tensor([2 / 6, 0, 0]).double(), atol=1e-4):
        raise CheckFailed(
            "a perfect induction head got 2/6 on a row with two repeats: divide by the number of "
            "repeats, not of positions.",
            credit=0.5,
        )
    expect_close(found, [1, 0, 0], name="the score on the row 16 5 8 2 5 8")
    generator = torch.Generator().manual_seed(4)
    pattern = _random_pattern(generator)
    tokens = torch.randint(0, 3, (5, 8), generator=generator)  # few tokens: many occurrences
    found = expect_tensor(call(answer, pattern, tokens), (3,), name="the scores")
    wanted = _induction(pattern, tokens)
    if torch.allclose(found.float(), _induction(pattern, tokens, nearest=True), atol=1e-4):
        raise CheckFailed(
            "only the latest occurrence is counted; add up the attention after all of them.",
            credit=0.5,
        )
    expect_close(
        found,
        wanted,
        name="the score on a random pattern",
        hint="Every earlier occurrence counts, not the token itself; each repeat once in the mean.",
    )
    return None


@check(
    "1.4",
    hints=[
        '`Site("blocks.1.attn.hook_z", head=0)` is head 1.0, and its `ablate(model, tokens, how)` '
        "gives the logits without it.",
        "Put the metric around that, and two loops around both: layers outside, heads inside.",
        "`torch.stack` of the two heads' [row] gives [head, row]; stack of the two layers gives "
        "[layer, head, row].",
    ],
    expects="a function of a model, tokens, a text and a metric",
)
def check_ablation(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    model, tokens = lab.model.transformer, lab.data.tokens[:40]
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(24, 17, generator=generator)

    def metric(logits: Tensor) -> Tensor:  # smooth, so that any slip shows
        return (logits.log_softmax(-1) * weights).sum((1, 2))

    def reference(how: str, hook: str = "hook_z", whole: bool = False) -> Tensor:
        return torch.stack([
            metric(Site(f"blocks.{layer}.attn.{hook}", head=None if whole else head)
                   .ablate(model, tokens, how))
            for layer in (0, 1) for head in (0, 1)
        ]).reshape(2, 2, -1)  # fmt: skip

    expected = {how: reference(how) for how in ("zero", "mean", "resample")}
    for how, wanted in expected.items():
        found = expect_tensor(
            call(answer, model, tokens, how, metric), (2, 2, 40), name=f"the result for {how!r}"
        )
        found = found.to(wanted.dtype)

        def like(other: Tensor, found: Tensor = found) -> bool:
            return torch.allclose(found, other, atol=1e-2)

        if like(wanted.transpose(0, 1)):
            raise CheckFailed("layers and heads are exchanged: return [layer, head, row].")
        for other, value in expected.items():
            if other != how and like(value):
                raise CheckFailed(
                    f"asked for {how!r}, this is {other!r} ablation: pass `how` on.", credit=0.25
                )
        if like(reference(how, whole=True)):
            raise CheckFailed("both heads of a layer were ablated together; name one in the Site.")
        if how != "zero" and like(reference(how, "hook_pattern")):
            raise CheckFailed("this ablates `hook_pattern`; asked is `hook_z`.")
        with torch.no_grad():
            clean = metric(model(tokens))
        if like(clean.expand_as(wanted)):
            raise CheckFailed("nothing was ablated: these are the values of the clean run.")
        if how == "resample":
            # Another seed draws other donors: as far from the clean run, but not the same.
            far, usual = ((v - clean).abs().mean((0, 1, 2)) for v in (found, wanted))
            if not 0.5 * usual < far < 2 * usual:
                raise CheckFailed("with 'resample' the values are far from a resample ablation.")
        else:
            expect_close(found, wanted, atol=1e-2, name=f"the result for {how!r}")
    return None


@check(
    "1.5",
    hints=[
        "Three steps: make the donor tokens, read the site on them, write what you read into the "
        "run on the original tokens.",
        "The donor begins with the first token twice. `torch.cat` along axis 1 joins `tokens[:, "
        ":1]` and all tokens but the last.",
        "`site.read(model, moved)` has just the shape that `site.write(model, tokens, ...)` takes; "
        "return what `write` gives.",
    ],
    expects="a function of a model, tokens and a Site",
)
def check_interchange(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    model, tokens = lab.model.transformer, lab.data.tokens[:40]
    moved = torch.cat([tokens[:, :1], tokens[:, :-1]], 1)
    for site in (
        Site("blocks.0.attn.hook_z", head=0),
        Site("blocks.0.hook_attn_out", position=[0, 1, 5]),
    ):

        def patched(inputs: Tensor, donor: Tensor, site: Site = site) -> Tensor:
            values = site.read(model, donor)
            return site.write(model, inputs, values, allow_unchanged=True)

        wanted = patched(tokens, moved)
        found = expect_tensor(
            call(answer, model, tokens, site), tuple(wanted.shape), name="the logits"
        )
        for wrong, message in (
            (patched(tokens, tokens), "nothing was patched: these are the clean logits. Write the "
             "values that you read on the moved rows."),
            (patched(tokens, tokens.roll(-1, 1)), "the donor was moved to the left; move every "
             "token one place to the right."),
            (patched(tokens, torch.cat([tokens[:, 1:], tokens[:, -1:]], 1)), "the donor was moved "
             "to the left; move every token one place to the right."),
            (patched(tokens, tokens.roll(1, 1)), "in the donor the last token came round to the "
             "front (`roll` does that); the front must hold the first token."),
            (patched(tokens, tokens.roll(1, 0)), "the donor holds another row; move the tokens "
             "within each row."),
            (patched(moved, tokens), "this is the run on the *moved* rows with the original "
             "values; run on `tokens`, take the values from the moved rows."),
            (patched(moved, moved), "this is the run on the moved rows alone; run on `tokens`."),
        ):  # fmt: skip
            if torch.allclose(found, wrong, atol=1e-3) and not torch.allclose(wrong, wanted):
                raise CheckFailed(message)
        expect_close(found, wanted, atol=1e-3, name="the logits", hint=f"The site was {site}.")
    return None


def _firing_toy() -> nn.Module:
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Toy(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            self.hook_flat, self.hook_maps = HookPoint(), HookPoint()
            self.setup()

        def forward(self, images: Tensor) -> Tensor:
            maps = self.hook_maps(images)  # the images are the activations
            return self.hook_flat(maps[:, :, 0, 0])

    return Toy()


@check(
    "1.6",
    hints=[
        "`Site(hook).read(model, images)` and a comparison with 0 come first.",
        "For a channel you need one true or false per image, true if any of its places is. "
        "`.flatten(2)` puts rows and columns into one axis; a neuron's [image, unit] has none yet.",
        "`values.reshape(values.shape[0], values.shape[1], -1)` gives both kinds a third axis; "
        "then `.any(2)` and the mean over images.",
    ],
    expects="a function of a model, images and a hook's name",
)
def check_firing(answer: Any, lab: Any) -> str | None:
    images = torch.zeros(10, 4, 2, 3)
    images[:, 1, 0, 0] = 0.5  # always, weakly, at the corner
    images[:3, 2, 1, 2] = 4.0  # in 3 of 10 images, never at the corner
    images[:, 3] = -1.0  # never above zero
    images[4:, 3, 0, 0] = 0.01  # but in 6 of 10
    wanted = torch.tensor([0.0, 1.0, 0.3, 0.6])
    found = expect_tensor(
        call(answer, _firing_toy(), images, "hook_maps"), (4,), name="the shares of channels"
    )
    if torch.allclose(found.double(), (images > 0).double().mean((0, 2, 3)), atol=1e-6):
        raise CheckFailed(
            "this is the share of *places* above zero; asked is the share of images in which at "
            "least one place is.",
            credit=0.5,
        )
    if torch.allclose(found.double(), (images != 0).flatten(2).any(2).double().mean(0)):
        raise CheckFailed("a value below zero is no firing: compare with `> 0`.")
    if torch.allclose(found.double(), (images.mean((2, 3)) > 0).double().mean(0)):
        raise CheckFailed("the mean over places can be below zero while one place fires.")
    expect_close(found, wanted, name="the share of a channel")
    found = expect_tensor(
        call(answer, _firing_toy(), images, "hook_flat"), (4,), name="the shares of neurons"
    )
    expect_close(found, [0.0, 1.0, 0.0, 0.6], name="the share of a neuron")
    return None


@check(
    "1.7",
    hints=[
        "Bring the activation to [samples, width] with `reshape(-1, width)` and subtract the mean "
        "over the samples.",
        "`torch.linalg.svd(..., full_matrices=False)` gives U, S, Vh with the largest first. The "
        "directions live in the space of the features: are they in U or in Vh?",
        "The rows of Vh are the directions. Take the first k of them, and turn rows into columns.",
    ],
    expects="a function of an activation and k",
)
def check_basis(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(6)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    spread = torch.tensor([4.0, 2.5, 1.5, 0.8, 0.4, 0.1])
    noise = torch.randn(30, 20, 6, generator=generator)
    # a large constant along the narrowest direction: who does not centre will find that one
    samples = (noise * spread) @ axes.T + 50 * axes[:, 5]
    flat = samples.reshape(-1, 6)
    covariance = torch.cov(flat.T)
    truth = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    for k in (2, 4):
        basis = expect_tensor(call(answer, samples, k), None, name="the basis").to(flat.dtype)
        if tuple(basis.shape) == (k, 6):
            raise CheckFailed(f"the directions are rows; return them as columns, shape (6, {k}).")
        basis = expect_tensor(basis, (6, k), name="the basis")
        gram = basis.T @ basis
        if (gram - torch.eye(k)).abs().max() > 1e-3:
            raise CheckFailed(
                "the columns are not orthonormal: they should have length 1 and be at right "
                "angles. Singular values must not be multiplied in."
            )
        held = (basis.T @ covariance @ basis).trace() / covariance.trace()
        best = (truth[:, :k].T @ covariance @ truth[:, :k]).trace() / covariance.trace()
        if (basis.T @ truth[:, 5]).norm() > 0.9:
            if held < 0.2 * best:
                raise CheckFailed(
                    "these are the directions of *smallest* variance; `eigh` sorts upwards."
                )
            raise CheckFailed(
                "one of the directions points at the mean of the samples: subtract the mean first."
            )
        if held < best - 1e-3:
            raise CheckFailed(
                f"your {k} directions hold {held:.2f} of the variance where {best:.2f} can be had. "
                "Directions are rows of Vh, not of U; and every axis but the last counts as "
                "samples."
            )
        along = torch.diagonal(basis.T @ covariance @ basis)
        if (along.diff() > 1e-3).any():
            raise CheckFailed("the widest direction comes first.", credit=0.5)
    return "Signs do not matter; the check compared subspaces."


@check(
    "1.8",
    hints=[
        "The metric of the clean output is the same for all sites: compute it once, under "
        "`torch.no_grad()`.",
        "`site.ablate(model, inputs, how, allow_unchanged=True)` gives the output without one "
        "site; the metric turns it into [row].",
        "Stack the sites' metrics to [site, row] and subtract them from the clean ones, which "
        "broadcast over the sites.",
    ],
    expects="a function of a model, sites, inputs, a metric and how to ablate",
)
def check_importance(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(7)) + 3
    weights = torch.tensor([0.0, 1.0, 2.0, -1.0])
    sites = [Site("hook_units", neuron=i) for i in range(4)]
    sites.append(Site("hook_double", neuron=[1, 2]))
    toy = _toy()

    def metric(output: Tensor) -> Tensor:
        return output

    parts = (inputs * weights).T  # [unit, row], what each unit adds to the output
    parts = torch.cat([parts, parts[1:3].sum(0, keepdim=True)])
    for how, wanted in (("zero", parts), ("mean", parts - parts.mean(1, keepdim=True))):
        found = expect_tensor(
            _important(answer, toy, sites, inputs, metric, how), (5, 12), name="the importances"
        ).to(wanted.dtype)
        if torch.allclose(found, -wanted, atol=1e-3):
            raise CheckFailed(
                "the sign is reversed: clean minus ablated, so that harm is positive."
            )
        if torch.allclose(found, wanted.abs(), atol=1e-3):
            raise CheckFailed(
                "keep the sign: a part that works against the metric has negative importance."
            )
        clean = inputs @ weights
        if torch.allclose(found, clean - wanted, atol=1e-3):
            raise CheckFailed("this is the metric after the ablation; subtract it from the clean.")
        if torch.allclose(found, wanted[:4].cumsum(0)[[0, 1, 2, 3, 3]], atol=1e-3):
            raise CheckFailed("the sites were ablated together; ablate each alone.")
        expect_close(
            found, wanted, atol=1e-3, name=f"the importance with {how!r} ablation on a toy network"
        )
    found = expect_tensor(_important(answer, toy, sites, inputs, metric), (5, 12)).to(parts.dtype)
    if found[0].abs().max() > 1e-5:
        raise CheckFailed("a unit that is always 0 was given an importance.")
    for how, wrong in (("zero", parts), ("mean", parts - parts.mean(1, keepdim=True))):
        if torch.allclose(found, wrong, atol=1e-3):
            raise CheckFailed(f"without `how` the ablation is {how!r}; it should be 'resample'.")
    # Each row gets another row's value, and each value is used once: the losses add up to zero.
    expect_close(found.sum(1), torch.zeros(5), atol=1e-2, name="the sum of resample importances")
    if _left_behind(toy):
        raise CheckFailed("a hook was left on the model.")
    few = lab.data.images[:30]
    cnn_sites = [Site("hook_conv2", channel=3)]
    found = call(answer, lab.model.cnn, cnn_sites, few, lambda logits: logits[:, 1] - logits[:, 0])
    expect_tensor(found, (1, 30), name="the importance of a channel")
    return "Checked on a toy network whose parts are worth what was planted."


def _important(answer: Any, toy: nn.Module, sites: Any, inputs: Tensor, metric: Any, *how: str):
    try:
        return call(answer, toy, sites, inputs, metric, *how)
    except CheckFailed as failure:
        if "UnchangedError" in str(failure):
            raise CheckFailed(
                "a Site that carries nothing stopped your function (UnchangedError). Here nothing "
                "may change, so pass `allow_unchanged=True`.",
                credit=0.5,
            ) from failure
        raise
