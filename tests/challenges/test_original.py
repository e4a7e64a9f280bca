"""The original challenge: the published figures where its files are present, errors where not."""

import pytest
import torch

from tests.optional_data import FOLDER, needs_data
from utils.challenges import cnn, original
from utils.data import mnist
from utils.models.cnn import ChallengeCNN


def refusal(folder):
    with pytest.raises(mnist.DataError) as caught:
        original.load_model(folder)
    text = str(caught.value)
    assert "\n" not in text and "mnist_model.pt" in text
    return text


def test_an_absent_network(tmp_path):
    text = refusal(tmp_path)
    assert str(tmp_path / "eis7") in text and "docs/data.md" in text


@pytest.mark.parametrize("folder", [".", "eis7"])
@pytest.mark.parametrize("content", [b"", b"not a network"])
def test_another_file_of_that_name(tmp_path, folder, content):
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / "mnist_model.pt"
    path.write_bytes(content)
    text = refusal(tmp_path)
    assert str(path) in text and "SHA-256" in text and "get the file again" in text


def test_another_network_of_the_same_shape_is_refused(tmp_path):
    torch.save(ChallengeCNN().state_dict(), tmp_path / "mnist_model.pt")
    assert "SHA-256" in refusal(tmp_path)


def test_the_case_needs_a_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(mnist.VARIABLE, raising=False)
    with pytest.raises(mnist.DataError, match="--data"):
        original.original_case(None)
    with pytest.raises(mnist.DataError, match="does not exist"):
        original.original_case(tmp_path / "nowhere")


# --- with the data ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case():
    torch.set_num_threads(1)
    return original.original_case(FOLDER)


@pytest.fixture(scope="module")
def ours(case):
    """what -> our figure, beside the published one. One draw of donors a dose is 60,000 swaps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnn, "REPEATS", 1)
        reports = {
            "agreement": cnn.agreement_report(case),
            "ablation": cnn.ablation_report(case),
            "resampling": cnn.dose_report(case),
        }
    return {row.what: row for row in original.compare(case, reports)}


@needs_data
def test_agreement_to_six_digits(ours):
    row = ours["agreement of program and network"]
    assert row.published == 0.9624667 and row.ours == pytest.approx(0.9624667, abs=1e-6)


@needs_data
def test_counts_of_the_three_parts(ours):
    counts = [ours[f"images {where} the band"].ours for where in ("under", "inside", "over")]
    assert counts == [13_913, 28_976, 17_111]


@needs_data
def test_principal_directions(case, ours):
    shares = [row.ours for what, row in ours.items() if "principal" in what]
    assert shares == pytest.approx([0.602, 0.290], abs=0.001)
    assert shares == pytest.approx(original.principal_shares(case))
    _, values, _ = torch.linalg.svd(case.cut.activations - case.cut.activations.mean(0), False)
    assert shares == pytest.approx((values**2 / (values**2).sum())[:2].tolist(), abs=1e-4)


@needs_data
def test_ablation_rows(ours):
    rows = [row for what, row in ours.items() if what.endswith("half")]
    assert [row.published for row in rows] == [0.48, 0.94, 0.99, 0.48, 0.48, 0.48]
    assert [row.ours for row in rows] == pytest.approx([row.published for row in rows], abs=0.005)


@needs_data
def test_doses(ours):
    rows = [row for what, row in ours.items() if "resampled" in what]
    assert [row.published for row in rows] == [0.95, 0.95, 0.93, 0.64, 0.50]
    assert [row.ours for row in rows] == pytest.approx([row.published for row in rows], abs=0.01)


@needs_data
def test_the_erratum(case):
    as_printed, as_run = original.erratum(case)
    assert as_printed == pytest.approx(0.36065, abs=1e-4)
    assert as_run == pytest.approx(0.9624667, abs=1e-6)


@needs_data
def test_the_network_is_the_original_and_ready(case):
    assert not case.model.training and not any(p.requires_grad for p in case.model.parameters())
    assert sum(p.numel() for p in case.model.parameters()) == 81_850
    assert case.labels is None and len(case.cut) == 60_000
