# ---
# jupyter:
#   lesson:
#     id: "00"
#     title: "Start here: a network, a claim, and what counts as evidence"
#     minutes: 45
#     difficulty: 1
#     prerequisites: []
#     objectives:
#       - "find a network's rule from its failures rather than from its successes"
#       - "tell two explanations apart that no label can tell apart"
#       - "test a claim about the inside of a network by an intervention with its control"
#       - "say what a number needs beside it before it counts as evidence"
#     signature: >-
#       two programs agree on every row there is; where the head looks and a swap of values separate
#       them; control: the same edits at other digits, and forced attention refutes half the claim
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here: a network, a claim, and what counts as evidence
#
# This course hands you trained networks and asks one question of each: *which program does it run?*
# An answer counts only when the evidence for it would have looked different had the answer been
# wrong. That sounds obvious and is easy to get wrong. In this lesson you watch it go wrong, on a
# network so small that nothing stays hidden. After it you can
#
# - find a network's rule from its failures rather than from its successes;
# - tell two explanations apart that no label can tell apart;
# - test a claim about the inside of a network by an intervention with its control;
# - say what a number needs beside it before it counts as evidence.
#
# You need Python and the beginnings of PyTorch: indexing a tensor, `==`, `.max(dim=1)`. Work from
# top to bottom and do not read ahead: the lesson has a secret, and the later sections tell it.

# %%
from utils.lessons import lab

lab = lab("00")

# %% [markdown]
# ## 1 · Two minutes of mechanics
#
# This section shows you what every lesson uses: the doctor, exercises with their checks, and hints.
#
# **The doctor** looks at your machine: Python, packages, memory, the notebook kernel, and whether
# the networks are the files that were shipped. It prints one word when all is well, and otherwise
# one line of advice per fault. Follow that advice before you go on. In a terminal, `python -m utils
# doctor` tells you more.

# %%
from utils.doctor import examine

faults = [finding for finding in examine() if finding.ok is False]
for finding in faults:
    print(f"{finding.name}: {finding.advice}")
print("The doctor says:", "see above" if faults else "healthy")

# %% [markdown]
# **Exercises** are cells with a gap. Replace `raise NotImplementedError(...)`, or the `...`, by
# your code and run the cell. Its last line, `lab.check`, tests your answer and says `passed`,
# `partly right` or `failed`, with a reason. A check tests what your answer *does*, so any way of
# writing it is fine. As long as the gap is there, the check says `not attempted` and the notebook
# runs on with reference data in its place.
#
# Stuck? `lab.hint("0.1")` in a cell of its own gives a hint. Call it again for the next one; there
# are three for each exercise, and the last is nearly the code. Hints cost no points.
#
# The first exercise is there to try the machinery.
#
# ### Exercise 0.1: the share of rows on which two programs agree
#
# You have two tensors of answers, one entry per row. Return the share of rows on which they
# are the same: 1.0 if they agree everywhere, 0.0 if nowhere.

# %%
import torch
from torch import Tensor


# %% exercise="0.1" points=1 minutes=2 difficulty=1
def agreement(a: Tensor, b: Tensor) -> float:
    """a, b: (n,) whole numbers. Returns the share of entries that are equal, from 0 to 1."""
    ### BEGIN SOLUTION
    return (a == b).double().mean().item()
    ### END SOLUTION


lab.check("0.1", agreement)

# %% [markdown]
# ## 2 · The five-minute challenge
#
# In this section you look for the program a network runs, from its answers alone. The network reads
# seven *tokens*: six digits and a token called END, which is stored as the number 10. It has a
# single attention head and no other moving part (section 3 says what such a head does; you do not
# need it yet). At END it gives one *logit*, a score, for each of the ten digits, and its answer is
# the digit with the highest score. It was trained on labels that a short program had made. That
# program is the secret. Set a timer for five minutes if you like.
#
# Below are ten of the 4000 rows that you get, with what the network says.

# %%
network, rows = lab.model, lab.data["rows"]
digits = rows[:, :6]  # without END
answers = network(rows)[:, -1].argmax(-1)  # logits: (row, position, digit)

print("rows", tuple(rows.shape), "| answers", tuple(answers.shape))
for row, answer in zip(digits[:10].tolist(), answers[:10].tolist(), strict=True):
    print("  ", *row, "  ->", answer)

# %% [markdown]
# ### Exercise 0.2: your first guess
#
# Write the simplest program that you can think of which gives these ten answers. The check shows
# your program the ten examples, and the same digits in another order. Do not be clever yet; a first
# guess may be wrong.


# %% exercise="0.2" points=2 minutes=4 difficulty=1
def first_guess(digits: Tensor) -> Tensor:
    """digits: (n, 6), whole numbers 0-9. Returns (n,), the digit you expect for each row."""
    ### BEGIN SOLUTION
    return digits.max(dim=1).values
    ### END SOLUTION


lab.check("0.2", first_guess)

# %% [markdown]
# Ten of ten. Now all 4000 rows. An `Estimate` is a number with its 95 % interval, the range of
# true values that the sample does not rule out, and with the count `n` that it rests on. Beside
# it stands a *baseline*: what you would get without understanding anything, here by always
# naming 9, the most frequent answer.

# %%
from utils.reports import Estimate

guess = lab.use("0.2", first_guess, digits)
for name, program_says in (("your first guess", guess), ("always 9", torch.full_like(guess, 9))):
    hits = int((program_says == answers).sum())
    print(f"{name:<17} agrees with the network on", Estimate.proportion(hits, len(answers)).text(2))

# %% [markdown]
# If you wrote "the largest digit", you got .86, far above the baseline of .48. You could stop here:
# ten examples out of ten fit, and .86 looks like a good rule with some noise. Many explanations of
# networks stop at this point. But the rule fails on one row in seven, and a network does not throw
# dice. On those rows it does something that you cannot explain yet.
#
# I should also confess how the ten examples were chosen. They are the first ten rows of a random
# draw, and I went through draws until the largest digit was right ten times out of ten. With a rule
# that is right in .86 of the rows, about one draw in five does that. You can make such a gallery of
# successes for almost any rule.
#
# So look at the failures. The next exercise gives you the tool: which digits occur in a set of
# rows? You will use it twice, on the rows where the largest digit is wrong and on those where it is
# right.
#
# ### Exercise 0.3: what the failures have in common
#
# For each digit from 0 to 9, return the share of *rows* that hold it at least once. In the set
# of two rows `[[1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6]]` the digit 1 has the share 1.0, the digits
# 2 to 6 have 0.5, and the rest have 0.0.


# %% exercise="0.3" points=3 minutes=6 difficulty=2
def share_with_digit(digits: Tensor) -> Tensor:
    """digits: (n, 6), whole numbers 0-9. Returns (10,), the share of rows that hold each digit."""
    ### BEGIN SOLUTION
    return torch.stack([(digits == d).any(dim=1).double().mean() for d in range(10)])
    ### END SOLUTION


lab.check("0.3", share_with_digit)

# %%
largest = digits.max(dim=1).values
right = answers == largest
in_failures = lab.use("0.3", share_with_digit, digits[~right], name="failures")
in_successes = lab.use("0.3", share_with_digit, digits[right], name="successes")

print(f"failures {int((~right).sum())}, successes {int(right.sum())}")
print("digit   share of failures with it   share of successes with it")
for d in range(10):
    print(f"{d:>5}   {in_failures[d]:>25.2f}   {in_successes[d]:>26.2f}")

# %% [markdown]
# ### Exercise 0.4: a program that agrees everywhere
#
# In the table one line has a 1.00 in it and two lines have a 0.00; nothing else stands out. State a
# program that agrees with the network on *every* row. Printing a few failures helps:
# `print(digits[~right][:8], answers[~right][:8])`. The check uses all 4000 rows, and about a
# thousand more that were made to be hard for rules that are nearly right.


# %% exercise="0.4" points=4 minutes=6 difficulty=2
def program(digits: Tensor) -> Tensor:
    """digits: (n, 6), whole numbers 0-9. Returns (n,), what the network says."""
    ### BEGIN SOLUTION
    return digits.masked_fill(digits == 7, -1).max(dim=1).values
    ### END SOLUTION


lab.check("0.4", program)

# %%
found = lab.use("0.4", program, digits)
hits = int((found == answers).sum())
print("your program agrees with the network on", Estimate.proportion(hits, len(answers)).text(3))

# %% [markdown]
# The network names the largest digit, but 7s do not count. Every failure of the plain rule holds a
# 7, and none holds an 8 or a 9, because those would be the answer with or without the 7.
#
# The failures gave it away. The 3445 successes told you next to nothing, because the right rule and
# the wrong one agree on all of them. This is the sentence to take from the lesson: **an observation
# is evidence between two explanations only if they predict different things about it.** The next
# section turns it against the answer you have just found.
#
# ## 3 · Two programs, one table of labels
#
# You have a rule that is right every time, and this section asks whether the network follows it.
# Here are two programs. (For a row of six 7s both say 7.)
#
# - **Program A** never looks at a 7. It names the largest of the digits that it looks at.
# - **Program B** looks at everything and finds the largest digit. If that is a 7, it names the
#   largest of the others instead.


# %%
def program_a(digits: Tensor) -> Tensor:
    looked_at = digits.masked_fill(digits == 7, -1)
    best = looked_at.max(dim=1).values
    return torch.where(best < 0, 7, best)


def program_b(digits: Tensor) -> Tensor:
    best = digits.max(dim=1).values
    others = digits.masked_fill(digits == best[:, None], -1).max(dim=1).values
    return torch.where((best == 7) & (others >= 0), others, best)


everything = torch.cartesian_prod(*[torch.arange(10)] * 6)  # all rows of six digits there are
differ = program_a(everything) != program_b(everything)
print(f"rows on which A and B differ: {int(differ.sum())} of {len(everything)}")

# %% [markdown]
# Zero in a million. No table of labels, however large, can say which of the two the network runs.
# They are the same *function* computed by two different *mechanisms*, so you must look inside.
#
# ### What is inside
#
# One attention head works in two halves, and it helps to keep them apart.
#
# 1. **Where it looks.** END compares itself with each of the seven places (six digits and END).
#    The result is the *attention pattern*: seven shares that are at least 0 and add to 1.
# 2. **What it picks up.** Each place offers a list of numbers, its *value vector*. END receives
#    the average of the seven value vectors, weighted by the attention pattern. A fixed linear
#    map turns what END received into the ten logits.
#
# Nothing else in this network moves information from place to place, so whatever the answer knows
# about the digits came through those seven shares. In these terms A and B are two claims. A says
# that END gives a 7 no attention. B says that END looks at 7s as it looks at other digits, and that
# something is done about what it finds there.
#
# ### Exercise 0.5: choose your evidence before you collect it
#
# For each of these five observations decide whether A and B *predict different results*. True
# means that it can tell them apart; False means that it cannot, however much it may look like
# evidence.
#
# - `more rows`: how often the program agrees with the network on 100,000 further random rows
# - `shuffle`: whether the network's answer stays when a row's digits are put in another order
# - `attention`: how much attention END gives to a 7 that is the largest digit of its row
# - `cut`: whether the answer changes when the attention to every 7 is set to 0
# - `swap`: in rows without a 9, whether the answer changes when each 7 offers the value vector
#   of a 9 instead of its own

# %% exercise="0.5" points=3 minutes=5 difficulty=2
differs = {
    ### BEGIN SOLUTION
    "more rows": False,
    "shuffle": False,
    "attention": True,
    "cut": False,
    "swap": True,
    ### STUB
    # "more rows": ...,
    # "shuffle": ...,
    # "attention": ...,
    # "cut": ...,
    # "swap": ...,
    ### END SOLUTION
}
lab.check("0.5", differs)

# %% [markdown]
# `cut` is worth a second look. It is an intervention on exactly the part that we care about, it
# would make a fine figure, and it proves nothing here: both programs predict the same answer. An
# experiment does not become evidence by reaching into the network.
#
# ### First observation: where it looks
#
# A `Site` names a place inside a network: a *hook* (a named point where an activation can be
# read or overwritten) and, where needed, which part of it. The site below is the last position's
# row of the attention pattern of head 0: where END looks. `read` runs the network on some rows
# and gives what was there. Lesson 01 is about sites; here you only need to see them at work.
#
# A fair comparison takes some care, since any digit gets little attention when a larger one stands
# beside it. So for each digit take only the rows in which it is the largest, and add up the
# attention that its copies get.

# %%
import matplotlib.pyplot as plt

from utils import plots
from utils.sites import Site

where_it_looks = Site("blocks.0.attn.hook_pattern", head=0, position=-1)
pattern = where_it_looks.read(network, rows)  # (row, place), seven places
print("pattern", tuple(pattern.shape), "| each row adds to", round(pattern[0].sum().item(), 3))


def attention_when_largest(d: int) -> Tensor:
    chosen = largest == d
    return (pattern[chosen] * (rows[chosen] == d)).sum(dim=1)


shown = list(range(4, 10))
means = [attention_when_largest(d).mean().item() for d in shown]
figure, axes = plt.subplots(figsize=(6, 2.8))
_ = axes.bar(shown, means, color=plots.BLUE)
for d, mean in zip(shown, means, strict=True):
    colour = plots.VERMILION if d == 7 else "black"
    _ = axes.annotate(f"{mean:.3f}", (d, mean), ha="center", va="bottom", color=colour)
_ = axes.set(xlabel="largest digit of the row", ylabel="attention to it\n(share, 0 to 1)")
_ = axes.set_ylim(0, 1.15)
axes.spines[["top", "right"]].set_visible(False)
lab.figure(
    figure,
    alt="Six bars: END's attention to the largest digit of the row. It is .99 or more for the "
    "digits 4, 5, 6, 8 and 9, and 0 for the digit 7.",
    table={
        "largest digit": shown,
        "rows": [int((largest == d).sum()) for d in shown],
        "attention": means,
    },
)

# %% [markdown]
# Look at the place of the 7 in the figure. B predicts a bar like its neighbours', A predicts none,
# and there is none. The bars of 6 and 8 are the controls: without them an attention of 0 might have
# meant that the site is wrong or that END never looks at anything.
#
# ### Second observation: what happens if the 7 offers something else
#
# So far attention was read, not changed, and people have argued for years about how much such
# pictures explain. Now intervene, with the `swap` of exercise 0.5. Take the rows that hold a 7 and
# no 9. Run the network on a copy of them in which the 7s are replaced by 9s, keep the value vectors
# of that run, and write them into the run on the original rows. Every 7 now offers what a 9 would
# offer, and everything else, attention included, stays as it was. The control does the same to the
# digit that the network names.

# %%
what_it_offers = Site("blocks.0.attn.hook_v", head=0)  # (row, place, 32 numbers)
some = (digits == 7).any(dim=1) & (digits != 9).all(dim=1)
before = answers[some]


def answers_after_swap(places: Tensor) -> Tensor:
    """places: (n, 7) true where a place shall offer the value vector of a 9."""
    as_if_nine = what_it_offers.read(network, rows[some].masked_fill(places, 9))
    return what_it_offers.write(network, rows[some], as_if_nine)[:, -1].argmax(-1)


after_swap = {
    "the 7s": answers_after_swap(rows[some] == 7),
    "the named digit": answers_after_swap(rows[some] == before[:, None]),
}
for name, after in after_swap.items():
    changes = (after != before).double().mean()
    print(f"swapped: {name:<15}  answer changes in {changes:.2f} of {len(before)} rows")

# %% [markdown]
# What the 7s offer has no effect. Where the network does look, the same edit changes every answer,
# so the edit works. B, as stated above, is out: the network gives 7s no attention.
#
# ### Predict before you run
#
# By now most people have a complete picture: *the head looks at the largest digit, with 7 left out,
# and copies whatever it looks at into the answer.* The second half has not been tested. If it is
# true, and if we force the head to look at a 7 and at nothing else, the network should say 7.
#
# How sure are you? Write a probability. It is scored by the Brier score, the squared distance
# between what you said and what happened (1 or 0), so 0 is best and 1 is worst. Saying what you
# expect *before* you see the result is a cheap protection against explaining whatever comes.

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
question = "Forced to look at a 7 only, does the network say 7 in at least half of the rows?"
lab.predict("0.P", question, probability)

# %% [markdown]
# ### Exercise 0.6: make it look
#
# Write a function that forces END to give all its attention to one place in each row, and
# returns what the network then says. Build a pattern of shape (n, 7) with 1.0 at the place and
# 0.0 elsewhere, and write it with `where_it_looks.write(network, rows, pattern)`. What comes back
# is the network's logits with that pattern in place, of shape (n, 7, 10). The last position
# holds the answer, as in section 2.


# %% exercise="0.6" points=5 minutes=7 difficulty=2
def say_when_looking_at(network: torch.nn.Module, rows: Tensor, places: Tensor) -> Tensor:
    """rows: (n, 7) tokens. places: (n,) whole numbers 0-5. Returns (n,), the digits it says."""
    ### BEGIN SOLUTION
    pattern = torch.nn.functional.one_hot(places, 7).float()
    logits = where_it_looks.write(network, rows, pattern)
    return logits[:, -1].argmax(-1)
    ### END SOLUTION


lab.check("0.6", say_when_looking_at)

# %% [markdown]
# Now the experiment, twice. In the rows that hold a 7, force the head to look at the first of them.
# As a control, in all rows, force it to look at a random place that holds another digit: there it
# should name *that* digit. And a *null* says what agreement by chance would look like: compare what
# the network says with an unrelated digit, the one it was made to look at in another row.

# %%
with_7 = (digits == 7).any(dim=1)
first_7 = (digits == 7).long().argmax(dim=1)
says_at_7 = lab.use(
    "0.6", say_when_looking_at, network, rows[with_7], first_7[with_7], name="at a 7"
)

torch.manual_seed(0)
places = torch.randint(0, 6, (len(rows),))
there = digits.gather(1, places[:, None])[:, 0]  # the digit at that place
other = there != 7
says_at_other = lab.use(
    "0.6", say_when_looking_at, network, rows[other], places[other], name="at another digit"
)

lab.outcome("0.P", (says_at_7 == 7).double().mean() >= 0.5)
print("made to look at a 7, it says:", sorted(set(says_at_7.tolist())))
named = (says_at_other == there[other]).double().mean()
print(f"made to look at another digit, it names that digit in {named:.2f} of the rows")

# %% [markdown]
# It says 0, never 7. Made to look at any other digit, at any place, it names that digit every time,
# so forcing the attention works.
#
# If you said 80 %, so did I: this lesson was planned around the opposite result, and the plan was
# changed when the experiment refused. The claim "it copies whatever it looks at" is true of nine
# digits and false of 7. The network is blind to 7s *twice*: it does not look at them, and if it
# did, it would find nothing there that says 7. In hindsight that is easy to explain: not one label
# in training was a 7 (that would have taken a row of six 7s), so nothing taught the network to say
# it. But this is a claim about training, and nothing here has tested it.
#
# Here is everything in one `Report`. A report refuses to hold results alone: it wants at least
# one row that you can compare them with.

# %%
from utils.reports import Report, Row


def share(hits: Tensor) -> Estimate:
    return Estimate.proportion(int(hits.sum()), len(hits))


changed = after_swap["the 7s"] != before
changed_control = after_swap["the named digit"] != before
at_it = says_at_other == there[other]
by_chance = says_at_other == there[other].roll(1)
report = Report(
    "What the network runs",
    [
        Row("answer is the largest digit, 7s left out", share(found == answers), "result"),
        Row("answer is the largest digit", share(largest == answers), "control"),
        Row("attention to a largest 7", Estimate.mean(attention_when_largest(7)), "result"),
        Row("attention to a largest 6", Estimate.mean(attention_when_largest(6)), "control"),
        Row("attention to a largest 8", Estimate.mean(attention_when_largest(8)), "control"),
        Row("7s offer a 9: it changes", share(changed), "result"),
        Row("named digit offers a 9: it changes", share(changed_control), "control"),
        Row("looks at a 7: says 7", share(says_at_7 == 7), "result"),
        Row("looks at another digit: says it", share(at_it), "control"),
        Row("looks at another digit: says an unrelated one", share(by_chance), "null"),
    ],
    protocol={"inputs": "4000 random rows", "forced places": "random, seed 0"},
)
print(report)

# %% [markdown]
# ### What a mechanism buys you
#
# A mechanism makes predictions about inputs for which you have no labels. Take a row of six 7s. The
# program behind the training labels says 7 there, and so do A and B as they are written above. Now
# reason from what we found inside. The attention adds to 1, so END must look at the 7s or at
# itself. If it looks at the 7s, it picks up what made it say 0. Then the network should say **0**,
# against its own training rule.
#
# Among random rows this one comes up once in a million. It was not in the training data, and it is
# not in your 4000 rows. But a million rows can all be run in some seconds.

# %%
END = 10
tokens = torch.cat([everything, torch.full((len(everything), 1), END)], dim=1)
says = torch.cat([network(part)[:, -1].argmax(-1) for part in tokens.split(20_000)])
exceptions = (says != program_a(everything)).nonzero().flatten()

print(f"rows on which the network and program A differ: {len(exceptions)} of {len(tokens)}")
for row in exceptions[:5].tolist():
    on_digits = where_it_looks.read(network, tokens[[row]])[0, :6].sum()
    print("  ", *everything[row].tolist(), "  ->", int(says[row]))
    print(f"   attention to its six digits: {on_digits:.2f}")

# %% [markdown]
# One row in a million, and it is the one that the mechanism pointed at. A random sample of labels
# would have to be enormous to show it to you.
#
# ## 4 · What counts as evidence
#
# This section gives names to what you have done. Every claim in this course stands on one of three
# rungs, and you have been on all of them.
#
# 1. **Labels.** You can say what the network answers, row by row. A stored table does that too.
# 2. **A program.** A short rule gives the answers, on inputs that it was not made from, including
#    those on which a simpler rule fails. You were here after exercise 0.4.
# 3. **A mechanism.** The rule's steps are found at places in the network. Changing what is at
#    such a place changes the answer as the rule says it must, and the same change elsewhere does
#    not. You were here after the swap.
#
# The course's verdicts are named after the rungs. `labels only`: nothing beyond a table was shown.
# `program`: the rule holds on new inputs, the inside is open. `program and mechanism`: both hold.
# `not recoverable (supported)`: the network follows no short rule of the kind that was asked for,
# and the same method was shown to find such a rule in a network that has one. The last says more
# than "I found nothing", and it is a respectable result.
#
# Your verdict is `program and mechanism`: the head attends to the largest digit, never to 7, and
# names the digit that it attends to. You also found its limit: the naming does not extend to 7.
#
# Four habits turn a number into evidence. You met each of them above.
#
# - **An interval.** 4000 of 4000 is not certainty: the interval of the first row begins just below
#   1, and there was indeed one exception, in a million. Ten of ten, which your first guess rested
#   on, has the interval from .72 to 1.
# - **A baseline.** .86 sounds high until you hear that always saying 9 gives .48, and it sounds
#   low once you know that 1.00 is to be had.
# - **A control, and a null.** "Attention 0.00" means something because 6 and 8 get .996 in
#   the same measurement. "Says it in 1.00 of the rows" means something because an
#   unrelated digit would be hit in .105.
# - **A way to be wrong.** Before the experiment, somebody must be able to say which result would
#   sink the claim. You wrote down a probability, and one half of the claim sank. A claim that
#   survives every possible result has not been tested.
#
# ## 5 · Working through the course
#
# The course has sixteen lessons; the table in `README.md` gives their minutes, and each names at
# its top what to do before it.
#
# - **01 Looking inside** comes next, whatever you are after: read, remove and overwrite
#   activations, in a transformer and in a convolutional network, with the same three calls.
# - **02 to 04** are challenges: recover the labelling program of an image network, of a transformer
#   that may have none, and of a network that adds.
# - **05 to 07** are about testing an explanation by interventions, **08 to 10** about what a
#   network represents, **11 to 13** and **15** about editing, trojans, anomalies and filters. In
#   **14** you make a challenge of your own.
#
# On the practical side:
#
# - **Progress** is kept in `progress.json` beside the notebook, one file for all lessons. A pass
#   stays a pass, even if you later run the cell with something else in it. `lab.progress()` shows
#   this lesson, `lab.progress(all_lessons=True)` the whole course, and `python -m utils progress
#   --html journey.html` makes a page of it to print.
# - **Hints** come from `lab.hint("0.4")`, three at most. The same file notes that you used one, for
#   you and for whoever teaches the workshop.
# - **Starting over** is safe: restart the kernel and run all cells. Nothing depends on the order
#   in which you tried things, and unsolved exercises do not stop the notebook. Predictions are
#   the exception: the one that you wrote before you first saw the result is the one that counts.
# - **Solutions** are in the folder `solutions`, executed. Read one after you have passed, or after
#   three hints and a walk. A copy that a teacher hands out has no such folder.
# - **Tests**: the course tests itself. In the whole course `python -m pytest` runs all lessons and
#   compares each printed number with the stored one. It tells you whether something is broken on
#   your machine.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# The claim that you hold now: *END attends to the largest digit other than 7 and names it; a 7
# gets no attention, and has nothing to say if it does.* These results would count against it.
#
# - A row with a 7 and another digit in which the 7 gets a noticeable share of the attention. We
#   looked at means here, and a mean can hide rows. Look at `pattern[rows == 7].max()`.
# - A 7 that gets part of the attention, not all of it, and then is named. The network looks at 7s
#   alone in one row in a million, so the forced experiment shows a state that hardly ever
#   occurs. Mix the patterns half and half and see.
# - A second network, trained on the same labels from another seed, which says 7 when it is made to
#   look at one. The claim about this network would stand; the explanation by training would fall.
# - A hook that does not do what its name says. The controls guard against that: they moved when
#   they should.
#
# One thing is still open, for after lesson 01. END ranks the digits somehow: a larger one always
# wins. Where in that order did the network put the 7: below 0, or somewhere off the scale? The
# hooks `blocks.0.attn.hook_q` and `blocks.0.attn.hook_k` hold the answer.
#
# ## Where this comes from
#
# - The form of the challenge, recover the program behind the labels and give mechanistic
#   evidence: Casper, "EIS VII: A Challenge for Mechanists" (2023).
# - An attention head as two halves, where it looks and what it moves: Elhage et al., "A
#   Mathematical Framework for Transformer Circuits" (2021).
# - The argument over attention as explanation: Jain & Wallace, "Attention is not Explanation"
#   (2019), and Wiegreffe & Pinter, "Attention is not not Explanation" (2019).
# - The interval of a share: Wilson, "Probable Inference, the Law of Succession, and Statistical
#   Inference" (1927). The score of a prediction: Brier, "Verification of Forecasts Expressed in
#   Terms of Probability" (1950).
#
# ## Next
#
# Lesson 01, *Looking inside: hooks and sites*. You used `read` and `write` here on trust. There you
# learn what they do and how an edit can silently do nothing.
