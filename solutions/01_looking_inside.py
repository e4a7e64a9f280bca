# ---
# jupyter:
#   lesson:
#     id: "01"
#     title: "Looking inside: hooks and sites"
#     minutes: 75
#     difficulty: 2
#     prerequisites: ["00"]
#     objectives:
#       - "read, ablate and write any piece of activation, in a transformer and in a CNN"
#       - "choose between zero, mean and resample ablation by what each assumes"
#       - "patch one run with values of another and say beforehand what must follow"
#       - "compare a part with a random part of the same size before calling it important"
#     signature: >-
#       one function ranks the heads of a transformer and the channels of a CNN; control: random
#       subspaces of the same size, which the best head beats and the best channel does not
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Looking inside: hooks and sites
#
# Everything in this course is made of three moves. You *read* what a part of a network computes.
# You *ablate* it, that is, take its information away. You *write* something else in its place. This
# lesson teaches them on two very different networks, a small transformer and a small convolutional
# neural network (CNN), with the same three calls. After it you can
#
# - read, ablate and write any piece of activation in either network;
# - choose between zero, mean and resample ablation by what each of them assumes;
# - patch one run with values from another, and say beforehand what must follow;
# - compare a part with a random part of the same size before you call it important.
#
# You need PyTorch tensors (indexing, `mean`, `stack`), and lesson 00 for what attention is.

# %%
from utils.lessons import lab

lab = lab("01")

# %% [markdown]
# ## 1 · What a hook is
#
# Here you see how to get at a network's inner values at all. An *activation* is a tensor that a
# network computes on its way from input to output. PyTorch forgets it as soon as it is used. A
# *forward hook* is a function that PyTorch calls when a module has finished, with the module, its
# inputs and its output. If the hook returns nothing, it has only looked. If it returns a tensor,
# that tensor replaces the output, and the rest of the network goes on with it. Ten lines show both:

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

tiny = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
seen = []


def look(module, inputs, output):
    seen.append(output)  # returns None: only looks


def silence(module, inputs, output):
    return torch.zeros_like(output)  # replaces the output


x = torch.ones(1, 3)
for hook in (look, silence):
    handle = tiny[1].register_forward_hook(hook)
    result = tiny(x)
    handle.remove()
print("read after the ReLU:", tuple(seen[0].shape))
print("with the ReLU silenced, the output is the last bias:", torch.equal(result[0], tiny[2].bias))

# %% [markdown]
# The hook sits on a *module*, so you can only reach tensors that are some module's output. And
# `handle.remove()` matters: a hook left behind stays for every later run, and a forgotten `silence`
# falsifies everything you measure afterwards.
#
# Networks made for study therefore carry modules called `HookPoint`. They do nothing but hand
# their input on, and each has a name. `model.hook_dict` maps the names to the modules. Here are
# our two networks, and a selection of their hooks with the shapes for a batch of two inputs.

# %%
from utils import plots
from utils.sites import Site, SiteError, UnchangedError, hook_shapes

transformer, cnn, data = lab.model.transformer, lab.model.cnn, lab.data
tokens, predictable, images = data.tokens, data.predictable, data.images

parts = ("hook_embed", "hook_pos_embed", "0.hook_resid_pre", "0.attn.hook_pattern",
         "0.attn.hook_z", "0.hook_attn_out", "1.hook_resid_pre", "hook_unembed")  # fmt: skip
for title, model, batch in (("transformer", transformer, tokens), ("cnn", cnn, images)):
    print(f"{title}: {len(model.hook_dict)} names")
    for name, shape in hook_shapes(model, batch[:2]).items():
        if model is cnn or name.endswith(parts):
            print(f"    {name:<28}{shape}")

# %% [markdown]
# **The transformer** reads 24 tokens and gives, at every position, 17 *logits*, one score per
# possible next token. Each position holds a vector of 64 numbers, the *residual stream*. It starts
# as the sum of a vector for the token (`hook_embed`) and one for the position (`hook_pos_embed`).
# Two *layers* follow, each with two attention *heads*; a head reads the stream, moves information
# from earlier positions, and adds its result to the stream. Logits are a linear map of the stream
# at the end. "Head 1.0" means layer 1, head 0. Three hooks matter:
#
# - `attn.hook_pattern` is where each head looks: row = the position that looks, column = the
#   position it looks at. Each row adds up to 1, and no position can look ahead.
# - `attn.hook_z` is what each head picked up: at every position 32 numbers, the value vectors
#   averaged with the pattern's weights, before they are mapped back into the stream.
# - `hook_resid_pre` is the stream as a layer finds it.
#
# **The CNN** reads images of 28x28 pixels and puts each in one of two classes. What the classes
# mean is the secret of lesson 02, and you do not need it here. Its parts are the *channels* of two
# convolutions and 200 *neurons* of a fully connected layer, `hook_fc1`, both after ReLU.
#
# | activation | axes |
# |---|---|
# | residual stream | batch, position, neuron |
# | `hook_z` (and q, k, v) | batch, position, head, neuron |
# | `hook_pattern` | batch, head, position (who looks), key (what is looked at) |
# | convolution | batch, channel, row, column |
# | fully connected | batch, neuron |
#
# ### Exercise 1.1: read an activation by hand
#
# Return the activation at a named hook when the model runs on `inputs`, using nothing but
# `model.hook_dict` and `register_forward_hook`. Leave the model as you found it.


# %% exercise="1.1" points=3 minutes=6 difficulty=2
def read_by_hand(model: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """The output of the HookPoint `model.hook_dict[name]` in `model(inputs)`, batch first.

    Example: name "hook_fc1" and images [n, 1, 28, 28] give [n, 200]. No hook is left behind.
    """
    ### BEGIN SOLUTION
    caught = []
    handle = model.hook_dict[name].register_forward_hook(lambda m, i, out: caught.append(out))
    model(inputs)
    handle.remove()
    return caught[0]
    ### END SOLUTION


lab.check("1.1", read_by_hand)

# %% [markdown]
# From here on you use a `Site`. It names a piece of activation: a hook, and optionally which
# positions, heads, channels or neurons of it. `site.read(model, inputs)` does what you have just
# written, and the numbers are the same:

# %%
for model, name, batch in (
    (cnn, "hook_fc1", images[:50]),
    (transformer, "blocks.0.attn.hook_pattern", tokens[:10]),
):
    by_hand = lab.use("1.1", read_by_hand, model, name, batch, name=name)
    difference = (by_hand - Site(name).read(model, batch)).abs().max()
    print(f"{name:<28} largest difference {difference:.2f}")

print("one head:    ", tuple(Site("blocks.0.attn.hook_z", head=1).read(transformer, tokens).shape))
print("two channels:", tuple(Site("hook_conv2", channel=[3, 5]).read(cnn, images[:50]).shape))

# %% [markdown]
# A single number drops its axis, a list keeps it, as in numpy.
#
# ## 2 · Read: where do the heads look?
#
# In this section you find out what each head looks at, and turn it into a number. The transformer
# was trained on sequences made of a random *segment* of 6 to 12 tokens that is repeated until 24
# places are full. In the first copy nothing can be predicted. From the second copy on the next
# token is known, and `predictable[i, t]` is True where token `t+1` of row `i` can be told from
# tokens 0 to `t`. The first token is always 16, which stands for "start".
#
# The logits at position `t` are about token `t+1`. Comparing them with token `t` is a common slip,
# and it produces numbers near chance that look like a broken model. Here is the metric that the
# whole lesson uses:


# %%
def row_accuracy(logits: Tensor) -> Tensor:
    """Share of the predictable next tokens that are right, for each row of `tokens`: [row]."""
    hits = logits[:, :-1].argmax(-1) == tokens[:, 1:]  # [row, 23]
    return (hits & predictable).sum(1) / predictable.sum(1)


with torch.no_grad():
    clean = transformer(tokens)
print("tokens", tuple(tokens.shape), "| logits", tuple(clean.shape))
print("one row:", *tokens[0].tolist())
print(f"accuracy on predictable tokens: {row_accuracy(clean).mean():.2f}, by chance {1 / 16:.2f}")

# %% [markdown]
# Nearly perfect, and the four heads must be doing it, since nothing else moves information from
# position to position. How could they? To predict what follows `t`, find an earlier place that held
# the same token, and look at the token *after* it. A head that does so is called an *induction
# head*. But a position knows only its own token to begin with; the place after the match must first
# learn what stood before it. A *previous-token head* in an earlier layer can tell it.
#
# So far that is only a story. Turn it into two numbers per head.
#
# ### Exercise 1.2: previous-token score
#
# The mean attention that a position gives to the position just before it, over rows and over all
# positions that have one. 1 means: always there.


# %% exercise="1.2" points=2 minutes=5 difficulty=1
def previous_token_score(pattern: Tensor) -> Tensor:
    """pattern: [row, head, position, key], each position's shares add to 1. Returns [head]."""
    ### BEGIN SOLUTION
    return pattern.diagonal(-1, 2, 3).mean((0, 2))
    ### END SOLUTION


lab.check("1.2", previous_token_score)

# %% [markdown]
# ### Exercise 1.3: induction score
#
# Call a position a *repeat* if its token occurred earlier in its row. For every repeat, add up the
# attention it gives to the positions that come right after an earlier occurrence of its token (in
# a third copy there are two of them). The score is the mean over all repeats.
#
# In the row `16 5 8 2 5 8` position 4 holds the second 5. The first stands at 1, so position 4's
# contribution is its attention to position 2.


# %% exercise="1.3" points=4 minutes=10 difficulty=3
def induction_score(pattern: Tensor, tokens: Tensor) -> Tensor:
    """pattern: [row, head, position, key]. tokens: [row, position]. Returns [head]."""
    ### BEGIN SOLUTION
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)  # [row, position, earlier]
    after = torch.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]  # one place to the right of each earlier occurrence
    given = (pattern * after[:, None]).sum(-1)  # [row, head, position]
    repeat = same.any(-1)  # [row, position]
    return (given * repeat[:, None]).sum((0, 2)) / repeat.sum()
    ### END SOLUTION


lab.check("1.3", induction_score)

# %%
patterns = [Site(f"blocks.{layer}.attn.hook_pattern").read(transformer, tokens) for layer in (0, 1)]
heads = [(layer, head) for layer in (0, 1) for head in (0, 1)]
names = [f"head {layer}.{head}" for layer, head in heads]
previous = lab.use("1.2", lambda p: torch.cat([previous_token_score(q) for q in p]), patterns)
induction = lab.use(
    "1.3", lambda p, t: torch.cat([induction_score(q, t) for q in p]), patterns, tokens
)
two_back = torch.cat([p.diagonal(-2, 2, 3).mean((0, 2)) for p in patterns])

row = tokens[0].tolist()
interactive, static = plots.attention(
    {name: patterns[layer][0, head] for (layer, head), name in zip(heads, names, strict=True)},
    [str(token) for token in row],
)
lab.figure(
    interactive,
    fallback=static,
    alt="Attention of the four heads on one row. Head 0.0: a line just below the diagonal. Head "
    "0.1: a line two below, blurred at the end. Heads 1.0 and 1.1: from the second copy on, a line "
    "one segment less one away.",
    table={
        "head": names,
        "to the token before": previous.tolist(),
        "to the token two before": two_back.tolist(),
        "to the token after a match": induction.tolist(),
    },
    digits=2,
    title="Mean attention over all rows",
)

# %% [markdown]
# In the figure, follow the dark diagonals: one step below the main diagonal for head 0.0, two steps
# for head 0.1, and one segment less one for the heads of layer 1, from the second copy on. It shows
# one row; the table under it has the means over all rows. Head 0.0 gives .89 of its attention to
# the token before, head 0.1 gives .57 to the one before that. Both heads of layer 1 give .88 to
# where an induction head must look; in the first copy, where there is hardly a match, they scatter.
# So the story fits. But a pattern says where a head *looks*, not whether the network needs what it
# finds there. That takes an ablation.
#
# ## 3 · Ablate: which head is needed?
#
# Here you find out which heads the network needs, and why one ablation at a time can mislead you.
# To ablate a part is to replace its values by something that carries no information about the
# input. There are three usual choices, and they assume different things:
#
# - **zero**: write 0. Assumes that 0 is what the rest of the network takes for "nothing here".
# - **mean**: write the mean over many inputs, position by position. Assumes that the mean is
#   harmless; it removes what *varies* and leaves what is always there.
# - **resample**: give every input the values from another, random input. Assumes least, since every
#   value is one the network really produces. But it does not remove a message, it delivers a
#   *wrong* one.
#
# `site.ablate(model, inputs, "mean")` returns the model's output with the ablation in place;
# `"zero"` and `"resample"` work alike.
#
# Before you run it: no head has a higher induction score than head 1.1. How probable is it that
# mean-ablating head 1.1 *alone* costs more than 0.10 of the accuracy? Write a number from 0 to 1.

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
lab.predict("1.P", "mean-ablating head 1.1 costs more than 0.10 of accuracy", probability)

# %% [markdown]
# ### Exercise 1.4: ablate each head
#
# For each of the four heads alone, ablate its `hook_z` and return every row's accuracy. The
# argument `metric` is the function that computes it from logits; you will be given `row_accuracy`.
# The hook of layer 1 is `"blocks.1.attn.hook_z"`.


# %% exercise="1.4" points=4 minutes=8 difficulty=2
def accuracy_without(model: nn.Module, tokens: Tensor, how: str, metric) -> Tensor:
    """Accuracy with one head ablated, for each head.

    how: "zero", "mean" or "resample". metric: logits [row, position, token] -> [row].
    Returns [layer (2), head (2), row].
    """
    ### BEGIN SOLUTION
    result = torch.empty(2, 2, len(tokens))
    for layer in (0, 1):
        for head in (0, 1):
            site = Site(f"blocks.{layer}.attn.hook_z", head=head)
            result[layer, head] = metric(site.ablate(model, tokens, how))
    return result
    ### END SOLUTION


lab.check("1.4", accuracy_without)

# %%
from utils.reports import Estimate, Report, Row, bootstrap


def mean_of(values: Tensor, groups: Tensor | None = None) -> Estimate:
    """The mean with an interval from resampling rows, or whole groups of them."""
    return bootstrap(lambda v: float(v.mean()), values, groups=groups, n_resamples=500)


without = {
    how: lab.use("1.4", accuracy_without, transformer, tokens, how, row_accuracy, name=how)
    for how in ("zero", "mean", "resample")
}
both = row_accuracy(Site("blocks.1.attn.hook_z").ablate(transformer, tokens, "mean"))
rows = [Row("nothing ablated", mean_of(row_accuracy(clean)), "ceiling")]
rows += [
    Row(f"without {name}", mean_of(without["mean"][layer, head]), "result")
    for (layer, head), name in zip(heads, names, strict=True)
]
rows += [
    Row("without 1.0 and 1.1", mean_of(both), "result"),
    Row("chance", Estimate.exact(1 / 16), "baseline"),
]
Report(
    "Accuracy on predictable tokens, mean ablation of hook_z",
    rows,
    {"inputs": f"{len(tokens)} rows drawn after training", "mean over": "the same rows"},
    digits=2,
)

# %%
loss = (row_accuracy(clean) - without["mean"][1, 1]).mean().item()
print(f"mean-ablating head 1.1 costs {loss:.2f} of accuracy")
lab.outcome("1.P", loss > 0.10)

# %% [markdown]
# I said 0.8 and was wrong. Head 0.0 is needed: without it accuracy falls below .4. But you can
# ablate head 1.1, or head 1.0, and next to nothing happens. Ablate both and the network is at
# chance. The two heads do the same work, and either is enough.
#
# **"Ablating it changes nothing" does not mean "it does nothing".** Single ablations are blind to
# redundancy, and large networks are full of it.
#
# Now the same four heads, ablated in the three ways:

# %%
print("accuracy     zero  mean  resample")
for (layer, head), name in zip(heads, names, strict=True):
    means = [without[how][layer, head].mean().item() for how in ("zero", "mean", "resample")]
    print(f"{name:<11}  {means[0]:.2f}  {means[1]:.2f}  {means[2]:.2f}")

at_pattern = Site("blocks.0.attn.hook_pattern", head=0).ablate(transformer, tokens, "mean")
print(f"head 0.0, mean-ablated at hook_pattern: {row_accuracy(at_pattern).mean():.2f}")

# %% [markdown]
# Zero and mean agree here. Resampling differs for layer 1: a head that can be *silent* without harm
# does much harm when it *speaks wrongly*. That is no contradiction. The first asks whether the
# network can do without the head, the second whether the network listens to it. The next section
# tests that reading.
#
# The last line is about the site. The head that is needed most can be mean-ablated at its pattern
# without any loss. An ablation removes only what varies between inputs, and *where* head 0.0 looks
# hardly varies: one back, whatever the tokens are. What varies is *what it finds*. So an ablation
# result belongs to a site, not to "the head".
#
# ## 4 · Write: make the prediction follow
#
# Ablation shows that something is used; in this section you find out *what for*. Write a value
# whose meaning you know, and say beforehand what must change. This is called *activation patching*,
# or an *interchange intervention*: run the network on a donor input, take the values at a site,
# write them into the run on another input. `site.write(model, inputs, values)` returns the output.
#
# If the heads of layer 1 deliver the *answer*, then patching one of them from another row should
# make the network name the *donor row's* next token. If head 0.0 only helps to find the place,
# patching it should break the prediction without putting the donor's token there instead.

# %%
donors = tokens.roll(1, 0)  # row i gets the values of row i - 1
fair = predictable & predictable.roll(1, 0) & (tokens[:, 1:] != donors[:, 1:])
print("patched from another row:  own token  donor's token")
for layer, head in [*heads, (1, None)]:  # None: all heads of the layer
    name = "1.0 and 1.1" if head is None else f"head {layer}.{head}"
    site = Site(f"blocks.{layer}.attn.hook_z", head=head)
    said = site.write(transformer, tokens, site.read(transformer, donors))[:, :-1].argmax(-1)
    own = (said == tokens[:, 1:])[fair].double().mean()
    other = (said == donors[:, 1:])[fair].double().mean()
    print(f"{name:<25}  {own:9.2f}  {other:13.2f}")

# %% [markdown]
# Both predictions hold. With one head of layer 1 patched, the two heads name different tokens and
# the network follows one or the other. With both patched it names the donor's token. With head 0.0
# patched the donor's token stays near chance.
#
# So what does head 0.0 deliver? The claim: *at each position it says which token stood before*. If
# so, you can mislead the network in a predictable way. Take as donor the same row moved one place
# to the right:
#
# ```
# position   0   1   2   3   4   5
# row       16   5   8   2   9   5
# donor     16  16   5   8   2   9
# ```
#
# In the donor, 5 instead of 8 stands before position 3. Patch head 0.0 from it, and position 3,
# which holds a 2, is announced as "the one after the 5". So after a 5 the network should now say 2
# instead of 8: not the next token, but *the one after the next*.
#
# ### Exercise 1.5: an interchange
#
# Make the donor, read the site there, write it into the run on `tokens`, return the logits.


# %% exercise="1.5" points=3 minutes=7 difficulty=2
def patch_from_moved(model: nn.Module, tokens: Tensor, site: Site) -> Tensor:
    """Logits [row, position, token] on `tokens`, with `site` as it is on the moved rows.

    tokens: [row, position]. Donor: every token one place to the right, the first one repeated, the
    last one gone.
    """
    ### BEGIN SOLUTION
    moved = torch.cat([tokens[:, :1], tokens[:, :-1]], 1)
    return site.write(model, tokens, site.read(model, moved))
    ### END SOLUTION


lab.check("1.5", patch_from_moved)

# %%
step_two = predictable[:, :-1] & (tokens[:, 2:] != tokens[:, 1:-1])  # [row, 22]


def follows(said: Tensor, step: int) -> Tensor:
    """For each row, how often what is said [row, position] is the token `step` places on: [row]."""
    right = said[:, :22] == tokens[:, step : step + 22]
    return (right & step_two).sum(1) / step_two.sum(1)


def moved(head: int) -> Tensor:
    site = Site("blocks.0.attn.hook_z", head=head)
    return lab.use(
        "1.5", lambda *given: patch_from_moved(*given).argmax(-1).byte(), transformer, tokens, site,
        name=f"head {head}",
    )  # fmt: skip


not_patched, of_interest, control = clean.argmax(-1), moved(0), moved(1)
Report(
    "Which token is named?",
    [
        Row("not patched: the next", mean_of(follows(not_patched, 1)), "baseline"),
        Row("not patched: the one after", mean_of(follows(not_patched, 2)), "baseline"),
        Row("head 0.0 patched: the next", mean_of(follows(of_interest, 1)), "result"),
        Row("head 0.0 patched: the one after", mean_of(follows(of_interest, 2)), "result"),
        Row("head 0.1 patched: the next", mean_of(follows(control, 1)), "control"),
        Row("head 0.1 patched: the one after", mean_of(follows(control, 2)), "control"),
    ],
    {"donor": "the same row moved one place to the right", "site": "hook_z of one head"},
    digits=2,
)

# %% [markdown]
# As predicted, the token after the next goes from almost never to about three times in four. The
# control patches the other head of the same layer from the same donor, and the prediction mostly
# stays, so the result is about head 0.0.
#
# Something is left over: about one prediction in six names neither token. The patched head also
# informs the position that *looks*, not only those looked at, and head 0.1 still reports the right
# token from two places back. Which of these matters is not tested here; lesson 05 takes single
# paths apart.
#
# Sites can be smaller than a head. Patch a *single position* from the other rows, and only
# predictions after one particular token should suffer, the one that stood before that position.
# The table counts predictions in the second copy, where most tokens have one place to look.

# %%
print("position 4 patched:  after the token before it  after other tokens")
after = (tokens[:, :-1] == tokens[:, 3:4]) & data.second_copy
others = data.second_copy & ~after
for which, name in ((0, "head 0.0"), (1, "head 0.1"), ([0, 1], "both")):
    site = Site("blocks.0.attn.hook_z", head=which, position=4)
    patched = site.write(transformer, tokens, site.read(transformer, donors))
    hits = patched[:, :-1].argmax(-1) == tokens[:, 1:]
    print(f"{name:<19}  {hits[after].double().mean():25.2f}  {hits[others].double().mean():18.2f}")

# %% [markdown]
# The damage stays where it should be. Redundancy shows again: with both heads patched the damage is
# far larger than with either, so each can partly stand in for the other there.
#
# ### The commonest bug
#
# The commonest bug in patching code is a patch that does nothing: wrong hook, donor equal to the
# input, hook removed too early. The effect is then 0.00, which looks like a finding: "this head
# does not matter". So a `Site` refuses:

# %%
site = Site("blocks.0.attn.hook_z", head=0)
itself = site.read(transformer, tokens)
try:
    site.write(transformer, tokens, itself)
except UnchangedError as error:
    print("UnchangedError:", error)
same = site.write(transformer, tokens, itself, allow_unchanged=True)
print("with allow_unchanged=True the output is the clean one:", torch.equal(same, clean))

# %% [markdown]
# Make this test once for every patch you write: patched with itself, the network must not change at
# all. Where nothing may change, say so with `allow_unchanged=True`.
#
# ## 5 · The same calls on a CNN
#
# In this section you use the same calls on an image network, and see zero ablation mislead. A good
# first test is a patch whose result you know exactly. Everything after `hook_fc1` is computed from
# `hook_fc1`, so writing *all* of it from another image must give that image's output, up to
# rounding. For the CNN the metric is whether an image keeps the class it had.

# %%
with torch.no_grad():
    clean_images = cnn(images)
classes = clean_images.argmax(-1)
print("images", tuple(images.shape), f"| share in class 1: {classes.double().mean():.2f}")


def keeps_class(logits: Tensor) -> Tensor:
    """1.0 for each image, of the first so many, that has its class of the clean run: [image]."""
    return (logits.argmax(-1) == classes[: len(logits)]).float()


channels = Site("hook_conv2").read(cnn, images)
print("conv2:", tuple(channels.shape))
ablated = Site("hook_conv2", channel=3).ablate(cnn, images, "mean")
print(f"channel 3 mean-ablated, images that keep their class: {keeps_class(ablated).mean():.2f}")

layer = Site("hook_fc1")
patched = layer.write(cnn, images, layer.read(cnn, images.roll(1, 0)))
same = torch.allclose(patched, clean_images.roll(1, 0), atol=1e-4)
print("all of fc1 from the image before gives that image's output:", same)

# %% [markdown]
# A ReLU neuron or channel *fires* when it is above zero. Which of them ever do?
#
# ### Exercise 1.6: how often does each unit fire?
#
# For each neuron or channel at a hook, the share of images on which it is above zero *anywhere*.
# A neuron has one value per image, a channel has one for each row and column. Let the same
# function do both.


# %% exercise="1.6" points=3 minutes=7 difficulty=2
def firing_share(model: nn.Module, images: Tensor, hook: str) -> Tensor:
    """Activation at `hook`: [image, unit] or [image, unit, row, column]. Returns [unit], 0 to 1."""
    ### BEGIN SOLUTION
    values = Site(hook).read(model, images)
    anywhere = (values > 0).reshape(*values.shape[:2], -1).any(2)
    return anywhere.double().mean(0)
    ### END SOLUTION


lab.check("1.6", firing_share)

# %%
for hook in ("hook_conv2", "hook_fc1"):
    share = lab.use("1.6", firing_share, cnn, images, hook, name=hook)
    print(f"{hook:<11}{len(share):3} units, never fire {int((share == 0).sum()):3}, "
          f"always fire {int((share == 1).sum()):2}")  # fmt: skip
dead = (share == 0).nonzero()[:, 0].tolist()
live = (share > 0).nonzero()[:, 0].tolist()

# %% [markdown]
# Most neurons of `fc1` are *dead*: they never fired on 2,000 images. So ablating all of them
# together must change nothing. The negative control is to ablate live ones, drawn at random; there
# are fewer live ones than dead ones, so take half of them.

# %%
try:
    Site("hook_fc1", neuron=dead).ablate(cnn, images, "resample")
except UnchangedError:
    print("dead neurons, all: the guard says that nothing changed, as it should")


def kept_without(neurons: list[int]) -> float:
    site = Site("hook_fc1", neuron=neurons)
    return keeps_class(site.ablate(cnn, images, "resample", allow_unchanged=True)).mean().item()


halves = []
for seed in range(6):
    mixed = torch.randperm(len(live), generator=torch.Generator().manual_seed(seed))
    halves.append(kept_without([live[i] for i in mixed[: len(live) // 2].tolist()]))
print(f"dead, all: images that keep their class {kept_without(dead):.2f}")
print(
    f"live, six random halves: {sum(halves) / 6:.2f}, from {min(halves):.2f} to {max(halves):.2f}"
)

# %% [markdown]
# All 147 dead ones cost nothing; 26 live ones cost 13 to 32 images in a hundred their class,
# depending on which neurons they are. Be careful with the word "never": it means "not on these
# 2,000 images". Others wake a few more.
#
# ### Where zero misleads
#
# Three neurons of `fc1` *always* fire. Ablate each of them in the three ways:

# %%
always = (share == 1).nonzero()[:, 0].tolist()
values = layer.read(cnn, images)
print("neuron  mean  deviation  kept: zero  mean  resample")
for neuron in always:
    kept = [
        keeps_class(Site("hook_fc1", neuron=neuron).ablate(cnn, images, how)).mean().item()
        for how in ("zero", "mean", "resample")
    ]
    spread = values[:, neuron]
    print(f"{neuron:>6}  {spread.mean():4.1f}  {spread.std():9.1f}  "
          f"{kept[0]:10.2f}  {kept[1]:4.2f}  {kept[2]:8.2f}")  # fmt: skip

# %% [markdown]
# By zero ablation neuron 88 matters a great deal: without it more than one image in six changes
# class. By mean or resample it hardly matters. Look at its values: near 29 for every image, with
# little spread. It says next to nothing about the image; it acts as a *constant* to which the rest
# of the network is tuned. It never takes the value zero, so zero ablation breaks the network rather
# than removing information from it.
#
# For the heads above, zero and mean agreed. You do not know beforehand which case you are in, so
# use mean or resample first, and zero only where the part really takes that value.
#
# ## 6 · Subspaces
#
# Here you find out whether the directions in which activations vary most are the ones that matter.
# A piece of activation need not be a head or a neuron. It may be a *direction*, or several: a
# subspace. In the residual stream the axes of the tensor are no more special than any other
# directions. `Site(hook, basis=B)` names a subspace, where `B` has shape [width, k] and its k
# columns are orthonormal (length 1, at right angles). Reading gives k coordinates; writing changes
# the part inside and leaves the rest. `site.project(model, inputs, rest="mean")` is the reverse of
# an ablation: it keeps *only* what is inside and mean-ablates the rest.
#
# The obvious subspace is that of the *principal directions*: along the first one the activations
# vary most, along the second most of what is left, and so on.
#
# ### Exercise 1.7: a principal basis
#
# Return the k directions of largest variance as columns. Centre first; all axes but the last count
# as samples. `torch.linalg.svd` of the centred samples, or `torch.linalg.eigh` of their covariance,
# does the work. The sign of each direction is up to you.


# %% exercise="1.7" points=4 minutes=8 difficulty=3
def principal_basis(activation: Tensor, k: int) -> Tensor:
    """activation: [..., width]. Returns [width, k], orthonormal columns, widest direction first."""
    ### BEGIN SOLUTION
    samples = activation.reshape(-1, activation.shape[-1])
    directions = torch.linalg.svd(samples - samples.mean(0), full_matrices=False).Vh
    return directions[:k].T
    ### END SOLUTION


lab.check("1.7", principal_basis)

# %% [markdown]
# Now keep k of the 64 directions, at two places in the transformer: what layer 0 adds to the
# stream (`blocks.0.hook_attn_out`), and the stream itself just before layer 1. The negative
# control keeps a *random* subspace of the same size; without it no accuracy here has a meaning.


# %%
def random_basis(width: int, k: int, seed: int) -> Tensor:
    """Orthonormal columns in random directions: [width, k]."""
    noise = torch.randn(width, k, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(noise).Q


def kept_by(hook: str, basis: Tensor) -> float:
    output = Site(hook, basis=basis).project(transformer, tokens, rest="mean")
    return row_accuracy(output).mean().item()


sizes, table = (4, 8, 16, 24, 32, 48), []
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
for axis, hook in zip(axes, ("blocks.0.hook_attn_out", "blocks.1.hook_resid_pre"), strict=True):
    values = Site(hook).read(transformer, tokens)
    widest = lab.use("1.7", principal_basis, values, 48, name=hook)
    bases = [widest[:, :k] for k in sizes]
    centred = values.flatten(0, 1) - values.mean((0, 1))
    variance = [((centred @ b).pow(2).sum() / centred.pow(2).sum()).item() for b in bases]
    principal = [kept_by(hook, b) for b in bases]
    chance = [[kept_by(hook, random_basis(64, k, seed)) for seed in range(5)] for k in sizes]
    average = [sum(draws) / 5 for draws in chance]
    _ = axis.plot(sizes, principal, "o-", color=plots.BLUE)
    _ = axis.plot(sizes, average, "s--", color=plots.VERMILION)
    _ = axis.set(title=hook, xlabel="directions kept, of 64", ylim=(0, 1.05))
    for k, v, p, r in zip(sizes, variance, principal, average, strict=True):
        table.append({"hook": hook, "kept": k, "variance": v, "principal": p, "random": r})
_ = axes[0].set_ylabel("share of predictable tokens right")
_ = axes[0].annotate("principal", (10, 0.87), color=plots.BLUE)
_ = axes[0].annotate("random", (26, 0.68), color=plots.VERMILION)
_ = axes[1].annotate("principal", (11, 0.06), color=plots.BLUE)
_ = axes[1].annotate("random", (33, 0.48), color=plots.VERMILION)
figure.tight_layout()
lab.figure(
    figure,
    alt="Accuracy against directions kept. At layer 0's output principal directions are far better "
    "than random ones. In the stream they are worse up to 16 and far better from 24 on.",
    table=table,
    digits=2,
)

# %% [markdown]
# The left panel is what one would expect: 8 principal directions of 64 keep most of the accuracy, 8
# random ones do not. On the right, look where the two lines cross. The 16 principal directions hold
# nearly two thirds of the variance, and they keep *less* accuracy than 16 random ones. What is in
# them?

# %%
basis = widest[:, :16]  # of the stream, the last in the loop above
for name in ("hook_embed", "hook_pos_embed", "blocks.0.hook_attn_out"):
    part = Site(name).read(transformer, tokens).flatten(0, 1)
    part = part - part.mean(0)
    inside = ((part @ basis).pow(2).sum() / part.pow(2).sum()).item()
    print(f"{name:<24} share of its variance in those 16 directions: {inside:.2f}")

# %% [markdown]
# The stream is a sum of three things. The widest directions hold what layer 0 added and where each
# position is, but almost nothing of *which token stands there*, and without that the network has
# nothing to match. If that is the reason, then adding the token directions to the 16 must repair
# it, and adding as many others must repair less:

# %%
embedding = {
    name: lab.use("1.7", principal_basis, Site(name).read(transformer, tokens), 16, name=name)
    for name in ("hook_embed", "hook_pos_embed")
}
extras = {
    "16 token directions": [embedding["hook_embed"]],
    "16 position directions": [embedding["hook_pos_embed"]],
    "16 random directions": [random_basis(64, 16, seed) for seed in range(5)],
}
for name, choices in extras.items():
    joined = [torch.linalg.qr(torch.cat([basis, extra], 1)).Q for extra in choices]
    repaired = sum(kept_by("blocks.1.hook_resid_pre", b) for b in joined) / len(joined)
    print(f"the 16 widest and {name:<22} accuracy {repaired:.2f}")

# %% [markdown]
# They repair it. **Variance is not importance**: a direction can vary a lot without anything
# downstream reading it. Without the random control you would have called the .18 of the 16
# principal directions "above chance".
#
# ## 7 · Three traps
#
# This section shows three mistakes that give you a wrong number and no error message in
# hand-written hook code.
#
# **A hook that exists and never fires.** `hook_result` is a documented name, and this model has
# it, but does not run it. A hand-made hook on it silently does nothing.
#
# **A value that fits by accident.** PyTorch repeats a tensor along a missing axis. Forget the batch
# axis of a donor and *every* image gets the same donor, without complaint.

# %%
handle = transformer.hook_dict["blocks.0.attn.hook_result"].register_forward_hook(silence)
with torch.no_grad():
    print("by hand, output unchanged:", torch.equal(transformer(tokens), clean))
handle.remove()
try:
    Site("blocks.0.attn.hook_result").ablate(transformer, tokens)
except SiteError as error:
    print("Site:", str(error).split(",")[0])

copied = channels[:5].clone()
copied[:, 3] = channels[0, 3]  # forgot the batch axis of the donor
print("by hand, no error; different channels in five images:", len(copied[:, 3].unique(dim=0)))
try:
    Site("hook_conv2", channel=3).write(cnn, images[:5], channels[0, 3])
except SiteError as error:
    print("Site:", error)

# %% [markdown]
# **A name that does not mean what it says.** In a transformer with a multi-layer perceptron (MLP)
# after the attention, `hook_resid_mid` should be the residual stream between the two. In the
# version of TransformerLens used here it is only another name for the *input of the MLP*. The
# stream itself goes past it. A hand-made hook that zeroes it changes what the MLP sees and leaves
# the stream as it was. A `Site` knows the case and writes to the stream. The test has a known
# answer: after zeroing the stream in the middle of a layer, what is left at the layer's end is
# exactly what the MLP adds.

# %%
from utils.models.transformer import build_transformer

toy = build_transformer(n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=32, n_ctx=8, d_vocab=5)
few = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
middle, end = Site("blocks.0.hook_resid_mid"), Site("blocks.0.hook_resid_post")
mlp = Site("blocks.0.hook_mlp_out")
print("the HookPoint behind the name:", toy.hook_dict[middle.hook].name)

at_end, from_mlp = middle.write(toy, few, 0.0, read=[end, mlp]).values
print("Site:    the layer's end is the MLP's output alone:", torch.allclose(at_end, from_mlp))
handle = toy.hook_dict[middle.hook].register_forward_hook(silence)
by_hand, from_mlp = end.read(toy, few), mlp.read(toy, few)
handle.remove()
print("by hand: the layer's end is the MLP's output alone:", torch.allclose(by_hand, from_mlp))
left = torch.allclose(by_hand - from_mlp, middle.read(toy, few), atol=1e-6)
print("by hand: what is left is the old stream:           ", left)

# %% [markdown]
# The remedy: whenever you use a hook for the first time, make one write whose consequence you can
# compute, as in this cell and as with all of `fc1` above.
#
# ## 8 · One function, two networks
#
# In this last section you rank the parts of both networks by one function, and find out which of
# them stand out from chance.
#
# ### Exercise 1.8: importance
#
# For each site alone: the metric of the clean output minus the metric of the output with that site
# ablated, row by row. A site that carries nothing, like a dead channel, has importance 0 and is no
# mistake here.


# %% exercise="1.8" points=5 minutes=8 difficulty=3
def importance(model: nn.Module, sites: list, inputs: Tensor, metric, how="resample") -> Tensor:
    """What each site is worth, by ablating it alone.

    sites: list of Site. metric: output -> [row], higher is better. how: as for `Site.ablate`.
    Returns [site, row]: positive where the ablation does harm.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        before = metric(model(inputs))
    after = [metric(site.ablate(model, inputs, how, allow_unchanged=True)) for site in sites]
    return before - torch.stack(after)
    ### END SOLUTION


lab.check("1.8", importance)

# %% [markdown]
# A ranking always has a winner, even among parts that are nothing special. So each network gets a
# null: *random* subspaces of the same size. A head accounts for half of what its layer writes, so
# its null ablates 32 random directions of the 64 that the layer adds to the stream. A channel is
# one of 16 directions in channel space, so its null ablates one random direction. A part stands out
# if it beats those.

# %%
head_sites = [Site(f"blocks.{layer}.attn.hook_z", head=head) for layer, head in heads]
half_sites = [
    [Site(f"blocks.{layer}.hook_attn_out", basis=random_basis(64, 32, s)) for s in range(20)]
    for layer in (0, 1)
]
channel_sites = [Site("hook_conv2", channel=c) for c in range(16)]
direction_sites = [Site("hook_conv2", basis=random_basis(16, 1, s)) for s in range(20)]


def worth(name: str, *args) -> Tensor:
    return lab.use("1.8", importance, *args, name=name)


of_heads = worth("heads", transformer, head_sites, tokens, row_accuracy)
of_halves = [
    worth(f"halves {n}", transformer, sites, tokens, row_accuracy).mean(1)
    for n, sites in enumerate(half_sites)
]
fewer, scans = images[:1000], data.scan[:1000]
of_channels = worth("channels", cnn, channel_sites, fewer, keeps_class)
of_directions = worth("directions", cnn, direction_sites, fewer, keeps_class).mean(1)


def null(draws: Tensor) -> Estimate:
    """Mean over the draws; the interval runs from the smallest to the largest draw."""
    low, mean, high = draws.min().item(), draws.mean().item(), draws.max().item()
    return Estimate(mean, low, high, len(draws), "null: range of the draws")


order = of_channels.mean(1).argsort(descending=True).tolist()
rows = [Row(n, mean_of(v), "result") for n, v in zip(names, of_heads, strict=True)]
rows += [Row(f"random half of layer {n}", null(d), "null") for n, d in enumerate(of_halves)]
for c in order[:3]:
    rows.append(Row(f"channel {c}", mean_of(of_channels[c], scans), "result"))
rows += [
    Row("random channel direction", null(of_directions), "null"),
    Row("channel 0, dead", mean_of(of_channels[0], scans), "control"),
]
Report(
    "Importance: what the metric loses, resample ablation",
    rows,
    {
        "heads": "accuracy on predictable tokens",
        "channels": "share of images with their class kept",
    },
    digits=2,
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.4))
spans = [(of_halves[0], -0.45, 1.45), (of_halves[1], 1.55, 3.45)]
for draws, low, high in spans:
    _ = axes[0].fill_betweenx(
        [low, high], draws.min(), draws.max(), color=plots.VERMILION, alpha=0.3
    )
_ = axes[0].barh(names, of_heads.mean(1).tolist(), color=plots.BLUE, height=0.6)
_ = axes[1].fill_betweenx(
    [-0.5, 15.5], of_directions.min(), of_directions.max(), color=plots.VERMILION, alpha=0.3
)
ranked = [of_channels[c].mean().item() for c in order]
_ = axes[1].barh([str(c) for c in order], ranked, color=plots.BLUE, height=0.6)
for axis, what in zip(axes, ("loss of accuracy", "share of images that change class"), strict=True):
    axis.invert_yaxis()
    _ = axis.set_xlabel(what)
_ = axes[0].set_title("transformer: heads")
_ = axes[1].set(title="CNN: channels of conv2", ylabel="channel")
edge = of_directions.max().item()
_ = axes[0].annotate("range of random\nhalves", (0.36, 1.1), va="center")
_ = axes[1].annotate("range of\nrandom directions", (edge - 0.003, 13), color="black", ha="right")
figure.tight_layout()
lab.figure(
    figure,
    alt="Importance of four heads and sixteen channels as bars, over shaded ranges of random "
    "subspaces. Head 0.0 lies far beyond its range; no channel lies beyond its own.",
    table={
        "part": names + [f"channel {c}" for c in order],
        "importance": of_heads.mean(1).tolist() + ranked,
    },
    digits=3,
)

# %%
beaten = [
    (of_halves[layer] < of_heads[n].mean()).double().mean().item()
    for n, (layer, _) in enumerate(heads)
]
for name, share in zip(names, beaten, strict=True):
    print(f"{name} beats {share:.2f} of the random halves of its layer")
share = (of_directions < of_channels[order[0]].mean()).double().mean()
print(f"channel {order[0]} beats {share:.2f} of the random directions")

# %% [markdown]
# Compare each bar with the shaded range of its null. Ablating head 0.0 costs more than twice what a
# random half of its layer costs, far beyond the range of the draws. The heads of layer 1 lie within
# the range, one near its upper end and one below its middle. Head 0.1 costs *less* than any random
# half. One caution: a random half takes something from both heads, so redundancy does not protect
# it, and a head with a stand-in looks small beside it. The comparison tells you how much a head is
# needed, not what it does.
#
# In the CNN channel 3 comes first by a wide margin, and its interval is narrow. But one of the
# twenty random directions does more. So "channel 3 is important" is true, and "the network keeps
# something special in channel 3" does not follow. The interval tells you how precise a number is;
# the null tells you whether it is *large*.

# %%
lab.progress()

# %% [markdown]
# ## What would change your mind
#
# - **About head 0.0 as the one that says what stood before.** Other donors. If a donor that
#   announces an arbitrary token did not make the prediction follow, "says which token stood before"
#   would be too strong. One prediction in six already names neither token.
# - **About layer 1 delivering the answer.** A patch of its heads that made the network name a
#   token belonging to neither row. With both heads patched that is about one time in a hundred.
# - **About dead neurons.** One image that wakes them. "Never" was 2,000 images of digits.
# - **About neuron 88 as a constant.** Inputs on which it varies, such as photographs or noise. Its
#   mean here would be no harmless value there.
# - **About channels being nothing special.** The null was one direction in channel space, the same
#   at all places of the image, and twenty draws. Another metric than keeping the class could rank
#   otherwise.
#
# ## Where this comes from
#
# Elhage and others, "A Mathematical Framework for Transformer Circuits" (2021), describe the
# residual stream as used here and the pair of a previous-token head and an induction head; Olsson
# and others, "In-context Learning and Induction Heads" (2022), find them in larger models.
# Geiger and others, "Causal Abstractions of Neural Networks" (2021), give interchange interventions
# their meaning. Chan and others, "Causal Scrubbing" (2022), argue for resampling instead of zeros
# and means. McGrath and others, "The Hydra Effect: Emergent Self-repair in Language Model
# Computations" (2023), show on large models what heads 1.0 and 1.1 showed you. Zhang and Nanda,
# "Towards Best Practices of Activation Patching in Language Models" (2023), compare ways to
# corrupt and to measure.
#
# **Next.** Lesson 02 hands you the CNN and asks what its two classes are.
