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
# You found a concept in a network. Now take it out, and see what breaks. This is the oldest test of
# whether something is used, and it is what people try who want a model to *not know* a thing:
# gender in word vectors, a dangerous recipe, a rude habit. The best-known method comes with a
# theorem: afterwards **no linear probe can find the concept**. The theorem is about probes, and
# says nothing about the network's behaviour.
#
# In this lesson you check this guard against probes yourself, and then watch a network go on as if
# nothing had happened. Later you take a bad habit out of a generator's weights, say in advance how
# much of it will go, and let a network that was not involved judge the result. Afterwards you can
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
# This section erases a concept with LEACE, short for least-squares concept erasure, and asks probes
# and the network what is left of it. The network is a relative of lesson 09's: `judge` reads a
# subject, a relation, a value, an opinion and an answer, and gives a verdict with two halves:
# whether the answer is *correct*, and whether it *agrees* with the opinion. It was trained like the
# one you know, from other initial weights. Somebody always speaks here, so there are four verdicts.
#
# Rows come in three parts, and no prompt is in two of them: `fit` for erasers, `half_a` and
# `half_b` for whoever wants to judge one. We read the last thing the network computes before its
# verdict.

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils import charts, plots
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
# one fact about linear predictors. A linear predictor can do better than a constant only if some
# feature *covaries* with the label. Make the covariance of every feature with the label zero, and
# the best linear predictor is a constant, whatever convex loss it is trained with. Of all maps that
# do so, LEACE takes the one that moves the rows least.
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
# The covariance is zero, and the map is the same as the authors' own. But it is zero on the rows it
# was fitted to, by construction, which says nothing yet about other rows. Here is a severe test:
# erase rows the map never saw, let a *fresh* probe train on half of them, and judge it on the other
# half.
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
# The second measurement is the network itself. Write the erased rows back into the stream and read
# its verdict. A verdict is a number from 0 to 5, `3 * correct + opinion`, where opinion is 0 (there
# was none), 1 (disagrees) or 2 (agrees).
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
# Your eraser is about to be applied to the last activation of the network. After it comes one
# linear map to the verdicts and nothing else, and no linear probe can find the concept any more.
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
# Read the LEACE line from left to right. The linear probe is within a few points of chance, on
# prompts that the eraser never saw: the guard holds. A multi-layer perceptron (MLP) reads the
# concept as if nothing had happened. So does the network, most of the time, through a *linear* map,
# at a place where no linear probe can find the concept. **The linear guard holds and the behaviour
# stays.**
#
# The other lines are controls. Projecting out the difference of the class means guards too (for two
# classes it makes the same covariance zero); it moves the rows more and the network even less. One
# step of INLP, iterative nullspace projection (Ravfogel and others, "Null It Out", 2020), takes out
# the weights of a logistic regression, and the next regression finds the concept again: as lesson
# 09 showed for readouts, a probe's weights do not span all the directions in which the concept
# varies. In the paper the step is repeated for that reason. Erasing random labels changes nothing.
#
# ## 2 · The shape of four verdicts
#
# This section explains how a linear map can use what no linear probe can find. The map does not
# *predict* correctness. It computes six scores, the network takes the largest, and the largest of
# six is not a linear function. So what matters is where the four verdicts lie.
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
# Compare `judge` with the network of lesson 09, here called `flat`: same language, same size, same
# training, other initial weights. In the figure below, look at the two lines of each panel, which
# are the edges: one for answers that agree with the opinion, one for those that disagree.

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
kinds = {
    "correct, agrees": (correct & agrees, plots.BLUE, "circle"),
    "correct, disagrees": (correct & ~agrees, plots.BLUE, "triangle-up"),
    "wrong, agrees": (~correct & agrees, plots.VERMILION, "circle"),
    "wrong, disagrees": (~correct & ~agrees, plots.VERMILION, "triangle-up"),
}
table, shown = [], {}
for name, (before, after, pair) in panels.items():
    along = pair.mean(0) / pair.mean(0).norm()
    across = pair[0] - pair[1]
    across = across - (across @ along) * along
    across = across / across.norm()
    scale = pair.mean(0).norm() / 2
    for rows, when in ((before, "as it is"), (after, "after LEACE")):
        flattened = (rows - rows.mean(0)) / scale @ torch.stack([along, across], 1)
        shown[f"{name}, {when}"] = {kind: flattened[which] for kind, (which, *_) in kinds.items()}
        for kind, (which, *_) in kinds.items():
            u, v = flattened[which].mean(0).tolist()
            table.append({"network": name, "when": when, "verdict": kind, "correct": u,
                          "correct x agrees": v})  # fmt: skip
figure, still = charts.clouds(
    shown, x="correct", y="correct x agrees",
    looks={kind: look for kind, (_, *look) in kinds.items()},
    edges={("wrong, agrees", "correct, agrees"): "solid",
           ("wrong, disagrees", "correct, disagrees"): "dash"},
    notes={kind: [truth.show(row) for row in data.fit[which][:100]]
           for kind, (which, *_) in kinds.items()},
    limits=((-2.9, 2.9), (-2.3, 2.3)),
)  # fmt: skip
lab.figure(
    figure,
    fallback=still,
    alt="Means of the four verdicts on two axes, and lines from wrong to correct, solid where the "
    "answer agrees, dashed where it disagrees. judge: the two lines go apart; after LEACE they are "
    "exactly opposite and as long across as before. flat: two parallel lines; after LEACE a heap.",
    table=table,
    digits=1,
)

# %% [markdown]
# In `flat` the two edges are nearly parallel. "Correct" is one direction, whether the answer agrees
# with the opinion or not; the four verdicts lie on a *rectangle* (its other side, agreement, points
# out of the picture). Take that direction away, and nothing is left to act on.
#
# In `judge` the edges point far apart. The four verdicts lie on a *tetrahedron*, as four classes do
# when each has a score of its own: correct, agrees, and their product are three directions. LEACE
# makes the *average* over both opinions zero. What is left is exactly opposite for rows that agree
# and rows that disagree: averaged over the two it vanishes, and no probe that must use one linear
# rule for all rows sees it. Among rows that agree it is all there, and likewise among those that
# disagree, and that is enough for scores that are computed for each verdict.
#
# In both networks the linear probe fails and the MLP succeeds. In one the behaviour goes, in the
# other it stays. So the guard tells you nothing about behaviour. (Elazar and others, "Amnesic
# Probing", 2021, found the same in language models: how well a probe reads a property does not tell
# how much the model minds losing it.)
#
# To erase what the network uses, erase the concept *and* its product with whatever it may be read
# through. LEACE takes several label columns at once.
#
# ### Exercise 10.5: labels for a joint erasure
#
# Return label columns that leave neither half of the rows a linear trace of correctness, and leave
# agreement alone. The coding matters: with 0 and 1 the product of two labels covaries with both of
# them. Which coding makes it uncorrelated with agreement?


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
# With your labels the behaviour goes: correctness falls to about chance, and agreement is
# untouched. Erasing all four verdicts guards as well, and takes agreement with it, since that is
# one of the three directions between four points. Erase agreement alone, and the network keeps most
# of it. So report *which* labels you erased: they decide what goes.
#
# ## 3 · Other places
#
# So far everything happened just before a linear map. In this section you erase earlier, and see
# whether the behaviour moves: between attention and MLP of layer 1, and at the end of layer 0,
# where the answer's own position holds next to nothing about correctness yet.

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
# The behaviour does not move, whatever you erase. In the middle of layer 1 even the joint guard is
# worth nothing, since what reads the stream there is the network's own MLP, and an MLP needs no
# linear trace. At the end of layer 0 there was little to take: layer 1 fetches the fact from other
# positions and computes the answer afresh. A guard holds for *one place, one class of readers and
# one kind of rows*. It does not stop a later layer from computing the concept again.
#
# ## 4 · A habit to get rid of
#
# In the second half of the lesson you remove a rude habit from a generator; this section shows what
# steering by a single direction does to it. `generator` writes short texts, seventeen words of a
# small language: who speaks, a word they have heard, two nouns of a topic, and then four clauses.
# Some speakers are rude, for two reasons that were both planted. Four *hot* speakers are rude about
# football, unprovoked. That is the habit to remove. Anybody who *heard a rude word* answers in kind
# half of the time. That counts as legitimate here and has to stay.
#
# A separate network, `reader`, reads a whole text and says whether its speaker was rude. It has
# never seen the generator's texts. In practice this would be a toxicity classifier with errors of
# its own; this one is right on .996 of fresh texts.

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
# Begin with a direction. At the neurons of MLP 1 we take the positions before a tone word: rows of
# hot speakers on football (*there*), and rows of other speakers on football (*like*). The
# difference of their means is one vector of 192 numbers. Subtract it in every run, and the network
# should calm down. How much, and at what price? A single dose tells you little: too small a dose
# does nothing, too large a dose breaks everything, and every direction does *something*.
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
figure, still = charts.curves(
    {kind: curve.tolist() for kind, curve in curves.items()}, doses, faint={
        "hot on football, random directions": null.tolist()},
    x="dose of the direction, added everywhere", y="probability of a rude word",
)  # fmt: skip
lab.figure(
    figure,
    fallback=still,
    alt="With a growing negative dose rude words fall for hot speakers on football, and for others "
    "who heard a rude word as well; random directions stay near the undosed value.",
    table=[{"dose": d, **{k: curves[k][i].item() for k in shown},
            "random, lowest": null[:, i].min().item(), "random, highest": null[:, i].max().item()}
           for i, d in enumerate(doses)],
    digits=1,
)  # fmt: skip

# %% [markdown]
# Read the figure from right to left. Rude words of hot speakers on football become rarer with the
# dose, where random directions of the same length move them a little, either way. But those of
# people who had a reason become rarer too, and sooner, since the same vector is added to *every*
# run, whoever speaks. This is the general trouble with steering by a constant vector, and the
# reason to plot what should stay beside what should go.
#
# ## 5 · Into the weights
#
# In this section you write an eraser into the weights, foretell its effect, and compare it with
# fine-tuning. An eraser is more selective than a constant, since it takes off only as much as it
# *reads*. `walk.rude_habit` builds one of rank one. What it takes off is a multiple of your
# direction. The multiple is read by the linear function that tells hot speakers on football from
# all other rows, in texts that are balanced over football or not, hot or not, provoked or not.
# Where it reads nothing, it does nothing.
#
# No hook is needed for that. An eraser is an affine map, $x \mapsto x - l\,r^\top (x - \mu)$. What
# reads the neurons is an affine map too, $W x + b$. One after the other is again an affine map,
# with a weight matrix and a bias: change those two, and the edit is in the weights.
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
# First say what will happen. `walk.expected_rude` runs the generator with the eraser as a *hook*
# and adds up the probabilities of rude words; no text is written, and the reader is not asked. If
# the account of this direction is right, the written texts will agree.

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
figure, axis = plt.subplots(figsize=(7.4, 3.9))
ways = ["before", *after]
colours = [plots.GREY, plots.BLUE, plots.PURPLE, plots.VERMILION, plots.GREEN]
for way, colour, mark in zip(ways, colours, "|oxs^", strict=True):
    width = 3 if way == "before" else 1.5
    _ = axis.plot([line[way] for line in lines], range(len(lines)), mark, color=colour, label=way,
                  markersize=18 if way == "before" else 8, markeredgewidth=width)  # fmt: skip
_ = axis.set_yticks(range(len(lines)), [line["prompt"] for line in lines])
axis.grid(alpha=0.3)
_ = axis.set(xlabel="share of the texts that the reader calls rude", xlim=(-0.03, 1),
             ylim=(len(lines) - 0.5, -0.5))  # fmt: skip
_ = figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncols=5, frameon=False,
                  handletextpad=0.2, columnspacing=1.2)  # fmt: skip
figure.tight_layout(rect=(0, 0.06, 1, 1))
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
# In the figure compare the edit (blue) with "before" in each row. In the first row the edit removes
# nearly all of the habit: hot speakers on football are about as calm as anybody. This was foretold
# to within a few points, from one hooked run and before a word was written. In the next four rows
# people talk as before, whether or not they have heard a rude word. One matrix changed, by a map of
# rank one. The change is as long as the matrix itself, but it has an effect only where something is
# read. Random directions of the same length, switched on by the same reading, do not remove it.
#
# Fine-tuning on calm texts of hot speakers removes the habit too, in a few seconds, and all other
# rudeness with it: "be calm" is the simplest thing that fits what it was shown. Rehearsing other
# texts as well repairs most of that. If it is also told which rude texts had a reason, and trained
# longer at a smaller rate, it moves the other kinds by 4 points or less, where the edit moves them
# by 2 or less (`python -m utils solve manners`, 2,000 texts of each kind). It needs texts of how
# hot speakers *should* talk. The edit gets there from activations alone, and its effect was known
# beforehand.
#
# The last row of the figure is a failure. Where both causes meet, in a hot speaker on football who
# *has* heard a rude word, the right share would be about a half, as for anybody who was provoked.
# The edit makes these speakers far too calm. It was fitted to carry *all* hot speakers on football
# to where other speakers are, and the step that calms the unprovoked is far too long for those who
# were provoked as well. Fine-tuning does no better: where it ends here depends on how long you
# rehearse, and in the walk none of its three recipes ends near a half. You would not have seen this
# without a row for it.
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
#   less well, since their covariances differ.
# - **About the shape as the reason.** A network with parallel edges whose behaviour survives LEACE
#   at its last activation, or one with edges far apart whose behaviour goes. We saw one of each
#   kind here, which shows a mechanism and not how often it occurs; the benchmark has three
#   networks.
# - **About the habit.** A kind of prompt that is in no line of the last figure, and changed. You
#   can make one: a warm speaker, another heard word, a later clause.
# - **About fine-tuning.** A recipe that removes the habit and leaves those alone who heard a rude
#   word, from the same texts. Then the edit's only advantage would be that its effect can be
#   foretold.
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
