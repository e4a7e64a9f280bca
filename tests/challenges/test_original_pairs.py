"""The original grid: what it gives away where the file is present, errors where it is not."""

import io
import pickle

import numpy as np
import pytest
import torch

from tests.optional_data import FOLDER, needs_data
from utils.challenges import original_pairs as op
from utils.challenges import pairs, pairs_reports
from utils.data import mnist


def refusal(folder):
    with pytest.raises(mnist.DataError) as caught:
        op.load_labels(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_absent_labels(tmp_path):
    text = refusal(tmp_path)
    assert str(tmp_path / "eis7") in text and "docs/data.md" in text


@pytest.mark.parametrize("name", op.NAMES)
@pytest.mark.parametrize("content", [b"", b"not a file of arrays", b"PK\x03\x04"])
def test_another_file_of_that_name(tmp_path, name, content):
    (tmp_path / "eis7").mkdir()
    (tmp_path / "eis7" / name).write_bytes(content)
    text = refusal(tmp_path)
    assert name in text and "get the file again" in text


def test_other_arrays_are_refused(tmp_path):
    cells = np.zeros((113, 113), np.uint8)
    np.savez(tmp_path / op.NAMES[0], labels=cells, model_labels=cells)
    assert "SHA-256" in refusal(tmp_path)
    (tmp_path / op.NAMES[0]).unlink()
    (tmp_path / op.NAMES[1]).write_bytes(pickle.dumps({"labels": cells, "model_labels": cells}))
    assert "SHA-256" in refusal(tmp_path)


class Harmful:
    ran = False

    def __reduce__(self):
        return (setattr, (Harmful, "ran", True))


def test_a_pickle_that_would_execute_something_is_refused(tmp_path):
    (tmp_path / op.NAMES[1]).write_bytes(pickle.dumps({"labels": Harmful()}))
    assert "damaged" in refusal(tmp_path) and not Harmful.ran


def test_array_pickles_of_the_old_and_the_new_numpy_are_read():
    array = np.arange(6.0).reshape(2, 3)
    text = pickle.dumps(array, protocol=3)  # names modules in plain text, as the file does
    assert b"numpy._core.multiarray" in text
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        renamed = text.replace(b"numpy._core.multiarray", module)
        assert np.array_equal(op._ArraysOnly(io.BytesIO(renamed)).load(), array)


def test_the_case_needs_a_folder(monkeypatch):
    monkeypatch.delenv(mnist.VARIABLE, raising=False)
    with pytest.raises(mnist.DataError, match="--data"):
        op.original_case(None)


def test_exact_heights_are_whole_number_arithmetic():
    a, b = torch.arange(113)[:, None], torch.arange(113)[None]
    sides = (b**4 >= 360_000 * a, a**4 < 40_000 * b, a + b >= 133)
    for heights, side in zip(op.exact_heights(), sides, strict=True):
        assert torch.equal(heights[:, None] <= b, side)


# --- with the data -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case():
    torch.set_num_threads(1)
    return op.original_case(FOLDER)


@needs_data
def test_both_files_hold_the_same(case):
    labels, answers = op.load_labels(mnist.data_folder(FOLDER))
    assert torch.equal(labels, case.labels) and torch.equal(answers, case.answers)
    assert int(case.wrong.sum()) == 174
    assert labels.double().mean().item() == pytest.approx(0.42799, abs=1e-5)


@needs_data
def test_the_split_is_that_of_seed_0(case):
    report = op.split_report(case)
    found, null = report["random.seed(0)"], report["random.seed(1) to (20)"]
    assert found.value == 155 / 174 and found.low > null.high
    for row in report:
        if row.role == "null":
            assert row.estimate.value == pytest.approx(0.5, abs=0.05)
    assert int((case.wrong & ~case.seen).sum()) == 155


@needs_data
def test_the_published_accuracy_assumes_a_perfect_training_half(case):
    published, train, test = op.compare(case)
    assert published.ours == pytest.approx(0.9727, abs=1e-4)
    assert train.ours == pytest.approx(0.9970, abs=1e-4)
    assert test.ours == pytest.approx(test.published, abs=1e-6)


@needs_data
def test_three_curves_and_row_bits_are_the_grid(case):
    report = op.exact_report(case)
    rows = {row.name: row for row in report}
    exact = rows["three curves and a table of row bits"]
    assert exact.estimate.value == 1 and exact.note == "12769 of 12769 cells, 363 row bits"
    assert all(row.estimate.value < 0.98 for row in report if row is not exact)


@needs_data
def test_the_curves_are_found_from_its_answers_to_half_of_the_pairs(case):
    assert sorted(str(c.power) for c in case.fit.curves) == ["1/4", "4", "None"]
    said = case.fit.pieces.table()
    assert (said == case.labels)[~case.seen].double().mean() > 0.99


@needs_data
def test_in_its_gaps_it_guesses(case):
    report = pairs_reports.gap_report(case)
    inside = report["network right, in the gaps"]
    assert inside.value == pytest.approx(0.544, abs=0.001) and inside.low < 0.5 < inside.high
    assert pairs.found_rules(pairs_reports.rules_report(case)) == []


@needs_data
def test_a_replica_makes_the_same_mistakes(case):
    said = []
    replica = op.replica_case(case, said.append)
    assert len(said) == 6
    report = op.replica_report(case, replica)
    assert report["replica right"].value == pytest.approx(0.975, abs=0.01)
    shared = report["errors of the original that the replica shares"]
    assert shared.low > 10 * report["errors shared by chance"].value
