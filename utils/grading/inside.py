"""What runs inside the sandbox: a learner's cells, with a lab that asks the referee.

`python -m utils.grading.inside` waits for cells on its channel. Nothing here is trusted by the
other side: a learner's code can change all of it, and gains nothing but wrong answers.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import traceback
from typing import Any

from utils.grading.codec import Channel, encode

_functions: list[Any] = []
_channel: Channel
_lab: Any = None
_seeds: dict[str, int] = {}  # of exercises that differ by learner, as the referee derived them
_cell = -1  # the number of the cell that is running: every frame says it


def _say(message: dict[str, Any], blob: bytes = b"") -> None:
    _channel.send({**message, "cell": _cell}, blob)


class CellTimeout(BaseException):
    """Raised inside a cell that ran too long; not an Exception, so that few handlers catch it."""


def own(number: int) -> Any:
    """The learner's function that the referee knows under this number."""
    return _functions[number]


def _keep(function: Any) -> int:
    for number, known in enumerate(_functions):
        if known is function:
            return number
    _functions.append(function)
    return len(_functions) - 1


def _ask(exercise: str, answer: Any) -> dict[str, Any]:
    """Send an answer to the referee and serve its calls until it says what it found."""
    from utils.lessons.checking import own_randomness

    tree, blob = encode(answer, _keep)
    _say({"event": "check", "exercise": exercise, "value": tree}, blob)
    with own_randomness():
        while True:
            request, blob = _channel.receive()
            if request["do"] == "result":
                return request
            _serve(request, blob)


def _serve(request: dict[str, Any], blob: bytes) -> None:
    import torch

    from utils.lessons.checking import explain, is_stub_error

    try:
        args, kwargs = pickle.loads(blob)
        with torch.enable_grad():
            result = _functions[request["function"]](*args, **kwargs)
        tree, sent = encode(result, _keep)
    except CellTimeout:
        _say({"event": "raised", "why": "timeout"})
        return
    except (Exception, SystemExit) as error:
        stub, why = is_stub_error(error), "memory" if _is_memory(error) else ""
        _say({"event": "raised", "text": explain(error), "stub": stub, "why": why})
        return
    _say({"event": "returned", "value": tree}, sent)


def _lab_class() -> type:
    from utils.lessons import session

    class GradedLab(session.Lab):
        """The lab of a notebook that is being graded: it shows nothing and asks the referee."""

        def __init__(self, lesson: str | int, card: dict[str, Any] | None = None) -> None:
            super().__init__(lesson, card, seeds=_seeds)

        def check(self, exercise: str, answer: Any) -> None:
            card = self._card["exercises"].get(exercise)
            points = card["points"] if card else 0
            if session._is_blank(answer):
                found = {"status": "not attempted"}
                _say({"event": "blank", "exercise": exercise})
                _channel.receive()
            else:
                found = _ask(exercise, answer)
            # only whether later cells may build on the answer is known here
            self._results[exercise] = session.Result(exercise, found["status"], 0, points, "")

        def hint(self, exercise: str) -> None:
            """Nothing: nobody is there to read it."""

        def figure(self, figure: Any, **options: Any) -> None:
            """Nothing, but the memory of the figure goes."""
            pyplot = sys.modules.get("matplotlib.pyplot")
            if pyplot is not None:
                pyplot.close("all")

        def instrument(self, name: str, *, mine: Any = None) -> None:
            """Nothing: a page of up to a megabyte would be made for nobody."""

        def predict(self, name: str, question: str, probability: Any) -> None:
            """Nothing: a prediction has no points."""

        def outcome(self, name: str, happened: Any) -> None:
            """Nothing, as for `predict`."""

        def progress(self, all_lessons: bool = False) -> None:
            """Nothing: the gradebook says it."""

    return GradedLab


def main() -> None:
    """Run cells as they come, until the channel closes."""
    global _channel
    _channel = Channel(socket.socket(fileno=int(os.environ.pop("COURSE_CHANNEL"))))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from utils.lessons import session

    session.Lab = _lab_class()  # type: ignore[misc]
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    shell.showtraceback = lambda *a, **k: None  # errors go to the referee in one line
    _say({"event": "ready"})
    while True:
        try:
            request, _ = _channel.receive()
        except EOFError:
            return
        if request["do"] == "variants":
            _seeds.update(request["seeds"])
            continue
        _say(_run(shell, request))


def _session() -> Any:
    from utils.lessons import session

    return session


def _run(shell: Any, request: dict[str, Any]) -> dict[str, Any]:
    from utils.lessons.checking import explain, is_stub_error

    def too_long(_signal: int, _frame: Any) -> None:
        raise CellTimeout

    global _lab, _cell
    _cell = request["cell"]
    if _lab is not None:
        shell.user_ns["lab"] = _lab  # a cell that overwrote it spoils its own check at most
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    error: BaseException | None
    try:
        result = shell.run_cell(request["source"], store_history=False)
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # SystemExit and CellTimeout, where IPython lets them through
        error = raised
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if _lab is None and isinstance(shell.user_ns.get("lab"), _session().Lab):
        _lab = shell.user_ns["lab"]
    done: dict[str, Any] = {"event": "done"}
    if error is None:
        return {**done, "status": "ran"}
    if isinstance(error, CellTimeout):
        return {**done, "status": "timeout"}
    if is_stub_error(error):
        return {**done, "status": "stub"}
    if _is_memory(error):
        return {**done, "status": "memory", "text": explain(error)}
    return {**done, "status": "error", "text": _words(error)}


def _is_memory(error: BaseException) -> bool:
    words = ("not enough memory", "allocate memory", "can't start new thread")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _words(error: BaseException) -> str:
    from utils.lessons.checking import explain

    if isinstance(error, SyntaxError):
        line = f", line {error.lineno} of your cell" if error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{line}"
    with contextlib.suppress(Exception):
        return explain(error)
    return traceback.format_exception_only(error)[-1].strip()[:300]


if __name__ == "__main__":
    # under its own name, so that what the referee pickles finds the same module
    from utils.grading import inside

    inside.main()
