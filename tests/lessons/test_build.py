"""The build: same bytes twice, drift named file by file, old files kept when a lesson fails."""

import nbformat
import pytest

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.build import build, check_registry, main
from utils.lessons.hygiene import learner_faults, solved_faults
from utils.lessons.reference import read_reference, write_reference
from utils.lessons.source import SourceError, read_lesson

SOLVED, LEARNER = "solutions/07_fixture.ipynb", "notebooks/07_fixture.ipynb"
GENERATED = [
    SOLVED,
    LEARNER,
    "utils/lessons/reference/07.safetensors",
    "utils/lessons/reference/07.json",
    places.MANIFEST,
    places.MEASURED,
    "README.md",
]


def quiet(line):
    return None


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def test_building_twice_changes_no_byte(built_root):
    before = contents(built_root)
    result = build(root=built_root, say=quiet)
    assert (result.written, result.errors, result.exit_code) == ([], [], 0)
    assert contents(built_root) == before
    assert set(GENERATED) <= set(before)
    assert not [name for name, content in before.items() if b"\r\n" in content]


def test_the_notebooks_are_what_they_should_be(built_root):
    solved = nbformat.read(built_root / SOLVED, as_version=4)
    learner = nbformat.read(built_root / LEARNER, as_version=4)
    assert solved_faults(solved) == [] and learner_faults(learner) == []
    assert [cell.id for cell in solved.cells] == [cell.id for cell in learner.cells]
    assert "exercise-7-1" in [cell.id for cell in solved.cells]
    text = "\n".join(cell.source for cell in learner.cells)
    assert 'raise NotImplementedError("exercise 7.1")' in text and "rows = ..." in text
    assert "x.mean(dim=0)" not in text and "0.8" not in text
    assert "*4 points · about 5 minutes · difficulty ●●○○○ (2 of 5)*" in text
    assert "about 20 minutes" in learner.cells[0].source
    assert "5 points in 2 exercises" in learner.cells[0].source


def test_the_readme_keeps_its_text_and_gets_the_table(built_root):
    text = (built_root / "README.md").read_text(encoding="utf-8")
    assert "[07 A small lesson](notebooks/07_fixture.ipynb) | 20 | 2 | 5 | 9 of 9 |" in text
    assert text.startswith("# A course of one lesson") and text.endswith("stays.\n")


def test_a_clean_folder_has_no_drift(built_root):
    assert build(check=True, root=built_root, say=quiet).drift == []


@pytest.mark.parametrize("name", GENERATED)
def test_one_changed_character_is_drift(built_root, name):
    path = built_root / name
    content = bytearray(path.read_bytes())
    if name == "README.md":
        place = content.index(b"9 of 9")
    elif name == SOLVED:
        place = content.index(b"4 of 4 points")  # an output: nothing that the source says
    else:
        place = len(content) // 2
        while not chr(content[place]).isalnum():
            place += 1
    content[place] = ord("8") if content[place] != ord("8") else ord("7")
    path.write_bytes(bytes(content))
    lines = []
    result = build(check=True, root=built_root, say=lines.append)
    assert result.exit_code == 1 and result.drift == lines
    if name == places.MEASURED:
        name = places.MANIFEST  # holds the hash of what was measured
    assert any(line.startswith(name) for line in lines), lines


@pytest.mark.parametrize("name", [SOLVED, LEARNER, "utils/lessons/reference/07.json"])
def test_a_missing_file_is_drift(built_root, name):
    (built_root / name).unlink()
    assert f"{name}: missing" in build(check=True, root=built_root, say=quiet).drift


@pytest.mark.parametrize(
    "old, new, drifted",
    [
        ("Take each column's mean away.", "Take it away.", [LEARNER, SOLVED]),
        ("return x - x.mean(dim=0)", "return x - x.mean(0)", [SOLVED]),
        ("# rows = ...", "# rows = None", [LEARNER]),
        ("points=4", "points=5", [LEARNER, SOLVED, places.MANIFEST]),
        ("    minutes: 20", "    minutes: 25", [LEARNER, SOLVED, places.MANIFEST]),
        ('"centre a tensor"', '"centre it"', [places.MANIFEST]),
    ],
)
def test_a_changed_source_is_drift(built_root, old, new, drifted):
    edit(built_root / "solutions" / "07_fixture.py", old, new)
    found = build(check=True, root=built_root, say=quiet).drift
    assert sorted(line.split(":")[0] for line in found) == sorted(drifted)


def test_a_notebook_without_source_is_drift(built_root):
    (built_root / "notebooks" / "08_gone.ipynb").write_bytes(b"{}")
    found = build(check=True, root=built_root, say=quiet).drift
    assert found == ["notebooks/08_gone.ipynb: has no source"]


def test_a_failing_cell_is_named_and_leaves_the_old_files(built_root):
    edit(built_root / "solutions" / "07_fixture.py", "rows // 2)", "rows // 0)")
    before = contents(built_root)
    result = build(root=built_root, say=quiet)
    assert contents(built_root) == before and result.exit_code == 1
    (message,) = result.errors
    assert "solutions/07_fixture.py:" in message and "ZeroDivisionError" in message
    assert "under 'Exercise 7.2: count the rows'" in message


def test_all_that_would_not_be_stable_is_named_at_once(built_root):
    source = built_root / "solutions" / "07_fixture.py"
    edit(source, 'print("half', 'print(object(), "/home/me/file")\nprint("half')
    edit(source, "lab.progress()", "import sys\n\nprint('no', file=sys.stderr)\nplt.plot([1])")
    before = contents(built_root)
    (message,) = build(root=built_root, say=quiet).errors
    for said in ("stderr", "prints an address", "prints an absolute path", "without alt text"):
        assert said in message
    assert contents(built_root) == before


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("return x - x.mean(dim=0)", "return x", "the solution of 7.1: failed"),
        ('centred = lab.use("7.1", centre, data["x"])', 'lab.use("7.1", centre)', "arguments too"),
    ],
)
def test_a_wrong_solution_is_not_built(built_root, old, new, said):
    edit(built_root / "solutions" / "07_fixture.py", old, new)
    (message,) = build(root=built_root, say=quiet).errors
    assert said in message and "07_fixture.py:" in message


def test_an_exercise_without_check_and_a_check_without_exercise(fresh_root):
    checks = fresh_root / places.CHECKS / "lesson_07.py"
    lesson = read_lesson(fresh_root / "solutions" / "07_fixture.py")
    edit(checks, '@check("7.2"', '@check("7.3"')
    with pytest.raises(SourceError, match=r"07_fixture.py:\d+: exercise 7.2 has no check"):
        check_registry(lesson, fresh_root)
    edit(checks, '@check("7.3"', '@check("7.1"')
    with pytest.raises(CourseError, match="two checks of exercise 7.1"):
        check_registry(lesson, fresh_root)
    edit(checks, '@check("7.1", hints=["Look', '@check("7.2", hints=["Look')
    edit(
        checks,
        '@check("7.2"',
        '@check("7.4", hints=["x"])\ndef extra(answer, lab):\n    ...\n\n\n@check("7.2"',
    )
    with pytest.raises(SourceError, match=r"lesson_07.py:\d+: check 7.4 has no exercise"):
        check_registry(lesson, fresh_root)
    checks.unlink()
    with pytest.raises(CourseError, match="has no checks"):
        check_registry(lesson, fresh_root)


def test_mistakes_of_the_caller(fresh_root, monkeypatch, capsys):
    with pytest.raises(CourseError, match="no lesson '99'.*07"):
        build(["99"], root=fresh_root, say=quiet)
    with pytest.raises(CourseError, match="cannot measure"):
        build(check=True, measure=True, root=fresh_root, say=quiet)
    assert build(check=True, root=fresh_root, say=quiet).drift[0].endswith("never built")
    monkeypatch.setenv(places.ROOT_VARIABLE, str(fresh_root))
    assert main(["99"]) == 2 and main(["--check"]) == 1
    assert "no lesson '99'" in capsys.readouterr().err


def test_reference_data_come_back_as_they_were(tmp_path):
    torch = pytest.importorskip("torch")
    numpy = pytest.importorskip("numpy")
    values = {
        "7.1": torch.arange(6.0).reshape(2, 3).T,
        "7.2#a": numpy.array([[True, False]]),
        "7.3": {"k": [1, 2.5, None, "text"], "t": (torch.tensor(3), True)},
    }
    write_reference("07", values, tmp_path)
    first = contents(tmp_path)
    write_reference("07", dict(reversed(values.items())), tmp_path)
    assert contents(tmp_path) == first
    found = read_reference("07", tmp_path)
    assert torch.equal(found["7.1"], values["7.1"]) and found["7.1"].dtype == torch.float32
    assert isinstance(found["7.2#a"], numpy.ndarray) and found["7.2#a"].dtype == bool
    assert found["7.3"]["k"] == [1, 2.5, None, "text"]
    assert isinstance(found["7.3"]["t"], tuple) and found["7.3"]["t"][0].item() == 3
    with pytest.raises(CourseError, match="cannot be shipped"):
        write_reference("07", {"7.1": object()}, tmp_path)


def test_a_number_that_hangs_on_the_processor_is_refused_when_measured(built_root):
    """Planted: the digit hangs on the very variable that takes the instructions away."""
    source = built_root / "solutions" / "07_fixture.py"
    edit(
        source,
        'print("half of the rows:", rows // 2)',
        "import os\n\nplain = 'ATEN_CPU_CAPABILITY' in os.environ\n"
        "print('digits:', 0.12345 if plain else 0.12346)",
    )
    before = contents(built_root)
    said = []
    result = build(root=built_root, measure=True, say=said.append)
    assert result.exit_code == 1 and "other text" in result.errors[0]
    assert "07_fixture.py" in result.errors[0] and "'digits: 0.12346'" in result.errors[0]
    assert "elsewhere 'digits: 0.12345'" in result.errors[0]
    after = contents(built_root)
    assert after[SOLVED] == before[SOLVED] and after[LEARNER] == before[LEARNER]
    assert build(root=built_root, say=quiet).exit_code == 0  # only looked at when measured
