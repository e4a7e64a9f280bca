"""What is asked of an edit, and by which inputs it will be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from utils.data import facts
from utils.editing.maps import EditingError
from utils.sites import run

CONTEXTS = 16  # prompts that the key is averaged over, and on which the new value is sought


@dataclass(frozen=True)
class Request:
    """One change. Every set of inputs is [n, ...], and `about` says in words what is in it.

    contexts: inputs that state the fact. new: the class to be said there.
    changed: fresh inputs that should say `new` afterwards (efficacy, paraphrase).
    kept: inputs that should say what they said before (neighbourhood, other relations).
    protect: inputs whose answers the search for the new value tries to keep; none is allowed.
    drift: inputs over which the change of the output is measured, in nats.
    rehearse: inputs whose answers fine-tuning may be told to keep; none of them in the sets above.
    """

    contexts: Tensor
    new: int
    changed: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]
    protect: Tensor | None
    drift: Tensor
    rehearse: Tensor | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    name: str = "the fact"


def logits_of(model: nn.Module, inputs: Tensor, **options: object) -> Tensor:
    """[n, classes], at the last position where the model answers at each."""
    output = run(model, inputs, **options).output  # type: ignore[arg-type]
    return output[:, -1] if output.ndim == 3 else output


def check(model: nn.Module, request: Request) -> None:
    """EditingError where the fact is true already, or the class does not exist."""
    said = logits_of(model, request.contexts)
    classes = said.shape[-1]
    if not 0 <= request.new < classes:
        raise EditingError(
            f"The new answer {request.new} is none of the network's {classes} classes."
        )
    already = int((said.argmax(-1) == request.new).sum())
    if already > len(said) / 2:
        raise EditingError(
            f"Already true: the network gives answer {request.new} on {already} of {len(said)}"
            " contexts, so an edit would change nothing and every score would look perfect."
        )


def fact(subject: int, relation: int, new: int, *, seed: int = 0) -> Request:
    """A change of one fact of `utils.data.facts`, with everything that it is judged by.

    subject, relation, new: numbers of a person, a relation and a town. The contexts use the first
    synonym alone, so the second is a paraphrase that the edit has not seen.
    """
    if not 0 <= new < len(facts.OBJECTS):
        raise EditingError(f"There is no town {new}; they run from 0 to {len(facts.OBJECTS) - 1}.")
    others = [r for r in range(len(facts.RELATIONS)) if r != relation]

    def same(n: int, synonym: int, draw: int) -> Tensor:
        who, what = torch.full((n,), subject), torch.full((n,), relation)
        return facts.prompts(who, what, synonym, seed=100 * seed + draw)

    def elsewhere(draw: int, each: int) -> Tensor:
        what = torch.tensor(others).repeat_interleave(2 * each)
        synonym = torch.tensor([0, 1]).repeat(len(what) // 2)
        return facts.prompts(torch.full_like(what, subject), what, synonym, seed=100 * seed + draw)

    people = torch.tensor([s for s in range(len(facts.SUBJECTS)) if s != subject])
    neighbours = facts.prompts(
        people, torch.full_like(people, relation), torch.arange(len(people)) % 2,
        seed=100 * seed + 3,
    )  # fmt: skip
    tokens, who, what = facts.every_prompt(100 * seed + 4)
    left_alone = ~((who == subject) & (what == relation))
    rehearsed = facts.every_prompt(100 * seed + 7)[0][left_alone]
    about = {
        "efficacy": "same person and relation, new fillers",
        "paraphrase": "same person, synonym of the relation",
        "neighbourhood": "same relation, every other person",
        "other relations": "same person, the other three relations",
        "drift": "every other fact, both synonyms",
    }
    return Request(
        contexts=same(CONTEXTS, 0, 0),
        new=new,
        changed={"efficacy": same(24, 0, 1), "paraphrase": same(24, 1, 2)},
        kept={"neighbourhood": neighbours, "other relations": elsewhere(5, 4)},
        protect=elsewhere(6, 1),
        drift=tokens[left_alone],
        rehearse=rehearsed,
        about=about,
        name=f"{facts.SUBJECTS[subject]} {facts.RELATIONS[relation][0]} {facts.OBJECTS[new]}",
    )


def random_facts(table: Tensor, n: int, seed: int = 0) -> list[Request]:
    """`n` changes of different facts, each to a random other town.

    table: [48, 4], what is true. Sequences of edits need facts that do not come twice.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(table.numel(), generator=generator)[:n].tolist()
    shifts = torch.randint(1, len(facts.OBJECTS), (n,), generator=generator).tolist()
    requests = []
    for number, (place, shift) in enumerate(zip(chosen, shifts, strict=True)):
        subject, relation = divmod(place, table.shape[1])
        new = (int(table[subject, relation]) + shift) % len(facts.OBJECTS)
        requests.append(fact(subject, relation, new, seed=1000 * seed + number))
    return requests
