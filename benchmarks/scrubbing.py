"""Causal scrubbing of one tree: gathering, against recursion and against loops over peers' hooks.

The model is the course's bracket checker, the data 4,096 strings. A row is one reference in one
round of resampling. Peers have no notion of a hypothesis tree, so each gets the loop its users
would write: a forward that reads what a node holds, and for a node that mixes inputs a second
forward with the mixed stream written in, all rows of a batch at once.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

TREES = (4, 13, 53, 432)
# rows for engines that recompute everything: the deeper the tree, the fewer, else it takes hours
SLOW_ROWS = {4: 256, 13: 256, 53: 128, 432: 32}


def rows(quick: bool = False, inputs: int = 4096, trees: tuple[int, ...] = TREES) -> list[dict]:
    """One row a tree and peer, and one for the sampler. `quick`: the two small trees, one run."""
    import torch

    from utils.data import brackets
    from utils.models import zoo
    from utils.scrubbing import TransformerGraph

    torch.set_num_threads(1)
    model = zoo.load("brackets")
    data = brackets.make(inputs, seed=0, balanced=0.46).tokens
    graph = TransformerGraph(model, data, answer=0)
    result = []
    for size in trees[:2] if quick else trees:
        result += _tree(graph, data, size, runs=1 if quick else 5, quick=quick)
    result.append(_sampler(20_000 if quick else 100_000, 300, runs=1 if quick else 5))
    return result


def hypothesis_of(size: int) -> Any:
    """A tree of `size` nodes, the output counted: 432 is the whole checker as a tree."""
    from utils.data.brackets import endings_test, horizon_test
    from utils.scrubbing import Hypothesis, Node

    def kids(*names: str) -> tuple[Node, ...]:
        return tuple(Node(name, horizon_test) for name in names)

    def below(rank: int, depth: int) -> tuple[Node, ...]:
        names = ["embed"]
        for layer in range(3):
            names += [f"a{layer}.h0", f"a{layer}.h1"] * (rank > 2 * layer)
            names += [f"m{layer}"] * (rank > 2 * layer + 1)
        return tuple(
            Node(
                name, endings_test if name[0] == "m" else horizon_test,
                () if name == "embed" or depth == 1 else below(_rank(name), depth - 1),
            )
            for name in names
        )  # fmt: skip

    if size == 4:
        tree = kids("a2.h0", "a2.h1", "m0")
    elif size == 13:
        tree = (
            Node("a2.h0", endings_test, kids("m1", "a1.h0", "m0")),
            Node("a2.h1", horizon_test, kids("m1", "a1.h1", "a1.h0")),
            Node("m0", endings_test, kids("a0.h0", "a0.h1", "embed")),
        )
    else:
        tree = below(6, 2 if size == 53 else 7)
    hypothesis = Hypothesis(tree, "shared", f"{size} nodes")
    assert len(hypothesis) == size
    return hypothesis


def _rank(name: str) -> int:
    return 2 * int(name[1]) + (name[0] == "m")


def _tree(graph: Any, data: Any, size: int, runs: int, quick: bool) -> list[dict[str, Any]]:
    import torch

    from utils.scrubbing import Cost, Plan, Sampler, gather, make_store, naive, prefix
    from utils.scrubbing.samplers import joined

    hypothesis = hypothesis_of(size)
    plan, sampler = Plan(graph, hypothesis), Sampler(hypothesis, data)
    few = max(1, SLOW_ROWS[size] // (4 if quick else 1))
    refs = torch.randint(len(data), (256,), generator=torch.Generator().manual_seed(0))
    many = joined([sampler.draw(refs, r, plan.sources) for r in range(5)])
    if size == 432:
        many = many.rows(slice(0, 64))  # each row of it recomputes 215 components either way
    some = many.rows(slice(0, few))

    store_cost = Cost()
    store = make_store(plan, data, cost=store_cost)
    cost = Cost()
    ours = _timed(lambda: gather(plan, data, many, store=store, cost=cost), runs)
    evaluations = cost.computed / cost.rows
    found = gather(plan, data, some, store=store)
    memory = _peak(lambda: gather(plan, data, many, store=store))
    per_row, with_store = (
        1e3 * seconds / len(many) for seconds in (ours, ours + store_cost.cache_seconds)
    )
    base = {
        "ours": per_row, "ours_with_store": with_store, "unit": "ms a row", "rows": len(many),
        "ours_evaluations": round(evaluations, 2), "ours_peak_mib": memory,
        "store_seconds": store_cost.cache_seconds,
    }  # fmt: skip
    engines: list[tuple[str, Callable[[Cost], Any]]] = [
        ("naive recursion", lambda c: naive(plan, data, some, cost=c)),
        ("prefix recursion", lambda c: prefix(plan, data, some, cost=c)),
    ]
    for title, backend in _backends(graph):
        if backend is not None:
            engines.append((title, lambda c, b=backend: _loop(plan, data, some, b, c)))
    result = []
    for title, engine in engines:
        spent = Cost()
        other = engine(spent)
        seconds = _timed(lambda e=engine: e(Cost()), 1 if size == 432 else runs)
        peer = 1e3 * seconds / few
        result.append(
            {
                "what": f"{size} nodes, {title}",
                **base,
                "peer": peer,
                "ratio": peer / per_row,
                "ratio_with_store": peer / with_store,
                "peer_evaluations": round(spent.computed / few, 2),
                "peer_rows": few,
                "peer_peak_mib": _peak(lambda e=engine: e(Cost())),
                "max_abs_diff": float((other - found).abs().max()),
                "runs": runs,
            }
        )
    return result


def _timed(call: Callable[[], Any], runs: int) -> float:
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _peak(call: Callable[[], Any]) -> float:
    """MiB that a call adds to the process at most: the largest resident set of a forked child."""
    import multiprocessing
    import resource

    def child(pipe: Any) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
    process.start()
    while process.is_alive() and not here.poll(0.2):
        pass
    value = here.recv() if here.poll() else float("nan")
    process.join()
    return round(value, 1)


# --- peers ---------------------------------------------------------------------------------------


class _Loop:
    """What a peer must offer: read some activations, and read one with a stream written in."""

    forwards = 0

    def read(self, tokens: Any, names: list[str]) -> dict[str, Any]:
        raise NotImplementedError

    def resumed(self, tokens: Any, stream: int, value: Any, name: str) -> Any:
        """`name` when the residual stream of that rank holds `value`; logits for "output"."""
        raise NotImplementedError


class _TransformerLens(_Loop):
    """run_with_hooks and run_with_cache on the bridge."""

    def __init__(self, graph: Any) -> None:
        self.model = graph.model

    @staticmethod
    def _hook(name: str) -> str:
        if name.startswith("residual"):
            rank = int(name.split()[1])
            last = "ln_final.hook_in"
            return last if rank == 6 else f"blocks.{rank // 2}.hook_resid_pre" if rank % 2 == 0 \
                else f"blocks.{rank // 2}.ln2.hook_in"  # fmt: skip
        if name == "embed":
            return "blocks.0.hook_resid_pre"
        layer = name[1]
        return f"blocks.{layer}.attn.hook_z" if name[0] == "a" else f"blocks.{layer}.hook_mlp_out"

    @staticmethod
    def _of(name: str, value: Any) -> Any:
        return value[:, :, int(name[4])] if name[0] == "a" else value

    def read(self, tokens: Any, names: list[str]) -> dict[str, Any]:
        hooks = {name: self._hook(name) for name in names}
        wanted = set(hooks.values())
        self.forwards += len(tokens)
        _, cache = self.model.run_with_cache(tokens, names_filter=lambda name: name in wanted)
        return {name: self._of(name, cache[hook]) for name, hook in hooks.items()}

    def resumed(self, tokens: Any, stream: int, value: Any, name: str) -> Any:
        kept: dict[str, Any] = {}

        def write(activation: Any, hook: Any) -> Any:
            return value

        def keep(activation: Any, hook: Any) -> None:
            kept["value"] = activation

        hooks = [(self._hook(f"residual {stream}"), write)]
        if name != "output":
            hooks.append((self._hook(name), keep))
        self.forwards += len(tokens)
        logits = self.model.run_with_hooks(tokens, fwd_hooks=hooks)
        return logits[:, 0] if name == "output" else self._of(name, kept["value"])


def _plain(graph: Any) -> Any:
    """The checker as a torch module without a bridge's hooks, which peers should not pay for."""
    import re

    bridged = graph.model.original_model
    plain = type(bridged)(bridged.cfg).eval().requires_grad_(False)
    weights = {re.sub(r"_original_component\.", "", k): v for k, v in bridged.state_dict().items()}
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain


def _heads(name: str, value: Any) -> Any:
    """A head's part of what enters the layer's output projection; other values as they are."""
    return value.unflatten(-1, (2, -1))[:, :, int(name[4])] if name[0] == "a" else value


class _NNsight(_Loop):
    """Traces of the plain torch module."""

    def __init__(self, graph: Any) -> None:
        from nnsight import NNsight

        self.model = NNsight(_plain(graph))

    def _envoy(self, name: str) -> tuple[Any, str]:
        if name == "residual 6":
            return self.model.ln_out, "input"
        if name.startswith("residual"):
            rank = int(name.split()[1])
            layer = self.model.layers[rank // 2]
            return (layer.ln2, "input") if rank % 2 else (layer, "input")
        if name == "embed":
            return self.model.layers[0], "input"
        layer = self.model.layers[int(name[1])]
        return (layer.attn.o, "input") if name[0] == "a" else (layer.mlp, "output")

    def read(self, tokens: Any, names: list[str]) -> dict[str, Any]:
        # values must be asked for in the order in which the model computes them
        order = sorted(names, key=_when)
        self.forwards += len(tokens)
        kept: dict[str, Any] = {}
        with self.model.trace(tokens):
            for name in order:
                envoy, side = self._envoy(name)
                kept[name] = getattr(envoy, side).save()
        return {name: _heads(name, value) for name, value in kept.items()}

    def resumed(self, tokens: Any, stream: int, value: Any, name: str) -> Any:
        into, _ = self._envoy(f"residual {stream}")
        self.forwards += len(tokens)
        if name == "output":
            with self.model.trace(tokens):
                into.input = value
                out = self.model.output.save()
            return out[:, 0]
        envoy, side = self._envoy(name)
        with self.model.trace(tokens):
            into.input = value
            out = getattr(envoy, side).save()
        return _heads(name, out)


class _Pyvene(_Loop):
    """Interventions that collect, and ones that write, on the plain torch module."""

    def __init__(self, graph: Any) -> None:
        from types import SimpleNamespace

        self.model = _plain(graph)
        self.model.config = SimpleNamespace(to_dict=dict)  # it asks every model for one

    @staticmethod
    def _path(name: str) -> str:
        if name == "residual 6":
            return "ln_out.input"
        if name.startswith("residual"):
            rank = int(name.split()[1])
            return f"layers[{rank // 2}].{'ln2.' if rank % 2 else ''}input"
        if name == "embed":
            return "layers[0].input"
        return f"layers[{name[1]}].{'attn.o.input' if name[0] == 'a' else 'mlp.output'}"

    def _run(self, tokens: Any, spec: list[dict[str, Any]]) -> Any:
        import pyvene

        self.forwards += len(tokens)
        model = pyvene.IntervenableModel(spec, model=self.model)
        return model({"input_ids": tokens}, unit_locations=None)

    @staticmethod
    def _collect(path: str) -> dict[str, Any]:
        import pyvene

        return {"component": path, "intervention": pyvene.CollectIntervention()}

    def read(self, tokens: Any, names: list[str]) -> dict[str, Any]:
        import torch

        paths = list(dict.fromkeys(self._path(name) for name in sorted(names, key=_when)))
        found = self._run(tokens, [self._collect(path) for path in paths])[0][1]
        values = dict(zip(paths, (_stacked(torch, value) for value in found), strict=True))
        return {name: _heads(name, values[self._path(name)]) for name in names}

    def resumed(self, tokens: Any, stream: int, value: Any, name: str) -> Any:
        import torch

        write = {
            "component": self._path(f"residual {stream}"),
            "intervention": lambda base, source=None: value,
        }
        if name == "output":
            return self._run(tokens, [write])[1][:, 0]
        found = self._run(tokens, [write, self._collect(self._path(name))])[0][1]
        return _heads(name, _stacked(torch, found[0]))


def _stacked(torch: Any, value: Any) -> Any:
    return value if isinstance(value, torch.Tensor) else torch.stack(list(value))


def _when(name: str) -> float:
    """When in a forward an activation is there."""
    if name == "embed":
        return -0.5
    if name.startswith("residual"):
        return int(name.split()[1]) - 0.4
    return _rank(name) + (0.1 if name[0] == "a" else 0.0)


def _backends(graph: Any) -> list[tuple[str, _Loop | None]]:
    """The peers that are installed; the others are said to be missing, never left out silently."""
    found: list[tuple[str, _Loop | None]] = [("transformer-lens hooks", _TransformerLens(graph))]
    for title, package, backend in (
        ("nnsight", "nnsight", _NNsight),
        ("pyvene", "pyvene", _Pyvene),
    ):
        try:
            importlib.import_module(package)
        except ImportError:
            print(f"{title}: not installed, see benchmarks/requirements-peers.txt", file=sys.stderr)
            continue
        found.append((title, backend(graph)))
    return found


def _loop(plan: Any, data: Any, draws: Any, peer: _Loop, cost: Any) -> Any:
    """The tree by recursion over a peer's forwards: one a leaf, two a node that mixes inputs."""
    import torch

    graph = plan.graph
    components = sum(1 for name in graph.order if graph.slots(name))
    peer.forwards = 0

    def write(name: str, value: Any) -> Any:
        return value @ graph.model.W_O[int(name[1]), int(name[4])] if name[0] == "a" else value

    def value_of(bound: Any) -> Any:
        name = next(iter(bound.needs))
        if bound.leaf:
            return peer.read(data[draws.drawn[bound.path]], [name])[name]
        return mixed(bound, name)

    def mixed(bound: Any, name: str) -> Any:
        tokens = data[draws.others[bound.path]]
        rank = 6 if name == "output" else _rank(name)
        children = {next(iter(child.needs)): value_of(child) for child in bound.children}
        clean = peer.read(tokens, [*children, f"residual {rank}"])
        stream = clean[f"residual {rank}"]
        for child, value in children.items():
            stream = stream + write(child, value - clean[child])
        return peer.resumed(tokens, rank, stream, name)

    with torch.no_grad():
        output = mixed(plan.root, "output")
    cost.computed += peer.forwards * components
    return output


def _sampler(n: int, classes: int, runs: int) -> dict[str, Any]:
    """Draw a like-classed stand-in for each of `n` inputs; the peer loops over the classes."""
    import torch

    from utils.scrubbing import Classes

    values = torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(0))
    like = torch.arange(n)

    def ours() -> Any:
        return Classes.from_values(values).draw(like, torch.Generator().manual_seed(1))

    def loop() -> Any:
        generator, out = torch.Generator().manual_seed(1), torch.empty(n, dtype=torch.int64)
        for c in values.unique():
            members = (values == c).nonzero()[:, 0]
            here = values[like] == c
            pick = torch.randint(len(members), (int(here.sum()),), generator=generator)
            out[here] = members[pick]
        return out

    same = all(torch.equal(values[draw()], values) for draw in (ours, loop))
    a, b = _timed(ours, runs), _timed(loop, runs)
    return {
        "what": f"sampler, {n} inputs in {classes} classes, loop over classes",
        "ours": 1e3 * a, "peer": 1e3 * b, "ratio": b / a, "unit": "ms", "runs": runs,
        "max_abs_diff": 0.0 if same else float("nan"),
    }  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text, evaluations first: they are exact, times are not."""
    lines = [
        f"{'what':<58} {'evaluations a row':>19} {'ms a row':>17} {'ratio':>8}"
        f" {'with store':>10} {'peak MiB':>13} {'max |diff|':>10}"
    ]
    for row in found:
        two = "{} / {}".format
        if "ours_evaluations" in row:
            evaluations = two(f"{row['ours_evaluations']:g}", f"{row['peer_evaluations']:g}")
            memory = two(f"{row['ours_peak_mib']:.0f}", f"{row['peer_peak_mib']:.0f}")
            store = f"{row['ratio_with_store']:.1f}x"
        else:
            evaluations = memory = store = ""
        times = two(f"{row['ours']:.3f}", f"{row['peer']:.2f}")
        lines.append(
            f"{row['what']:<58} {evaluations:>19} {times:>17}"
            f" {row['ratio']:>7.1f}x {store:>10} {memory:>13} {row['max_abs_diff']:>10.1e}"
        )
    return "\n".join(lines)
