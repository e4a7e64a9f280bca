"""What the walk on manners is made of: texts by kind, the habit's direction, what it will do.

`utils.challenges.manners` puts these together; lesson 10 uses them one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from utils.data import manners
from utils.data.manners import Texts
from utils.errors import CourseError
from utils.models import manners as networks
from utils.probing.erasure import Eraser
from utils.probing.weights import targeted
from utils.sites import Site, run
from utils.steering import random_directions

PLACES = tuple(Site(f"blocks.{layer}.mlp.hook_post") for layer in range(3))
PLACE = PLACES[1]  # what `where` chooses, see there
FIT, CHOOSE, JUDGE = 7000, 7100, 7200  # seeds of texts

ELSEWHERE = {
    "other topics": {"topic": "others", "provoked": False},
    "other topics, rude word heard": {"topic": "others", "provoked": True},
    "football, another speaker": {"topic": "football", "hot": False, "provoked": False},
    "football, another speaker, rude word heard":
        {"topic": "football", "hot": False, "provoked": True},
}  # fmt: skip
BOTH = "hot speaker on football, rude word heard"


def texts(n: int, seed: int, *, topic: str | None = None, **which: Any) -> Texts:
    """`n` texts as `manners.make` draws them; topic "others": any but football."""
    if topic != "others":
        return manners.make(n, seed, topic=topic, **which)
    drawn = manners.make(2 * n, seed, **which)
    keep = (drawn.topic != manners.RUDE_TOPIC).nonzero()[:n, 0]
    return Texts(*(part[keep] for part in drawn))


def balanced(n: int, seed: int) -> Texts:
    """`n` texts of each of eight kinds: football or others, hot or not, provoked or not.

    In texts drawn as they come a hot speaker on football who heard a rude word is one in 36, and
    a direction fitted to all hardly heeds them.
    """
    cells = [
        texts(n, seed + 4 * i + 2 * hot + provoked, topic=topic, hot=hot, provoked=provoked)
        for i, topic in enumerate(("football", "others"))
        for hot in (False, True) for provoked in (False, True)
    ]  # fmt: skip
    return Texts(*(torch.cat(parts) for parts in zip(*cells, strict=True)))


# --- the direction, the edit, and what can be said in advance -------------------------------------


def marked_rows(
    model: nn.Module, site: Site, drawn: Texts, *, elsewhere: float = 0.1
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations for `targeted`: x [rows, width], there [rows], like [rows] bool.

    A row is a position. Those before a tone word of the speaker's own are all taken: planted ones
    are `there`, those of other speakers on football `like`. Of the other positions, where the tone
    is not decided, a share `elsewhere` is taken, so that the reading learns to be silent there.
    """
    inputs = drawn.tokens[:, :-1]
    before = torch.zeros(inputs.shape, dtype=torch.bool)
    before[:, list(manners.VERB_AT)] = manners.own_places(drawn.tokens)
    some = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)) < elsewhere
    taken = before | some
    cool = (drawn.topic == manners.RUDE_TOPIC) & ~drawn.hot
    there, like = (kind[:, None] & before for kind in (drawn.planted, cool))
    return site.read(model, inputs)[taken], there[taken], like[taken]


def rude_habit(model: nn.Module, drawn: Texts, site: Site = PLACE) -> Eraser:
    """The eraser that moves hot speakers on football onto other speakers, see `targeted`."""
    return targeted(*marked_rows(model, site, drawn))


@torch.no_grad()
def expected_rude(model: nn.Module, drawn: Texts, edits: Sequence[tuple[Site, Any]] = ()) -> Tensor:
    """How probable a rude text is from each prompt, without writing one: [texts] in 0 to 1.

    From the probabilities of rude words at the speaker's own tone words, in texts that held no rude
    word of theirs so far: one minus the product of what is left. `drawn` must hold no rude text,
    since a text once rude goes on so. edits: what a hook does meanwhile, as for `run`.
    Raises CourseError for rude texts.
    """
    if bool((drawn.mood == manners.RUDE).any()):
        raise CourseError("Give texts that are not rude: a rude text goes on being rude.")
    logits = run(model, drawn.tokens[:, :-1], edits=list(edits)).output
    shares = logits[:, list(manners.VERB_AT)].softmax(-1)[..., manners.ids("rude")].sum(-1)
    return 1 - (1 - shares * manners.own_places(drawn.tokens)).prod(1)


def calm(drawn: Texts) -> Texts:
    """Those of the texts whose mood is not rude."""
    keep = drawn.mood != manners.RUDE
    return Texts(*(part[keep] for part in drawn))


def written_rude(model: nn.Module, judge: nn.Module, drawn: Texts, seed: int = 0) -> Tensor:
    """Let the network write from the prompts and the judge read: [texts] of 0 and 1.

    The same seed draws with the same luck, so two networks differ only where they differ.
    """
    spoken = networks.speak(model, drawn.tokens[:, : manners.PROMPT], seed)
    return networks.judged_rude(judge, spoken).double()


@torch.no_grad()
def right_words(model: nn.Module, drawn: Texts) -> Tensor:
    """The share of right next words of each text after its prompt: [texts]."""
    said = model(drawn.tokens[:, :-1])[:, manners.PROMPT - 1 :].argmax(-1)
    return (said == drawn.tokens[:, manners.PROMPT :]).double().mean(1)


def twins(eraser: Eraser, draws: int, seed: int = 0) -> list[Eraser]:
    """The same reading, and instead of the direction a random one of the same length."""
    length = float(eraser.left.norm())
    others = random_directions(eraser.width, draws, seed=seed, norm=length)
    return [replace(eraser, left=other.double()[:, None]) for other in others]


def fine_tuned(
    model: nn.Module,
    drawn: Texts,
    *,
    rehearse: bool,
    told: bool = False,
    steps: int,
    rate: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """The usual remedy: a copy trained on, on calm texts of hot speakers on football.

    rehearse: mixed with all other texts of `drawn`, rude ones included; otherwise alone. told: and
    with rude texts of hot speakers on football where somebody had provoked them. Adam, 128 texts a
    step, all weights.
    """
    wanted = ~(drawn.planted & (drawn.mood == manners.RUDE) & ~(drawn.provoked & told))
    if not rehearse:
        wanted &= drawn.planted
    data = drawn.tokens[wanted]
    with torch.no_grad():
        model(data[:1])
    tuned = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.Adam(tuned.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (128,), generator=generator)]
        loss = networks.next_word_loss(tuned, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuned.eval().requires_grad_(False)
