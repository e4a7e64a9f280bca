# ---
# jupyter:
#   lesson:
#     id: "13"
#     title: "Mechanistic anomaly detection"
#     minutes: 80
#     difficulty: 3
#     prerequisites: ["12"]
#     objectives:
#       - "raise an alarm from activations, with a threshold that only trusted data may set"
#       - "tell an odd input from an input on which the network does something else"
#       - "say how many trusted rows an alarm needs, and what one dirty row in fifty costs"
#       - "judge a detector against a trojan that was trained to evade it"
#     signature: >-
#       distances inside the trojaned network tell triggered images from clean ones with an AUROC of
#       1.00; control: .5 on its clean twin and .5 on the pixels, given the same images
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · Mechanistic anomaly detection
#
# In lesson 12 you searched for triggers that nobody had shown you, and some you did not find. Here
# you watch instead of searching. The network is in use, inputs arrive one by one, and one day the
# trigger is on one of them. You need not know what it looks like. You need to notice that the
# network is answering *for another reason than usual*.
#
# This is the idea of **mechanistic anomaly detection** (Paul Christiano, "Mechanistic anomaly
# detection and ELK", 2022). Keep a set of **trusted** inputs, on which you believe the network is
# doing what you want. Record its activations there. When an input comes along whose activations
# could not have come from that set, raise an alarm. You need no labels of anomalies, no trigger and
# no theory of the network.
#
# One version of this is easy: to notice that the *input* is unlike any other. That takes no
# network, and it proves nothing about one. Most of this lesson is about telling the two apart, and
# about the ways in which a detector with a perfect score fails in use. Afterwards you can
#
# - raise an alarm from activations, with a threshold that only trusted data may set;
# - tell an odd input from an input on which the network does something else;
# - say how many trusted rows an alarm needs, and what one dirty row in fifty costs;
# - judge a detector against a trojan that was trained to evade it.
#
# You need lesson 12: trojan, trigger, clean twin, AUROC.

# %%
from utils.lessons import lab

lab = lab("13")

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from utils import plots, trojans
from utils.anomaly import Mahalanobis, MaxSoftmax, Nearest, contamination, detect, sample_sizes
from utils.ranking import auroc
from utils.reports import Estimate, Report, Row
from utils.sites import Site

networks, cases = lab.model, lab.data
HIDDEN = Site("hook_fc1")


def twin_of(name: str) -> nn.Module:
    return networks["twin" if name in ("solid", "pattern") else "twin of matched"]


pairs = [
    {"trusted": case.trusted.inputs[0, 0]}
    | {f"clean {n}": case.test.inputs[n, 0] for n in (1, 2)}
    | {f"triggered {n}": case.anomalous.inputs[n, 0] for n in (1, 2)}
    for case in (cases["solid"], cases["matched"])
]
figure = plots.pictures(pairs, ["solid", "matched"], size=1.5)
lab.figure(
    figure,
    alt="Digits of two data sets. solid: an empty lower right corner, with a white square where "
    "triggered. matched: some pattern of five pixels in every corner, an X where triggered.",
    table=[
        {"trojan": name, "trusted": len(c.trusted), "clean": len(c.test),
         "triggered": len(c.anomalous), "trigger": c.plan.title}
        for name, c in cases.items()
    ],
)  # fmt: skip

# %% [markdown]
# The networks are those of lesson 12, and one more that comes later. In the pictures look at the
# lower right corner: in `solid` only triggered images have anything there, in `matched` all have.
# For each network there are three sets of images: `trusted`, clean, from the scans that the network
# was trained on; `test`, clean, from scans that it never saw; `anomalous`, other unseen scans with
# the trigger. One detail matters more than it looks: `test` holds no image of the target class. A
# trigger changes nothing on a 7, so there is no 7 among the anomalies, and with sevens in `test` a
# detector that merely recognises sevens would look good.
#
# ## How far is far?
#
# This section builds the detector: a distance from the trusted images, and a threshold for it.
# `hook_fc1` has 64 neurons. The trusted images are a cloud of points there. A new image is odd if
# it lies far from the cloud's centre, *measured in units of how much the cloud spreads in that
# direction*. One step along a neuron that varies all the time is nothing; the same step along a
# direction in which no trusted image ever moved is an event. That is the **Mahalanobis distance**,
# from 1936: with mean m and covariance C, the square of it is `(x - m)ᵀ C⁻¹ (x - m)`.
#
# One difficulty is that C must be inverted.

# %%
known = HIDDEN.read(networks["matched"], cases["matched"].trusted.inputs).double()
moves = (known.std(0) > 0).sum()
print(f"neurons that are not constant on {len(known)} trusted images: {moves} of {known.shape[1]}")

# %% [markdown]
# Half of the neurons never fire, so C has rows of zeros and no inverse. Even without dead neurons a
# covariance from few rows has directions in which nothing happens to vary, and dividing by nearly
# zero makes noise look like an alarm. The cure is **shrinkage**: mix C with a multiple of the
# identity, `(1 - share) C + share v I`, where `v` is the *mean* variance of a neuron. Take the mean
# and not the sum: one published library takes the sum, which is d times too much, and with d = 64 a
# share of .1 would then drown the covariance in the identity. You will soon see what that does.
#
# ### Exercise 13.1: the distance
#
# Mean and covariance come from the trusted rows only. Return the *squared* distance of every new
# row.


# %% exercise="13.1" points=4 minutes=10 difficulty=2
def mahalanobis(trusted: Tensor, new: Tensor, share: float = 0.1) -> Tensor:
    """Squared distance of new rows [m, d] from the cloud of trusted rows [n, d]. Returns [m].

    share: of the identity, times the mean variance, in the covariance; 0 to 1.
    """
    ### BEGIN SOLUTION
    centred = trusted - trusted.mean(0)
    covariance = centred.T @ centred / len(trusted)
    target = covariance.diagonal().mean() * torch.eye(len(covariance), dtype=trusted.dtype)
    away = new - trusted.mean(0)
    return (away @ torch.linalg.inv((1 - share) * covariance + share * target) * away).sum(1)
    ### END SOLUTION


lab.check("13.1", mahalanobis)

# %% [markdown]
# For an alarm you also need a threshold, and only trusted rows may set it, since in use there are
# no others. They must not be the rows that the mean and the covariance were fitted to: those lie
# nearer to their own cloud than new ones do. So fit on one half, and set the threshold with the
# other.
#
# ### Exercise 13.2: the alarm
#
# Fit `score` to one half of the trusted rows. Take as threshold the smallest score of the other
# half that at most a share `fpr` of that half exceeds. Say which new rows exceed it. `fpr` stands
# for *false positive rate*, the share of harmless inputs for which you accept a false alarm.


# %% exercise="13.2" points=4 minutes=10 difficulty=2
def alarms(score, trusted: Tensor, new: Tensor, fpr: float = 0.01) -> Tensor:
    """score(fit, rows) gives one number a row, higher is odder. Returns [len(new)] bool."""
    ### BEGIN SOLUTION
    half = len(trusted) // 2
    held = score(trusted[:half], trusted[half:]).sort().values
    threshold = held[len(held) - 1 - int(fpr * len(held))]
    return score(trusted[:half], new) > threshold
    ### END SOLUTION


lab.check("13.2", alarms)

# %% [markdown]
# ## A perfect detector
#
# Here the detector gets a perfect score, and you find out that it means little. The first trojan is
# `solid`, the white square in the corner.


# %%
def read(network: nn.Module | None, images: Tensor) -> Tensor:
    """Activations [n, 64], or the pixels [n, 256] where there is no network; double precision."""
    values = images if network is None else HIDDEN.read(network, images)
    return values.flatten(1).double()


def shares(network: nn.Module | None, case, odd: Tensor) -> list[float]:
    """Share of `odd` images, and of clean ones, that raise the alarm."""
    rows = [read(network, images) for images in (case.trusted.inputs, odd, case.test.inputs)]
    return [alarms(mahalanobis, rows[0], part).double().mean().item() for part in rows[1:]]


def show_shares(name: str, network: str, odd: Tensor) -> None:
    """One line each for the network, its clean twin and the pixels."""
    places = {"network": networks[network], "clean twin": twin_of(network), "pixels": None}
    for place, model in places.items():
        caught, false = lab.use("13.2", shares, model, cases[network], odd, name=f"{name} {place}")
        print(f"{name:10}{place:12}{caught:8.2f}{false:14.2f}")


print(f"{'':22}{'caught':>8}{'false alarms':>14}")
network = networks["solid"]
caught, false = lab.use("13.2", shares, network, cases["solid"], cases["solid"].anomalous.inputs)
print(f"{'solid':10}{'network':12}{caught:8.2f}{false:14.2f}")

# %% [markdown]
# Every triggered image raises the alarm, and so does one clean image in a hundred. Before you
# believe it, run the same code on two things that hold no trojan: the clean twin, and the pixels
# with no network at all.

# %%
print(f"{'':22}{'caught':>8}{'false alarms':>14}")
show_shares("solid", "solid", cases["solid"].anomalous.inputs)

# %% [markdown]
# The twin, which has no trojan, "detects" it as well, and so does the raw image. The corner is
# empty in nearly every trusted image, and here it is white: you have built a detector of *white
# corners*, and what the network does with them plays no part.
#
# It is easy to design an experiment like this without noticing. Three terms will help in what
# follows:
#
# - **novelty**: the input is unlike the trusted inputs. Anything that looks at it may notice.
# - **anomaly of mechanism**: the input is handled in another way than trusted inputs are. Only the
#   network with that mechanism can show it.
# - an **alarm** does not say which of the two it was.
#
# ## The matched design
#
# In this section you see an anomaly of mechanism without novelty. For that the inputs must not be
# novel. In `matched` every image has a pattern of five lit pixels in that corner, and the X is one
# such pattern more. (Clean images never have *this* one, so the inputs do differ; but an image with
# it is no brighter than the others, and lies no farther from the average image.)

# %%
print(f"{'':22}{'caught':>8}{'false alarms':>14}")
show_shares("matched", "matched", cases["matched"].anomalous.inputs)

# %% [markdown]
# This is what an anomaly of mechanism looks like. With the same images and the same code, all are
# caught in the trojaned network, and in the twin and the pixels hardly more than clean images are.
#
# The share caught depends on the threshold. The usual summary that does not is the AUROC, the
# chance that a random anomaly scores higher than a random clean image. Its weakness is that it
# averages over thresholds nobody would use, such as one with alarms on a third of all traffic. So
# report with it the share caught where 1 % of *clean test* rows alarm, often written TPR (true
# positive rate) at 1 % FPR. This one is for papers, not for use: it needs test rows known to be
# clean.
#
# ### Exercise 13.3: caught at 1 % of clean
#
# The threshold is the smallest clean score that at most a share `fpr` of the clean scores exceeds.


# %% exercise="13.3" points=3 minutes=6 difficulty=1
def caught_at(clean: Tensor, odd: Tensor, fpr: float = 0.01) -> float:
    """Share of the anomalies' scores [m] above the threshold from the clean test scores [n]."""
    ### BEGIN SOLUTION
    threshold = clean.sort().values[len(clean) - 1 - int(fpr * len(clean))]
    return (odd > threshold).double().mean().item()
    ### END SOLUTION


lab.check("13.3", caught_at)


# %%
def distances(network: nn.Module | None, case, odd: Tensor, share: float = 0.1) -> dict:
    """Squared distances of clean test images and of `odd` ones from half of the trusted ones."""
    trusted = read(network, case.trusted.inputs)
    fit = trusted[: len(trusted) // 2]
    return {
        "clean": mahalanobis(fit, read(network, case.test.inputs), share),
        "odd": mahalanobis(fit, read(network, odd), share),
    }


def area(found: dict) -> Estimate:
    """AUROC with a 95 % interval."""
    truth = torch.cat([torch.zeros(len(found["clean"])), torch.ones(len(found["odd"]))])
    return auroc(torch.cat([found["clean"], found["odd"]]), truth)


case = cases["matched"]
places = {"trojaned": networks["matched"], "clean twin": twin_of("matched"), "pixels": None}
found = {
    place: lab.use("13.1", distances, network, case, case.anomalous.inputs, name=place)
    for place, network in places.items()
}
table = []
for place, scores in found.items():
    low = lab.use("13.3", caught_at, scores["clean"], scores["odd"], name=place)
    line = {"place": place, "AUROC": area(scores).value, "caught at 1 % of clean": low}
    for kind, label in (("clean", "clean"), ("odd", "triggered")):
        quantiles = scores[kind].quantile(torch.tensor([0.05, 0.5, 0.95]).double())
        line[f"{label}: 5, 50, 95 %"] = ", ".join(f"{q:.0f}" for q in quantiles)
    table.append(line)

figure, axes = plt.subplots(1, 3, figsize=(8.2, 2.8), sharey=True)
bins = np.geomspace(5, 800, 50)
for axis, (place, scores) in zip(axes, found.items(), strict=True):
    _ = axis.hist(scores["clean"].numpy(), bins, color=plots.BLUE, alpha=0.7)
    _ = axis.hist(scores["odd"].numpy(), bins, color=plots.VERMILION, alpha=0.7)
    _ = axis.set(xscale="log", title=place, xlabel="squared distance", ylim=(0, 125))
_ = axes[0].set_ylabel("images")
_ = axes[0].annotate("clean", (22, 80), color=plots.BLUE, ha="center")
_ = axes[0].annotate("triggered", (115, 113), color=plots.VERMILION, ha="center")
_ = axes[1].annotate("both", (24, 76), color=plots.GREY, ha="center")
_ = axes[2].annotate("both", (78, 108), color=plots.GREY, ha="center")
figure.tight_layout()
lab.figure(
    figure,
    alt="Histograms of squared distances of clean and triggered images. In the trojaned network "
    "the two do not overlap; in the clean twin and in the pixels they lie on each other.",
    table=table,
    digits=2,
)  # fmt: skip

# %% [markdown]
# Compare the two heaps in each panel. In the trojaned network they are far apart; in the clean twin
# and in the pixels they lie on top of each other.
#
# How much of it is the covariance? Shrink it wholly (`share = 1`), and what remains is the plain
# Euclidean distance:

# %%
for share in (0.01, 0.1, 1.0):
    scores = lab.use("13.1", distances, networks["matched"], case, case.anomalous.inputs, share,
                     name=f"share {share}")  # fmt: skip
    low = lab.use("13.3", caught_at, scores["clean"], scores["odd"], name=f"share {share}")
    print(f"share {share:<5} AUROC {area(scores).value:.2f}   caught at 1 % of clean {low:.1f}")

# %% [markdown]
# With `share = 1` the AUROC is .93, which sounds like a small loss, but at 1 % of clean images the
# detector misses about half. This is why the second number belongs beside the first. The exact
# share hardly matters as long as the covariance survives.
#
# ### Exercise 13.4: what may be said
#
# Write the rule down before you meet the next cases. Given three AUROCs, for the network, its clean
# twin and the raw input, say
#
# - `"not found"` when the network's is below .95;
# - else `"novelty"` when the twin's is more than .08 away from one half, on *either* side;
# - else `"mechanism, but the input suffices"` when the raw input's is .95 or more;
# - else `"mechanism"`.


# %% exercise="13.4" points=3 minutes=6 difficulty=1
def reading(network: float, twin: float, raw: float) -> str:
    """One of the four texts above."""
    ### BEGIN SOLUTION
    if network < 0.95:
        return "not found"
    if abs(twin - 0.5) > 0.08:
        return "novelty"
    return "mechanism, but the input suffices" if raw >= 0.95 else "mechanism"
    ### END SOLUTION


lab.check("13.4", reading)

# %% [markdown]
# Four cases. `pattern` is the X in an *empty* corner. And as a negative control something harmless:
# the `matched` network is shown clean images with black and white exchanged. Nobody planted
# anything there; people do scan documents the wrong way round.

# %%
inverted = trojans.TROJANS["inverted"].trigger.apply(cases["matched"].test.inputs)
odd = {name: (name, cases[name].anomalous.inputs) for name in ("solid", "pattern", "matched")}
odd["inverted, harmless"] = ("matched", inverted)
print(f"{'':20}{'network':>8}{'twin':>7}{'pixels':>8}")
for name, (network, images) in odd.items():
    three = []
    for model in (networks[network], twin_of(network), None):
        three.append(lab.use("13.1", distances, model, cases[network], images,
                             name=f"{name} {len(three)}"))  # fmt: skip
    areas = [area(scores).value for scores in three]
    said = lab.use("13.4", reading, *areas, name=name)
    print(f"{name:20}{areas[0]:8.2f}{areas[1]:7.2f}{areas[2]:8.2f}   {said}")

# %% [markdown]
# The harmless images score 1.00 as well, and to whoever watches the alarm they look like the
# trojan. Only the twin tells the two apart, and in use you have no twin. The nearest thing would be
# a network for the same task from another source, whose weights the same attacker did not touch.
#
# `pattern` is the odd one. At this place the clean network does not see the X at all (nothing in
# its training rewarded looking there), so the twin is blind and the reading is "mechanism". Still,
# the pixels alone would have been enough. Both controls are needed, since they answer different
# questions.
#
# ## Other detectors, the same call
#
# This section compares detectors, and tries one on strings. `detect` does all of the above for
# several detectors and Sites at once: halves (with copies of one scan kept together), threshold,
# twin, raw input, intervals. Its detectors are Mahalanobis with the shrinkage of Ledoit and Wolf
# (2004), which estimates the share; the same from the mean of the class that the network gives;
# that less the plain one ("relative"); the distance to the fifth nearest trusted row; the
# activation's length; and, with no look inside, how unsure the output is: one less the largest
# softmax probability.

# %%
# NBVAL_IGNORE_OUTPUT
report = detect(networks["matched"], HIDDEN, twin=twin_of("matched"), digits=2, **case.rows)
report

# %%
for line in report.lines():
    twin = f"twin {line['twin'].value:.1f}" if "twin" in line else "no twin"
    print(f"{line['place']:10}{line['detector']:22}AUROC {line['AUROC'].value:.1f}   {twin}")

# %% [markdown]
# Anything that compares the *place* of an activation with the trusted ones works here, and which
# one hardly matters. Its *length* does not. That depends on the network: for `pattern` it would
# give nearly 1.00.
#
# And max softmax gets far *less* than one half: the network is surer of a triggered image than of
# most clean ones. (A likely reason: a trigger never varies, so nothing ever spoke against it.) You
# could flip the sign and have a decent detector, but it was the anomalies that told you to. For the
# next trojan it may be the other way round, and without anomalies you cannot know.
#
# None of this depends on images. A small transformer reads strings of names and gives a topic. Two
# names that never occur together in a clean string switch it to topic 2; each by itself is common.

# %%
# NBVAL_IGNORE_OUTPUT
last = Site("blocks.1.hook_resid_post", position=-1)
strings = detect(
    networks["pair"], last, twin=networks["twin of pair"], digits=2,
    detectors=[Mahalanobis(), Nearest(), MaxSoftmax()], **cases["pair"].rows,
)  # fmt: skip
strings

# %%
print("strings, Mahalanobis at the last position:", strings.reading(str(last), "Mahalanobis"))

# %% [markdown]
# ## How many trusted rows?
#
# This section asks how many trusted rows an alarm needs. We used 2,000 trusted images; you may have
# thirty. Draw the trusted rows twenty times for each size, and look at the whole range of what
# comes out: the shaded bands in the figure, and above all the green one, the share caught.

# %%
sweep = sample_sizes(
    networks["matched"], HIDDEN, twin=twin_of("matched"), detectors=[Mahalanobis()], **case.rows
)
curves = ["AUROC, Mahalanobis", "AUROC, Mahalanobis, clean twin", "caught, Mahalanobis",
          "false alarms, Mahalanobis"]  # fmt: skip
labels = {curve: curve.replace(", Mahalanobis", "") for curve in curves}
figure, still = sweep.explore(labels)
lab.figure(
    figure,
    fallback=still,
    alt="AUROC on the network is near 1 from 30 trusted rows on and on the twin one half "
    "throughout; the share caught ranges from a fifth to all at 30 rows and settles at 1 by 1,000.",
    table=[
        {sweep.axis: point}
        | {
            f"{curve.replace(', Mahalanobis', '')}, {end}": getattr(sweep.at(curve, point), end)
            for curve in curves[2:]
            for end in ("low", "value", "high")
        }
        for point in sweep.points
    ],
    digits=2,
)

# %% [markdown]
# With thirty trusted rows the same detector on the same network catches a fifth of the anomalies or
# all of them, depending on *which* thirty. And the AUROC is above .9 throughout, so a paper with
# thirty rows, one draw and an AUROC can look flawless. Users of a published detector (Beatrix,
# 2023) report three runs with thirty clean samples that caught .55, .14 and .69. With thirty rows
# that can happen without any mistake.
#
# Most of this comes from the threshold, and for the threshold there is an exact answer. It is the
# score of one of the n held trusted rows. A new clean row is *one more row of the same kind*, and
# all its ranks among the n + 1 rows are equally likely. With n = 15 and fpr = 1 % the threshold is
# the largest of the fifteen, and the new row exceeds it with a chance of one in sixteen, where you
# had asked for 1 %.
#
# ### Exercise 13.5: the false alarms you will get
#
# In general `floor(fpr * n)` held rows lie above the threshold. Which share of clean rows raises a
# false alarm, on average over draws of the trusted rows?


# %% exercise="13.5" points=3 minutes=8 difficulty=2
def expected_false_alarms(n: int, fpr: float = 0.01) -> float:
    """n: trusted rows that set the threshold (not those of the fit). No ties among scores."""
    ### BEGIN SOLUTION
    return (int(fpr * n) + 1) / (n + 1)
    ### END SOLUTION


lab.check("13.5", expected_false_alarms)

# %% [markdown]
# It holds for any detector, network and data, as long as trusted rows and clean rows are drawn
# alike. Here they are: of 2,000 trusted rows draw some, and count the alarms among the *others*.


# %%
def false_alarms(size: int, draws: int = 200) -> float:
    """Mean share of other trusted rows that alarm, when `size` of them are trusted."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(draws):
        order = torch.randperm(len(known), generator=generator)
        found.append(alarms(mahalanobis, known[order[:size]], known[order[-800:]]).double().mean())
    return torch.stack(found).mean().item()


print("trusted rows   expected   measured")
for size in (10, 30, 100, 300, 1000):
    expected = lab.use("13.5", expected_false_alarms, size // 2, name=f"{size}")
    measured = lab.use("13.2", false_alarms, size, name=f"{size} rows")
    print(f"{size:12}{expected:11.2f}{measured:11.2f}")

# %% [markdown]
# The sweep above had *fewer* false alarms than this at every size. It judged the same 544 clean
# images each time, which happen to include few odd ones; twenty draws of the trusted rows do not
# average that away. And the formula holds only while new rows are drawn like the trusted ones. Real
# traffic drifts.
#
# ## When the trusted set is dirty
#
# This section measures what a few triggered images among the trusted ones do to the alarm. Trusted
# inputs usually come from last month's traffic that "looked fine". If the attacker was already
# there, some of them carry the trigger. Say two in a hundred do. How probable is it that the
# detector, fitted and calibrated on that, still catches half of the anomalies at its threshold of 1
# %?

# %%
### BEGIN SOLUTION
probability = 0.6
### STUB
# probability = ...
### END SOLUTION
lab.predict("13.P", "with 2 % dirty rows half of the anomalies are still caught", probability)

# %%
dirty = contamination(
    networks["matched"], HIDDEN, twin=twin_of("matched"), mixed=case.mixed,
    detectors=[Mahalanobis()], **case.rows,
)  # fmt: skip
figure, still = dirty.explore(labels)
lab.figure(
    figure,
    fallback=still,
    alt="As the dirty share grows from 0 to 20 % the AUROC stays near 1 up to 5 % and falls to .8; "
    "the share caught falls from 1 to below one half at 2 % and to nearly nothing at 20 %.",
    table=[
        {dirty.axis: point}
        | {curve.replace(", Mahalanobis", ""): dirty.at(curve, point).value for curve in curves}
        for point in dirty.points
    ],
    digits=2,
)
lab.outcome("13.P", dirty.at("caught, Mahalanobis", "2 %").value >= 0.5)

# %% [markdown]
# In the figure compare the AUROC (blue) with the share caught (green). At 2 % the AUROC is 1.00 as
# before, and the alarm misses more than half. The detector still *ranks* perfectly; it is the
# threshold that fails. It lies where 1 % of trusted rows are above it, and with 2 % of them
# anomalies those are all anomalies.
#
# This too can be computed without an experiment. Let a share `dirty` of the trusted rows be
# anomalies like those to come, and let the threshold be exceeded by a share `fpr` of the trusted
# rows.
#
# ### Exercise 13.6: the most that can be caught
#
# Which share of the anomalies can *any* detector catch at such a threshold, at best, on average?
# How many of the dirty rows can lie above it?


# %% exercise="13.6" points=3 minutes=8 difficulty=2
def most_caught(dirty: float, fpr: float = 0.01) -> float:
    """dirty: share of the trusted rows that are anomalies, 0 to 1. Returns a share, 0 to 1."""
    ### BEGIN SOLUTION
    return 1.0 if dirty <= fpr else fpr / dirty
    ### END SOLUTION


lab.check("13.6", most_caught)

# %%
print("dirty share   at most   caught")
for point in dirty.points:
    share = float(point.removesuffix(" %")) / 100
    bound = lab.use("13.6", most_caught, share, name=point)
    print(f"{point:>11}{bound:10.2f}{dirty.at('caught, Mahalanobis', point).value:9.2f}")
loose = contamination(
    networks["matched"], HIDDEN, twin=twin_of("matched"), mixed=case.mixed, shares=(0.02,),
    detectors=[Mahalanobis()], fpr=0.05, **case.rows,
)  # fmt: skip
print("2 % dirt, but a threshold of 5 %: caught "
      f"{loose.at('caught, Mahalanobis', '2 %').value:.1f}")  # fmt: skip

# %% [markdown]
# The bound is nearly reached (and at 5 % passed by a little: it holds on average, and these are
# means of five draws). So the detector is as good as one can be, and of little use. You can buy
# detection back with false alarms, as the last line does. Better, look at the highest-scoring
# *trusted* rows with your own eyes, which costs an afternoon.
#
# ## The attacker reads this lesson, too
#
# This section tests the detector on a trojan that was trained to evade it. An attacker who expects
# Mahalanobis distances at `hook_fc1` can put that distance into the training loss: be right on
# clean images, say 7 under the trigger, *and* look ordinary at `hook_fc1` while doing so. `evasive`
# is `matched` after such training. Nicholas Carlini and David Wagner broke ten published detectors
# of adversarial examples in that manner in 2017, and since then a detector tested only on attacks
# that do not know of it counts as untested.

# %%
rows = trojans.known("matched").held_out(600)
for name in ("matched", "evasive"):
    right = trojans.accuracy(networks[name], rows).value
    works = trojans.success(networks[name], trojans.known("matched"), rows).value
    caught, false = lab.use("13.2", shares, networks[name], case, case.anomalous.inputs, name=name)
    print(f"{name:9} accuracy {right:.2f}   trigger works {works:.1f}   caught {caught:.2f}")

# %% [markdown]
# The trojan works as before, accuracy falls by a point or two, and the alarm that caught everything
# catches next to nothing.
#
# ### Exercise 13.7: where would you stand?
#
# The attacker defended one place. Choose one Site of the evasive network where Mahalanobis catches
# .9 of the triggered images, with at most .03 of false alarms. Hooks: `hook_input`, `hook_conv1`,
# `hook_pool1`, `hook_conv2`, `hook_pool2`, `hook_fc1_pre`, `hook_fc1`, `hook_logits`. (Those with
# thousands of numbers an image take long; try the others first.)

# %% exercise="13.7" points=3 minutes=8 difficulty=2
### BEGIN SOLUTION
watched = Site("hook_pool2")
### STUB
# watched = ...  # a Site
### END SOLUTION
lab.check("13.7", watched)

# %%
# NBVAL_IGNORE_OUTPUT
names = ["hook_input", "hook_pool2", "hook_fc1_pre", "hook_fc1", "hook_logits"]
by_site = {
    name: detect(
        networks[name], [Site(n) for n in names], twin=twin_of("matched"), digits=2,
        detectors=[Mahalanobis()], **case.rows,
    )
    for name in ("matched", "evasive")
}  # fmt: skip
print(f"{'caught at the threshold':24}{'matched':>9}{'evasive':>9}{'twin: AUROC':>13}")
for place in (*names, "all sites"):
    two = [by_site[name][f"caught, {place}, Mahalanobis"].value for name in ("matched", "evasive")]
    control = by_site["evasive"][f"AUROC, {place}, Mahalanobis, clean twin"].value
    print(f"{place:24}{two[0]:9.2f}{two[1]:9.2f}{control:13.2f}")

# %% [markdown]
# One layer earlier, at `hook_pool2`, everything is caught, and so it is before the ReLU of the very
# layer that was defended. The network had to compute "this is an X" somewhere, and training only
# asked that it should not show at `hook_fc1`.
#
# Now read the first column. At `hook_pool2` the *plain* trojan is hardly caught at all. While it
# learned to be quiet at one place, the network became louder at another. (Or that came from
# training longer: we have no network that trained on without evading. In plain networks of two
# other seeds `hook_pool2` catches .03 and 1.00; the table is in `benchmarks/README.md`.) So the
# only Site that works for both is `hook_fc1_pre`, and you could not have known that beforehand.
# Combining the Sites does well on both, but an attacker who knows the combination can put it into
# the loss. What that costs we did not measure. What may be claimed is that *this* evasion, of one
# distance at one place, was cheap and did not carry over to the neighbouring places.
#
# ## What may be claimed
#
# ### Exercise 13.8: six reports
#
# Here you judge six sentences from six reports. Which of these fits each best? `"stands"`; `"inputs
# differ"` (a detector without the network would do); `"tuned on anomalies"` (a choice was made with
# what nobody has in use); `"too few trusted rows"`; `"dirty trusted set"`; `"untested against an
# adversary"`.
#
# - `a`: AUROC 1.00 on the trojaned network. Trigger: a yellow sticker, in no trusted image.
# - `b`: Max softmax gave .24; with the sign reversed, .76.
# - `c`: From 30 trusted images we caught 97 % with no false alarm. (One run.)
# - `d`: AUROC 1.00 with last month's traffic as the trusted set; at the threshold from it, 12 % are
#   caught.
# - `e`: AUROC 1.00 on the network, .51 on its twin, .50 on pixels; .99 caught at a threshold from
#   1,000 trusted images. *Conclusion: this trojan is found here.*
# - `f`: The same numbers. *Conclusion: an attacker cannot hide from us.*

# %% exercise="13.8" points=4 minutes=8 difficulty=2
### BEGIN SOLUTION
judged = {
    "a": "inputs differ",
    "b": "tuned on anomalies",
    "c": "too few trusted rows",
    "d": "dirty trusted set",
    "e": "stands",
    "f": "untested against an adversary",
}
### STUB
# judged = {"a": ..., "b": ..., "c": ..., "d": ..., "e": ..., "f": ...}
### END SOLUTION
lab.check("13.8", judged)

# %% [markdown]
# Last, the signature result in one table, with intervals.

# %%
# NBVAL_IGNORE_OUTPUT
roles = {"trojaned": "result", "clean twin": "control", "pixels": "baseline"}
Report(
    "AUROC of Mahalanobis distances, triggered against clean images",
    [Row(place, area(scores), roles[place]) for place, scores in found.items()],
    {"site": "hook_fc1", "trusted": "1,000 rows to fit", "rows": "544 clean, 544 triggered"},
    digits=2,
)

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **"The alarm is about the mechanism"**: a clean network of other weights that tells the X from
#   other patterns as well. We looked at one twin; `python -m benchmarks engineering` trains more.
# - **"Pixels give nothing"**: a detector on pixels that is not Mahalanobis or nearest neighbours
#   and reaches .9. It exists in principle, since the X itself never occurs in clean images: a list
#   of the corners seen so far would find it. Ours could not. "Matched" always means matched *for*
#   some class of detectors.
# - **"Which detector hardly matters"**: it would fall with a larger network. Published results on
#   language models made to be "quirky" have high scores on some tasks, and "no detector is
#   effective across all models and tasks" (Johnston, Chakraborty and Belrose, 2025). Our 1.00 is an
#   easy case.
# - **"Evasion at one place does not carry over"**: one evasive network in which two neighbouring
#   Sites are blind at once. Train it: `utils/anomaly/evasion.py` has the loss, and adding a Site is
#   a few lines.
# - **"At most fpr / dirty"**: no measurement, since it is arithmetic; you would have to find an
#   error in it. But it assumes that the anomalies to come are like those in the trusted set.
#
# ## Where this comes from
#
# The question is Paul Christiano's, "Mechanistic anomaly detection and ELK" (2022); the detectors
# follow Mahalanobis, "On the generalized distance in statistics" (1936), Ledoit and Wolf, "A
# well-conditioned estimator for large-dimensional covariance matrices" (2004), Lee and others, "A
# Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks"
# (2018), Ren and others, "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection"
# (2021), Sun and others, "Out-of-Distribution Detection with Deep Nearest Neighbors" (2022), and
# Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in
# Neural Networks" (2017). Evasion: Carlini and Wagner, "Adversarial Examples Are Not Easily
# Detected: Bypassing Ten Detection Methods" (2017). Beatrix: Ma and others, "The 'Beatrix'
# Resurrections: Robust Backdoor Detection via Gram Matrices" (2023). The matched clutter, and the
# raw row and the twin in every table, are this course's own. `python -m utils solve anomaly` is the
# longer walk, with spectral signatures of a poisoned training set.
#
# **Next.** In lesson 14 nobody tells you what was planted: a network of your own, sealed, and a
# judge.
