"""Grade one notebook: run the answers in a sandbox, and the checks here, outside it.

The referee holds the checks and the pristine data; the sandbox holds the learner's functions. A
check that calls such a function sends the arguments over the channel and gets data back. What the
learner's code says about its own results is never asked.

A cell that kills its process, hangs, or breaks the channel costs its own exercise only: the sandbox
is started again with that answer put back to the stub. One that was killed without a reason that
can be seen is run once more first: it may have been the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle

from utils.errors import CourseError
from utils.grading import answers as reading
from utils.grading import inside
from utils.grading.codec import ChannelError, Foreign, decode
from utils.grading.confined import Confined
from utils.grading.sandbox import Limits
from utils.lessons.checking import Elsewhere
from utils.lessons.session import Lab
from utils.lessons.variants import FILE_NAME

STATUSES = (
    "passed", "failed", "error", "timeout", "out of memory", "not attempted", "missing", "tampered",
)  # fmt: skip
OURS = 300.0  # seconds for a cell of the lesson itself
GRACE = 5.0  # seconds between a cell's own limit and the end of its process


@dataclass(frozen=True)
class Row:
    """One exercise of one submission; `status` is one of STATUSES."""

    exercise: str
    status: str
    points: float
    max_points: int
    message: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass
class Graded:
    """One notebook: a row for each exercise, what was remarkable, how long all of it took, and the
    cell that was taken as the answer to each exercise."""

    lesson: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    restarts: int = 0
    answers: dict[str, str] = field(default_factory=dict)


class Gone(BaseException):
    """The sandbox ended, hung or broke the rules. No Exception: no check may take it for a fault
    of the answer alone. cell: whose doing it was, if not that of the cell that is running. killed:
    by a signal that need not be the cell's own doing."""

    def __init__(self, status: str, message: str, cell: int | None = None, killed: bool = False):
        super().__init__(message)
        self.status, self.message, self.cell, self.killed = status, message, cell, killed


class NotUp(CourseError):
    """A sandbox ended before it ran anything of the learner's: no fault of the submission."""


class Remote:
    """A learner's function, as a check sees it: calling it asks the sandbox."""

    def __init__(self, session: _Session, number: int, name: str) -> None:
        self._session, self._number, self.__name__ = session, number, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._session.call(self._number, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Remote:
        return self

    def __reduce__(self) -> Any:
        return inside.own, (self._number,)  # back home it is the function itself


def grade_notebook(
    notebook: dict[str, Any],
    lesson: str,
    *,
    limits: Limits | None = None,
    cell_seconds: float = 60.0,
    trusted: bool = False,
    seeds: dict[str, int] | None = None,
) -> Graded:
    """Grade a notebook (plain JSON, see `answers.read_notebook`) as one of `lesson`.

    cell_seconds: for each cell, the check of its exercise included. trusted: without a sandbox.
    seeds: the learner's, of exercises that differ by learner (`utils.lessons.variants`).
    Raises SandboxError where there is none and `trusted` is not set, NotUp for one that ends before
    it has begun.
    """
    began = time.monotonic()
    ours = reading.pristine(lesson)
    found = reading.match(notebook, lesson, ours)
    stubs = {cell.exercise: cell.source for cell in ours if cell.exercise}
    lab = Lab(lesson, seeds=seeds or {})
    rows: dict[str, Row] = {}
    cells, restarts = list(found.cells), 0
    again: set[int] = set()  # cells that were killed once without a reason
    while True:
        with Confined(
            ["-m", "utils.grading.inside"], limits or Limits(), trusted=trusted
        ) as sandbox:
            session = _Session(sandbox, lab, cell_seconds)
            fatal = session.run(cells, rows, again)
        if fatal is None:
            break
        index, cell = fatal, cells[fatal]
        restarts += 1
        if session.unexplained:
            again.add(index)
            continue
        if cell.exercise is not None and cell.own:
            cells[index] = reading.Cell(stubs[cell.exercise], cell.exercise)
        elif cell.own:
            found.notes.append("A cell that was added ended the process; it was left out.")
            cells[index] = reading.Cell("", None)
        else:  # our own cell, after theirs: nothing more can be known
            found.notes.append("A cell of the lesson itself could not be run after these answers.")
            break
    card = lab._card["exercises"]
    result = []
    for name, entry in card.items():
        row = rows.get(name) or Row(name, "error", 0, entry["points"], "it was not reached.")
        if name in found.missing:
            row = replace(row, status="missing", points=0, message="its cell is not in the file.")
        result.append(row)
    own = {cell.exercise: cell.source for cell in found.cells if cell.exercise and cell.own}
    own = {name: source for name, source in own.items() if source != stubs[name]}
    return Graded(lesson, result, found.notes, time.monotonic() - began, restarts, own)


class _Session:
    """The talk with one sandbox."""

    def __init__(self, sandbox: Confined, lab: Lab, cell_seconds: float) -> None:
        self.sandbox, self.lab, self.cell_seconds = sandbox, lab, cell_seconds
        self.deadline, self.current = 0.0, -1
        self.unexplained = False  # whether the cell that ended the sandbox is to be run again

    def run(
        self, cells: list[reading.Cell], rows: dict[str, Row], again: Collection[int]
    ) -> int | None:
        """Run the cells, fill `rows`; the number of the cell that ended the sandbox, or None.

        again: cells that are run for the second time; if they are killed now, it is their doing.
        """
        try:
            self._expect("ready", 120.0)
        except Gone as gone:
            raise NotUp(
                f"The sandbox did not come up: {gone.message} {self.sandbox.noise[-2000:]}"
            ) from None
        if seeds := self.lab.seeds():
            self._send({"do": "variants", "seeds": seeds})
        for index, cell in enumerate(cells):
            if not cell.source:
                continue
            self.sandbox.peak_mb()
            began = time.monotonic()
            known = rows.get(cell.exercise) if cell.exercise else None
            row, fatal, self.current = None, None, index
            try:
                row = self._cell(cell, settled=known is not None)
            except Gone as gone:
                if gone.killed and index not in again:
                    self.unexplained = True
                    return index
                fatal = index
                if gone.cell is not None and 0 <= gone.cell < index and cells[gone.cell].own:
                    fatal, earlier = gone.cell, cells[gone.cell].exercise
                    if earlier:  # what it got before counts no more
                        rows[earlier] = self._row(earlier, gone.status, gone.message)
                elif cell.exercise:
                    row = self._row(cell.exercise, gone.status, gone.message)
            if row is not None and known is None:
                seconds, peak = time.monotonic() - began, self.sandbox.peak_mb()
                rows[row.exercise] = replace(row, seconds=round(seconds, 3), peak_mb=round(peak, 1))
            if fatal is not None:
                return fatal
        return None

    def _cell(self, cell: reading.Cell, settled: bool) -> Row | None:
        """Run one cell; the row of its exercise, if it answers one that is not settled yet."""
        # a cell of ours is known to end; it only has to outlast a slow machine
        seconds = self.cell_seconds if cell.own else max(self.cell_seconds, OURS)
        self.deadline = time.monotonic() + seconds + GRACE
        self._send({
            "do": "cell", "cell": self.current, "source": cell.source, "seconds": seconds,
        })  # fmt: skip
        row: Row | None = None
        while True:
            message, blob = self._receive()
            event = message.get("event")
            if event == "done":
                return self._finished(cell, row, message, settled)
            if event == "blank":
                if message.get("exercise") == cell.exercise and row is None:
                    row = self._row(cell.exercise, "not attempted")
                self._send({"do": "result", "status": "not attempted"})
            elif event == "check":
                if message.get("exercise") != cell.exercise or row is not None or settled:
                    # a second try, or one for another exercise, is not judged: no oracle here
                    status = "failed" if row is None else "passed" * (row.status == "passed")
                    self._send({"do": "result", "status": status or "failed"})
                    continue
                row = self._judge(str(cell.exercise), message, blob)
                self._send({"do": "result", "status": row.status})
            else:
                raise Gone("tampered", "the cell sent something that no notebook sends.")

    def _judge(self, exercise: str, message: dict[str, Any], blob: bytes) -> Row:
        points = self.lab._card["exercises"][exercise]["points"]
        try:
            answer = decode(message.get("value"), blob, self._function)
        except ChannelError as error:
            raise Gone("tampered", f"the answer is none that a notebook sends: {error}") from None
        if isinstance(answer, Foreign):
            return Row(exercise, "failed", 0, points, f"the answer is an object: {answer.kind}.")
        found = self.lab.grade(exercise, answer)
        status = "failed" if found.status == "partly" else found.status
        message = found.message
        varied = status == "failed" and self.lab.seeds().get(exercise)
        if varied and Lab(self.lab.lesson, seeds={}).grade(exercise, answer).status == "passed":
            message += (
                " (The answer is right in the variant that everybody has who has no"
                f" {FILE_NAME}: was it not beside the notebook?)"
            )
        return Row(exercise, status, found.points, points, message)

    def _finished(
        self, cell: reading.Cell, row: Row | None, message: dict[str, Any], settled: bool
    ) -> Row | None:
        if cell.exercise is None or settled:
            return None
        status, text = message.get("status"), str(message.get("text", ""))[:500]
        if row is not None and row.status == "failed" and status == "timeout":
            return self._row(cell.exercise, "timeout", self._too_long())
        if row is not None:
            return row
        if status == "stub":
            return self._row(cell.exercise, "not attempted")
        if status == "timeout":
            return self._row(cell.exercise, "timeout", self._too_long())
        if status == "memory":
            return self._row(cell.exercise, "out of memory", self._too_much())
        if status == "error":
            return self._row(cell.exercise, "error", text)
        if not cell.own:
            return self._row(cell.exercise, "not attempted")
        raise Gone(
            "tampered",
            "the cell ran to its end, but its check was never asked: was `lab` overwritten, or the"
            " check taken out?",
        )

    def _row(self, exercise: str, status: str, message: str = "") -> Row:
        return Row(exercise, status, 0, self.lab._card["exercises"][exercise]["points"], message)

    def _too_long(self) -> str:
        return f"it ran longer than {self.cell_seconds:g} seconds; look for a loop without an end."

    def _too_much(self) -> str:
        return f"it needs more memory than it is allowed ({self.sandbox.limits.memory_mb} MB)."

    # --- the channel -------------------------------------------------------------------------

    def _function(self, number: int, name: str) -> Remote:
        return Remote(self, number, name)

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A learner's function on these arguments. Elsewhere: what it raised."""
        self._send({"do": "call", "function": number}, cloudpickle.dumps((args, kwargs)))
        message, blob = self._receive()
        if message.get("event") == "raised":
            if message.get("why") == "memory":
                raise Gone("out of memory", self._too_much())
            if message.get("why") == "timeout":
                raise Gone("timeout", self._too_long())
            raise Elsewhere(str(message.get("text", ""))[:500], bool(message.get("stub")))
        if message.get("event") != "returned":
            raise Gone("tampered", "a function answered something that no notebook sends.")
        try:
            return decode(message.get("value"), blob, self._function)
        except ChannelError as error:
            raise Gone("tampered", f"a function returned what cannot be: {error}") from None

    def _expect(self, event: str, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        message, _ = self._receive()
        if message.get("event") != event:
            raise Gone("tampered", "the process spoke before it was asked.")

    def _send(self, message: dict[str, Any], blob: bytes = b"") -> None:
        with self._watched():
            self.sandbox.channel.send(message, blob, max(0.1, self.deadline - time.monotonic()))

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        with self._watched():
            found = self.sandbox.channel.receive(max(0.1, self.deadline - time.monotonic()))
        number = found[0].get("cell")
        if number != self.current:
            number = number if isinstance(number, int) else None
            raise Gone("tampered", "a process that this cell left behind spoke for it.", number)
        return found

    @contextmanager
    def _watched(self) -> Any:
        """Every way in which a sandbox can fail to answer, as a Gone with its status."""
        try:
            yield
        except TimeoutError:
            raise Gone("timeout", self._too_long()) from None
        except ChannelError as error:
            raise Gone("tampered", f"the cell spoke on the referee's channel: {error}") from None
        except EOFError:
            raise self._why() from None

    def _why(self) -> Gone:
        try:
            self.sandbox.process.wait(timeout=5)
        except Exception:
            return Gone("tampered", "the cell closed the referee's channel.")
        code = self.sandbox.process.returncode
        if self.sandbox.ended_for == "memory":
            return Gone("out of memory", self._too_much())
        if self.sandbox.ended_for == "processes":
            most = self.sandbox.limits.processes
            return Gone("error", f"it started more than {most} processes and was ended.")
        if code in (-9, 137):  # by the kernel for want of memory, or by anybody
            return Gone("out of memory", self._too_much(), killed=True)
        if code in (-24, 152):
            return Gone("timeout", "it used up all the processor time it is allowed.")
        why = f"its process ended by itself (exit code {code}): os._exit, or a crash?"
        return Gone("error", why)


Grade = Callable[..., Graded]
