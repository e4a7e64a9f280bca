# ---
# jupyter:
#   lesson:
#     id: "14"
#     title: "Your own sealed challenge"
#     minutes: 90
#     difficulty: 4
#     prerequisites: ["02"]
#     objectives:
#       - "spend a budget on a network nobody has explained to you, behaviour first"
#       - "compute what a program, its exceptions and the table of labels cost in bits"
#       - "place steps in the network by read-out and by swaps, and write them as a file"
#       - "know which measurement each rule of the judge looks at, and why four cheats fail"
#       - "draw, submit and open a sealed challenge of your own"
#     signature: "the network counts in one direction; control: the same two bits in two directions"
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 · Your own sealed challenge
#
# So far the author knew the answer and had written the lesson around it. This lesson ends with a
# network that nobody has looked at. A command draws a secret program from a seed, trains a network
# on it and seals both. You get the network, you write down what it does and where, and a judge
# tests your account.
#
# First you walk through one that ships with the course: a *practice challenge*, made by the same
# command, so that you have seen every stage once. Afterwards you can
#
# - spend a budget on a network nobody has explained to you, behaviour first;
# - compute what a program, its exceptions and the table of labels cost in bits;
# - place steps in the network by read-out and by swaps, and write them as a file;
# - know which measurement each rule of the judge looks at, and why four cheats fail;
# - draw, submit and open a sealed challenge of your own.
#
# You need lesson 02: sites, resampling, swaps, and the judge's verdict at its end. The lessons on
# patching (05) and on scrubbing that lies (07) help.

# %%
from utils.lessons import lab

lab = lab("14")

# %%
import math
import re
import shutil
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils import charts, plots
from utils.challenges import seal
from utils.challenges.envelope import SealError
from utils.challenges.families import pairs
from utils.challenges.submission import submitted, text_bits, written
from utils.reports import Estimate, Report, Row
from utils.sites import Site

folder, key = seal.practice()
challenge = seal.load(folder)
model, asked, held = challenge.model, lab.data.asked, lab.data.held
for name in ("family", "difficulty", "data", "commitment"):
    print(f"{name}: " + textwrap.fill(str(challenge.card[name]), 90, subsequent_indent="    "))

# %% [markdown]
# ## The rules
#
# This section says what you are given, what you may do with it, and how to spend your time. What
# you just printed is the *card*. With it come the network's weights and, for some families,
# materials: here the list of pairs that the judge will use. That is all a solver gets. Which
# program labelled the training data is in the *key*, a file that stays with whoever made the
# challenge. (The practice key ships too, since you have to see it used. Do not open it yet.)
#
# **What the commitment proves.** It is a hash (SHA-256) over card and key; the card in turn holds
# the hashes of weights and materials. Whoever hands out the folder can therefore not change the
# program afterwards to make you wrong, and you cannot exchange the network for an easier one.
#
# **What you may do.** Anything with the network: ask it about every input, read and write every
# activation, take gradients. You may not look at the key, not even if you drew the challenge
# yourself.
#
# **Your budget is two hours.** Spend it like this, and stop when it is spent:
#
# | minutes | on | stop when |
# |---|---|---|
# | 25 | behaviour: pictures and tables of what it answers | you can say a rule aloud |
# | 20 | rivals and constants | nothing cheaper agrees as well |
# | 45 | inside: read-out, then swaps | each step has a place, or you know that it has none |
# | 20 | the file, and a first verdict | the judge runs it |
# | 10 | one correction | the time is up |
#
# Write down a probability before each look. Two hours of looking produce many plausible stories,
# and a failed prediction is the cheapest way to notice a wrong one.
#
# ## Behaviour first
#
# In this section you find the program from the network's answers alone. The network reads two
# numbers from 0 to 96 and gives class 0 or 1. There are 9,409 pairs, so you can ask for all of
# them. That is not cheating: the answers are what you have to explain. But do not fit a rule to the
# pairs that you then test it on: fit on the pairs that the network was trained on, `asked`, and
# make your claims on the others, `held`. Look at the picture of all answers before you read on.

# %%
table = challenge.predict(pairs.grid()).view(97, 97)  # [a, b]
figure, still = charts.heat({"class 0 white, class 1 blue": table}, x="b", y="a", upwards=True)
cuts = [(0, 16), (16, 32), (32, 48), (48, 64), (64, 80), (80, 97)]
blocks = {
    f"b {low}-{high - 1}": [table[a:z, low:high].double().mean().item() for a, z in cuts]
    for low, high in cuts
}
lab.figure(
    figure,
    fallback=still,
    alt="What the network answers for each a and b: large rectangular fields, white and blue, "
    "like a chess board of three by three fields of unequal size.",
    table={"a": [f"{a}-{z - 1}" for a, z in cuts], **blocks},
    digits=1,
)

# %% [markdown]
# You can probably say a rule after one look at the fields. Other challenges are harder, so do not
# stop at the first rule. Write down its rivals while they look possible, and let the numbers
# eliminate them.
#
# ### Exercise 14.1: agreement
#
# The share of the pairs on which a program says what the network says. `program` maps tokens
# `[n, 3]` to `[n]` numbers or booleans; `answers` is `[n]`, whole numbers.

# %% exercise="14.1" points=1 minutes=4 difficulty=1


def agreement(program, tokens: Tensor, answers: Tensor) -> float:
    """tokens: [n, 3]. answers: [n] of 0 and 1, the network's. Returns a share from 0 to 1."""
    ### BEGIN SOLUTION
    return (program(tokens).long() == answers).double().mean().item()
    ### END SOLUTION


lab.check("14.1", agreement)

# %%
answers = challenge.predict(held)


def middles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a and b lie in their middle fields, by eye."""
    return (x[:, 0] >= 24) & (x[:, 0] < 64), (x[:, 1] >= 32) & (x[:, 1] < 80)


rivals = {
    "a + b lies in a band": lambda x: (x[:, 0] + x[:, 1] >= 64) & (x[:, 0] + x[:, 1] < 128),
    "a and b differ by less than 30": lambda x: (x[:, 0] - x[:, 1]).abs() < 30,
    "at least one lies in the middle": lambda x: middles(x)[0] | middles(x)[1],
    "exactly one lies in the middle": lambda x: middles(x)[0] ^ middles(x)[1],
}


def of_held(share: float) -> Estimate:
    return Estimate.proportion(round(share * len(held)), len(held))


rows = [
    Row(name, of_held(lab.use("14.1", agreement, rival, held, answers, name=name)), "result")
    for name, rival in rivals.items()
]
largest = max((answers == c).double().mean().item() for c in (0, 1))
rows.append(Row("always the larger class", of_held(largest), "baseline"))
Report("Rivals on held-out pairs", rows, {"pairs": len(held)}, digits=2)

# %% [markdown]
# One rival is far ahead although its constants were guessed by eye. Only now is it worth fitting
# them.
#
# ### Exercise 14.2: fit the constants
#
# Find the edges. Given the table of answers `[97, 97]`, return the values of `a` at which a new
# field begins, where most of the cells differ from the row before. A network makes mistakes, so ask
# for more than half of the cells and not for all. The edges along `b` are then those of the
# transposed table.

# %% exercise="14.2" points=2 minutes=8 difficulty=2


def edges(table: Tensor) -> list[int]:
    """table: [97, 97] of 0 and 1, rows are a. Returns the first a of each new field, ascending."""
    ### BEGIN SOLUTION
    changed = (table[1:] != table[:-1]).double().mean(1)
    return ((changed > 0.5).nonzero()[:, 0] + 1).tolist()
    ### END SOLUTION


lab.check("14.2", edges)

# %%
across_a = lab.use("14.2", edges, table, name="a")
across_b = lab.use("14.2", edges, table.T, name="b")
print("fields begin at a =", across_a, "and at b =", across_b)


def column(x: Tensor) -> Tensor:
    return ((x[:, 0] >= across_a[0]) & (x[:, 0] < across_a[1])).long()


def row(x: Tensor) -> Tensor:
    return ((x[:, 1] >= across_b[0]) & (x[:, 1] < across_b[1])).long()


def program(x: Tensor) -> Tensor:
    return (column(x) != row(x)).long()


def one_off(x: Tensor) -> Tensor:
    """The same with the first edge one too high."""
    return ((x[:, 0] > across_a[0]) & (x[:, 0] < across_a[1])) ^ row(x).bool()


wrong = {
    "the program": int((program(held) != answers).sum()),
    "one edge off by one": int((one_off(held).long() != answers).sum()),
    "at least one lies in the middle": int((column(held) | row(held) != answers).sum()),
}
for name, count in wrong.items():
    print(f"{name}: wrong on {count} of {len(held)} held-out pairs")

# %% [markdown]
# The rest of the lesson needs names for the parts: *column* is 1 where `a` lies in its middle
# field, *row* is 1 where `b` does, and class 1 is where exactly one of them is 1.
#
# ## Bits
#
# This section measures how short an account is, because agreement is not enough. An edge that is
# off by one still agrees with the network on 99 % of the pairs, and a stored copy of the table
# would agree on all. So the judge measures your account with a two-part code: the program, then the
# inputs on which it is wrong. If both together take fewer bits than the table of labels, you have
# found something; a table in disguise saves nothing.
#
# With $n$ inputs, $k$ of them exceptions, and $C$ classes of which class $c$ has $n_c$ inputs:
#
# | part | bits |
# |---|---|
# | the exceptions | $\log_2(n+1) + \log_2\binom{n}{k} + k\log_2(C-1)$ |
# | the table | $\log_2 \frac{n!}{n_0!\,n_1!\cdots} + (C-1)\log_2(n+1)$ |
# | saved | $1 - \frac{\text{program} + \text{exceptions}}{\text{table}}$ |
#
# The first term of the exceptions says how many there are, the second which ones, the third what
# their labels are instead; with two classes that is known, and the term is zero. The table is coded
# as how many labels are 1, and then which arrangement of them it is.
#
# The program is measured on its text:
#
# | what stands in the program | bits |
# |---|---|
# | each node of its syntax tree (a call, a comparison, a name, an operator ...) | 6 |
# | each mention of a name | $\log_2$ of the number of different names, plus one |
# | each name of a library's or of Python's, once | 11 |
# | a whole number $k$ | $2\log_2(\lvert k\rvert+1)+2$ |
# | a decimal number | its digits and its exponent as two whole numbers |
# | `True`, `False`, `None` | 1 |
# | text | 8 a letter |
# | comments, layout, docstrings, imports, names of steps, whatever stands inside `Site(...)` | 0 |
#
# So 29 is cheaper than 29.0417, and a list of 9,409 labels costs six bits for each entry before you
# even say what the entry is. In a notebook a captured tensor of $m$ entries with $d$ different
# values costs $m\log_2 d$ bits and those values. Places are free, because the judge tests them in
# other ways.
#
# ### Exercise 14.3: what the exceptions cost
#
# For two classes. `math.comb` and `math.log2` do it; whole numbers of any size are fine for both.

# %% exercise="14.3" points=2 minutes=6 difficulty=2


def exception_bits(k: int, n: int) -> float:
    """Bits to say which k of n inputs are exceptions, k included. Two classes."""
    ### BEGIN SOLUTION
    return math.log2(n + 1) + math.log2(math.comb(n, k))
    ### END SOLUTION


lab.check("14.3", exception_bits)

# %% [markdown]
# ### Exercise 14.4: what the table costs
#
# For two classes again, from the labels themselves.

# %% exercise="14.4" points=2 minutes=5 difficulty=2


def table_bits(labels: Tensor) -> float:
    """labels: [n] of 0 and 1. Returns the bits that listing all of them takes."""
    ### BEGIN SOLUTION
    n, ones = len(labels), int(labels.sum())
    return math.log2(n + 1) + math.log2(math.comb(n, ones))
    ### END SOLUTION


lab.check("14.4", table_bits)

# %%
whole = lab.use("14.4", table_bits, answers)
print(f"the table of {len(held)} labels: {whole:.0f} bits")
for name, count in wrong.items():
    bits = lab.use("14.3", exception_bits, count, len(held), name=name)
    print(f"{name}: {count} exceptions, {bits:.0f} bits")

# %% [markdown]
# Twenty-three exceptions cost more than two hundred bits, and a right edge costs about eleven: the
# code rewards real precision.
#
# ## Inside: where are the steps held?
#
# You know the program; in this section you find out how the network computes it. The network has
# one layer: four attention heads, then one block of neurons (the multi-layer perceptron, MLP). The
# answer is read at the third token, "=", position 2. Position 0 holds `a`, position 1 holds `b`,
# and only the heads carry anything from there to "=". Ask first how much the heads' attention
# depends on the numbers.

# %%
pattern = Site("blocks.0.attn.hook_pattern", position=2).read(model, asked)  # [n, head, key]
print('attention from "=":   to a   to b   to "="   largest standard deviation')
for head in range(4):
    mean, spread = pattern[:, head].mean(0).tolist(), pattern[:, head].std(0).max().item()
    cells = "     ".join(f"{m:.1f}" for m in mean)
    print(f"head {head}, mean           {cells}      {spread:.2f}")

# %% [markdown]
# It hardly does. The heads look at all three tokens with nearly fixed weights, whatever the numbers
# are. So what arrives at "=" is close to a *sum*: something from `a` plus something from `b`.
#
# The obvious account is: column in one direction, row in another, and the MLP combines them. To
# find a direction for a bit, take the difference between the mean activation where it is 1 and
# where it is 0, scaled to length 1. Two digits of it are enough, and fit into a file.

# %%
HEADS, MLP, EMBEDDED = "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_pre"


def unit(values: Tensor) -> Tensor:
    values = values.double()
    return (values / values.norm()).float()


def direction(hook: str, position: int, bit: Tensor) -> Tensor:
    """[64], from the pairs the network was trained on."""
    values = Site(hook, position=position).read(model, asked)
    difference = values[bit == 1].mean(0) - values[bit == 0].mean(0)
    return unit((difference / difference.norm()).double().round(decimals=2))


# %% [markdown]
# Predict before you run. How probable is it that the two directions at "=" are more or less
# independent: a cosine between -0.5 and 0.5?

# %%
### BEGIN SOLUTION
probability = 0.75
### STUB
# probability = ...
### END SOLUTION
lab.predict("14.P", "column and row lie in different directions at '='", probability)

# %%
of_column = direction(HEADS, 2, column(asked))
of_row = direction(HEADS, 2, row(asked))
cosine = (of_column @ of_row).item()
print(f"cosine between the two directions: {cosine:.2f}")
lab.outcome("14.P", abs(cosine) < 0.5)

# %% [markdown]
# They are the same direction. (The sign is drawn by training: had it come out as -1, the network
# would subtract where this one adds.) This network does not hold two bits at "="; both numbers push
# along one line. The next figure shows where the pairs lie on that line, by their two bits, and
# beside it the control: a random direction at the same place. Count the peaks on the left.

# %%
both = unit((of_column + of_row).double().round(decimals=2))
random = unit(torch.randn(64, generator=torch.Generator().manual_seed(0)))
groups = {
    "neither": (column(held) == 0) & (row(held) == 0),
    "column only": (column(held) == 1) & (row(held) == 0),
    "row only": (column(held) == 0) & (row(held) == 1),
    "both": (column(held) == 1) & (row(held) == 1),
}
figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.8), sharey=True)
shown: dict[str, list] = {"group": list(groups)}
colours = (plots.BLUE, plots.VERMILION, plots.GREEN, plots.PURPLE)
styles = ("-", "--", ":", "-.")
for axis, (title, line) in zip(
    axes, {"the shared direction": both, "a random direction": random}.items(), strict=True
):
    along = Site(HEADS, position=2, basis=line[:, None]).read(model, held)[:, 0]
    for members, colour, style in zip(groups.values(), colours, styles, strict=True):
        _ = axis.hist(along[members].numpy(), bins=60, range=(-0.5, 0.5), histtype="step",
                      color=colour, linestyle=style, linewidth=1.6)  # fmt: skip
    shown[f"mean, {title}"] = [
        round(along[members].mean().item(), 1) + 0.0 for members in groups.values()
    ]
    _ = axis.set(title=title, xlabel="coordinate at '='")
_ = axes[0].set_ylabel("pairs")
spots = ((-0.31, 700), (0.0, 470), (0.0, 390), (0.43, 500))
for spot, colour, text, side in zip(
    spots, colours, groups, ("left", "right", "right", "center"), strict=True
):
    _ = axes[0].annotate(text, spot, color=colour, ha=side)
_ = axes[1].annotate("all four", (0.06, 700), color=plots.GREY)
lab.figure(
    figure,
    alt="Left: three narrow peaks; column-only and row-only share the middle one. Right: all four "
    "groups in one narrow heap at zero.",
    table=shown,
    digits=1,
)

# %% [markdown]
# There are three peaks, not four: neither, one of the two, both. "Column only" and "row only" lie
# at the same point. The network *counts*, and the MLP asks whether the count is 1. That is a
# different mechanism from the obvious one, for the same program; no table of answers could have
# told them apart. Next comes a read-out: how often does a cut halfway between two means give the
# right bit?


# %%
def readout(line: Tensor, bit) -> Estimate:
    """Accuracy on held-out pairs of a cut fitted on the others. bit: tokens -> [n]."""
    site = Site(HEADS, position=2, basis=line[:, None])
    known, truth = site.read(model, asked)[:, 0], bit(asked).long()
    high, low = known[truth == 1].mean(), known[truth == 0].mean()
    says = (site.read(model, held)[:, 0] - (high + low) / 2) * (high - low) > 0
    return of_held((says.long() == bit(held).long()).double().mean().item())


def is_two(x: Tensor) -> Tensor:
    return column(x) * row(x)


commoner = max((column(held) == c).double().mean().item() for c in (0, 1))
Report(
    "Read-out at '='",
    [
        Row("column, from its own direction", readout(of_column, column), "result"),
        Row("row, from its own direction", readout(of_row, row), "result"),
        Row("count is 2, shared direction", readout(both, is_two), "result"),
        Row("count is 2, random direction", readout(random, is_two), "null"),
        Row("always the commoner value of column", of_held(commoner), "baseline"),
    ],
    {"pairs": len(held)},
    digits=2,
)

# %% [markdown]
# A bit can be read from the line in about three cases of four, which is as much as a count says
# about its summands. The count can be read without an error, but so it can from a random direction,
# the null. What the heads write is nearly one-dimensional, so every direction holds a faint copy of
# it, as in the right panel, and a read-out does not depend on its size. **A read-out says what can
# be read from a place, not what the network uses.** Swaps decide between places.
#
# ### Exercise 14.5: name the site
#
# The claim needs a place that the network itself uses. Name it: a `Site` for the count, at one
# hook, one position, one direction. The hooks in question are `"blocks.0.hook_resid_pre"` (what
# enters the layer, at each position), `"blocks.0.hook_attn_out"` (the sum that the heads write) and
# `"blocks.0.hook_mlp_out"`. The direction is `both`, `[64]`; a basis is a matrix `[64, 1]`.

# %% exercise="14.5" points=2 minutes=6 difficulty=2
### BEGIN SOLUTION
count_site = Site("blocks.0.hook_attn_out", position=2, basis=both[:, None])
### STUB
# count_site = ...
### END SOLUTION
lab.check("14.5", count_site)

# %% [markdown]
# ### Exercise 14.6: what must the answer become?
#
# For a swap, take a pair and a *donor*, which is another pair. Give one step the value that it has
# for the donor, and leave everything else alone. Your program says what the answer must become, and
# you see whether the network agrees. Write what the program says: labels `[n]` when the step named
# `swapped` ("column", "row" or "count") takes the donor's value. `column` and `row` from above are
# yours to use.

# %% exercise="14.6" points=3 minutes=10 difficulty=3


def counterfactual(tokens: Tensor, donors: Tensor, swapped: str) -> Tensor:
    """tokens, donors: [n, 3]. Returns [n] int64, the labels with the donor's value in one step."""
    ### BEGIN SOLUTION
    columns = column(donors if swapped in ("column", "count") else tokens)
    rows = row(donors if swapped in ("row", "count") else tokens)
    return (columns + rows == 1).long()
    ### END SOLUTION


lab.check("14.6", counterfactual)

# %%
sites = {
    "column": Site(EMBEDDED, position=0, basis=direction(EMBEDDED, 0, column(asked))[:, None]),
    "row": Site(EMBEDDED, position=1, basis=direction(EMBEDDED, 1, row(asked))[:, None]),
    "count": Site(HEADS, position=2, basis=both[:, None]),
}
donors = held[torch.randperm(len(held), generator=torch.Generator().manual_seed(1))]
rows = []
for name, site in sites.items():
    wanted = lab.use("14.6", counterfactual, held, donors, name, name=name)
    elsewhere = Site(site.hook, position=site.position, basis=random[:, None])
    change = wanted != answers  # where nothing should change, staying is easy
    for place, role, label in ((site, "result", name), (elsewhere, "null", f"{name}, random")):
        output = place.write(model, held, place.read(model, donors), allow_unchanged=True)
        follows = (challenge.read(output).argmax(-1) == wanted)[change]
        estimate = Estimate.proportion(int(follows.sum()), len(follows))
        rows.append(Row(f"{label} direction", estimate, role))
Report("Answers that change as predicted", rows, {"donor": "a random other pair"}, digits=2)

# %% [markdown]
# One direction of the embedding of `a` is enough to move the column, one of `b` the row, one of
# what the heads write the count. Random directions of the same size move nothing.
#
# ## Write it down
#
# In this section you write your account as a file that the judge can run. An explanation is a list
# of steps. A step has a name, a function of the tokens or of earlier steps, and, where you claim to
# know it, a site:
#
#     Step("name", lambda x: ..., site=PLACE)                    reads the tokens [n, 3]
#     Step("name", lambda p, q: ..., ("one", "two"), site=PLACE)  reads two earlier steps
#
# The last step is the answer and has no site. One rule of a transformer matters: a placed step must
# be able to *reach* the one that reads it. What the heads write goes through the MLP, so the chain
# needs a step there; otherwise the judge resamples the MLP as unimportant, and nothing is left.
# Here "odd" (is the count 1?) stands at what the MLP writes.
#
# `written` turns a Site into text. Here are the four places, each as Python:

# %%
sites["odd"] = Site(MLP, position=2, basis=direction(MLP, 2, program(asked))[:, None])
places = "\n".join(
    textwrap.fill(f"{name.upper()} = {written(site, 2)}", 96, subsequent_indent="    ",
                  break_long_words=False)
    for name, site in sites.items()
)  # fmt: skip
head = f"""import torch

from utils.challenges.explanation import Explanation, Step
from utils.sites import Site

{places}
"""


def short(text: str) -> str:
    """For printing: a direction's 64 numbers left out."""
    return re.sub(r"\[\[.*?\]\]", "[[64 numbers]]", text, flags=re.DOTALL)


print(short(head))

# %% [markdown]
# ### Exercise 14.7: write the steps
#
# The rest of the file, as a text between `"""` and `"""`: `explanation = Explanation([...])` with
# the steps "column", "row", "count", "odd" and "label", the first four placed at `COLUMN`, `ROW`,
# `COUNT` and `ODD`. Put the edges in as numbers, since the file is all that the judge will see. A
# later step may read the step before it and nothing further back. Beware that `True + True`, in
# tensors of booleans, is `True`.

# %% exercise="14.7" points=4 minutes=12 difficulty=3
### BEGIN SOLUTION
body = """
explanation = Explanation([
    Step("column", lambda x: (x[:, 0] >= 21) & (x[:, 0] < 65), site=COLUMN),
    Step("row", lambda x: (x[:, 1] >= 34) & (x[:, 1] < 78), site=ROW),
    Step("count", lambda c, r: c.long() + r.long(), ("column", "row"), site=COUNT),
    Step("odd", lambda k: k == 1, ("count",), site=ODD),
    Step("label", lambda o: o, ("odd",)),
])
"""
### STUB
# body = ...
### END SOLUTION
lab.check("14.7", body)

# %%
from utils.challenges.bits import exception_bits as bits_of_exceptions  # the judge's own

file = Path(tempfile.mkdtemp()) / "mine.py"
_ = file.write_text(head + lab.use("14.7", body))
print(short(file.read_text()))
cost, _ = text_bits(file.read_text())
room = max(k for k in range(300) if cost + bits_of_exceptions(k, len(held)) <= 0.7 * whole)
print(f"the file takes {cost:.0f} bits; at most {room} exceptions would leave 30 % saved")

# %% [markdown]
# ## What the judge measures
#
# This section lists the judge's four measurements and the rules for a verdict. A rule looks at one
# number, and takes the worse end of its interval, so that no claim passes by luck.

# %%
from utils.challenges.verdicts import RULES

for level in ("program", "program and mechanism"):
    print(f"{level}:")
    for rule in RULES:
        if rule.level == level:
            print(f"  {rule.least:>4g} or more  {rule.measure}\n               ({rule.why})")

# %% [markdown]
# Which measurement each number comes from:
#
# | measurement | what is done | rules |
# |---|---|---|
# | **program** | steps run on held-out inputs, compared with the network | agreement |
# | **bits** | the two-part code of this lesson | share of bits saved |
# | **sufficiency** | all that the account calls free is resampled | recovered above ... (two) |
# | **necessity** | one step's site takes a donor's value | worst step; above nulls; stay |
# | *strength* | how much was really resampled | steps placed; share of variance |
#
# Resampling is causal scrubbing; the donors of the swaps are drawn after your file is fixed, from
# its hash. "More than the label can do" compares with an account in which every step is replaced by
# the answer. A verdict of `program` needs the first two rules; `program and mechanism` needs all.
# There are two more verdicts: `labels only`, and `not recoverable (supported)` for an account that
# gives part of the inputs up and is right to. The last needs the key, and is not part of this
# lesson.
#
# ### Exercise 14.8: read a verdict
#
# `verdict.findings` is a list: each finding has `rule` (with `level`, `measure`, `least`), `value`,
# which is `None` where nothing could be measured, and `met`. Return the measures of the rules of
# one level that are not met.

# %% exercise="14.8" points=1 minutes=4 difficulty=1


def unmet(findings, level: str) -> list[str]:
    """The `measure` of every rule of `level` that is not met, in their order."""
    ### BEGIN SOLUTION
    return [f.rule.measure for f in findings if f.rule.level == level and not f.met]
    ### END SOLUTION


lab.check("14.8", unmet)

# %% [markdown]
# Now the file goes to the judge. It runs in a process of its own, with limits of time and memory,
# and never touches the network; in a terminal this is `python -m utils challenge judge`. State a
# probability first. A direction rounded to two digits, an attention pattern that is not quite
# fixed, or a step that is held elsewhere as well could still spoil it.

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
lab.predict("14.Q", "the file gets 'program and mechanism'", probability)

# %%
from utils.challenges.judge import judge

with submitted(file, challenge.given) as explanation:
    verdict = judge(challenge, explanation, references=1100)
print("VERDICT:", verdict.verdict)
lab.outcome("14.Q", verdict.verdict == "program and mechanism")

scrubbed, swaps = verdict.sufficiency.report, verdict.necessity
evidence = [
    ("agreement with the network", verdict.program["program = network"], "result"),
    ("always the larger class", verdict.program["always the larger class"], "baseline"),
    ("share of bits saved", Estimate.exact(verdict.bits.saved), "result"),
    ("loss recovered by resampling along it", scrubbed["loss recovered"], "result"),
    ("the same, random classes", scrubbed["recovered, random classes"], "null"),
    ("the same, at random sites", verdict.random_sites, "null"),
    ("the same, the label in every step", scrubbed["recovered, label only"], "null"),
    ("the same, named parts exact", scrubbed["recovered, named parts exact"], "ceiling"),
    ("answers that change as predicted", swaps["any step, should change"], "result"),
    ("the same, random sites", swaps["any step, should change, random site"], "null"),
    ("the same, another donor's values", swaps["any step, should change, shuffled source"], "null"),
    ("answers that stay as predicted", swaps["any step, should stay"], "result"),
]
Report(
    "The practice challenge in twelve rows",
    [Row(name, estimate, role) for name, estimate, role in evidence],
    {"inputs": len(held)},
    digits=2,
)

# %% [markdown]
# Look at the second null of the swaps. With values from *another* donor than the one the prediction
# is about, the answer is still right half of the time, because there are two classes. So a swap
# score of 0.6 would mean little.
#
# ## Try to cheat
#
# Before you trust the judge, try to fool it; this section does so with four cheats. With them goes
# the obvious account from above, which is not a cheat but a mistake: column and row in two
# directions at "=". All five have the right program, so all agree with the network on every pair.

# %%
from utils.challenges.explanation import Explanation, Step

COLUMN, ROW, COUNT, ODD = (sites[name] for name in ("column", "row", "count", "odd"))


def last(name: str, function, *reads: str) -> list[Step]:
    """The step at the MLP, and the label."""
    return [Step(name, function, reads, site=ODD), Step("label", lambda o: o, (name,))]


def chain(first: Site, second: Site) -> Explanation:
    return Explanation(
        [
            Step("column", column, site=first),
            Step("row", row, site=second),
            Step("count", lambda c, r: c + r, ("column", "row"), site=COUNT),
            *last("odd", lambda k: k == 1, "count"),
        ]
    )


left_over = unit(of_row.double() - (of_row.double() @ of_column.double()) * of_column.double())
left_over = unit(left_over.double() - (left_over.double() @ of_column.double()) * of_column)
gallery = {
    "lookup table": Explanation([Step("label", lambda x: table[x[:, 0], x[:, 1]])]),
    "the label in every step": Explanation(
        [Step("count", program, site=COUNT), *last("odd", lambda k: k, "count")]
    ),
    "sites exchanged": chain(ROW, COLUMN),
    "everything held exact": Explanation(
        [
            Step("a", lambda x: x[:, 0], site=Site(EMBEDDED, position=0)),
            Step("b", lambda x: x[:, 1], site=Site(EMBEDDED, position=1)),
            Step("pair", lambda a, b: torch.stack([a, b], 1), ("a", "b"),
                 site=Site(HEADS, position=2)),
            Step("odd", program, ("pair",), site=Site(MLP, position=2)),
            Step("label", lambda o: o, ("odd",)),
        ]
    ),
    "two bits in two directions": Explanation(
        [
            Step("column", column, site=Site(HEADS, position=2, basis=of_column[:, None])),
            Step("row", row, site=Site(HEADS, position=2, basis=left_over[:, None])),
            *last("odd", lambda c, r: c != r, "column", "row"),
        ]
    ),
}  # fmt: skip

tried = {}
for name, account in gallery.items():
    tried[name] = judge(challenge, account, references=300, resamples=2)
    agrees = tried[name].program["program = network"].value
    print(f"{name}: {tried[name].verdict} (agreement {agrees:.2f})")
    level = "program and mechanism" if tried[name].verdict == "program" else "program"
    for measure in lab.use("14.8", unmet, tried[name].findings, level, name=name):
        print(f"    not met: {measure}")

# %% [markdown]
# For each of them one number gives it away:

# %%
free = [("the file", verdict), *((n, v) for n, v in tried.items() if v.sufficiency is not None)]
bits = tried["lookup table"].bits
print(f"lookup table: {bits.program:.0f} bits to replace {bits.table:.0f}")
print(f"{'loss recovered':>44} {'random classes':>15} {'random sites':>13}")
for name, one in free:
    rows = one.sufficiency.report
    numbers = (rows["loss recovered"], rows["recovered, random classes"], one.random_sites)
    cells = [f"{round(e.value, 1) + 0.0:.1f}" for e in numbers]
    print(f"{name:>28} {cells[0]:>15} {cells[1]:>15} {cells[2]:>13}")

# %% [markdown]
# - **The lookup table** agrees with everything and saves nothing. Its verdict is `labels only`.
# - **The label in every step** recovers all of the loss, since a network fed from an input of the
#   same label gives the same label. It divides nothing up: no step says more than the answer.
# - **Exchanged sites** leave the program as it was and lose the resampling: half of the steps say
#   the wrong thing about their place.
# - **Everything held exact** recovers all and swaps perfectly. Random sites do so too: a Site that
#   is everything at its place has no other like it, so its null is the claim itself. That is why
#   your file names directions.
# - **Two bits in two directions** (the second is what is left of row's direction beside column's)
#   is what one writes from habit. The program is right, but this mechanism is not in the network.
#
# The last one is the control of this lesson: same program, same network, same judge. It differs
# only in what it says about the inside.
#
# You may meet one special case. If changing a step *always* changes the answer, as with one of two
# bits whose exclusive or is the label, there is no answer that should stay. The rule about answers
# that stay is then left out. For every other rule "could not be measured" counts as not met.
#
# ## Open the seal
#
# Now you open the key and compare its program with yours. `reveal` checks four things: that key and
# card give the commitment, that weights and materials have the hashes on the card, that nothing was
# rewritten, and that the network really follows the program which the key names.

# %%
opened = seal.reveal(folder, key)
print(textwrap.fill(opened.sentence, 90))
print(f"commitment {opened.commitment[:16]}..., network right on {opened.accuracy:.3f} held-out")

# %% [markdown]
# Compare that sentence with your program. `floor((a + 23) / 44)` goes up by one at a = 21 and a =
# 65, so the two are the same program in different words. The maker numbered the fields and asked
# for an odd sum; the network has no floors and no field numbers.
#
# What happens if one byte is changed, in any file?

# %%
for victim in ("weights.safetensors", "materials.safetensors", "card.json", "practice.key.json"):
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "practice"
        _ = shutil.copytree(folder, copy)
        copied_key = Path(shutil.copy(key, place))
        target = copied_key if victim == copied_key.name else copy / victim
        content = bytearray(target.read_bytes())
        spot = content.index(b"44") if victim.endswith("key.json") else len(content) // 2
        content[spot] = content[spot] ^ 1
        _ = target.write_bytes(content)
        try:
            seal.reveal(copy, copied_key)
            print(f"{victim}: opened")
        except SealError as error:
            print(f"{victim}: refused ({type(error).__name__})")

# %% [markdown]
# The seal does not prove that the seed was hard to guess. This one was made with `--seed 34`, and
# anyone who tries small seeds finds the program in a second. For a real challenge leave the seed
# out.
#
# ## Now yours
#
# This section is the reference for a challenge of your own. In a terminal, in the folder of the
# course, draw one (the training takes a minute or two and shows its progress):
#
#     python -m utils challenge new --family pairs --out mine
#
# Families are `pairs` (like this one; two numbers, the quickest), `sequence` (short strings, two
# layers) and `cnn` (images, like lesson 02). `--difficulty` goes from 1 to 5, 3 if you say nothing.
# `mine` is the folder with the network, and `mine.key.json` beside it is the key: do not open it,
# and give it to somebody if you can. Then start a notebook of your own in the course's folder:
#
#     import torch
#     from utils.challenges import seal
#     from utils.sites import Site, hook_shapes
#
#     challenge = seal.load("mine")
#     model = challenge.model
#     print(challenge.card["data"])                # what the inputs are
#     held = challenge.draw(3000, seed=0).inputs   # held-out inputs, for claims
#     answers = challenge.predict(held)            # what the network says, [n]
#     print(hook_shapes(model, held[:2]))          # the hooks that a Site may name
#
# These are the inputs to fit on, in place of this lesson's `asked`:
#
#     from utils.challenges.families import pairs                     # pairs: all but the held
#     grid = pairs.grid()
#     known = torch.isin(grid[:, 0] * 97 + grid[:, 1], held[:, 0] * 97 + held[:, 1])
#     asked = grid[~known]
#     asked = challenge.draw(6000, seed=0).inputs[3000:]               # sequences: the other half
#     asked = utils.data.digits.make("train", 5000, seed=1).images     # images (import it first)
#
# The cells of this lesson that define `edges`, `unit` and `direction` can be copied as they are.
# One direction may not be enough, since a number takes more room than a bit. Then claim a few, as
# few as the swaps allow; the directions of most variance are a start:
#
#     def plane(hook, position, k):                                   # [width, k]
#         values = Site(hook, position=position).read(model, asked).double()
#         values = values - values.mean(0)
#         return torch.linalg.svd(values, full_matrices=False)[2][:k].T.float().contiguous()
#
# A challenge drawn to try these instructions turned out to be a product compared with a band. With
# one direction for each step it got `program`; with three or four, `program and mechanism`.
#
# `challenge.given` holds what else was handed out; your file finds it as `given["name"]`. Positions
# of the answer: 2 for pairs, 0 (START) for sequences; a CNN answers once an image. Which class is
# called 1 is drawn too.
#
# A first file need not claim a mechanism. Two lines get the verdict `program` if they are right:
#
#     from utils.challenges.explanation import Explanation, Step
#     explanation = Explanation([Step("label", lambda x: x[:, 0] + x[:, 1] > 96)])
#
# With places, start from this lesson's file; `print(written(site, 2))` gives the text of each.
# Then:
#
#     python -m utils challenge judge mine --explanation mine.py
#     python -m utils challenge reveal mine --key mine.key.json
#
# **Checklist before you submit**
#
# - The file runs alone: all constants are in it, nothing is read from a notebook.
# - It imports `torch` (and `math`), `Explanation`, `Step`, `Site`, and nothing else.
# - Each step judges a row by itself: no means over the batch, no random numbers.
# - Numbers are as short as you mean them.
# - The last step gives whole numbers or booleans and has no site.
# - Two steps at least are placed, and say more than the answer does. They are directions, neurons
#   or channels rather than whole places.
# - In a transformer the chain goes on to the end: something placed at the MLP (of the last layer),
#   which reads what stands before it, and no step in between reads past that. In a CNN steps at one
#   hook, say `hook_fc1`, suffice.
# - You wrote down a probability for the verdict.
#
# If you do not find a mechanism, submit the program, and say what you tried. That is an honest
# result: nobody has checked that every network drawn here has a mechanism of this kind.
#
# **For a class.** One secret for the course, and one command for each learner:
#
#     python -c "import secrets; print(secrets.token_hex(32))" > course.secret
#     python -m utils challenge new --family pairs --difficulty 3 --learner ada \
#         --course-key course.secret --out for-ada --key keys/ada.key.json
#
# The seed is an HMAC of the course key and the learner's id: different for everybody, the same when
# you run it again, and not to be guessed without the secret. Family and difficulty are yours to
# choose, so they are equal for all. Equal *difficulty* means templates from the same list and
# constants from the same ranges; the challenges still differ, so a fair mark also looks at what was
# tried. Hand out `for-ada`, keep the rest. With `--key keys/ada.key.json`, `challenge judge`
# compares with the secret labels as well.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **Another seed.** One network counts in one direction. Two more boards were drawn while this
#   lesson was written: one adds as well, the other *subtracts* row from column, also in one
#   direction, and steps with a minus sign got the same verdict with less recovered. Three networks
#   are not many. One with two directions would show that the mechanism is one of several.
# - **A finer account.** The three peaks have a width, so something beyond the count arrives at "=".
#   An account that says what, and recovers more, would replace ours. There is hardly room, since
#   the recovered loss is at its ceiling.
# - **A cheat that works.** If you find an explanation that gets `program and mechanism` and
#   explains nothing, the rules are wrong.
# - **Other inputs.** For images and strings every claim is about the distribution they were drawn
#   from.
#
# ## Where this comes from
#
# Stephen Casper's "EIS VII: A Challenge for Mechanists" (2023) is the model of the sealed
# challenge. The two-part code is Rissanen's, "Modeling by shortest data description" (1978).
# Resampling along a hypothesis is from "Causal Scrubbing" (Chan and others, 2022), swaps that a
# program predicts from "Causal Abstractions of Neural Networks" (Geiger and others, 2021). The
# nulls for both, the rules, the seal and the drawing of programs are this course's own.
#
# **Next.** Draw a challenge of your own, and take the two hours. Then take a network that nobody
# here knows: `docs/bring_your_own_model.md` puts these tools on one from Hugging Face.
