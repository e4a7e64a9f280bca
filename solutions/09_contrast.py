# ---
# jupyter:
#   lesson:
#     id: "09"
#     title: "Contrastive probing: what differs is what you find"
#     minutes: 80
#     difficulty: 3
#     prerequisites: ["01"]
#     objectives:
#       - "find a concept without labels from pairs that contradict each other"
#       - "judge it by all restarts, random directions and broken pairs, not by its loss"
#       - "choose data that contrasts in one thing only, and notice when it does not"
#       - "tell a direction that reads a concept from one that moves it"
#     signature: >-
#       ten restarts find truth; an opinion is added and some find the opinion at a lower loss; with
#       the opinion held constant all find truth again; control: random directions, and a network
#       that knows no truth
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Contrastive probing: what differs is what you find
#
# Suppose a network knows whether a statement is true, and you have no labels. In 2022 Collin Burns
# and others proposed a way that needs none. Show the network each statement twice, once with the
# answer "yes" and once with "no", and search for a direction on which the two sides contradict each
# other. Truth behaves like that: of "yes" and "no" exactly one is right.
#
# So does everything else that differs between the two sides. The method is *contrastive*: it finds
# whatever differs within the pairs, which may or may not be truth. This lesson shows you both
# cases, in a network in which every concept is known. Afterwards you can
#
# - find a concept without labels from pairs that contradict each other;
# - judge the result by all its restarts, by random directions and by broken pairs, not by its loss;
# - choose data that contrasts in one thing only, and notice when it does not;
# - tell a direction that *reads* a concept from one that *moves* it.
#
# You need lesson 01 (`Site`, reading and writing), and what a logistic regression is.

# %%
from utils.lessons import lab

lab = lab("09")

# %% [markdown]
# ## 1 · Pairs
#
# In this section you build the method, and meet the first thing it can find instead of truth. The
# network, `judge`, is a transformer of two layers with 64 numbers at each position. It reads five
# tokens: a subject, a relation, a value, an *opinion*, and an answer. A fixed table gives each of
# 24 subjects and 4 relations one true value. The opinion token is silent, or says that the
# statement is true, or that it is false. At the answer the network gives one of six verdicts:
# whether the answer is correct, and whether it agrees with the opinion (or there was none).

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from utils import charts, plots
from utils.data import truth
from utils.probing.contrast import contrast
from utils.probing.rows import Split, split
from utils.reports import Report, Row
from utils.sites import Site
from utils.steering import random_directions

judge, data = lab.model.judge, lab.data
with torch.no_grad():
    verdict = judge(data.rows)[:, -1].argmax(-1)
for row, found in zip(data.rows[:4], verdict[:4].tolist(), strict=True):
    print(f"{truth.show(row):<38} {truth.VERDICTS[found]}")
print(f"right verdicts: {(verdict == truth.verdict(data.rows)).double().mean():.2f}")

# %% [markdown]
# A *contrast pair* is one prompt with both answers. `data.silent` holds 1,800 pairs in which nobody
# said anything: `yes` and `no` are the tokens of the two sides, `truth` tells whether the statement
# is true. A third of the *subjects* is held out (`rows.fit` and `rows.held` are the numbers of the
# pairs). If the pairs were split at random, the same statements would occur on both sides of the
# split, and a probe could pass by learning the table of facts by heart.
#
# Read where the sides differ: at the answer, position 4. Everything before it is the same on both
# sides, since a position sees only what came earlier. We read the residual stream at the end of
# layer 1.

# %%
final = Site("blocks.1.hook_resid_post", position=4)
silent = data.silent
fit, held = (torch.as_tensor(part) for part in silent.rows)
yes, no = final.read(judge, silent.yes), final.read(judge, silent.no)
print("yes side", tuple(yes.shape), "| fitted pairs", len(fit), "| held out", len(held))
print(truth.show(silent.yes[0]), "| and |", truth.show(silent.no[0]))

# %% [markdown]
# Contrast-Consistent Search (CCS) wants a probe `p = sigmoid(w·x + b)`, the probability that a
# row's answer is correct. It knows two things about truth. The two sides contradict each other:
# `p(yes) = 1 - p(no)`. And the probe should make up its mind: one of the two must be small.
#
# ### Exercise 9.1: the loss
#
# For each pair, the squared contradiction `(p_yes - (1 - p_no))²` plus the squared smaller one of
# `p_yes` and `p_no`; then the mean over the pairs.


# %% exercise="9.1" points=2 minutes=5 difficulty=1
def ccs_loss(p_yes: Tensor, p_no: Tensor) -> Tensor:
    """p_yes, p_no: probabilities on the two sides, [pairs]. Returns one number, differentiable."""
    ### BEGIN SOLUTION
    contradiction = (p_yes - (1 - p_no)) ** 2
    undecided = torch.minimum(p_yes, p_no) ** 2
    return (contradiction + undecided).mean()
    ### END SOLUTION


lab.check("9.1", ccs_loss)

# %% [markdown]
# This loss has a trap. Which probe has a loss of zero without knowing anything about truth? One
# that reads the *word*: p = 1 wherever the answer says yes. It is consistent, decided, and the same
# for every statement. The remedy is to take away from each side what all its rows have in common.
#
# ### Exercise 9.2: normalise
#
# Subtract from each side its own mean. Both means come from the fitted pairs, also for pairs that
# are held out. (The reference implementation of CCS normalised each test set by itself. Such a
# score does not tell you how the probe would do on one new pair.)


# %% exercise="9.2" points=3 minutes=6 difficulty=2
def normalise(fit_yes: Tensor, fit_no: Tensor, yes: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
    """fit_yes, fit_no: [fitted pairs, d]. yes, no: [pairs, d], to be normalised. Returns two."""
    ### BEGIN SOLUTION
    return yes - fit_yes.mean(0), no - fit_no.mean(0)
    ### END SOLUTION


lab.check("9.2", normalise)

# %% [markdown]
# Here is the whole method with your two functions: twelve lines, and no labels. Ten *restarts*
# begin at random directions. We try it in the middle of layer 1, where the stream still knows the
# answer's word well, with and without the means taken away.


# %%
def search(
    sides: tuple[Tensor, Tensor], loss=ccs_loss, restarts: int = 10
) -> tuple[Tensor, Tensor]:
    """Weights [restarts, d] and losses [restarts] of CCS on normalised sides, [pairs, d] each."""
    yes, no = sides
    scale = (torch.cat(sides) ** 2).mean().sqrt()
    start = torch.randn(restarts, yes.shape[1], generator=torch.Generator().manual_seed(0))
    w = (start / start.norm(dim=1, keepdim=True)).requires_grad_()
    b = torch.zeros(restarts, requires_grad=True)
    optimizer = torch.optim.AdamW([w, b], lr=0.02)
    for _ in range(600):
        p_yes, p_no = (torch.sigmoid(x / scale @ w.T + b) for x in (yes, no))
        losses = torch.stack([loss(p_yes[:, i], p_no[:, i]) for i in range(restarts)])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    return w.detach(), losses.detach()


middle = Site("blocks.1.hook_resid_mid", position=4)
raw = [middle.read(judge, side)[fit] for side in (silent.yes, silent.no)]
means_gone = lab.use("9.2", lambda a, b: torch.stack(normalise(a, b, a, b)), *raw, name="middle")
for name, sides in (("as they are", raw), ("each side's mean gone", means_gone)):
    w, losses = lab.use("9.1", search, tuple(sides), name=name)
    higher = ((sides[0] - sides[1]) @ w.T > 0).double().mean(0)  # share with yes above no
    word = ((higher - 0.5).abs() > 0.49).sum()
    print(f"{name:<22} highest loss {losses.max():.1f}; restarts that read the word: {word} of 10")
    if name == "as they are":
        lowest = losses.argmin()
        same = max(higher[lowest].item(), 1 - higher[lowest].item())
        print(f"{'':<22} the restart of lowest loss says the same of {same:.2f} of the pairs")

# %% [markdown]
# Without the means half of the restarts find the word, and the one with the *lowest* loss is among
# them. This is the theme of the lesson: a low loss says that something contrasts, and does not say
# what.
#
# ## 2 · It finds truth
#
# This section asks what the search found, and whether any direction would have done as well. To say
# what was found you need labels after all, if only for the report. They come with a temptation. A
# direction has no sign of its own: truth and falsehood fit the loss equally well. The reference
# implementation therefore scores `max(a, 1 - a)` on the held-out pairs. For a probe that guesses,
# this averages .54 with a hundred pairs, and much more with fewer.
#
# ### Exercise 9.3: an accuracy that may be below one half
#
# Take the sign from the fitted pairs. If fewer than half of them are right, flip the sign of the
# scores. Then count on the held-out pairs, even if the result is below one half.


# %% exercise="9.3" points=3 minutes=6 difficulty=2
def accuracy(fit_scores: Tensor, fit_labels: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Share of held-out pairs that are right, the sign taken from the fitted pairs.

    scores: [pairs], above zero means "the concept holds on the yes side"; labels: [pairs] bool.
    """
    ### BEGIN SOLUTION
    turned = ((fit_scores > 0) == fit_labels).double().mean() < 0.5
    return (((scores > 0) ^ turned) == labels).double().mean()
    ### END SOLUTION


lab.check("9.3", accuracy)

# %%
sides = lab.use(
    "9.2", lambda *x: torch.stack(normalise(*x)), yes[fit], no[fit], yes, no, name="final"
)
differences = sides[0] - sides[1]
w, losses = lab.use("9.1", search, (sides[0][fit], sides[1][fit]), name="final")
scores = differences @ w.T
labels = silent.truth
for restart in range(10):
    a = lab.use("9.3", accuracy, scores[fit, restart], labels[fit], scores[held, restart],
                labels[held], name=f"restart {restart}")  # fmt: skip
    print(f"restart {restart + 1:>2}: loss {losses[restart]:.2f}, truth {float(a):.1f}")

# %% [markdown]
# Ten restarts of ten find truth, from ten random starting points, on subjects they never saw,
# without a label. This is the result that made the method famous. Before you believe it, ask what
# any other direction would have given.
#
# ### Exercise 9.4: any direction
#
# For each direction: score the differences along it, take its sign from the fitted pairs, return
# its accuracy on the held-out ones.


# %% exercise="9.4" points=3 minutes=8 difficulty=2
def random_accuracies(
    fit_differences: Tensor, fit_labels: Tensor, differences: Tensor, labels: Tensor, many: Tensor
) -> Tensor:
    """Accuracy of each direction; differences: [pairs, d], many: [count, d]. Returns [count]."""
    ### BEGIN SOLUTION
    turned = ((fit_differences @ many.T > 0) == fit_labels[:, None]).double().mean(0) < 0.5
    return (((differences @ many.T > 0) ^ turned) == labels[:, None]).double().mean(0)
    ### END SOLUTION


lab.check("9.4", random_accuracies)

# %%
many = random_directions(64, 1000)
places = {
    "end of the network": final,
    "end of layer 0": Site("blocks.0.hook_resid_post", position=4),
}
chance = {}
for name, site in places.items():
    a, b = site.read(judge, silent.yes), site.read(judge, silent.no)
    d = lab.use("9.2", lambda *x: torch.sub(*normalise(*x)), a[fit], b[fit], a, b, name=name)
    chance[name] = lab.use(
        "9.4", random_accuracies, d[fit], labels[fit], d[held], labels[held], many, name=name
    )

figure, axis = plt.subplots(figsize=(7, 3))
bins = np.linspace(0.4, 1, 49)
for values, colour in zip(chance.values(), (plots.BLUE, plots.VERMILION), strict=True):
    _ = axis.hist(values.numpy(), bins=bins, color=colour, alpha=0.75)
_ = axis.set(xlabel="held-out accuracy on truth", ylabel="random directions of 1,000")
_ = axis.annotate("end of the network", (0.95, 220), color=plots.BLUE, ha="right")
_ = axis.annotate("end of layer 0", (0.57, 150), color=plots.VERMILION)
lab.figure(
    figure,
    alt="Histogram of the accuracy of 1,000 random directions. At the end of the network most lie "
    "above .9; at the end of layer 0 they lie around .5.",
    table=[
        {"place": name, "mean": v.mean().item(), "5 % quantile": v.quantile(0.05).item(),
         "median": v.median().item(), "best": v.max().item()}
        for name, v in chance.items()
    ],
    digits=1,
)  # fmt: skip

# %% [markdown]
# Look where the blue heap lies. At the end of the network a direction drawn at random mostly tells
# correct answers from wrong ones more than nine times in ten. Whether an answer is correct is what
# this network's last activations are *about*: correct and wrong rows lie so far apart that they
# stay apart along almost any direction. Fabien Roger reported the same for language models and easy
# data sets ("What Discovering Latent Knowledge Did and Did Not Find", 2023). So ".99 without
# labels" is, by itself, a fact about the place, not about the method. At the end of layer 0 (the
# orange heap) random directions give nothing.
#
# `contrast` does all of the above in one call, and refuses to give the accuracy alone. Its table
# has *all* restarts (the range, none chosen by label); the first principal component of the
# differences; two rows that see labels and are the *ceiling* (the difference of class means, or
# "mass mean", and logistic regression); regression on shuffled labels, random directions and broken
# pairs as *nulls*.


# %%
def look(pairs, site=final, asked="truth", **options):
    """`contrast` at one place, with everything known about the prompts beside it."""
    known = {"truth": pairs.truth, "opinion": pairs.opinion}
    if not bool(pairs.opinion.any()):
        del known["opinion"]
    return contrast(
        site.read(judge, pairs.yes), site.read(judge, pairs.no), known.pop(asked), name=asked,
        known=known, groups=pairs.subject, **{"rows": pairs.rows, **options},
    )  # fmt: skip


quiet = look(silent)
shown = ("CCS, truth: all restarts", "CCS restarts that found: truth", "first component, truth",
         "mass mean, truth", "logistic regression, truth", "logistic regression, shuffled labels",
         "random directions", "majority", "CCS loss", "CCS loss, pairs broken up")  # fmt: skip
for name in shown:
    e = quiet.report[name]
    # ten shuffles end anywhere, and where exactly hangs on the processor's last digits
    between = "" if "shuffled" in name else f"   [{e.low:.2f}, {e.high:.2f}]"
    print(f"{name:<38} {e.value:.2f}{between}")

# %% [markdown]
# Look at the interval of the shuffled labels, which is the range of ten shuffles. The rows here lie
# in a few tight clusters, so a regression on noise still cuts between clusters, and is mostly right
# or mostly wrong by luck. A single shuffle would have told you nothing.
#
# The last line is the null of the *loss*: the same search when each statement's yes side is paired
# with another statement's no side. Nothing is consistent there, and the loss shows it. So a low
# loss does mean something: along that direction the two sides of a pair contradict each other.
#
# ## 3 · Somebody has an opinion
#
# Here you give the pairs a second thing to differ in, see what the search makes of it, and find the
# data that restore truth. In `data.spoken` somebody says before each answer that the statement is
# true, or that it is false, at random and whatever the truth is. The network must keep track of
# this opinion, since half of its verdict is whether the answer agrees.
#
# Three things now differ between the sides of a pair: the word, which is taken out with the means;
# whether the answer is correct; and whether it agrees with the opinion. Farquhar and others
# ("Challenges with Unsupervised LLM Knowledge Discovery", 2023) tried this on large language models
# and proved that *any* feature can satisfy the loss. Predict: with spoken opinions, do at least
# nine of ten restarts still find truth, that is, tell it on .95 or more of the held-out pairs?

# %%
### BEGIN SOLUTION
probability = 0.2
### STUB
# probability = ...
### END SOLUTION
lab.predict("9.P", "with opinions at least nine of ten restarts find truth", probability)

# %%
spoken = data.spoken
loud = look(spoken)
lab.outcome("9.P", loud.found("truth") >= 9)
for row in loud.table():
    below = 0.001 if row["loss"] < 0.001 else 0.01
    print(f"restart {row['restart']:>2}: loss below {below:<5}  truth {row['truth']:.1f}  "
          f"opinion {row['opinion']:.1f}")  # fmt: skip
which = max(loud.restarts[loud.lowest].accuracy.items(), key=lambda item: item[1])[0]
print("the restart of lowest loss found:", which)

# %% [markdown]
# Every restart ends at a loss near nothing, and each has found something real: truth in some, the
# opinion in the others. No restart is undecided between the two. The search has two perfect
# solutions, and its starting point decides which one it finds. Choosing the lowest loss, the one
# choice that needs no labels, gives the opinion.
#
# If you had scored these ten by labels, kept the best and reported its accuracy, you would have
# published "truth". In a language model whose texts are full of *people's* opinions, the search may
# well find those.
#
# The disagreement can be seen without knowing any concept: count on which share of the held-out
# pairs two restarts say the same, as the figure after the next exercise does. In it look for
# blocks: one block means one contrast, and two mean that your pairs differ in two things. You know
# this before you have a single label.
#
# ### Exercise 9.5: which subset of the data makes truth the only contrast?
#
# You may leave out prompts. Return which ones to keep. You see the four tokens of each prompt:
# subject, relation, value, opinion (`truth.SAYS_TRUE` or `truth.SAYS_FALSE`). You may not use the
# truth, since that is what you are looking for. Your subset is graded by its result: of 40 restarts
# at least 36 must tell truth on .95 of the held-out pairs chosen the same way, and the directions
# must hold up on pairs you left out.


# %% exercise="9.5" points=5 minutes=12 difficulty=3
def subset(prompts: Tensor) -> Tensor:
    """Which prompts to keep: [prompts, 4] int64 -> [prompts] bool; 400 of 3,000 at least."""
    ### BEGIN SOLUTION
    return prompts[:, 3] == truth.SAYS_FALSE  # the same opinion in all: it goes with the means
    ### END SOLUTION


lab.check("9.5", subset)

# %% [markdown]
# Now your subset beside plausible ones that fail, each fitted on up to 600 pairs. "Inside" are
# held-out pairs of the same kind, "all" is every held-out pair.

# %%
prompts = spoken.yes[:, :4]
right_opinion = spoken.opinion == spoken.truth
choices = {
    "everything": torch.ones(len(prompts), dtype=torch.bool),
    "one relation only": prompts[:, 1] == truth.RELATION,
    "opinion is right": right_opinion,
    "opinion is wrong": ~right_opinion,
    "your subset": lab.use("9.5", subset, prompts),
}
results = {}
for name, kept in choices.items():
    parts = [torch.as_tensor(part) for part in spoken.rows]
    fitted = parts[0][kept[parts[0]]][:600].numpy()
    told = []
    for where, others in (("inside", parts[1][kept[parts[1]]]), ("all", parts[1])):
        found = contrast(
            final.read(judge, spoken.yes), final.read(judge, spoken.no), spoken.truth,
            rows=Split(fitted, others.numpy()), restarts=20, seed=1,
        )  # fmt: skip
        mean = found.report["CCS, truth: all restarts"].value
        told.append(f"{where}: {found.found('truth'):>2} of 20 find truth, mean {mean:.1f}")
        results[name, where] = found
    print(f"{name:<19}{told[0]}   {told[1]}")
labelled = results["opinion is right", "all"].report["logistic regression, truth"].value
print(f"regression with labels, fitted where the opinion is right, on all pairs: {labelled:.1f}")

# %%
panels = {
    "nobody speaks": quiet,
    "everybody speaks": loud,
    "one opinion only": results["your subset", "all"],
}
table, squares, names = [], {}, {}
for title, found in panels.items():
    many_ = len(found.restarts[:10])
    square = found.agreement[:many_, :many_]
    order = np.argsort(found.agreement[:many_, found.names.index("truth")])
    squares[title] = torch.as_tensor(square[np.ix_(order, order)])
    names[title] = [str(i + 1) for i in order]
    off = square[~np.eye(10, dtype=bool)]
    table.append({"panel": title, "pairs of restarts that agree": (off > 0.9).mean(),
                  "lowest agreement": off.min(), "highest": off.max()})  # fmt: skip
figure, still = charts.heat(
    squares, x="restart", y="restart", value="share of pairs judged alike", limits=(0.4, 1),
    names=names,
)  # fmt: skip
lab.figure(
    figure,
    fallback=still,
    alt="Agreement of ten restarts with each other. Nobody speaks: one dark block. Everybody "
    "speaks: two blocks that do not agree. One opinion only: one dark block again.",
    table=table,
    digits=1,
)

# %%
count = "CCS restarts that found: truth"
rows = [
    Row("nobody speaks: restarts that find truth", quiet.report[count], "result"),
    Row("everybody speaks: restarts that find truth", loud.report[count], "result"),
    Row("everybody speaks: restarts that find the opinion",
        loud.report["CCS restarts that found: opinion"], "result"),
    Row("your subset: find truth, on all pairs", results["your subset", "all"].report[count],
        "result"),
    Row("opinion is right: find truth, on all pairs",
        results["opinion is right", "all"].report[count], "control"),
    Row("accuracy of a random direction, nobody speaks", quiet.report["random directions"], "null"),
    Row("accuracy of regression, everybody speaks", loud.report["logistic regression, truth"],
        "ceiling"),
]  # fmt: skip
protocol = {"found": "right on .95 of held-out pairs", "held out": "a third of the subjects"}
Report("What the restarts find", rows, protocol, digits=2)

# %% [markdown]
# The figure shows one block, two blocks, and one block again; the list above it says why your
# subset is needed for that. Read its third line twice. Where the opinion is right, all twenty
# restarts tell truth perfectly *inside* the subset, and on all pairs none of them does: in that
# subset truth and opinion are one and the same contrast, and what was found is mostly the stronger
# of the two. A test set chosen like the training set cannot show this. Labels do not help either:
# there they are the same for both concepts, and regression, the "ceiling", picks up the opinion.
# (And to choose that subset you would have needed labels.) Where the opinion is always wrong the
# same happens with the sign flipped, except that truth happens to win more often. Keeping a single
# relation changes nothing, since the opinion still differs.
#
# Hold the opinion constant, and it adds the same thing to every yes side, and the same to every no
# side. It is taken out with the means, as the word was. So the work in contrastive probing is to
# **find data that contrasts in one thing only.** The loss cannot do this for you, and neither can
# more restarts.
#
# ## 4 · What is there and not found
#
# So far some restart or other found whatever was there. This section has two places where that
# fails.

# %%
table = []
attention = Site("blocks.1.hook_attn_out", position=4)
for place, pairs, site, asked in (
    ("end of layer 0, silent", silent, places["end of layer 0"], "truth"),
    ("end of layer 0, spoken", spoken, places["end of layer 0"], "opinion"),
    ("attention of layer 1, spoken", spoken, attention, "truth"),
    ("attention of layer 1, spoken", spoken, attention, "opinion"),
):
    found = look(pairs, site, asked)
    row = found.report
    table.append({
        "place": place, "asked for": asked, "restarts that found it": found.found(asked),
        "CCS, mean": row[f"CCS, {asked}: all restarts"].value,
        "random": row["random directions"].value,
        "mass mean": row[f"mass mean, {asked}"].value,
        "regression": row[f"logistic regression, {asked}"].value,
        "highest loss": max(r.loss for r in found.restarts),
    })  # fmt: skip
    print(f"{place:<29} {asked:<8} " + "  ".join(
        f"{k} {v:.1f}" if isinstance(v, float) else f"{v:>2} of 10"
        for k, v in list(table[-1].items())[2:]
    ))  # fmt: skip

leaky = split(len(silent.yes), held_out=1 / 3, labels=silent.truth.numpy())
found = look(silent, places["end of layer 0"], rows=leaky)
print(f"end of layer 0, silent, pairs split at random: regression "
      f"{found.report['logistic regression, truth'].value:.2f}")  # fmt: skip

# %% [markdown]
# At the end of layer 0 the network has not yet looked up the fact at this position. The loss is
# near zero all the same, and the ten restarts have found *something*. It is not truth; with
# opinions it is the opinion in all ten. Logistic regression, which sees labels, does better than
# chance on subjects it has never seen. With pairs split at random it does better still: the same
# statements are then on both sides of the split, and part of the table was learned by heart.
# Ceilings can leak too.
#
# The fourth line is the one to remember. The opinion is there: regression reads it from what
# attention adds in layer 1. No restart finds it, and neither does the difference of class means.
# Truth moves these vectors far more, and a search without labels finds what moves most. *Not found*
# does not mean *not there*.
#
# ## 5 · Reading is not moving
#
# A direction that tells correct from wrong need not be one that the network uses. In this section
# you test it: add the direction to the stream of wrong answers, subtract it from correct ones, and
# see whether the verdict changes its first half (correct or wrong) and keeps its second (agrees,
# disagrees, no opinion).
#
# Take the CCS restart from the silent pairs of section 2, and make it as long as the distance
# between the class means. As control: random directions of the same length. Predict: does adding
# the direction that CCS *reads* with change the first half of more than half of the verdicts?

# %%
### BEGIN SOLUTION
probability_moves = 0.6
### STUB
# probability_moves = ...
### END SOLUTION
lab.predict("9.Q", "adding the readout of CCS changes more than half of the verdicts",
            probability_moves)  # fmt: skip


# %%
def steered(direction: Tensor, dose: float = 1.5) -> tuple[float, float]:
    """Shares of `data.rows` whose verdict changes correct/wrong, and keeps agreement."""
    towards = torch.where(verdict >= 3, -1.0, 1.0)[:, None]  # correct ones down, wrong ones up
    after = final.write(
        judge, data.rows, lambda old: old + dose * towards * direction, allow_unchanged=True
    )
    after = after[:, -1].argmax(-1)
    flipped = ((after >= 3) != (verdict >= 3)).double().mean().item()
    return flipped, (after % 3 == verdict % 3).double().mean().item()


length = quiet.directions["mass mean"].norm()
readout = quiet.readouts["CCS 1"]
reads = steered(readout * length)
lab.outcome("9.Q", reads[0] > 0.5)
by_hat = [steered(d) for d in random_directions(64, 60, seed=1, norm=float(length))]
print(f"readout of CCS:    {reads[0]:.1f} change, {reads[1]:.1f} keep agreement")
print(f"random directions: {np.mean([r[0] for r in by_hat]):.2f} change on average")
cosine = torch.cosine_similarity(readout, quiet.directions["mass mean"], dim=0)
print(f"cosine between the readout and the difference of class means: {cosine:.1f}")

# %% [markdown]
# It does not. A probe that is right on nearly all held-out pairs changes less than half of the
# verdicts. Nothing is broken. A readout has to respond to what changes, and also has to *ignore*
# what would disturb it. The second turns it away from the direction in which the activations really
# move, and the loss does not notice, because it only reads. (Haufe and others, "On the
# interpretation of weight vectors of linear models in multivariate neuroimaging", 2014, made this
# distinction for brain data: weights are not patterns.)
#
# To steer, find what moves *when the probe's verdict changes*. This needs no labels either.
#
# ### Exercise 9.6: from readout to pattern
#
# Divide the pairs by the readout's own verdict. The mean difference of the pairs it scores above
# zero, minus that of the others, holds the move of both sides; one side moves by half of it.


# %% exercise="9.6" points=3 minutes=8 difficulty=2
def pattern(differences: Tensor, readout: Tensor) -> Tensor:
    """What moves when a probe changes its mind.

    differences: yes side minus no side, normalised, [pairs, d]. readout: [d]. Returns [d].
    """
    ### BEGIN SOLUTION
    said = differences @ readout > 0
    return (differences[said].mean(0) - differences[~said].mean(0)) / 2
    ### END SOLUTION


lab.check("9.6", pattern)

# %%
moves = lab.use("9.6", pattern, differences[fit], readout)
lines = {
    "readout of CCS": readout * length,
    "pattern of CCS": moves,
    "pattern of the first component": quiet.directions["first component"],
    "difference of class means (labels)": quiet.directions["mass mean"],
}
table = [{"direction": name, "changes": (s := steered(v))[0], "keeps agreement": s[1]}
         for name, v in lines.items()]  # fmt: skip
table.append({"direction": "random, mean of 60", "changes": np.mean([r[0] for r in by_hat]),
              "keeps agreement": np.mean([r[1] for r in by_hat])})  # fmt: skip
strongest = max(by_hat)
table.append({"direction": "random, strongest of 60", "changes": strongest[0],
              "keeps agreement": strongest[1]})  # fmt: skip
figure, axis = plt.subplots(figsize=(7, 2.9))
names = [row["direction"] for row in table]
colours = [plots.VERMILION, plots.BLUE, plots.BLUE, plots.GREEN, plots.GREY, plots.GREY]
bars = axis.barh(names, [row["changes"] for row in table], color=colours)
_ = axis.bar_label(bars, fmt="%.2f", padding=4)
axis.invert_yaxis()
_ = axis.set(xlabel="share of verdicts that change between correct and wrong", xlim=(0, 1.12))
figure.tight_layout()
lab.figure(
    figure,
    alt="Share of verdicts that steering changes: the readout less than half, the patterns of CCS "
    "and of the first component and the difference of class means nearly all, a random one next to "
    "none on average.",
    table=table,
    digits=2,
)
cosine = torch.cosine_similarity(moves, quiet.directions["mass mean"], dim=0)
print(f"cosine between the pattern and the difference of class means: {cosine:.2f}")

# %% [markdown]
# The figure shows the share of verdicts that each direction changes. The pattern, found without
# labels, is nearly the difference of class means, which needs them. Adding it changes nearly every
# verdict and leaves agreement alone, on rows with opinions too, though it was found where nobody
# spoke. In `contrast` the two are kept apart as `readouts` and `directions`.
#
# Now the control. A random direction *reads* truth nine times in ten here, and on average changes
# next to nothing. But look at the last bar: of sixty random directions the strongest changes most
# of the verdicts. In 64 dimensions one in sixty lies near enough to what matters, so a single
# random draw is not a control.
#
# ## 6 · The same method, and no truth in sight
#
# If the method finds whatever differs within a pair, it must also work where nothing is true or
# false; this section tests that. The second network, `halves`, reads ten letters a, b, c after
# START and answers one question: is it exactly *one* half of the string that has more a than b?
# Call a half's a-count minus its b-count its *lead*. Attention collects both leads at START, each
# along a direction of its own; the multi-layer perceptron (MLP) after it works out the answer.
#
# Find the direction of *which half is ahead* without labels. For this you need pairs that differ in
# that alone; in particular, both sides must have the same answer.
#
# ### Exercise 9.7: make the pairs
#
# Return a partner for every string, in which the other half is ahead by the same amount and the
# right answer is unchanged. START stays in front.


# %% exercise="9.7" points=3 minutes=6 difficulty=2
def partner(strings: Tensor) -> Tensor:
    """strings: [n, 11] int64, START (3) and ten letters (a, b, c = 0, 1, 2). Returns [n, 11]."""
    ### BEGIN SOLUTION
    return torch.cat([strings[:, :1], strings[:, 6:], strings[:, 1:6]], 1)
    ### END SOLUTION


lab.check("9.7", partner)

# %% [markdown]
# We compare two other recipes with yours. One exchanges a and b everywhere: *both* leads change
# their sign. The other exchanges them in the first half only: that half's lead changes its sign,
# and with it the answer. We look at two places, what attention adds at START and what the MLP adds.


# %%
def exchange(strings: Tensor, last: int) -> Tensor:
    """a and b exchanged among the letters 1 to `last`."""
    changed = strings.clone()
    part = changed[:, 1 : last + 1]
    changed[:, 1 : last + 1] = torch.where(part == 2, part, 1 - part)
    return changed


strings, halves = data.strings, lab.model.halves
front, back = data.front(strings), data.back(strings)
known = {"first lead": front > 0, "second lead": back > 0, "answer": data.answer(strings)}
recipes = {
    "halves swapped": lab.use("9.7", partner, strings),
    "a, b exchanged everywhere": exchange(strings, 10),
    "a, b exchanged in the first half": exchange(strings, 5),
}
table = []
for recipe, others in recipes.items():
    for place, hook in (("attention", "blocks.0.hook_attn_out"), ("MLP", "blocks.0.hook_mlp_out")):
        site = Site(hook, position=0)
        found = contrast(
            site.read(halves, strings), site.read(halves, others), front > back,
            name="which half is ahead", known=known,
        )  # fmt: skip
        counts = {name: found.found(name) for name in ("which half is ahead", *known)}
        table.append({"pairs": recipe, "place": place, **counts,
                      "highest loss": max(r.loss for r in found.restarts)})  # fmt: skip
        told = ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"
        print(f"{recipe:<33} {place:<10} restarts that found: {told}")

# %% [markdown]
# The first two lines answer the question. With your pairs all ten restarts agree on which half is
# ahead, at both places, and none on the answer, which is the same on both sides.
#
# The other lines repeat section 3, with letters in place of opinions. Exchange a and b everywhere,
# and two things contrast: some restarts find the first half's lead, the others the second's, at a
# loss near zero. Exchange them in the first half only, and two things contrast at *different
# places*: what attention adds knows the lead and not yet the answer; what the MLP adds knows the
# answer, and there nearly every restart finds that instead. The same pairs, another place, another
# concept.
#
# In short: **make pairs that differ in the concept you want, read where it is held, and keep
# everything else constant.**

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About opinion as the second contrast.** Restarts that fit neither truth nor opinion. All of
#   them had one of the two; a third block in the agreement matrix would be a concept nobody named.
# - **About the constant opinion as the remedy.** A distractor you cannot see in the prompt. Here
#   the opinion is one token. If it hides in the style of a text, you can hold it constant only if
#   you can measure it; otherwise the agreement matrix is the warning that remains.
# - **About random directions.** They read truth at the end of *this* network because its verdict
#   is about truth. A place where they stay at .5 and CCS does not would be evidence for the method.
# - **About patterns and readouts.** A network in which the disturbing directions are small. There
#   the two would coincide, and the pattern would gain nothing.
# - **About `halves`.** This network was trained to compute the leads. Whether CCS finds a string's
#   lead in a language model that was never asked for it, nothing here says.
#
# ## Where this comes from
#
# Burns, Ye, Klein and Steinhardt, "Discovering Latent Knowledge in Language Models Without
# Supervision" (2022), is the method, with the first component of the differences as its relative.
# Farquhar and others, "Challenges with Unsupervised LLM Knowledge Discovery" (2023), added the
# distractor and the proof. Roger, "What Discovering Latent Knowledge Did and Did Not Find" (2023),
# put random directions beside it. Marks and Tegmark, "The Geometry of Truth" (2023), use the
# difference of class means and ask for causal evidence. Haufe and others (2014), cited above, tell
# weights from patterns. The three traps of sections 1 and 2 (normalising the test set by itself,
# `max(a, 1 - a)`, restarts chosen by label) were found by reading published code.
#
# **Next.** Lesson 10 takes a concept out of the stream, and asks whether the network notices.
