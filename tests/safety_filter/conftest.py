"""What several test modules share: the towers, and one filter recovered once."""

import pytest
import torch

from utils.models import zoo
from utils.safety_filter import Gate, from_outside, make


@pytest.fixture(scope="session")
def towers():
    torch.set_num_threads(1)
    return zoo.load("towers")


@pytest.fixture(scope="session")
def planted(towers):
    return make(1, towers)


@pytest.fixture(scope="session")
def found(towers, planted):
    return from_outside(Gate(planted.filter, towers), towers, 3)
