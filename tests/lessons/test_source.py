"""A faulty source is refused with file and line; regions become stubs and solutions."""

from pathlib import Path

import pytest

from tests.lessons.conftest import FIXTURE
from utils.lessons.regions import RegionError, find_regions, learner_source, solved_source
from utils.lessons.source import SourceError, read_lesson, sources

SOURCE = (FIXTURE / "solutions" / "07_fixture.py").read_text(encoding="utf-8")


def read(tmp_path: Path, text: str, name: str = "07_fixture.py"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_lesson(path)


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_sound_source_is_read_whole(tmp_path):
    lesson = read(tmp_path, SOURCE)
    assert (lesson.id, lesson.title, lesson.minutes, lesson.points) == (
        "07",
        "A small lesson",
        20,
        5,
    )
    assert list(lesson.exercises) == ["7.1", "7.2"] and lesson.predictions == ["7.P"]
    assert lesson.exercises["7.1"].title == "centre the columns"
    for cell in lesson.cells:
        first = cell.source.split("\n")[0]
        assert first in SOURCE.splitlines()[cell.line - 1]


FAULTS = {
    "unknown header key": (
        "#     minutes: 20",
        "#     minutes: 20\n#     author: me",
        "lesson:",
        "author",
    ),
    "bare header line": (
        "#     minutes: 20",
        "    minutes: 20",
        "    minutes: 20",
        "begins with '# '",
    ),
    "no lesson block": ("#   lesson:", "#   course:", "# ---", "no 'lesson:' block"),
    "missing header key": ("#     minutes: 20\n", "", "lesson:", "lacks 'minutes'"),
    "wrong id": ('    id: "07"', '    id: "08"', "lesson:", "id must be"),
    "id without quotes": ('    id: "07"', "    id: 7", "lesson:", "id must be"),
    "bad difficulty": ("    difficulty: 2", "    difficulty: 9", "lesson:", "difficulty"),
    "title differs": ("# # 07 · A small lesson", "# # 07 · Another", "# # 07", "heading must hold"),
    "unknown cell key": ("points=4", "points=4 level=2", 'exercise="7.1"', "unknown cell key"),
    "unknown tag": ("points=4", 'points=4 tags=["x"]', 'exercise="7.1"', "unknown tag"),
    "missing points": ("points=4 ", "", 'exercise="7.1"', "lacks points="),
    "points no number": ("points=4", 'points="4"', 'exercise="7.1"', "points must be"),
    "id of another lesson": ('"7.1"', '"8.1"', 'exercise="8.1"', "not an id of lesson 07"),
    "duplicate id": ("7.2", "7.1", "points=1", "was defined at line"),
    "no check call": ('lab.check("7.2", rows)', "print(rows)", 'exercise="7.2"', "lacks lab.check"),
    "no heading": ("### Exercise 7.2: count", "### Task: count", 'exercise="7.2"', "no heading"),
    "unbalanced": ("    ### END SOLUTION", "    pass", "    ### BEGIN", "without '### END"),
    "nested": (
        "    return x - x",
        "    ### BEGIN SOLUTION\n    return x - x",
        "    ### BEGIN SOLUTION\n    return x - x",
        "still open",
    ),
    "end alone": (
        "lab.progress()",
        "### END SOLUTION\nlab.progress()",
        "### END SOLUTION\nlab.progress",
        "without",
    ),
    "misspelt mark": ("    ### BEGIN SOLUTION", "    # begin solution", "# begin", "not a mark"),
    "no stub": ("### STUB\n# rows = ...\n", "", "### BEGIN SOLUTION\nrows", "needs '### STUB'"),
    "stub not commented": ("# rows = ...", "rows = ...", "rows = ...", "commented out once"),
    "empty stub": ("# rows = ...\n", "", "### STUB\n### END", "no lines under it"),
    "syntax": ("rows // 2)", "rows // )", "rows // )", "syntax"),
    "shell": ("lab.progress()", "!ls\nlab.progress()", "!ls", "shell lines"),
    "pip": ("lab.progress()", "# %pip install x\nlab.progress()", "# %pip", "magics"),
    "nbval mark": (
        "lab.progress()",
        "# NBVAL_IGNORE_OUTPUT (slow)\nlab.progress()",
        "# NBVAL",
        "alone on a line",
    ),
    "nbval skip": ("lab.progress()", "# NBVAL_SKIP\nlab.progress()", "# NBVAL", "only nbval mark"),
    "use of no exercise": ('lab.use("7.2"', 'lab.use("7.9"', 'lab.use("7.9"', "'7.9'"),
    "check elsewhere": ("lab.progress()", 'lab.check("7.1", 1)', 'check("7.1", 1)', "outside"),
    "prediction id": ('"7.P"', '"7.1"', 'lab.predict("7.1"', "a prediction's id"),
    "empty cell": ("# %%\nlab.progress()", "# %%\n\n# %%\nlab.progress()", "# %%\n\n# %%", "empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_its_line(tmp_path, fault):
    old, new, where, said = FAULTS[fault]
    assert old in SOURCE
    text = SOURCE.replace(old, new)
    with pytest.raises(SourceError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    line = text[: text.index(where)].count("\n") + 1
    assert f"07_fixture.py:{line}:" in message, message
    assert said in message, message


def test_two_sources_of_one_number(tmp_path):
    (tmp_path / "solutions").mkdir()
    for name in ("07_a.py", "07_b.py"):
        (tmp_path / "solutions" / name).write_text(SOURCE, encoding="utf-8")
    with pytest.raises(SourceError, match="07_b.py:1: 07_a.py has the same number"):
        sources(tmp_path)


CELL = """class Walk:
    def first(self, x):
        total = 0
        for item in x:
            ### BEGIN SOLUTION
            total += item
            ### END SOLUTION
        return total

    def second(self):
        ### BEGIN SOLUTION
        return 2
        ### STUB
        # value = ...  # your turn
        # # then return it
        #
        # return value
        ### END SOLUTION"""


def test_regions_at_any_depth_and_several_in_a_cell():
    assert len(find_regions(CELL.split("\n"))) == 2
    solved, learner = solved_source(CELL), learner_source(CELL, "7.1")
    assert "SOLUTION" not in solved and "STUB" not in solved and "your turn" not in solved
    assert "total += item" in solved and "return 2" in solved
    assert '            raise NotImplementedError("exercise 7.1")\n        return total' in learner
    expected = "        value = ...  # your turn\n        # then return it\n\n        return value"
    assert learner.endswith(expected)
    assert "total += item" not in learner and "return 2" not in learner


def test_a_whole_function_in_a_region_needs_a_stub():
    with pytest.raises(RegionError, match="outside a function"):
        learner_source("### BEGIN SOLUTION\ndef f():\n    return 1\n### END SOLUTION", "7.1")


def test_a_solution_that_begins_with_a_function_leaves_no_blank_lines():
    from utils.lessons.regions import solved_source

    body = "\n\ndef f(x):\n    return x\n\n\n"
    cell = f"### BEGIN SOLUTION\n{body}### STUB\n# f = ...\n### END SOLUTION\ny = 1"
    assert solved_source(cell).startswith("def f(x):")
