"""A native TransformerBridge as a graph: the embedding, every head, every MLP, the logits.

Each component adds its output to the residual stream, so what arrives anywhere is a sum over the
components below it, plus biases that are the same for every input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from utils.hooked import eval_mode
from utils.scrubbing.graph import OUTPUT, Graph, Mix, Part, Where, pieces_overlap
from utils.scrubbing.hypothesis import HypothesisError, UnknownComponentError
from utils.sites import Site

EMBED = "embed"
_HEAD = re.compile(r"a(\d+)\.h(\d+)")
_MLP = re.compile(r"m(\d+)(\.post)?")


class TransformerGraph(Graph):
    """Components embed, a0.h0 ... m0 ... output of a native TransformerBridge.

    A head's value is its z [B, position, d_head] and its slots are "q", "k" and "v"; an MLP's
    value is what it adds to the residual stream and its slot is "in", as is that of the output
    (logits). Sites: hook_z (heads, positions, neurons, a basis), hook_attn_out, hook_mlp_out,
    mlp.hook_post (neurons), hook_embed, and hook_resid_pre/mid/post, which mean everything below.

    inputs: a few rows [B, position]; they fix the length, and on them the graph is held against
    the model. answer: the position whose logits count, [B, vocabulary]; None keeps them all.
    Raises HypothesisError for a model it cannot rebuild (rotary positions, grouped heads, hooks
    that change activations ...).
    """

    def __init__(self, model: nn.Module, inputs: Tensor, *, answer: int | None = -1) -> None:
        original = getattr(model, "original_model", None)
        if type(original).__name__ != "NativeModel":
            raise HypothesisError(
                f"{type(model).__name__} is not a native TransformerBridge; build one with"
                " build_transformer, or describe the model with FunctionGraph or chain."
            )
        self.model = model
        self.length = inputs.shape[1]
        self._all = tuple(range(self.length))
        self._answer = None if answer is None else (range(self.length)[answer],)
        self.layers = len(model.blocks)
        self.heads = model.cfg.n_heads
        self.has_mlp = [getattr(block, "mlp", None) is not None for block in model.blocks]
        self._w = [self._weights(layer) for layer in range(self.layers)]
        self._bias = self._biases()
        names = [EMBED]
        for layer in range(self.layers):
            names += [f"a{layer}.h{head}" for head in range(self.heads)]
            names += [f"m{layer}"] if self.has_mlp[layer] else []
        self.order = (*names, OUTPUT)
        self._upstream = {name: self._sources(name) for name in self.order}
        self.check(inputs)

    # --- structure -----------------------------------------------------------------------------

    def _sources(self, component: str) -> tuple[str, ...]:
        def below(other: str) -> bool:
            return other != OUTPUT and self.rank(other) < self.rank(component)

        return tuple(name for name in self.order if below(name))

    def rank(self, component: str) -> int:
        """How far up the residual stream: components of one rank cannot read each other."""
        if component == EMBED:
            return -1
        if component == OUTPUT:
            return 2 * self.layers
        if match := _HEAD.fullmatch(component):
            return 2 * int(match[1])
        return 2 * int(_MLP.fullmatch(component)[1]) + 1  # type: ignore[index]

    def base_of(self, component: str) -> str:
        return component.removesuffix(".post")

    def slots(self, component: str) -> Mapping[str, tuple[str, ...]]:
        if component == EMBED:
            return {}
        sources = self._upstream[self.base_of(component)]
        return dict.fromkeys("qkv" if _HEAD.fullmatch(component) else ["in"], sources)

    def parts(self, site: Site | str) -> list[Part]:
        if isinstance(site, str):
            if site not in self.order or site == OUTPUT:
                raise self.unknown(site)
            return [Part(site, None)]
        self._positions(site)  # the message for a position out of range
        hook = site.hook
        if hook == "hook_embed":
            return [Part(EMBED, site)]
        match = re.fullmatch(r"blocks\.(\d+)\.(?:attn\.)?(?:mlp\.)?hook_(\w+)", hook)
        layer = int(match[1]) if match else -1
        if not 0 <= layer < self.layers:
            raise self.unknown(site)
        kind = match[2]  # type: ignore[index]
        heads = [f"a{layer}.h{head}" for head in range(self.heads)]
        if kind == "z":
            chosen = range(self.heads)[site.head] if isinstance(site.head, slice) else site.head
            chosen = range(self.heads) if chosen is None else chosen
            chosen = [chosen] if isinstance(chosen, int) else list(chosen)
            if any(not -self.heads <= head < self.heads for head in chosen):
                raise UnknownComponentError(f"{site}: a layer has {self.heads} heads here.")
            return [Part(heads[head], site) for head in chosen]
        if kind == "attn_out":
            return [Part(head, site) for head in heads]
        if kind in ("mlp_out", "post") and self.has_mlp[layer]:
            return [Part(f"m{layer}" + (".post" if kind == "post" else ""), site)]
        ends = {"resid_pre": 2 * layer, "resid_mid": 2 * layer + 1, "resid_post": 2 * layer + 2}
        if kind in ends:
            return [Part(n, site) for n in self.order[:-1] if self.rank(n) < ends[kind]]
        raise self.unknown(site)

    def overlap(self, a: Part, b: Part) -> bool:
        if self.base_of(a.component) != self.base_of(b.component):
            return False
        if a.piece is None or b.piece is None or self._inside(a) == self._inside(b):
            return pieces_overlap(self._piece(a), self._piece(b))
        # a set of head or MLP neurons against a part of what they write: both claim positions
        return bool(set(self._positions(a.piece)) & set(self._positions(b.piece)))

    def _piece(self, part: Part) -> Site | None:
        if part.piece is None:
            return None
        positions, piece = self._positions(part.piece), part.piece
        # the head is known from the part; explicit positions make -1 and 24 one place
        return Site(piece.hook, position=positions, neuron=piece.neuron, basis=piece.basis)

    @staticmethod
    def _inside(part: Part) -> bool:
        """Whether neurons and basis are those of the head (or MLP), not of the residual stream."""
        return part.piece is not None and part.piece.hook.endswith(("hook_z", "hook_post"))

    def depth(self, values: Mapping[str, Where], streams: Mapping[str, Where]) -> int:
        ranks = [self.rank(self.base_of(n)) for n in values] + [int(n.split()[1]) for n in streams]
        last = max(ranks, default=-1)
        below = [n for n in self.order if self.slots(n) and self.rank(n) < last]
        return len(below) + sum(1 for n in values if self.rank(self.base_of(n)) == last)

    def whole(self, part: Part, positions: Where) -> bool:
        if part.piece is None:
            return True
        covers = set(positions or self._all) <= set(self._positions(part.piece))
        plain = part.piece.neuron is None and part.piece.basis is None
        return covers and plain and not part.component.endswith(".post")

    def _positions(self, site: Site) -> tuple[int, ...]:
        wanted = site.position
        if wanted is None:
            return self._all
        if isinstance(wanted, slice):
            return self._all[wanted]
        chosen = (wanted,) if isinstance(wanted, int) else tuple(wanted)
        if any(not -self.length <= p < self.length for p in chosen):
            raise UnknownComponentError(f"{site}: there are {self.length} positions.")
        return tuple(sorted(p % self.length for p in chosen))

    # --- positions -----------------------------------------------------------------------------

    def reads(self, component: str, slot: str, positions: Where) -> Where:
        if slot in ("k", "v"):
            return None
        return positions

    def at(self, part: Part, positions: Where) -> Where:
        if part.piece is None or part.piece.position is None:
            return positions
        mine = self._positions(part.piece)
        if positions is None:
            return mine
        wanted = set(positions)
        return tuple(p for p in mine if p in wanted)

    def answer(self) -> Where:
        return self._answer

    # --- arithmetic ----------------------------------------------------------------------------

    def stream(self, component: str, slot: str) -> str:
        return f"residual {self.rank(self.base_of(component))}"

    def mix(
        self, component: str, slot: str, base: Tensor, positions: Where, mixes: Sequence[Mix]
    ) -> Tensor:
        total: Tensor | None = None
        for part, new, old, there in mixes:
            change = self._written(part, new - old)
            change = self._placed(change, there, positions)
            if change.shape[1] != base.shape[1]:  # at some of the positions only
                if total is None:
                    total = base.clone()
                index = self._index(self._where(there, positions), positions)
                total[:, index] += change
            else:
                total = base + change if total is None else total.add_(change)
        return base if total is None else total

    def _where(self, there: Where, positions: Where) -> tuple[int, ...]:
        """The positions of `there` that are among `positions`."""
        if there is None:
            return self._all if positions is None else positions
        return there if positions is None else tuple(p for p in there if p in set(positions))

    def _placed(self, change: Tensor, there: Where, positions: Where) -> Tensor:
        """Of a change at `there`, what lies in `positions`."""
        common = self._where(there, positions)
        if len(common) == change.shape[1]:
            return change
        return change[:, self._index(common, there)]

    def _index(self, some: tuple[int, ...], among: Where) -> list[int]:
        if among is None:
            return list(some)
        place = {p: i for i, p in enumerate(among)}
        return [place[p] for p in some]

    def _written(self, part: Part, change: Tensor) -> Tensor:
        """What a change of a component's value adds to the residual stream, through its piece."""
        inside = self._inside(part)
        if inside:
            change = _selected(part.piece, change)
        change = self._write(part.component, change)
        return change if inside else _selected(part.piece, change)

    def _write(self, component: str, value: Tensor) -> Tensor:
        if match := _HEAD.fullmatch(component):
            return value @ self._w[int(match[1])]["O"][int(match[2])]
        if component.endswith(".post"):
            return value @ self._w[int(_MLP.fullmatch(component)[1])]["out"]  # type: ignore[index]
        return value

    def gathered(
        self, component: str, slot: str, values: Mapping[str, Tensor], positions: Where
    ) -> Tensor:
        total = self._bias[self.rank(self.base_of(component))].expand_as(values[EMBED]).clone()
        for source in self._upstream[self.base_of(component)]:
            total += self._write(source, values[source])
        return total

    def compute(self, component: str, slots: Mapping[str, Tensor], positions: Where) -> Tensor:
        with torch.no_grad():
            if component == OUTPUT:
                return self._logits(slots["in"])
            if match := _HEAD.fullmatch(component):
                return self._head(int(match[1]), int(match[2]), slots, positions)
            layer = int(_MLP.fullmatch(component)[1])  # type: ignore[index]
            return self._mlp(layer, slots["in"], post=component.endswith(".post"))

    def _logits(self, stream: Tensor) -> Tensor:
        model: Any = self.model
        logits = model.unembed.original_component(model.ln_final.original_component(stream))
        return logits if self._answer is None else logits[:, 0]

    def _mlp(self, layer: int, stream: Tensor, *, post: bool = False) -> Tensor:
        block: Any = self.model.blocks[layer]  # type: ignore[union-attr]
        hidden, mlp = block.ln2.original_component(stream), block.mlp.original_component
        return mlp.act(mlp.fc_in(hidden)) if post else mlp(hidden)

    def _head(self, layer: int, head: int, slots: Mapping[str, Tensor], positions: Where) -> Tensor:
        ln: Any = self.model.blocks[layer].ln1.original_component  # type: ignore[union-attr]
        w = self._w[layer]
        same: dict[int, Tensor] = {}  # slots without claims of their own hold one tensor
        for stream in slots.values():
            if id(stream) not in same:
                same[id(stream)] = ln(stream)
        q, k, v = (
            torch.matmul(same[id(slots[s])], w[s.upper()][head]) + w["b" + s.upper()][head]
            for s in "qkv"
        )
        scores = q @ k.transpose(-1, -2) / w["scale"]
        if w["causal"]:
            at = torch.tensor(positions or self._all, device=q.device)
            keys = torch.arange(self.length, device=q.device)
            scores = scores.masked_fill(keys > at[:, None], -torch.inf)
        return scores.softmax(-1) @ v

    def clean(
        self, inputs: Tensor, values: Mapping[str, Where], streams: Mapping[str, Where]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model: Any = self.model
        found: dict[str, Tensor] = {}
        flows: dict[str, Tensor] = {}
        ranks = [self.rank(self.base_of(n)) for n in values] + [int(n.split()[1]) for n in streams]
        last = max(ranks, default=-1)

        def keep(
            store: dict[str, Tensor], wanted: Mapping[str, Where], name: str, x: Tensor
        ) -> None:
            if name in wanted:
                where = wanted[name]
                store[name] = x if where is None else x[:, list(where)]

        with torch.no_grad():
            native = model.original_model
            hidden = native.tok_embed(inputs)
            if native.pos is not None:
                hidden = hidden + native.pos(torch.arange(inputs.shape[1], device=inputs.device))
            keep(found, values, EMBED, hidden)
            for layer in range(self.layers):
                if 2 * layer > last:
                    break
                keep(flows, streams, f"residual {2 * layer}", hidden)
                needed = [f"a{layer}.h{h}" in values for h in range(self.heads)]
                goes_on = last > 2 * layer
                w, total = self._w[layer], hidden
                for head in range(self.heads):
                    if goes_on or needed[head]:
                        z = self._head(layer, head, dict.fromkeys("qkv", hidden), None)
                        keep(found, values, f"a{layer}.h{head}", z)
                        total = total + z @ w["O"][head] if goes_on else total
                if not goes_on:
                    break
                hidden = total + w["bO"]
                keep(flows, streams, f"residual {2 * layer + 1}", hidden)
                if self.has_mlp[layer]:
                    if f"m{layer}.post" in values:
                        post = self._mlp(layer, hidden, post=True)
                        keep(found, values, f"m{layer}.post", post)
                    if last > 2 * layer + 1 or f"m{layer}" in values:
                        out = self._mlp(layer, hidden)
                        keep(found, values, f"m{layer}", out)
                        hidden = hidden + out
            keep(flows, streams, f"residual {2 * self.layers}", hidden)
            if OUTPUT in values:
                where = self._answer
                found[OUTPUT] = self._logits(hidden if where is None else hidden[:, list(where)])
        return found, flows

    # --- the model's weights -------------------------------------------------------------------

    def _weights(self, layer: int) -> dict[str, Any]:
        block: Any = self.model.blocks[layer]  # type: ignore[union-attr]
        attn = block.attn.original_component
        if attn.kv_repeats != 1 or attn.rotary is not None:
            raise HypothesisError(
                "TransformerGraph knows heads with their own keys and values and positions added to"
                " the embedding; this model has grouped heads or rotary positions."
            )
        out: dict[str, Any] = {"scale": attn.scale, "causal": attn.causal}
        for name in "QKV":
            linear = getattr(attn, name.lower())
            weight = linear.weight.detach()
            out[name] = weight.reshape(self.heads, -1, weight.shape[1]).transpose(1, 2).contiguous()
            bias = linear.bias
            shape = (self.heads, 1, weight.shape[0] // self.heads)
            out["b" + name] = weight.new_zeros(shape) if bias is None else bias.detach().view(shape)
        weight = attn.o.weight.detach()
        out["O"] = weight.T.reshape(self.heads, -1, weight.shape[0]).contiguous()
        out["bO"] = 0.0 if attn.o.bias is None else attn.o.bias.detach()
        if self.has_mlp[layer]:
            out["out"] = block.mlp.original_component.fc_out.weight.detach().T.contiguous()
        return out

    def _biases(self) -> list[Tensor]:
        """By rank: what the output biases of the attention layers below have added."""
        zero = self._w[0]["O"].new_zeros(self._w[0]["O"].shape[-1])
        sums = [zero]
        for w in self._w:
            sums += [sums[-1] + w["bO"]] * 2
        return sums

    def check(self, inputs: Tensor) -> None:
        rows = inputs[:2]
        if rows.ndim != 2 or rows.shape[1] != self.length:
            raise HypothesisError(
                f"The inputs have shape {list(inputs.shape)}; this graph is for rows of"
                f" {self.length} tokens."
            )
        with eval_mode(self.model), torch.no_grad():  # type: ignore[arg-type]
            right = self.model(rows)  # type: ignore[misc]
        right = right if self._answer is None else right[:, self._answer[0]]
        found = self.clean(rows, {OUTPUT: None}, {})[0][OUTPUT]
        if found.shape != right.shape or not torch.allclose(found, right, rtol=1e-4, atol=1e-4):
            raise HypothesisError(
                "This model's logits are not what its weights give. If hooks that change"
                " activations are still on it, take them off (model.reset_hooks()); if its weights"
                " were changed, build the graph again."
            )


def _selected(piece: Site | None, change: Tensor) -> Tensor:
    """The part of a change [B, position, width] in a piece's neurons or basis."""
    if piece is None:
        return change
    if piece.basis is not None:
        basis = piece.basis.to(change.device, change.dtype)
        return change @ basis @ basis.T
    if piece.neuron is not None:
        mask = torch.zeros(change.shape[-1], dtype=change.dtype, device=change.device)
        mask[piece.neuron if isinstance(piece.neuron, slice | int) else list(piece.neuron)] = 1
        return change * mask
    return change
