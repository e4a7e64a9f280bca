"""Patching, path patching, attribution and tracing against effects known by hand."""

import pytest
import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from tests.scrubbing import trees
from utils import patching
from utils.data import digits
from utils.models import zoo
from utils.patching import (
    PatchingError,
    PathError,
    ablate,
    attribution,
    attribution_report,
    patch,
    patch_path,
    patching_report,
    recovered,
    trace,
)
from utils.sites import Site, SiteError, UnchangedError, run, sweep


class Gate(HookedRootModule):
    """input [B, 2] -> a, b -> output [B, 2]: logits (0, f(a, b)), and b may read a."""

    def __init__(self, gate, b_reads_a=0.0):
        super().__init__()
        self.gate, self.b_reads_a = gate, b_reads_a
        self.hook_a, self.hook_b, self.hook_in = HookPoint(), HookPoint(), HookPoint()
        self.setup()

    def forward(self, x):
        x = self.hook_in(x)
        a = self.hook_a(x[:, :1])
        b = self.hook_b(x[:, 1:] + self.b_reads_a * a)
        return torch.cat([0 * a, self.gate(a, b)], 1)


A, B, IN = Site("hook_a"), Site("hook_b"), Site("hook_in")
DIFFERENCE = patching.logit_difference(1, 0, None)
ON, OFF = torch.ones(6, 2), torch.zeros(6, 2)


@pytest.fixture(scope="module")
def cnn():
    torch.set_num_threads(1)
    images = digits.make("held-out", 40, seed=5).images
    return zoo.load("cnn-challenge"), images[:20], images[20:]


def pairs(n=6):
    return trees.tokens(n, seed=1), trees.tokens(n, seed=2)


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_of_both_output_shapes():
    flat = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
    deep = torch.stack([flat * 0, flat], 1)
    labels = torch.tensor([1, 0])
    for output, position in ((flat, None), (deep, 1), (deep, -1)):
        difference = patching.logit_difference(labels, 2, position)(output)
        assert difference.tolist() == [3.0, -2.0]
        assert patching.accuracy(labels, position)(output).tolist() == [1.0, 0.0]
        right = torch.nn.functional.cross_entropy(flat, labels, reduction="none")
        assert torch.allclose(patching.loss(labels, position)(output), right)
        assert torch.allclose(patching.kl(output, position)(output), torch.zeros(2), atol=1e-6)
    p, q = flat.softmax(-1), (flat * 0).softmax(-1)
    found = patching.kl(flat, None)(flat * 0)
    assert torch.allclose(found, (p * (p / q).log()).sum(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("metric", "output", "words"),
    [
        (patching.loss(0, None), torch.zeros(2, 4, 3), "position"),
        (patching.loss(0, 2), torch.zeros(2, 3), "position"),
        (patching.loss(torch.zeros(5).long()), torch.zeros(2, 3), r"\[5\] labels"),
        (patching.kl(torch.zeros(3, 3)), torch.zeros(2, 3), "reference"),
    ],
)
def test_metrics_that_do_not_fit(metric, output, words):
    with pytest.raises(PatchingError, match=words):
        metric(output)


# --- patching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "denoise", "noise"),
    [
        (torch.minimum, [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
        (torch.maximum, [1.0, 1.0, 1.0], [1, 1, 0]),
    ],
    ids=["and", "or"],
)
def test_denoising_and_noising_are_different_questions(gate, denoise, noise):
    """AND: neither input suffices, each is needed. OR: each suffices, neither is needed."""
    model, groups = Gate(gate), [A, B, [A, B]]
    found = patch(model, ON, OFF, groups, direction="denoise", metric=DIFFERENCE)
    assert found.mean(1).tolist() == denoise
    found = patch(model, ON, OFF, groups, direction="noise", metric=DIFFERENCE)
    assert found.mean(1).tolist() == noise


def test_a_group_of_all_sites_restores_the_clean_output(cnn):
    model, clean, corrupted = cnn
    whole = patch(model, clean, corrupted, [Site("hook_fc1")], direction="denoise")
    assert torch.allclose(whole[0], model(clean), atol=1e-5)
    width = Site("hook_fc1").read(model, clean).shape[1]
    parts = [Site("hook_fc1", neuron=slice(0, 9)), Site("hook_fc1", neuron=slice(9, width))]
    split = patch(model, clean, corrupted, [parts], direction="denoise")
    assert torch.allclose(split[0], model(clean), atol=1e-5)


@pytest.mark.parametrize("kind", trees.KINDS)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_patches_equal_the_loop_with_transformer_lens_hooks(kind, direction):
    model = trees.network(kind).model
    clean, corrupted = pairs()
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    sites = [
        Site(f"blocks.{layer}.attn.hook_z", head=head, position=position)
        for layer in (0, 1) for head in (0, 1) for position in (0, 4)
    ]  # fmt: skip
    groups = [*sites, sites[:3], [sites[0], Site("blocks.1.hook_attn_out", position=2)]]
    found = patch(model, clean, corrupted, groups, direction=direction, batch_size=16)
    again = patch(model, clean, corrupted, groups, direction=direction, batch_size=5)
    assert torch.allclose(found, again, atol=1e-6)
    with torch.no_grad():
        _, cache = model.run_with_cache(source)
        for site, value in zip(sites, found, strict=False):

            def change(z, hook, site=site):
                where = (slice(None), site.position, site.head)
                z[where] = cache[hook.name][where]
                return z

            right = model.run_with_hooks(base, fwd_hooks=[(site.hook, change)])
            assert torch.allclose(value, right, rtol=1e-4, atol=1e-4)
    for group, value in zip(groups[-2:], found[-2:], strict=True):
        edits = [(site, site.read(model, source)) for site in group]
        assert torch.allclose(value, run(model, base, edits=edits).output, atol=1e-5)


def test_transformer_lens_own_sweep_over_heads_and_positions_agrees():
    from transformer_lens.patching import get_act_patch_attn_head_out_by_pos

    model = trees.network("bidirectional").model
    clean, corrupted = pairs()
    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
        peer = get_act_patch_attn_head_out_by_pos(
            model, corrupted, cache, lambda logits: logits[:, 0, 1].mean()
        )
    sites = [
        Site(f"blocks.{layer}.attn.hook_z", head=head, position=position)
        for layer in (0, 1) for position in range(5) for head in (0, 1)
    ]  # fmt: skip
    ours = patch(model, clean, corrupted, sites, direction="denoise", metric=lambda o: o[:, 0, 1])
    assert torch.allclose(ours.mean(1).reshape(peer.shape), peer, atol=1e-5)


def test_a_patch_that_changes_nothing_is_an_error():
    model = trees.network("causal").model
    clean, corrupted = pairs()
    with pytest.raises(UnchangedError, match="hook_z"):
        patch(model, clean, clean, [Site("blocks.0.attn.hook_z")], direction="noise")
    half = corrupted.clone()
    half[:, 0] = clean[:, 0]  # position 0 sees itself alone: the same in both
    here, there = (Site("blocks.0.hook_resid_pre", position=p) for p in (0, 1))
    with pytest.raises(UnchangedError, match="position=0"):
        patch(model, clean, half, [here], direction="noise")
    patch(model, clean, half, [[here, there]], direction="noise")  # something changed


def test_recovered_share_and_report():
    start, target = torch.tensor([0.0, 2.0]), torch.tensor([4.0, 6.0])
    values = torch.stack([start, target, target + 4])
    assert recovered(values, start, target).tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(PatchingError, match="no effect to share"):
        recovered(values, start, start)
    model = Gate(lambda a, b: a + 0 * b)
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.rand(80, 2, generator=generator) + 2, torch.rand(80, 2) * 0.1
    corrupted = torch.rand(80, 2, generator=generator) * 0.1
    report = patching_report(
        model, clean, corrupted, {"a": A, "b": B}, DIFFERENCE, direction="denoise"
    )
    assert report["a"].value == pytest.approx(1.0) and report["b"].value == 0
    assert report["b"].high == 0 and report["a, from another pair"].value == pytest.approx(1.0)
    assert "denoise" in str(report)


def test_the_null_from_another_pair_falls_where_the_pair_matters():
    """The clean answer differs from pair to pair, so another pair's values do not bring it back."""
    model = Gate(lambda a, b: a)
    sign = torch.where(torch.arange(80) % 2 == 0, 1.0, -1.0)
    clean = torch.stack([sign, sign], 1)
    metric = lambda output: output[:, 1] * sign  # noqa: E731
    report = patching_report(model, clean, 0 * clean, {"a": A}, metric, direction="denoise")
    assert report["a"].value == 1 and abs(report["a, from another pair"].value) < 0.5


# --- ablation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_ablations_equal_the_sites_own(how, cnn):
    model, images, donors = cnn
    sites = [Site("hook_fc1", neuron=n) for n in (0, 3)] + [Site("hook_conv1", channel=0)]
    found = ablate(model, images, sites, how, donors=donors, seed=3, allow_unchanged=True)
    for site, value in zip(sites, found, strict=True):
        right = site.ablate(model, images, how, donors=donors, seed=3, allow_unchanged=True)
        assert torch.allclose(value, right, rtol=1e-4, atol=1e-4)
    both = ablate(model, images, [sites[:2]], how, donors=donors, seed=3, allow_unchanged=True)
    pair = Site("hook_fc1", neuron=[0, 3])
    right = pair.ablate(model, images, how, donors=donors, seed=3, allow_unchanged=True)
    assert torch.allclose(both[0], right, atol=1e-5)


# --- paths ---------------------------------------------------------------------------------------


def test_a_path_past_a_component_leaves_it_out():
    """output = a + 10 b, b = x1 + 2 a: directly a moves the output by 1, through b by 20."""
    model = Gate(lambda a, b: a + 10 * b, b_reads_a=2.0)
    changed = ON.clone()
    changed[:, 0] = 2
    plain = patch(model, changed, ON, [A], direction="denoise", metric=DIFFERENCE)
    assert (plain[0] - DIFFERENCE(model(ON))).tolist() == [21.0] * 6
    options = {"direction": "denoise", "frozen": [B]}
    direct = patch_path(model, changed, ON, A, **options)
    assert (DIFFERENCE(direct) - DIFFERENCE(model(ON))).tolist() == [1.0] * 6
    through = patch_path(model, changed, ON, A, [B], direction="denoise", frozen=[])
    assert (DIFFERENCE(through) - DIFFERENCE(model(ON))).tolist() == [20.0] * 6


def test_without_layer_norm_the_direct_path_is_the_write_times_the_unembedding():
    model = trees.network("attention only").model
    clean, corrupted = pairs()
    sender = Site("blocks.0.attn.hook_z", head=1)
    found = patch_path(model, clean, corrupted, sender, direction="noise")
    change = sender.read(model, corrupted) - sender.read(model, clean)
    right = model(clean) + change @ model.W_O[0, 1] @ model.W_U
    assert torch.allclose(found, right, atol=1e-4)
    everything = patch(model, clean, corrupted, [sender], direction="noise")[0]
    assert not torch.allclose(found, everything, atol=1e-2)


@pytest.mark.parametrize("slot", ["q", "k", "v"])
def test_a_path_into_one_slot_equals_the_edge_of_the_scrubbing_graph(slot):
    """An independent computation, layer norm included: the same edge mixed in the stream."""
    from utils.scrubbing.graph import Mix, Part

    graph = trees.network("bidirectional")
    model = graph.model
    clean, corrupted = pairs()
    sender = Site("blocks.0.attn.hook_z", head=1)
    receiver = Site(f"blocks.1.attn.hook_{slot}", head=0)
    found = patch_path(model, clean, corrupted, sender, [receiver], direction="noise")
    values, flows = graph.clean(clean, {}, {"residual 2": None})
    base = flows["residual 2"]
    new, old = (sender.read(model, x) for x in (corrupted, clean))
    mixed = graph.mix("a1.h0", slot, base, None, [Mix(Part("a0.h1", None), new, old)])
    slots = {**dict.fromkeys("qkv", base), slot: mixed}
    z = graph.compute("a1.h0", slots, None)
    right = Site("blocks.1.attn.hook_z", head=0).write(model, clean, z)
    assert torch.allclose(found, right, atol=1e-5)
    assert not torch.allclose(found, model(clean), atol=1e-3)


def test_the_last_layer_has_only_its_direct_path():
    model = trees.network("attention only").model
    clean, corrupted = pairs()
    sender = Site("blocks.1.attn.hook_z", head=0)
    found = patch_path(model, clean, corrupted, sender, direction="denoise")
    plain = patch(model, clean, corrupted, [sender], direction="denoise")[0]
    assert torch.allclose(found, plain, atol=1e-5)


def test_paths_that_are_none(cnn):
    model = trees.network("causal").model
    clean, corrupted = pairs()
    late, early = Site("blocks.1.attn.hook_z", head=0), Site("blocks.0.attn.hook_q", head=0)
    with pytest.raises(UnchangedError, match="does not reach"):
        patch_path(model, clean, corrupted, late, [early], direction="noise")
    with pytest.raises(UnchangedError, match="the same in both"):
        patch_path(model, clean, clean, late, direction="noise")
    with pytest.raises(PathError, match="frozen, so it cannot receive"):
        patch_path(model, clean, corrupted, early, [late], direction="noise")
    with pytest.raises(PathError, match="direction"):
        patch_path(model, clean, corrupted, late, direction="both")
    with pytest.raises(PathError, match="pairs"):
        patch_path(model, clean, corrupted[:3], late, direction="noise")
    with pytest.raises(PathError, match="frozen="):
        patch_path(cnn[0], cnn[1], cnn[2], Site("hook_conv1"), direction="noise")


# --- attribution ---------------------------------------------------------------------------------


def test_attribution_is_exact_where_the_model_is_linear():
    model = Gate(lambda a, b: 3 * a - 2 * b, b_reads_a=0.5)
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randn(2, 7, 2, generator=generator)
    sites = [A, B, IN]
    for direction in ("denoise", "noise"):
        options = {"direction": direction, "metric": DIFFERENCE}
        base = corrupted if direction == "denoise" else clean
        exact = patch(model, clean, corrupted, sites, **options) - DIFFERENCE(model(base))
        assert torch.allclose(
            attribution(model, clean, corrupted, sites, **options), exact, atol=1e-5
        )


def test_attribution_of_parts_adds_up_and_bases_agree():
    model = trees.network("bidirectional").model
    clean, corrupted = pairs()
    metric = patching.logit_difference(1, 0, 0)
    hook = "blocks.0.hook_mlp_out"
    basis = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).Q
    inside = Site(hook, basis=basis)
    sites = [Site(hook), *(Site(hook, position=p) for p in range(5)), inside, inside.complement]
    found = attribution(model, clean, corrupted, sites, metric, direction="denoise")
    assert torch.allclose(found[0], found[1:6].sum(0), atol=1e-5)
    assert torch.allclose(found[0], found[6:].sum(0), atol=1e-5)
    small = clean.clone()
    with torch.no_grad():
        step = 1e-3
        values = Site(hook).read(model, clean) - Site(hook).read(model, corrupted)
        moved = Site(hook).write(model, corrupted, lambda old: old + step * values)
    slope = (metric(moved) - metric(model(corrupted))) / step
    assert torch.allclose(found[0], slope, rtol=0.05, atol=0.02)
    assert torch.equal(small, clean)


def test_the_attribution_report_shows_its_error(cnn):
    model, clean, corrupted = cnn
    sites = [Site("hook_fc1", neuron=n) for n in range(40)]
    metric = patching.logit_difference(1, 0, None)
    report = attribution_report(model, clean, corrupted, sites, metric, direction="denoise")
    real = report["correlation with the exact effect"]
    null = report["correlation, sites shuffled"]
    assert real.value > null.high and report["largest error"].value >= 0
    flat = Gate(lambda a, b: torch.sigmoid(40 * (a - 0.5)))  # saturated: the gradient sees nothing
    bent = attribution(flat, ON, OFF, [A], DIFFERENCE, direction="denoise")
    exact = patch(flat, ON, OFF, [A], direction="denoise", metric=DIFFERENCE)
    assert bent.abs().max() < 1e-3 < exact.min()


# --- tracing -------------------------------------------------------------------------------------


def test_tracing_finds_where_the_subject_is_kept():
    model = Gate(lambda a, b: 5 * a, b_reads_a=1.0)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(30, 2, generator=generator)
    metric = lambda output: -((output[:, 1] - 5 * clean[:, 0]) ** 2)  # noqa: E731
    result = trace(model, clean, [A, B, [A, B]], metric, subject=IN, samples=5)
    total = result.total.mean()
    a, b, both = result.average()
    assert total > 10 and torch.allclose(a, total) and torch.allclose(both, total)
    assert abs(float(b)) < 1e-5
    report = result.report(["a", "b", "both"])
    assert report["a"].value == pytest.approx(report["total effect"].value)
    assert "noise of 3 standard deviations" in str(report) and result.total.shape == (5, 30)
    again = trace(model, clean, [A, B, [A, B]], metric, subject=IN, samples=5)
    other = trace(model, clean, [A, B, [A, B]], metric, subject=IN, samples=5, seed=1)
    assert torch.equal(result.indirect, again.indirect)
    assert not torch.equal(result.indirect, other.indirect)


def test_noise_has_the_scale_asked_for():
    model = Gate(lambda a, b: a)
    clean = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    move = lambda output: (output[:, 1] - clean[:, 0]) ** 2  # noqa: E731
    result = trace(model, clean, [B], move, subject=IN, scale=2.0, samples=20)
    assert float(-result.total.mean()) == pytest.approx((2 * float(clean.std())) ** 2, rel=0.05)


def test_a_swapped_subject_in_a_transformer_and_a_region_of_an_image(cnn):
    model = trees.network("causal").model
    clean, corrupted = pairs()
    corrupted = torch.cat([corrupted[:, :1], clean[:, 1:]], 1)
    corrupted[:, 0] = (clean[:, 0] + 1) % 6
    subject = Site("blocks.0.hook_resid_pre", position=0)
    metric = patching.logit_difference(1, 0)
    sites = [Site("blocks.0.hook_resid_post"), Site("blocks.1.hook_resid_pre", position=0)]
    result = trace(model, clean, sites, metric, subject=subject, corrupted=corrupted)
    assert torch.allclose(result.indirect[0], result.total, atol=1e-5)  # all of a layer restored
    right = metric(model(clean)) - metric(model(corrupted))
    assert torch.allclose(result.total[0], right, atol=1e-5)
    assert not torch.allclose(result.indirect[1], result.total, atol=1e-2)

    network, images, _ = cnn
    region = Site("hook_conv1", row=slice(4, 10), column=slice(4, 10))
    score = patching.loss(network(images).argmax(-1), None)
    found = trace(network, images, [Site("hook_fc1"), Site("hook_conv2", channel=0)], score,
                  subject=region, samples=2)  # fmt: skip
    assert torch.allclose(found.indirect[0], found.total, atol=1e-4)
    assert float(found.total.mean()) < 0  # the loss is lower in the clean run


# --- what is refused, and what is left alone -----------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m, c, d: patch(m, c, d, [A], direction="forward"), PatchingError, "direction"),
        (lambda m, c, d: patch(m, c, d[:2], [A], direction="noise"), PatchingError, "pairs"),
        (lambda m, c, d: patch(m, c, d, [], direction="noise"), PatchingError, "at least one"),
        (lambda m, c, d: patch(m, c, d, [[]], direction="noise"), PatchingError, "at least one"),
        (lambda m, c, d: patch(m, c, d, [A, []], direction="noise"), SiteError, "empty"),
        (lambda m, c, d: patch(m, c, d, [Site("hook_c")], direction="noise"), SiteError, "hook_a"),
        (lambda m, c, d: ablate(m, c, [A], "noise"), PatchingError, "resample"),
        (lambda m, c, d: ablate(m, c, [], "zero"), PatchingError, "at least one"),
        (
            lambda m, c, d: attribution(m, c, d, [], DIFFERENCE, direction="noise"),
            PatchingError, "at least one",
        ),
        (
            lambda m, c, d: attribution_report(m, c, d, [A], DIFFERENCE, direction="noise"),
            PatchingError, "three sites",
        ),
        (lambda m, c, d: trace(m, c, [], DIFFERENCE, subject=IN), PatchingError, "at least one"),
        (
            lambda m, c, d: trace(m, c, [A], DIFFERENCE, subject=IN, samples=0),
            PatchingError, "samples",
        ),
        (
            lambda m, c, d: trace(m, c, [A], DIFFERENCE, subject=IN).report(["a", "b"]),
            PatchingError, "2 names",
        ),
        (lambda m, c, d: sweep(m, c, [[A, B]], [0 * c]), SiteError, "as many values"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_message(call, error, words):
    clean = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(error, match=words):
        call(Gate(torch.add), clean, clean + 1)


def test_nothing_of_the_callers_is_changed():
    model = trees.network("causal").model
    clean, corrupted = pairs()
    model.train()
    state, hooks = torch.get_rng_state(), sum(len(m._forward_hooks) for m in model.modules())
    sites, metric = [Site("blocks.0.attn.hook_z", head=0)], patching.logit_difference(1, 0)
    patch(model, clean, corrupted, sites, direction="noise")
    attribution(model, clean, corrupted, sites, metric, direction="noise")
    patch_path(model, clean, corrupted, sites[0], direction="noise")
    trace(model, clean, sites, metric, subject=Site("blocks.0.hook_resid_pre", position=0))
    ablate(model, clean, sites, "resample")
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert all(p.grad is None for p in model.parameters())
    assert isinstance(model, nn.Module)
    model.eval()
