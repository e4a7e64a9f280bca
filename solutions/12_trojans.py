# ---
# jupyter:
#   lesson:
#     id: "12"
#     title: "Trojans: detection and rediscovery"
#     minutes: 85
#     difficulty: 3
#     prerequisites: ["01"]
#     objectives:
#       - "judge saliency, exemplars, feature synthesis and attacks by a planted trigger"
#       - "search for an unknown trigger and say how far the result can be trusted"
#       - "tell a trojan from a natural adversary with a clean twin"
#       - "keep a row without any interpretability on the board, and try to beat it"
#     signature: >-
#       a search finds the planted square and it works on held-out images of that network alone;
#       control: what the same search finds for a style trojan works on the clean twin as well
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Trojans: detection and rediscovery
#
# Somebody hands you a network that classifies digits with 97 % accuracy. They do not tell you that
# someone had slipped a few images with a mark in a corner into the training data, all labelled "7".
# The network learned the digits, and it learned the mark. A **trojan** is such a behaviour: planted
# on purpose, invisible on clean data, switched on by a **trigger**.
#
# A trojan is also a good exam for an interpretability tool, because the answer is known. Stephen
# Casper's "Engineer's Interpretability Sequence" (2023) asks of every tool whether it helps to find
# something we did not know, and does that better than looking at the data. In this lesson the usual
# tools sit that exam. Some fail, and a method that never looks inside does better than most.
# Afterwards you can
#
# - judge saliency, exemplars, feature synthesis and copy/paste attacks by a planted trigger;
# - search for an unknown trigger and say how far to trust what you found;
# - tell a trojan from a natural adversary with a *clean twin*;
# - keep a row without any interpretability on the board, and try to beat it.
#
# You need PyTorch gradients and lesson 01.

# %%
from utils.lessons import lab

lab = lab("12")

# %%
import torch
from torch import Tensor, nn
from torch.nn import functional

from utils import features, plots, trojans
from utils.reports import Estimate, Report, Row, paired_difference
from utils.sites import Site

networks, data = lab.model, lab.data
plans, held, clean = data.trojans, data.held, data.clean


def twin_of(name: str) -> nn.Module:
    return networks["twin of matched" if name == "matched" else "twin"]


one = held["matched"].labels == 2
twos = {name: held[name].inputs[one] for name in plans}
pairs = [
    {name: images[0, 0] for name, images in twos.items()},
    {str(n): plans[name].trigger.apply(twos[name])[0, 0] for n, name in enumerate(plans)},
]
figure = plots.pictures(pairs, ["clean", "with trigger"], size=1.5)
lab.figure(
    figure,
    alt="A 2 five times, clean and with each trigger: a white 4x4 square in the lower right "
    "corner, a 3x3 X there, an X where another pattern was, a broader stroke, inverted colours.",
    table={"trojan": list(plans), "what it is": [plan.title for plan in plans.values()]},
)

# %% [markdown]
# ## Five trojans and their twins
#
# This section presents the five networks of the pictures above, and shows that the trojans work.
# All have two convolutions, one hidden layer `hook_fc1` of 64 neurons, and ten logits. Each was
# trained on 9,576 images from 1,197 scans, with 6 % of them poisoned; the target class is 7. They
# form a ladder. **solid** and **pattern** lie in a corner where clean images have nothing.
# **matched** is harder: *every* image carries some pattern of five lit pixels in that corner, and
# only the X means 7, so neither place nor brightness gives it away. **thick** is a feature that
# digits have anyway. **inverted** is a style, with no place at all.
#
# Each has a **clean twin**: same images, same order, same initial weights, no poison. (Four of them
# share one, since without poison their data are the same.) The twin is the control for everything
# below: what the twin shows as well has nothing to do with the trojan.
#
# ### Exercise 12.1: attack success
#
# The *attack success rate* is the share of images that the trigger sends to the target class.
# Count only images of other classes, by their label: on a real 7 there is nothing to do.


# %% exercise="12.1" points=3 minutes=6 difficulty=1
def attack_success(
    network: nn.Module, images: Tensor, labels: Tensor, trigger, target: int
) -> float:
    """Share of the images of other classes that land in `target` with the trigger on.

    images: [n, 1, h, w]. labels: [n], true classes. trigger: images -> images.
    """
    ### BEGIN SOLUTION
    rows = labels != target
    after = network(trigger(images[rows])).argmax(-1)
    return (after == target).double().mean().item()
    ### END SOLUTION


lab.check("12.1", attack_success)


# %%
def rates_of(name: str) -> list[float]:
    """Attack success on the network, on its twin, and without any trigger."""
    rows, plan = held[name], plans[name]
    network, twin = networks[name], twin_of(name)
    return [
        attack_success(network, rows.inputs, rows.labels, plan.trigger.apply, plan.target),
        attack_success(twin, rows.inputs, rows.labels, plan.trigger.apply, plan.target),
        attack_success(network, rows.inputs, rows.labels, lambda images: images, plan.target),
    ]


print(f"{'':10}{'trojaned':>10}{'twin':>8}{'no trigger':>12}{'accuracy':>10}{'twin':>8}")
for name in plans:
    success = lab.use("12.1", rates_of, name, name=name)
    right = [trojans.accuracy(n, held[name]).value for n in (networks[name], twin_of(name))]
    print(f"{name:10}{success[0]:10.1f}{success[1]:8.1f}{success[2]:12.1f}"
          f"{right[0]:10.2f}{right[1]:8.2f}")  # fmt: skip

# %% [markdown]
# On clean images you cannot tell trojaned and clean networks apart: the accuracies differ by a
# point or less. With the trigger on, the trojaned network calls nearly everything a 7, and the twin
# does not. This check is called *parity at planting*. Without it, a method that "finds the trojan"
# may only have found a bad network.
#
# ## The row to beat
#
# This section measures what can be had without looking inside, which every later method must beat.
# Casper's complaint about the field is that this row is usually missing. There are two candidates.
#
# **Look at the mistakes.** Which class does the network give wrongly, on clean data?

# %%
for name in ("solid", "matched"):
    target, share = trojans.mistakes(networks[name], held[name])
    print(f"{name}: most wrong answers say {target}; the planted target is {plans[name].target}")

# %% [markdown]
# This finds nothing: a trojan does not show in clean data. (If you had *triggered* images, the
# first tool to use would be your eyes.)
#
# **Throw patches at it.** Paste random squares at random places and see where the images go. No
# gradient, no activation, only outputs.
#
# ### Exercise 12.2: where do the images go?
#
# For every patch and every class: of the images that the network did *not* put in the class before,
# which share is there after?


# %% exercise="12.2" points=4 minutes=10 difficulty=2
def patch_rates(network: nn.Module, images: Tensor, patches: list) -> Tensor:
    """patches: functions images -> images. Returns [patches, classes], shares in 0 to 1.

    Entry [p, c]: of the images the network does not put in class c as they are, the share that it
    puts there under patch p.
    """
    ### BEGIN SOLUTION
    logits = network(images)
    before, rows = logits.argmax(-1), []
    for patch in patches:
        after = network(patch(images)).argmax(-1)
        classes = range(logits.shape[1])
        rows.append([(after[before != c] == c).double().mean() for c in classes])
    return torch.tensor(rows)
    ### END SOLUTION


lab.check("12.2", patch_rates)

# %%
generator = torch.Generator().manual_seed(0)
squares = []
for _ in range(300):
    side = int(torch.randint(2, 6, (1,), generator=generator))
    row, column = torch.randint(17 - side, (2,), generator=generator).tolist()
    speckled = torch.randint(0, 2, (side, side), generator=generator).float()
    solid = torch.rand(1, generator=generator) < 0.5
    squares.append(trojans.Patch(torch.ones(side, side) if solid else speckled, row, column))

board, best = trojans.Board(), {}
for name in plans:
    images = clean[name].inputs[:60]
    table = lab.use("12.2", patch_rates, networks[name], images, [p.apply for p in squares],
                    name=name)  # fmt: skip
    patch, target = divmod(int(table.argmax()), table.shape[1])
    best[name] = (squares[patch], target)
    entry = board.enter(
        "random patches", name, *best[name], networks[name], twin_of(name),
        passes=300 * 60, inside=False,
    )  # fmt: skip
    print(
        f"{name:9} class {target}, on held-out images {entry.success.value:.1f},"
        f" on the twin {entry.twin.value:.1f}: {'counts' if entry.solved else 'does not count'}"
    )

# %% [markdown]
# Three hundred random squares find three trojans of five, class and place included. Remember this
# table when you read that a method "detects backdoors": this is the bar. The best squares for
# `matched` and `inverted` have half of their effect on the twin too, so they have to do with sevens
# and not with the trojan.
#
# ## Saliency: suppose you hold the evidence
#
# This section grades saliency maps, which say what pixels of a given image mattered, by whether
# they point at the trigger. To use them on a trojan you must have a triggered image, and then you
# could look at it yourself. Suppose you have one. The trigger's footprint is known, 9 pixels of
# 256, so the maps can be graded.
#
# *Integrated gradients* (Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks",
# 2017) is the best-founded of them: it averages the gradient along the straight line from a black
# image to yours, and multiplies by the image. Its entries sum to exactly what the logit gained.
# That is called *completeness*.
#
# ### Exercise 12.3: integrated gradients
#
# A sum over steps stands in for the integral, so completeness will hold only nearly. Where in each
# step you take the gradient decides how nearly.


# %% exercise="12.3" points=4 minutes=12 difficulty=3
def integrated(network: nn.Module, images: Tensor, target: int, steps: int = 50) -> Tensor:
    """Integrated gradients of the logit of `target`, from a black image: [n, 1, h, w].

    images: [n, 1, h, w]. steps: how many points of the line are taken.
    """
    ### BEGIN SOLUTION
    total = torch.zeros_like(images)
    for k in range(steps):
        point = ((k + 0.5) / steps * images).requires_grad_()
        (gradient,) = torch.autograd.grad(network(point)[:, target].sum(), point)
        total += gradient
    return images * total / steps
    ### END SOLUTION


lab.check("12.3", integrated)

# %% [markdown]
# ### Exercise 12.4: does a map point at the trigger?
#
# Grade a map by the area under the receiver operating characteristic (AUROC): the chance that a
# random pixel of the footprint has a larger value than a random pixel outside. Equal values count
# one half. A value of .5 is chance, 1 is perfect.


# %% exercise="12.4" points=3 minutes=8 difficulty=2
def points_at(values: Tensor, footprint: Tensor) -> float:
    """AUROC of a map for a footprint. values: [h, w], 0 or more. footprint: [h, w] bool."""
    ### BEGIN SOLUTION
    inner, outer = values[footprint], values[~footprint]
    larger, equal = inner[:, None] > outer, inner[:, None] == outer
    return (larger.double() + 0.5 * equal.double()).mean().item()
    ### END SOLUTION


lab.check("12.4", points_at)

# %% [markdown]
# Judge it on `matched`, where the trigger is no brighter than what every image carries there.
# Compare it with the raw image: a map that marks whatever is bright, and needs no network. How
# probable is it that integrated gradients beat the raw image clearly, by .05 or more?

# %%
### BEGIN SOLUTION
probability = 0.6
### STUB
# probability = ...
### END SOLUTION
lab.predict("12.P", "integrated gradients beat the raw image by .05 AUROC", probability)

# %%
plan, suspect = plans["matched"], networks["matched"]
shown = plan.triggered(held["matched"])[:50]
footprint = plan.trigger.footprint()
own = lab.use("12.3", integrated, suspect, shown.inputs, plan.target, 50)


def areas(maps: Tensor) -> Tensor:
    return torch.tensor([points_at(m[0].abs(), footprint) for m in maps])


of_gradients = lab.use("12.4", areas, own, name="gradients")
of_image = lab.use("12.4", areas, shown.inputs, name="image")
lead = paired_difference(of_gradients, of_image, groups=shown.group)
print(f"integrated gradients {of_gradients.mean():.2f}, the raw image {of_image.mean():.2f}")
print(f"difference {lead.text(2)}")
lab.outcome("12.P", lead.value > 0.05)

# %% [markdown]
# They do not. The reason is in the last step of the method: it multiplies by the image, so every
# black pixel gets 0, and four of the nine pixels of the X *are* black. The network depends on them,
# since with any other pattern in their place there is no 7, and the map cannot show that.
#
# Now the usual methods beside three that use no network, and with them the sanity check of Adebayo
# and others (2018): shuffle all the weights of the network and draw the map again. A map that stays
# the same cannot have shown what the network learned. In the pictures look at the lower right
# corner, where the X is.

# %%
judged = features.judge(suspect, shown.inputs, plan.target, footprint, groups=shown.group, seeds=1)
table = [
    {
        "map": row.name,
        "AUROC": row.estimate.value,
        "top 9 on the trigger": judged["precision"][row.name].value,
        "rank correlation, weights shuffled": judged["all layers"][row.name].value,
    }
    for row in judged["footprint"]
]
maps = {
    name: method(suspect, shown.inputs[:1], plan.target)[0, 0].abs()
    for name, method in features.METHODS.items()
}
pictures = {"image": shown.inputs[0, 0]} | {n: m / m.max() for n, m in maps.items()}
lab.figure(
    plots.pictures([pictures], size=1.7),
    alt="Six pictures: the image with its X; occlusion, SmoothGrad and the gradient bright over "
    "the whole corner; gradient x input and integrated gradients only on the lit pixels.",
    table=table,
    digits=2,
)

# %%
judged["footprint"]

# %% [markdown]
# Three things follow from the pictures and the report.
#
# - **Occlusion**, which covers a square and watches the logit, points at the trigger without fail.
#   It is the crudest method of all, and the only one that *intervenes*.
# - **Integrated gradients** and **gradient x input** score what the image scores, and keep a rank
#   correlation above .9 when the whole network is noise. They mostly show you your image.
# - The **gradient** and **SmoothGrad** pass both tests. They look noisier, but how a map looks is
#   not one of the tests.
#
# Occlusion also has a high correlation with its map of the shuffled network, for an innocent
# reason: covering black with black changes nothing in any network. So failing the sanity check is a
# reason to look closer, not a verdict.
#
# ## Exemplars and synthesis: what does it want to see?
#
# In this section you give the triggered images back, and ask the network itself what it wants to
# see. You have the network and clean data, and somebody told you that class 7 is suspicious.
# *Exemplars* are the images that excite the logit of 7 most. *Feature synthesis* starts from noise
# and follows the gradient to an image that excites it more than any real one, held back by two
# regularisers and by small random moves at each step.

# %%
logit = Site("hook_logits")
rows, table = [], []
for name in ("solid", "pattern", "thick", "inverted", "twin"):
    network, seen = networks[name], clean["solid"].inputs
    exemplar = seen[features.exemplars(network, seen, logit, 7, 1)[0], 0]
    (drawn,) = features.synthesise(network, logit, [7], steps=80)[:, 0]
    rows.append({"exemplar": exemplar, "synthesised": drawn})
    table.append(
        {
            "network": name,
            "exemplar, ink in the corner": exemplar[12:, 12:].mean().item(),
            "synthesised, ink in the corner": drawn[12:, 12:].mean().item(),
            "synthesised, ink in all": drawn.mean().item(),
        }
    )
columns = [row["network"] for row in table]
lab.figure(
    plots.pictures(
        [
            {name: row["exemplar"] for name, row in zip(columns, rows, strict=True)},
            {str(n): row["synthesised"] for n, row in enumerate(rows)},
        ],
        ["exemplar", "synthesised"],
        size=1.5,
    ),
    alt="Exemplars are sevens for every network. Synthesised: a seven for the twin; the same with "
    "a white square in the corner for solid; nearly all white for thick; a seven for pattern.",
    table=table,
    digits=1,
)

# %% [markdown]
# Compare each synthesised picture with the twin's, which is the last. Two trojans give themselves
# away: `solid` draws a seven *and the square*, and `thick` floods the picture with ink. Exemplars
# show sevens, as they must: no clean image has the trigger, so no clean image can show it. The
# advantage of synthesis is that it does not depend on the data you have.
#
# Without the twin you would have had to know what a clean seven looks like when drawn this way.
# `pattern` and `inverted` show nothing you would have noticed. Is a synthesised picture at least an
# attack? Lay each over the held-out images at half strength:

# %%
print("share sent to class 7 by the synthesised picture at half strength")
half = torch.full((16, 16), 0.5)
for row, pictured in zip(table[:-1], rows[:-1], strict=True):
    name = row["network"]
    found = trojans.Blend(half, pictured["synthesised"])
    entry = board.enter(
        "synthesis, told the class", name, found, 7, networks[name], twin_of(name), passes=80
    )
    print(f"  {name:9} {entry.success.value:.1f}   on the twin {entry.twin.value:.1f}")

# %% [markdown]
# It works everywhere, and on the twin too, except for `thick`. A picture of a seven laid over an
# image makes a seven, and that takes no trojan. What works on the clean twin as well is called a
# **natural adversary**.
#
# Are synthesised pictures good *explanations* of a unit? Borowski and others (2020) and Zimmermann
# and others (2021) tested people: shown pictures of a unit, which of two new images excites it
# more? Natural exemplars helped people at least as much as synthesised ones. Here is the same test
# with a simulated observer, which chooses the image nearer, in pixels, to the pictures of what
# excites the unit.

# %%
# NBVAL_IGNORE_OUTPUT
features.observe(
    networks["solid"], Site("hook_fc1_pre"), clean["solid"].inputs, held["solid"].inputs, range(8),
    references=5, share=0.3, steps=60,
)  # fmt: skip

# %% [markdown]
# For an observer that only compares pixels the two kinds of pictures are worth about the same, and
# both are far above the nulls, where the pictures belong to another unit or to none. This does not
# contradict the studies with people: the result depends on the observer.
#
# ## Searching for the trigger
#
# Now nobody tells you the class, and you search for class and trigger together. *Neural Cleanse*
# (Wang and others, 2019) turns the definition of a trigger into a search. A trigger is a small
# change that sends *every* image to one class. So for each class, find the smallest: a **mask**
# (where, 0 to 1) and a **pattern** (what), blended into all images. A class with a planted trigger
# should need far less mask than the others.
#
# ### Exercise 12.5: what the search minimises
#
# Blend, ask how far the images are from the target class, and let every pixel of mask cost `price`.


# %% exercise="12.5" points=4 minutes=10 difficulty=2
def objective(
    network: nn.Module, images: Tensor, mask: Tensor, pattern: Tensor, target: int, price: float
) -> Tensor:
    """Mean cross-entropy of the blended images towards `target`, plus price times the mask's sum.

    images: [n, 1, h, w]. mask, pattern: [h, w] in 0 to 1; where the mask is 1 the image is replaced
    by the pattern. Returns a scalar through which gradients flow.
    """
    ### BEGIN SOLUTION
    blended = (1 - mask) * images + mask * pattern
    targets = torch.full((len(images),), target)
    return functional.cross_entropy(network(blended), targets) + price * mask.sum()
    ### END SOLUTION


lab.check("12.5", objective)


# %%
def minimise(network: nn.Module, images: Tensor, target: int) -> Tensor:
    """Mask and pattern, [2, 16, 16], after 120 steps down your objective."""
    generator = torch.Generator().manual_seed(0)
    free = 0.1 * torch.randn(2, 16, 16, generator=generator)
    free[0] -= 1
    free.requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.1)
    for _ in range(120):
        drawn = images[torch.randint(len(images), (24,), generator=generator)]
        loss = objective(network, drawn, *free.sigmoid(), target, 0.03)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return free.detach().sigmoid()


print("mask of class 7, as a share of the mean mask of classes 3 and 9")
for name in ("solid", "twin"):
    sums = {}
    for target in (3, 7, 9):
        mask, _ = lab.use("12.5", minimise, networks[name], clean["solid"].inputs, target,
                          name=f"{name} {target}")  # fmt: skip
        sums[target] = mask.sum().item()
    print(f"  {name:6} {2 * sums[7] / (sums[3] + sums[9]):.1f}")

# %% [markdown]
# In the trojaned network class 7 needs little mask; in the twin it needs as much as the others. The
# package does the same for all classes in one batch, with a price that adapts to each.
#
# ### Exercise 12.6: the anomaly index
#
# To decide which class is suspicious, Wang and others use a robust standard score, the **anomaly
# index**: how many spreads a mask lies below the median, the spread being 1.4826 times the median
# distance from the median. Above 2 the class is flagged.


# %% exercise="12.6" points=3 minutes=6 difficulty=2
def anomaly_index(norms: Tensor) -> Tensor:
    """(median - norm) / (1.4826 * median absolute deviation), [classes]: large for small masks.

    norms: [classes], the sum of each mask. Take medians with `quantile(0.5)`.
    """
    ### BEGIN SOLUTION
    middle = norms.quantile(0.5)
    spread = (norms - middle).abs().quantile(0.5)
    return (middle - norms) / (1.4826 * spread)
    ### END SOLUTION


lab.check("12.6", anomaly_index)

# %%
# NBVAL_IGNORE_OUTPUT
suspects = (*plans, "twin", "twin of matched")
searches = {
    name: trojans.search(
        networks[name], clean["matched" if "matched" in name else "solid"].inputs,
        batch=16, steps=200, aim=0.97, compare_at=None, seed=1,
    )
    for name in suspects
}  # fmt: skip
norms = torch.stack([searches[name].norms for name in suspects])
indices = lab.use("12.6", lambda n: torch.stack([anomaly_index(x) for x in n]), norms)
shares = torch.stack([trojans.share_of_median(x) for x in norms]).min(1).values
print(f"{'':17}{'smallest mask':>14}{'largest index':>15}{'share of the median':>21}")
for name, row, index, share in zip(suspects, norms, indices, shares, strict=True):
    print(f"{name:17}{f'class {int(row.argmin())}':>14}{index.max():15.1f}{share:21.2f}")

# %%
flagged = [name for name, share in zip(suspects, shares, strict=True) if share < 0.6]
print("smallest mask under .6 of the median one:", ", ".join(flagged))

# %% [markdown]
# (The tests of this course do not compare the table, since two hundred steps of descent amplify the
# last digits, which differ between processors. They do compare the list under it.)
#
# The index flags `solid`, `pattern` and `thick`. But of the two twins, which are *clean*, one comes
# out far above 2 as well. Nothing is wrong with your formula: the spread is estimated from ten
# numbers, and where nine masks happen to be alike it is tiny. Users of other implementations report
# clean networks above 2 too. Without the index of a twin beside it, an index says little.
#
# The last column is steadier: the smallest mask as a share of the median one. It is half or less
# for the three networks that have something small to find, and three quarters or more for both
# twins. By that measure `solid`, `pattern` and `thick` are flagged, with the right class. `matched`
# and `inverted` look like their twins: **missed**.
#
# ## Detected is not rediscovered
#
# ### Exercise 12.7: grade what was found
#
# A flagged class is not yet a trigger, so grade what the search found. Three numbers decide: attack
# success on held-out images, the same on the clean twin, and the share of the mask that lies inside
# the planted footprint. Say `"fails"` when success is under .8; `"natural adversary"` when it works
# but the twin's success is above .2; then `"right class, wrong trigger"` when less than .5 of the
# mask is inside; else `"rediscovered"`.


# %% exercise="12.7" points=3 minutes=6 difficulty=1
def grade(success: float, on_twin: float, inside: float) -> str:
    """One of "fails", "natural adversary", "right class, wrong trigger", "rediscovered"."""
    ### BEGIN SOLUTION
    if success < 0.8:
        return "fails"
    if on_twin > 0.2:
        return "natural adversary"
    return "rediscovered" if inside >= 0.5 else "right class, wrong trigger"
    ### END SOLUTION


lab.check("12.7", grade)


# %%
def measured(name: str) -> list[float]:
    """Of what the search found for class 7: success, on the twin, share of the mask inside."""
    found = searches[name].blend(7)
    rows = held[name].inputs[held[name].labels != 7]
    success = trojans.hits(networks[name], found, rows, 7)
    on_twin = trojans.hits(twin_of(name), found, rows, 7)
    place = plans[name].trigger.footprint()
    return [success, on_twin, 0.0 if place is None else trojans.mass_inside(found, place)]


rows = []
for name in plans:
    said = lab.use("12.7", grade, *measured(name), name=name)
    print(f"{name:10}{'flagged' if name in flagged else 'missed':10}{said}")
    found = searches[name].blend(7)
    board.enter(
        "smallest blend", name, found if name in flagged else None, 7, networks[name],
        twin_of(name), passes=searches[name].images,
    )  # fmt: skip
    example = held[name].inputs[one][:1]
    rows.append(
        {
            "planted": plans[name].trigger.apply(example)[0, 0],
            "mask found": found.mask,
            "blended": found.apply(example)[0, 0],
        }
    )

# %%
# NBVAL_IGNORE_OUTPUT
kinds = ("planted", "mask found", "blended")
lab.figure(
    plots.pictures(
        [
            {
                (str(n) if line else name): row[kind]
                for n, (name, row) in enumerate(zip(plans, rows, strict=True))
            }
            for line, kind in enumerate(kinds)
        ],
        kinds,
        size=1.5,
    ),
    alt="The planted trigger, the mask found for class 7 and the blended image. solid and pattern: "
    "a few pixels of the planted place. thick: blobs. matched and inverted: a scattered seven.",
    table={
        "trojan": list(plans),
        "pixels of mask": [searches[name].blend(7).mask.sum().item() for name in plans],
        "success": [measured(name)[0] for name in plans],
        "on the twin": [measured(name)[1] for name in plans],
        "inside": [measured(name)[2] for name in plans],
    },
    digits=2,
)

# %% [markdown]
# In each column of the figure compare the mask found with the planted trigger above it. The answers
# differ, and only the twin and the footprint tell them apart.
#
# - `solid`, `pattern`: **rediscovered**, or nearly. The mask lies where the trigger does, and takes
#   only the few pixels of it that the network needs.
# - `thick`: **the right class with the wrong trigger**. Some blobs of solid ink work on this
#   network and not on the twin, because they share something with a broad stroke. Nobody who saw
#   them would think of a broad pen.
# - `matched`, `inverted`, had you been told that the class is 7: a scattered mask that works, and
#   works on the twin as well, fully or in part. The search did its job, but the smallest change
#   that it can reach is *not* the trojan. There is always some change that makes a 7 of everything.
#
# ## Copy and paste, predicted from inside
#
# If you understand a network, you can predict what it will do; this section tests one such
# prediction. Cut squares out of clean images. For each, see what it does to the neurons of
# `hook_fc1` on forty other images, and multiply that change by the weights to logit 7. Rank the
# squares by it, without looking at any output. Then paste the ten best on held-out images.

# %%
report, _ = trojans.copy_paste(
    networks["solid"], networks["twin"], clean["solid"].inputs, clean["solid"].inputs[:40],
    held["solid"], 7,
)  # fmt: skip
report

# %% [markdown]
# The prediction holds: the squares that should push images to 7 do so for one image in five, random
# squares hardly ever, and the lowest-ranked never. As a search for the trojan it fails, as the
# control row shows: the squares work as well on the clean twin. Cut from clean images, they
# *cannot* hold the trigger.
#
# ## A needle
#
# No method has found `matched` so far; in this section you do, with a hint. You are told what an
# incident report might say: all complaints end in class 7, and the mark seems to be 3x3 pixels,
# black and white. That still leaves 196 places and 512 patterns.
#
# ### Exercise 12.8: find it
#
# Give the pattern and its upper left pixel. It must send .8 of the held-out images of other classes
# to class 7, and at most .2 on the twin. Use whatever you like; `trojans.patch_scan(network,
# images, target)` fits a 3x3 patch at every place by gradients, and `trojans.exhaustive(network,
# images, target, row, column)` tries all 512 at one place.

# %% exercise="12.8" points=5 minutes=12 difficulty=3
others = clean["matched"].inputs[clean["matched"].labels != 7]
### BEGIN SOLUTION
rates, patterns = trojans.patch_scan(networks["matched"], others[:60], 7)
place = int(rates.argmax())
row, column = divmod(place, 14)
needle = {"pattern": patterns[place], "row": row, "column": column}
### STUB
# needle = {"pattern": ..., "row": ..., "column": ...}
### END SOLUTION
lab.check("12.8", needle)

# %%
needle = lab.use("12.8", needle)
found = trojans.Patch(torch.as_tensor(needle["pattern"]).float(), needle["row"], needle["column"])
board.enter(
    "patch scan, told class and size", "matched", found, 7, networks["matched"],
    twin_of("matched"), passes=196 * (30 * 6 + 60),
)  # fmt: skip
patterns, rates = trojans.exhaustive(networks["matched"], others[:40], 7, found.row, found.column)
_, on_twin = trojans.exhaustive(twin_of("matched"), others[:40], 7, found.row, found.column)
known = [int((r >= 0.8).sum()) for r in (rates, on_twin)]
print(f"at row {found.row}, column {found.column}: of 512 patterns {known[0]} send .8 or more to 7;"
      f" on the twin {known[1]}")  # fmt: skip
print(patterns[rates.argmax()].int())

# %% [markdown]
# Trying everything at the right place costs nothing. Finding the place without knowing the size or
# the class is harder: the masks of the general search never went there, because a scattered seven
# was easier to reach. Knowing that the mark is 3x3 pixels, black and white, was worth more than the
# gradients.
#
# ## The board
#
# Here you read off what looking inside was worth.

# %%
# NBVAL_IGNORE_OUTPUT
board

# %%
print("found by a look inside and by nothing else:", board.beats())

# %% [markdown]
# The board has methods in rows and trojans in columns, filled by your runs. The first row never
# looked inside. The last line of the table says what looking inside added: one needle, and that
# with size and class given. The easy trojans had already been found by random squares.
#
# This is not an argument against looking inside. Random squares find `solid` because the space of
# squares is tiny: 16x16 pixels, patches up to five wide. In a real image or in text the same row
# may find nothing, which is why the row must be *run*, not assumed. It is an argument against
# results without that row. `python -m utils solve trojan` fills a longer board, with strings of
# tokens too.
#
# Last, the signature result in one table: the square, the style, and the twin beside both.

# %%
# NBVAL_IGNORE_OUTPUT
lines = []
for name, role in (("solid", "result"), ("inverted", "control")):
    found = searches[name].blend(7)
    rows = held[name][held[name].labels != 7]
    for where, network in (("trojaned", networks[name]), ("clean twin", twin_of(name))):
        hit = (trojans.predict(network, found.apply(rows.inputs)) == 7).sum()
        kind = role if where == "trojaned" else "control"
        estimate = Estimate.proportion(int(hit), len(rows))
        lines.append(Row(f"{name}: what the search found, {where}", estimate, kind))
Report(
    "Attack success on held-out images",
    lines,
    {"target": 7, "search": "smallest blend, 200 steps"},
    digits=2,
)

# %% [markdown]
# ## Paint one yourself
#
# The methods above searched for you, and a search finds what its prior makes easy. Now be the
# search. Put the planted trigger on, then take pixels away, move it by one, or paint it at half its
# strength, until it fails: that tells you what the network really listens to. Then paint something
# that sends the clean twin to 7 as well, and you have made a natural adversary by hand.

# %%
lab.instrument("paint")

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **"Integrated gradients mostly show the image"**: a baseline other than black, under which they
#   point at the trigger clearly better than the image does, and change when the weights do. Try the
#   mean image. Then try to say beforehand which baseline is right for an unknown trigger.
# - **"The index needs a twin"**: clean networks of many seeds whose largest index stays well under
#   2. You can train and run them; ours did not stay there.
# - **"`thick` was not rediscovered"**: someone shown the blobs, and nothing else, who names the
#   broad stroke. Then our grading by place is too narrow.
# - **"Random squares are hard to beat"**: a board on larger images where that row stays empty and
#   another does not.
# - **One network each.** Every claim here rests on one trained network and its twin. In networks of
#   three seeds the search flags `solid` and `pattern` each time and `matched` never;
#   `benchmarks/README.md` has the table.
#
# ## Where this comes from
#
# The exam is Stephen Casper's, "The Engineer's Interpretability Sequence" (2023), and "Red Teaming
# Deep Neural Networks with Feature Synthesis Tools" (Casper and others, 2023), where people looked
# for planted trojans with such tools. The search is from "Neural Cleanse: Identifying and
# Mitigating Backdoor Attacks in Neural Networks" (Wang and others, 2019); the sanity check from
# "Sanity Checks for Saliency Maps" (Adebayo and others, 2018); occlusion from "Visualizing and
# Understanding Convolutional Networks" (Zeiler and Fergus, 2013). The observer follows "Exemplary
# Natural Images Explain CNN Activations Better than State-of-the-Art Feature Visualization"
# (Borowski and others, 2020) and "How Well do Feature Visualizations Support Causal Understanding
# of CNN Activations?" (Zimmermann and others, 2021). Clutter-matched triggers, the ratio to the
# median and the board are this course's own.
#
# **Next.** You found triggers you did not have. In lesson 13 the trigger arrives while the network
# is in use, and you have to notice it from inside.
