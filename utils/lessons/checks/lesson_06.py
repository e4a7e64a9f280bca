"""Lesson 06: the bracket checker, its strings, its checks. Reading it spoils the exercises.

Most checks plant the truth: classes whose members are known, draws that are recorded, a diamond
whose scrubbed loss can be worked out on paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from utils.data import brackets
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)

SEED = 2**31 + 6  # training drew its strings from the seeds 0, 1, 2 ...
BITS, BAR = 6.0, 0.93  # exercise 6.8: what the features may hold in all, what must be recovered


def load_model() -> nn.Module:
    from utils.models import zoo

    return zoo.load("brackets")


def load_data() -> brackets.Strings:
    """3,000 strings, 46 % of them balanced."""
    return brackets.make(3000, SEED, balanced=0.46)


# --- 6.1 ---------------------------------------------------------------------------------------


@check(
    "6.1",
    hints=[
        "Two runs of the model: one on the donors, to learn what the site holds there, one on the "
        "inputs, with that written in.",
        "`site.read(model, donors)` gives just what `site.write(model, inputs, values)` takes.",
        "`write` returns logits [n, 25, 2]; the answer is read off at START, position 0.",
    ],
    expects="a function of a model, inputs, a Site and donors",
)
def check_resampled(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    model, tokens = lab.model, lab.data.tokens[:40]
    donors = lab.data.tokens[100:140]
    for site in (
        Site("blocks.2.attn.hook_z", head=1, position=0),
        Site("blocks.0.hook_mlp_out", position=0),
    ):
        wanted = site.write(model, tokens, site.read(model, donors))[:, 0]
        found = call(answer, model, tokens, site, donors)
        if isinstance(found, Tensor) and found.shape == (40, 25, 2):
            raise CheckFailed(
                "these are the logits at all 25 positions; the answer is read off at START, "
                "position 0.",
                credit=0.5,
            )
        found = expect_tensor(found, (40, 2), name="the logits").to(wanted.dtype)
        with torch.no_grad():
            clean, other = model(tokens)[:, 0], model(donors)[:, 0]
        back = site.write(model, donors, site.read(model, tokens))[:, 0]
        for wrong, message in (
            (clean, "nothing was resampled: these are the logits of the clean run on the inputs."),
            (other, "this is the clean run on the donors: all of it was replaced, not one part."),
            (back, "inputs and donors are exchanged: the part comes from the donors, the rest of "
             "the run from the inputs."),
        ):  # fmt: skip
            if torch.allclose(found, wrong, atol=1e-4):
                raise CheckFailed(message)
        expect_close(found, wanted, atol=1e-3, name=f"the logits with {site} resampled")
    site = Site("blocks.2.attn.hook_z", head=1, position=0)
    same = call(answer, model, tokens, site, tokens)
    with torch.no_grad():
        expect_close(
            same, model(tokens)[:, 0], atol=1e-3, name="the logits when the donors are the inputs"
        )
    return "Donors equal to the inputs change nothing, as they must."


# --- 6.2 ---------------------------------------------------------------------------------------


def _planted() -> tuple[Tensor, Tensor]:
    """A feature [400] with classes of 1, 9, 90 and 300 rows in mixed order, and as [400, 2]."""
    values = torch.tensor([7] + [2] * 9 + [0] * 90 + [5] * 300)
    values = values[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    # two columns, neither of which tells the classes apart alone
    return values, torch.stack([values % 5, values // 5], 1)


@check(
    "6.2",
    hints=[
        "For one reference: which rows of `values` equal its own? `torch.randint(k, (1,), "
        "generator=generator)` picks one of k.",
        "A loop over the references is fine. With two columns a row is equal if both are: "
        "`(values == values[ref]).all(-1)`; give a [n] feature a second axis first.",
        "`members = mask.nonzero()[:, 0]`, then `members[torch.randint(len(members), (1,), "
        "generator=generator)]`. Collect one number a reference.",
    ],
    expects="a function of a feature, references and a generator",
)
def check_same_class(answer: Any, lab: Any) -> str | None:
    values, pairs = _planted()

    def draw(feature: Tensor, refs: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        found = call(answer, feature, refs, generator)
        found = expect_tensor(found, (len(refs),), "int", name="the donors").long()
        if len(found) and (found.min() < 0 or found.max() >= len(feature)):
            raise CheckFailed(
                f"a donor is no row of the data: the rows are 0 to {len(feature) - 1}."
            )
        return found

    refs = torch.arange(0, 400, 7)
    for feature in (values, pairs):
        found = draw(feature, refs, 2)
        wrong = int((values[found] != values[refs]).sum())
        sizes = torch.bincount(values, minlength=8)[values[refs]]
        inside = bool((found < sizes).all())
        place = "; did you return places in the class instead of rows?" if inside else "."
        if wrong and feature.ndim == 2:
            one = [(pairs[found, k] == pairs[refs, k]).all() for k in (0, 1)]
            place = "; with two columns *both* must be equal." if any(one) else place
        if wrong:
            raise CheckFailed(f"{wrong} of {len(refs)} donors have another value{place}")
    large = (values == 5).nonzero()[:40, 0]
    found = draw(values, large, 5)
    if torch.equal(found, large):
        raise CheckFailed("every reference drew itself, so nothing is swapped.")
    if len(found.unique()) > 1 and torch.isin(found, large).all():
        raise CheckFailed("all donors are references; draw from the whole data.")
    nine = (values == 2).nonzero()[:, 0]
    alone = (values == 7).nonzero()[:, 0]
    many = draw(values, nine[:1].repeat(900), 3)
    counts = torch.bincount(many, minlength=400)[nine]
    if (counts > 0).sum() == 1:
        raise CheckFailed(
            "one reference asked for 900 times got the same donor 900 times; draw anew for each."
        )
    if counts[0] == 0:
        raise CheckFailed(
            "no reference ever draws itself. It must be allowed: otherwise a donor is *less* like "
            "its reference than a random member of the class, and a class of one has no donor.",
            credit=0.5,
        )
    if (counts == 0).any():
        raise CheckFailed(
            f"{int((counts == 0).sum())} of 9 members of a class are never drawn; every member "
            "may stand in for every other."
        )
    if counts.min() < 55 or counts.max() > 150:  # 100 each, standard deviation 9.4
        raise CheckFailed(
            f"of 900 draws from a class of nine, one member got {int(counts.max())} and another "
            f"{int(counts.min())}; draw uniformly."
        )
    if not any(len(draw(values, nine, seed).unique()) < 9 for seed in range(10)):
        raise CheckFailed(
            "in ten rounds no two references ever shared a donor: this draws without replacement "
            "(a permutation), so the donors depend on one another.",
            credit=0.5,
        )
    if int(draw(values, alone, 4)) != int(alone):
        raise CheckFailed("a reference alone in its class can only draw itself.")
    if torch.equal(draw(values, large, 6), draw(values, large, 7)):
        raise CheckFailed("two generators gave the same draws; use the generator you are given.")
    return "Uniform in the class, with replacement, itself allowed."


# --- 6.3 ---------------------------------------------------------------------------------------


@check(
    "6.3",
    hints=[
        "Three losses, all against the same `labels`: of `scrubbed`, of `clean`, and of "
        "`clean[other]`.",
        "`cross_entropy(logits, labels).mean()` is the loss; the labels stay those of the "
        "reference, also where the output comes from another input.",
        "Divide how far the scrubbed loss lies from the baseline by how far the model's does. "
        "Both differences are negative as a rule, and that is fine.",
    ],
    expects="a function of scrubbed logits, clean logits, labels and other rows",
)
def check_recovered(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(8)
    labels = torch.rand(300, generator=generator) < 0.4
    sure = torch.stack([-labels.double(), labels.double()], 1) * 4
    clean = sure + torch.randn(300, 2, generator=generator).double()
    other = torch.randint(300, (300,), generator=generator)
    noisy = clean + 3 * torch.randn(300, 2, generator=generator).double()

    def loss(logits: Tensor, targets: Tensor = labels) -> float:
        return nn.functional.cross_entropy(logits, targets.long()).item()

    def ask(scrubbed: Tensor) -> float:
        return expect_number(call(answer, scrubbed, clean, labels, other), what="loss recovered")

    base, own, middle = loss(clean[other]), loss(clean), loss(noisy)
    found = ask(noisy)
    wanted = (middle - base) / (own - base)
    theirs = loss(clean[other], labels[other])
    constant = nn.functional.cross_entropy(clean.mean(0).expand_as(clean), labels.long()).item()
    for value, message in (
        (middle, "this is the scrubbed loss itself; set it between the baseline and the model."),
        (1 - wanted, "this is the share that was *lost*; 1 minus it is asked for."),
        (own / middle, "a ratio of losses has no zero point; measure from the baseline."),
        ((middle - 0.6931472) / (own - 0.6931472),
         "your baseline is a model that says fifty-fifty. The model is confident: on a random "
         "other input it is confidently wrong, which costs far more."),
        ((middle - constant) / (own - constant),
         "your baseline averages the logits; it is one random other input's output each time."),
        ((middle - base) / (0 - base), "the ceiling is the model's own loss, not 0.")
    ):  # fmt: skip
        if abs(found - value) < 1e-4:
            raise CheckFailed(message)
    if abs(theirs - own) > 1e-9 and abs(found - (middle - theirs) / (own - theirs)) < 1e-4:
        raise CheckFailed(
            "the baseline was compared with the labels of the *other* inputs. Where an output "
            "comes from another input, it is still judged by the reference's label."
        )
    expect_close(found, wanted, atol=1e-4, name="loss recovered by noisy logits")
    expect_close(ask(clean), 1.0, name="loss recovered by the model itself")
    expect_close(ask(clean[other]), 0.0, atol=1e-4, name="loss recovered by the baseline")
    for name, scrubbed in (("reversed", -clean), ("perfect", 10 * sure)):
        target = (loss(scrubbed) - base) / (own - base)
        found = ask(scrubbed)
        if found in (0.0, 1.0) and abs(found - target) > 1e-4:
            raise CheckFailed(
                f"for {name} logits the share is {target:.2f}, you gave {found:.0f}: do not clip. "
                "A value under 0 or over 1 is news, and clipping hides it.",
                credit=0.5,
            )
        expect_close(found, target, atol=1e-4, name=f"loss recovered by {name} logits")
    return "It is 1 for the model, 0 for the baseline, and not clipped."


# --- 6.4 ---------------------------------------------------------------------------------------


@check(
    "6.4",
    hints=[
        "Start at the root and go down: who stands in for the reference at the parent?",
        "`draw(parent, refs)` gives the parent's inputs. For the child the reference is no "
        "longer the reference: it is what the parent drew.",
        "Two calls of `draw`; the second takes the child's feature and the first call's result.",
    ],
    expects="a function of two features, references and a function that draws",
)
def check_two_draws(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(11)
    parent = torch.randint(3, (600,), generator=generator)
    child = torch.randint(4, (600,), generator=generator)
    refs = torch.randint(600, (200,), generator=generator)

    def draw(values: Tensor, like: Tensor) -> Tensor:
        same = values[:, None] == values[like][None]  # [row, reference]
        weights = torch.rand(same.shape, generator=generator).masked_fill(~same, -1)
        return weights.argmax(0)

    found = call(answer, parent, child, refs, draw)
    pair = expect_type(found, (tuple, list), "what your function returned")
    if len(pair) != 2:
        raise CheckFailed(f"expected two tables of rows, got {len(pair)}.")
    upper, lower = (
        expect_tensor(rows, (200,), "int", name=name).long()
        for rows, name in zip(pair, ("the parent's rows", "the child's rows"), strict=True)
    )
    if max(upper.max(), lower.max()) >= 600 or min(upper.min(), lower.min()) < 0:
        raise CheckFailed("a row lies outside the data.")

    def agree(feature: Tensor, a: Tensor, b: Tensor) -> bool:
        return bool((feature[a] == feature[b]).all())

    if torch.equal(upper, refs) or torch.equal(lower, upper):
        raise CheckFailed("nothing was drawn for one of the two nodes; each draws once.")
    if agree(parent, upper, refs) and agree(child, lower, upper):
        return "The child agrees with what its parent drew, and need not agree with the reference."
    if agree(parent, lower, refs) and agree(child, upper, lower):
        raise CheckFailed("the order is reversed: return the parent's rows, then the child's.")
    if agree(parent, upper, refs) and agree(child, lower, refs):
        raise CheckFailed(
            "the child was drawn from the class of the *reference*. Its value stands in for the "
            "one on the input its parent drew, so it must agree with that one, and only with it."
        )
    if agree(parent, upper, refs) and agree(parent, lower, upper):
        raise CheckFailed(
            "the child was drawn from its parent's class; it has a feature of its own."
        )
    if agree(child, upper, refs):
        raise CheckFailed(
            "you began with the child. The tree is walked from the output down: the parent is "
            "drawn first, from the class of the reference."
        )
    raise CheckFailed(
        "the parent's rows do not share the parent's feature with the references, or the child's "
        "rows do not share the child's feature with the parent's."
    )


# --- 6.5 ---------------------------------------------------------------------------------------


@check(
    "6.5",
    hints=[
        "Work from the bottom up: first the head's value, then the MLP's with that head in it, "
        "then the output with that MLP in it. Which of the five tables is not needed?",
        "The MLP's value: a run on the strings that its *other* inputs come from, with the head's "
        "value written in, and `mlp` read. `site.write(..., read=[mlp]).values[0]` gives it.",
        "Three steps: `head.read` on the head's strings; `head.write` on the MLP's other strings, "
        "reading `mlp`; `mlp.write` on the output's other strings, position 0 of the logits.",
    ],
    expects="a function of a model, tokens and a dict of drawn rows",
)
def check_by_hand(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site, run

    model, tokens = lab.model, lab.data.tokens[:300]
    generator = torch.Generator().manual_seed(12)
    names = ("reference", "m2", "m2/a2.h1", "other of m2", "other of output")
    drawn = {name: torch.randint(300, (24,), generator=generator) for name in names}
    head = Site("blocks.2.attn.hook_z", head=1, position=0)
    mlp = Site("blocks.2.hook_mlp_out", position=0)

    def scrubbed(low: str, middle: str, top: str, total: bool = False) -> Tensor:
        value = head.read(model, tokens[drawn[low]])
        made = head.write(model, tokens[drawn[middle]], value, read=[mlp]).values[0]
        edits = [(mlp, made), *([(head, value)] if total else [])]
        return run(model, tokens[drawn[top]], edits=edits).output[:, 0]

    lowest, middle, top = names[2:]
    wanted = scrubbed(lowest, middle, top)
    found = call(answer, model, tokens, drawn)
    if isinstance(found, Tensor) and found.shape == (24, 25, 2):
        raise CheckFailed(
            "these are the logits at all positions; take those at START, position 0.", credit=0.5
        )
    found = expect_tensor(found, (24, 2), name="the logits").to(wanted.dtype)
    direct = head.write(model, tokens[drawn[top]], head.read(model, tokens[drawn[lowest]]))[:, 0]
    whole = mlp.write(model, tokens[drawn[top]], mlp.read(model, tokens[drawn["m2"]]))[:, 0]
    for wrong, message in (
        (scrubbed(lowest, "m2", top),
         "the input drawn for `m2` went into the model, as the source of what m2 reads beside the "
         "head. It only serves to draw the head's input; m2's other inputs come from `other of "
         "m2`."),
        (scrubbed(lowest, middle, "reference"),
         "the rest of the output comes from the reference itself; the claim calls it unimportant, "
         "so it comes from `other of output`."),
        (scrubbed(lowest, "reference", top),
         "m2's other inputs come from the reference; the claim calls them unimportant."),
        (scrubbed("m2", middle, top),
         "the head's value was taken on the input drawn for m2; it has one of its own."),
        (scrubbed("reference", middle, top),
         "the head's value was taken on the reference; it comes from the string drawn for "
         "`m2/a2.h1`."),
        (whole, "m2 was read on a string as it is. Its value has to be made: the head's from one "
         "string, all else that m2 reads from another."),
        (scrubbed(lowest, top, middle), "the two `other` tables are exchanged."),
        (scrubbed(lowest, middle, top, total=True),
         "the head was also written where the output reads it directly. The claim has it feed m2 "
         "and nothing else."),
        (direct, "the head was written into one run, so it reaches the output by every path. "
         "The claim is about the path through m2: its value has to be made first."),
    ):  # fmt: skip
        if torch.allclose(found, wrong, atol=1e-4):
            raise CheckFailed(message)
    expect_close(found, wanted, atol=1e-3, name="the scrubbed logits")
    moved = {**drawn, "m2": drawn["m2"].flip(0), "reference": drawn["reference"].flip(0)}
    expect_close(
        call(answer, model, tokens, moved), wanted, atol=1e-3,
        name="the logits when m2 and the reference drew other strings",
        hint="Neither of the two enters the model.",
    )  # fmt: skip
    return "Neither the reference nor the string drawn for m2 was ever run."


# --- 6.6 ---------------------------------------------------------------------------------------


@check(
    "6.6",
    hints=[
        "With nothing claimed, all that the output reads is unimportant. What does the output "
        "then see under each policy?",
        '"exact" leaves the reference\'s own values in place. "shared" takes everything from one '
        "random string: what is that the definition of?",
        "What is left for the third: parts that come from nine different strings.",
    ],
    expects="a dict from A, B, C to the names of the policies",
)
def check_policies(answer: Any, lab: Any) -> str | None:
    found = expect_keys(answer, ("A", "B", "C"), name="your answer")
    policies = ("shared", "separate", "exact")
    for key, policy in found.items():
        if not isinstance(policy, str) or policy not in policies:
            raise CheckFailed(
                f'{key} is {policy!r}; expected "shared", "separate" or "exact".'
                if isinstance(policy, str)
                else f"{key} is no text; expected one of the three policies' names."
            )
    if len(set(found.values())) < 3:
        raise CheckFailed("each policy made exactly one of the three rows.")
    if found["C"] != "exact":
        raise CheckFailed(
            f'C is the untouched model. Under "{found["C"]}" everything that the output reads '
            "would have been resampled."
        )
    if found["A"] != "separate":
        raise CheckFailed(
            "one random string for all that the output reads gives the output on a random other "
            "string, and that is the baseline: it recovers nothing.",
            credit=0.25,
        )
    return "Claiming nothing is a test of the policy."


# --- 6.7 ---------------------------------------------------------------------------------------


def diamond() -> Any:
    """C hands on both coordinates; A speaks where the second is positive, B where it is not."""
    from utils.scrubbing import Component, FunctionGraph

    return FunctionGraph(
        [
            Component("C", lambda x: x, ("input",)),
            Component("A", lambda c: c[:, 0] * (c[:, 1] > 0), ("C",)),
            Component("B", lambda c: c[:, 0] * (c[:, 1] < 0), ("C",)),
            Component("output", lambda a, b: a + b, ("A", "B")),
        ]
    )


@check(
    "6.7",
    hints=[
        "The output reads A and B, so these two stand in the Hypothesis' own tuple. Each reads C.",
        "`Node(site, feature, inputs=(...))`: a node's `inputs` are the nodes *it* reads. C stands "
        "below A, and once more below B.",
        'Five names: `Hypothesis((Node("A", ..., (Node("C", ...),)), Node("B", ..., (...,))), '
        '"shared")`, and the feature is a function of x that returns its first column.',
    ],
    expects="a Hypothesis",
)
def check_treeify(answer: Any, lab: Any) -> str | None:
    from utils.scrubbing import Hypothesis, expectation
    from utils.scrubbing.samplers import classes_of

    claim = expect_type(answer, Hypothesis, "your answer")
    sites = {path: str(node.site) for path, node in claim.nodes()}
    top = sorted(str(node.site) for node in claim.inputs)
    if "C" in top and not any(node.inputs and str(node.site) == "C" for node in claim.inputs):
        raise CheckFailed("C stands directly below the output, but the output never reads C.")
    if top == ["C"]:
        raise CheckFailed(
            "the tree is upside down. The output is the root, and a node's `inputs` are what it "
            "reads: A reads C, so C is an input of A."
        )
    if top != ["A", "B"]:
        raise CheckFailed(f"the output reads A and B; your tree has {', '.join(top) or 'nothing'}.")
    below = [str(child.site) for node in claim.inputs for child in node.inputs]
    if below != ["C", "C"] or len(sites) != 4:
        if not below:
            raise CheckFailed("A and B are leaves; the diagram says that each reads C.")
        raise CheckFailed(
            f"below A and B stand: {', '.join(below)}. A tree has no shared node: C stands there "
            "twice, once below A and once below B."
        )
    x = torch.tensor([[i, j] for i in (-1.0, 1.0) for j in (-1.0, 1.0)])
    for path, node in claim.nodes():
        if node.feature in ("any", "exact"):
            raise CheckFailed(f"{path} says {node.feature!r}; the claim is that it tells x0.")
        if node.together is not None:
            raise CheckFailed(
                f"{path} is drawn together with another node. The two copies of C must not need "
                "to agree on anything but the feature."
            )
        classes = classes_of(node.feature, x, path)
        one, same, other, again = classes.of.tolist()  # what the classes are called is free
        if not (one == same != other == again):
            raise CheckFailed(f"the feature of {path} is not x0, the first column of the inputs.")
    if claim.unimportant != "shared":
        raise CheckFailed(f'unimportant is {claim.unimportant!r}; "shared" was asked for.')

    def squared(output: Tensor, target: Tensor) -> Tensor:
        return (output - target) ** 2

    # the switch is drawn apart: half of the time both speak, or neither
    found = expectation(diamond(), claim, x, x[:, 0], squared)
    expect_close(found, 0.5, name="the expected scrubbed loss of your tree")
    return "Its expected loss is 1/2, as worked out on paper below."


# --- 6.8 ---------------------------------------------------------------------------------------


def feature_bits(feature: Any, tokens: Tensor, name: str) -> tuple[float, Tensor]:
    """Entropy of a feature over the strings in bits, and the class of each string."""
    from utils.scrubbing.samplers import classes_of

    classes = classes_of(feature, tokens, name)
    share = classes.size.double() / classes.size.sum()
    return float(-(share * share.log2()).sum()), classes.of


@check(
    "6.8",
    hints=[
        "Which stratum loses most, and which node gains most when it is held exact? Look at the "
        "two columns at the right of the node table.",
        "a2.h1 with the horizon test is what loses. Among strings that pass the horizon test, "
        "which difference might this head still tell the output?",
        "A feature may have several columns: `torch.stack([test, other_test], 1)` has up to four "
        "classes. Give it to one part and leave the others as they are.",
    ],
    expects="a dict from parts to features",
)
def check_account(answer: Any, lab: Any) -> str | None:
    from utils.challenges.brackets import ENDINGS_PARTS, claims
    from utils.scrubbing import TransformerGraph, scrub

    allowed = (*ENDINGS_PARTS, "a2.h1")
    account = expect_type(answer, dict, "your account")
    if not account:
        raise CheckFailed("your account is empty; it names no part.")
    for key in account:
        if key not in allowed:
            raise CheckFailed(f"{key!r} is not one of the parts {', '.join(allowed)}.")
    tokens, balanced = lab.data.tokens, lab.data.balanced
    total = 0.0
    for key, feature in account.items():
        if isinstance(feature, str) and feature in ("exact", "any"):
            raise CheckFailed(
                f'{key} is {feature!r}; here every part needs a feature. "exact" resamples '
                "nothing, so it claims nothing that could fail."
            )
        if not callable(feature):
            raise CheckFailed(f"the feature of {key} is no function of the tokens.")
        bits, of = feature_bits(feature, tokens, key)
        total += bits
        if int(of.max()) == 1 and not 0.03 < (of.bool() == balanced).double().mean() < 0.97:
            raise CheckFailed(
                f"the feature of {key} is the label, or nearly. That all parts know the answer "
                "explains nothing about how it is found, however well it scores."
            )
    if total > BITS:
        raise CheckFailed(
            f"the features hold {total:.1f} bits in all; {BITS:.0f} are allowed. The more a part "
            "may know, the less is resampled, and the easier the score."
        )
    graph = TransformerGraph(lab.model, tokens, answer=0)
    claim = claims(account, "your account")
    found = scrub(graph, claim, tokens, balanced, refs=600, resamples=3, nulls=0).recovered
    if found.value < BAR:
        raise CheckFailed(
            f"your account recovers {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] with "
            f"{total:.1f} bits; {BAR} is the bar. Which part knows more than you claim?"
        )
    return f"It recovers {found.value:.2f} with {total:.1f} bits."
