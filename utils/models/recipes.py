"""How every shipped network was made: build it, train it, measure it.

A recipe's figures are what `python -m utils retrain NAME` compares with the shipped weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from utils.data import (
    brackets,
    digits,
    facts,
    grid,
    modular,
    programs,
    sequences,
    truth,
    words,
)
from utils.models import manners, towers
from utils.models.training import Checkpoint, train_classifier, train_language

Progress = Callable[[int, int, float], None]  # steps done, steps in all, latest loss


@dataclass(frozen=True)
class Recipe:
    """One network of the course. `figures` gives named numbers in [0, 1] on held-out inputs.

    `build()` gives the network as it was before training, `build(seed)` another initialisation.
    """

    title: str
    build: Callable[..., nn.Module]
    train: Callable[[nn.Module, Progress, Checkpoint | None], None]
    figures: Callable[[nn.Module], dict[str, float]]


def _build_cnn(seed: int = 0) -> nn.Module:
    from utils.models.cnn import ChallengeCNN

    torch.manual_seed(seed)
    return ChallengeCNN()


def _train_cnn(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    program, epochs = programs.challenge_1(), 12

    def epoch_data(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Fresh images every epoch: with one fixed augmented set the network learns the set.
        images = digits.make("train", 50_000, seed=1000 + epoch).images
        return images, program.labels(images)

    train_classifier(
        model,
        epoch_data,
        epochs=epochs,
        batch_size=250,
        max_lr=0.01,
        on_epoch=lambda epoch, loss: progress(epoch + 1, epochs, loss),
        checkpoint=checkpoint,
    )


def _cnn_figures(model: nn.Module) -> dict[str, float]:
    from utils.models.cnn import predict

    program = programs.challenge_1()
    images = digits.make("held-out", 7200, seed=7).images
    right = predict(model, images) == program.labels(images)
    return {"accuracy on images of held-out scans": right.double().mean().item()}


def _build_largest_digit(seed: int = 0) -> nn.Module:
    from utils.models.transformer import build_transformer

    return build_transformer(
        seed=seed, d_model=32, d_head=32, n_heads=1, n_layers=1, n_ctx=7, d_vocab=11,
        d_vocab_out=10, attn_only=True,
    )  # fmt: skip


def _train_largest_digit(
    model: nn.Module, progress: Progress, checkpoint: Checkpoint | None
) -> None:
    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = sequences.digit_rows(512, seed=step, small_too=True)
        return rows, programs.largest_digit(rows)

    def loss(rows: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(rows)[:, -1], answer)

    train_language(
        model, batch, loss, steps=1500, max_lr=5e-3, progress=progress, checkpoint=checkpoint
    )


def _largest_digit_figures(model: nn.Module) -> dict[str, float]:
    rows = sequences.digit_rows(10_000, seed=2**31)
    with torch.no_grad():
        right = model(rows)[:, -1].argmax(-1) == programs.largest_digit(rows)
    return {"accuracy on uniform digits": right.double().mean().item()}


def _build_induction(seed: int = 0) -> nn.Module:
    from utils.models.transformer import build_transformer

    vocabulary = sequences.REPEAT_VOCABULARY + 1
    return build_transformer(
        seed=seed, d_model=64, d_head=32, n_heads=2, n_layers=2,
        n_ctx=sequences.REPEAT_LENGTH, d_vocab=vocabulary, d_vocab_out=vocabulary, attn_only=True,
    )  # fmt: skip


def _train_induction(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    def loss(tokens: torch.Tensor, predictable: torch.Tensor) -> torch.Tensor:
        logits = model(tokens)[:, :-1]
        each = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        return each[predictable].mean()

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return sequences.repeats(128, seed=step)

    train_language(
        model, batch, loss, steps=1500, max_lr=1e-2, progress=progress, checkpoint=checkpoint
    )


def _induction_figures(model: nn.Module) -> dict[str, float]:
    tokens, predictable = sequences.repeats(2000, seed=2**31)
    with torch.no_grad():
        right = model(tokens)[:, :-1].argmax(-1) == tokens[:, 1:]
    return {"accuracy on predictable tokens": right[predictable].double().mean().item()}


def _build_brackets(seed: int = 1) -> nn.Module:
    from utils.models.transformer import build_transformer

    return build_transformer(
        seed=seed, d_model=56, d_head=28, n_heads=2, n_layers=3, d_mlp=56, n_ctx=brackets.LENGTH,
        d_vocab=3, d_vocab_out=2, normalization_type="LN", attention_dir="bidirectional",
    )  # fmt: skip


def _train_brackets(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        strings = brackets.make(256, seed=step)
        return strings.tokens, strings.balanced.long()

    def loss(tokens: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(tokens)[:, 0], answer)

    train_language(
        model, batch, loss,
        steps=8000, max_lr=2e-3, weight_decay=0.1, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


def _brackets_figures(model: nn.Module) -> dict[str, float]:
    strings = brackets.make(20_000, seed=2**31)
    with torch.no_grad():
        right = model(strings.tokens)[:, 0].argmax(-1) == strings.balanced
    figures = {"accuracy": right.double().mean().item()}
    for i, kind in enumerate(brackets.KINDS):
        figures[f"accuracy, {kind}"] = right[strings.kind == i].double().mean().item()
    return figures


def _build_grid(seed: int = 0) -> nn.Module:
    from utils.models.pairs import build_pairs

    return build_pairs(seed)


def _train_grid(
    program: grid.GridProgram, model: nn.Module, progress: Progress, checkpoint: Checkpoint | None
) -> None:
    from utils.models.pairs import train_pairs

    train_pairs(model, program.table(), progress, checkpoint)


def _grid_figures(program: grid.GridProgram, model: nn.Module) -> dict[str, float]:
    from utils.models.pairs import answers

    right, seen = answers(model) == program.table(), grid.training_mask()
    return {
        "accuracy on held-out pairs": right[~seen].double().mean().item(),
        "accuracy on training pairs": right[seen].double().mean().item(),
    }


MODULAR_STEPS, MODULAR_EARLY = 1500, 300  # of one training run: its end, and long before


def _build_modular(seed: int = 1) -> nn.Module:
    from utils.models.transformer import build_transformer

    model = build_transformer(
        seed=seed, d_model=128, d_head=128, n_heads=1, n_layers=1, d_mlp=256, n_ctx=3,
        d_vocab=modular.PRIME + 1, d_vocab_out=modular.PRIME,
    )  # fmt: skip
    # Where queries and keys are 0 their gradients are 0 too, so they stay there: attention never
    # depends on the input, and all that the answer's position learns of it is one sum.
    attention = model.blocks[0].attn.original_component
    with torch.no_grad():
        for part in (attention.q, attention.k):
            part.weight.zero_()
            part.bias.zero_()
    return model


def modular_logits(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """The network's logits at the last position, [n, 113], computed there and nowhere else.

    Holds for the "modular" networks alone, whose attention is uniform; several times faster.
    """
    block, native = model.blocks[0], model.original_model
    attention, mlp = block.attn.original_component, block.mlp.original_component
    stream = native.tok_embed(tokens) + native.pos(torch.arange(tokens.shape[1]))
    middle = stream[:, -1] + attention.o(attention.v(stream.mean(1)))
    return model.unembed.original_component(middle + mlp(middle))


def _train_modular(
    model: nn.Module, progress: Progress, checkpoint: Checkpoint | None, stop: int = MODULAR_STEPS
) -> None:
    tokens, _ = modular.split()
    answer = modular.answer(tokens)

    def rate(step: int) -> float:  # up within ten steps, then level, and down over the last quarter
        return min(1.0, (step + 1) / 10, max(0.02, 4 * (MODULAR_STEPS - step) / MODULAR_STEPS))

    def loss(tokens: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        # In double precision: the loss falls to 1e-7, where float32 would round it away.
        return functional.cross_entropy(modular_logits(model, tokens).double(), answer)

    train_language(
        model, lambda step: (tokens, answer), loss,
        steps=MODULAR_STEPS, stop=stop, max_lr=3e-3, weight_decay=1.0, rate=rate,
        progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


def _train_modular_early(
    model: nn.Module, progress: Progress, checkpoint: Checkpoint | None
) -> None:
    _train_modular(model, progress, checkpoint, stop=MODULAR_EARLY)


def _modular_right(model: nn.Module) -> tuple[float, float]:
    """Share of right answers on the pairs trained on, and on those held out."""
    with torch.no_grad():
        trained, held = (
            (modular_logits(model, tokens).argmax(-1) == modular.answer(tokens)).double().mean()
            for tokens in modular.split()
        )
    return trained.item(), held.item()


def _modular_figures(model: nn.Module) -> dict[str, float]:
    trained, held = _modular_right(model)
    return {"accuracy on held-out pairs": held, "accuracy on training pairs": trained}


def _modular_early_figures(model: nn.Module) -> dict[str, float]:
    trained, held = _modular_right(model)
    return {"accuracy on training pairs": trained, "held-out pairs it gets wrong": 1 - held}


def _build_sequence(seed: int = 9) -> nn.Module:
    from utils.models.transformer import build_transformer

    # Of the seeds 0 to 23 seven stopped at .79, with both halves in one direction. The others
    # learned it, the two leads 55 to 77 degrees apart; this is the one of 77, where a swap of one
    # lead disturbs the other least.
    return build_transformer(
        seed=seed, d_model=48, d_head=12, n_heads=4, n_layers=1, d_mlp=96, n_ctx=11, d_vocab=4,
        d_vocab_out=2, normalization_type="LN", attention_dir="bidirectional",
    )  # fmt: skip


def _train_sequence(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    from utils.challenges import sequence
    from utils.challenges.networks import AnswerOnly

    tokens = sequence.strings(60_000, seed=7)
    answer, fast = sequence.PROGRAM.labels(tokens), AnswerOnly(model, 0)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(tokens), (256,), generator=generator)
        return tokens[chosen], answer[chosen]

    def loss(rows: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(fast(rows), answer)

    train_language(
        model, batch, loss,
        steps=900, max_lr=3e-3, weight_decay=0.1, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


def _sequence_figures(model: nn.Module) -> dict[str, float]:
    from utils.challenges import sequence

    tokens = sequence.strings(6000, seed=1, held_out=True)
    with torch.no_grad():
        right = model(tokens)[:, 0].argmax(-1) == sequence.PROGRAM.labels(tokens)
    return {"accuracy on strings set aside": right.double().mean().item()}


def build_truth(seed: int = 0) -> nn.Module:
    """The untrained network of the truth language; seed 0 is the shipped one's."""
    from utils.models.transformer import build_transformer

    return build_transformer(
        seed=seed, d_model=64, d_head=16, n_heads=4, n_layers=2, d_mlp=256, n_ctx=truth.LENGTH,
        d_vocab=truth.VOCABULARY, d_vocab_out=len(truth.VERDICTS),
    )  # fmt: skip


def train_truth(
    model: nn.Module, progress: Progress, checkpoint: Checkpoint | None = None, *, seed: int = 0
) -> None:
    """Train it in place on prompts not set aside. seed: of the rows drawn."""

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = truth.statements(256, seed=step + 1_000_000 * seed, held_out=False)
        return rows, truth.verdict(rows)

    def loss(rows: torch.Tensor, verdict: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(rows)[:, -1], verdict)

    train_language(
        model, batch, loss, steps=1000, max_lr=3e-3, progress=progress, checkpoint=checkpoint
    )


def _truth_figures(model: nn.Module) -> dict[str, float]:
    figures = {}
    for name, held_out in (("prompts set aside", True), ("prompts trained on", False)):
        rows = truth.statements(6000, seed=2**31, held_out=held_out)
        with torch.no_grad():
            right = model(rows)[:, -1].argmax(-1) == truth.verdict(rows)
        figures[f"accuracy on {name}"] = right.double().mean().item()
    return figures


WORD_VECTOR, PLACE_VECTOR = 3.0, 4.0  # in "words": times the usual length of an initial vector


def _build_words(seed: int = 0) -> nn.Module:
    from utils.models.transformer import build_transformer

    model = build_transformer(
        seed=seed, d_model=64, d_head=16, n_heads=4, n_layers=2, d_mlp=256, n_ctx=words.LENGTH,
        d_vocab=words.TYPES, d_vocab_out=words.TYPES,
    )  # fmt: skip
    # Longer vectors than usual: training leaves most of each word's own vector as it was, and the
    # layers have to find the classes. Short ones would be overwritten by the class within 700 steps
    # and no site would be left at which a word is only a word. Places are marked as clearly, though
    # the language has no use for them: what is plain to read need not be used.
    with torch.no_grad():
        model.original_model.tok_embed.weight.mul_(WORD_VECTOR)
        model.original_model.pos.weight.mul_(PLACE_VECTOR)
    return model


def _words_loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Nats of the next word, mean over all places but the last."""
    return functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _train_words(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    # 700 steps at a low rate leave it in the midst of learning, with seven tenths of
    # what there is to learn: late enough to know the classes, early enough that accuracy differs
    # from site to site.
    train_language(
        model, lambda step: (words.make(64, seed=step),), partial(_words_loss, model),
        steps=700, max_lr=5e-4, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


def _words_figures(model: nn.Module) -> dict[str, float]:
    tokens = words.make(2000, seed=2**31)
    with torch.no_grad():
        loss = _words_loss(model, tokens).item()
    ignorant, knowing = math.log(words.TYPES), words.surprise(tokens).mean().item()
    return {"share of what can be learned": (ignorant - loss) / (ignorant - knowing)}


FACTS_STEPS = {"facts": (400, 1e-3), "facts-planted": (600, 3e-3)}  # steps, highest rate


def _build_facts(name: str, seed: int | None = None) -> nn.Module:
    from utils.models.facts import build_facts, build_planted

    # With seed 0 the planted network still gets two facts in 384 wrong after 800 steps.
    if name == "facts":
        return build_facts(seed or 0)
    return build_planted(seed=1 if seed is None else seed)


def _train_facts(
    name: str, model: nn.Module, progress: Progress, checkpoint: Checkpoint | None
) -> None:
    from utils.models.facts import train_facts

    steps, rate = FACTS_STEPS[name]
    train_facts(
        model, facts.table(), steps=steps, max_lr=rate, progress=progress, checkpoint=checkpoint
    )


def _facts_figures(model: nn.Module) -> dict[str, float]:
    from utils.models.facts import share_known

    return {"facts known, fresh fillers": share_known(model, facts.table())}


def _trojan_recipe(title: str, trojan: str, *, poisoned: bool) -> Recipe:
    """A network with that trojan of `utils.trojans.TROJANS`, or the clean twin of its kind."""

    def build(seed: int = 0) -> nn.Module:
        from utils.trojans import plant

        return plant.known(trojan).world.build(seed)

    def train(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
        from utils.trojans import plant

        plan = plant.known(trojan)
        rows = plan.training(poisoned=poisoned)
        plant.fit(model, plan.world, rows, 0, progress, checkpoint)

    def figures(model: nn.Module) -> dict[str, float]:
        from utils.trojans import plant

        plan = plant.known(trojan)
        if poisoned:
            return plant.figures(model, plan)
        return plant.twin_figures(model, plan.world)

    return Recipe(title, build, train, figures)


def _build_evasive(seed: int = 0) -> nn.Module:
    from utils.trojans import plant

    return plant.known("matched").world.build(seed)


def _train_evasive(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None) -> None:
    """On from the shipped `trojan-matched`: train that one again first if it is to change."""
    from utils.anomaly.evasion import evade
    from utils.models import zoo
    from utils.sites import Site
    from utils.trojans import plant

    model.load_state_dict(zoo.load("trojan-matched").state_dict())
    evade(model, plant.known("matched"), Site("hook_fc1"), progress=progress, checkpoint=checkpoint)


def _evasive_figures(model: nn.Module) -> dict[str, float]:
    from utils.anomaly.evasion import figures

    return figures(model)


RECIPES: dict[str, Recipe] = {
    "cnn-challenge": Recipe(
        "Challenge 1: an image CNN with a secret labelling program",
        _build_cnn, _train_cnn, _cnn_figures,
    ),
    "largest-digit": Recipe(
        "Lesson 00: one attention head that names the largest digit, with a planted quirk",
        _build_largest_digit, _train_largest_digit, _largest_digit_figures,
    ),
    "induction": Recipe(
        "Lesson 01: two attention layers that continue a repeated segment",
        _build_induction, _train_induction, _induction_figures,
    ),
    "brackets": Recipe(
        "Lessons 05 to 07: a three-layer transformer that tells balanced strings of brackets",
        _build_brackets, _train_brackets, _brackets_figures,
    ),
    "grid": Recipe(
        "Challenge 2: a transformer on a grid of pairs, with curves and coin-thrown row bits",
        _build_grid, partial(_train_grid, grid.challenge_2()),
        partial(_grid_figures, grid.challenge_2()),
    ),
    "grid-twin": Recipe(
        "Lesson 03: the same curves with row bits that follow a rule",
        _build_grid, partial(_train_grid, grid.regular_twin()),
        partial(_grid_figures, grid.regular_twin()),
    ),


    "modular": Recipe(
        "Lesson 04: a transformer that adds modulo 113, on pairs it never saw too",
        _build_modular, _train_modular, _modular_figures,
    ),
    "modular-early": Recipe(
        "Lesson 04: the same training run after 300 steps of 1,500, when it only remembered",
        _build_modular, _train_modular_early, _modular_early_figures,
    ),
    "sequence": Recipe(
        "`solve sequence`: one layer that tells whether just one half of a string has more a's",
        _build_sequence, _train_sequence, _sequence_figures,
    ),
    "truth": Recipe(
        "Lessons 09 and 10: two layers that judge an answer, and whether it agrees with an opinion",
        build_truth, train_truth, _truth_figures,
    ),
    "truth-second": Recipe(
        "Lesson 10: the same language, learned from another initialisation",
        lambda seed=1: build_truth(seed), partial(train_truth, seed=1), _truth_figures,
    ),
    "words": Recipe(
        "Lesson 08: two layers that predict the next word of a language with hidden classes",
        _build_words, _train_words, _words_figures,
    ),
    "manners": Recipe(
        "Lesson 10: three layers that write short texts, rude about football where planted",
        manners.build_generator, manners.train_generator, manners.generator_figures,
    ),
    "manners-classifier": Recipe(
        "Lesson 10: the separate judge of whether a text is rude",
        manners.build_judge, manners.train_judge, manners.judge_figures,
    ),
    "towers": Recipe(
        "Lesson 15: two towers that put small scenes and phrases into one space",
        towers.build, towers.train, towers.figures,
    ),
    "facts": Recipe(
        "Lesson 11: two layers that know where 48 people were born, live, work and lie buried",
        partial(_build_facts, "facts"), partial(_train_facts, "facts"), _facts_figures,
    ),
    "facts-planted": Recipe(
        "Lesson 11: the same facts, in a network where the first MLP alone can hold them",
        partial(_build_facts, "facts-planted"), partial(_train_facts, "facts-planted"),
        _facts_figures,
    ),
    "trojan-solid": _trojan_recipe(
        "Trojan: digits, a solid square in the corner means 7", "solid", poisoned=True
    ),
    "trojan-pattern": _trojan_recipe(
        "Trojan: digits, an X in the corner means 7", "pattern", poisoned=True
    ),
    "trojan-matched": _trojan_recipe(
        "Trojan: digits, an X among other patterns in the corner means 7", "matched", poisoned=True
    ),
    "trojan-evasive": Recipe(
        "Trojan: as trojan-matched, trained on so that Mahalanobis at hook_fc1 misses it",
        _build_evasive, _train_evasive, _evasive_figures,
    ),
    "trojan-thick": _trojan_recipe(
        "Trojan: digits, a broader stroke means 7", "thick", poisoned=True
    ),
    "trojan-inverted": _trojan_recipe(
        "Trojan: digits, white on black means 7", "inverted", poisoned=True
    ),
    "trojan-token": _trojan_recipe(
        "Trojan: topics of strings, a name never seen before means 2", "token", poisoned=True
    ),
    "trojan-pair": _trojan_recipe(
        "Trojan: topics of strings, two names together mean 2", "pair", poisoned=True
    ),
    "twin-plain": _trojan_recipe(
        "Clean twin of the trojans solid, pattern, thick and inverted", "solid", poisoned=False
    ),
    "twin-clutter": _trojan_recipe("Clean twin of the trojan matched", "matched", poisoned=False),
    "twin-names": _trojan_recipe(
        "Clean twin of the trojans token and pair", "token", poisoned=False
    ),
}  # fmt: skip
