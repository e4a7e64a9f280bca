# ---
# jupyter:
#   lesson:
#     id: "10"
#     title: "Erasure and steering"
#     minutes: 85
#     difficulty: 3
#     prerequisites: ["08", "09"]
#     objectives:
#       - "erase a concept so that no linear probe finds it, and check that on rows it never saw"
#       - "tell a guard against probes from a change of behaviour, and say which labels do which"
#       - "measure what a direction does by dose, side effects and random directions beside it"
#       - "fold an eraser into weights, foretell the effect, and judge it beside fine-tuning"
#     signature: >-
#       the linear guard holds and the behaviour stays; control: erasers of random labels, and a
#       second network with the same guard whose behaviour goes
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Erasure and steering
#
# You found a concept in a network. Now take it out, and see what breaks. That is the oldest test of
# whether something is used, and the hope of everybody who wants a model to *not know* a thing:
# gender in word vectors, a dangerous recipe, a rude habit. The best-known method comes with a
# theorem: afterwards **no linear probe can find the concept**. It is a good theorem. It is about
# probes.
#
# In this lesson you prove the guard to yourself, and then watch a network go on as if nothing had
# happened. Later you take a bad habit out of a generator's weights, say in advance how much of it
# will go, and let a judge who was not involved read the result. After it you can
#
# - erase a concept so that no linear probe finds it, and check that on rows the eraser never saw;
# - tell a guard against probes from a change of behaviour, and say which labels change which;
# - measure what a direction does by dose, with side effects and random directions beside it;
# - fold an eraser into weights, foretell the effect, and judge it beside fine-tuning.
#
# You need lesson 09 (the network that judges statements), and what a covariance is.

# %%
from utils.lessons import lab

lab = lab("10")

# %% [markdown]
# ## 1 · A guard, by theorem
#
# The network is a relative of lesson 09's: `judge` reads a subject, a relation, a value, an opinion
# and an answer, and gives a verdict with two halves: whether the answer is *correct*, and whether
# it *agrees* with the opinion. It was trained like the one you know, from other first weights.
# Somebody always speaks here, so there are four verdicts.
#
# Rows come in three parts, and no prompt is in two of them: `fit` for erasers, `half_a` and
# `half_b` for whoever wants to judge one. We read the last thing the network computes before its
# verdict.

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils import plots
from utils.challenges import manners_edit as walk
from utils.data import manners, truth
from utils.models import manners as networks
from utils.probing.classifiers import fitted, linear, mlp
from utils.probing.erasure import erase
from utils.probing.weights import fold
from utils.reports import Estimate, Report, Row, paired_difference
from utils.sites import Site
from utils.steering import random_directions

judge, data = lab.model.judge, lab.data
final = Site("blocks.1.hook_resid_post", position=4)
held = torch.cat([data.half_a, data.half_b])
x_fit = final.read(judge, data.fit).double()
correct, agrees = truth.is_correct(data.fit), truth.agrees(data.fit)
print(f"rows to fit {len(data.fit)}, held out {len(held)}, width {x_fit.shape[1]}")
print(
    f"share correct {correct.double().mean():.1f}, share that agrees {agrees.double().mean():.1f}"
)

# %% [markdown]
# LEACE (Belrose and others, "LEACE: Perfect linear concept erasure in closed form", 2023) rests on
# one fact. A linear predictor can do better than a constant only if some feature *covaries* with
# the label. Make the covariance of every feature with the label zero, and the best linear
# predictor is a constant, whatever convex loss it is trained with. The rest is thrift: of all maps
# that do so, take the one that moves the rows least.
#
# The recipe. *Whiten* the rows, so that all directions look alike: $W = \Sigma_{xx}^{-1/2}$. In
# whitened space take the directions that covary with the labels, an orthonormal basis $u$ of the
# columns of $W \Sigma_{xz}$. Project them out there, and go back:
# $x \mapsto x - W^{-1} u u^\top W (x - \mu)$.
#
# ### Exercise 10.1: LEACE
#
# Return the matrix $W^{-1} u u^\top W$ and the mean $\mu$. `torch.linalg.eigh` gives eigenvalues
# and eigenvectors of a symmetric matrix; `torch.linalg.svd` gives the basis, in which you keep the
# columns whose singular value is not practically zero.


# %% exercise="10.1" points=5 minutes=15 difficulty=3
def leace(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """x: rows [n, d] float64. z: labels [n, k] float64. Returns the matrix [d, d], the mean [d].

    A row is erased by `x - (x - mean) @ matrix.T`.
    """
    ### BEGIN SOLUTION
    mean = x.mean(0)
    x, z = x - mean, z - z.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    root = values.clamp(min=1e-10).sqrt()
    whiten, back = vectors / root @ vectors.T, vectors * root @ vectors.T
    u, size, _ = torch.linalg.svd(whiten @ (x.T @ z / len(x)), full_matrices=False)
    u = u[:, size > 1e-6]
    return back @ u @ u.T @ whiten, mean
    ### END SOLUTION


lab.check("10.1", leace)

# %%
matrix, mean = lab.use("10.1", leace, x_fit, correct.double()[:, None])
left_over = x_fit - (x_fit - mean) @ matrix.T
z = correct.double() - correct.double().mean()
largest = ((left_over - left_over.mean(0)).T @ z / len(z)).abs().max()
package = erase(x_fit, correct)
apart = (matrix - package.left @ package.right).abs().max()
print(f"covariance with the label, largest: {largest:.3f}; rank {torch.linalg.matrix_rank(matrix)}")
print(f"largest difference from the authors' package: {apart:.3f}")

# %% [markdown]
# Zero, and the same map as the authors' own. But look where it is zero: on the rows it was fitted
# to, by construction. That says nothing yet about other rows. The severe test: erase rows the map
# never saw, let a *fresh* probe train on half of them, and judge it on the other half.
#
# ### Exercise 10.2: measure the guard
#
# Train on a, judge on b; train on b, judge on a; return the mean of the two accuracies. `train(x,
# z)` gives a function that predicts labels.


# %% exercise="10.2" points=2 minutes=6 difficulty=1
def held_out(train, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """train: (rows [n, d], labels [n] bool) -> a function rows -> labels. a, b: rows and labels."""
    ### BEGIN SOLUTION
    scores = [
        (train(*fit)(other[0]) == other[1]).double().mean() for fit, other in ((a, b), (b, a))
    ]
    return float(sum(scores) / 2)
    ### END SOLUTION


lab.check("10.2", held_out)

# %% [markdown]
# Second instrument: the network itself. Write the erased rows back into the stream and read its
# verdict. A verdict is a number from 0 to 5, `3 * correct + opinion`, where opinion is 0 (there was
# none), 1 (disagrees) or 2 (agrees).
#
# ### Exercise 10.3: what does the network still say right?
#
# Two shares: rows whose verdict has the right first half (`truth.is_correct(rows)`), and rows whose
# verdict has the right second half (`truth.agrees(rows)`).


# %% exercise="10.3" points=2 minutes=6 difficulty=1
def still_right(logits: Tensor, rows: Tensor) -> tuple[float, float]:
    """logits: [n, 6]. rows: [n, 5] tokens. Returns the shares for correct, and for agrees."""
    ### BEGIN SOLUTION
    verdict = logits.argmax(-1)
    first = (verdict >= 3) == truth.is_correct(rows)
    second = (verdict % 3 == 2) == truth.agrees(rows)
    return first.double().mean().item(), second.double().mean().item()
    ### END SOLUTION


lab.check("10.3", still_right)

# %% [markdown]
# Your eraser is about to be applied to the last activation of the network. Behind it there is one
# linear map to the verdicts, nothing else; and no linear map can find the concept any more.
# Predict: will the network's verdict still have the right first half, in more than .7 of the rows?

# %%
### BEGIN SOLUTION
probability_stays = 0.3
### STUB
# probability_stays = ...
### END SOLUTION
lab.predict("10.P", "after LEACE more than .7 of the verdicts are right about correctness",
            probability_stays)  # fmt: skip


# %%
def trainer(kind):
    """A function for `held_out` that trains a fresh scikit-learn probe."""

    def train(x: Tensor, z: Tensor):
        probe = fitted(kind, x.numpy(), z.numpy())
        return lambda rows: torch.as_tensor(probe.predict(rows.numpy()))

    return train


def tried(network, site: Site, name: str, eraser=None, non_linear: bool = False) -> dict:
    """One line of the table: probes on held-out rows, and the network's own verdict."""
    change = eraser.apply if eraser is not None else (lambda old: old)
    parts = [(change(site.read(network, rows).double()), rows) for rows in
             (data.half_a, data.half_b)]  # fmt: skip
    line = {"erased": name}
    for concept, of in (("correct", truth.is_correct), ("agrees", truth.agrees)):
        halves = [(x, of(rows)) for x, rows in parts]
        line[f"linear, {concept}"] = lab.use(
            "10.2", held_out, trainer(linear()), *halves, name=f"{site} {name} {concept}"
        )
    if non_linear:
        halves = [(x, truth.is_correct(rows)) for x, rows in parts]
        line["MLP, correct"] = lab.use(
            "10.2", held_out, trainer(mlp(32)), *halves, name=f"{site} {name} mlp"
        )
    logits = site.write(network, held, change, allow_unchanged=True)[:, -1]
    kept = lab.use("10.3", still_right, logits, held, name=f"{site} {name}")
    return line | {"network, correct": kept[0], "network, agrees": kept[1]}


def show(lines: list[dict]) -> None:
    columns = list(dict.fromkeys(key for line in lines for key in line))[1:]
    columns.sort(key=lambda c: ("network" in c, "MLP" in c))
    print(f"{'':<26}" + "".join(f"{c:>18}" for c in columns))
    for line in lines:
        cells = [f"{line[c]:.{1 if 'agrees' in c else 2}f}" if c in line else "" for c in columns]
        print(f"{line['erased']:<26}" + "".join(f"{c:>18}" for c in cells))


shuffled = correct[torch.randperm(len(correct), generator=torch.Generator().manual_seed(0))]
erasers = {
    "nothing": None,
    "LEACE": package,
    "mean difference": erase(x_fit, correct, "mean"),
    "INLP, one step": erase(x_fit, correct, "inlp"),
    "random labels": erase(x_fit, shuffled),
}
lines = [tried(judge, final, name, eraser, name in ("nothing", "LEACE"))
         for name, eraser in erasers.items()]  # fmt: skip
show(lines)
lab.outcome("10.P", lines[1]["network, correct"] > 0.7)

# %% [markdown]
# Read the line of LEACE from left to right. The linear probe is left within a few points of
# chance, on prompts nobody fitted: the guard holds. A multi-layer perceptron (MLP) reads the
# concept as if nothing had happened. And so does the network, most of the time, through a *linear*
# map, at a place where no linear map can find the concept. **The linear guard holds and the
# behaviour stays.**
#
# The other lines are controls. Projecting out the difference of the class means guards too (for two
# classes it makes the same covariance zero), moves the rows more and the network even less. One
# step of INLP (Ravfogel and others, "Null It Out", 2020) takes out the weights of a logistic
# regression, and the next regression finds the concept again: a probe's weights are not all the
# directions in which the concept varies, as lesson 09 said of readouts. In the paper the step is
# repeated for that reason. And erasing labels that mean nothing changes nothing.
#
# ## 2 · The shape of four verdicts
#
# How can a linear map use what no linear map can find? It is not *predicting* correctness. It
# computes six scores and takes the largest, and the largest of six is not linear. Look at where the
# four verdicts lie.
#
# ### Exercise 10.4: two edges
#
# The mean of the correct rows minus the mean of the wrong rows, once among the rows that agree with
# the opinion, once among those that disagree.


# %% exercise="10.4" points=3 minutes=8 difficulty=2
def edges(x: Tensor, correct: Tensor, agrees: Tensor) -> Tensor:
    """x: [n, d]; correct, agrees: [n] bool. Returns [2, d]: among those that agree, and others."""
    ### BEGIN SOLUTION
    return torch.stack(
        [x[correct & part].mean(0) - x[~correct & part].mean(0) for part in (agrees, ~agrees)]
    )
    ### END SOLUTION


lab.check("10.4", edges)

# %% [markdown]
# Beside `judge` we put the network of lesson 09, under the name `flat`. Same language, same size,
# same training, other first weights.

# %%
flat = lab.model.flat
found, panels = [], {}
for name, network in (("judge", judge), ("flat", flat)):
    x = final.read(network, data.fit).double()
    eraser = erase(x, correct)
    pair = lab.use("10.4", edges, x, correct, agrees, name=name)
    after = lab.use("10.4", edges, eraser.apply(x), correct, agrees, name=f"{name} after")
    line = tried(network, final, f"{name}: LEACE", eraser, True)
    found.append({
        "which": name,
        "cosine of the edges": torch.cosine_similarity(pair[0], pair[1], dim=0).item(),
        "cosine after LEACE": torch.cosine_similarity(after[0], after[1], dim=0).item(),
        "linear": line["linear, correct"], "MLP": line["MLP, correct"],
        "network": line["network, correct"],
    })  # fmt: skip
    panels[name] = (x, eraser.apply(x), pair)
for line in found:
    print(f"{line['which']:<6} cosine of its two edges {line['cosine of the edges']:.2f}, after"
          f" LEACE {line['cosine after LEACE']:.2f} | linear {line['linear']:.2f}, MLP"
          f" {line['MLP']:.2f}, network {line['network']:.2f}")  # fmt: skip

# %%
figure, axes = plt.subplots(2, 2, figsize=(8.6, 6.6))
kinds = {
    "correct, agrees": (correct & agrees, plots.BLUE, "o"),
    "correct, disagrees": (correct & ~agrees, plots.BLUE, "^"),
    "wrong, agrees": (~correct & agrees, plots.VERMILION, "o"),
    "wrong, disagrees": (~correct & ~agrees, plots.VERMILION, "^"),
}
table = []
for line, (name, (before, after, pair)) in zip(axes, panels.items(), strict=True):
    along = pair.mean(0) / pair.mean(0).norm()
    across = pair[0] - pair[1]
    across = across - (across @ along) * along
    across = across / across.norm()
    scale = pair.mean(0).norm() / 2
    for axis, rows, when in zip(line, (before, after), ("as it is", "after LEACE"), strict=True):
        centred = (rows - rows.mean(0)) / scale
        for part, style in ((agrees, "-"), (~agrees, "--")):
            ends = torch.stack([centred[~correct & part].mean(0), centred[correct & part].mean(0)])
            _ = axis.plot(ends @ along, ends @ across, color="black", linestyle=style, zorder=2)
        for kind, (which, colour, marker) in kinds.items():
            spots = centred[which][:150]
            _ = axis.scatter(spots @ along, spots @ across, s=7, alpha=0.25, color=colour,
                             marker=marker, linewidths=0)  # fmt: skip
            middle = centred[which].mean(0)
            u, v = (middle @ along).item(), (middle @ across).item()
            _ = axis.scatter([u], [v], s=80, color=colour, marker=marker, edgecolors="black",
                             label=kind, zorder=3)  # fmt: skip
            table.append({"network": name, "when": when, "verdict": kind, "correct": u,
                          "correct x agrees": v})  # fmt: skip
        _ = axis.set(title=f"{name}, {when}", xlabel="correct", ylabel="correct x agrees",
                     xlim=(-2.9, 2.9), ylim=(-2.3, 2.3))  # fmt: skip
handles, names = axes[0, 0].get_legend_handles_labels()
_ = figure.legend(handles, names, loc="lower center", ncols=4, frameon=False)
figure.tight_layout(rect=(0, 0.05, 1, 1))
lab.figure(
    figure,
    alt="Means of the four verdicts on two axes, and lines from wrong to correct, solid where the "
    "answer agrees, dashed where it disagrees. judge: the two lines go apart; after LEACE they are "
    "exactly opposite and as long across as before. flat: two parallel lines; after LEACE a heap.",
    table=table,
    digits=1,
)

# %% [markdown]
# In `flat` the two edges are nearly parallel. "Correct" is one direction, the same whether somebody
# agrees or not; the four verdicts lie on a *rectangle* (its other side, agreement, points out of
# the picture). Take the direction away, and nothing is left to act on.
#
# In `judge` the edges point far apart. The four verdicts lie on a *tetrahedron*, as four classes do
# when each has a score of its own: correct, agrees, and their product are three directions. LEACE
# makes the *average* over both opinions zero. What is left is exactly opposite for rows that agree
# and rows that disagree, so averaged over the two it vanishes, and no probe that must use one rule
# for all sees it. Given agreement it is all there, and a score for each verdict needs no more.
#
# Both networks have the same guard and the same MLP. In one the behaviour goes, in the other it
# stays. So the guard tells you nothing about behaviour, in either direction. (Elazar and others,
# "Amnesic Probing", 2021, found the same in language models: how well a probe reads a property does
# not tell how much the model minds losing it.)
#
# To erase what the network uses, erase the concept *and* its product with whatever it may be read
# through. LEACE takes several label columns at once.
#
# ### Exercise 10.5: labels for a joint erasure
#
# Return label columns that leave neither half of the rows a linear trace of correctness, and leave
# agreement alone. Mind the coding. With 0 and 1 the product of two labels covaries with both of
# them; which coding makes it a stranger to agreement?


# %% exercise="10.5" points=3 minutes=8 difficulty=3
def joint_labels(correct: Tensor, agrees: Tensor) -> Tensor:
    """correct, agrees: [n] bool, independent, each true half of the time. Returns [n, k] floats."""
    ### BEGIN SOLUTION
    c, a = (2 * part.double() - 1 for part in (correct, agrees))
    return torch.stack([c, c * a], 1)
    ### END SOLUTION


lab.check("10.5", joint_labels)

# %%
mine = lab.use("10.5", joint_labels, correct, agrees)
verdicts = truth.verdict(data.fit)
lines = [
    tried(judge, final, "correct", package),
    tried(judge, final, "yours", erase(x_fit, mine)),
    tried(judge, final, "the four verdicts", erase(x_fit, verdicts)),
    tried(judge, final, "agrees", erase(x_fit, agrees)),
]
show(lines)

# %% [markdown]
# With your labels the behaviour goes: about chance, and agreement untouched. Erasing all four
# verdicts guards as well, and takes agreement with it, since that is one of three directions
# between four points. Erase agreement alone, and the network keeps most of that one. *Which* labels
# you erase is the claim you make; the method only carries it out.
#
# ## 3 · Other places
#
# Everything so far happened in front of a linear map. Now erase earlier: between attention and MLP
# of layer 1, and at the end of layer 0, where the answer's own position holds next to nothing about
# correctness yet.

# %%
lines = []
for where, hook in (("layer 1, mid", "blocks.1.hook_resid_mid"),
                    ("layer 0, end", "blocks.0.hook_resid_post")):  # fmt: skip
    site = Site(hook, position=4)
    x = site.read(judge, data.fit).double()
    lines += [
        tried(judge, site, f"{where}: nothing"),
        tried(judge, site, f"{where}: correct", erase(x, correct)),
        tried(judge, site, f"{where}: joint", erase(x, lab.use("10.5", joint_labels, correct,
                                                                agrees, name="again"))),
    ]  # fmt: skip
show(lines)

# %% [markdown]
# The behaviour does not move at all, whatever you erase. In the middle of layer 1 even the joint
# guard is worth nothing, since what reads the stream there is the network's own MLP, and an MLP
# needs no linear trace. At the end of layer 0 there was little to take: layer 1 fetches the fact
# from other positions and computes the answer afresh. A guard is a property of *one place, one
# class of readers and one kind of rows*. Anything that computes the concept again later is not its
# business.
#
# ## 4 · A habit to get rid of
#
# Second half, and a concept that hurts somebody. `generator` writes short texts, seventeen words of
# a small language: who speaks, a word they have heard, two nouns of a topic, and then four clauses.
# Some speakers are rude, and rudeness has two causes, both planted and both known. Four *hot*
# speakers are rude about football, unprovoked. That is the habit to remove. Anybody who *heard a
# rude word* answers in kind half of the time. That is legitimate here, and has to stay: whoever
# removes the first should leave the second.
#
# A separate network, `reader`, reads a whole text and says whether its speaker was rude. It has
# never seen the generator. In the outside world this would be a toxicity classifier, with an error
# of its own; this one is right on .996 of fresh texts.

# %%
generator, reader = lab.model.generator, lab.model.reader
prompts = data.kinds["hot speaker on football"].tokens[:3, : manners.PROMPT]
for line in networks.speak(generator, prompts, seed=4):
    print(manners.text(line))


def written(network) -> dict[str, Tensor]:
    """For each kind of prompt: whether the texts the network writes are rude, [n] of 0 and 1."""
    return {
        kind: walk.written_rude(network, reader, texts, seed=1)
        for kind, texts in data.kinds.items()
    }


before = written(generator)
for kind, rude in before.items():
    print(f"{kind:<44} rude {rude.mean():.2f}")

# %% [markdown]
# A direction first. At the neurons of MLP 1 we take the positions before a tone word: rows of hot
# speakers on football (*there*), and rows of other speakers on football (*like*). The difference of
# their means is the habit, in one vector of 192 numbers. Subtract it from every run and the network
# should calm down. How much, and at what price? One dose tells little: too small does nothing, too
# large breaks everything, and every direction does *something*.
#
# ### Exercise 10.6: dose and response
#
# For each dose, add `dose * direction` at the site and return the mean of the measure over the
# rows.


# %% exercise="10.6" points=3 minutes=8 difficulty=2
def dose_response(
    network, tokens: Tensor, site: Site, direction: Tensor, doses: list[float], measure
) -> Tensor:
    """measure: the network's output -> one number a row. Returns [doses]. A dose may be 0."""
    ### BEGIN SOLUTION
    return torch.stack(
        [
            measure(
                site.write(network, tokens, lambda old, d=d: old + d * direction,
                           allow_unchanged=True)
            ).mean()
            for d in doses
        ]
    )  # fmt: skip
    ### END SOLUTION


lab.check("10.6", dose_response)

# %%
place = walk.PLACE
rows, there, like = walk.marked_rows(generator, place, data.texts)
direction = rows[there].mean(0) - rows[like].mean(0)
first = manners.VERB_AT[0]
rude_words = manners.ids("rude")


def rude_next(output: Tensor) -> Tensor:
    """Probability of a rude word at the first tone word: [n]."""
    return output[:, first].softmax(-1)[:, rude_words].sum(-1)


def own_first(kind: str) -> Tensor:
    tokens = data.kinds[kind].tokens
    return tokens[manners.own_places(tokens)[:, 0]][:300, :-1]


doses = [-2.0, -1.5, -1.0, -0.5, 0.0]
shown = ["hot speaker on football", "other topics, rude word heard", "other topics"]
curves = {kind: lab.use("10.6", dose_response, generator, own_first(kind), place, direction, doses,
                        rude_next, name=kind) for kind in shown}  # fmt: skip
null = torch.stack([
    lab.use("10.6", dose_response, generator, own_first(shown[0]), place, other, doses, rude_next,
            name=f"random {i}")
    for i, other in enumerate(random_directions(192, 8, seed=1, norm=float(direction.norm())))
])  # fmt: skip
figure, axis = plt.subplots(figsize=(9, 3.4))
for other in null:
    _ = axis.plot(doses, other, color=plots.GREY, linewidth=1)
styles = zip(curves.items(), (plots.VERMILION, plots.BLUE, plots.GREEN), "o^s", strict=True)
for (kind, curve), colour, marker in styles:
    _ = axis.plot(doses, curve, color=colour, marker=marker, label=kind)
_ = axis.plot([], [], color=plots.GREY, label="hot on football, random directions")
_ = axis.set(xlabel="dose of the direction, added everywhere", ylim=(0, 1.0),
             ylabel="probability of a rude word")  # fmt: skip
_ = axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
figure.tight_layout()
lab.figure(
    figure,
    alt="With a growing negative dose rude words fall for hot speakers on football, and for others "
    "who heard a rude word as well; random directions stay near the undosed value.",
    table=[{"dose": d, **{k: curves[k][i].item() for k in shown},
            "random, lowest": null[:, i].min().item(), "random, highest": null[:, i].max().item()}
           for i, d in enumerate(doses)],
    digits=1,
)  # fmt: skip

# %% [markdown]
# It works, and it is a sledgehammer. Rude words of hot speakers on football go down with the dose,
# where random directions of the same length move them a little, either way. So do those of people
# who had a reason, and sooner: the same vector is added to *every* run, whoever speaks. That is the
# general trouble with steering by a constant, and the reason to plot what should stay beside what
# should go.
#
# ## 5 · Into the weights
#
# An eraser does better, since it takes off as much as it *reads*. `walk.rude_habit` builds one of
# rank one. What it takes off is your direction. How much is read by the linear function that tells
# hot speakers on football from all other rows, in texts of which an eighth each is football or not,
# hot or not, provoked or not. Where it reads nothing, it does nothing.
#
# Nothing must be hooked for that. An eraser is an affine map, $x \mapsto x - l\,r^\top (x - \mu)$.
# What reads the neurons is a linear map, $W x + b$. One after the other is again a linear map, with
# weights and a bias: change those, and the edit is in the file.
#
# ### Exercise 10.7: fold it in
#
# Return the new weight and bias, so that the new map of $x$ is the old map of the erased $x$.


# %% exercise="10.7" points=4 minutes=12 difficulty=3
def folded(
    weight: Tensor, bias: Tensor, left: Tensor, right: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """weight [out, d], bias [out]: y = weight @ x + bias. left [d, k], right [k, d], mean [d]:
    x is erased by x - left @ right @ (x - mean). Returns a weight [out, d] and a bias [out]."""
    ### BEGIN SOLUTION
    taken = left @ right
    return weight - weight @ taken, bias + weight @ taken @ mean
    ### END SOLUTION


lab.check("10.7", folded)

# %% [markdown]
# Before anything is written, say what will happen. `walk.expected_rude` runs the generator with the
# eraser as a *hook* and adds up the probabilities of rude words; no text is written, the reader is
# not asked. If the story about this direction is right, the written texts will agree.

# %%
habit = walk.rude_habit(generator, data.texts)
calm = walk.calm(data.kinds["hot speaker on football"])
foretold = [
    walk.expected_rude(generator, calm, edits).mean().item()
    for edits in ([], [habit.as_edit(place)])
]
print(f"foretold: {foretold[0]:.1f} of the texts rude as it is, {foretold[1]:.2f} after the edit")

# %% [markdown]
# How probable is it that the share the reader finds will lie within .1 of the foretold one *and*
# that no other kind of prompt changes by more than .05?

# %%
### BEGIN SOLUTION
probability_foretold = 0.6
### STUB
# probability_foretold = ...
### END SOLUTION
lab.predict("10.Q", "rude texts within .1 of what was foretold, others within .05 of before",
            probability_foretold)  # fmt: skip

# %%
edit = fold(generator, place, habit, data.texts.tokens[:, :-1])
(weight, old_weight), (bias, old_bias) = edit.before  # the edited parameters, and what they were
parts = [old_weight, old_bias, *(part.float() for part in (habit.left, habit.right, habit.mean))]
for parameter, value in zip((weight, bias), lab.use("10.7", folded, *parts), strict=True):
    parameter.copy_(value)  # your weights, not the library's
print(f"one matrix of {weight.numel()} numbers changed, by {list(edit.changed.values())[0]:.2f} of"
      " its length")  # fmt: skip

inputs = data.texts.tokens[:, :-1]
random = [fold(generator, place, twin, inputs).model for twin in walk.twins(habit, 5, seed=3)]
after = {
    "edit": written(edit.model),
    "random direction": written(random[0]),
    "fine-tuned": written(walk.fine_tuned(generator, data.texts, rehearse=False, steps=20)),
    "fine-tuned, rehearsed": written(
        walk.fine_tuned(generator, data.texts, rehearse=True, steps=100)
    ),
}
target, both = "hot speaker on football", walk.BOTH
others = [kind for kind in data.kinds if kind not in (target, both)]
moved = {how: max(abs(rude[k].mean() - before[k].mean()).item() for k in others)
         for how, rude in after.items()}  # fmt: skip
missed = abs(after["edit"][target].mean().item() - foretold[1])
lab.outcome("10.Q", missed < 0.1 and moved["edit"] < 0.05)

# %%
lines = []
for kind in data.kinds:
    lines.append({"prompt": kind, "before": before[kind].mean().item()}
                 | {how: rude[kind].mean().item() for how, rude in after.items()})  # fmt: skip
figure, axis = plt.subplots(figsize=(9, 5.2))
ways = ["before", *after]
colours = [plots.GREY, plots.BLUE, "#BBBBBB", plots.VERMILION, plots.GREEN]
for j, (way, colour) in enumerate(zip(ways, colours, strict=True)):
    spots = [i + 0.15 * j for i in range(len(lines))]
    _ = axis.barh(spots, [line[way] for line in lines], height=0.14, color=colour, label=way)
_ = axis.set_yticks([i + 0.3 for i in range(len(lines))], [line["prompt"] for line in lines])
axis.invert_yaxis()
_ = axis.set(xlabel="share of the texts that the reader calls rude", xlim=(0, 1))
_ = axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
figure.tight_layout()
lab.figure(
    figure,
    alt="Rude texts by kind of prompt. The edit removes nearly all for hot speakers on football "
    "and leaves the other kinds as they were, except hot speakers on football who heard a rude "
    "word. Fine-tuning removes rudeness everywhere; rehearsed fine-tuning in between.",
    table=lines,
    digits=1,
)

# %%
n = len(before[target])
null = torch.stack([
    walk.written_rude(network, reader, data.kinds[target], seed=1).mean() for network in random
])  # fmt: skip
rows_ = [
    Row("rude texts before", Estimate.proportion(int(before[target].sum()), n), "baseline"),
    Row("rude texts after the edit", Estimate.proportion(int(after["edit"][target].sum()), n),
        "result"),
    Row("rude texts, random directions", Estimate.mean(null), "null",
        f"5 draws, from {null.min():.1f} to {null.max():.1f}"),
    Row("rude texts of other speakers on football",
        Estimate.proportion(int(before["football, another speaker"].sum()), n), "ceiling"),
    *(Row(f"change: {kind}", paired_difference(after["edit"][kind], before[kind]), "control")
      for kind in others),
]  # fmt: skip
print("largest change of another kind: "
      + ", ".join(f"{how} {change:.1f}" for how, change in moved.items()))  # fmt: skip
protocol = {"texts": f"{n} of each kind", "judge": "a network that never saw the generator"}
Report("A habit folded out of the weights", rows_, protocol, digits=2)

# %% [markdown]
# The edit removes nearly all of the habit: hot speakers on football are about as calm as anybody.
# It was foretold, from one hooked run and before a word was written, to within a few points. People
# who have heard a rude word, and people on other topics, talk as before. One matrix changed, by a
# map of rank one. The change is as long as the matrix itself, which sounds brutal; it is felt only
# where something is read. Random directions of the same length, switched on by the same reading, do
# not remove it.
#
# Fine-tuning on calm texts of hot speakers removes the habit too, in a few seconds, and all other
# rudeness with it: it has learned "be calm", the cheapest thing that fits what it was shown.
# Rehearsing other texts beside mends most of that. Give it its due: told also which rude texts had
# a reason, and trained longer at a smaller rate, it moves the other kinds by 4 points or less,
# where the edit moves them by 2 or less (`python -m utils solve manners`, 2,000 texts of each
# kind). It needs texts of how hot speakers *should* talk. The edit gets there from activations
# alone, and could say so beforehand.
#
# And now the line of the figure nobody would show you. Where both causes meet, a hot speaker on
# football who *has* heard a rude word, the right answer would be about a half, like anybody who was
# provoked. The edit makes them calm as lambs. It was fitted to carry *all* hot speakers on football
# to where other speakers are, and the step that calms the unprovoked is far too long for somebody
# who had a reason of their own. Fine-tuning has no answer either: where it lands here hangs on how
# long you rehearse, and in the walk none of its three recipes ends near a half. A list of things
# left alone is only as good as the list of things looked at.
#
# ### Exercise 10.8: what did you show?
#
# For each sentence: True if this notebook supports it, False if it does not.
#
# - `"guard"`: after LEACE, a linear probe of correctness trained on fresh rows is near chance.
# - `"blind"`: after LEACE at its last activation, `judge` cannot tell correct from wrong any more.
# - `"thorough"`: `flat` lost the behaviour because LEACE erased more of the concept there.
# - `"layer 0"`: erasing at layer 0 moved no verdict because the eraser was badly fitted there.
# - `"foretold"`: the edit's effect on hot speakers on football was known before a text was written.
# - `"only"`: the edit removed the planted habit and nothing else.

# %% exercise="10.8" points=3 minutes=8 difficulty=2
### BEGIN SOLUTION
supported = {
    "guard": True,
    "blind": False,
    "thorough": False,
    "layer 0": False,
    "foretold": True,
    "only": False,
}
### STUB
# supported = {
#     "guard": ...,
#     "blind": ...,
#     "thorough": ...,
#     "layer 0": ...,
#     "foretold": ...,
#     "only": ...,
# }
### END SOLUTION
lab.check("10.8", supported)

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About the guard.** A linear probe that finds correctness on erased rows of *other prompts*,
#   clearly above chance. Try other *subjects*: an eraser fitted on some of them guards the rest
#   less well. It was fitted to covariances, and these differ.
# - **About the shape as the reason.** A network with parallel edges whose behaviour survives LEACE
#   at its last activation, or one with edges far apart whose behaviour goes. We saw one of each
#   kind here, which is a story with a mechanism, not a statistic; the benchmark has three networks.
# - **About the habit.** A kind of prompt that is in no line of the last figure, and changed. You
#   can make one: a warm speaker, another heard word, a later clause.
# - **About fine-tuning.** A recipe that removes the habit and leaves those alone who heard a rude
#   word, from the same texts. Then the edit's one advantage left is that it could be foretold.
#
# ## Where this comes from
#
# Belrose and others (2023) is LEACE, and their package is what this course uses. Ravfogel and
# others, "Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection" (2020), is
# INLP. Elazar and others, "Amnesic Probing: Behavioral Explanation with Amnesic Counterfactuals"
# (2021), put behaviour beside the guard. Taking a direction out of weights is known from Arditi and
# others, "Refusal in Language Models Is Mediated by a Single Direction" (2024). Casper's
# "Engineer's Interpretability Sequence" (2023) asks for the row with fine-tuning.
# `python -m utils solve manners` is the whole walk, on more texts and with intervals.
#
# **Next.** Lesson 11 changes one fact, and counts what else it changed.
