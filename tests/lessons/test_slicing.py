"""A slice keeps what the answers hang on, in place changes included, and drops the rest."""

from __future__ import annotations

import ast

from tests.lessons.slicing import needed
from tests.lessons.test_source import SOURCE, read

MORE = """
# %%
scale = 2
shift, unused = [], {}
shift.append(1)
unused["x"] = 3
for name in "ab":
    print(name, scale)
for name in "ab":
    shift += [name]


def helper(x):
    inner = x * scale
    return inner


def idle(x):
    return x


"""


def _kept(tmp_path, exercise):
    text = SOURCE.replace(
        "\n# %% [markdown]\n# ## Centring", MORE + "# %% [markdown]\n# ## Centring"
    )
    text = text.replace('rows = data["x"].shape[0]\n', exercise + "\n")
    found = {n: ast.unparse(tree) for n, tree in needed(read(tmp_path, text))}
    return "\n".join(found[n] for n in sorted(found))


def test_what_an_answer_reads_is_kept_with_what_changes_it(tmp_path):
    kept = _kept(tmp_path, "rows = helper(len(shift)) + data['x'].shape[0]")
    for line in ("scale = 2", "shift, unused", "shift.append(1)", "shift += ", "def helper",
                 "data = lab.data", "lab = lab('07')", "import torch"):  # fmt: skip
        assert line in kept, line
    for line in ("idle", "print(", "unused['x']", "lab.figure", "lab.predict"):
        assert line not in kept, line


def test_nothing_is_kept_that_no_answer_reads(tmp_path):
    kept = _kept(tmp_path, "rows = data['x'].shape[0]")
    assert "shift" not in kept and "helper" not in kept and "lab.check('7.2'" in kept


def test_a_name_that_is_bound_anew_needs_nothing_before(tmp_path):
    anew = "scale = 3\nshift = [scale]\nrows = helper(len(shift)) + data['x'].shape[0]"
    kept = _kept(tmp_path, anew)
    assert "def helper" in kept and "scale = 3" in kept
    assert "scale = 2" in kept  # `helper` was made when it was 2
    assert "shift, unused" not in kept and "shift.append" not in kept


def test_a_functions_own_names_are_read_from_nobody(tmp_path):
    own = "def f(scale):\n    shift = scale\n    return [shift for unused in [1]]\n"
    kept = _kept(tmp_path, own + "rows = len(f(1)) + data['x'].shape[0]")
    assert "scale = 2" not in kept and "shift, unused" not in kept


def test_a_loop_reads_what_its_first_round_finds(tmp_path):
    loop = "rows = data['x'].shape[0]\nfor n in [1]:\n    shift = n\n    rows += shift + scale"
    kept = _kept(tmp_path, loop)
    assert "scale = 2" in kept and "shift, unused" not in kept
