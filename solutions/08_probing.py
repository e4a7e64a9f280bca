# ---
# jupyter:
#   lesson:
#     id: "08"
#     title: "Probing with controls"
#     minutes: 80
#     difficulty: 3
#     prerequisites: ["01"]
#     objectives:
#       - "measure what a probe learns by itself: a table, a control task, an untrained twin"
#       - "choose between places and probes by selectivity and unseen types, not by accuracy"
#       - "split data so that nothing learned by heart counts as knowledge"
#       - "tell a direction that can be read from one that the network uses"
#     signature: >-
#       ranked by accuracy the word vectors come first and the end of the network last; selectivity
#       and unseen types reverse the order; control: a network that was never trained
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Probing with controls
#
# Suppose you suspect that a network knows something. You read its activations, fit a small
# classifier that predicts that something from them (a *probe*), and it is right on 95 of 100
# held-out rows. What have you learned about the network?
#
# Perhaps nothing. A classifier with labels learns by itself, and may have learned all 95 from the
# labels. So every number in this lesson comes with a second one: what you would have got without
# the network, without its training, or without the network using what you found. Afterwards you can
#
# - measure what a probe learns by itself: a table, a control task, an untrained twin;
# - choose between places and probes by selectivity and unseen types, not by accuracy;
# - split data so that nothing learned by heart counts as knowledge;
# - tell a direction that can be *read* from one that the network *uses*.
#
# You need lesson 01 (`Site`, reading and writing), and what a logistic regression is.

# %%
from utils.lessons import lab

lab = lab("08")

# %% [markdown]
# ## 1 · An accuracy to be proud of
#
# In this section a probe reaches a high accuracy, and you find out how much of it needs no network
# at all. The network's language has 300 words. Each belongs to one of ten hidden *classes*, 30
# words each, and nothing about a word's number says which. A sentence walks from class to class by
# a fixed table of probabilities and draws a word of the class, all 30 alike. The network, a
# transformer of two layers with 64 numbers at each position, was trained to predict the next word
# and never saw a class. But the class of the current word is all that the past tells about the next
# one, so to predict well the network must have found the classes. Does it hold them, and where?

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from utils import plots
from utils.probing.causal import Causal
from utils.probing.classifiers import fitted, linear, mlp
from utils.probing.probes import probe
from utils.sites import Site
from utils.steering import random_directions, steer

data, trained, untrained = lab.data, lab.model.trained, lab.model.untrained
fit, held = data.fit, data.held  # row numbers; no sentence is on both sides
HOOKS = {
    "word vectors": "hook_embed",
    "end of layer 0": "blocks.0.hook_resid_post",
    "end of layer 1": "blocks.1.hook_resid_post",
}


def read(network, place: str) -> np.ndarray:
    """Activations of the words that have a word before them: [rows, 64], sentence by sentence."""
    values = Site(HOOKS[place]).read(network, data.tokens)
    return values[:, 1:].reshape(-1, 64).double().numpy()


rows = {f"trained, {place}": read(trained, place) for place in HOOKS}
rows |= {f"untrained, {place}": read(untrained, place) for place in HOOKS}
end, vectors = rows["trained, end of layer 1"], rows["trained, word vectors"]
print(f"{len(fit)} rows to fit on, {len(held)} held out, of {data.tokens.shape[0]} sentences")


def accuracy(make, x: np.ndarray, label: np.ndarray) -> float:
    """Share of held-out rows that a fresh probe, fitted on the others, gets right."""
    return fitted(make(), x[fit], label[fit]).score(x[held], label[held])


print(f"class of the word:        {accuracy(linear, end, data.cls):.2f}")
print(f"class of the word before: {accuracy(linear, end, data.previous):.2f}")
commonest = np.bincount(data.cls[fit]).argmax()
print(f"always the commonest:     {(data.cls[held] == commonest).mean():.2f}")

# %% [markdown]
# At the end of the network a linear probe reads the class of the current word nearly always, and
# the class of the word *before* about twice as often as guessing the commonest class would. It is
# tempting to conclude that the network represents the class and remembers some of the context.
#
# Before you believe either half, ask how much of it needs no network. A held-out row comes from a
# *new sentence*, but its word is not new: each of the 300 occurs among the fitted rows. So a plain
# table of words is the first thing to compare with.
#
# ### Exercise 8.1: the table of words
#
# For each word, note the label it has most often among the fitted rows. Return the share of
# held-out rows for which the table is right. No activation comes in. (Every held-out word was also
# fitted. Of two labels equally frequent take either.)


# %% exercise="8.1" points=2 minutes=6 difficulty=1
def table_accuracy(word: np.ndarray, label: np.ndarray, fit: np.ndarray, held: np.ndarray) -> float:
    """word, label: [rows] int64 from 0. fit, held: row numbers. Returns a share, 0 to 1."""
    ### BEGIN SOLUTION
    counts = np.zeros((word.max() + 1, label.max() + 1))
    np.add.at(counts, (word[fit], label[fit]), 1)
    return (counts.argmax(1)[word[held]] == label[held]).mean()
    ### END SOLUTION


lab.check("8.1", table_accuracy)

# %%
targets = {"class": data.cls, "class of the word before": data.previous, "place": data.position}
for name, label in targets.items():
    table = lab.use("8.1", table_accuracy, data.word, label, fit, held, name=name)
    print(f"{name:<25} table of words {table:.2f}, probe {accuracy(linear, end, label):.2f}")

# %% [markdown]
# The table is perfect on the class, which is a property of the word, and it beats the probe. It
# also does as well as the probe on the class of the word *before*: some classes tend to follow
# others, so the current word gives away its predecessor. What looked like memory of the context is
# a *shadow* of the current word. Only the word's place in the sentence is beyond any table of
# words.
#
# Every activation in this network still holds the word in some form, so a probe may just be a
# clumsy way to fill in that table. Predict: a probe with one hidden layer of 32 neurons, on the
# *word vectors of a network that was never trained* (300 random vectors), is more accurate on the
# class than the linear probe at the end of the trained network.

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
lab.predict("8.P", "a probe on random vectors is more accurate than one on the trained network",
            probability)  # fmt: skip


# %%
def wide() -> object:
    """A probe with one hidden layer of 32 neurons, unfitted: a multi-layer perceptron (MLP)."""
    return mlp(32)


noise = rows["untrained, word vectors"]
by_room = {make: accuracy(make, noise, data.cls) for make in (linear, wide)}
lab.outcome("8.P", by_room[wide] > accuracy(linear, end, data.cls))
print(
    f"random vectors, linear probe: {by_room[linear]:.2f}; with a hidden layer: {by_room[wide]:.2f}"
)

# %% [markdown]
# By this standard random vectors "hold the concept". The accuracy is not wrong, but it answers
# another question: *can the label be worked out from these numbers, given labelled examples?* For
# any lossless encoding of the word and a probe with enough capacity, it can.
#
# ## 2 · A task that nobody can know
#
# This section measures how much of an accuracy the probe learned by heart. John Hewitt and Percy
# Liang ("Designing and Interpreting Probes with Control Tasks", 2019) do it with a *control task*:
# give every word a random label, drawn *by lot*, and probe for that. No network can hold it, since
# it was drawn just now. What the probe gets right on it was learned by heart, and that much of your
# real accuracy could have been learned the same way.
#
# ### Exercise 8.2: labels by lot
#
# Deal the classes out to the words anew: as many words in each class as before, but which ones is
# chance. All rows of a word get its label, in every sentence, fitted or held out, and the same
# `seed` deals the same labels.


# %% exercise="8.2" points=3 minutes=8 difficulty=2
def control_labels(word: np.ndarray, class_of_word: np.ndarray, seed: int) -> np.ndarray:
    """word: [rows], numbers 0..words-1. class_of_word: [words]. Returns [rows] int64."""
    ### BEGIN SOLUTION
    dealt = np.random.default_rng(seed).permutation(class_of_word)
    return dealt[word]
    ### END SOLUTION


lab.check("8.2", control_labels)

# %%
lot = lab.use("8.2", control_labels, data.word, data.class_of_word, 0)
for word in data.word[:3]:
    print(f"word {word:>3}: class {data.class_of_word[word]}, by lot {lot[data.word == word][0]}")
print(f"table of words on the lot: {lab.use('8.1', table_accuracy, data.word, lot, fit, held):.2f}")

# %% [markdown]
# The table gets the lot right just as it gets the class right. The two tasks differ only in what
# the network can know. *Selectivity* is the accuracy on the task minus that on its control. A
# selective probe cannot have done it all by heart, because by heart it does worse.
#
# ### Exercise 8.3: selectivity
#
# Fit one fresh probe to the task and another fresh one to the control labels, on the fitted rows
# only. `fitted(make(), x, y)` gives a fitted probe; its `.score(x, y)` is an accuracy. Return two
# numbers: the accuracy on the task, and the selectivity.


# %% exercise="8.3" points=3 minutes=7 difficulty=2
def selectivity(
    make, x: np.ndarray, task: np.ndarray, control: np.ndarray, fit: np.ndarray, held: np.ndarray
) -> tuple[float, float]:
    """make: () -> unfitted probe. x: [rows, d]. task, control: [rows]. fit, held: row numbers."""
    ### BEGIN SOLUTION
    scores = [
        fitted(make(), x[fit], label[fit]).score(x[held], label[held]) for label in (task, control)
    ]
    return scores[0], scores[0] - scores[1]
    ### END SOLUTION


lab.check("8.3", selectivity)


# %%
def both(place: str, kind: str, make) -> tuple[float, float]:
    """Accuracy on the class and selectivity of one kind of probe at one place."""
    return lab.use("8.3", selectivity, make, rows[place], data.cls, lot, fit, held,
                   name=f"{place}, {kind}")  # fmt: skip


def shown(value: float, kind: str) -> str:
    """Two decimals for a linear probe. An MLP's last digits hang on the processor: one."""
    return f"{value:.2f}" if kind == "linear" else f"{abs(value):.1f} "


found = {}
quick = ("trained, word vectors", "trained, end of layer 1", "untrained, word vectors")
print(f"{'':<26}{'probe':<8} class   by lot  selectivity")
for place in rows:
    for kind, make in {"linear": linear, "MLP-32": wide}.items():
        if kind == "MLP-32" and place not in quick:
            continue
        found[place, kind] = on_class, gain = both(place, kind, make)
        numbers = [shown(v, kind) for v in (on_class, on_class - gain, gain)]
        print(f"{place:<26}{kind:<8} {numbers[0]:<7} {numbers[1]:<7} {numbers[2]}")

# %% [markdown]
# Read the linear rows of the trained network first. By accuracy, the word vectors win and the end
# of the network comes last. By selectivity the end of the network comes first, and the word vectors
# come last by far. **The ranking is reversed.** Hewitt and Liang found this for two layers of ELMo,
# a language model of 2018: the first layer was slightly better at parts of speech, the second far
# more selective (published). Whoever picks "the layer that represents it" by accuracy picks the
# layer where the *word* is easiest to look up.
#
# The untrained rows are the negative control. Their selectivity should be zero, and is about zero
# (a few hundredths below, by the luck of this draw).
#
# Now the rows with a hidden layer. Their accuracy is at least as high everywhere, but little of the
# selectivity is left: a probe with enough capacity learns the random labels too. The next figure
# shows this at the end of layer 1, with one more size of probe. Watch the gap between the two
# lines.

# %%
place = "trained, end of layer 1"
room = {"linear": found[place, "linear"], "32": found[place, "MLP-32"],
        "128": both(place, "MLP-128", lambda: mlp(128))}  # fmt: skip
on_class, on_lot = [v[0] for v in room.values()], [v[0] - v[1] for v in room.values()]
figure, axis = plt.subplots(figsize=(6.4, 3.2))
_ = axis.plot(list(room), on_class, "o-", color=plots.BLUE)
_ = axis.plot(list(room), on_lot, "s--", color=plots.VERMILION)
_ = axis.fill_between(range(3), on_lot, on_class, color=plots.GREY, alpha=0.15)
_ = axis.annotate("class", (0.03, 0.985), color=plots.BLUE, va="bottom")
_ = axis.annotate("by lot", (0.6, 0.68), color=plots.VERMILION)
_ = axis.annotate("selectivity", (0.1, 0.76), color=plots.GREY)
_ = axis.set(xlabel="hidden neurons of the probe", ylabel="held-out accuracy", ylim=(0.4, 1.06))
figure.tight_layout()
lab.figure(
    figure,
    alt="Accuracy at the end of layer 1 against the size of the probe. On the class it rises a "
    "little, on labels by lot from about .5 to nearly 1, so that the gap between them closes.",
    table=[
        {"probe": name, "class": a, "by lot": a - gain, "selectivity": gain}
        for name, (a, gain) in room.items()
    ],
    digits=1,
)

# %% [markdown]
# From left to right the probe gains three hundredths of accuracy on the class, and nearly half of
# the whole scale on labels by lot. The activations are the same throughout. Only the probe's
# capacity for learning by heart has grown.
#
# Two cautions. A *low* selectivity does not say that the concept is absent; it says that this probe
# cannot show its presence. And a *high* one mixes two things: the class is easy to read, and the
# word is hard to read. Section 3 takes them apart.
#
# ## 3 · Words it has never met
#
# In this section you make learning by heart impossible instead of measuring it. Hold out whole
# *words*, so that no table has an entry for them. A probe that is still right has found something
# that the words of a class share.
#
# ### Exercise 8.4: hold out whole groups
#
# Pick a share of the groups at random (`round(share * groups)` of them), and mark all their rows as
# held out. Any numbers may name the groups, with gaps; the same seed gives the same choice.


# %% exercise="8.4" points=3 minutes=7 difficulty=2
def hold_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """groups: [rows] int64. Returns [rows] bool: True where the row is held out."""
    ### BEGIN SOLUTION
    kinds = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(kinds)[: round(share * len(kinds))]
    return np.isin(groups, chosen)
    ### END SOLUTION


lab.check("8.4", hold_out)

# %%
splits = {}
for name, groups in {
    "rows": np.arange(len(data.word)), "sentences": data.sentence, "words": data.word,
}.items():  # fmt: skip
    splits[name] = lab.use("8.4", hold_out, groups, 0.3, 0, name=name)
print(f"{'linear probe on the class':<28}held out: " + ", ".join(splits))
unseen = {}
for place, x in rows.items():
    told = []
    for out in splits.values():
        told.append(fitted(linear(), x[~out], data.cls[~out]).score(x[out], data.cls[out]))
    unseen[place] = told[-1]
    print(f"{place:<38}" + "  ".join(f"{value:7.2f}" for value in told))

# %% [markdown]
# Split by row or by sentence, and random vectors score four in five. Split by word, and they fall
# to what guessing among ten classes gives. The trained word vectors fall too, though not all the
# way: training did move words of a class together a little. The end of layer 1 falls least.
#
# Splitting by sentence changed nothing here, since the leak is in the words. In your own data you
# have to find out where the leak is: copies of one scan, two halves of a sentence, one speaker, one
# template with different names. Whatever occurs on both sides of the split can be learned by heart.
#
# The next figure puts the three measures side by side. Compare the order of the first three bars
# from panel to panel.

# %%
lines = [place for place in rows if place != "untrained, end of layer 0"]
table = [
    {"place": p, "accuracy": found[p, "linear"][0], "selectivity": found[p, "linear"][1],
     "unseen words": unseen[p]}
    for p in lines
]  # fmt: skip
figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), sharey=True)
for axis, yardstick in zip(axes, ("accuracy", "selectivity", "unseen words"), strict=True):
    values = [row[yardstick] for row in table]
    colours = [plots.GREY] * len(values)
    colours[int(np.argmax(values))] = plots.BLUE
    _ = axis.barh(lines, values, color=colours)
    for height, value in enumerate(values):
        _ = axis.text(max(value, 0) + 0.03, height, f"{value:.2f}", va="center")
    _ = axis.set(title=yardstick, xlim=(-0.1, 1.42), xticks=[0, 0.5, 1])
    axis.axvline(0, color="black", linewidth=0.8)
axes[0].invert_yaxis()
_ = axes[0].set_xlabel("share of held-out rows")
_ = axes[1].set_xlabel("accuracy less that by lot")
_ = axes[2].set_xlabel("share of their rows")
figure.tight_layout()
lab.figure(
    figure,
    alt="Bars for five places in three panels. By accuracy the trained word vectors lead and the "
    "end of layer 1 is last of the trained ones; by selectivity and on unseen words the order is "
    "reversed. The untrained network is near nothing in these two.",
    table=table,
    digits=2,
)

# %% [markdown]
# Among the three trained places accuracy falls from top to bottom, as if the class got lost on the
# way through the network. The other two measures rise: the class is *made* there. You know how this
# language works, so you know which is true.
#
# Unseen words also answer the second caution. Selectivity alone could have risen because the end of
# the network forgets which word it was. Forgetting does not help on unseen words, and there
# accuracy rises as well.
#
# ## 4 · How soon it is learned
#
# This section replaces accuracy by a length in bits, for data in which you cannot hold out types
# because there are few, or because nothing plays the part of a word. It also helps where there is
# so much data that every probe ends near 1.00. Elena Voita and Ivan Titov ("Information-Theoretic
# Probing with Minimum Description Length", 2020) ask how many *bits* the labels cost if the probe
# predicts them while it learns.
#
# Imagine sending the labels to somebody who has the activations. The first block goes plain, at
# log2(10) bits a label. Then both of you fit the same probe to what was sent, and each label of the
# next block costs -log2 of the probability that this probe gave to it. Then you fit again to
# everything sent so far, and so on. A concept that is easy to read is learned from a few rows and
# costs little. One that must be learned by heart goes on costing until every word has been met.
#
# ### Exercise 8.5: the online code
#
# `ends` are the row numbers at which blocks end, the last being the number of rows. Return the
# whole length as a share of the plain code, so that 1 means "nothing gained".
# `predict(x_seen, y_seen, x_new)` fits a fresh probe and returns probabilities
# `[new rows, classes]`, none of them zero.


# %% exercise="8.5" points=4 minutes=12 difficulty=3
def code_length(predict, x: np.ndarray, y: np.ndarray, ends: list[int], classes: int) -> float:
    """x: [rows, d], in random order. y: [rows], 0..classes-1. Returns bits / plain bits."""
    ### BEGIN SOLUTION
    bits = ends[0] * np.log2(classes)
    for start, end in zip(ends, ends[1:], strict=False):
        chance = predict(x[:start], y[:start], x[start:end])
        bits -= np.log2(chance[np.arange(end - start), y[start:end]]).sum()
    return bits / (len(y) * np.log2(classes))
    ### END SOLUTION


lab.check("8.5", code_length)


# %%
def predict(x_seen: np.ndarray, y_seen: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """Probabilities [new rows, 10]; a little is kept for classes that were not seen yet."""
    probe_ = fitted(linear(), x_seen, y_seen)
    share = len(x_seen) / (len(x_seen) + 1)
    chance = np.full((len(x_new), 10), (1 - share) / 10)
    chance[:, probe_.classes_] += share * probe_.predict_proba(x_new)
    return chance


ends = [60, 90, 180, 375, 750, 1500, 3000, 6000]  # multiples of 15: sentences stay whole
shuffled = np.random.default_rng(0).permutation(data.cls)
for place in ("trained, word vectors", "trained, end of layer 1", "untrained, word vectors"):
    costs = [
        lab.use("8.5", code_length, predict, rows[place], y, ends, 10, name=f"{place}, {name}")
        for name, y in (("class", data.cls), ("by lot", lot))
    ]
    print(f"{place:<26} class {costs[0]:.2f}, by lot {costs[1]:.2f} of the plain code")
nothing = lab.use("8.5", code_length, predict, end, shuffled, ends, 10, name="shuffled")
print(f"{'labels shuffled over rows':<26} {nothing:.1f}")

# %% [markdown]
# Compare within a line. On random vectors the class costs as much as the lot: to a probe they are
# the same job. On the trained network's vectors the class is cheaper, and at the end of layer 1 the
# lot costs several times what the class does. The last line is the null: labels shuffled over rows
# belong to nothing, and their code is no shorter than the plain one.
#
# Compare *down* the class column, though, and the first two lines are close: by itself the code
# would let the word vectors pass too. A short code says that the label is easy to read from here
# with this probe. Whether that is because the network holds the class, only the comparison with
# labels by lot can say.
#
# ## 5 · Read is not used
#
# This section asks whether the network uses what a probe can read. Suppose a probe passes every
# test so far, so that the label is there. Does the network *do* anything with it? The name on a
# ship's bow is easy to read and does not help it sail.
#
# Our candidate is a word's *place* in the sentence. The network adds a vector for each place to the
# word vectors. We made these vectors longer than usual, but the language has no use for place:
# which class follows depends on the class before, at the beginning of a sentence as at its end. So
# in the residual stream before layer 0 (`hook_resid_pre`) place should be easy to read, and unused.
# Its rival is just as easy to read there: whether the word belongs to class 0.

# %%
before = Site("blocks.0.hook_resid_pre")
stream = before.read(trained, data.tokens)[:, 1:].reshape(-1, 64).double().numpy()
bits = {
    "place 9 or later": data.position >= 9,
    "class 0": data.cls == 0,
    "class 0 by lot": lot == 0,
}
print(f"{'before layer 0':<22}accuracy  commonest  unseen words")
out = splits["words"]
for name, y in bits.items():
    commonest = max(y[held].mean(), 1 - y[held].mean())
    new = fitted(linear(), stream[~out], y[~out]).score(stream[out], y[out])
    print(f"{name:<22}{accuracy(linear, stream, y):<10.2f}{commonest:<11.2f}{new:.2f}")

# %% [markdown]
# Two probes are perfect, and the one on labels by lot is hardly better than always saying no. Now
# push the network along each label's direction. Take the mean of the rows that have the label minus
# the mean of the others, add it to the stream at every word of fresh sentences, and see how far the
# prediction moves: the share of the probability of the next word's *class* that goes elsewhere
# (half of the summed absolute differences, also called total variation).
#
# "How far" needs a control as well. *Any* vector of that length does some damage when it is added
# to the stream, so add random ones that are exactly as long.
#
# Predict: does adding "place 9 or later", which a probe reads without error, move the prediction
# further than a random direction of the same length does on average?

# %%
### BEGIN SOLUTION
probability_place = 0.2
### STUB
# probability_place = ...
### END SOLUTION
lab.predict("8.Q", "the direction of place moves predictions more than random ones",
            probability_place)  # fmt: skip

# %% [markdown]
# ### Exercise 8.6: the effect, in units of luck
#
# `effect(direction)` is the effect of one direction, a number. `draws` are random directions of
# some length. Make each as long as `direction` (the `effect` is not proportional to length, so do
# it *before* measuring), and return the direction's effect divided by their mean effect.


# %% exercise="8.6" points=3 minutes=8 difficulty=2
def effect_ratio(effect, direction: torch.Tensor, draws: torch.Tensor) -> float:
    """effect: [d] -> number. direction: [d]. draws: [count, d]. Returns a ratio."""
    ### BEGIN SOLUTION
    matched = draws / draws.norm(dim=1, keepdim=True) * direction.norm()
    by_chance = [float(effect(draw)) for draw in matched]
    return float(effect(direction)) / (sum(by_chance) / len(by_chance))
    ### END SOLUTION


lab.check("8.6", effect_ratio)


# %%
def next_class(logits: torch.Tensor) -> torch.Tensor:
    """Probability of the next word's class: [sentences, 16, 300] -> [sentences, 16, 10]."""
    members = torch.nn.functional.one_hot(torch.as_tensor(data.class_of_word)).float()
    return logits.softmax(-1) @ members


with torch.no_grad():
    clean = next_class(trained(data.fresh))


def moved(logits: torch.Tensor) -> torch.Tensor:
    """Share of the next class's probability that went elsewhere, a mean for each sentence."""
    return (next_class(logits) - clean).abs().sum(-1).mean(-1) / 2


def effect(direction: torch.Tensor) -> float:
    with torch.no_grad():
        return moved(steer(trained, data.fresh, before, direction)).mean().item()


def towards(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """From the mean of the fitted rows without the label to the mean of those with it."""
    return torch.as_tensor(x[fit][y[fit]].mean(0) - x[fit][~y[fit]].mean(0)).float()


draws = random_directions(64, 30, seed=1)
table = []
for name, y in bits.items():
    direction = towards(stream, y)
    luck = [effect(d * direction.norm()) for d in draws]
    ratio = lab.use("8.6", effect_ratio, effect, direction, draws, name=name)
    table.append({
        "pushed": name, "effect": effect(direction), "random, lowest": min(luck),
        "random, mean": np.mean(luck), "random, highest": max(luck), "ratio": ratio,
    })  # fmt: skip
lab.outcome("8.Q", table[0]["effect"] > table[0]["random, mean"])

figure, axis = plt.subplots(figsize=(7, 2.7))
for height, row in enumerate(table[::-1]):
    span = row["random, lowest"], row["random, highest"]
    _ = axis.plot(span, (height, height), color=plots.GREY, linewidth=5, alpha=0.5)
    _ = axis.plot(row["random, mean"], height, "|", color="black", markersize=14)
    _ = axis.plot(row["effect"], height, "D", color=plots.BLUE, markersize=8)
_ = axis.set_yticks(range(3), [row["pushed"] for row in table[::-1]])
_ = axis.set(xlabel="share of the next class's probability that moves", xlim=(0, 0.5),
             ylim=(-0.5, 2.6))  # fmt: skip
_ = axis.annotate("30 random ones of that length: range and mean", (0.08, 2.25), color=plots.GREY)
_ = axis.annotate("this direction", (0.44, 1), color=plots.BLUE, ha="right", va="center")
figure.tight_layout()
lab.figure(
    figure,
    alt="Effect of three directions beside the range of thirty random ones of the same length. "
    "Place lies below all random ones, class 0 far above, the lot among them.",
    table=table,
    digits=2,
)

# %% [markdown]
# In the figure compare each diamond with the grey range beside it, which is what thirty random
# directions of the same length do. The direction of place does less than each of the thirty. The
# direction of class 0 does several times what chance does. The two probes have the same accuracy,
# and nothing in it tells you which is which. (The labels by lot lie in the random range, as they
# should.)
#
# Two questions remain. Did training do this, or was it so from the beginning? The untrained network
# can tell. And is it so everywhere? Try the end of layer 1, where the stream's vectors are long and
# a short random one hardly matters.


# %%
def beside_luck(network, site: Site, direction: torch.Tensor) -> tuple[float, float]:
    """Effect of a direction, and mean effect of the random ones as long, in a network at a site."""
    with torch.no_grad():
        clean = next_class(network(data.fresh))
        many = [direction, *(draws * direction.norm())]
        effects = [
            (next_class(steer(network, data.fresh, site, d)) - clean).abs().sum(-1).mean().item()
            for d in many
        ]
    return effects[0] / 2, np.mean(effects[1:]) / 2


last = Site(HOOKS["end of layer 1"])
at_first = before.read(untrained, data.tokens)[:, 1:].reshape(-1, 64).double().numpy()
for name in ("place 9 or later", "class 0"):
    for where, (network, site, x) in {
        "untrained, before layer 0": (untrained, before, at_first),
        "trained, end of layer 1": (trained, last, end),
    }.items():
        found_, luck_ = beside_luck(network, site, towards(x, bits[name]))
        print(f"{name:<17} {where:<26} effect {found_:.3f}, ratio {found_ / luck_:.2f}")

# %% [markdown]
# In the untrained network both directions do what chance does, and all effects are small: nothing
# there uses them. Training made one of them matter, and taught this network to ignore the other. Of
# two more networks trained the same way from other initial weights, one came out like this one; in
# the other, place does just what chance does (`python -m benchmarks probing` trains them). So "no
# more than chance" holds for all three, and "less than chance" does not.
#
# At the end of layer 1 the ratio of place comes out above one, while its effect is about as small
# as before. A ratio does not say whether anything is large, so report both. About place you can say
# that, pushed in either spot, it moves a few hundredths of the prediction, where class 0 moves
# nearly half.
#
# A push shows only that the network *can be moved* along a direction. To show that it moves itself
# that way, you exchange activations between real inputs (lesson 05).
#
# ## 6 · All of it in one call
#
# `probe` does all of this lesson in one call, and never prints an accuracy without its controls;
# here you learn to read its report. You give it groups (what a split must keep together), types
# (what could be learned by heart), the same rows of an untrained twin, and, if you like, a `Causal`
# that says where to push and what to watch.

# %%
after_0 = torch.as_tensor(data.transitions[0]).float()  # what follows class 0, [10]


def closeness(logits: torch.Tensor) -> torch.Tensor:
    """1 minus total variation between the prediction and what follows class 0: [sentences]."""
    return 1 - (next_class(logits) - after_0).abs().sum(-1).mean(-1) / 2


zero = towards(end, bits["class 0"])
by_lot = towards(end, bits["class 0 by lot"])
with torch.no_grad():
    start = closeness(trained(data.fresh)).mean()
    for name, direction in (("class 0", zero), ("by lot", by_lot / by_lot.norm() * zero.norm())):
        logits = steer(trained, data.fresh, last, direction)
        closer = closeness(logits).mean() - start
        print(f"{name:<8} moves {moved(logits).mean():.3f}, {closer:+.2f} closer to class 0's")

causal = Causal(trained, data.fresh[:50], last, closeness, target=0, directions=20)
report = probe(
    end, data.cls, groups=data.sentence, types=data.word,
    random_init=rows["untrained, end of layer 1"], causal=causal, seeds=(0,), n_resamples=500,
    title="Class of the current word, end of layer 1", digits=2,
)  # fmt: skip
report

# %% [markdown]
# Read a report from the bottom up, and stop at the first line that spoils the claim.
#
# But look first at the two lines above it. At the end of the network the direction of the labels by
# lot was stretched to the length of that of class 0, and it moves the prediction *more* than class
# 0 does. Every difference of means lies among the few directions in which this stream varies, so a
# long one always does something. Judged by "how far", the control would have looked better than the
# finding. The claim is about class 0, so measure what it says: how much *closer* the prediction
# comes to what follows class 0. By that measure the labels by lot lead away. Place, which hardly
# moved anything, needed no such care.
#
# In the report the difference of means does what is claimed. The *probe's weights*, which scored
# .96, do a fraction of it, no more than some random directions. Weights are fitted for reading, and
# turn away from whatever would disturb the reading. Do not steer along them. (Lesson 09 returns to
# this.)
#
# The row of unseen types held out other words than you did, and differs from yours by several
# hundredths. Its interval is wide enough for that, because what was drawn there is 90 words and not
# 1,800 rows.
#
# Last, four results on this network, each of which could stand in an abstract.

# %%


def table_on(label: np.ndarray, given: np.ndarray, name: str, digits: int = 1) -> str:
    """Accuracy of the table from `given` to the label."""
    share = lab.use("8.1", table_accuracy, given, label, fit, held, name=name)
    return f"{share:.{digits}f}"


def plain(make, x: np.ndarray, label: np.ndarray) -> str:
    """Accuracy, and that on unseen words, one decimal each."""
    new = fitted(make(), x[~out], label[~out]).score(x[out], label[out])
    return f"accuracy {accuracy(make, x, label):.1f}, unseen words {new:.1f}"


print("A  a label of the word with ten values; word vectors; MLP-32")
print(f"   {plain(wide, vectors, lot)}, table of words {table_on(lot, data.word, 'A')}")
for name, y, row in (
    ("B  place 9 or later", bits["place 9 or later"], table[0]),
    ("C  class 0 or not", bits["class 0"], table[1]),
):
    print(f"{name}; before layer 0; linear\n"
          f"   {plain(linear, stream, y)}, table of words {table_on(y * 1, data.word, name[0])}\n"
          f"   pushed {row['effect']:.2f}, random ones {row['random, lowest']:.2f} to"
          f" {row['random, highest']:.2f}")  # fmt: skip
previous = data.previous
mode = (previous[held] == np.bincount(previous[fit]).argmax()).mean()
twin = accuracy(linear, rows["untrained, end of layer 1"], previous)
print(f"D  class of the word before; end of layer 1; linear\n"
      f"   accuracy {accuracy(linear, end, previous):.2f}, commonest {mode:.2f},"
      f" untrained twin {twin:.2f},\n"
      f"   table of the current word's class {table_on(previous, data.cls, 'D', 2)}")  # fmt: skip

# %% [markdown]
# ### Exercise 8.7: what does each result show?
#
# Choose for each of A, B, C and D one of `"learned by heart"` (the probe did it, not the network),
# `"shadow"` (it comes with another label that is there), `"there, not used"`, `"there and used"`.

# %% exercise="8.7" points=3 minutes=8 difficulty=2
### BEGIN SOLUTION
verdicts = {"A": "learned by heart", "B": "there, not used", "C": "there and used", "D": "shadow"}
### STUB
# verdicts = {"A": ..., "B": ..., "C": ..., "D": ...}
### END SOLUTION
lab.check("8.7", verdicts)

# %% [markdown]
# D is the subtle one. The word before can be guessed from the end of the network better than by the
# commonest label, on new sentences, and the untrained twin is far worse at it. All of that is true,
# and all of it follows from the class of the *current* word, which is there. Whenever your label is
# correlated with another one, ask what that other label alone would give.
#
# On your own model take the same steps. (1) What would a table of the inputs' identity give? (2)
# What does the same probe make of labels by lot, and of the untrained network? (3) Hold out whole
# types, or count bits. (4) Which better-known label could be casting the shadow? (5) Push, beside
# random directions of the same length. Each of the first four takes a few lines and a minute.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About the reversed ranking.** Other labels by lot, or another network of the same recipe, in
#   which the end is not the most selective place. You saw one draw of labels and one network. The
#   benchmark repeats the table on three networks, two lots each, and the reversal held in each.
# - **About "the class is made in the layers".** Untrained activations that do well on *unseen*
#   words. Here they stay at the level of guessing; in a language whose words resemble each other by
#   class (endings, spelling) even random features of the spelling would not.
# - **About the idle place.** A direction of place that moves predictions more than chance does. We
#   pushed along one, from early to late; sixteen places span more. And training was stopped before
#   the network had finished learning; one trained to the end might use place in a way that we did
#   not think of.
# - **About selectivity.** A probe with a penalty, or with fewer neurons, that keeps the accuracy of
#   the large one and loses the lot. Hewitt and Liang found that such limits help and dropout does
#   not (published); then the blame lies with the training of the probe, not with its kind.
#
# ## Where this comes from
#
# Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2016), made
# probes a method. Hewitt and Liang, "Designing and Interpreting Probes with Control Tasks" (2019),
# are section 2, Voita and Titov, "Information-Theoretic Probing with Minimum Description Length"
# (2020), section 4. Elazar, Ravfogel, Jacovi and Goldberg, "Amnesic Probing" (2021), showed for
# language models that how well a label is probed says little about how much it is used.
#
# **Next.** Lesson 09 looks for a concept without any labels, and finds another one.
