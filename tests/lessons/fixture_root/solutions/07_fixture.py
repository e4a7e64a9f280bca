# ---
# jupyter:
#   lesson:
#     id: "07"
#     title: "A small lesson"
#     minutes: 20
#     difficulty: 2
#     prerequisites: []
#     objectives: ["centre a tensor", "tell a sum from a mean"]
#     signature: "a centred tensor has mean 0; control: a shuffled one"
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · A small lesson
#
# The lesson that the tests of the pipeline build.

# %%
from utils.lessons import lab

lab = lab("07")

# %%
import matplotlib.pyplot as plt
import torch

data = lab.data
print("rows and columns:", tuple(data["x"].shape))

# %% [markdown]
# ## Centring
#
# ### Exercise 7.1: centre the columns
#
# Take each column's mean away. `lab.hint("7.1")` helps.


# %% exercise="7.1" points=4 minutes=5 difficulty=2
def centre(x: torch.Tensor) -> torch.Tensor:
    """x: (rows, columns), float. Returns the same shape, each column with mean 0."""
    ### BEGIN SOLUTION
    return x - x.mean(dim=0)
    ### END SOLUTION


lab.check("7.1", centre)

# %%
centred = lab.use("7.1", centre, data["x"])
print(f"largest column mean: {centred.mean(dim=0).abs().max():.3f}")

# %% [markdown]
# ### Exercise 7.2: count the rows
#
# How many rows are there?

# %% exercise="7.2" points=1 minutes=1 difficulty=1
### BEGIN SOLUTION
rows = data["x"].shape[0]
### STUB
# rows = ...
### END SOLUTION
lab.check("7.2", rows)

# %%
rows = lab.use("7.2", rows)
print("half of the rows:", rows // 2)

# %% [markdown]
# ## Predict before you run

# %%
### BEGIN SOLUTION
probability = 0.8
### STUB
# probability = ...
### END SOLUTION
lab.predict("7.P", "is the first column's spread above 1?", probability)

# %%
lab.outcome("7.P", data["x"][:, 0].std() > 1)

# %%
figure, axes = plt.subplots(figsize=(3, 2))
_ = axes.bar([0, 1], centred[0, :2])
lab.figure(
    figure,
    alt="Two bars: the first row's entries after centring.",
    table={"column": [0, 1], "value": centred[0, :2]},
)

# %%
lab.progress()
