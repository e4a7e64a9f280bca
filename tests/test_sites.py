"""Sites on a native TransformerBridge and on a CNN.

`reference` recomputes the transformer in plain torch with one named activation replaced: every
hook is held against it, so that a change in TransformerLens cannot alter silently what a write
at a familiar name means.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.sites import Site, SiteError, UnchangedError, hook_shapes, run, sweep

BATCH, POSITIONS, WIDTH, HEADS, LAYERS = 5, 6, 16, 2, 2
BRIDGES = ["bridge", "bridge_ln"]
MODELS = ["bridge", "bridge_ln", "cnn"]
few = settings(max_examples=25, derandomize=True, deadline=None, database=None)


def _bridge(normalization_type, **options):
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_num_threads(1)
    config = TransformerBridgeConfig(
        d_model=WIDTH,
        d_head=WIDTH // HEADS,
        n_heads=HEADS,
        n_layers=LAYERS,
        n_ctx=POSITIONS,
        d_vocab=11,
        d_vocab_out=7,
        d_mlp=24,
        act_fn="relu",
        normalization_type=normalization_type,
        seed=3,
        **options,
    )
    model = TransformerBridge.boot_native(config)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():  # fresh biases are zero and LayerNorm is plain: make them count
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        model(torch.zeros(1, POSITIONS, dtype=torch.long))  # TransformerLens wires itself once
    return model


def _cnn():
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class TinyCNN(HookedRootModule):
        def __init__(self):
            super().__init__()
            self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 4, 3), nn.Linear(36, 10), nn.Linear(10, 3)
            self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
            self.hook_conv, self.hook_pool = HookPoint(), HookPoint()
            self.hook_fc1, self.hook_never = HookPoint(), HookPoint()
            self.setup()

        def forward(self, x):
            x = self.relu(self.hook_conv(self.conv(x)))
            x = self.hook_pool(nn.functional.max_pool2d(x, 2))
            return self.fc2(self.drop(self.relu(self.hook_fc1(self.fc1(x.flatten(1))))))

    torch.manual_seed(0)
    return TinyCNN()


@pytest.fixture(scope="module")
def models():
    """name -> (model, inputs, donors)."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 11, (2, BATCH, POSITIONS), generator=generator)
    images = torch.rand((2, BATCH, 1, 8, 8), generator=generator)
    return {
        "bridge": (_bridge(None), *tokens),
        "bridge_ln": (_bridge("LN"), *tokens),
        "cnn": (_cnn(), *images),
    }


def _clean(model, inputs):
    training = model.training
    model.eval()
    with torch.no_grad():
        output = model(inputs)
    model.train(training)
    return output


def _some_sites(name):
    """Sites of every kind, with their shapes, for one model."""
    basis = torch.linalg.qr(torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(0))).Q
    if name == "cnn":
        channels = torch.linalg.qr(torch.randn(4, 2, generator=torch.Generator().manual_seed(0))).Q
        return {
            Site("hook_conv"): (BATCH, 4, 6, 6),
            Site("hook_conv", channel=1): (BATCH, 6, 6),
            Site("hook_conv", channel=[0, 2], row=[1, -1], column=slice(1, 6, 2)): (BATCH, 2, 2, 3),
            Site("hook_conv", basis=channels): (BATCH, 2, 6, 6),
            Site("hook_pool", row=0, column=-1): (BATCH, 4),
            Site("hook_fc1", neuron=[7, 2]): (BATCH, 2),
            Site("hook_fc1", neuron=slice(4), basis=channels): (BATCH, 2),
        }
    return {
        Site("blocks.1.hook_resid_pre"): (BATCH, POSITIONS, WIDTH),
        Site("blocks.0.hook_resid_mid", position=-1): (BATCH, WIDTH),
        Site("blocks.0.hook_resid_post", position=[0, 3], neuron=[5, 1, 2]): (BATCH, 2, 3),
        Site("blocks.1.hook_resid_mid", basis=basis): (BATCH, POSITIONS, 3),
        Site("blocks.0.hook_attn_out", position=2, basis=basis): (BATCH, 3),
        Site("blocks.1.attn.hook_z", head=1, position=slice(2, 5)): (BATCH, 3, 8),
        Site("blocks.0.attn.hook_q", head=[1]): (BATCH, POSITIONS, 1, 8),
        Site("blocks.0.attn.hook_pattern", head=0, position=-1, key=2): (BATCH,),
        Site("blocks.1.mlp.hook_post", neuron=slice(None, None, -3)): (BATCH, POSITIONS, 8),
    }


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_shapes_of_reads(models, name):
    model, inputs, _ = models[name]
    sites = _some_sites(name)
    result = run(model, inputs, read=list(sites))
    assert [tuple(v.shape) for v in result.values] == list(sites.values())
    assert torch.equal(result.output, _clean(model, inputs))
    for site, value in zip(sites, result.values, strict=True):
        assert torch.equal(site.read(model, inputs), value)
        torch.testing.assert_close(site.read(model, inputs, batch_size=2), value)


@pytest.mark.parametrize("name", BRIDGES)
def test_reads_agree_with_run_with_cache(models, name):
    model, inputs, _ = models[name]
    with torch.no_grad():
        _, cache = model.run_with_cache(inputs)
    for hook in hook_shapes(model, inputs):
        if not hook.endswith("hook_attn_scores"):
            assert torch.equal(Site(hook).read(model, inputs), cache[hook]), hook


def test_a_read_is_not_changed_by_a_later_layer_that_works_in_place(models):
    model, inputs, _ = models["cnn"]
    assert Site("hook_conv").read(model, inputs).min() < 0
    with torch.no_grad():
        assert torch.equal(Site("hook_conv").read(model, inputs), model.conv(inputs))


@few
@given(data=st.data())
def test_get_and_set_agree_with_direct_indexing(data):
    """Every mixture of selectors on a 4-axis activation, against numpy-style indexing."""
    shape, axes = (2, 3, 4, 5), ("batch", "channel", "row", "column")
    activation = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
    chosen, expected, kept = {}, activation, [1, 2, 3]
    for axis in (3, 2, 1):
        size = shape[axis]
        indices = st.integers(-size, size - 1)
        selector = data.draw(
            st.none()
            | indices
            | st.lists(indices, min_size=1, max_size=3, unique_by=lambda i, n=size: i % n)
            | st.slices(size).filter(lambda s, n=size: len(range(*s.indices(n))) > 0)
        )
        chosen[axes[axis]] = selector
        if selector is not None:
            if isinstance(selector, slice):
                places = list(range(*selector.indices(size)))
            else:
                places = [selector] if isinstance(selector, int) else selector
            expected = expected.index_select(axis, torch.tensor([i % size for i in places]))
        if isinstance(selector, int):
            kept.remove(axis)
    mask = torch.isin(activation, expected)
    for axis in (3, 2, 1):
        if axis not in kept:
            expected = expected.squeeze(axis)
    site = Site("hook", **chosen)
    assert torch.equal(site.get(activation, axes), expected)
    written = site.set(activation, site.get(activation, axes) + 1000, axes)
    assert torch.equal(written, activation + 1000 * mask)


# --- what a write means ----------------------------------------------------------------------


def reference(model, tokens, hook="", new=None):
    """The logits of the transformer in plain torch, with the activation at `hook` replaced."""
    weights = {k.replace("_original_component.", ""): v for k, v in model.named_parameters()}
    normal = model.cfg.normalization_type is not None

    def here(name, x):
        return new if name == hook else x

    def norm(name, x):
        if not normal:
            return x
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + model.cfg.eps).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def heads(x):
        return x.unflatten(-1, (HEADS, WIDTH // HEADS))

    embed = here("hook_embed", weights["tok_embed.weight"][tokens])
    positions = weights["pos.weight"][: tokens.shape[1]].expand_as(embed)
    x = embed + here("hook_pos_embed", positions)
    for layer in range(LAYERS):
        b, w = f"blocks.{layer}", f"layers.{layer}"
        x = here(f"{b}.hook_resid_pre", x)
        y = norm(f"{w}.ln1", x)
        q, k, v = (here(f"{b}.attn.hook_{n}", heads(linear(f"{w}.attn.{n}", y))) for n in "qkv")
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(WIDTH // HEADS)
        ahead = torch.ones(scores.shape[-2:]).triu(1).bool()
        pattern = here(f"{b}.attn.hook_pattern", scores.masked_fill(ahead, -1e9).softmax(-1))
        z = here(f"{b}.attn.hook_z", torch.einsum("bhqk,bkhd->bqhd", pattern, v))
        x = x + here(f"{b}.hook_attn_out", linear(f"{w}.attn.o", z.flatten(2)))
        x = here(f"{b}.hook_resid_mid", x)
        pre = here(f"{b}.mlp.hook_pre", linear(f"{w}.mlp.fc_in", norm(f"{w}.ln2", x)))
        post = here(f"{b}.mlp.hook_post", pre.relu())
        x = x + here(f"{b}.hook_mlp_out", linear(f"{w}.mlp.fc_out", post))
        x = here(f"{b}.hook_resid_post", x)
    return linear("head", norm("ln_out", x))


FAMILIAR = ["hook_embed", "hook_pos_embed"] + [
    f"blocks.{layer}.{name}"
    for layer in range(LAYERS)
    for name in (
        *("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post"),
        *("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_pattern", "attn.hook_z"),
        *("mlp.hook_pre", "mlp.hook_post"),
    )
]


@pytest.mark.parametrize("name", BRIDGES)
@pytest.mark.parametrize("hook", FAMILIAR)
def test_a_write_means_what_the_hook_is_called(models, name, hook):
    model, inputs, _ = models[name]
    old = Site(hook).read(model, inputs)
    new = torch.randn(old.shape, generator=torch.Generator().manual_seed(2))
    if hook.endswith("pattern"):
        new = new.softmax(-1)
    with torch.no_grad():
        assert_close = torch.testing.assert_close
        assert_close(reference(model, inputs), _clean(model, inputs), rtol=1e-4, atol=1e-4)
        expected = reference(model, inputs, hook, new)
    written = run(model, inputs, edits=[(Site(hook), new)], read=[Site(hook)])
    assert_close(written.output, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(written.values[0], new)
    assert not torch.allclose(expected, _clean(model, inputs), atol=1e-2)


@pytest.mark.parametrize("name", BRIDGES)
def test_resid_mid_reaches_the_skip_path_and_ln2_hook_in_does_not(models, name):
    """The reason for the special case: in TransformerLens the two are one HookPoint."""
    model, inputs, donors = models[name]
    points = model.hook_dict
    assert points["blocks.0.hook_resid_mid"] is points["blocks.0.ln2.hook_in"]
    value = Site("blocks.0.hook_resid_mid").read(model, donors)
    mid = Site("blocks.0.hook_resid_mid").write(model, inputs, value)
    mlp_only = Site("blocks.0.ln2.hook_in").write(model, inputs, value)
    assert torch.equal(mid, _clean(model, donors))
    assert not torch.allclose(mlp_only, _clean(model, donors), atol=1e-2)
    # both at once: first the stream, then what the MLP sees of it
    edits = [(Site("blocks.0.ln2.hook_in"), 0.0), (Site("blocks.0.hook_resid_mid"), value)]
    reads = [Site("blocks.0.hook_resid_mid"), Site("blocks.0.ln2.hook_in")]
    both = run(model, inputs, edits=edits, read=reads)
    assert torch.equal(both.values[0], value)
    assert both.values[1].abs().max() == 0


@pytest.mark.parametrize("name", BRIDGES)
def test_what_transformer_lens_cannot_do_is_refused(models, name):
    model, inputs, _ = models[name]
    scores = Site("blocks.0.attn.hook_attn_scores")
    with pytest.raises(SiteError, match="holds the attention pattern"):
        scores.read(model, inputs)
    with pytest.raises(SiteError, match="holds the attention pattern"):
        scores.write(model, inputs, 0.0)
    for silent in ("attn.hook_result", "hook_mlp_in", "hook_q_input", "attn.hook_hidden_states"):
        with pytest.raises(SiteError, match="exists but did not fire"):
            Site(f"blocks.0.{silent}").read(model, inputs)


@pytest.mark.parametrize("name", BRIDGES)
def test_every_hook_that_fires_can_be_written_with_effect_or_is_refused(models, name):
    model, inputs, donors = models[name]
    clean = _clean(model, inputs)
    for hook in hook_shapes(model, inputs):
        if hook.endswith("hook_attn_scores") or hook == "pos_embed.hook_in":
            continue  # refused above; position numbers are the same for every input
        value = Site(hook).read(model, donors)
        if "pos_embed" in hook:
            value = value + 1
        assert not torch.equal(Site(hook).write(model, inputs, value), clean), hook


# --- properties ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_reading_then_writing_is_the_identity(models, name):
    model, inputs, _ = models[name]
    clean = _clean(model, inputs)
    for site in _some_sites(name):
        value = site.read(model, inputs)
        assert torch.equal(site.write(model, inputs, value, allow_unchanged=True), clean), site
        with pytest.raises(UnchangedError, match="changed nothing"):
            site.write(model, inputs, value)


@pytest.mark.parametrize("name", MODELS)
def test_a_write_is_read_back_and_leaves_the_rest(models, name):
    model, inputs, _ = models[name]
    generator = torch.Generator().manual_seed(5)
    for site, shape in _some_sites(name).items():
        whole = Site(site.hook)
        before = whole.read(model, inputs)
        value = torch.randn(shape, generator=generator)
        result = run(model, inputs, edits=[(site, value)], read=[site, whole])
        torch.testing.assert_close(result.values[0], value)
        expected = site.set(before, value, _axes(name, site.hook))
        torch.testing.assert_close(result.values[1], expected)


def _axes(name, hook):
    if name == "cnn":
        return ("batch", "neuron") if "fc" in hook else ("batch", "channel", "row", "column")
    if hook.endswith("pattern"):
        return ("batch", "head", "position", "key")
    if hook.endswith(("hook_q", "hook_z")):
        return ("batch", "position", "head", "neuron")
    return ("batch", "position", "neuron")


@few
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, WIDTH - 1),
    position=st.none() | st.integers(-POSITIONS, POSITIONS - 1) | st.just([0, 2]),
    hook=st.sampled_from(["blocks.0.hook_resid_mid", "blocks.1.hook_resid_pre"]),
)
def test_a_written_subspace_leaves_its_complement(bridge_for_hypothesis, seed, k, position, hook):
    model, inputs, _ = bridge_for_hypothesis
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(WIDTH, k, generator=generator)).Q
    site = Site(hook, position=position, basis=basis)
    before = run(model, inputs, read=[site, site.complement, Site(hook)]).values
    value = 3 * torch.randn(before[0].shape, generator=generator)
    after = run(
        model, inputs, edits=[(site, value)], read=[site, site.complement, Site(hook)]
    ).values
    torch.testing.assert_close(after[0], value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[1], before[1], rtol=1e-4, atol=1e-4)
    if position is not None:
        chosen = [position] if isinstance(position, int) else position
        others = [p for p in range(POSITIONS) if p not in {c % POSITIONS for c in chosen}]
        assert torch.equal(after[2][:, others], before[2][:, others])


@few
@given(seed=st.integers(0, 10_000), k=st.integers(1, 3), row=st.none() | st.integers(-6, 5))
def test_a_written_subspace_of_channels_leaves_its_complement(cnn_for_hypothesis, seed, k, row):
    model, inputs, _ = cnn_for_hypothesis
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(4, k, generator=generator)).Q
    site = Site("hook_conv", row=row, basis=basis)
    old, rest = run(model, inputs, read=[site, site.complement]).values
    value = torch.randn(old.shape, generator=generator)
    read = [site, site.complement]
    new, still = run(model, inputs, edits=[(site, value)], read=read).values
    torch.testing.assert_close(new, value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(still, rest, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def cnn_for_hypothesis(models):
    return models["cnn"]


@pytest.fixture(scope="module")
def bridge_for_hypothesis(models):
    return models["bridge_ln"]


def _state(model):
    hooks = {
        name: (list(p._forward_hooks), list(p._backward_hooks), list(p.fwd_hooks))
        for name, p in model.hook_dict.items()
    }
    training = [m.training for m in model.modules()]
    return hooks, training, {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_model_afterwards_as_before(models, name):
    model, inputs, donors = models[name]
    model.train()
    first = next(m for m in model.modules() if not list(m.children()))
    first.eval()  # a mixture of modes must come back as a mixture
    site = next(iter(_some_sites(name)))
    mine = model.hook_dict[site.hook].add_hook(lambda x, hook: None)
    before = _state(model)

    def broken(_old):
        raise RuntimeError("a user's function failed")

    site.write(model, inputs, 0.5)
    site.ablate(model, inputs, "resample", donors=donors)
    site.read(model, inputs, grad=True)
    sweep(model, inputs, [site, site], [0.1, 0.2])
    for call in (broken, lambda old: old * math.nan, lambda old: old[:2]):
        with pytest.raises((RuntimeError, SiteError)):
            site.write(model, inputs, call)
    after = _state(model)
    mine.hook.remove()
    model.hook_dict[site.hook].fwd_hooks.clear()
    model.train()
    assert after[:2] == before[:2]
    assert before[2].keys() == after[2].keys()
    assert all(torch.equal(after[2][k], v) for k, v in before[2].items())


def test_dropout_is_off_whatever_the_mode(models):
    model, inputs, _ = models["cnn"]
    model.train()
    site = Site("hook_fc1")
    assert torch.equal(site.write(model, inputs, 1.0), site.write(model, inputs, 1.0))
    assert model.training and model.drop.training


# --- several edits, batches, gradients ---------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_batches_change_nothing(models, name):
    model, inputs, donors = models[name]
    site, other = list(_some_sites(name))[:2]
    edits = [(site, site.read(model, donors)), (other, 0.25)]
    whole = run(model, inputs, edits=edits, read=[other])
    split = run(model, inputs, edits=edits, read=[other], batch_size=2)
    torch.testing.assert_close(split.output, whole.output)
    torch.testing.assert_close(split.values[0], whole.values[0])


def test_edits_at_one_hook_compose_in_order(models):
    model, inputs, _ = models["bridge"]
    z, alias = Site("blocks.0.attn.hook_z", head=0), Site("blocks.0.attn.o.hook_in", head=0)
    edits = [(z, 1.0), (alias, lambda old: old * 3), (z, lambda old: old + 1)]
    assert (run(model, inputs, edits=edits, read=[alias]).values[0] == 4).all()
    with pytest.raises(UnchangedError, match=r"o\.hook_in"):
        run(model, inputs, edits=[(z, 1.0), (alias, 1.0)])


def test_patching_the_whole_stream_gives_the_donors_output(models):
    model, inputs, donors = models["bridge_ln"]
    for hook in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post"):
        site = Site(f"blocks.1.{hook}")
        patched = site.write(model, inputs, site.read(model, donors))
        assert torch.equal(patched, _clean(model, donors))


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_mid", "blocks.1.attn.hook_z"])
def test_gradients_at_a_site(models, hook):
    """Gradient from a read, and from an edit that adds zero, against a finite difference."""
    model, inputs, _ = models["bridge_ln"]
    site, part = Site(hook), Site(hook, position=-1)
    result = run(model, inputs, read=[site], grad=True)
    (grad,) = torch.autograd.grad(result.output[0, -1, 2], result.values[0])
    zero = torch.zeros_like(part.read(model, inputs), requires_grad=True)
    edits = [(part, lambda old: old + zero)]
    output = run(model, inputs, edits=edits, allow_unchanged=True, grad=True).output
    (small,) = torch.autograd.grad(output[0, -1, 2], zero)
    torch.testing.assert_close(grad[:, -1], small)
    step = torch.zeros_like(small)
    step[0] = 1e-2 * small[0] / small.norm()
    up, down = (part.write(model, inputs, lambda o, s=s: o + s * step)[0, -1, 2] for s in (1, -1))
    slope = (up - down) / 2e-2
    assert slope == pytest.approx(small.norm().item(), rel=2e-2)
    assert not run(model, inputs, read=[site]).output.requires_grad


# --- ablation and projection -------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_ablations(models, name):
    model, inputs, donors = models[name]
    for site in _some_sites(name):
        for how in ("zero", "mean", "resample"):
            _, (after,) = site.ablate(model, inputs, how, donors=donors, read=[site])
            own = site.read(model, donors)
            if how == "zero":
                torch.testing.assert_close(after, torch.zeros_like(after), atol=1e-5, rtol=0)
            elif how == "mean":
                torch.testing.assert_close(after, own.mean(0, keepdim=True).expand_as(after))
            else:  # the donors' own values, each once
                got, given = (x.reshape(BATCH, -1) for x in (after, own))
                got, given = (x[x.sum(1).argsort()] for x in (got, given))
                torch.testing.assert_close(got, given, atol=1e-5, rtol=1e-4)


def test_resampling_from_the_inputs_never_keeps_a_row(models):
    model, inputs, _ = models["cnn"]
    site = Site("hook_fc1")
    old = site.read(model, inputs)
    for seed in range(20):
        _, (new,) = site.ablate(model, inputs, "resample", seed=seed, read=[site])
        assert not (new == old).all(1).any()
    same = [site.ablate(model, inputs, "resample", seed=torch.Generator().manual_seed(3))] * 2
    assert torch.equal(same[0], site.ablate(model, inputs, "resample", seed=3))
    few_donors = site.ablate(model, inputs, "resample", donors=inputs[:1], read=[site])
    # one donor alone is another matrix product than the same row among others: the last bits differ
    torch.testing.assert_close(few_donors.values[0], old[:1].expand_as(old))
    with pytest.raises(SiteError, match="at least two inputs"):
        site.ablate(model, inputs[:1], "resample")


def test_projection_keeps_only_the_basis(models):
    model, inputs, donors = models["bridge"]
    basis = torch.eye(WIDTH)[:, [3, 7]]
    site, whole = Site("blocks.0.hook_resid_mid", basis=basis), Site("blocks.0.hook_resid_mid")
    before, mean = whole.read(model, inputs), whole.read(model, donors).mean(0)
    keep = torch.zeros(WIDTH, dtype=torch.bool)
    keep[[3, 7]] = True
    (zeroed,) = site.project(model, inputs, read=[whole]).values
    (filled,) = site.project(model, inputs, rest="mean", donors=donors, read=[whole]).values
    torch.testing.assert_close(zeroed, before * keep)
    torch.testing.assert_close(filled, torch.where(keep, before, mean))
    with pytest.raises(SiteError, match="no basis"):
        whole.project(model, inputs)


# --- sweeps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [1, 3, 12, 64])
def test_sweep_equals_the_loop(models, name, batch_size):
    model, inputs, donors = models[name]
    sites = list(_some_sites(name))
    if name != "cnn":
        sites += [Site(f"blocks.{i}.hook_resid_pre", position=p) for i in (1, 0) for p in (0, 4)]
        sites += [Site("hook_embed", position=1), Site("ln_final.hook_out")]
    values = run(model, donors, read=sites).values
    loop = torch.stack([s.write(model, inputs, v) for s, v in zip(sites, values, strict=True)])
    out = sweep(model, inputs, sites, values, batch_size=batch_size)
    torch.testing.assert_close(out, loop, rtol=1e-5, atol=1e-5)
    clean = _clean(model, inputs)
    assert all(not torch.equal(row, clean) for row in out)
    best = sweep(model, inputs, sites, values, metric=lambda o: o.flatten(1)[:, 0])
    torch.testing.assert_close(best, loop.flatten(2)[:, :, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization_type": "RMS", "positional_embedding_type": "rotary", "gated_mlp": True},
        {"normalization_type": "LNPre", "attn_only": True},
        {"normalization_type": "LN", "output_logits_soft_cap": 0.5},
        {"normalization_type": "LN", "attention_dir": "bidirectional"},
    ],
    ids=["rotary", "attn_only", "soft_cap", "bidirectional"],
)
def test_sweep_equals_the_loop_on_other_native_models(models, options):
    _, inputs, donors = models["bridge"]
    model = _bridge(**options)
    hooks = ["blocks.0.attn.hook_z", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    hooks += [] if options.get("attn_only") else ["blocks.0.hook_resid_mid"]
    sites = [Site(hook, position=p) for hook in hooks for p in (2, -1)]
    values = run(model, donors, read=sites).values
    loop = [s.write(model, inputs, v) for s, v in zip(sites, values, strict=True)]
    swept = sweep(model, inputs, sites, values, batch_size=13)
    torch.testing.assert_close(swept, torch.stack(loop), rtol=1e-5, atol=1e-5)
    if not options.get("attn_only"):
        mid = Site("blocks.1.hook_resid_mid")
        patched = mid.write(model, inputs, mid.read(model, donors))
        assert torch.equal(patched, _clean(model, donors))


def test_sweep_does_not_run_the_layers_below(models):
    model, inputs, _ = models["bridge_ln"]
    rows = []
    handle = model.blocks[0].register_forward_hook(lambda _m, a, _o: rows.append(len(a[0])))
    try:
        sites = [Site("blocks.1.hook_resid_pre", position=p) for p in range(POSITIONS)]
        sweep(model, inputs, sites, 0.0)
    finally:
        handle.remove()
    assert rows == [BATCH]


@pytest.mark.parametrize("where", ["blocks.0.hook_out", "blocks.1.hook_in", "ln_final.hook_in"])
def test_sweep_respects_hooks_the_model_already_has(models, where):
    model, inputs, donors = models["bridge_ln"]
    point = model.hook_dict[where]
    handle = point.add_hook(lambda x, hook: x * 1.5 + 1)
    try:
        sites = [Site("blocks.1.attn.hook_z", head=h) for h in range(HEADS)]
        values = run(model, donors, read=sites).values
        loop = [s.write(model, inputs, v) for s, v in zip(sites, values, strict=True)]
        torch.testing.assert_close(sweep(model, inputs, sites, values), torch.stack(loop))
    finally:
        handle.hook.remove()
        point.fwd_hooks.clear()


def test_sweep_mistakes(models):
    model, inputs, _ = models["cnn"]
    site = Site("hook_fc1", neuron=1)
    old = site.read(model, inputs)
    with pytest.raises(UnchangedError, match=r"hook_fc1\[neuron=1\]"):
        sweep(model, inputs, [site, site], [0.5, old])
    clean = sweep(model, inputs, [site], [old], allow_unchanged=True)[0]
    torch.testing.assert_close(clean, _clean(model, inputs))
    for sites, values, what in (
        ([], [], "at least one"),
        ([site], [1.0, 2.0], "2 values"),
        ([Site("hook_fc9")], 0.0, "hook_fc1"),
        ([site], [torch.zeros(2)], "first axis"),
    ):
        with pytest.raises(SiteError, match=what):
            sweep(model, inputs, sites, values)


# --- mistakes --------------------------------------------------------------------------------


def test_unknown_hook_names_the_nearest_with_their_shapes(models):
    model, inputs, _ = models["bridge"]
    with pytest.raises(SiteError, match=r"nearest.*blocks\.1\.hook_resid_pre \[1, 6, 16\]"):
        Site("blocks.1.hook_residpre").read(model, inputs)
    with pytest.raises(SiteError, match=r"hook_z \[1, 6, 2, 8\]"):
        Site("blocks.0.hook_z").write(model, inputs, 0.0)
    model, inputs, _ = models["cnn"]
    with pytest.raises(SiteError, match=r"hook_conv \[1, 4, 6, 6\]"):
        Site("hook_conv1").ablate(model, inputs)
    with pytest.raises(SiteError, match="did not fire"):
        Site("hook_never").read(model, inputs)
    with pytest.raises(SiteError, match="no hooks"):
        Site("hook").read(nn.Linear(2, 2), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Site("hook_conv", head=1), r"by head.*\[batch 5, channel 4, row 6, column 6\]"),
        (Site("hook_conv", channel=4), "channel out of range"),
        (Site("hook_conv", row=[0, -7]), "row out of range"),
        (Site("hook_conv", row=[0, -6]), "one row twice"),
        (Site("hook_conv", row=slice(3, 3)), "selects no row"),
        (Site("hook_conv", basis=torch.eye(3)), "3 rows, but 4 features"),
        (Site("hook_fc1", neuron=2, basis=torch.eye(1)), "one neuron only"),
    ],
)
def test_selectors_that_do_not_fit(models, site, message):
    model, inputs, _ = models["cnn"]
    with pytest.raises(SiteError, match=message):
        site.read(model, inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "all"}, "head takes"),
        ({"head": 1.5}, "head takes"),
        ({"head": True}, "head takes"),
        ({"head": [True, False]}, "head takes"),
        ({"head": []}, "selects nothing"),
        ({"basis": torch.ones(4, 2)}, "not orthonormal"),
        ({"basis": torch.full((4, 1), math.nan)}, "not orthonormal"),
        ({"basis": torch.ones(4)}, "shape"),
        ({"basis": torch.eye(3)[:2]}, "independent"),
    ],
)
def test_selectors_that_make_no_sense(arguments, message):
    with pytest.raises(SiteError, match=message):
        Site("hook", **arguments)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(BATCH, 9), r"shape \[5, 9\].*\[5, 10\]"),
        (torch.zeros(10), r"shape \[10\].*\[5, 10\]"),
        (torch.zeros(BATCH, 10, 1), "shape"),
        (math.nan, "NaN"),
        (lambda old: old / 0 * 0, "NaN"),
        (lambda old: None, "NoneType"),
        ("zero", "str"),
        (torch.zeros(BATCH, 10, dtype=torch.complex64), "complex64"),
    ],
)
def test_values_that_do_not_fit(models, value, message):
    model, inputs, _ = models["cnn"]
    with pytest.raises(SiteError, match=message):
        Site("hook_fc1").write(model, inputs, value)
    with pytest.raises(SiteError, match="shape" if "shape" in message else message):
        Site("hook_fc1").write(model, inputs, value, batch_size=2)


def test_other_mistakes(models):
    model, inputs, _ = models["cnn"]
    site = Site("hook_fc1")
    for call, message in (
        (lambda: site.read(model, inputs[:0]), "no row"),
        (lambda: site.read(model, inputs, batch_size=0), "batch_size"),
        (lambda: site.ablate(model, inputs, "median"), "how must be"),
        (lambda: Site("h", basis=torch.eye(2)).project(model, inputs, rest="x"), "rest must be"),
        (lambda: Site("h", basis=torch.eye(2)).complement, "empty"),
        (lambda: Site(""), "name of a hook"),
        (lambda: site.get(torch.zeros(2, 3), ("batch",)), "has not the axes"),
    ):
        with pytest.raises(SiteError, match=message):
            call()


def test_a_hook_that_fires_twice_is_refused():
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Twice(HookedRootModule):
        def __init__(self):
            super().__init__()
            self.hook = HookPoint()
            self.setup()

        def forward(self, x):
            return self.hook(self.hook(x) + 1)

    with pytest.raises(SiteError, match="fired twice"):
        Site("hook").read(Twice(), torch.zeros(2, 3))


def test_a_model_may_name_its_own_axes():
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Odd(HookedRootModule):
        hook_axes = {"hook": ("batch", "neuron", "position"), "wrong": ("batch",)}

        def __init__(self):
            super().__init__()
            self.hook, self.wrong = HookPoint(), HookPoint()
            self.setup()

        def forward(self, x):
            return self.wrong(self.hook(x))

    x = torch.rand(2, 3, 4)
    assert torch.equal(Site("hook", position=-1, neuron=[0, 2]).read(Odd(), x), x[:, [0, 2], -1])
    with pytest.raises(SiteError, match="hook_axes"):
        Site("wrong").read(Odd(), x)


def test_sites_are_values():
    import numpy as np

    basis = torch.eye(4)[:, :2]
    a = Site("h", head=[1, 2], position=slice(0, 3), basis=basis)
    b = Site("h", head=np.array([1, 2]), position=slice(0, 3), basis=basis)
    assert a == b and hash(a) == hash(b) and len({a, b}) == 1
    assert a != Site("h", head=[1, 2], position=slice(0, 3)) and a != "h"
    assert str(a) == "h[position=0:3, head=[1, 2], basis=4x2]"
    assert Site("h", neuron=torch.tensor(3)).neuron == 3
    assert str(Site("h", neuron=range(100))) == "h[neuron=100 of them]"
    with pytest.raises(AttributeError):
        a.head = 3


def test_a_sweep_over_heads_is_the_same_as_one_run_for_each():
    """Heads skip the block's attention; groups, mixed hooks and both kinds of block included."""
    from utils.models import zoo

    for name, length, vocabulary in (("induction", 24, 16), ("brackets", 25, 2)):
        model = zoo.load(name)
        generator = torch.Generator().manual_seed(0)
        inputs, donors = torch.randint(0, vocabulary, (2, 5, length), generator=generator)
        last = len(model.blocks) - 1
        groups = [
            [Site("blocks.0.attn.hook_z", head=1, position=3)],
            [Site(f"blocks.{last}.attn.hook_z", head=0)],
            [Site("blocks.0.attn.hook_z", head=0), Site("blocks.0.attn.hook_z", head=1)],
            [Site("blocks.0.attn.hook_z", head=0), Site(f"blocks.{last}.attn.hook_z", head=1)],
            [Site(f"blocks.{last}.hook_attn_out", position=2)],
            [Site("blocks.1.hook_resid_pre", position=[0, 4])],
        ]
        values = [[site.read(model, donors) for site in group] for group in groups]
        for size in (3, 64):
            found = sweep(model, inputs, groups, values, batch_size=size)
            for output, group, value in zip(found, groups, values, strict=True):
                edits = list(zip(group, value, strict=True))
                assert torch.allclose(output, run(model, inputs, edits=edits).output, atol=2e-5)
        same = Site("blocks.0.attn.hook_z", head=0)
        with pytest.raises(UnchangedError):
            sweep(model, inputs, [same], [same.read(model, inputs)])
