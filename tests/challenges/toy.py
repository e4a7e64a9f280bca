"""A network built by hand, of which the whole truth is known.

Its cut has 42 neurons: two that say which side of the band an image lies on, and forty that say
nothing. The similarity is the first pixel minus the second, between -1 and 1; the band is
(-.3, .3).
"""

import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from utils.challenges.cnn import Case
from utils.data.programs import BandProgram


def template():
    """The other pixels are grey, so that they do not count."""
    half = torch.full((28, 28), 0.5)
    half[0, 0], half[0, 1] = 1.0, 0.0
    return half


class Toy(HookedRootModule):
    """`apart`: one neuron for each side. Otherwise one neuron fires on both sides."""

    def __init__(self, apart=True):
        super().__init__()
        self.apart = apart
        self.hook_fc1 = HookPoint()
        self.fc2 = nn.Linear(42, 2)
        with torch.no_grad():
            self.fc2.weight.zero_()
            self.fc2.weight[1, :2] = 10
            self.fc2.bias.copy_(torch.tensor([0.0, -5]))
        self.setup()

    def forward(self, images):
        flat = images.flatten(1)
        similarity = flat[:, 0] - flat[:, 1]
        below, above = (similarity <= -0.3).float(), (similarity >= 0.3).float()
        sides = [below, above] if self.apart else [below + above, 0 * below]
        return self.fc2(self.hook_fc1(torch.cat([torch.stack(sides, 1), flat[:, 2:42]], 1)))


def toy_case(low=-0.3, high=0.3, apart=True, n=600):
    images = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    images[:, :, 20:] = 0  # little ink for the controls to go by
    program = BandProgram(template(), low, high)
    return Case("toy", Toy(apart).eval(), images, torch.arange(n), program)
