# ---
# jupyter:
#   lesson:
#     id: "03"
#     title: "Challenge 2: the transformer, and when to say not recoverable"
#     minutes: 85
#     difficulty: 3
#     prerequisites: ["02"]
#     objectives:
#       - "find the curves in a grid of answers, and price every description in bits"
#       - "tell a network that knows a rule from one that fills in between its training data"
#       - "test for a rule among many with a price for the choice and a null for chance"
#       - "say 'not recoverable' as a claim with evidence, and say what it does not cover"
#     signature: >-
#       a program read off the training half gives 99.9 % of the held-out labels where the network
#       gives 97.6 %, and 0 of 4 columns of row bits have a rule; controls: rows in random order,
#       and a twin of which the same search finds all 4 rules
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Challenge 2: the transformer, and when to say not recoverable
#
# Stephen Casper's challenge of 2023 had a second half: a one-layer transformer that reads two
# numbers and answers 0 or 1. Nobody found its program. Those who came nearest called it
# intractable, and said why: the network, they claimed, had not learned the labelling function at
# all, but fills in between the pairs it was trained on. Others disagreed. In this lesson you learn
# what it takes to say "no" with evidence.
#
# You get a relative of that network: the same kind of grid, the same split, the same accuracy, and
# a secret made of two parts, one short and one that cannot be short. By the end you can
#
# - find curves in a grid of answers, and price every description of it in bits;
# - tell a network that *knows* a rule from one that fills in between its training data;
# - look for a rule among thousands and pay for having looked;
# - say "not recoverable" as a claim with evidence, and say what it does not cover.

# %%
from utils.lessons import lab

lab = lab("03")

# %%
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils import plots
from utils.challenges import curves, pairs, pairs_inside, pairs_reports
from utils.data import grid
from utils.reports import Report, Row
from utils.sites import Site

model, labels, seen = lab.model, lab.data.labels, lab.data.seen
tokens = grid.tokens(grid.every_cell())  # [12769, 3]: a, b, and 113 for "="
with torch.no_grad():
    said = torch.cat([model(part)[:, -1].argmax(-1) for part in tokens.split(2000)])
answers = said.view(113, 113)  # what the network says of (a, b)
wrong = answers != labels
print(f"pairs: {answers.numel()}, trained on: {seen.sum()}, held out: {(~seen).sum()}")
print(f"errors on training pairs: {(wrong & seen).sum()}")
print(f"accuracy on held-out pairs: {(~wrong)[~seen].double().mean():.3f}")

# %% [markdown]
# ## What you are given
#
# This section shows you everything the network answers, and where its answers change. Two whole
# numbers `a` and `b` below 113 make a pair, 12,769 pairs in all. The network reads three tokens,
# `a`, `b` and "=", and answers at the third: one layer of attention with eight heads, a multi-layer
# perceptron (MLP) of 256 neurons, two logits. It was trained on half of the pairs, drawn at random.
# As in the original the labels of *all* pairs are public. What is secret is the program behind
# them.
#
# Here is all of its behaviour. Rows are `a`, columns are `b`, blue cells have label 1, crosses are
# the network's errors. (You can zoom in and point at a cell.)

# %%
interactive, static = plots.grid(labels, wrong, seen)
near = [(labels == labels.roll(k, d)).narrow(d, 1, 112).double().mean().item()
        for k, d in ((1, 1), (1, 0))]  # fmt: skip
lab.figure(
    interactive,
    fallback=static,
    alt="A grid of horizontal bars of irregular width, some of which change colour part of the way "
    "along. The network's errors gather where they change, and on single rows.",
    table={
        "compared": ["a cell and the one to its left", "a cell and the one above it",
                     "a cell and its mirror image (b, a)"],
        "share with the same label": [*near, (labels == labels.T).double().mean().item()],
    },
    digits=2,
)  # fmt: skip

# %% [markdown]
# Along a row of the picture almost nothing changes: a cell has the label of the one to its left in
# 99 of 100 cases. From row to row anything can happen. And the grid is not its own mirror image, so
# this is no function of a sum or a product alone: `a` picks a bar, and `b` decides where the bar
# changes.
#
# So ask *where* each row changes.
#
# ### Exercise 3.1: where a row changes
#
# List the cells whose label differs from that of the cell before them in the same row.

# %% exercise="3.1" points=2 minutes=5 difficulty=1


def changes(labels: Tensor) -> Tensor:
    """Cells (a, b) whose label is not that of (a, b - 1).

    labels: [p, p] of 0 and 1, row a, column b. Returns [m, 2] int64; b is 1 or more.
    """
    ### BEGIN SOLUTION
    cells = (labels[:, 1:] != labels[:, :-1]).nonzero()
    cells[:, 1] += 1
    return cells
    ### END SOLUTION


lab.check("3.1", changes)

# %%
true_changes = lab.use("3.1", changes, labels, name="labels")
network_changes = lab.use("3.1", changes, answers, name="network")
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.6), sharey=True)
for axis, cells, title, colour in (
    (axes[0], true_changes, "the labels", plots.BLUE),
    (axes[1], network_changes, "the network", plots.VERMILION),
):
    _ = axis.plot(cells[:, 1], cells[:, 0], ".", color=colour, markersize=5)
    _ = axis.set(title=f"{title}: {len(cells)} changes", xlim=(-1, 113), ylim=(113, -1))
    _ = axis.set_xlabel("b, second number")
_ = axes[0].set_ylabel("a, first number")
figure.tight_layout()
counts = true_changes[:, 0].bincount(minlength=113)  # changes in each row
errors = (wrong & ~seen).sum(1)
lab.figure(
    figure,
    alt="Changes of the labels lie on three lines: two bend and run down to the right, a straight "
    "one runs up to the right. Changes of the network are smeared along the rows around them.",
    table={
        "changes in the row": [0, 1, 2],
        "rows": [int((counts == n).sum()) for n in range(3)],
        "held-out errors in them": [int(errors[counts == n].sum()) for n in range(3)],
    },
    digits=0,
)

# %% [markdown]
# A row could change at 112 places and changes at two of them at most. In the left panel these
# places line up: two lines bend and run down to the right, a straight one runs up. In the right
# panel the network's changes lie around the same three lines, but smeared: a row that should change
# once flickers around the place. The table adds that *every* held-out error lies in a row that
# changes somewhere; the 47 rows that never change have none. The network knows which rows change.
# It seems not to know exactly where.
#
# The hypothesis: *Three curves cut every row into pieces. Within a piece the label is constant;
# which label it is, is a bit of that row's own.*
#
# ## Curves, and the bits they leave
#
# In this section you fit a curve and count what it leaves unexplained. A curve is a height for each
# row: the cells with `b >= height[a]` lie on or above it. To try a curve you need to know how well
# it *could* do, with the best bit for each piece.
#
# ### Exercise 3.2: what a set of curves cannot explain
#
# Cut every row at the given heights. Each piece says the majority of its known cells. Count the
# known cells for which that is wrong.

# %% exercise="3.2" points=4 minutes=10 difficulty=2


def wrong_cells(labels: Tensor, heights: Tensor, known: Tensor) -> int:
    """Known cells that differ from the majority of their piece of the row.

    labels: [p, p] of 0 and 1. heights: [k, p] in 0..p, any order: curve k cuts row a into the cells
    before heights[k, a] and the rest. known: [p, p] bool, the only cells that may be read.
    """
    ### BEGIN SOLUTION
    size, total = len(labels), 0
    for a in range(size):
        edges = [0, *sorted(heights[:, a].tolist()), size]
        for start, end in pairwise(edges):
            piece = labels[a, start:end][known[a, start:end]]
            ones = int(piece.sum())
            total += min(ones, len(piece) - ones)
    return total
    ### END SOLUTION


lab.check("3.2", wrong_cells)

# %% [markdown]
# ### Exercise 3.3: fit a family
#
# The first of the curves looks like a root. Take the family `b >= c * a**power`, and for a given
# power find the constant `c` that leaves the fewest known cells wrong. (A cell exactly on the curve
# belongs to the upper piece. Rounding may move a cell here and there; the check allows for that.)

# %% exercise="3.3" points=4 minutes=10 difficulty=2


def fit_constant(
    labels: Tensor, known: Tensor, power: float, candidates: Tensor
) -> tuple[float, int]:
    """The best of the candidate constants for one curve, and how many cells it leaves wrong.

    labels, known: [p, p], as in wrong_cells. candidates: [m].
    """
    ### BEGIN SOLUTION
    a = torch.arange(len(labels)).double()
    found = []
    for c in candidates.tolist():
        heights = (c * a**power).ceil().clamp(0, len(labels)).long()
        found.append((wrong_cells(labels, heights[None], known), c))
    count, constant = min(found)
    return constant, count
    ### END SOLUTION


lab.check("3.3", fit_constant)

# %% [markdown]
# Fit to what the *network* answers, on the *training half* alone. The held-out half stays untouched
# until something is claimed. Which power fits best?

# %%
powers = {"1/4": 1 / 4, "1/3": 1 / 3, "1/2": 1 / 2, "1": 1.0, "2": 2.0}
at_the_end = torch.logspace(math.log10(70), math.log10(200), 40).double()  # height in the last row
constants, left = {}, {}
for name, power in powers.items():
    fitted = lab.use("3.3", fit_constant, answers, seen, power, at_the_end / 112**power, name=name)
    constants[name], left[name] = fitted
none = int(torch.minimum((answers * seen).sum(1), ((1 - answers) * seen).sum(1)).sum())
print(f"no curve: {none} of {int(seen.sum())} cells wrong")
for name in powers:
    print(f"b >= {constants[name]:.3g} * a^({name}): {left[name]}")

# %% [markdown]
# One curve removes more than half of the errors; the power 1/3 does best, 1/4 is close behind. Do
# not read too much into it yet: if there are three curves, the other two are still counted as
# errors. And how would you know that there are three? With a curve for every row you could explain
# any grid. You need a price.
#
# ## A price for everything
#
# Here you find out how many curves the grid is worth. Imagine sending the grid to a friend: the
# curves, then one bit for each piece of each row, then the exceptions, that is, the cells where
# this comes out wrong. The shortest whole message wins. This is a two-part code (Rissanen,
# "Modeling by shortest data description", 1978). A table of all labels is a valid message too:
# 12,769 bits. An "explanation" that costs as much has explained nothing.
#
# A curve costs `curves.CURVE_BITS`, some 20 bits: which of ten shapes (nine powers and the falling
# line), and a constant of 17 bits. Exceptions are named like this: first how many there are, which
# is a choice among `cells + 1` numbers; then which set of cells of that size it is.
#
# ### Exercise 3.4: the length of the message
#
# Add up the three parts. A choice among n equally likely things costs log2 n bits, whole or not.

# %% exercise="3.4" points=3 minutes=8 difficulty=2


def code_length(n_curves: int, row_bits: int, cells: int, wrong: int) -> float:
    """Bits for the curves, the row bits, and the `wrong` exceptions among `cells`."""
    ### BEGIN SOLUTION
    exceptions = math.log2(cells + 1) + math.log2(math.comb(cells, wrong))
    return n_curves * curves.CURVE_BITS + row_bits + exceptions
    ### END SOLUTION


lab.check("3.4", code_length)

# %% [markdown]
# `curves.find_curves` does what you did, for all ten shapes, tens of thousands of constants and
# several curves at once: it adds the curve that shortens the message most, then moves each in turn.
# It stops when another curve makes the message longer.

# %%
case = pairs.Case("lesson 03", answers, labels, seen, model)
table = []
for fit in case.fits:
    own = lab.use(
        "3.4", code_length, len(fit.curves), fit.row_bits, fit.cells, fit.pieces.wrong,
        name=str(len(fit.curves)),
    )  # fmt: skip
    table.append((len(fit.curves), fit.row_bits, fit.pieces.wrong, round(own)))
print("curves  row bits  exceptions  bits in all")
for row in table:
    print("{:>6}  {:>8}  {:>10}  {:>11}".format(*row))
print("\nfound:", *case.fit.curves, sep="\n  ")

# %% [markdown]
# Three curves, and not one exception left among the training pairs. A fourth costs its 20 bits and
# brings nothing. The search was not told that there are three.
#
# ## What the network does with it
#
# In this section you find out whether the network uses the curves. You have a description of the
# training half, on which the network is right nearly everywhere; it may simply have stored those
# pairs. To see what it knows, look at pairs whose answer its training pairs do not give away.
#
# Take one row, `0 0 . . . 1 1`, where a dot is a held-out pair. Somewhere among the dots the label
# changes, and the row's own training pairs do not say where. The *curve*, which can be read off
# other rows, does. Call such dots a gap.
#
# ### Exercise 3.5: the gaps
#
# A held-out cell is in a gap if the nearest training cell before it and the nearest one after it,
# in its own row, have different labels. If one of the two does not exist, it is not in a gap.

# %% exercise="3.5" points=4 minutes=12 difficulty=3


def gaps(labels: Tensor, seen: Tensor) -> Tensor:
    """labels, seen: [rows, columns]. Returns bool of the same shape.

    Only labels where `seen` is True may be used.
    """
    ### BEGIN SOLUTION
    found = torch.zeros_like(seen)
    for a in range(len(labels)):
        places = seen[a].nonzero()[:, 0].tolist()
        for before, after in pairwise(places):
            if labels[a, before] != labels[a, after]:
                found[a, before + 1 : after] = True
    return found
    ### END SOLUTION


lab.check("3.5", gaps)

# %% [markdown]
# There are about 150 such cells, and a coin would be right on half of them. The network is right on
# 97.6 % of all held-out pairs. How probable is it that it is right on more than three quarters of
# the cells in gaps?

# %%
### BEGIN SOLUTION
probability = 0.6
### STUB
# probability = ...
### END SOLUTION
lab.predict("3.P", "the network is right in more than 75 % of the gap cells", probability)

# %%
gap = lab.use("3.5", gaps, labels, seen)
in_gaps = (~wrong)[gap].double().mean().item()
print(f"cells in gaps: {gap.sum()}, network right: {in_gaps:.2f}")
lab.outcome("3.P", in_gaps > 0.75)

# %%
gap_table = pairs_reports.gap_report(case)
gap_table

# %% [markdown]
# This table is the heart of the lesson. Outside the gaps the network is right on 99 %. In the gaps,
# where only the curve could tell, it is right on 60 %. The null is a guess that needs no curve: say
# what the *nearest* training pair of the row says. That scores 64 %. The three curves, read off the
# same training pairs, score 99 %.
#
# So the information was there, in other rows, and the network did not use it. Nor does it copy the
# nearest pair: it agrees with that guess no more often than it is right. It seems to *fill in*
# between training pairs of the same row. If so, it must be right more often where more of the
# nearby training pairs share a pair's label:

# %%
pairs_reports.neighbour_report(case)

# %% [markdown]
# The more of the row's neighbouring training pairs agree, the more often the answer is right. The
# same count along the *column* is the control, and there it hardly matters: rows do not help each
# other.
#
# Would agreement between program and network have shown all this?

# %%
agreement = pairs_reports.agreement_report(case)
agreement

# %% [markdown]
# It would not. The curves agree with the network on 98 % of held-out pairs; so does "the nearest
# training pair of the row", which has no curves in it. The two programs make opposite claims about
# what the network knows, and only the cells on which they *differ* can decide. For any program you
# favour, look for its best rival and find those cells.
#
# Two more rows matter. "Program = secret labels" is nearly 1: three curves and 413 bits read off
# the training half give the held-out labels *better than the network does*. And where the network
# errs, the program never agrees with it: it explains the task, not the network's mistakes.
#
# What would this table have shown had there been no curves? Shuffle the rows: bars stay bars, but
# no curve can run through them. The search still finds "curves" and reaches 95 %. Measured from
# that null, 98 % is less impressive.
#
# ## Inside
#
# Here you find out how far the solvers' look inside the original carries over to this network. They
# held the attention pattern at its mean, found that two dimensions of the residual stream before
# the MLP carry the answer, and went on from there. Try their second step.
#
# ### Exercise 3.6: how many dimensions?
#
# Keep only the first k principal directions of the stream at the last position before the MLP
# (`blocks.0.hook_resid_mid`), hold the rest at its mean, and return the share of answers that stay.

# %% exercise="3.6" points=4 minutes=12 difficulty=3


def kept(model: torch.nn.Module, tokens: Tensor, k: int) -> float:
    """Share of `tokens` [n, 3] whose answer at the last position survives; k from 1 to 128."""
    ### BEGIN SOLUTION
    stream = Site("blocks.0.hook_resid_mid", position=2).read(model, tokens)
    directions = torch.linalg.svd(stream - stream.mean(0), full_matrices=False)[2]
    site = Site("blocks.0.hook_resid_mid", position=2, basis=directions[:k].T.contiguous())
    changed = site.project(model, tokens, rest="mean")[:, -1].argmax(-1)
    with torch.no_grad():
        return (changed == model(tokens)[:, -1].argmax(-1)).double().mean().item()
    ### END SOLUTION


lab.check("3.6", kept)

# %%
few = grid.tokens(pairs_inside.sample(case, 2000, seed=3))
share = [lab.use("3.6", kept, model, few, k, name=str(k)) for k in (1, 2, 3, 4)]
print("dimensions kept 1 to 4:", [f"{s:.2f}" for s in share])
inside = pairs_inside.inside_report(case)
inside

# %% [markdown]
# Their steps carry over in part. Attention held at its mean keeps 87 %; a random other pair's
# attention keeps 80 %, so the mean is worth little more, and the pattern does carry information
# about the pair. The answer needs four dimensions, not two; four random ones do no better than a
# coin. Swapping the *value* that attention picks up at the first token moves the answer to that of
# the other row in 78 % of the pairs: most of a row's bits travel there, some through the pattern.
# What you see in outline is a mechanism for storing rows.
#
# ## The rest: 400 bits
#
# In this section you ask whether the row bits follow a rule, and what it takes to say that they do
# not. The bits are a table: for every row its start bit, and for each curve a bit that says whether
# the label flips there. If you find no rule, is that because there is none, or because you did not
# look well? Many reports stop at "seems random". Three tests say more.
#
# **First test: neighbours.** If bars came in runs, or alternated, a row's bits could be told from
# the row above.
#
# ### Exercise 3.7: a null for neighbours
#
# How often do consecutive bits agree, and how often would they in random order? Keep the number of
# ones: mostly-zero bits agree often without being alike.

# %% exercise="3.7" points=3 minutes=8 difficulty=2


def neighbour_null(bits: Tensor, draws: int, generator: torch.Generator) -> tuple[float, Tensor]:
    """Agreement of bits [n] with the next bit, and the same for `draws` random orders: [draws]."""

    ### BEGIN SOLUTION
    def agree(x: Tensor) -> float:
        return (x[1:] == x[:-1]).double().mean().item()

    null = [agree(bits[torch.randperm(len(bits), generator=generator)]) for _ in range(draws)]
    return agree(bits), torch.tensor(null)
    ### END SOLUTION


lab.check("3.7", neighbour_null)


# %%
def one_column(bits: Tensor) -> Tensor:
    """Agreement, and the middle 95 % of the null, for one column of row bits."""
    observed, null = neighbour_null(bits, 1000, torch.Generator().manual_seed(0))
    return torch.tensor([observed, null.quantile(0.025), null.quantile(0.975)])


for name in case.bits.names:
    _, bits = case.bits.column(name)
    observed, low, high = lab.use("3.7", one_column, bits, name=name).tolist()
    print(f"{name}: neighbours agree {observed:.2f}, random order {low:.2f} to {high:.2f}")
rows_table = pairs_reports.neighbouring_rows_report(case)
rows_table

# %% [markdown]
# **Second test: a search.** Try every rule of some family on every column: periodic ones, `(a -
# shift) mod period < width` up to period 24; thresholds; waves in four powers of `a`. That is 7,272
# rules and their opposites. The best of so many will fit *something*, so make it pay: naming one of
# 14,544 rules costs 14 bits, and its exceptions are paid for as before. The rival description says
# how many ones there are and where. What counts is the bits saved, and the null is what the best
# rule saves on the same bits in random order.

# %%
search = pairs_reports.rules_report(case)
search

# %% [markdown]
# Negative: in every column the best rule costs more than it saves, and it saves no more than by
# chance. The rules look good all the same: "wrong in 28 of 100" is what the best of 14,544 gets on
# coin throws.
#
# **Third test: would you have found it?** A search that finds nothing may simply be a bad search.
# The control is a *twin*: the same curves, the same recipe, about as many changes, but row bits
# that follow rules. Its grid looks much the same. Run everything on its answers, from the search
# for curves on.

# %%
twin = pairs.course_case("grid-twin")
print("found in the twin:", *twin.fit.curves, sep="\n  ")
twin_search = pairs_reports.rules_report(twin)
twin_search

# %% [markdown]
# It finds all four rules, without an exception, and saves some 300 bits. So the same procedure,
# from a network's answers on half of the pairs, recovers a short program when there is one. That
# gives your "no" its weight.
#
# Does the twin's *network* know its curves? It was trained on a program of 61 bits of curves and
# four short rules. Compare its gaps:

# %%
twin_gap = pairs_reports.gap_report(twin)
inside_gap = twin_gap["network right, in the gaps"]
nearest_gap = twin_gap["nearest training pair right, in the gaps"]
print(f"twin, held-out pairs right: {twin.share(~twin.wrong, ~twin.seen).value:.2f}")
print(f"twin, in the gaps: network {inside_gap.text(2)}, nearest pair {nearest_gap.text(2)}")

# %% [markdown]
# It does not; it stores rows just as the other one does. Whether a *program* can be recovered is a
# fact about the labels. What the *network* has learned is another question, and it took another
# measurement to answer it.
#
# ## The verdict
#
# ### Exercise 3.8: what follows?
#
# Here you sort what has been shown from what has not. Give each sentence one of three verdicts:
# "supported", "refuted" or "not tested".

# %% exercise="3.8" points=4 minutes=8 difficulty=2
### BEGIN SOLUTION
verdicts = {
    "three curves and a table of row bits give the labels": "supported",
    "the network knows where the curves run": "refuted",
    "none of the rules in the search lies behind the row bits": "supported",
    "no rule whatever lies behind the row bits": "not tested",
    "the search finds a rule of its family when there is one": "supported",
    "two dimensions of the stream carry the answer": "refuted",
}
### STUB
# verdicts = {
#     "three curves and a table of row bits give the labels": ...,
#     "the network knows where the curves run": ...,
#     "none of the rules in the search lies behind the row bits": ...,
#     "no rule whatever lies behind the row bits": ...,
#     "the search finds a rule of its family when there is one": ...,
#     "two dimensions of the stream carry the answer": ...,
# }
### END SOLUTION
lab.check("3.8", verdicts)

# %%
bits = pairs_reports.bits_report(case)
bits

# %% [markdown]
# About 490 bits stand for 12,769. Seven eighths of them are row bits, which nothing explains
# further. To list the network's *errors* would cost more than twice as much as the whole program
# for the labels.
#
# The judge that tries every explanation of this course gets the same program: curves, and a table
# of row bits. It tests on held-out pairs, and it counts the text of the program too.

# %%
judged = pairs.try_program(case)
judged

# %% [markdown]
# So curves with a table behind them are a `program`: they say what the network says, in a third of
# the bits. No mechanism is claimed, and after the gaps you should not look for one: nothing in the
# network computes "is `b` above the curve".
#
# "Not recoverable" is then a verdict about the *table*, relative to a family of rules, with the
# power of the search shown on a twin. Here you can be told what nobody could tell the solvers:
# these bits were thrown with a coin, so the verdict is true. You could not have *proved* it. No
# test shows that a sequence has no rule; you can only name the rules you looked for and show that
# you would have found them.

# %%
reports = {
    "agreement": agreement,
    "gaps": gap_table,
    "bits": bits,
    "rules": search,
    "rows": rows_table,
    "twin": twin_search,
}
verdict, reasons = pairs.decide(reports, judged)
print("verdict on the row bits:", verdict)

# %%
Report(
    "Challenge 2 in six rows",
    [
        Row("held-out labels by the program", agreement["program = secret labels"], "result"),
        Row("held-out labels by the network", agreement["network = secret labels"], "control"),
        Row("program agrees with the network", agreement["program = network"], "result"),
        Row("curves from shuffled rows agree",
            agreement["curves found in shuffled rows = network"], "null"),
        Row("network right in the gaps", gap_table["network right, in the gaps"], "result"),
        Row("nearest pair right in the gaps",
            gap_table["nearest training pair right, in the gaps"], "null"),
    ],
    {"held-out pairs": 6385, "program": "read off the answers to the training half"},
    digits=2,
)  # fmt: skip

# %% [markdown]
# ## And the original?
#
# This section repeats the measurements on the original network. Its labels and answers were
# published, and its split can be worked out. The training script seeds Python's generator with 0
# and shuffles; of the network's 174 errors 155 fall in the half which that order holds out. For
# twenty other seeds it is between 78 and 95, as chance would have it. Where you have the file
# (`docs/data.md`), `python -m utils solve pairs --original --data FOLDER` repeats this lesson on
# it, and trains a replica. It printed:
#
# | measured on the original grid | published | re-measured |
# |---|---|---|
# | test accuracy | 97.27 % | 97.57 % |
# | training accuracy | taken to be 100 % | 99.70 % |
# | three curves and 363 row bits give | not done | 12,769 of 12,769 labels |
# | curves found in the training half give held-out labels | not done | 99.6 % |
# | network right in its 149 gap cells | not done | 54 % (46 to 63) |
# | nearest training pair right there | not done | 64 % |
# | columns of row bits with a rule | none found | 0 of 4 |
# | held-out errors that a replica shares | not done | 64 %, by chance 2.5 % |
#
# The published 97.27 % is `1 - 2 * 174 / 12769`: all errors counted against one half, as if the
# other had none. Half of the secret can be recovered: `b^4 >= 360000 a`, `a^4 < 40000 b` and
# `a + b >= 133` cut the rows without a single exception. Nobody has found a rule for the row bits,
# and here you know less than above. The author has spoken of a "periodic part" behind the bars. If
# he meant it literally there *is* a rule, only not among the 7,272, and then the verdict on the
# original, though supported, falls the moment somebody finds it. A report should say both.
#
# The solvers' own claim holds up. A network that knew the curves would not be at 54 % where only
# the curves can tell. And its mistakes are not noise: a replica of another size, trained in half a
# minute, makes two thirds of the same ones. They follow from *which pairs were trained on*.

# %% [markdown]
# ## Try a rule of your own
#
# Only the pairs on which two programs *differ* can decide between them, and a table of shares does
# not show you where those lie. Here they are all in one picture. Write any rule of `a` and `b` in
# place of the line below, or type curves into the page, and show "hypothesis ≠ network". Then try
# to beat the nearest training pair in the gaps with fewer row bits than the three curves read.

# %%
lab.instrument("grid", mine=lambda a, b: a + b >= 120)

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **A rule outside the family.** One that gives even one column in fewer bits than naming its
#   ones. Check it against random orders before you believe it.
# - **A network right in the gaps.** Train longer, with other weight decay, or on more pairs: if gap
#   accuracy rises far above the nearest pair's while the rest stays, the network has begun to use
#   the curves. The 155 cells give an interval of about 8 points to either side, so you would not
#   see a smaller gain.
# - **A better rival.** Neither curves nor nearest pairs explain the network's errors. The replica
#   shows that *something* does. A program of the training pairs that predicts them would be the
#   first real explanation of this network.
# - **Another reading of "row".** Everything here takes rows as unrelated. The column control says
#   so for the labels' neighbours; it does not rule out groups of rows that help each other.
#
# ## Where this comes from
#
# Stephen Casper, "EIS VII: A Challenge for Mechanists" (2023), set the task. Stefan Heimersheim and
# Marius Hobbhahn, "Solving the Mechanistic Interpretability challenges: EIS VII Challenge 2"
# (2023), fixed the attention, found the plane in the residual stream, and argued that the network
# interpolates. The gaps, the codes, the search with its null and the twin are added here. Jorma
# Rissanen, "Modeling by shortest data description" (1978), is the source of two-part codes.
#
# **Next.** Lesson 04 takes a network on the same grid of pairs that *has* learned its function, and
# whose program can be read from the weights.
