"""The process in which a submitted file runs: `python -m utils.challenges.worker FILE FOLDER`.

It loads the file, says what steps it found, and evaluates one of them for each line it is sent.
Tensors travel as safetensors files in FOLDER, words as JSON lines. `utils.challenges.submission`
is the other end, and trusts nothing of what comes back but numbers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.challenges.explanation import Explanation, ExplanationError, closed
from utils.challenges.explanation import _value as value_of
from utils.scrubbing import Step
from utils.sites import Site

SELECTORS = ("position", "head", "channel", "row", "column", "neuron", "key")


def main(file: str, folder: str) -> None:
    """Answer requests until standard input ends."""
    torch.set_num_threads(1)
    home, answers = Path(folder), sys.stdout
    sys.stdout = sys.stderr  # what a submission prints is no answer
    try:
        explanation, hello = _load(Path(file), home)
    except BaseException as error:  # SystemExit included
        _send(answers, {"error": _words(error)})
        return
    _send(answers, hello)
    functions = {step.name: step for step in explanation.steps}
    if explanation.unrecoverable is not None:
        functions["unrecoverable"] = Step("unrecoverable", explanation.unrecoverable)
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        try:
            given = load_file(request["file"])
            arguments = [given[str(i)] for i in range(len(given))]
            found = value_of(functions[request["step"]], arguments, len(arguments[0]))
            path = home / f"answer-{number}.safetensors"
            save_file({"value": found.contiguous()}, path)
            _send(answers, {"file": str(path)})
        except BaseException as error:
            _send(answers, {"error": _words(error)})


def _load(file: Path, home: Path) -> tuple[Explanation, dict[str, Any]]:
    source = file.read_text(encoding="utf-8")
    materials = home / "given.safetensors"
    given = load_file(materials) if materials.is_file() else {}
    names: dict[str, Any] = {"__name__": "explanation", "__file__": file.name, "given": given}
    code = compile(source, file.name, "exec")
    with closed("(the file itself)"):
        exec(code, names)
    found = names.get("explanation")
    if not isinstance(found, Explanation):
        raise ExplanationError(
            "The file must end with `explanation = Explanation([...])`;"
            + (" there is none." if found is None else f" it is a {type(found).__name__}.")
        )
    return found, {
        "steps": [
            {
                "name": step.name,
                "inputs": list(step.inputs),
                "via": None if step.via is None else list(step.via),
                "site": _plain(step.site, home, step.name),
            }
            for step in found.steps
        ],
        "unimportant": found.unimportant,
        "name": str(found.name),
        "unrecoverable": found.unrecoverable is not None,
    }


def _plain(site: Any, home: Path, name: str) -> Any:
    if site is None or isinstance(site, str):
        return site
    if isinstance(site, tuple):
        return [_plain(one, home, f"{name}-{i}") for i, one in enumerate(site)]
    if not isinstance(site, Site):
        raise ExplanationError(f"The site of step {name!r} is {type(site).__name__}, not a Site.")
    out: dict[str, Any] = {"hook": site.hook}
    for key in SELECTORS:
        chosen = getattr(site, key)
        if isinstance(chosen, slice):
            out[key] = {"slice": [chosen.start, chosen.stop, chosen.step]}
        elif chosen is not None:
            out[key] = list(chosen) if isinstance(chosen, tuple) else int(chosen)
    if site.basis is not None:
        path = home / f"basis-{abs(hash((name, site.hook)))}.safetensors"
        basis: Tensor = site.basis.detach().contiguous()
        save_file({"basis": basis}, path)
        out["basis"] = str(path)
    return out


def _words(error: BaseException) -> str:
    if isinstance(error, ExplanationError):
        return str(error)
    if isinstance(error, MemoryError) or any(
        word in str(error) for word in ("not enough memory", "allocate memory")
    ):
        return "the program needs more memory than it is allowed."
    if isinstance(error, SyntaxError):
        return f"the file is no valid Python: {error.msg}, line {error.lineno}."
    return f"{type(error).__name__}: {error}"


def _send(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3])
