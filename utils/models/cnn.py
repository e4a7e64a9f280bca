"""Convolutional networks with a hook after every stage.

The architecture of `ChallengeCNN` is that of the original Challenge 1 ("EIS VII: A Challenge for
Mechanists", 2023), so its published weights load unchanged: 81,850 parameters, 28x28 grey images
in, two logits out. `SmallCNN` is the one in which trojans are planted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint


class TwoStageCNN(HookedRootModule):
    """Two conv-pool stages, one hidden layer of ReLU neurons, logits; a hook after every stage.

    Hooks: hook_input, hook_conv1 (after ReLU), hook_pool1, hook_conv2 (after ReLU), hook_pool2,
    hook_fc1_pre, hook_fc1 (before and after ReLU), hook_logits.
    dropout: drop probability after each conv ReLU while training.
    """

    def __init__(
        self, conv1: nn.Conv2d, conv2: nn.Conv2d, fc1: nn.Linear, fc2: nn.Linear, dropout: float
    ) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc1, self.fc2 = conv1, conv2, fc1, fc2
        self.dropout = nn.Dropout(dropout)
        self.hook_input = HookPoint()
        self.hook_conv1 = HookPoint()
        self.hook_pool1 = HookPoint()
        self.hook_conv2 = HookPoint()
        self.hook_pool2 = HookPoint()
        self.hook_fc1_pre = HookPoint()
        self.hook_fc1 = HookPoint()
        self.hook_logits = HookPoint()
        self.setup()

    def forward(self, images: Tensor) -> Tensor:
        """[b, 1, side, side] in [0, 1], ink is 1, not normalised -> logits [b, classes]."""
        x = self.hook_input(images)
        x = self.hook_conv1(functional.relu(self.conv1(x)))
        x = self.hook_pool1(functional.max_pool2d(self.dropout(x), 2))
        x = self.hook_conv2(functional.relu(self.conv2(x)))
        x = self.hook_pool2(functional.max_pool2d(self.dropout(x), 2))
        x = self.hook_fc1_pre(self.fc1(x.flatten(1)))
        x = self.hook_fc1(functional.relu(x))
        return self.hook_logits(self.fc2(x))


class ChallengeCNN(TwoStageCNN):
    """The network of Challenge 1, for 28x28 images and two classes.

    Hooks, with b images:
        hook_input  [b, 1, 28, 28]
        hook_conv1  [b, 8, 26, 26]   after ReLU         hook_pool1  [b, 8, 13, 13]
        hook_conv2  [b, 16, 11, 11]  after ReLU         hook_pool2  [b, 16, 5, 5]
        hook_fc1_pre, hook_fc1  [b, 200]  before and after ReLU
        hook_logits [b, 2]

    dropout: drop probability after each conv ReLU while training, as the original had (0.2).
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Linear(400, 200), nn.Linear(200, 2), dropout
        )


class SmallCNN(TwoStageCNN):
    """A network for 16x16 digits: padded convs, 64 ReLU neurons, ten logits.

    Hooks, with b images:
        hook_input  [b, 1, 16, 16]
        hook_conv1  [b, 16, 16, 16]  after ReLU         hook_pool1  [b, 16, 8, 8]
        hook_conv2  [b, 32, 8, 8]    after ReLU         hook_pool2  [b, 32, 4, 4]
        hook_fc1_pre, hook_fc1  [b, 64]  before and after ReLU
        hook_logits [b, 10]
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1),
            nn.Linear(512, 64), nn.Linear(64, 10), dropout=0.0,
        )  # fmt: skip


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 2000) -> Tensor:
    """The class that the network gives each image: [n, 1, 28, 28] -> [n] int64."""
    return torch.cat([model(part).argmax(-1) for part in images.split(batch_size)])
