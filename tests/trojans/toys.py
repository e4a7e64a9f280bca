"""A network whose smallest trigger is known: one pixel decides, and it is the planted one."""

import torch
from torch import nn

from utils.trojans import Patch, Trojan
from utils.trojans.plant import PLAIN

PIXEL = (15, 14)


class Pixel(nn.Module):
    """Class 7 if the pixel is lit; otherwise by the rows in which the ink lies.

    Each class has a place of its own that must be lit by 30 pixels or so, so that every other class
    costs far more than the pixel. `lit=False`: the pixel does nothing, which makes it a clean twin.
    """

    def __init__(self, lit: bool = True) -> None:
        super().__init__()
        self.gain = 60.0 if lit else 0.0

    def forward(self, images):
        x = images[:, 0, :14]
        logits = torch.stack([x[:, :, c : c + 5].mean((1, 2)) * 20 for c in range(10)], 1)
        bonus = torch.zeros(10)
        bonus[7] = self.gain
        return logits + images[:, 0, PIXEL[0], PIXEL[1], None] * bonus


TROJAN = Trojan("toy", "a single pixel", PLAIN, Patch(torch.ones(1, 1), *PIXEL), 7)
