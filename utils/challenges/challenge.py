"""A challenge: a network trained on a secret program, and what a solver may know of it.

Nothing here knows the program. A network of the course, the original one and a folder made by
`python -m utils challenge new` all become a `Challenge`, and the judge needs no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from utils.hooked import eval_mode
from utils.scrubbing import Graph, UnknownComponentError, chain
from utils.sites import Site, hook_shapes


@dataclass(frozen=True)
class Sample:
    """Inputs on which a challenge is judged. None of them was trained on, unless the card says so.

    inputs: [n, ...], what the network reads. groups: [n], inputs that are copies of one original
        (the scan an image was made from) share a number, and intervals resample whole groups.
    """

    inputs: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Challenge:
    """A network to explain.

    family: "cnn", "pairs" or "sequence", or a word of yours. model: hooked, in eval mode. draw:
    (n, seed) -> Sample of that size, or of the whole domain where that is smaller. graph: inputs ->
    the network as a graph of components, for scrubbing; None: cut where the Sites are, see
    `graph_for`. read: its output -> logits [n, classes].
    given: what a solver was handed beside the network (a clue image, say). card: the public facts,
    as JSON may hold them.
    """

    name: str
    family: str
    model: nn.Module
    draw: Callable[[int, int], Sample]
    graph: Callable[[Tensor], Graph] | None = None
    read: Callable[[Tensor], Tensor] = lambda output: output
    given: Mapping[str, Tensor] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, inputs: Tensor, batch_size: int = 2000) -> Tensor:
        """What the network says, [n, classes]."""
        with eval_mode(self.model), torch.no_grad():
            parts = [self.read(self.model(part)) for part in inputs.split(batch_size)]
        return torch.cat(parts)

    def graph_for(self, sites: Sequence[Site], inputs: Tensor) -> Graph:
        """The graph in which these Sites can be claimed.

        Without a graph of its own (a network whose layers follow one another) it is cut at the
        hooks that the Sites name, in the order in which they fire: what lies behind a cut is
        computed from all of it.

        inputs: [n, ...]. Raises UnknownComponentError for a hook that the network does not have,
        and HypothesisError if something bypasses one of the cuts.
        """
        if self.graph is not None:
            return self.graph(inputs)
        named = {site.hook for site in sites}
        unknown = [hook for hook in named if hook not in self.model.hook_dict]
        if unknown:
            raise UnknownComponentError(
                f"The network has no hook {unknown[0]!r}; it has {', '.join(self.model.hook_dict)}."
            )
        fired = hook_shapes(self.model, inputs[:2])
        return chain(self.model, [h for h in fired if h in named], inputs[:4], self.read)

    def predict(self, inputs: Tensor) -> Tensor:
        """The class it gives each input, [n] int64."""
        return self.logits(inputs).argmax(-1)
