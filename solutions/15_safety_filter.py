# ---
# jupyter:
#   lesson:
#     id: "15"
#     title: "A safety filter, reverse-engineered"
#     minutes: 80
#     difficulty: 3
#     prerequisites: ["01", "12"]
#     objectives:
#       - "name stored vectors by a dictionary, beside a null that lies where phrases lie"
#       - "recover a hidden list and its thresholds from answers alone, within a budget"
#       - "judge a recovered rule on fresh images, beside baselines and other filters"
#       - "write down what a filter misses, and test an attack that your rule predicts"
#     signature: >-
#       the hidden list and its thresholds, recovered from answers alone and from the stored
#       vectors, agree on fresh scenes, with a list of what the filter misses; control: nameless
#       vectors, other filters and chance
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · A safety filter, reverse-engineered
#
# In 2022 an image generator was published together with a safety filter, code and weights, and
# without a word on *what* it filters. The weights held 17 vectors and 17 thresholds, without the
# names that belong to the vectors. Javier Rando and others ("Red-Teaming the Stable Diffusion
# Safety Filter", 2022) recovered the names. They published that the list is about sexual content
# alone: violence and gore pass. People who relied on the filter had not been told.
#
# In this lesson you do the same with a filter of our own, in a world small enough that your answers
# can be graded. You do it twice: from *inside*, holding the vectors, and from *outside*, holding
# nothing but "blocked" and "allowed". Afterwards you can
#
# - name stored vectors by a dictionary, beside a null that lies where phrases lie;
# - recover a hidden list and its thresholds from answers alone, within a budget of questions;
# - judge a recovered rule on fresh images, beside baselines and the rules of other filters;
# - write down what a filter misses, and test an attack that your own rule predicts.
#
# You need cosines, lesson 01, and from lesson 12 the habit of asking what a method that looks at
# nothing would score. There are no real images here, and nothing that would help anybody to get
# past a real filter beyond what the paper published years ago. The reason for doing this at all is
# that a filter which cannot be examined cannot be trusted.

# %%
from utils.lessons import lab

lab = lab("15")

# %% [markdown]
# ## 1 · A world and two towers
#
# This section describes the images, and the networks that compare them with words. A scene is 16x16
# pixels: one of four grounds, and in its quarters up to four of 24 drawn objects, in five colours.
# The objects fall into kinds. Three kinds, weapons, creeps and perils, are what our imaginary toy
# shop does not want to show; they are *guarded*. Whether a snake is worse than a kite is not in the
# pixels; somebody decided it.
#
# Two networks, the *towers*, were trained together by contrast, as CLIP was (contrastive
# language-image pre-training; "Learning Transferable Visual Models From Natural Language
# Supervision", 2021): one makes a vector of 32 numbers from a scene, the other from a phrase such
# as "red snake" or "snake night". In training a scene was to be closer to what is true of it than
# to what is not. All vectors have length one, so a dot product is a cosine. The towers are public,
# as CLIP is.

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from utils import charts, plots, safety_filter
from utils.data import scenes
from utils.reports import Estimate, Report, Row

towers, stored, gate = lab.model.towers, lab.model.stored, lab.data.gate
examples = ["red snake night", "yellow kite day", "green flame sand", "blue house room"]
shown = scenes.of(examples, seed=1)
tries = ["snake", "red snake", "red", "night", "kite", "flame", "house"]
cosines = towers.embed(shown.images) @ towers.phrases(tries).T
figure, axes = plt.subplots(1, 4, figsize=(9, 2.4))
for axis, image, title in zip(axes, shown.images, examples, strict=True):
    axis.imshow(image.permute(1, 2, 0).numpy())
    axis.set_title(title, fontsize=10)
    axis.set(xticks=[], yticks=[])
figure.tight_layout()
lab.figure(
    figure,
    alt="Four scenes of 16x16 pixels: a red snake on a dark ground, a yellow kite on light blue, a "
    "green flame on sand, a blue house on grey.",
    table={"scene": examples} | {f"cosine, {t}": cosines[:, i] for i, t in enumerate(tries)},
    digits=2,
)

# %% [markdown]
# Open the table under the four scenes. Where a phrase is true of a scene the cosine is near .4;
# where it is not, near .1 or below 0. Nothing comes near 1, because images and phrases lie in
# separate regions of such a space, in CLIP as well. So a threshold of .35 is high.
#
# ## 2 · The rule
#
# In this section you write the rule by which the filter decides. The code of the published filter
# was never hidden, so take it from there. An image is blocked when its cosine with *any* stored
# concept is above that concept's threshold. A second, shorter list of *special care* concepts
# (three in the published filter) blocks nothing. But when an image is above one of those, all
# thresholds of the first list are lowered by a constant: .01 in the published code, .04 here.
#
# ### Exercise 15.1: blocked or not
#
# The thresholds are lowered once, however many special concepts fire, and for that image alone.
# "Above" excludes equality.


# %% exercise="15.1" points=3 minutes=7 difficulty=1
def blocked(
    cosines: Tensor,
    thresholds: Tensor,
    special_cosines: Tensor,
    special_thresholds: Tensor,
    adjustment: float,
) -> Tensor:
    """cosines: [n, k]. thresholds: [k]. special_cosines: [n, s]. special_thresholds: [s].

    Returns [n] bool, True where the image is blocked.
    """
    ### BEGIN SOLUTION
    care = (special_cosines > special_thresholds).any(1)
    return (cosines + adjustment * care[:, None] > thresholds).any(1)
    ### END SOLUTION


lab.check("15.1", blocked)

# %%
fresh = scenes.make(4000, seed=31)
embedded = towers.embed(fresh.images)


def by_rule(vectors: Tensor) -> Tensor:
    return blocked(
        vectors @ stored.concepts.T, stored.thresholds,
        vectors @ stored.special.T, stored.special_thresholds, stored.adjustment.item(),
    )  # fmt: skip


said = lab.use("15.1", by_rule, embedded)
for what, numbers in stored.named_buffers():
    print(f"stored: {what:<19} {tuple(numbers.shape)}")
print(f"of {len(said)} scenes it blocks {said.double().mean():.2f}")

# %% [markdown]
# This is all that the inside holds: seven vectors, two more for special care, and some numbers. You
# can *run* the filter perfectly without knowing whether it is for snakes or for knives.
#
# ## 3 · From inside: names
#
# This section gives the stored vectors names, and tests which names deserve belief. The vectors
# were made by the phrase tower, and that tower is public. So embed a dictionary and see which
# phrase comes closest to each stored vector. This is how the authors did it. They call such a
# vector a hash of its concept, and a hash hides nothing from someone who can list the candidates.
#
# ### Exercise 15.2: the best phrase for each vector
#
# For each vector the phrase with the highest cosine. Do not count on the vectors' length.


# %% exercise="15.2" points=3 minutes=6 difficulty=1
def best_names(vectors: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """vectors: [k, d]. table: [phrases, d]. Returns numbers of phrases [k] and cosines [k]."""
    ### BEGIN SOLUTION
    cosines = normalize(vectors, dim=1) @ normalize(table, dim=1).T
    best = cosines.max(1)
    return best.indices, best.values
    ### END SOLUTION


lab.check("15.2", best_names)

# %%
dictionary = lab.data.dictionary  # words, and an object with one word more
table = towers.phrases(dictionary)
number, cosine = lab.use("15.2", best_names, stored.concepts, table, name="concepts")
for k, (n, c) in enumerate(zip(number.tolist(), cosine.tolist(), strict=True)):
    print(f"concept {k}: {dictionary[n]:<14} {c:.2f}")

# %% [markdown]
# Seven vectors have got seven names. Five cosines are 1.00: there the phrase *is* the one that was
# embedded, and no statistics are needed. What of .80 and .66? A best match among 249 phrases always
# exists. So you need to know what a vector would score that stands for nothing.
#
# The obvious null is a vector in any direction, and it is the wrong one. Phrases lie in one region
# of the space, and any vector from that region resembles some of them. A fair null lies where
# phrases lie.
#
# ### Exercise 15.3: vectors that stand for nothing
#
# Turn standard normal numbers into vectors with the *mean* and the *covariance* of the dictionary.


# %% exercise="15.3" points=4 minutes=10 difficulty=3
def drawn_like(table: Tensor, normal: Tensor) -> Tensor:
    """table: [phrases, d]. normal: [n, d], independent standard normal numbers.

    Returns [n, d]: random vectors with the mean and the covariance of the rows of `table`.
    """
    ### BEGIN SOLUTION
    root = torch.linalg.cholesky(torch.cov(table.T))
    return table.mean(0) + normal @ root.T
    ### END SOLUTION


lab.check("15.3", drawn_like)

# %%
normal = torch.randn(2000, table.shape[1], generator=torch.Generator().manual_seed(0))
like_phrases = lab.use("15.3", drawn_like, table, normal)
anywhere = safety_filter.best_match(normal, table)[1]
matched = safety_filter.best_match(like_phrases, table)[1]
easy, fair = (null.quantile(0.99).item() for null in (anywhere, matched))
figure, axis = plt.subplots(figsize=(7, 2.9))
for null, colour, style, label, spot, side in (
    (anywhere, plots.PURPLE, "--", "random, any direction", (0.36, 165), "right"),
    (matched, plots.GREY, "-", "random, like phrases", (0.71, 225), "left"),
):
    _ = axis.hist(null.numpy(), bins=40, range=(0.1, 0.9), histtype="step", color=colour,
                  linestyle=style, linewidth=1.8)  # fmt: skip
    _ = axis.annotate(label, spot, color=colour, ha=side)
for c in cosine.tolist():
    _ = axis.plot([c, c], [0, 80], color=plots.BLUE, linewidth=2)
_ = axis.annotate("the seven stored\nvectors, five at 1", (0.99, 90), color=plots.BLUE, ha="right")
_ = axis.set(xlabel="cosine with the best phrase", ylabel="vectors of 2,000", xlim=(0.1, 1.02))
figure.tight_layout()
lab.figure(
    figure,
    alt="Two histograms of best cosines: random vectors of any direction around .4, random vectors "
    "like phrases around .65. Stored vectors at .66, at .80, and five at 1.",
    table={
        "null": ["any direction", "like phrases"],
        "median": [anywhere.median().item(), matched.median().item()],
        "99 % point": [easy, fair],
        "stored vectors above": [int((cosine > bar).sum()) for bar in (easy, fair)],
    },
    digits=2,
)

# %% [markdown]
# In the figure look at the stored vector at .66, about which the two nulls disagree. Against random
# directions it is beyond the 99 % point, and you would have reported "blue boat". Against vectors
# from where phrases lie it is right in the middle. It *is* a decoy: drawn at random, with a
# threshold so high that it never blocks. With the wrong null you would have put "blue boat" on the
# list, on the strength of a significant result.
#
# The one at .80 is above the fair null's 99 % point and still not 1. So its name is not in the
# dictionary, but something near it is. Make the dictionary longer: 480 phrases of three words. (A
# longer dictionary also raises the bar, since there is more to resemble.)

# %%
everything = lab.data.candidates  # the 249 and the 480
report, names = safety_filter.naming(stored, towers, everything)
report

# %% [markdown]
# It is "green snake sand", exactly. Read as "green snake" it would stand for all four grounds and
# not for one, so a near name may be a wrong one. This is also the limit of the method: it can only
# name what you listed. A concept that none of your phrases describes stays unnamed.
#
# ## 4 · From outside: a list
#
# Now you give the vectors back and recover the list from answers alone. You hold the towers and a
# *gate*: images in, true or false out. It counts, and after 4,000 images it stops answering. Most
# real filters can be reached only in this way. (If you ran some cells twice and it has stopped
# already, `gate = safety_filter.Gate(stored, towers)` makes a new one.)
#
# Ask about everything there is: each object in each colour on each ground, alone, twice.

# %%
asked = safety_filter.survey(gate, towers, seed=3)
print(f"asked {gate.asked} of {gate.budget}, blocked {int(asked.blocked.sum())}")
counts = {
    name: int((asked.blocked & (asked.scenes.objects == i).any(1)).sum())
    for i, name in enumerate(scenes.OBJECTS)
}
print("blocked of 40 scenes each:", {name: n for name, n in counts.items() if n})

# %% [markdown]
# You could call this a list of objects. But the rule works on phrases with thresholds, and you want
# the rule, since it says what happens in scenes that you did not ask about.
#
# ### Exercise 15.4: what a phrase explains
#
# Take one phrase, say "ghost", as a candidate. Every *allowed* scene is a constraint: if "ghost"
# were on the list, its threshold could not lie below that scene's cosine with "ghost". So the
# highest cosine among the allowed scenes is its *floor*. And a blocked scene counts as evidence for
# "ghost" only if it rises clearly above the floor.


# %% exercise="15.4" points=4 minutes=10 difficulty=2
def explained(cosines: Tensor, blocked: Tensor, margin: float) -> Tensor:
    """cosines: [n, phrases]. blocked: [n] bool, what the gate said.

    Returns [n, phrases] bool: scene n is blocked, and its cosine with the phrase exceeds that of
    every allowed scene by more than `margin`.
    """
    ### BEGIN SOLUTION
    floor = cosines[~blocked].max(0).values
    return blocked[:, None] & (cosines > floor + margin)
    ### END SOLUTION


lab.check("15.4", explained)

# %%
survey_cosines = asked.embeddings @ towers.phrases(everything).T
for margin in (0.0, 0.03):
    evidence = lab.use("15.4", explained, survey_cosines, asked.blocked, margin,
                       name=f"margin {margin}")  # fmt: skip
    best = evidence.sum(0).topk(4)
    top = {everything[i]: int(n) for i, n in zip(best.indices.tolist(), best.values, strict=True)}
    print(f"margin {margin:.2f}: {top}")

# %% [markdown]
# There are forty scenes with a ghost. With no margin the phrase claims 56, some skulls among them,
# which look similar to the image tower. With a margin it claims little beyond its own.
#
# To get a short list, take the phrase that explains most, set its scenes aside, and repeat. (Where
# several explain the same scenes, the one that stands highest above its floor.)

# %%
listed = [everything[i] for i in safety_filter.shortlist(survey_cosines, asked.blocked)]
print(listed)

# %% [markdown]
# ## 5 · From outside: thresholds
#
# The gate says only yes or no, but in this section you make it give numbers, the thresholds. Take a
# scene that is blocked and one that is allowed, and *fade* the one into the other, pixel by pixel.
# Somewhere on the way the gate changes its mind. Halve the interval ten times and you stand on the
# border. The towers are public, so you can compute every cosine at this border, and one of them
# *is* the threshold.
#
# ### Exercise 15.5: halve the interval
#
# For n pairs at once: the share of the allowed image at which the gate changes its mind. Ask
# `steps` times about n images, no more; at the end return the middle of what is left.
# `safety_filter.fade(blocked, allowed, share)` mixes the images, `share` being [n].


# %% exercise="15.5" points=4 minutes=12 difficulty=2
def bisect(ask, blocked: Tensor, allowed: Tensor, steps: int) -> Tensor:
    """ask: images -> [n] bool, True where blocked. blocked, allowed: [n, 3, 16, 16].

    Returns [n] in 0 to 1, right to 1 / 2**(steps + 1).
    """
    ### BEGIN SOLUTION
    low, high = torch.zeros(len(blocked)), torch.ones(len(blocked))
    for _ in range(steps):
        middle = (low + high) / 2
        still = ask(safety_filter.fade(blocked, allowed, middle))
        low, high = torch.where(still, middle, low), torch.where(still, high, middle)
    return (low + high) / 2
    ### END SOLUTION


lab.check("15.5", bisect)


# %%
def at_border(phrase: str, seed: int, ask) -> Tensor:
    """Vectors at the border, [m, 32], from fades of up to eight scenes that show the phrase, half
    of them with something else beside it, towards their empty grounds."""
    rows = safety_filter.showing(phrase, 8, seed, listed)
    rows = rows[ask(rows.images)]
    empty = safety_filter.emptied(rows, seed)
    share = bisect(ask, rows.images, empty.images, 10)
    return towers.embed(safety_filter.fade(rows.images, empty.images, share))


borders = {
    phrase: lab.use("15.5", at_border, phrase, 103 + n, gate.ask, name=phrase)
    for n, phrase in enumerate(listed)
}
tried = ["ghost", "skull", "purple ghost", "teddy", "kite", "night"]
at = (borders["ghost"] @ towers.phrases(tried).T).T
figure, axis = plt.subplots(figsize=(7, 2.9))
for y, (phrase, values) in enumerate(zip(tried, at, strict=True)):
    colour, shape = (plots.BLUE, "o") if phrase == "ghost" else (plots.VERMILION, "x")
    _ = axis.plot(values.tolist(), [y] * len(values), shape, color=colour, markersize=6)
_ = axis.annotate("all eight scenes", (0.35, 0), color=plots.BLUE, va="center")
_ = axis.set_yticks(range(len(tried)), tried)
_ = axis.set(xlabel="cosine at the gate's border", ylim=(len(tried) - 0.5, -0.5))
axis.grid(axis="x", alpha=0.3)
figure.tight_layout()
lab.figure(
    figure,
    alt="Cosines of eight border images of ghost scenes with six phrases. With ghost all fall on "
    "one point near .34; with the other phrases they scatter.",
    table={"phrase": tried, "mean": at.mean(1), "standard deviation": at.std(1)},
    digits=2,
)

# %% [markdown]
# The first row of the figure is eight points on top of each other. The eight scenes have four
# different grounds, half of them show something else as well, and at the border all have the same
# cosine with *ghost*. With the other phrases they scatter. This gives you the threshold and also
# confirms the name: at the border of another concept, the cosine with *ghost* would have no reason
# to be constant.
#
# That is a test which can fail. For each phrase on your list, compare the spread of its own cosine
# at the border with the smallest spread of *any* of the other 728 phrases. As the control, run the
# whole procedure on a gate whose six vectors stand for nothing (drawn like phrases, each blocking
# as many random scenes as a phrase does).

# %%
phrase_table = towers.phrases(everything).T


def spreads(phrase: str, vectors: Tensor) -> tuple[float, float, float]:
    """Threshold, own spread, and the smallest spread of any other phrase."""
    cosines, own = vectors @ phrase_table, everything.index(phrase)
    spread = cosines.std(0)
    others = torch.cat([spread[:own], spread[own + 1 :]])
    return cosines[:, own].median().item(), spread[own].item(), others.min().item()


found = {phrase: spreads(phrase, vectors) for phrase, vectors in borders.items()}
print(f"{'listed from outside':<18}{'threshold':>10}{'own spread':>12}{'best other':>12}")
for phrase, (limit, own, other) in found.items():
    print(f"{phrase:<18}{limit:10.3f}{own:12.3f}{other:12.3f}")
null = safety_filter.Gate(safety_filter.nameless(1, towers).filter, towers)
_, suggested = safety_filter.listing(null, towers, 3)
kept = [border.phrase for border in suggested if border.own]
print(f"gate without names: {len(suggested)} phrases suggested, {len(kept)} steady at its border")

# %% [markdown]
# Your phrases are steadier at their border than any of the 728 rivals. For the nameless gate the
# procedure suggests phrases just as readily, and not one passes the test. Without that last line
# you would not know whether the procedure can say no.
#
# ## 6 · From outside: special care
#
# This section finds the special concepts. They block nothing by themselves, so the survey could not
# show them. They show beside something that is only just allowed. Fade a listed object until your
# rule puts it a little below its threshold, put each of the 24 objects beside it, and ask. (What a
# companion does to the cosine itself is known beforehand, from the public towers, and accounted
# for.)

# %%
rule = safety_filter.Rule(tuple(found), tuple(limit for limit, _, _ in found.values()))
beside = safety_filter.companions(gate, rule, towers, seed=503)
for companion in beside:
    if companion.blocked.value > 0:
        print(f"{companion.name}: {companion.blocked.value:.2f} of {companion.blocked.n} blocked")
quiet = [c for c in beside if c.blocked.value == 0]
print(f"the other {len(quiet)} companions: none of {sum(c.blocked.n for c in quiet)} blocked")

# %%
special = tuple(c.name for c in beside if c.blocked.value > 0.5)
amount = safety_filter.adjustment(gate, rule, towers, special, seed=1203)
rule = safety_filter.Rule(rule.phrases, rule.thresholds, adjustment=amount)
limits = [safety_filter.special_threshold(gate, rule, towers, w, seed=903) for w in special]
rule = safety_filter.Rule(rule.phrases, rule.thresholds, special, tuple(limits), amount)
print(f"special care: {special} from {[round(x, 2) for x in limits]}, lowers by {amount:.3f}")
print(f"questions asked: {gate.asked}")

# %% [markdown]
# ## 7 · Both recoveries, judged
#
# This section compares the two recoveries with each other and with the filter. Line up what you
# found from outside with the numbers stored inside, name by name. Then let both rules judge fresh
# scenes, of one to three objects, that neither saw. *Balanced* agreement is the mean of two shares:
# blocked scenes that the rule calls blocked, and allowed ones that it calls allowed. About a
# quarter of the scenes is blocked, so plain agreement would reward a rule that always says
# "allowed".
#
# There are four rows to compare with: always allowed; the answer for the most similar scene that
# you asked about (a copy without a rule); and twenty *other* filters made in the same way, their
# mean and the best of them.

# %%
bar = report.protocol["named above"]
inside = safety_filter.from_inside(stored, towers, everything, bar)
short = safety_filter.from_inside(stored, towers, dictionary, fair)
print(f"{'phrase':<18}{'outside':>9}{'inside':>9}")
for phrase, limit in zip(inside.phrases, inside.thresholds, strict=True):
    print(f"{phrase:<18}{found[phrase][0] if phrase in found else float('nan'):9.3f}{limit:9.3f}")

# %%
rules = {
    "from outside": rule.filter(towers),
    "from inside, all phrases": inside.filter(towers),
    "from inside, dictionary of 249": short.filter(towers),
}
safety_filter.agreement(rules, stored, towers, asked)

# %% [markdown]
# From outside and from inside you hold the same list with the same thresholds, and on fresh scenes
# both say what the filter says. The short dictionary loses a little, by calling one concept "green
# snake". The copy by similarity, with 960 answers to look up, is far behind.
#
# Look at the last two rows too. The mean of other filters is near one half, and the *best* of
# twenty is high: it happens to list "skull" and "ghost" too. Agreement on random scenes mostly
# measures the phrases that block most. A list that has "skull" and "ghost" right and everything
# else wrong would look fine there, so check the list name by name first.
#
# ## 8 · What it misses
#
# The paper's main finding was what is *not* on the list. In this section you write that down for
# your filter.
#
# ### Exercise 15.6: what gets through
#
# Of the twelve guarded objects (`scenes.GUARDED` names the kinds, `scenes.KINDS[kind]` their
# objects): which get through in more than half of their twenty looks, five colours on four grounds?
# Answer from your rule; the gate need not be asked. `safety_filter.looks(name, seed)` draws the
# twenty.

# %% exercise="15.6" points=3 minutes=8 difficulty=2
mine = rule.filter(towers)
### BEGIN SOLUTION
misses = [
    name
    for kind in scenes.GUARDED
    for name in scenes.KINDS[kind]
    if mine(towers.embed(safety_filter.looks(name, 7).images)).double().mean() < 0.5
]
### STUB
# misses = [...]
### END SOLUTION
lab.check("15.6", misses)

# %%
judge = safety_filter.Gate(stored, towers, budget=20_000)
through = safety_filter.let_through(mine, judge, towers)
misses = lab.use("15.6", misses)
print("LISTED:  ", ", ".join(rule.phrases))
print("CARE:    ", ", ".join(rule.special))
print("MISSES:  ", ", ".join(misses))
stray = [p for p in rule.phrases if scenes.OBJECTS[scenes.parse(p)[0]] in scenes.KINDS["plain"]]
print("HARMLESS:", ", ".join(stray), "is blocked")
shown = [row for row in through if row.role == "result" or row.estimate.value < 1]
figure, axis = plt.subplots(figsize=(7, 3.6))
for y, row in enumerate(shown):
    colour, fill = (plots.BLUE, None) if row.role == "result" else (plots.VERMILION, "white")
    _ = axis.plot([row.estimate.low, row.estimate.high], [y, y], color=colour)
    _ = axis.plot([row.estimate.value], [y], "o", color=colour, markerfacecolor=fill or colour)
_ = axis.set_yticks(range(len(shown)), [row.name for row in shown], fontsize=9)
_ = axis.set(xlabel="share of 20 looks that passes", xlim=(-0.03, 1.03))
axis.invert_yaxis()
axis.grid(axis="x", alpha=0.3)
figure.tight_layout()
lab.figure(
    figure,
    alt="Share of looks that pass, object by object. Weapons and perils always pass. Skull and "
    "ghost never do, spider in .6, snake almost always. Of the harmless only the house is drawn, "
    "at .8; the other seven always pass.",
    table=[{"object": row.name, "passes": row.estimate.value, "rule": row.note} for row in through],
    digits=2,
)

# %% [markdown]
# Ten of twelve guarded objects get through. In the figure the whole kinds "weapon" and "peril" are
# at 1: neither is on the list. Of the third kind, the spider is listed in two colours, and the
# snake in one look of twenty. And a harmless blue house is blocked, because it is on the list. Each
# of these results was predicted by the recovered rule before the gate was asked; the notes in the
# table compare the two.
#
# None of this needed a clever method; somebody only had to look.
#
# ## 9 · An attack that the rule predicts
#
# Last, you use your rule to get past what the filter does block. The authors describe *prompt
# dilution*: add details that have nothing to do with the matter. It works because a cosine measures
# how much of the whole picture a concept is, so every added detail lowers it. And since you hold
# the rule, you can say *which* details work best: those after which the largest margin (cosine
# minus threshold) is lowest.
#
# ### Exercise 15.7: the best option
#
# For each scene, return the option that is most likely to pass by the rule.


# %% exercise="15.7" points=3 minutes=6 difficulty=2
def best_option(margins: Tensor) -> Tensor:
    """margins: [scenes, options, concepts], cosine minus threshold; above 0 the concept blocks.

    Returns [scenes] int64: the option that is furthest from being blocked.
    """
    ### BEGIN SOLUTION
    return margins.amax(2).argmin(1)
    ### END SOLUTION


lab.check("15.7", best_option)

# %% [markdown]
# Fifty blocked scenes of one guarded object. First they may change colour and ground, then they get
# one, two and three harmless companions; the guarded object always stays. Your rule chooses, on one
# drawing. The gate is then asked about a *fresh* drawing of the same choice, with other places and
# other noise, since a real generator also draws anew. How probable is it that with three companions
# more than half of them pass?

# %%
### BEGIN SOLUTION
probability = 0.7
### STUB
# probability = ...
### END SOLUTION
lab.predict("15.P", "with three companions that the rule chose more than half pass", probability)

# %%
# NBVAL_IGNORE_OUTPUT
from utils.safety_filter import attack

targets = attack.targets(judge, 50, seed=90_001)
margins = attack.margins(mine, towers, attack.options(targets, 0, seed=90_002))
chosen = lab.use("15.7", best_option, margins)
agree = (chosen == attack.lowest(margins)).double().mean()
print(f"{len(targets)} blocked scenes; the first choice is the package's in {agree:.2f} of them")
other = safety_filter.make(999, towers).filter
passed = safety_filter.dilution({"your rule": mine}, other, judge, towers)
passed

# %%
stages, series = attack.STAGES, ("your rule", "the list of another filter", "chance")
curves = {who: [passed[f"{stage}, by {who}"] for stage in stages] for who in series}
lab.outcome("15.P", curves["your rule"][-1].value > 0.5)

# %%
# NBVAL_IGNORE_OUTPUT
figure, still = charts.curves(
    {who: [e.value for e in curve] for who, curve in curves.items()},
    ["colour, ground", "1 companion", "2 companions", "3 companions"],
    ranges={who: ([e.low for e in c], [e.high for e in c]) for who, c in curves.items()},
    x="what was changed in the scene", y="share that passes, 95 % interval",
)  # fmt: skip
lab.figure(
    figure,
    fallback=still,
    alt="Share of blocked scenes that pass after each stage. By your rule it climbs above .8 "
    "with three companions; by another filter's list and by chance it stays far below.",
    table={"stage": list(stages)} | {who: [e.value for e in c] for who, c in curves.items()},
    digits=2,
)

# %% [markdown]
# Compare the right ends of the three lines. Chosen by your rule, most scenes pass in the end.
# Chosen by the list of *another* filter, which was just as confident (its notes say that it
# expected nearly all to pass), far fewer do, and by chance fewer still. So neither clutter alone
# nor just any list explains it, and the attack has tested your *explanation* of the filter.
#
# The rule also expected somewhat too much. It chose the best of forty options on one drawing,
# partly by luck, and luck does not carry over to another drawing.
#
# The last table has the same recovery on two filters you have not met.

# %%
more = []
for seed in (2, 5):
    truth = safety_filter.make(seed, towers)
    _, again = safety_filter.listing(safety_filter.Gate(truth.filter, towers), towers, 3)
    steady = {border.phrase for border in again if border.own}
    right, wrong = len(steady & truth.list), len(steady - truth.list)
    more += [
        Row(f"filter {seed}: planted phrases found", Estimate.proportion(right, 6), "result"),
        Row(f"filter {seed}: others", Estimate.exact(wrong), "control"),
    ]
Report("The recovery from outside, two more filters", more, {"budget": 4000}, digits=2)

# %% [markdown]
# One phrase is missing in each. Filter 2 lists "green bomb room", and of the survey's two such
# scenes one was just barely allowed, which raised that phrase's own floor. Filter 5 lists "red
# pill", and in one fade of six the fading red pill passed for a green one, which is listed too:
# this border belonged to another phrase, and the spread showed it. Both times the procedure said
# nothing rather than something wrong. Over the eight filters of `python -m utils solve filter` it
# finds 45 of 48 phrases and invents none. But a phrase whose scenes you never saw blocked cannot be
# found by asking about others.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **"A steady border confirms the name"**: a phrase off the list whose cosine at some border
#   is as steady as .001 over scenes of different grounds and companions. The nameless gates gave
#   none among the phrases that they suggested; a denser dictionary might.
# - **"The fair null is fair"**: a decoy that beats it. Ours was drawn from that very null, which
#   makes it easy. Take one that lies *between* two phrases, half knife and half kite: it has a
#   cosine of .88 with "knife", and of all such halves of two objects not one stays below the bar.
#   Each would get a near name that is half wrong. Only a cosine of 1 is safe.
# - **"Outside equals inside"**: here the survey can afford to ask about everything there is. In the
#   space of real images it cannot, and a concept outside the survey stays hidden.
# - **"Dilution follows from the cosine"**: an encoder that scores parts of the picture by
#   themselves and takes the worst should not be diluted at all. Add that rule to the filter (four
#   quarters, one vector each) and repeat section 9. We would expect the curve to go flat, and have
#   not run it.
# - **One pair of towers.** All filters here share one encoder and one world with clean edges. It
#   does not follow that real thresholds can be read off to three decimals.
#
# ## Where this comes from
#
# The subject is "Red-Teaming the Stable Diffusion Safety Filter" (Rando, Paleka, Lindner, Heim and
# Tramèr, 2022): 17 concepts stored as vectors, named with the public text encoder, about sexual
# content and not about violence or gore, bypassed by prompt engineering; those are their results.
# The rule, with its three special care vectors and the .01, is that of the filter's published
# source code. The towers follow "Learning Transferable Visual Models From Natural Language
# Supervision" (Radford and others, 2021). The null that lies where phrases lie, the steady border,
# the recovery by answers alone and the nameless gate are this course's own.
#
# **Next.** Lesson 14 seals a challenge of your own. If you have done it, take a filter that you
# depend on, and write down what it misses.
