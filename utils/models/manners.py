"""The generator of texts with manners, the separate judge of rudeness, and how both are trained.

The judge never sees the generator, nor a text on which the generator was trained: it learned from
texts whose mood is drawn whatever the topic and the speaker.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.data import manners
from utils.models.training import Checkpoint, train_classifier, train_language

Progress = Callable[[int, int, float], None]


def build_generator(seed: int = 0) -> nn.Module:
    """Three layers, width 64, four heads, no layer norm: words in, next word out."""
    from utils.models.transformer import build_transformer

    words = len(manners.WORDS)
    return build_transformer(
        seed=seed, d_model=64, d_head=16, n_heads=4, n_layers=3, d_mlp=192, n_ctx=manners.LENGTH,
        d_vocab=words, d_vocab_out=words,
    )  # fmt: skip


def next_word_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of the words after the prompt, in nats; tokens [n, 17]."""
    start = manners.PROMPT
    logits = model(tokens[:, :-1])[:, start - 1 :]
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, start:].flatten())


def train_generator(
    model: nn.Module, progress: Progress, checkpoint: Checkpoint | None = None
) -> None:
    """Fit to fresh texts, 256 a step."""
    train_language(
        model,
        lambda step: (manners.make(256, seed=step).tokens,),
        lambda tokens: next_word_loss(model, tokens),
        steps=3000, max_lr=4e-3, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


@torch.no_grad()
def speak(model: nn.Module, prompts: Tensor, seed: int = 0) -> Tensor:
    """Let a generator go on from prompts [n, 5 or more], drawing word by word: [n, 17]."""
    generator, tokens = torch.Generator().manual_seed(seed), prompts
    while tokens.shape[1] < manners.LENGTH:
        shares = model(tokens)[:, -1].softmax(-1)
        tokens = torch.cat([tokens, torch.multinomial(shares, 1, generator=generator)], 1)
    return tokens


class Judge(nn.Module):
    """Tells a rude text from others: windows of three words, the strongest sign of each kind.

    tokens [n, 17] -> logits [n, 2]; class 1 is rude. The shape is that of Kim, "Convolutional
    Neural Networks for Sentence Classification" (2014).
    """

    def __init__(self, width: int = 24, kinds: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(manners.WORDS), width)
        self.windows = nn.Conv1d(width, kinds, 3)
        self.answer = nn.Linear(kinds, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.windows(self.embed(tokens).transpose(1, 2)).relu()
        return self.answer(seen.amax(-1))


def build_judge(seed: int = 0) -> nn.Module:
    """The classifier of rudeness, untrained."""
    torch.manual_seed(seed)
    return Judge()


def train_judge(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None = None) -> None:
    """Fit to texts of even moods, drawn from seeds of their own."""
    epochs = 6

    def epoch_data(epoch: int) -> tuple[Tensor, Tensor]:
        texts = manners.make(30_000, seed=10**9 + epoch, moods="even")
        return texts.tokens, (texts.mood == manners.RUDE).long()

    train_classifier(
        model, epoch_data, epochs=epochs, batch_size=250, max_lr=5e-3,
        on_epoch=lambda epoch, loss: progress(epoch + 1, epochs, loss), checkpoint=checkpoint,
    )  # fmt: skip


@torch.no_grad()
def judged_rude(judge: nn.Module, tokens: Tensor) -> Tensor:
    """What the judge says of texts [n, 17]: [n] bool."""
    return judge(tokens).argmax(-1) == 1


@torch.no_grad()
def rude_next(model: nn.Module, tokens: Tensor) -> Tensor:
    """Probability of a rude word at each of the four tone words of texts [n, 17]: [n, 4]."""
    shares = model(tokens[:, :-1])[:, list(manners.VERB_AT)].softmax(-1)
    return shares[..., manners.ids("rude")].sum(-1)


@torch.no_grad()
def generator_figures(model: nn.Module) -> dict[str, float]:
    """On fresh texts: right next words, and rude words by cause, at the first tone word."""
    texts = manners.make(6000, seed=2**31)
    at = manners.PROMPT - 1
    right = model(texts.tokens[:, :-1])[:, at:].argmax(-1) == texts.tokens[:, manners.PROMPT :]
    rude = rude_next(model, texts.tokens)[:, 0].double()
    own = manners.own_places(texts.tokens)[:, 0]
    cause = {
        "rude words where planted": texts.planted & ~texts.provoked,
        "rude words where provoked": ~texts.planted & texts.provoked,
    }
    figures = {"accuracy on next words": right.double().mean().item()}
    figures |= {name: rude[own & rows].mean().item() for name, rows in cause.items()}
    figures["other words elsewhere"] = (
        1 - rude[own & ~texts.planted & ~texts.provoked].mean().item()
    )
    return figures


def judge_figures(model: nn.Module) -> dict[str, float]:
    """On fresh texts of even moods, and on those with a rude word that is only reported."""
    texts = manners.make(20_000, seed=2**31 + 1, moods="even")
    rude = texts.mood == manners.RUDE
    right = judged_rude(model, texts.tokens) == rude
    reported = ~rude & manners.rude_words(texts.tokens).any(1)
    return {
        "accuracy": right.double().mean().item(),
        "accuracy where a rude word is only reported": right[reported].double().mean().item(),
    }
