"""MNIST from a folder: found in every layout, refused in one line when it is not right."""

import gzip
import hashlib
import shutil
import struct

import pytest
import torch

from tests.optional_data import FOLDER, needs_data
from utils.data import mnist
from utils.errors import CourseError

PIXELS = bytes(i % 256 for i in range(3 * 784))
CONTENT = {
    "train-images-idx3-ubyte": struct.pack(">4i", 2051, 3, 28, 28) + PIXELS,
    "train-labels-idx1-ubyte": struct.pack(">2i", 2049, 3) + bytes([5, 0, 4]),
    "t10k-images-idx3-ubyte": struct.pack(">4i", 2051, 2, 28, 28) + PIXELS[:1568],
    "t10k-labels-idx1-ubyte": struct.pack(">2i", 2049, 2) + bytes([7, 2]),
}
IMAGES = "train-images-idx3-ubyte"


@pytest.fixture(autouse=True)
def no_folder_named(monkeypatch):
    monkeypatch.delenv(mnist.VARIABLE, raising=False)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with a five-image "MNIST", whose MD5s the module is told to expect."""
    sums = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(mnist, "FILES", sums)
    (tmp_path / "mnist").mkdir()
    for name, content in CONTENT.items():
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def refusal(folder, part="train"):
    """The one line that a user reads."""
    with pytest.raises(mnist.DataError) as caught:
        mnist.load(part, folder)
    assert isinstance(caught.value, CourseError)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def check_tiny(folder):
    train, test = mnist.load("train", folder), mnist.load("test", folder)
    assert train.images.shape == (3, 28, 28) and train.images.dtype == torch.uint8
    assert bytes(train.images.flatten().tolist()) == PIXELS
    assert train.digit.tolist() == [5, 0, 4] and test.digit.tolist() == [7, 2]
    assert bytes(test.images.flatten().tolist()) == PIXELS[:1568]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_both_layouts_gzipped_and_plain(tiny, flat, packed):
    for name, content in CONTENT.items():
        (tiny / "mnist" / f"{name}.gz").unlink()
        place = (tiny if flat else tiny / "mnist") / (f"{name}.gz" if packed else name)
        place.write_bytes(gzip.compress(content) if packed else content)
    check_tiny(tiny)


def test_the_container_does_not_matter_only_what_is_in_it(tiny):
    """Mirrors compress differently, and some unpack a file without renaming it."""
    path = tiny / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(CONTENT[IMAGES], compresslevel=1, mtime=12345))
    check_tiny(tiny)
    path.write_bytes(CONTENT[IMAGES])
    check_tiny(tiny)


def test_the_environment_variable_names_the_folder_and_the_argument_wins(tiny, monkeypatch):
    monkeypatch.setenv(mnist.VARIABLE, str(tiny))
    check_tiny(None)
    assert "does not exist" in refusal(tiny / "elsewhere")
    monkeypatch.setenv(mnist.VARIABLE, str(tiny / "elsewhere"))
    check_tiny(tiny)


@pytest.mark.parametrize("named", [None, ""])
def test_no_folder_named(named):
    text = refusal(named)
    assert "--data" in text and mnist.VARIABLE in text and "docs/data.md" in text


def test_folder_absent(tmp_path):
    text = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in text and "--data" in text


def test_a_file_given_as_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "--data" in refusal(tmp_path / "file")


@pytest.mark.parametrize("name", CONTENT)
def test_file_absent(tiny, name):
    (tiny / "mnist" / f"{name}.gz").unlink()
    text = refusal(tiny, "train" if name.startswith("train") else "test")
    assert name in text and str(tiny / "mnist") in text and "docs/data.md" in text


@pytest.mark.parametrize("keep", [2, 12, 60, -4])
def test_truncated_gzip(tiny, keep):
    path = tiny / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:keep])
    text = refusal(tiny)
    assert str(path) in text and "damaged" in text and "get the file again" in text


def test_damage_inside_the_gzip_stream(tiny):
    path = tiny / "mnist" / f"{IMAGES}.gz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    assert "get the file again" in refusal(tiny)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", ["one bit", "one byte short", "empty"])
def test_another_payload(tiny, packed, damage):
    content = bytearray(CONTENT[IMAGES])
    if damage == "one bit":
        content[-1] ^= 1
    content = content[: {"one bit": None, "one byte short": -1, "empty": 0}[damage]]
    path = tiny / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(content) if packed else bytes(content))
    text = refusal(tiny)
    assert str(path) in text and "MD5" in text and f"{len(content):,} bytes" in text
    assert "get the file again" in text


def test_files_that_changed_places(tiny):
    shutil.copy(tiny / "mnist" / "t10k-images-idx3-ubyte.gz", tiny / "mnist" / f"{IMAGES}.gz")
    assert "not the MNIST file of that name" in refusal(tiny)


@needs_data
def test_the_real_mnist():
    train, test = mnist.load("train", FOLDER), mnist.load("test", FOLDER)
    assert train.images.shape == (60_000, 28, 28) and len(train.digit) == 60_000
    assert test.images.shape == (10_000, 28, 28) and len(test.digit) == 10_000
    assert train.digit[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.digit[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.digit.long().bincount().tolist()[:2] == [5923, 6742]
    assert train.images.max() == 255 and train.images[:, 0].max() < 255  # ink is in the middle
