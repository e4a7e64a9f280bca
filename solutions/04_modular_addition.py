# ---
# jupyter:
#   lesson:
#     id: "04"
#     title: "A program found whole: modular addition"
#     minutes: 85
#     difficulty: 4
#     prerequisites: ["01", "02"]
#     objectives:
#       - "find the frequencies a network adds with, and tell them from chance"
#       - "swap one number inside a subspace and compare with random subspaces of the same size"
#       - "follow a sum of two points on a circle through a layer of ReLU neurons"
#       - "write a whole algorithm as steps, each with its place, and have every step tested"
#     signature: >-
#       the algorithm, resampled at every step, keeps every answer of the network; control: the same
#       network before it generalised, where the same tests keep next to none
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · A program found whole: modular addition
#
# Most explanations of networks are partial: a head here, a direction there. This network is small
# enough to be explained completely. It adds two numbers on a clock with 113 hours, and training
# alone taught it how. You will find its algorithm, write it down as steps, give each step its place
# in the network, and test each. After it you can
#
# - find the frequencies a network computes with, and tell them from chance;
# - swap one number inside a subspace, and say what random subspaces of that size would have done;
# - follow a sum of two points on a circle through a layer of neurons;
# - write an algorithm as steps that a machine can test, and know when it is *not* the whole story.
#
# You need lesson 01 (reading and writing a `Site`) and lesson 02 (donors, nulls, ceilings). The
# mathematics is no more than cos(x + y) written out.

# %%
from utils.lessons import lab

lab = lab("04")

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from utils import plots
from utils.challenges import modular as addition
from utils.challenges.explanation import Explanation
from utils.challenges.judge import judge
from utils.reports import Estimate, Report, Row
from utils.scrubbing import Step, TransformerGraph, scrub, text_tree, treeify
from utils.sites import Site

model, early, data = lab.model.final, lab.model.early, lab.data
tokens, answer, trained = data.tokens, data.answer, data.trained
P = 113


def logits_of(network: nn.Module, rows: Tensor) -> Tensor:
    """Logits at the last position, the one of "=": [n, 113]."""
    with torch.no_grad():
        return torch.cat([network(part)[:, -1] for part in rows.split(4000)])


said = {"final": logits_of(model, tokens), "early": logits_of(early, tokens)}
print("tokens", tuple(tokens.shape), "| the first rows", tokens[:3].tolist())
for name, logits in said.items():
    right = (logits.argmax(-1) == answer).double()
    print(f"{name}: right on training pairs {right[trained].mean():.2f},", end=" ")
    print(f"on held-out pairs {right[~trained].mean():.2f}")

# %% [markdown]
# ## 1 · The task, and a trap in the split
#
# This section tells you what the network does and what can go wrong in splitting the data. A row is
# three tokens, `a`, `b` and `=` (number 113). At the last position the network answers with (a + b)
# mod 113. One layer: attention with one head, then a multi-layer perceptron (MLP) of 256 ReLU
# neurons. There are 113 x 113 = 12,769 rows, and you have them all.
#
# `early` and `model` are *one* training run, looked at after 300 steps and after 1,500. At 300 it
# was perfect on what it had seen and useless on everything else: it had learned the table by heart.
# Somewhere in the 1,200 steps between, it began to add. This late jump on held-out data is called
# *grokking*. It gives you a rare control, with the same architecture, data and initial weights, and
# without the algorithm. Whatever you claim about `model` ought to fail on `early`.
#
# This network was built with one simplification: its queries and keys are 0, where they have no
# gradient, so they stay 0. Attention then always looks at all three positions alike. What follows
# for the inputs?

# %%
pattern = Site("blocks.0.attn.hook_pattern", position=-1).read(model, tokens)
mirrored = logits_of(model, tokens[:, [1, 0, 2]])
print(f"attention of the last position: from {pattern.min():.3f} to {pattern.max():.3f}")
print(f"(a, b) against (b, a), largest difference: {(mirrored - said['final']).abs().max():.2f}")

half = torch.rand(len(tokens), generator=torch.Generator().manual_seed(0)) < 0.5  # a naive split
table = half.reshape(P, P)
leak = table.T[~table].double().mean()  # pairs held out, with their mirror image trained on
print(f"splitting at random, {leak:.2f} of the held-out pairs would have been seen the other way")

# %% [markdown]
# The network cannot tell (a, b) from (b, a). Split the 12,769 rows at random, as is usual, and half
# of your "held-out" pairs are training pairs in disguise, which a network that only remembers gets
# right. So the split here was made over *unordered* pairs. No score would have warned you.
#
# The last position thus receives a plain sum: a vector for `a`, plus one for `b` from the same
# table, plus a constant. Call these vectors the *contributions* of the numbers: 113 vectors of
# length 128. All that the network knows about its input is the sum of two of them.
#
# ## 2 · Circles
#
# Here you find out how the network encodes a number. Think how you would do it, if you had to add
# modulo 113 and could only add vectors. A good first question about 113 vectors in a row is whether
# they change with the number in a *periodic* way. Frequency `f` means going round `f` times while
# the number runs from 0 to 112: cos(2 pi f n / 113) and sin(2 pi f n / 113). Frequencies 1 to 56,
# with cosine and sine, describe any function of 113 numbers apart from its mean.
#
# ### Exercise 4.1: Fourier power
#
# Say which share of the variance lies at each frequency. `torch.fft.rfft(values, dim=0)` gives, for
# frequency 0, 1, 2 ... a complex number per column; its squared size is the power of cosine and
# sine together. Frequency 0 is the mean, which is no variance.


# %% exercise="4.1" points=3 minutes=8 difficulty=2
def fourier_power(values: Tensor) -> Tensor:
    """Share of the variance at each frequency; the shares add up to 1.

    values: [p, width], row n belongs to number n; p is odd.
    Returns [(p - 1) / 2]: place 0 is frequency 1.
    """
    ### BEGIN SOLUTION
    power = torch.fft.rfft(values, dim=0)[1:].abs().pow(2).sum(1)
    return power / power.sum()
    ### END SOLUTION


lab.check("4.1", fourier_power)

# %%
parts = {"final": addition.contributions(model), "early": addition.contributions(early)}
shares = {
    name: lab.use("4.1", lambda v: fourier_power(v).double(), values, name=name)
    for name, values in parts.items()
}
for name, share in shares.items():
    best = share.argsort(descending=True)[:7]
    print(f"{name}:", ", ".join(f"{f + 1} holds {share[f]:.3f}" for f in best.tolist()))

# %% [markdown]
# In the final network four of 56 frequencies hold nearly everything. But any 113 vectors have a
# strongest frequency. How strong would it be by chance? For a null, give every number the vector of
# another number. That changes nothing but the order of the vectors, and order is all that a
# frequency is about.
#
# ### Exercise 4.2: what no shuffle reaches
#
# Return the frequencies whose share is larger than the largest share that *any* frequency reaches
# in *any* of the shuffles. (You look at 56 frequencies and take the best, so the null must be
# allowed to do the same.) `orders` holds the shuffles, `power` is the function you have just
# written.


# %% exercise="4.2" points=4 minutes=8 difficulty=2
def above_null(values: Tensor, orders: Tensor, power) -> list[int]:
    """The frequencies that beat every shuffle, strongest first, as numbers from 1.

    values: [p, width]. orders: [shuffles, p], each row the numbers 0 ... p - 1 in random order.
    power: [p, width] -> [(p - 1) / 2], as in exercise 4.1.
    """
    ### BEGIN SOLUTION
    null = max(power(values[order]).max() for order in orders)
    share = power(values)
    return [f + 1 for f in share.argsort(descending=True).tolist() if share[f] > null]
    ### END SOLUTION


lab.check("4.2", above_null)

# %%
generator = torch.Generator().manual_seed(0)
orders = torch.stack([torch.randperm(P, generator=generator) for _ in range(20)])
keys = {
    name: lab.use("4.2", lambda v: above_null(v, orders, addition.power), values, name=name)
    for name, values in parts.items()
}
nulls = {n: max(addition.power(v[o]).max().item() for o in orders) for n, v in parts.items()}
frequencies = keys["final"]

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for axis, name in zip(axes, shares, strict=True):
    _ = axis.bar(range(1, 57), shares[name].tolist(), color=plots.BLUE)
    _ = axis.axhline(nulls[name], color=plots.VERMILION, linestyle="--")
    _ = axis.annotate("best of\nany shuffle", (41, nulls[name] + 0.01), color=plots.VERMILION)
    _ = axis.set(title=f"{name} network", xlabel="frequency (turns in 113 numbers)")
_ = axes[0].set(ylabel="share of variance", ylim=(0, 0.45))
figure.tight_layout()
lab.figure(
    figure,
    alt="Power of each frequency. Final: four tall bars and almost nothing else. Early: a low "
    "carpet with five bars over the null.",
    table={
        "network": list(shares),
        "frequencies above the null": [" ".join(map(str, keys[n])) for n in shares],
        "their share": [sum(shares[n][f - 1].item() for f in keys[n]) for n in shares],
        "largest share in a shuffle": [nulls[n] for n in shares],
    },
    digits=2,
)

planes = {}
for f in (*frequencies, 11):  # 11 is one of those that the network does not use
    plane = addition.subspace(parts["final"], [f])
    planes[f"frequency {f}"] = (parts["final"] - parts["final"].mean(0)) @ plane
interactive, static = plots.rings(planes)
spread = [p.norm(dim=1).std() / p.norm(dim=1).mean() for p in planes.values()]
lab.figure(
    interactive,
    fallback=static,
    alt="The 113 numbers in the plane of one frequency. For each of the four frequencies they lie "
    "on a circle; for frequency 11 they do not.",
    table={
        "plane": list(planes),
        "share of variance": [shares["final"][int(t.split()[1]) - 1].item() for t in planes],
        "spread of the radius, of its mean": [s.item() for s in spread],
    },
    digits=2,
)

# %% [markdown]
# In the bars, compare what rises above the dashed line in the two networks. Then choose a frequency
# from the menu of the second figure: each of the four is a *circle*, with number `n` at the angle 2
# pi f n / 113, and an unused frequency, 11, is not. On the circle of frequency 30 one step forward
# turns by about a quarter, so 0, 1, 2 and 3, marked in the picture, lie far apart. (Which way round
# they run means nothing.)
#
# The early network does no better than chance on pairs it has not seen, and still five of its
# frequencies beat every shuffle, the four of the final network among them. So the circles grew long
# before the held-out accuracy moved. And "this network has Fourier structure" is true of a network
# that cannot add, so it is weak evidence for an algorithm. You must show what is *done* with the
# circles.
#
# ## 3 · Does the number live there?
#
# In this section you find out whether the four frequencies hold all that the network uses of `a`.
# The test is to exchange it. Take the part of the embedding (the vector of the token) at position 0
# that lies in the claimed subspace, replace it by that of another pair (a', b'), and leave
# everything else. If that subspace holds `a`, the network must now answer a' + b.
#
# ### Exercise 4.3: the subspace of some frequencies
#
# Find an orthonormal basis of the directions in which `values` vary at these frequencies. For one
# frequency these are two directions: the sum of cos(2 pi f n / p) times row n, and the same with
# sine. `torch.linalg.qr(matrix).Q` makes the columns of a tall matrix orthonormal.


# %% exercise="4.3" points=4 minutes=10 difficulty=3
def subspace(values: Tensor, frequencies: list[int]) -> Tensor:
    """values: [p, width], row n belongs to number n. Returns [width, 2 * len(frequencies)]."""
    ### BEGIN SOLUTION
    n = torch.arange(len(values))
    angles = 2 * math.pi * torch.tensor(frequencies)[:, None] * n / len(values)
    directions = torch.cat([angles.cos(), angles.sin()]) @ values  # [2k, width]
    return torch.linalg.qr(directions.T).Q
    ### END SOLUTION


lab.check("4.3", subspace)

# %% [markdown]
# ### Exercise 4.4: swap a number
#
# Write the donors' values at `site` into the run on `tokens`, and return for every pair whether the
# network's answer is what the program says it must be, when `site` holds the *first* number.


# %% exercise="4.4" points=4 minutes=10 difficulty=3
def follows(model: nn.Module, tokens: Tensor, donors: Tensor, site: Site) -> Tensor:
    """Whether the answer is (donor's first number + own second number) mod 113.

    tokens, donors: [n, 3] int64. Logits are [n, position, 113]; the answer is at the last position.
    Returns [n] bool.
    """
    ### BEGIN SOLUTION
    values = site.read(model, donors)
    output = site.write(model, tokens, values, allow_unchanged=True)[:, -1].argmax(-1)
    return output == (donors[:, 0] + tokens[:, 1]) % 113
    ### END SOLUTION


lab.check("4.4", follows)

# %% [markdown]
# The four frequencies hold 96 % of the variance of the contributions. So: swap `a` inside their
# eight directions, out of 128, with donors drawn at random from the whole grid. How probable is it
# that the network answers a' + b in more than 99 % of the pairs? A number from 0 to 1.

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
lab.predict("4.P", "swapping a within four frequencies is followed in over 99 %", probability)

# %%
generator = torch.Generator().manual_seed(4)
rows, others = (tokens[torch.randint(len(tokens), (3000,), generator=generator)] for _ in "ab")
embedded = addition.embeddings(model)  # [113, 128], where position 0 and 1 read a and b
basis = lab.use("4.3", subspace, embedded, frequencies)


def random_basis(like: Tensor, seed: int) -> Tensor:
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(noise).Q


def followed(name: str, place: Tensor | None) -> Tensor:
    site = Site("hook_embed", position=0, basis=place)
    return lab.use("4.4", follows, model, rows, others, site, name=name).double()


four = followed("four", basis)
chance = [followed(f"random {s}", random_basis(basis, s)).mean().item() for s in range(5)]
Report(
    "Swapping a at position 0: the answer is a' + b",
    [
        Row("inside the four frequencies", Estimate.mean(four), "result", "8 directions of 128"),
        Row("inside random directions", Estimate.mean(chance), "null", "8 of 128, five draws"),
        Row("the whole embedding", Estimate.mean(followed("whole", None)), "ceiling"),
    ],
    {"pairs": len(rows), "donors": "random pairs of the grid"},
    digits=2,
)

# %%
lab.outcome("4.P", four.mean().item() > 0.99)

# %% [markdown]
# Far above the null; and yet about one pair in seventeen does not follow, while with the whole
# embedding every pair does. "It beats the random subspace" and "it is everything" are different
# claims. Section 5 explains this gap, and it is not noise.
#
# ## 4 · From two points to the sum
#
# Here you work out how the network gets from two points on a circle to their sum. What arrives at
# the last position is, with x = 2 pi f a / 113 and y = 2 pi f b / 113, the point (cos x + cos y,
# sin x + sin y). What the answer needs is the point at the angle x + y, where a + b lies on the
# circle.
#
# The sum of two points on a circle points *half way* between them: to the angle (x + y) / 2, or
# opposite to it. Its length is 2 |cos((x - y) / 2)|. So the angle must be doubled, and that takes
# products: for a point (u, v), the point (u² - v², 2uv) lies at twice its angle.
#
# ### Exercise 4.5: product to sum
#
# Given the sum of two points on a circle, return the point at the sum of their angles, by products
# and sums of the two coordinates alone. Its length will be the square of the given point's length.


# %% exercise="4.5" points=3 minutes=8 difficulty=2
def double_angle(points: Tensor) -> Tensor:
    """points: [n, 2], (cos x + cos y, sin x + sin y). Returns [n, 2], at the angle x + y."""
    ### BEGIN SOLUTION
    u, v = points[:, 0], points[:, 1]
    return torch.stack([u**2 - v**2, 2 * u * v], 1)
    ### END SOLUTION


lab.check("4.5", double_angle)

# %% [markdown]
# ReLU neurons do not multiply. But the kink of a ReLU is a crude square, and the outputs of neurons
# with different phases can add up to a product. If the MLP does this, then the sum (a + b) mod 113
# must be *absent* before it and *present* after it. You can measure that without naming a single
# neuron: average the activation over all pairs with the same a + b, and ask which share of its
# variance these averages hold. For a function of a + b it is all of it, for labels drawn at random
# about 113 / 12,769.

# %%
places = {
    "what attention adds": "blocks.0.hook_attn_out",
    "MLP neurons": "blocks.0.mlp.hook_post",
    "what the MLP adds": "blocks.0.hook_mlp_out",
}
mixed = answer[torch.randperm(len(answer), generator=torch.Generator().manual_seed(1))]
table = []
for title, hook in [*places.items(), ("logits", "")]:
    row = {"place": title}
    for name, network in (("final", model), ("early", early)):
        values = Site(hook, position=-1).read(network, tokens) if hook else said[name]
        row[name] = addition.explained(values, answer)
        if name == "final":
            shuffled = addition.explained(values, mixed)
    row["final, random labels"] = shuffled
    table.append(row)
for row in table:
    print(f"{row['place']:<20}", " | ".join(f"{k} {v:.2f}" for k, v in row.items() if k != "place"))

# %% [markdown]
# Exactly nothing before the MLP, nine tenths after it. Nothing *can* be there before: over all
# pairs with the same sum, `a` takes every value once, so a sum of an `a`-part and a `b`-part has
# the same mean for each. It takes a product, and the MLP is the only place that can make one. The
# early network has a trace of it, not enough to beat chance on held-out pairs.
#
# There is a catch in exercise 4.5. The length of the point at x + y varies with cos²((x - y) / 2),
# and where the cosine is 0 there is no point at all: two opposite points add up to nothing. A
# network that did no more than this would be *deaf*, on this circle, for some differences a - b. Is
# it? `addition.amplitudes` gives how strongly the logits follow the wave cos(2 pi f (a + b - c) /
# 113) over the candidate answers c, for every pair; average that by a - b. Then do the same with
# everything but the four frequencies removed from the embedding, which is what `addition.only`
# does.

# %%
difference = (tokens[:, 0] - tokens[:, 1]) % P
stripped = addition.only(model, tokens, frequencies)
f = frequencies[1]
length = (math.pi * f * torch.arange(P) / P).cos().abs()


def by_difference(logits: Tensor, frequency: int) -> Tensor:
    """Mean amplitude for each a - b: [113]."""
    strength = addition.amplitudes(logits, tokens, frequency)[:, None]
    return addition.group_means(strength, difference)[:, 0]


def likeness(x: Tensor, y: Tensor) -> float:
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()


curves = {"whole network": said["final"], "four frequencies only": stripped}
curves = {name: by_difference(logits, f) for name, logits in curves.items()}
figure, axis = plt.subplots(figsize=(7, 3.2))
for (name, curve), colour, style in zip(
    curves.items(), (plots.BLUE, plots.VERMILION), ("-", "--"), strict=True
):
    _ = axis.plot(range(P), curve.tolist(), style, color=colour)
    _ = axis.annotate(name, (2, 17) if style == "-" else (24, 25.5), color=colour)
_ = axis.set(xlabel="a - b modulo 113", ylabel=f"amplitude of frequency {f} (logits)")
_ = axis.set_ylim(0, None)
lab.figure(
    figure,
    alt="Amplitude against a - b. With four frequencies only it falls to zero at one difference, "
    "as a rectified cosine does. In the whole network it stays above half.",
    table={
        "network": list(curves),
        "smallest over largest amplitude": [(c.min() / c.max()).item() for c in curves.values()],
        "correlation with |cos(pi f (a - b) / 113)|": [
            likeness(c, length) for c in curves.values()
        ],
    },
    digits=2,
)
right = (stripped.argmax(-1) == answer).double().mean()
print(f"right answers with the four frequencies only: {right:.2f}")

# %% [markdown]
# Look at the middle of the figure. Reduced to four frequencies, the network does what exercise 4.5
# does: the amplitude is |cos| of the difference, to two digits, and falls to zero. It then gets
# some answers wrong, those where several circles are deaf at once. The whole network has no deaf
# spot, so something outside the four frequencies fills it.
#
# ## 5 · What fills the gap
#
# In this section you find what the four frequencies were missing. Write the square out: (cos x +
# cos y)² - (sin x + sin y)² is 2 cos(x + y) + cos 2x + cos 2y. The first term is wanted; the other
# two make the length vary. Each of them is a function of *one* number alone, with *twice* the
# frequency. A network could remove them without any product, if each number also brought along its
# own point on the circle of frequency 2f, with the sign reversed.
#
# That is a prediction. Which frequencies would these be? Among 113 numbers, frequency 60 looks just
# like frequency 53 run backwards.
#
# ### Exercise 4.6: the double
#
# Which of the frequencies 1 ... (p - 1) / 2 looks like twice the given one?


# %% exercise="4.6" points=2 minutes=5 difficulty=2
def double(frequency: int, p: int) -> int:
    """The frequency in 1 ... (p - 1) / 2 with the same cosine as 2 * frequency, for p numbers."""
    ### BEGIN SOLUTION
    twice = 2 * frequency % p
    return min(twice, p - twice)
    ### END SOLUTION


lab.check("4.6", double)

# %%
twice = lab.use("4.6", lambda fs: [double(f, P) for f in fs], frequencies)
extra = [f for f in twice if f not in frequencies]
order = shares["final"].argsort(descending=True)
ranked = (order + 1).tolist()
for f, g in zip(frequencies, twice, strict=True):
    print(
        f"{f:>2} doubled is {g:>2}: share {shares['final'][g - 1]:.3f}, rank {ranked.index(g) + 1}"
    )

# %% [markdown]
# The doubles come right after the four in the ranking, or are among them: 38 is the double of 19.
# The null in exercise 4.2 had discarded the others, since some shuffle reaches more than their 2 %.
# But a small share of variance may play a large part. Test it, with controls: add the doubles to
# the four frequencies; add instead the strongest others; take the double of *one* circle away and
# see whether that circle, and it alone, goes deaf.

# %%
kinds = {
    "the four": frequencies,
    "and their doubles": frequencies + extra,
    "and the three strongest others": frequencies
    + [g for g in ranked if g not in frequencies + extra][:3],
    "and three at random": frequencies + [11, 24, 47],
}
for name, chosen in kinds.items():
    logits = addition.only(model, tokens, chosen)
    share = sum(shares["final"][g - 1].item() for g in chosen)
    right = (logits.argmax(-1) == answer).double().mean()
    print(f"{name:<32} share of variance {share:.3f}, right answers {right:.2f}")

print("\nsmallest over largest amplitude of three circles")
everything = frequencies + extra
for gone in (None, 53, 2, 38):
    logits = addition.only(model, tokens, [g for g in everything if g != gone])
    bends = {g: by_difference(logits, g) for g in (30, 1, 19)}
    title = "all there" if gone is None else f"without {gone}"
    print(f"{title:<12}", ", ".join(f"{g}: {c.min() / c.max():.2f}" for g, c in bends.items()))

# %% [markdown]
# With the doubles every answer is right. The strongest *other* frequencies help little, random ones
# not at all. And each double serves one circle, as predicted: without 53 only 30 goes deaf, without
# 2 only 1, without 38 only 19.
#
# This explains the gap of exercise 4.4. It was not noise but a step of the algorithm that the share
# of variance had told you to ignore. The network doubles the angle by a product and repairs the
# product's side effect with a second, fainter set of circles.
#
# ## 6 · The logits
#
# Here you find out how the circles become an answer. The claim: the logit of candidate c is a sum
# of cosines of the distance between c and a + b, one for each circle. At c = a + b all of them are
# 1; elsewhere they disagree, so the right answer wins.
#
# ### Exercise 4.7: logits from cosines
#
# Return what the logits of all 113 candidates would be.


# %% exercise="4.7" points=4 minutes=8 difficulty=2
def cosine_logits(tokens: Tensor, amplitude: Tensor, frequency: Tensor) -> Tensor:
    """The sum over circles k of amplitude[k] * cos(2 pi frequency[k] (a + b - c) / 113).

    tokens: [n, 3]. amplitude, frequency: [k]. Returns [n, 113], one column for each candidate c.
    """
    ### BEGIN SOLUTION
    distance = tokens[:, :1] + tokens[:, 1:2] - torch.arange(113)  # [n, 113]
    angle = 2 * math.pi * frequency[:, None, None] * distance / 113
    return (amplitude[:, None, None] * angle.cos()).sum(0)
    ### END SOLUTION


lab.check("4.7", cosine_logits)


# %%
def fit(logits: Tensor, chosen: list[int], name: str) -> float:
    """Share of the variance of the logits over candidates that the cosines hold."""
    heights = torch.stack([addition.amplitudes(logits, tokens, g).mean() for g in chosen])
    centred = logits - logits.mean(1, keepdim=True)

    def share(amplitude: Tensor, frequency: Tensor) -> float:
        rest = centred - cosine_logits(tokens, amplitude, frequency)
        return 1 - (rest.pow(2).sum() / centred.pow(2).sum()).item()

    return lab.use("4.7", share, heights, torch.tensor(chosen), name=name)


generator = torch.Generator().manual_seed(5)
unused = torch.tensor([g for g in range(1, 57) if g not in frequencies])
draws = [unused[torch.randperm(52, generator=generator)[:4]].tolist() for _ in range(3)]
by_chance = [fit(said["final"], draw, f"random {n}") for n, draw in enumerate(draws)]
print(f"final, its four frequencies:    {fit(said['final'], frequencies, 'final'):.2f}")
print(f"final, four others at random:   {max(by_chance):.2f} at most")
print(f"early, its own {len(keys['early'])} frequencies:   "
      f"{fit(said['early'], keys['early'], 'early'):.2f}")  # fmt: skip

# %% [markdown]
# Four numbers, one height for each circle, hold 95 % of the variance of 12,769 x 113 logits. The
# faint doubles have no part in it: they do their work inside
# and do not show in the logits.
#
# ## 7 · The whole, as steps
#
# In this section you test the whole algorithm at once. Pieces can each be right while the whole is
# wrong: the swap of `a` says nothing about whether the MLP passes on anything *but* the sum. So
# write all of it down, and exchange everything that you call unimportant at the same time.
#
# A `Step` has a name, a function, the names of the steps it is computed from (none: the tokens
# themselves), and a `Site` that says where in the network its value is:
#
# | step | what it is | where |
# |---|---|---|
# | `a`, `b` | the numbers | the embedding at positions 0 and 1, in the `numbers` subspace |
# | `pair` | both numbers, in no order | what attention adds, last position, `pair` subspace |
# | `sum` | (a + b) mod 113 | what the MLP adds, last position, `sum` subspace |
# | `answer` | the sum | nowhere: it is the network's output |
#
# `treeify` makes a tree of the steps. The tree is resampled (*scrubbed*) as in lesson 02: `sum`
# gets the value of another pair with the same sum. Inside the run that makes *that* value, `a`
# comes from one more pair with the right `a`, and `b` from yet another. Everything outside the
# named subspaces comes from random pairs, at every stage.
#
# ### Exercise 4.8: write the steps
#
# The hooks are `hook_embed`, `blocks.0.hook_attn_out` and `blocks.0.hook_mlp_out`. A step's
# function gets one argument for each of its inputs; those without inputs get tokens [n, 3]. A value
# may have several columns.


# %% exercise="4.8" points=6 minutes=15 difficulty=4
def write_steps(bases: dict[str, Tensor]) -> list[Step]:
    """The five steps of the table, the answer last.

    bases: "numbers", "pair" and "sum", orthonormal columns [128, k], for Site(..., basis=).
    """
    ### BEGIN SOLUTION
    return [
        Step("a", lambda t: t[:, 0], site=Site("hook_embed", position=0, basis=bases["numbers"])),
        Step("b", lambda t: t[:, 1], site=Site("hook_embed", position=1, basis=bases["numbers"])),
        Step(
            "pair",
            lambda a, b: torch.stack([torch.minimum(a, b), torch.maximum(a, b)], 1),
            ("a", "b"),
            Site("blocks.0.hook_attn_out", position=-1, basis=bases["pair"]),
        ),
        Step(
            "sum",
            lambda pair: pair.sum(1) % 113,
            ("pair",),
            Site("blocks.0.hook_mlp_out", position=-1, basis=bases["sum"]),
        ),
        Step("answer", lambda total: total, ("sum",)),
    ]
    ### END SOLUTION


lab.check("4.8", write_steps)

# %%
bases = addition.key_subspaces(model)
print("directions claimed, of 128:", {name: basis.shape[1] for name, basis in bases.items()})


def scrubbed(network: nn.Module, steps: list[Step], name: str, nulls: int = 0):
    graph = TransformerGraph(network, tokens, answer=-1)
    claim = treeify(steps, unimportant="shared", name=name)
    return scrub(
        graph, claim, tokens, answer, refs=1000, resamples=2, nulls=nulls, seed=1, digits=2
    )


def kept(network: nn.Module, steps: list[Step], name: str) -> tuple[Estimate, Estimate]:
    """Share of answers kept, and loss recovered."""
    result = scrubbed(network, steps, name)
    return result["agreement with the model"], result.recovered


def same_classes(bases: dict[str, Tensor]) -> float:
    return kept(model, write_steps(bases), "yours")[0].value


yours = lab.use("4.8", same_classes, bases)
whole = scrubbed(model, addition.reference_steps(model), "the algorithm", nulls=3)
print(f"answers kept by your steps: {yours:.2f}\n")
print(text_tree(whole.hypothesis, whole))
whole

# %% [markdown]
# Read the table from below. *Named parts exact*: with nothing exchanged inside the claims, all of
# it is kept, so nothing that matters lies outside. *Random classes* and *label only*: with other
# features of the same sizes, or with the label in place of every feature, nothing is left. (The
# empty claim that kept four fifths in lesson 02 fails here, because `a` and `b` are not functions
# of the answer.) The claim itself keeps all of it, though every number in the run came from a
# different pair: under `moved` you see that nearly every draw was another input. For `pair` it is
# half, because the only other member of a class is its mirror image; the parts below it move.
#
# Now test accounts that are *nearly* right, or right in another network.


# %%
def minus(steps: list[Step]) -> list[Step]:
    """The same steps, but the MLP's is said to be the difference of the two numbers."""
    wrong = Step("sum", lambda pair: (pair[:, 1] - pair[:, 0]) % P, ("pair",), steps[3].site)
    return [*steps[:3], wrong, steps[4]]


def bare(found: list[int]) -> dict[str, Tensor]:
    """Subspaces of these frequencies, without their doubles."""
    return {
        "numbers": addition.subspace(addition.embeddings(model), found),
        "pair": addition.subspace(addition.contributions(model), found),
        "sum": bases["sum"],
    }


steps_of = addition.reference_steps
accounts = {
    "the algorithm": (model, steps_of(model), "result"),
    "without the doubles": (model, steps_of(model, bare(frequencies)), "control"),
    "MLP tells the difference": (model, minus(steps_of(model)), "control"),
    "random subspaces": (model, steps_of(model, addition.random_subspaces(bases, 0)), "null"),
    "early network, its own frequencies": (early, steps_of(early), "control"),
}
results = {name: (*kept(net, steps, name), role) for name, (net, steps, role) in accounts.items()}
rows = []
for name, (same, recovered, role) in results.items():
    rows.append(Row(f"{name}: answers kept", same, role))
    rows.append(Row(f"{name}: loss recovered", recovered, role))
sufficiency = Report(
    "Resampled along the steps", rows, {"references": 1000, "resamples of each": 2}, digits=2
)
sufficiency

# %%
wanted = [row for row in sufficiency if row.name.endswith("kept")]
figure = Report("Answers kept", wanted, {"references": 1000}, digits=2)
figure = figure.figure("share of answers kept")
lab.figure(
    figure,
    alt="Answers kept: the algorithm 1.00, without the doubles about three quarters, all others "
    "near zero, the early network among them.",
    table={"account": [r.name for r in wanted], "kept": [r.estimate.value for r in wanted]},
    digits=2,
)

# %% [markdown]
# In the figure only the algorithm reaches 1. In the table, compare the two rows of the account
# without the doubles: it recovers all but four hundredths of the loss, and nearly a quarter of the
# answers is wrong. The early network "recovers" most of its loss with almost no answer kept. The
# reason is the scale. A confident network, given a random other input, is confidently wrong, so the
# baseline loss is enormous, about 57 nats (cross-entropy with natural logarithms) where guessing
# among 113 costs 4.7. Against such a baseline anything that is merely *unsure* looks good. Ask what
# zero and one mean on a scale before you read a number off it.
#
# ## 8 · The verdict
#
# In this section you swap every step, and have the whole explanation judged. Resampling showed what
# may be changed without harm; the swap of exercise 4.4 showed what must follow when something is
# changed. To be fair to the early network, use only pairs both networks were trained on, which it
# answers without a mistake.

# %%
generator = torch.Generator().manual_seed(6)
known = tokens[trained]
rows, others = (known[torch.randint(len(known), (2000,), generator=generator)] for _ in "ab")
sites = {
    "a": ("numbers", "hook_embed", 0),
    "pair": ("pair", "blocks.0.hook_attn_out", -1),
    "sum": ("sum", "blocks.0.hook_mlp_out", -1),
}


def swapped(network: nn.Module, step: str, place: Tensor) -> Estimate:
    """Share of pairs whose answer is what the program says after this step was swapped."""
    _, hook, position = sites[step]
    site = Site(hook, position=position, basis=place)
    output = site.write(network, rows, site.read(network, others), allow_unchanged=True)[:, -1]
    says = others[:, 0] + (rows[:, 1] if step == "a" else others[:, 1])
    hits = output.argmax(-1) == says % P
    return Estimate.proportion(int(hits.sum()), len(hits))


early_bases = addition.key_subspaces(early)
table = []
for step, (key, _, _) in sites.items():
    table.append(Row(f"{step} swapped", swapped(model, step, bases[key]), "result"))
    noise = random_basis(bases[key], 7)
    table.append(Row(f"{step} swapped, random directions", swapped(model, step, noise), "null"))
    table.append(Row(f"{step} swapped, early", swapped(early, step, early_bases[key]), "control"))
Report("The answer is what the program says", table, {"pairs": "2000, all trained on"}, digits=2)

# %% [markdown]
# Now hand it in. An `Explanation` is a list of steps, and `judge` puts it through four tests: does
# the *program* say what the network says; does it say so in fewer *bits* than a table of the
# answers; does the network stay itself when everything else is *resampled*; and does its answer
# change as the program says when a step is *swapped*, with pairs drawn after the explanation is
# fixed.
#
# Three trials: the final network on held-out pairs, the early one on held-out pairs, and the early
# one on its training pairs, each with the steps in its own subspaces. Guess the third before you
# run the cell.

# %%
trials = {
    "final, held-out pairs": ("modular", False),
    "early, held-out pairs": ("modular-early", False),
    "early, pairs it was trained on": ("modular-early", True),
}
verdicts = {}
for title, (name, seen) in trials.items():
    case = addition.challenge(name, trained=seen)
    explanation = Explanation(addition.reference_steps(case.model))
    verdicts[title] = judge(case, explanation, inputs=6400, references=500, resamples=2)
print(f"{'':<32}{'verdict':<24}{'program = network':<20}bits saved")
for title, v in verdicts.items():
    same = v.program["program = network"].value
    print(f"{title:<32}{v.verdict:<24}{same:<20.2f}{v.bits.saved:.2f}")

# %% [markdown]
# Compare the first and the last line. The program gives every answer in both, and saves the same
# share of the bits. On these pairs *no test of behaviour* tells the two networks apart, and one of
# them fails the tests
# of the mechanism. "The program predicts every output" is true of a
# network that runs something else. This is why a verdict has a mechanism in it.

# %%
summary = Report(
    "Modular addition in five rows",
    [
        Row("answers kept, resampled at every step", results["the algorithm"][0], "result"),
        Row("the same without the doubles", results["without the doubles"][0], "control"),
        Row("the same in random subspaces", results["random subspaces"][0], "null"),
        Row("the same before it generalised",
            results["early network, its own frequencies"][0], "control"),
        Row("chance", Estimate.exact(1 / P), "baseline"),
    ],
    {"pairs": "drawn from the whole grid", "references": 1000},
    digits=2,
)  # fmt: skip
summary

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About the doubles as a repair.** A circle that goes deaf while its double is there, or one
#   that does not when it is taken away. You saw three circles of four; 38 was not tested.
# - **About the MLP as the place of the product.** It was tested as a whole. Which neurons make
#   which product, and whether each works on one circle alone, is open.
# - **About attention.** It could not depend on the inputs, by construction. Where it does, as in
#   networks trained without that simplification, `a` at position 0 also decides how much of `b` is
#   read, the claim "the a-part depends on a alone" breaks, and an explanation needs a step for it.
# - **About the early network having no algorithm.** Its circles carry something. A swap of `a` is
#   followed by about a quarter of its answers. Another account, of a table with circles growing
#   through it, might keep far more. These tests say that *this* algorithm is not what it runs.
# - **About a training run.** Another seed gives other frequencies. That they come with their
#   doubles was seen in one network.
#
# ## Where this comes from
#
# Power and others, "Grokking: Generalization Beyond Overfitting on Small Algorithmic Datasets"
# (2022), found the late jump. Nanda and others, "Progress measures for grokking via mechanistic
# interpretability" (2023), found circles, products and cosines in such a network, and that the
# circles grow before the accuracy does. Zhong and others, "The Clock and the Pizza: Two Stories in
# Mechanistic Explanation of Neural Networks" (2023), showed that attention independent of the
# inputs leads to amplitudes that vary with a - b. Chan and others, "Causal Scrubbing" (2022), is
# the test by resampling, and Geiger and others, "Causal Abstractions of Neural Networks" (2021),
# that by swaps. Splitting over unordered pairs, the shuffle null, the doubles and the controls are
# added here.
#
# `python -m utils solve modular` runs the judge on the network and on its control.
#
# **Next.** Lesson 05 takes patching apart: what may be written where, and what each choice assumes.
