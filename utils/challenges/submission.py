"""A submitted file: `explanation = Explanation([...])`, run in a process of its own.

The process has a limit of time and of memory, starts in an empty folder, sees none of the judge's
environment variables, and never holds the network: it is sent inputs and sends back numbers. The
length of the program is measured here, on the file's text, without running it. This keeps accidents
and careless cheats out; for code that nobody has read, a sandbox belongs around it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.challenges.explanation import Explanation, ExplanationError
from utils.challenges.source import LIBRARIES, Book
from utils.scrubbing import Step
from utils.sites import Site

COURSE = ("utils.sites", "utils.scrubbing", "utils.challenges.explanation")
ROOT = Path(__file__).resolve().parents[2]


Started = tuple["subprocess.Popen[str]", Callable[[], None]]
Start = Callable[[Path, Path, int], Started]
"""(file, folder for exchange, MiB) -> the process, its standard streams open as text, and what ends
it with all that it started."""


class SubmissionError(ExplanationError):
    """A submitted file that cannot be judged; the message says why and what to do."""


class Ended(SubmissionError):
    """The process of the file is gone. code: its exit code, or minus the signal's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def submitted(
    file: str | Path,
    given: Mapping[str, Tensor] | None = None,
    *,
    seconds: float = 60.0,
    memory_mb: int = 4096,
    start: Start | None = None,
) -> Iterator[Explanation]:
    """The explanation in a file, its steps evaluated in another process while the block runs.

    given: what the challenge hands out; the file finds it as `given["name"]`.
    seconds: for each step and batch; loading the file has a minute more.
    memory_mb: address space of the process, where the system has such a limit (not on Windows).
    start: how the process is started, to put a sandbox around it; see `Start`.

    Raises SubmissionError for a file that is absent, empty, no Python, or without an explanation,
    and whenever a step runs over a limit.
    """
    path = Path(file)
    measured = text_bits(read(path))  # a file that is no Python is refused before it is run
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if given:
            tensors = {k: v.detach().clone().contiguous() for k, v in given.items()}
            save_file(tensors, home / "given.safetensors")
        worker = _Worker(path.resolve(), home, seconds, memory_mb, start or _start)
        try:
            yield _remote(worker, worker.answer(extra=60.0), measured)
        finally:
            worker.close()


def written(site: Site, digits: int = 3) -> str:
    """A Site as text that a submitted file can hold; the file must import torch and Site.

    A basis is written out with `digits` decimals and made orthonormal again: the same subspace as
    far as those digits tell, its columns perhaps with other signs.
    """
    parts = [repr(site.hook)]
    for name in ("position", "head", "channel", "row", "column", "neuron", "key"):
        chosen = getattr(site, name)
        if chosen is not None:
            parts.append(f"{name}={list(chosen) if isinstance(chosen, tuple) else chosen!r}")
    if site.basis is not None:
        rows = [[round(x, digits) + 0.0 for x in row] for row in site.basis.T.tolist()]
        parts.append(f"basis=torch.linalg.qr(torch.tensor({rows}).T).Q")
    return f"Site({', '.join(parts)})"


def read(path: Path) -> str:
    """The text of a submission. SubmissionError if it is not there, empty or no text."""
    if not path.is_file():
        raise SubmissionError(f"There is no file {path}; name the Python file of the explanation.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SubmissionError(f"{path.name} is no text file in UTF-8.") from None
    if not text.strip():
        raise SubmissionError(
            f"{path.name} is empty; it must end with `explanation = Explanation([...])`."
        )
    return text


def text_bits(text: str) -> tuple[float, str]:
    """(bits, digest) of a file, from its syntax tree alone, as `utils.challenges.bits` says.

    Imports, the names of steps and what stands inside `Site(...)` cost nothing.
    """
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise SubmissionError(f"The file is no valid Python: {reason}{where}.") from None
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _refuse_import(node)
    digest = hashlib.sha256(ast.dump(module).encode()).hexdigest()
    body = [n for n in module.body if not isinstance(n, ast.Import | ast.ImportFrom)]
    module = _Bare().visit(ast.Module(body, []))
    book = Book({})
    book.tree(module, {}, {}, "the file")
    return book.bits(), digest


class _Bare(ast.NodeTransformer):
    """Take away what is no part of the program: places and names of steps."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "Site":
            return ast.Constant(None)
        if name == "Step":
            for part in (*node.args, *(keyword.value for keyword in node.keywords)):
                names = part.elts if isinstance(part, ast.Tuple | ast.List) else [part]
                for word in names:
                    if isinstance(word, ast.Constant) and isinstance(word.value, str):
                        word.value = None
        node.keywords = [
            k for k in node.keywords if not (name == "Explanation" and k.arg == "name")
        ]
        return self.generic_visit(node)


def _refuse_import(node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "."]
    else:
        names = [alias.name for alias in node.names]
    for name in names:
        if name.partition(".")[0] not in (*LIBRARIES, "__future__") and name not in COURSE:
            raise SubmissionError(
                f"The file imports {name}; it may import {', '.join(LIBRARIES)}, and"
                f" {', '.join(COURSE)} for Site, Step and Explanation."
            )


# --- the other process ------------------------------------------------------------------------


def _remote(worker: _Worker, hello: dict[str, Any], measured: tuple[float, str]) -> Explanation:
    """An explanation whose steps are evaluated there."""

    def proxy(name: str) -> Any:
        def function(*arguments: Tensor) -> Tensor:
            return worker.evaluate(name, arguments)

        function.elsewhere = True  # type: ignore[attr-defined]
        return function

    try:
        steps = [
            Step(
                str(step["name"]), proxy(str(step["name"])), tuple(map(str, step["inputs"])),
                _site(step["site"], worker), None if step["via"] is None else tuple(step["via"]),
            )
            for step in hello["steps"]
        ]  # fmt: skip
        lost = proxy("unrecoverable") if hello["unrecoverable"] else None
        return Explanation(steps, hello["unimportant"], str(hello["name"]), lost, measured=measured)
    except (KeyError, TypeError) as error:
        raise SubmissionError(f"The file's process gave an answer of no sense: {error}.") from None


def _site(plain: Any, worker: _Worker) -> Any:
    if plain is None or isinstance(plain, str):
        return plain
    if isinstance(plain, list):
        return tuple(_site(one, worker) for one in plain)
    chosen: dict[str, Any] = {}
    for key, value in plain.items():
        if key == "basis":
            chosen[key] = load_file(worker.ours(value))["basis"]
        elif isinstance(value, dict):
            chosen[key] = slice(*value["slice"])
        else:
            chosen[key] = value
    return Site(chosen.pop("hook"), **chosen)


class _Worker:
    def __init__(
        self, file: Path, home: Path, seconds: float, memory_mb: int, start: Start
    ) -> None:
        self.home, self.seconds, self.count = home, seconds, 0
        self.process, self._end = start(file, home, memory_mb)
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def evaluate(self, name: str, arguments: tuple[Tensor, ...]) -> Tensor:
        """One step on its arguments."""
        self.count += 1
        path = self.home / f"request-{self.count}.safetensors"
        save_file({str(i): a.contiguous() for i, a in enumerate(arguments)}, path)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"step": name, "file": str(path)}) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self._gone() from None
        answer = self.answer(f"Step {name!r}")
        found = self.ours(answer["file"])
        value = load_file(found)["value"]
        for used in (path, found):
            used.unlink(missing_ok=True)
        if not isinstance(value, torch.Tensor):
            raise SubmissionError(f"Step {name!r} gave no numbers.")
        return value

    def ours(self, name: Any) -> Path:
        """A file in the folder of exchange; the process may name no other, nor link to one."""
        path = Path(str(name))
        if path.parent != self.home or path.is_symlink() or not path.is_file():
            raise SubmissionError("The file's process named a file that is not its own.")
        return path

    def answer(self, who: str = "The file", extra: float = 0.0) -> dict[str, Any]:
        """The next line that came back, as a dict. SubmissionError if none comes, or an error."""
        try:
            line = self.lines.get(timeout=self.seconds + extra)
        except queue.Empty:
            self.close()
            raise SubmissionError(
                f"{who} ran for {self.seconds + extra:g} seconds and was stopped: look for a loop"
                " that does not end, or allow more."
            ) from None
        if not line:
            raise self._gone()
        try:
            message = json.loads(line)
        except ValueError:
            raise SubmissionError(f"{who} gave an answer of no sense.") from None
        if "error" in message:
            raise SubmissionError(f"{who} could not be run: {message['error']}")
        return message

    def _gone(self) -> Ended:
        code = self.process.wait()
        return Ended(
            code,
            f"The file's process ended by itself (exit code {code}); perhaps it ran out of memory,"
            " or left with sys.exit.",
        )

    def close(self) -> None:
        self._end()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _start(file: Path, home: Path, memory_mb: int) -> Started:
    """In a process of its own with a limit of memory, and nothing else around it."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TEMP", "TMP")
    }
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        [sys.executable, "-m", "utils.challenges.worker", str(file), str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=home, env=environment,
        preexec_fn=_limits(memory_mb) if os.name == "posix" else None,
    )  # fmt: skip

    def end() -> None:
        process.kill()
        process.wait()

    return process, end


def _limits(memory_mb: int) -> Any:
    def apply() -> None:
        import resource

        size = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setsid()

    return apply
