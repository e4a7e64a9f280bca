"""Checks of the lesson that the pipeline's own tests build."""

import torch

from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_number, expect_tensor


def load_data() -> dict[str, torch.Tensor]:
    return {"x": torch.arange(12.0).reshape(4, 3) ** 2}


@check(
    "7.1",
    hints=["A mean goes along one dimension.", "Rows are dimension 0.", "Subtract `x.mean(0)`."],
    expects="a function of one tensor",
)
def check_7_1(answer, lab):
    x = lab.data["x"]
    found = expect_tensor(call(answer, x), x.shape, name="centre(x)")
    if torch.allclose(found, x - x.mean(dim=1, keepdim=True)):
        raise CheckFailed("these are rows with mean 0; columns were asked for.", credit=0.5)
    expect_close(found.mean(dim=0), torch.zeros(3), atol=1e-4, name="the mean of each column")
    expect_close(found - found[0], x - x[0], name="the difference to the first row")


@check("7.2", hints=["Look at `x.shape`."], expects="a whole number")
def check_7_2(answer, lab):
    rows = lab.data["x"].shape[0]
    if expect_number(answer, what="the number of rows") == lab.data["x"].shape[1]:
        raise CheckFailed("that is the number of columns.")
    expect_number(answer, rows, rows, what="the number of rows", reveal=False)
    return "Rows come first."
