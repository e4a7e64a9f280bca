# ---
# jupyter:
#   lesson:
#     id: "05"
#     title: "Patching and causal tracing"
#     minutes: 90
#     difficulty: 3
#     prerequisites: ["01", "02"]
#     objectives:
#       - "make pairs of inputs that differ in exactly one step of a program"
#       - "tell what noising shows from what denoising shows, and see redundancy in the difference"
#       - "follow an effect along single paths, and know when paths do not add up"
#       - "say where attribution patching and noise tracing mislead, with the error beside it"
#     signature: >-
#       noising either of two heads breaks the answer, denoising either repairs little, denoising
#       both repairs most of it; control: other heads, and values from strings without the fault
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Patching and causal tracing
#
# Take two inputs on which a network answers differently. Somewhere inside, the two runs differ in
# what decides the answer. *Activation patching* finds out where: copy one piece of activation from
# one run into the other, and see whether the answer changes with it. Lesson 01 did this once. Here
# it becomes a method, with directions, paths, shortcuts and ways to go wrong. By the end you can
#
# - make pairs of inputs that differ in exactly one step of a program;
# - tell what *noising* shows from what *denoising* shows, and read redundancy off the difference;
# - follow an effect along single paths, and know when paths do not add up;
# - say where the two popular shortcuts, attribution and tracing with noise, mislead.
#
# You work with a transformer first; the last section makes the same calls on the convolutional
# neural network (CNN) of lesson 02.

# %%
from utils.lessons import lab

lab = lab("05")

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from utils import plots
from utils.challenges.brackets import part
from utils.data import brackets
from utils.patching import (
    attribution_report,
    logit_difference,
    patch,
    patch_path,
    patching_report,
    trace,
)
from utils.reports import Estimate, Report, Row, bootstrap
from utils.sites import Site, UnchangedError, run

checker, strings = lab.model.brackets, lab.data.strings
print("strings", tuple(strings.shape), "| the first:", brackets.show(strings[0]))
with torch.no_grad():
    said = checker(strings)[:, 0].argmax(-1)
print(f"share that the network calls balanced: {said.double().mean():.3f}")

# %% [markdown]
# ## 1 · Two runs and a question
#
# Here you make the pairs of inputs on which everything else rests. The network reads 24 brackets
# after a START token and says at START, position 0, whether they are *balanced*: every bracket that
# opens is closed later. Class 1 is "balanced". It is a transformer of three layers, two heads each,
# with a multi-layer perceptron (MLP) after the heads. Head 1 of layer 2 will be `a2.h1`, the MLP of
# layer 0 `m0`. `part("a2.h1")` is the Site of that head's output (`hook_z`) *at START*. All strings
# above are balanced, and it says so every time.
#
# There are several programs for the task. This network, as lesson 06 will argue, checks the string
# from both ends, by two tests that must both pass:
#
# - **beginnings**: no beginning of the string holds more closes than opens;
# - **endings**: no ending of the string holds more opens than closes.
#
# You want to know which parts carry which test. So you need pairs of strings in which *one* test
# comes out differently, and as little else as possible. If you corrupt an input by noise, or take
# an unrelated one, so much changes that every part seems to matter.
#
# ### Exercise 5.1: break one test
#
# From balanced strings make corrupted ones: change exactly one bracket in each row so that the
# named test fails and the other still passes. Which bracket may be changed follows from the two
# definitions. Among those that may, draw a place at random, each equally likely.

# %% exercise="5.1" points=4 minutes=9 difficulty=2


def break_test(tokens: Tensor, test: str, generator: torch.Generator) -> Tensor:
    """tokens: [row, 25], START (2), then 24 of OPEN (0) and CLOSE (1), all rows balanced.

    test: "beginnings" or "endings", the one to break. Returns corrupted tokens [row, 25].
    """
    ### BEGIN SOLUTION
    old = brackets.OPEN if test == "beginnings" else brackets.CLOSE
    keys = torch.rand(tokens.shape, generator=generator).masked_fill(tokens != old, -1)
    place = keys.argmax(1, keepdim=True)
    return tokens.scatter(1, place, 1 - old)
    ### END SOLUTION


lab.check("5.1", break_test)

# %%
clean = strings[:300]
metric = logit_difference(1, 0, position=0)  # logit of "balanced" less that of "not balanced"


def broken(test: str) -> Tensor:
    return break_test(clean, test, torch.Generator().manual_seed(5))


def score(tokens: Tensor) -> Tensor:
    """The metric of the plain run: [row]."""
    return metric(run(checker, tokens, batch_size=500).output)


corrupted = {test: lab.use("5.1", broken, test, name=test) for test in ("beginnings", "endings")}
swapped = clean.clone()  # for comparison: the first bracket and the last one change places
swapped[:, [1, 24]] = clean[:, [24, 1]]
print("strings                 beginnings pass  endings pass  logit difference")
for name, tokens in {
    "balanced": clean,
    "one open to close": corrupted["beginnings"],
    "one close to open": corrupted["endings"],
    "ends swapped": swapped,
}.items():
    beginnings = brackets.horizon_test(tokens).double().mean()
    endings = brackets.endings_test(tokens).double().mean()
    print(f"{name:<22}  {beginnings:15.1f}  {endings:12.1f}  {score(tokens).mean():16.1f}")

# %% [markdown]
# One flip breaks one test. A *swap* of two brackets looks tidier, since it keeps the number of
# opens. But with equal numbers the two tests fail together, and such a pair cannot tell you which
# part carries which.
#
# ## 2 · Patch
#
# In this section you find out which parts carry each test, and what the two directions of a patch
# can show. Call the balanced string *clean* and its partner *corrupted*. There are two patches:
#
# - **Noising**: the clean run with one piece from the corrupted run. Does the answer break? It asks
#   whether a wrong value there is *enough to break* it.
# - **Denoising**: the corrupted run with one piece from the clean run. Does the answer come back?
#   It asks whether a right value there is *enough to repair* it.
#
# It is often said that noising finds what is *necessary* for the right answer and denoising what is
# *sufficient*. The results below show why that is too simple.
#
# ### Exercise 5.2: both directions, by hand
#
# A patch is one `read` and one `write`. Which of the two runs is read from is all the difference.

# %% exercise="5.2" points=3 minutes=5 difficulty=1


def patched(model: nn.Module, clean: Tensor, corrupted: Tensor, site: Site, direction: str):
    """The model's output with `site` patched. direction: "noise" or "denoise".

    clean, corrupted: [row, ...], row by row a pair.
    """
    ### BEGIN SOLUTION
    base, source = (clean, corrupted) if direction == "noise" else (corrupted, clean)
    return site.write(model, base, site.read(model, source))
    ### END SOLUTION


lab.check("5.2", patched)

# %% [markdown]
# The library's `patch` does the same for many sites in few forward passes; you must name the
# direction. It returns a metric. To compare parts, turn that into the share of the way from the run
# patched *into* to the run patched *from*.
#
# ### Exercise 5.3: the share
#
# 0 means that the patch did nothing, 1 that it did what patching everything would do. Use means
# over rows. Do not clip.

# %% exercise="5.3" points=2 minutes=4 difficulty=1


def share(values: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """values: [..., row], the metric after the patch. start: [row], the metric of the run patched
    into. target: [row], of the run patched from. Returns [...].
    """
    ### BEGIN SOLUTION
    return (values.mean(-1) - start.mean()) / (target.mean() - start.mean())
    ### END SOLUTION


lab.check("5.3", share)

# %%
parts = ["a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1", "a2.h0", "a2.h1", "m2"]
several = {"a2.h0 m0 a0.h1 a1.h0": ["a2.h0", "m0", "a0.h1", "a1.h0"],
           "a0.h0 a1.h1 m1": ["a0.h0", "a1.h1", "m1"]}  # fmt: skip
groups = [part(name) for name in parts]
groups += [[part(name) for name in members] for members in several.values()]
shares = {}
for test, bad in corrupted.items():
    for direction in ("noise", "denoise"):
        values = patch(checker, clean, bad, groups, direction=direction, metric=metric,
                       batch_size=500)  # fmt: skip
        ends = (clean, bad) if direction == "noise" else (bad, clean)
        shares[test, direction] = lab.use(
            "5.3", share, values, *map(score, ends), name=f"{test} {direction}"
        )


def two(value, digits: int = 2) -> str:
    """Fixed decimals, and no minus before zero."""
    text = f"{float(value):.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


print("share of the effect    beginnings broken    endings broken")
print("at START               noise  denoise       noise  denoise")
for n, name in enumerate([*parts, *several]):
    row = [two(shares[key][n]) for key in shares]
    print(f"{name:<22} {row[0]:>5}  {row[1]:>7}       {row[2]:>5}  {row[3]:>7}")

# %% [markdown]
# Read the left half first. One head carries the beginnings test: `a2.h1`, with `m2`, which reads
# it. The right half is messier. Noising finds `a2.h0` (.72), `m0` (.39) and `a0.h1` (.33);
# denoising finds `a2.h0` alone, at about a half. Yet the four parts in the second row from the
# bottom restore .80 *together*, though three of the four restore nothing by themselves. The last
# row is a control: three parts that noising did not point to, together.
#
# Think of fire alarms. A part that reports a failed test rings. In a quiet house one ringing alarm
# is enough to empty it; where several ring, you must silence all of them. Noising rings one;
# denoising silences one. Where several parts report the same fault, noising finds each of them, and
# denoising may find none. So "necessary" was too simple: noising `m0` does harm because the network
# listens to a *wrong* value there, not because it needs a right one. The two directions answer
# different questions, and you need both to see redundancy.
#
# Had you called the *unbalanced* string clean, the two columns would change places. "Noising" and
# "denoising" say which way you go, not which run is good.
#
# ### Controls
#
# Which controls does a patch need? First, patch a part with its own value. Nothing may change, and
# `patch` says so:

# %%
bad = corrupted["beginnings"]
try:
    patch(checker, clean, clean, [part("a2.h1")], direction="noise", metric=metric)
except UnchangedError as error:
    print("UnchangedError:", str(error).split(":")[0])

patching_report(
    checker, clean, bad, {name: part(name) for name in ("a2.h1", "a2.h0", "a0.h0", "m1")}, metric,
    direction="noise", batch_size=500,
)  # fmt: skip

# %% [markdown]
# The report adds a null: the value comes from a *random other pair*. For `a2.h1` the null is as
# high as the result. Did the patch prove nothing? It did: the other pair's corrupted string also
# breaks the beginnings test, and if the head carries *that test's result* and nothing else of its
# string, any such string must work as well as the partner. A null must be a case for which the
# claim predicts something else. So ask which donors should *not* work:

# %%
order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(6))
donors = {
    "its own partner": bad,
    "another string that fails beginnings": bad[order],
    "a string that fails endings": corrupted["endings"][order],
    "another balanced string": clean[order],
    "itself": clean,
}
start, target = score(clean), score(bad)


def estimate(values: Tensor, start: Tensor, target: Tensor) -> Estimate:
    """The share, with an interval from resampling pairs."""
    return bootstrap(
        lambda v, s, t: float((v - s).mean() / (t - s).mean()), values, start, target,
        n_resamples=300,
    )  # fmt: skip


rows, rung, head = [], {}, part("a2.h1")
for name, donor in donors.items():
    value = head.read(checker, donor)
    output = head.write(checker, clean, value, allow_unchanged=True)
    rung[name] = (metric(output) < 0).double().mean().item()  # the answer is now "not balanced"
    role = "result" if "fails beginnings" in name or "partner" in name else "control"
    rows.append(Row(name, estimate(metric(output), start, target), role))
Report("Clean run, a2.h1 from ...", rows, {"pairs": len(clean), "direction": "noise"}, digits=2)

# %%
print(f"answers changed by a string that fails endings: {rung['a string that fails endings']:.2f}")

# %% [markdown]
# The head reports whether a string fails beginnings, not which string it is: another balanced
# string does nothing. The third row is a surprise. Failing *endings* should not ring this alarm,
# and in about a quarter of the strings it does. The head knows a little about the other test;
# lesson 06 finds the same leak by other means.
#
# ## 3 · Two alarms for one fault
#
# This section shows a strong effect that an average had hidden. `a0.h0` looks idle in both halves
# of the table: .11 at most. But that is a mean over flips at many *places*. Take only those pairs
# in which the very first bracket was flipped to a close.
#
# On average denoising `a2.h1` alone restored .79 of the answer. How probable is it that it restores
# more than half in these pairs?

# %%
### BEGIN SOLUTION
probability = 0.85
### STUB
# probability = ...
### END SOLUTION
lab.predict(
    "5.P", "with the first bracket flipped, denoising a2.h1 restores over half", probability
)

# %% [markdown]
# ### Exercise 5.4: two at a time
#
# Redundancy shows when parts are patched *together*. Patch every pair of the given sites in one
# run, with one call of `patch`; on the diagonal stands a site alone.

# %% exercise="5.4" points=4 minutes=8 difficulty=2


def together(model: nn.Module, clean: Tensor, corrupted: Tensor, sites: list, metric,
             direction: str) -> Tensor:  # fmt: skip
    """The metric with sites i and j both patched: [site, site, row].

    patch(model, clean, corrupted, groups, direction=..., metric=...) takes a list of Sites or of
    lists of Sites (patched together) and returns [group, row].
    """
    ### BEGIN SOLUTION
    pairs = [[a, b] for a in sites for b in sites]
    values = patch(model, clean, corrupted, pairs, direction=direction, metric=metric)
    return values.reshape(len(sites), len(sites), -1)
    ### END SOLUTION


lab.check("5.4", together)

# %%
good_first = strings[:100]
bad_first = good_first.clone()
bad_first[:, 1] = brackets.CLOSE
before = parts[:-1]  # m2 reads all the others
tables = {
    direction: lab.use(
        "5.4", lambda d: together(checker, good_first, bad_first, [part(p) for p in before],
                                  metric, d), direction, name=direction,
    )
    for direction in ("noise", "denoise")
}  # fmt: skip
first = {"noise": (score(good_first), score(bad_first))}
first["denoise"] = first["noise"][::-1]

pictures, table = {}, []
for direction, values in tables.items():
    shown = (values.mean(-1) - first[direction][0].mean()) / (
        first[direction][1].mean() - first[direction][0].mean())  # fmt: skip
    pictures[f"{direction} two parts"] = shown
    for i in range(8):
        row = {"direction": direction, "part": before[i], "alone": shown[i, i].item()}
        table.append({**row, "with a2.h1": shown[i, 7].item()})
interactive, static = plots.maps(
    pictures, rows=before, columns=before, label="patched together with (diagonal: alone)",
    value="share of the effect", numbers=True,
)  # fmt: skip
lab.figure(
    interactive,
    fallback=static,
    alt="Two tables of shares for pairs of parts. Noising: a0.h0, m0 and a2.h1 each reach 1 alone. "
    "Denoising: nothing reaches more than .3 alone; a0.h0 or m0 with a2.h1 reach over .8.",
    table=table,
    digits=2,
)

# %%
alone, last = tables["denoise"], len(before) - 1
restored = ((alone[last, last] - first["denoise"][0]).mean()
            / (first["denoise"][1] - first["denoise"][0]).mean()).item()  # fmt: skip
print(f"first bracket flipped, a2.h1 denoised: {restored:.2f}")
lab.outcome("5.P", restored > 0.5)

rows = []
for direction, i, j in (("noise", 0, 0), ("noise", 7, 7), ("denoise", 0, 0), ("denoise", 7, 7),
                        ("denoise", 0, 7)):  # fmt: skip
    name = before[i] if i == j else f"{before[i]} and {before[j]}"
    rows.append(Row(f"{direction}: {name}", estimate(tables[direction][i, j], *first[direction]),
                    "result"))  # fmt: skip
others = [i for i, name in enumerate(before) if name not in ("a0.h0", "m0", "a2.h1")]
for i in others:
    rows.append(Row(f"denoise: {before[i]} and a2.h1",
                    estimate(tables["denoise"][i, 7], *first["denoise"]), "control"))  # fmt: skip
both, moved = [part("a0.h0"), part("a2.h1")], good_first.roll(1, 0)
edits = [(site, site.read(checker, moved)) for site in both]
unrelated = metric(run(checker, good_first, edits=edits).output)
rows.append(Row("noise: both, from another balanced string",
                estimate(unrelated, *first["noise"]), "control"))  # fmt: skip
Report("First bracket flipped: two alarms for one fault", rows, {"pairs": 100}, digits=2)

# %% [markdown]
# My own 0.85 was a bad bet. In the upper map the rows and columns of `a0.h0`, `m0` and `a2.h1` are
# dark throughout: ring either alarm, `a0.h0` or `a2.h1`, and the network says "not balanced" as if
# the whole string had been replaced. In the lower map only two cells beside `a2.h1` are dark:
# silence one alarm and the other still rings, silence both and most of the answer is back. `m0`
# behaves like `a0.h0`; section 6 shows that it passes on what `a0.h0` says. Any other part in its
# place gives between .19 and .40, near what `a2.h1` does alone.
#
# Is `a0.h0` a specialist for the first bracket? Flip other places:

# %%
print("place flipped, open to close:   1     2     3     8    13    18    23")
for name in ("a0.h0", "a2.h1"):
    for direction in ("noise", "denoise"):
        cells = []
        for place in (1, 2, 3, 8, 13, 18, 23):
            good = strings[strings[:, place] == brackets.OPEN][:60]
            flipped = good.clone()
            flipped[:, place] = brackets.CLOSE
            pair = (good, flipped) if direction == "noise" else (flipped, good)
            values = patch(checker, good, flipped, [part(name)], direction=direction,
                           metric=metric, batch_size=500, allow_unchanged=True)  # fmt: skip
            a, b = score(pair[0]).mean(), score(pair[1]).mean()
            cells.append(f"{two((values.mean() - a) / (b - a)):>6}")
        print(f"{name} {direction:<22}", "".join(cells))

# %% [markdown]
# All of it at place 1, nothing anywhere else. In the table of section 2 this head had .10, which
# reads as "matters a little". In fact it decides everything, for one pair in twelve. **An average
# effect is an average over your pairs**, and a mild average may be a strong effect that is rare.
# (Where does its .11 in the other half of that table come from? You have all you need to find out.)
#
# ## 4 · Where: heads and positions
#
# In this section you follow the information on its way from the flipped bracket to START. So far
# only START was patched; a map over all heads and positions shows the places in between.
#
# ### Exercise 5.5: the map
#
# 6 heads at 25 positions make 150 patches. One call makes them all, in a few large batches.

# %% exercise="5.5" points=4 minutes=7 difficulty=2


def head_map(model: nn.Module, clean: Tensor, corrupted: Tensor, metric, direction: str) -> Tensor:
    """The metric with one head patched at one position: [head (6), position (25), row].

    Heads in the order a0.h0, a0.h1, a1.h0, ... Hooks: "blocks.0.attn.hook_z" and so on.
    """
    ### BEGIN SOLUTION
    sites = [
        Site(f"blocks.{layer}.attn.hook_z", head=head, position=position)
        for layer in range(3)
        for head in range(2)
        for position in range(clean.shape[1])
    ]
    values = patch(model, clean, corrupted, sites, direction=direction, metric=metric,
                   batch_size=500, allow_unchanged=True)  # fmt: skip
    return values.reshape(6, clean.shape[1], -1)
    ### END SOLUTION


lab.check("5.5", head_map)

# %%
heads = [name for name in parts if name.startswith("a")]


def flipped_at(place: int, most: int = 60) -> tuple[Tensor, Tensor]:
    """Balanced strings with an open at `place`, and the same with a close there."""
    good = strings[strings[:, place] == brackets.OPEN][:most]
    flipped = good.clone()
    flipped[:, place] = brackets.CLOSE
    return good, flipped


def share_map(place: int, direction: str) -> Tensor:
    good, flipped = flipped_at(place)
    values = head_map(checker, good, flipped, metric, direction).mean(-1)
    a, b = score(good).mean(), score(flipped).mean()
    return (values - a) / (b - a) if direction == "noise" else (values - b) / (a - b)


maps = {
    (place, direction): lab.use("5.5", share_map, place, direction, name=f"{place} {direction}")
    for place in (12, 20)
    for direction in ("noise", "denoise")
}  # fmt: skip
pictures = {direction: maps[12, direction] for direction in ("noise", "denoise")}
interactive, static = plots.maps(
    pictures,
    rows=heads,
    columns=["START", *map(str, range(1, 25))],
    label="position",
    value="share of the effect",
)
lab.figure(
    interactive,
    fallback=static,
    alt="Share by head and position, bracket 12 flipped. Noising: layer 0 at 12, a0.h1 and a1.h0 "
    "at 24, a2.h1 at START, faint traces. Denoising: a2.h1 at START, a0.h1 and a1.h0 at 24.",
    table={
        "head": heads,
        **{
            f"{direction}, {name}": pictures[direction][:, place].tolist()
            for direction in pictures
            for name, place in (("START", 0), ("12", 12), ("24", 24))
        },
    },
    digits=2,
)

# %%
print("flip at         a0.h1 at flip   at 24   a1.h0 at flip   at 24   a2.h1 at START")
for place in (12, 20):
    for direction in ("noise", "denoise"):
        grid = maps[place, direction]
        cells = [grid[1, place], grid[1, 24], grid[2, place], grid[2, 24], grid[5, 0]]
        numbers = [two(value) for value in cells]
        print(f"{place:<4}{direction:<8}{numbers[0]:>17}{numbers[1]:>8}{numbers[2]:>16}"
              f"{numbers[3]:>8}{numbers[4]:>17}")  # fmt: skip

# %% [markdown]
# The upper map, noising, has three dark places. One is the flipped bracket itself, in layer 0; move
# the flip to 20 and that spot moves along. One is START, where `a2.h1` delivers the answer. And one
# is the *last* position, at `a0.h1` and one layer later at `a1.h0`, wherever the flip is. Apart
# from START it is the only place where denoising, in the lower map, does much.
#
# Why the last? A balanced string has as many closes as opens. With one open turned into a close it
# has two more. The longest beginning is the whole string, and it fails whichever open was flipped;
# shorter ones fail only where the string had no room to spare. So "does the string end below zero?"
# is the safest check, and position 24 is the place to make it. That is an interpretation of the
# map, not yet tested.
#
# ## 5 · The metric
#
# Here you find out what the choice of metric hides. Everything so far was in logits. Why not
# accuracy, which everybody understands? Move `a2.h1` only *part* of the way from its clean to its
# corrupted value, and compare three metrics:

# %%
good, flipped = flipped_at(12, 100)
here, there = head.read(checker, good), head.read(checker, flipped)
steps = [n / 20 for n in range(21)]
on_the_way = torch.stack([
    metric(head.write(checker, good, here + step * (there - here), allow_unchanged=True))
    for step in steps
])  # fmt: skip
curves = {
    "logit difference": on_the_way,
    "probability": on_the_way.sigmoid(),
    "accuracy": (on_the_way > 0).float(),
}
curves = {name: 1 - (v.mean(1) - v[-1].mean()) / (v[0].mean() - v[-1].mean())
          for name, v in curves.items()}  # fmt: skip

figure, axis = plt.subplots(figsize=(7, 3.8))
styles = {
    "logit difference": (plots.BLUE, "o-"),
    "probability": (plots.GREEN, "s-"),
    "accuracy": (plots.VERMILION, "^-"),
}
for name, curve in curves.items():
    colour, style = styles[name]
    _ = axis.plot(steps, curve, style, color=colour, markersize=4)
for name, x, y in (("logit difference", 0.62, 0.8), ("probability", 0.46, 0.5),
                   ("accuracy", 0.24, 0.6)):  # fmt: skip
    _ = axis.annotate(name, (x, y), color=styles[name][0])
_ = axis.set(xlabel="share of a2.h1's change that is made", ylabel="share of the effect")
lab.figure(
    figure,
    alt="Three S-shaped curves, flat at both ends. The logit difference rises smoothly between .2 "
    "and .6, probability and accuracy jump between .3 and .5.",
    table={
        "share of the change": steps[2:13:2],
        **{name: curve[2:13:2].tolist() for name, curve in curves.items()},
    },
    digits=2,
)
weak = patch(checker, clean, bad, [part("a2.h0")], direction="noise", metric=metric)[0]
lost = (start - weak).mean()
print(f"a2.h0 noised: {lost:.1f} logits lost, {(weak < 0).double().mean():.2f} of answers changed")

# %% [markdown]
# Compare the curves up to .35. Accuracy stays near 0 for the first third of the way, then jumps,
# because it is a threshold. The probability is hardly better: between logit differences of 7 and 4
# it moves from .999 to .98. The line under the figure is an example: noising `a2.h0` costs a whole
# logit, in accuracy 0.00, which you would have reported as "no effect". Use a metric that is linear
# in the logits, then say in accuracy what it means.
#
# ### Slopes
#
# Can you do without a run for each site? *Attribution patching* estimates all effects at once: the
# metric's slope with respect to the activation, times the change of the activation. In the figure
# that is the slope at the left end, extended to the right end.
#
# ### Exercise 5.6: slope times change
#
# Estimate, for every number of the activation at a hook, what patching it into `base` from `source`
# would do. The network's weights are frozen, so activations carry no gradient by themselves. The
# trick: add a tensor of zeros at the hook, and ask for the gradient with respect to the zeros.

# %% exercise="5.6" points=5 minutes=10 difficulty=3


def attribute(model: nn.Module, base: Tensor, source: Tensor, hook: str, metric) -> Tensor:
    """Slope of the metric in the run on `base`, times (value on `source` - value on `base`).

    Returns the shape of the activation at `hook`. `Site(hook).write(model, base, f, grad=True,
    allow_unchanged=True)` keeps the graph; f is a function of the old activation.
    """
    ### BEGIN SOLUTION
    site = Site(hook)
    here, there = site.read(model, base), site.read(model, source)
    zeros = torch.zeros_like(here).requires_grad_(True)
    output = site.write(model, base, lambda old: old + zeros, grad=True, allow_unchanged=True)
    (slope,) = torch.autograd.grad(metric(output).sum(), zeros)
    return slope * (there - here)
    ### END SOLUTION


lab.check("5.6", attribute)

# %%
for direction, (base, source) in (("noise", (good, flipped)), ("denoise", (flipped, good))):
    estimated = lab.use(
        "5.6", lambda *pair: attribute(checker, *pair, "blocks.2.attn.hook_z", metric)
        [:, 0, 1].sum(-1), base, source, name=direction,
    )  # fmt: skip
    gap = score(source).mean() - score(base).mean()
    exact = patch(checker, good, flipped, [head], direction=direction, metric=metric)[0]
    by_patching = (exact.mean() - score(base).mean()) / gap
    print(f"a2.h1, {direction:<8} share by slope {estimated.mean() / gap:.2f}, "
          f"by patching {by_patching:.2f}")  # fmt: skip

# %% [markdown]
# The curve is flat at both ends, where the network is sure of itself, so a *small* step changes
# little, and the slope describes only small steps. How bad is it over all heads and positions?
# `attribution_report` puts it beside the exact sweep:

# %%
sites = [
    Site(f"blocks.{layer}.attn.hook_z", head=h, position=position)
    for layer in range(3) for h in range(2) for position in range(25)
]  # fmt: skip
attribution_report(checker, *flipped_at(12), sites, metric, direction="noise", batch_size=500)

# %%
attribution_report(checker, *flipped_at(12), sites, metric, direction="denoise", batch_size=500)

# %% [markdown]
# The largest errors are as large as the largest effect. In the denoising direction the *ranking* is
# still good, which may be enough to find candidates: two forward passes and one backward instead of
# 150 patches. In the noising direction even the ranking is poor. Use attribution to decide what to
# patch, not instead of patching. Section 8 has a case where it is exact.
#
# ## 6 · Paths
#
# In this section you split an effect into paths, and see when that is allowed. `a2.h1` at START can
# reach the answer in two ways: straight into the logits, or by way of `m2`, the last MLP, which
# reads it. Patching the head moves both. *Path patching* moves one: change the sender, hold what
# lies between at its old values, and let the receiver alone see the change.
#
# ### Exercise 5.7: the direct path
#
# Noising: run on the clean batch, with every frozen site at its own clean values and the sender at
# its corrupted value. Return the output. The order matters: of two edits at one hook the later
# wins.

# %% exercise="5.7" points=4 minutes=8 difficulty=3


def direct(
    model: nn.Module, clean: Tensor, corrupted: Tensor, sender: Site, frozen: list
) -> Tensor:
    """The clean run's output when only the direct path from `sender` sees the corrupted value.

    frozen: list of Sites. run(model, inputs, read=[...]).values reads several at once;
    run(model, inputs, edits=[(site, value), ...], allow_unchanged=True).output writes several.
    """
    ### BEGIN SOLUTION
    own = run(model, clean, read=frozen).values
    edits = [*zip(frozen, own, strict=True), (sender, sender.read(model, corrupted))]
    return run(model, clean, edits=edits, allow_unchanged=True).output
    ### END SOLUTION


lab.check("5.7", direct)

# %%
everything = [Site(f"blocks.{n}.{h}") for n in range(3) for h in ("attn.hook_z", "hook_mlp_out")]
output = lab.use("5.7", lambda *x: direct(checker, *x, everything), clean, bad, part("a2.h1"))
by_hand = (metric(output) - start).mean() / (target - start).mean()
print(f"a2.h1, direct path, by hand: {by_hand:.2f}")


def path_share(good: Tensor, bad: Tensor, sender: str, receivers, direction: str) -> float:
    output = patch_path(checker, good, bad, part(sender), receivers, direction=direction)
    a, b = score(good).mean(), score(bad).mean()
    a, b = (a, b) if direction == "noise" else (b, a)
    return ((metric(output).mean() - a) / (b - a)).item()


into = {n: [Site(f"blocks.{n}.mlp.hook_pre", position=0)] for n in (0, 2)}
query = [Site("blocks.2.attn.hook_q", head=1, position=0)]
print("beginnings broken: a2.h1 to the answer  to m2  sum of both  whole effect")
for direction in ("noise", "denoise"):
    found = [path_share(clean, bad, "a2.h1", to, direction) for to in (None, into[2])]
    whole = shares["beginnings", direction][parts.index("a2.h1")].item()
    cells = [two(value) for value in (*found, sum(found), whole)]
    print(f"{direction:<18}{cells[0]:>19}{cells[1]:>7}{cells[2]:>13}{cells[3]:>14}")
print("\nfirst bracket flipped: a0.h0 to the answer  to m0  to m2  to the query of a2.h1")
ways = (None, into[0], into[2], query)
cells = [two(path_share(good_first, bad_first, "a0.h0", to, "noise")) for to in ways]
print(f"noise{cells[0]:>36}{cells[1]:>7}{cells[2]:>7}{cells[3]:>24}")

# %% [markdown]
# Take the lower line first. `a0.h0` alone flips the answer, and all of that goes through `m0`: two
# parts that looked like two witnesses are one. It says nothing to the logits directly and nothing
# to `m2`. The query of `a2.h1` is the null, a path that exists and carries nothing.
#
# The upper table is more typical. The two paths are all that `a2.h1` has, and together they make
# 1.01 when noised and .79 when denoised. Yet the shares along single paths add up to 1.46 and .44.
# Every path was followed exactly, but what comes after them is not linear: a layer norm divides by
# the length of *everything* in the stream, and beyond a threshold a louder alarm changes nothing.
# **Paths add up only where what follows is linear.** Always report the sum beside the total; their
# difference tells you how far you may speak of "the part of the effect that goes through" a path.
#
# ## 7 · Causal tracing
#
# Here you patch without a partner string, and find that the choice of corruption decides the
# answer. *Causal tracing* corrupts the input itself: overwrite the values of a *subject*, some
# tokens' embeddings or a region of an image, then restore one site at a time to what it was in the
# clean run, and see what comes back. It is denoising, with a corruption made in place.
#
# ### Exercise 5.8: corrupt and restore
#
# Both edits belong in one run, since what you restore must be read by parts that see the corrupted
# subject. What counts is the gain over the run with the corruption alone.

# %% exercise="5.8" points=4 minutes=7 difficulty=2


def restore(model: nn.Module, clean: Tensor, subject: Site, value: Tensor, site: Site, metric):
    """Metric with the subject overwritten and `site` restored, less that without restoring: [row].

    value: what the subject is overwritten with, in the subject's shape.
    """
    ### BEGIN SOLUTION
    corrupted = subject.write(model, clean, value)
    edits = [(subject, value), (site, site.read(model, clean))]
    return metric(run(model, clean, edits=edits).output) - metric(corrupted)
    ### END SOLUTION


lab.check("5.8", restore)

# %% [markdown]
# What to overwrite with? The classic recipe adds Gaussian noise of three standard deviations. The
# alternative is a *swap*: the embedding of the other bracket. The subject is bracket 12, in strings
# where it opens.

# %%
good, flipped = flipped_at(12)
subject = Site("hook_embed", position=12)
hook = "blocks.{}.attn.hook_z"
places = {
    "a0.h1 at 12": Site(hook.format(0), head=1, position=12),
    "m0 at 12": Site("blocks.0.hook_mlp_out", position=12),
    "a0.h1 at 24": Site(hook.format(0), head=1, position=24),
    "a2.h0 at START": part("a2.h0"),
    "a2.h1 at START": part("a2.h1"),
}
swap_value = subject.read(checker, flipped)
effects = lab.use(
    "5.8",
    lambda s: restore(checker, good, subject, swap_value, s, metric),
    places["a2.h1 at START"],
)
by_noise = trace(checker, good, list(places.values()), metric, subject=subject, scale=3, samples=10,
                 batch_size=500)  # fmt: skip
by_swap = trace(checker, good, list(places.values()), metric, subject=subject, corrupted=flipped,
                batch_size=500)  # fmt: skip
print(f"a2.h1 restored after the swap, by hand: {effects.mean():.1f} logits")
by_noise.report(list(places), digits=1)

# %%
by_swap.report(list(places), digits=1)

# %% [markdown]
# The two traces disagree about nearly everything. Noise does much less damage. By noise the
# decisive places are at the bracket itself, and both `a2.h0` and `a2.h1` carry the answer. By the
# swap they are the last position and `a2.h1`, and nothing at the bracket.
#
# Both traces are correct. A noised embedding is neither bracket. It makes both tests fail a little,
# so the heads of *both* come out, and the damage is small, so that many a single repair makes up
# for half of it. The swapped embedding is a clear "close". The alarm rings in many places, and one
# place restored at the bracket does not silence the rest. The noise asks what helps a confused
# network; the swap asks what carries "open instead of close". If your claim is about the second,
# noise is the wrong experiment. Zhang and Nanda report that the two can disagree on large models as
# well.
#
# ## 8 · The same calls on a CNN
#
# Here you see which of these findings also hold in a network without attention. Lesson 02 found
# that this CNN says class 1 when an image is very like a clue or very unlike it: one set of `fc1`
# neurons for each. Its `hook_fc1` feeds the logits by one linear map. Images *over* the band are
# class 1 because of the above detector, images *under* it because of the below detector; each is
# paired with some image *inside* the band, class 0:

# %%
cnn, pictures = lab.model.cnn, lab.data.images
class_1 = logit_difference(1, 0, position=None)
over, under, inside = pictures.over, pictures.under, pictures.inside
detectors = {
    "above detector": Site("hook_fc1", neuron=pictures.above_detector),
    "below detector": Site("hook_fc1", neuron=pictures.below_detector),
    "other live neurons": Site("hook_fc1", neuron=pictures.other_live),
}
generator, live = torch.Generator().manual_seed(7), torch.tensor(pictures.live)
random_sets = []
for _ in range(20):
    chosen = live[torch.randperm(len(live), generator=generator)]
    random_sets.append(Site("hook_fc1", neuron=chosen[: len(pictures.above_detector)].tolist()))
centre = Site("hook_input", row=slice(8, 20), column=slice(8, 20))
traced = {}
for title, batch in (("over", over), ("under", under)):
    for how, options in (("swap", {"corrupted": inside}), ("noise", {"scale": 3, "samples": 5})):
        traced[title, how] = trace(cnn, batch, [*detectors.values(), *random_sets], class_1,
                                   subject=centre, batch_size=500, **options)  # fmt: skip


def tracing_report(title: str, how: str) -> Report:
    result = traced[title, how]
    each = result.indirect.mean(1).double()  # [site, image]
    rows = [Row(name, Estimate.mean(v), "result") for name, v in
            zip(detectors, each, strict=False)]  # fmt: skip
    draws = result.average()[len(detectors) :]
    spread = (draws.mean().item(), draws.min().item(), draws.max().item())
    rows.append(Row("as many random live neurons", Estimate(*spread, 20, "null: range"), "null"))
    rows.append(Row("total effect", Estimate.mean(result.total.mean(0)), "ceiling"))
    return Report(f"Images {title} the band, centre corrupted by {how}: logits restored", rows,
                  result.protocol, digits=1)  # fmt: skip


tracing_report("over", "swap")

# %%
for title, how in traced:
    result = traced[title, how]
    numbers = [result.total.mean().item(), *result.average()[:3].tolist()]
    numbers = [f"{two(number, digits=1):>5}" for number in numbers]  # logits
    print(f"{title:<6}{how:<6} total {numbers[0]}   above {numbers[1]}   below {numbers[2]}   "
          f"other {numbers[3]}")  # fmt: skip

# %% [markdown]
# With a swap the trace finds the detector that lesson 02 named, each for its own images, and
# nothing else. With noise the images *over* the band give a similar answer, but a fifth of the
# effect goes to neurons of neither detector. For the images *under* the band the total effect is
# *negative*: they are class 1 for being unlike the clue, and a centre full of noise is even more
# unlike it. There is nothing to restore, so what the trace says of the parts means nothing. Look at
# the total before you look at the parts.
#
# Now directions, paths and slopes, on channels of the second convolution:

# %%
channels = [Site("hook_conv2", channel=c) for c in range(16)]
to_class = {"noise": (class_1(cnn(over)), class_1(cnn(inside)))}
to_class["denoise"] = to_class["noise"][::-1]
branches = {
    "above": pictures.above_detector,
    "below": pictures.below_detector,
    "the rest": sorted(set(range(200)) - {*pictures.above_detector, *pictures.below_detector}),
}
print("channel 3 of conv2     noise  denoise")
lines = {}
for direction, (a, b) in to_class.items():
    gap = (b - a).mean()
    values = patch(cnn, over, inside, channels, direction=direction, metric=class_1, batch_size=500,
                   allow_unchanged=True)  # fmt: skip
    each = (values.mean(1) - a.mean()) / gap
    paths = [
        (class_1(patch_path(cnn, over, inside, channels[3], [Site("hook_fc1_pre", neuron=n)],
                            frozen=[], direction=direction)) - a).mean() / gap
        for n in branches.values()
    ]  # fmt: skip
    lines[direction] = [each[3], *paths, sum(paths), each.sum()]
names = ["total", *[f"by way of {name}" for name in branches], "sum of the paths",
         "sum over all channels"]  # fmt: skip
for name, x, y in zip(names, lines["noise"], lines["denoise"], strict=True):
    print(f"{name:<22} {two(x):>5}  {two(y):>7}")

# %%
neurons = [Site("hook_fc1", neuron=n) for n in pictures.live]
for name, sites in (("fc1", neurons), ("conv2", channels)):
    for direction in ("noise", "denoise"):
        report = attribution_report(cnn, over, inside, sites, class_1, direction=direction,
                                    batch_size=500)  # fmt: skip
        found = report["correlation with the exact effect"]
        null, error = report["correlation, sites shuffled"], report["largest error"]
        print(f"{name:<6}{direction:<8} correlation of slope and effect {two(found.value, 1):>4}, "
              f"from {two(found.low, 1):>4} to {two(found.high, 1)}; shuffled "
              f"{two(null.value, 1):>4}; largest error {two(error.value, 1)}")  # fmt: skip

# %% [markdown]
# The same three findings, without a single attention head. Noising channel 3 costs .43 of the
# answer, denoising it brings back .09; over all sixteen channels the shares add up to 1.62 and .08.
# It is as if the above detector wanted *everything* about the clue right, and any channel could
# object. The paths through the detectors do add up, exactly, because after `fc1` there is only one
# linear map. For the same reason attribution at `fc1` is exact. One layer further back, before a
# ReLU, it still ranks the channels when noising; when denoising its ranking is worth nothing, and
# its errors are larger than any effect.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About two alarms.** A way to repair first-bracket pairs through one head. We tried each part
#   at START alone, not each position, and not subspaces.
# - **About `a0.h0` as a specialist.** Strings of another kind in which it reports a fault. Only
#   balanced strings with one flip were tried.
# - **About `a2.h1` as "the beginnings test".** A quarter of the strings that fail endings ring it
#   too. If those were a random quarter, "the test" would be too strong; if there is a rule to them,
#   the account needs one more step.
# - **About paths.** The null path was one query. With a null over many paths, .01 might not be
#   small.
# - **About the CNN.** One subject, the central square. A trace says what restores *this* damage.
#
# ## Where this comes from
#
# Vig and others, "Investigating Gender Bias in Language Models Using Causal Mediation Analysis"
# (2020), and Geiger and others, "Causal Abstractions of Neural Networks" (2021), brought
# interventions on activations to language models. Meng and others, "Locating and Editing Factual
# Associations in GPT" (2022), made causal tracing with noise known. Goldowsky-Dill and others,
# "Localizing Model Behavior with Path Patching" (2023), is the source of exact paths. Neel Nanda's
# "Attribution Patching: Activation Patching At Industrial Scale" (2023) proposed slope times change
# and warned of where it fails. Zhang and Nanda, "Towards Best Practices of Activation Patching in
# Language Models" (2023), compare noise with swaps and one metric with another; Heimersheim and
# Nanda, "How to use and interpret activation patching" (2024), work out what noising and denoising
# each show.
#
# **Next.** A patch is *one* swap, chosen by you, and it asks whether the answer changes as it
# should. An explanation says more: it names all the swaps that should leave the answer *unchanged*.
# Any string that fails the same test ought to work as a donor, in every part at once. Section 2
# tried that for one head. Lesson 06 tries it for a whole explanation; that is causal scrubbing.
