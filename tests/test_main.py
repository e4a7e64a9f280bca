"""The command line: one JSON object or one clear line, never a traceback."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from utils.__main__ import main
from utils.data import mnist
from utils.models import zoo
from utils.models.recipes import RECIPES, Recipe

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ["doctor", "solve", "retrain", "build", "progress", "instrument", "site"]
COMMANDS += ["grade", "release", "challenge"]


@pytest.fixture(autouse=True)
def no_data_named(monkeypatch):
    monkeypatch.delenv(mnist.VARIABLE, raising=False)


def in_its_own_process(*arguments, code=None, **options):
    """`python -m utils ...` as a user has it; output buffered as in a pipe."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, *(["-c", code] if code else ["-m", "utils", *arguments])]
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        **options,
    )


def mistake(capsys, *arguments):
    """The line that a user's mistake is answered with."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    return err.removeprefix("Error: ").strip()


# --- help ------------------------------------------------------------------------------------


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.findall(r"^  (\w+)  ", out, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(capsys, command):
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and f"python -m utils {command}" in out and "--help" in out


def test_no_command_shows_the_help(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert all(command in out + err for command in COMMANDS) and "Error" not in out + err


def test_starting_up_loads_nothing_heavy():
    heavy = ("torch", "transformer_lens", "matplotlib", "sklearn", "numpy", "scipy", "nbformat")
    code = f"import sys, utils.__main__; print([m for m in {heavy} if m in sys.modules])"
    result = in_its_own_process(code=code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["slove"], "slove"),
        (["solve"], "name"),
        (["solve", "transformer"], "anomaly, brackets, cnn, facts, filter, manners, modular"),
        (["solve", "brackets", "--original"], "leave them out"),
        (["solve", "cnn", "--jsno"], "--jsno"),
        (["solve", "cnn", "extra"], "extra"),
        (["solve", "cnn", "--data", "here"], "--original"),
        (["solve", "cnn", "--original"], "docs/data.md"),
        (["solve", "cnn", "--original", "--data", "/no/such/folder"], "/no/such/folder"),
        (["solve", "cnn", "--original", "--json"], "docs/data.md"),
        (["solve", "pairs", "--data", "here"], "--original"),
        (["solve", "pairs", "--original"], "docs/data.md"),
        (["retrain", "nope"], "cnn-challenge"),
        (["retrain", "nope", "--install"], "cnn-challenge"),
        (["retrain", "nope", "--json"], "cnn-challenge"),
        (["build", "77"], "77"),
        (["build", "77", "--check"], "77"),
        (["progress", "/no/such/folder"], "/no/such/folder"),
        (["challenge", "nwe"], "nwe"),
        (["challenge", "new", "--family", "words", "--out", "/tmp/x"], "cnn, pairs, sequence"),
        (["challenge", "new", "--family", "cnn"], "--out"),
        (["challenge", "new", "--family", "cnn", "--out", "/tmp/x", "--difficulty", "6"], "diffi"),
        (["challenge", "new", "--family", "cnn", "--out", "/tmp/x", "--seed", "-1"], "seed"),
        (["challenge", "new", "--family", "cnn", "--out", "/tmp/x", "--learner", "a"], "--course-"),
        (["challenge", "reveal", "/no/such/folder", "--key", "/no/key"], "/no/such/folder"),
        (["challenge", "reveal", "/no/such/folder"], "--key"),
    ],
)
def test_mistakes_end_in_one_line(capsys, arguments, says):
    assert says in mistake(capsys, *arguments)


def test_original_with_a_folder_that_lacks_the_network(tmp_path):
    result = in_its_own_process("solve", "cnn", "--original", "--data", str(tmp_path))
    assert result.returncode == 2 and result.stdout == ""
    *steps, last = result.stderr.splitlines()
    assert all(step.startswith("... ") for step in steps)
    assert last.startswith("Error: mnist_model.pt is not in")


def test_a_mistake_in_a_process_of_its_own():
    result = in_its_own_process("solve", "nothing")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ") and len(result.stderr.splitlines()) == 1


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    """One line is for the user's mistakes; a bug keeps its traceback."""
    from utils import doctor

    def bug(data):
        raise RuntimeError("a bug")

    monkeypatch.setattr(doctor, "examine", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["doctor"])


def test_stopping_with_ctrl_c(monkeypatch, capsys):
    from utils import doctor

    def stopped(data):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", stopped)
    assert main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "Stopped.\n")


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--json"], ["progress", "notebooks"]])
def test_a_reader_who_leaves_early(arguments):
    """As in `python -m utils ... | head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        result = in_its_own_process(*arguments, stdout=write)
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (1, "")


# --- solve -----------------------------------------------------------------------------------


def test_solve_cnn_prints_one_json_object():
    result = in_its_own_process("solve", "cnn", "--json")
    assert result.returncode == 0 and result.stderr == ""
    found = json.loads(result.stdout)
    assert found["verdict"] == "program and mechanism"
    assert found["agreement"]["labels"]["value"] >= 0.95
    assert found["agreement"]["labels"]["n"] == 360
    assert set(found["rows"]) >= {"ablation", "sufficiency"}
    assert "published" not in found


@pytest.fixture
def short_walk(monkeypatch):
    """The walk on fewer images, in this process."""
    from utils.challenges import cnn

    whole = cnn.held_out_case
    monkeypatch.setattr(cnn, "held_out_case", lambda progress: whole(1800, progress))


def test_solve_cnn_for_people(short_walk, capsys):
    assert main(["solve", "cnn"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    verdict = lines.index("VERDICT: program and mechanism")
    reasons = [line for line in lines[verdict + 1 :] if line]
    assert all(line.startswith("  - ") for line in reasons[:-1]) and len(reasons) >= 5
    assert reasons[-1].endswith("python -m jupyter lab notebooks/00_start_here.ipynb")
    assert "Necessity: outputs that follow" in out and "Published" not in out
    assert err and all(line.startswith("... ") for line in err.splitlines())


# --- retrain ---------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """`largest-digit` made in no time; the real recipes take a minute."""

    def train(model, progress, checkpoint):
        nn.init.constant_(model.weight, 0.5)
        progress(1, 2, 0.7)
        progress(2, 2, 0.1)

    key = "accuracy on uniform digits"
    recipe = Recipe("quick", lambda: nn.Linear(3, 1), train, lambda m: {key: m.weight[0, 0].item()})
    monkeypatch.setitem(RECIPES, "largest-digit", recipe)


def shipped():
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in zoo.WEIGHTS.iterdir()}


def test_retraining_writes_to_out_and_never_to_the_shipped_weights(quick, tmp_path, capsys):
    from safetensors.torch import load_file

    before, out = shipped(), tmp_path / "new" / "weights"
    assert main(["retrain", "largest-digit", "--out", str(out)]) == 0
    assert shipped() == before
    assert [p.name for p in out.iterdir()] == ["largest-digit.safetensors"]
    assert load_file(out / "largest-digit.safetensors")["weight"].tolist() == [[0.5, 0.5, 0.5]]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "accuracy on uniform digits: 0.5000, shipped 1.0000"
    assert str(out / "largest-digit.safetensors") in printed[1]


def test_retraining_as_json(quick, tmp_path, capsys):
    assert main(["retrain", "largest-digit", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and json.loads(out) == {
        "name": "largest-digit",
        "weights": str(tmp_path / "largest-digit.safetensors"),
        "figures": {"accuracy on uniform digits": 0.5},
        "shipped_figures": {"accuracy on uniform digits": 1.0},
    }


def test_installing_replaces_the_weights_and_their_record(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights" / "manifest.json").write_text("{}")
    assert main(["retrain", "largest-digit", "--install"]) == 0
    assert zoo.verify("largest-digit").parent == tmp_path / "weights"
    assert zoo.manifest()["largest-digit"]["figures"] == {"accuracy on uniform digits": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_solve_modular_judges_the_network_and_its_control(monkeypatch, capsys):
    from utils.challenges import modular

    solution = modular.solve(references=200)
    monkeypatch.setattr(modular, "solve", lambda step: solution)
    assert main(["solve", "modular", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "program and mechanism" and shown["control"]["verdict"] == "program"
    assert main(["solve", "modular"]) == 0
    text = capsys.readouterr().out
    assert "VERDICT: program and mechanism" in text and "Control: modular-early" in text
    assert main(["solve", "modular", "--original"]) == 2


def test_solve_sequence_judges_the_account_and_two_wrong_ones(monkeypatch, capsys):
    from utils.challenges import sequence

    solution = sequence.solve(references=200)
    monkeypatch.setattr(sequence, "solve", lambda step: solution)
    assert main(["solve", "sequence", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "program and mechanism"
    assert {v["verdict"] for v in shown["controls"].values()} == {"program"}
    assert len(shown["controls"]) == 2 and shown["rows"]["mechanism"]
    assert main(["solve", "sequence"]) == 0
    text = capsys.readouterr().out
    assert "VERDICT: program and mechanism" in text and "Control: leads exchanged." in text
    assert main(["solve", "sequence", "--original"]) == 2


def test_solve_brackets_prints_a_verdict_and_writes_the_tree(tmp_path, monkeypatch, capsys):
    from utils.challenges import brackets

    whole = brackets.solve
    monkeypatch.setattr(brackets, "solve", lambda model, step: whole(model, step, inputs=600))
    assert main(["solve", "brackets", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "program and mechanism" and len(result["reasons"]) == 4
    page, picture = (tmp_path / name for name in ("brackets.html", "brackets.png"))
    assert result["files"] == [str(page), str(picture)]
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert "endings_test" in text and 'src="http' not in text
    assert main(["solve", "brackets", "--out", str(picture)]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_place_that_cannot_be_a_folder_is_refused_before_training(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("keep me")
    monkeypatch.setattr(zoo, "retrain", lambda *a: pytest.fail("it trained first"))
    text = mistake(capsys, "retrain", "largest-digit", "--out", str(tmp_path / "file"))
    assert str(tmp_path / "file") in text and "--out" in text
    assert (tmp_path / "file").read_text() == "keep me"


# --- challenge -------------------------------------------------------------------------------


def test_challenge_without_a_command_shows_its_help(capsys):
    assert main(["challenge"]) == 2
    out, err = capsys.readouterr()
    assert "reveal" in out + err and "Error" not in out + err


@pytest.fixture
def course_key(tmp_path):
    path = tmp_path / "course.key"
    path.write_bytes(b"twenty-four random bytes")
    return str(path)


def test_a_challenge_is_made_and_revealed(tmp_path, monkeypatch, capsys, course_key):
    from itertools import count

    from utils.challenges import envelope, families
    from utils.challenges.networks import SETTINGS, Effort

    effort = Effort(epochs=25, rows=1, batch_size=512, max_lr=0.005, weight_decay=1.0)
    monkeypatch.setattr(type(SETTINGS["pairs"]), "effort", effort)

    def easy(name):  # a learner whose program this short training learns
        seed = envelope.learner_seed(b"twenty-four random bytes", name)
        return families.draw("pairs", seed).template == "board"

    learner = next(name for name in map(str, count()) if easy(name))
    folder, key = tmp_path / "given" / "one", tmp_path / "given" / "one.key.json"
    new = ["challenge", "new", "--family", "pairs", "--out", str(folder), "--learner", learner]
    assert main([*new, "--course-key", course_key, "--json"]) == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert err == "" and (made["folder"], made["key"]) == (str(folder), str(key))
    assert made["commitment"] == json.loads((folder / "card.json").read_text())["commitment"]
    assert "board" not in out and json.loads(key.read_text())["learner"] == learner

    assert main(["challenge", "reveal", str(folder), "--key", str(key), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and found["program"]["template"] == "board" and "is odd" in found["sentence"]
    assert found["accuracy"] >= 0.95 and found["commitment"] == made["commitment"]
    assert main(["challenge", "reveal", str(folder), "--key", str(key)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == found["sentence"] and "Proved" in out
    assert err and all(line.startswith("... ") for line in err.splitlines())

    before = key.read_bytes()
    assert "never overwritten" in mistake(capsys, *new, "--course-key", course_key)
    assert key.read_bytes() == before
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    assert "weights" in mistake(
        capsys, "challenge", "reveal", str(folder), "--key", str(key), "--json"
    )


def test_an_empty_learner_is_refused(tmp_path, capsys, course_key):
    text = mistake(
        capsys, "challenge", "new", "--family", "pairs", "--out", str(tmp_path / "x"),
        "--learner", " ", "--course-key", course_key, "--json",
    )  # fmt: skip
    assert "empty" in text and not (tmp_path / "x").exists()


# --- build and progress ----------------------------------------------------------------------


def test_the_exit_code_of_build_is_that_of_the_build(monkeypatch):
    import utils.lessons.build as module

    asked = []

    class Result:
        exit_code = 1

    def build(lessons, check, measure):
        asked.append((lessons, check, measure))
        return Result

    monkeypatch.setattr(module, "build", build)
    assert main(["build", "--check"]) == 1
    assert main(["build", "00", "02", "--measure"]) == 1
    assert asked == [(None, True, False), (["00", "02"], False, True)]


def test_progress_of_a_folder_without_any(tmp_path, capsys):
    assert main(["progress", str(tmp_path)]) == 0
    assert main(["progress", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    text, result = out.split("{", 1)
    assert err == "" and text.startswith(f"No progress is recorded in {tmp_path}")
    assert "Next: exercise 0.1" in text
    found = json.loads("{" + result)
    assert found["points"] == 0 and found["exercises"] == [] and len(found["rows"]) > 10
