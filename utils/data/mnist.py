"""MNIST from a folder that you already have: nothing is downloaded.

The four IDX files may be plain or gzipped, in the folder itself or in `mnist/` below it. Each is
recognised by the MD5 of its *uncompressed* payload, because gzip containers differ from mirror to
mirror. Format: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from utils.errors import CourseError

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE = "COURSE_DATA"  # environment variable that names the data folder
FILES = {  # name -> MD5 of the uncompressed payload
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DataError(CourseError):
    """A data folder or file is absent or not what it should be."""


@dataclass(frozen=True)
class Mnist:
    """images: [n, 28, 28] uint8, ink is 255. digit: [n] uint8."""

    images: Tensor
    digit: Tensor


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder given, else the one named by COURSE_DATA. Raises DataError when there is none."""
    chosen = folder if folder is not None else os.environ.get(VARIABLE)
    if not chosen:
        raise DataError(
            "This needs data that the course does not ship. Name its folder with --data DIR or the "
            f"environment variable {VARIABLE}; docs/data.md says which files go where."
        )
    path = Path(chosen).expanduser()
    if not path.is_dir():
        raise DataError(f"The data folder {path} does not exist; give an existing one with --data.")
    return path


def find(name: str, folder: Path) -> Path:
    """Where one of the four files lies, gzipped or plain. Raises DataError when it is absent."""
    places = [folder / part / (name + end) for part in ("mnist", ".") for end in (".gz", "")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"{name}(.gz) is not in {folder / 'mnist'} nor in {folder}; docs/data.md says what "
            "the folder must hold."
        )
    return path


def payload(name: str, folder: Path) -> bytes:
    """The uncompressed, checked bytes of one of the four files. Needs no torch.

    Raises DataError when the file is absent, is not readable as gzip, or has the wrong payload.
    """
    path = find(name, folder)
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); get the file again.") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != FILES[name]:
        raise DataError(
            f"{path} is not the MNIST file of that name ({len(content):,} bytes after "
            "decompression, and its MD5 differs); get the file again."
        )
    return content


def load(part: Literal["train", "test"] = "train", folder: str | Path | None = None) -> Mnist:
    """The 60,000 training or 10,000 test images. Raises DataError as `payload` does."""
    import torch

    stem = {"train": "train", "test": "t10k"}[part]
    place = data_folder(folder)
    images = payload(f"{stem}-images-idx3-ubyte", place)
    digit = payload(f"{stem}-labels-idx1-ubyte", place)
    # The payload's MD5 was checked, so the headers (16 and 8 bytes) are known to be right.
    pixels = torch.frombuffer(bytearray(images[16:]), dtype=torch.uint8).view(-1, 28, 28)
    return Mnist(pixels, torch.frombuffer(bytearray(digit[8:]), dtype=torch.uint8))
