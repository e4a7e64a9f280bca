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
