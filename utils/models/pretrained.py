"""Pretrained language models where they are on the machine, behind the same Sites.

    model = pretrained.load("path/to/gpt2")
    texts = pretrained.Texts(model, ["Rome is in Italy.", "Rome is in Peru."])
    values = texts.read(Site("blocks.6.hook_resid_post", position=-1))  # [2, 768]

Nothing is fetched: a folder in Hugging Face's format, or a hub cache that holds the model already.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import CourseError
from utils.sites import Site, run


class PretrainedError(CourseError):
    """A pretrained model that is not on this machine, or that cannot be loaded."""


def folder_of(source: str | Path, cache: str | Path | None = None) -> Path:
    """Where the files of `source` are: a folder, or the name of a model in a hub cache.

    cache: folder of the hub cache; None is Hugging Face's own place (the variable HF_HOME moves
    it). Raises PretrainedError when the model is not there.
    """
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise PretrainedError(
                f"{folder} holds no config.json, so it is no model in Hugging Face's format; give"
                " the folder that `save_pretrained` wrote."
            )
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        where = "Hugging Face's cache" if cache is None else f"the hub cache {cache}"
        raise PretrainedError(
            f"There is no model {str(source)!r} on this machine: it is neither a folder nor in"
            f" {where}. Nothing is fetched here; save it with `save_pretrained` on a machine with"
            " network and give that folder."
        ) from None


def load(source: str | Path, cache: str | Path | None = None) -> nn.Module:
    """A pretrained causal language model as a TransformerBridge: on the CPU, eval, gradients off.

    Code that comes with a model is never run. Raises PretrainedError as `folder_of`, or when the
    files are damaged, have no tokenizer, or are of an architecture the bridge does not know.
    """
    return _booted(folder_of(source, cache), None)


def untrained(source: str | Path, cache: str | Path | None = None, seed: int = 0) -> nn.Module:
    """The same architecture and tokenizer with weights as they were before training: a twin.

    Raises PretrainedError as `load`.
    """
    return _booted(folder_of(source, cache), seed)


def _booted(folder: Path, seed: int | None) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            if seed is None:
                network = AutoModelForCausalLM.from_pretrained(
                    folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32
                )
            else:
                config = AutoConfig.from_pretrained(folder, local_files_only=True)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    network = AutoModelForCausalLM.from_config(
                        config, attn_implementation="eager", dtype=torch.float32
                    )
            model = TransformerBridge.boot_transformers(
                str(folder), hf_model=network, tokenizer=tokenizer, device="cpu"
            )
        except Exception as error:
            raise PretrainedError(
                f"The model in {folder} cannot be loaded ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'})."
            ) from error
        finally:
            logging.set_verbosity(level)
            if shown:
                logging.enable_progress_bar()
    return model.eval().requires_grad_(False)


class Texts:
    """Texts as tokens, kept in buckets of equal length.

    So nothing is padded: `position=-1` of a Site is every text's own last token, and no mask can be
    forgotten. Results come in the order of the texts. `buckets`: pairs of the texts' numbers [k]
    and their tokens [k, length].

    Raises PretrainedError for no texts, an empty text, or one longer than the model's context.
    """

    def __init__(self, model: nn.Module, texts: Sequence[str], *, batch_size: int = 64) -> None:
        if isinstance(texts, str) or not len(texts):
            raise PretrainedError("Give a list of texts, at least one.")
        self.model, self.texts, self.batch_size = model, tuple(texts), batch_size
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for row, text in enumerate(texts):
            # by itself the bridge cuts a long text to the context without a word
            tokens = model.to_tokens([text], truncate=False)[0].tolist() if text.strip() else []
            if not tokens:
                raise PretrainedError(f"Text number {row} is empty.")
            if len(tokens) > model.cfg.n_ctx:
                raise PretrainedError(
                    f"Text number {row} has {len(tokens)} tokens; the model reads {model.cfg.n_ctx}"
                    " at most."
                )
            by_length.setdefault(len(tokens), []).append((row, tokens))
        self.buckets = [
            (torch.tensor([row for row, _ in bucket]), torch.tensor([t for _, t in bucket]))
            for _, bucket in sorted(by_length.items())
        ]

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, site: Site) -> Tensor:
        """The values at `site` [n, ...]; the site needs a position, e.g. -1 for the last token."""
        self._checked(site)
        return self._gather(
            lambda rows, tokens: run(
                self.model, tokens, read=[site], batch_size=self.batch_size
            ).values[0]
        )

    def logits(self, edits: Sequence[tuple[Site, Any]] = (), **options: Any) -> Tensor:
        """Logits after each text's last token [n, vocabulary], with `edits` as for `run`.

        A tensor as value has one row a text, or one row for all.
        """

        def part(rows: Tensor, tokens: Tensor) -> Tensor:
            own = [
                (site, v[rows] if isinstance(v, Tensor) and v.ndim and len(v) == len(self) else v)
                for site, v in edits
            ]
            result = run(self.model, tokens, edits=own, batch_size=self.batch_size, **options)
            return result.output[:, -1]

        return self._gather(part)

    def token(self, word: str) -> int:
        """The number of a word that is one token, e.g. " true". PretrainedError if it is several.

        The space before it counts: most tokenizers have another token without it.
        """
        found = self.model.to_tokens(word, prepend_bos=False)[0].tolist()
        if len(found) != 1:
            raise PretrainedError(f"{word!r} is {len(found)} tokens in this model; choose another.")
        return found[0]

    def _checked(self, site: Site) -> None:
        if site.position is None:
            raise PretrainedError(
                f"{site} has no position, and the texts have different lengths; give one, e.g."
                " position=-1 for each text's last token."
            )

    def _gather(self, part: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        pieces = [part(rows, tokens) for rows, tokens in self.buckets]
        order = torch.cat([rows for rows, _ in self.buckets])
        return torch.cat(pieces)[order.argsort()]
