"""detect and the sweeps: on toys whose answer is known, on the shipped trojans, on wrong inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from utils.anomaly import (
    AnomalyError,
    ClassMahalanobis,
    Mahalanobis,
    MaxSoftmax,
    Nearest,
    Norm,
    Spectral,
    contamination,
    detect,
    pool_shares,
    sample_sizes,
)
from utils.anomaly.detection import ALL, MEASURES, RAW
from utils.models import zoo
from utils.reports import Report
from utils.sites import Site, SiteError
from utils.trojans import known


class Toy(HookedRootModule):
    """Four units carry the input; with `hidden`, a product of two inputs moves units 0 and 1.

    Anomalous inputs are those where inputs 2 and 3 agree in sign: each input alone is as usual.
    """

    def __init__(self, hidden: bool, width: int = 4) -> None:
        super().__init__()
        self.hidden, self.width = hidden, width
        self.hook_units = HookPoint()
        self.hook_late = HookPoint()
        self.setup()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        units = inputs[:, : self.width].clone()
        if self.hidden:
            units[:, 0] = units[:, 0] + 9 * (inputs[:, 2] * inputs[:, 3] > 0)
        late = self.hook_late(1000 * self.hook_units(units))
        return torch.stack([late[:, 1], -late[:, 1]], 1) / 1000


def drawn(n, seed, same_sign):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    sign = x[:, 2].sign() * (1 if same_sign else -1)
    return torch.cat([x[:, :3], (x[:, 3].abs() * sign)[:, None]], 1)


CASE = {
    "trusted": drawn(600, 1, False), "test": drawn(400, 2, False), "anomalous": drawn(300, 3, True),
}  # fmt: skip
SITE = Site("hook_units")


def toy(**more):
    options = {**CASE, "twin": Toy(False), "detectors": [Mahalanobis(), Nearest()], **more}
    return detect(options.pop("model", Toy(True)), options.pop("sites", SITE), **options)


# --- known answers -----------------------------------------------------------------------------


def test_a_hidden_mechanism_is_found_in_the_network_and_not_in_its_twin():
    found = toy()
    assert found["AUROC, hook_units, Mahalanobis"].value == 1
    for name in ("AUROC, hook_units, Mahalanobis, clean twin", f"AUROC, {RAW}, Nearest"):
        if name.endswith("twin"):
            # two inputs that go together are correlated, which a Mahalanobis distance may notice
            assert 0.3 < found[name].value < 0.8
    assert found["caught, hook_units, Mahalanobis"].value == 1
    assert found["false alarms, hook_units, Mahalanobis"].value < 0.03
    # the twin's activations are the raw inputs here
    assert found[f"AUROC, {RAW}, Mahalanobis"].value == pytest.approx(
        found["AUROC, hook_units, Mahalanobis, clean twin"].value
    )


def test_clean_rows_called_anomalous_are_told_from_clean_ones_by_nothing():
    found = toy(anomalous=drawn(400, 9, False), detectors=None)
    for row in found.only("AUROC"):
        if not row.name.startswith("output"):
            assert row.estimate.low <= 0.5 <= row.estimate.high, row.name


def test_scales_of_layers_do_not_decide_when_they_are_combined():
    """hook_late is a thousand times hook_units: a plain mean of norms would see it alone."""
    sites = [Site("hook_units", neuron=[1, 2]), Site("hook_late", neuron=[0, 3])]
    found = toy(sites=sites, detectors=[Norm(), Mahalanobis()])
    both = found[f"AUROC, {ALL}, Mahalanobis"].value
    assert both > 0.95
    swapped = toy(sites=[Site("hook_late", neuron=[1, 2]), Site("hook_units", neuron=[0, 3])],
                  detectors=[Norm(), Mahalanobis()])  # fmt: skip
    for name in ("Norm", "Mahalanobis"):
        name = name.replace("Norm", "norm")
        assert swapped[f"AUROC, {ALL}, {name}"].value == pytest.approx(
            found[f"AUROC, {ALL}, {name}"].value, abs=1e-3
        )


def test_the_threshold_is_from_trusted_rows_alone():
    one = toy()
    other = toy(anomalous=CASE["anomalous"] + 50, test=CASE["test"][:200])
    limits = [{s.detector: s.limit for s in found.scores if s.who == "network"}
              for found in (one, other)]  # fmt: skip
    assert limits[0] == limits[1]


def test_the_shipped_trojan_its_twin_and_the_pixels():
    plan = known("matched")
    model, twin = zoo.load(plan.network), zoo.load(plan.twin)
    test = plan.held_out(600, seed=51)
    case = {
        "trusted": plan.world.sample("train", 1000, seed=50),
        "test": test[test.labels != plan.target],
        "anomalous": plan.triggered(plan.held_out(600, seed=52)),
    }
    found = detect(model, Site("hook_fc1"), twin=twin, **case)
    assert found["AUROC, hook_fc1, Mahalanobis"].low > 0.98
    assert abs(found["AUROC, hook_fc1, Mahalanobis, clean twin"].value - 0.5) < 0.08
    assert abs(found[f"AUROC, {RAW}, Mahalanobis"].value - 0.5) < 0.08
    assert found["false alarms, hook_fc1, Mahalanobis"].value < 0.03
    assert found["AUROC, hook_fc1, Mahalanobis"].n == len(torch.unique(
        torch.cat([case["test"].group, case["anomalous"].group])))  # fmt: skip


def test_the_same_call_on_strings():
    plan = known("pair")
    model, twin = zoo.load(plan.network), zoo.load(plan.twin)
    site = Site("blocks.1.hook_resid_post", position=-1)
    test = plan.held_out(500, seed=51)
    found = detect(
        model, site, trusted=plan.world.sample("train", 800, seed=50), twin=twin,
        test=test[test.labels != plan.target],
        anomalous=plan.triggered(plan.held_out(500, seed=52)), detectors=[Mahalanobis()],
    )  # fmt: skip
    assert found[f"AUROC, {site}, Mahalanobis"].value > 0.95
    assert found[f"AUROC, {site}, Mahalanobis, clean twin"].value < 0.58
    assert found[f"AUROC, {RAW}, Mahalanobis"].value < 0.75


# --- the report --------------------------------------------------------------------------------


def test_every_measure_has_its_twin_and_the_raw_input():
    found = toy(detectors=None)
    names = [row.name for row in found]
    for measure in MEASURES:
        assert f"{measure}, {RAW}, Mahalanobis" in names
        assert f"{measure}, hook_units, norm" in names
        assert f"{measure}, hook_units, norm, clean twin" in names
        assert f"{measure}, output, max softmax, clean twin" in names
    roles = {row.name: row.role for row in found}
    assert roles["AUROC, hook_units, norm"] == "result"
    assert roles["AUROC, output, max softmax"] == "baseline"
    assert roles["AUROC, hook_units, norm, clean twin"] == "control"
    assert isinstance(Report.from_json(found.to_json()), Report)
    assert len(json.loads(found.to_json())["rows"]) == len(names)
    text, page = str(found), found._repr_html_()
    assert text.count("hook_units") == 5 and "its clean twin" in text and "<th scope" in page
    assert len(found.only("caught")) == len(names) / 4
    with pytest.raises(AnomalyError, match="AUROC"):
        found.only("accuracy")
    assert len(found.figure().axes[0].get_yticklabels()) == len(found.lines()) == 8


# --- wrong inputs ------------------------------------------------------------------------------


def test_wrong_inputs_end_in_one_sentence():
    nan = CASE["test"].clone()
    nan[0, 0] = float("nan")
    one_group = replace(known("matched").held_out(100), group=torch.zeros(100))
    cases = {
        "5 trusted rows cannot give both": {"trusted": CASE["trusted"][:5]},
        "test: NaN or infinity": {"test": nan},
        "a twin has the same architecture": {"twin": Toy(False, width=3)},
        "the network itself": {"twin": (same := Toy(True)), "model": same},
        "Name one Site": {"sites": []},
        "Give one detector": {"detectors": []},
        "fpr is a share": {"fpr": 0},
        "anomalous: give a tensor": {"anomalous": [1, 2, 3]},
        "all in one group|of one group": {"trusted": one_group},
    }
    for words, wrong in cases.items():
        with pytest.raises(AnomalyError, match=words) as caught:
            toy(**wrong)
        assert str(caught.value).count("\n") == 0


def test_sites_of_another_model_are_named():
    with pytest.raises(SiteError, match="hook_units"):
        toy(sites=Site("blocks.0.hook_resid_post"))


def test_a_class_never_trusted_is_named():
    trusted = CASE["trusted"][CASE["trusted"][:, 1] > 0]  # all of class 0
    with pytest.raises(AnomalyError, match="never saw class 1"):
        toy(trusted=trusted, detectors=[ClassMahalanobis()])


def test_anomalies_among_the_trusted_rows_are_noted_where_they_can_be_seen():
    assert not toy().notes
    twice = torch.cat([CASE["trusted"], CASE["anomalous"][:3]])
    assert any("3 of the anomalous inputs stand among" in n for n in toy(trusted=twice).notes)
    plan = known("pair")
    trusted = plan.world.sample("train", 2000, seed=60).inputs
    odd = plan.triggered(plan.world.sample("train", 300, seed=53)).inputs
    test = plan.held_out(200, seed=51).inputs
    # seen while they are few; a tenth of the rows moves the covariance and hides itself
    for rows, noted in ((0, False), (10, True), (190, False)):
        found = detect(
            zoo.load(plan.network), Site("blocks.1.hook_resid_post", position=-1),
            trusted=torch.cat([trusted, odd[:rows]]), test=test, anomalous=odd[190:],
            twin=zoo.load(plan.twin), detectors=[Mahalanobis()],
        )  # fmt: skip
        assert any("Look at them" in note for note in found.notes) is noted


def test_few_trusted_rows_are_noted():
    assert any("largest score of 20" in n for n in toy(trusted=CASE["trusted"][:40]).notes)
    assert any("too few for a threshold" in n for n in toy(test=CASE["test"][:50]).notes)


# --- sweeps ------------------------------------------------------------------------------------


def test_more_trusted_rows_spread_less():
    found = sample_sizes(Toy(True), SITE, twin=Toy(False), sizes=(10, 400), draws=8, **CASE)
    few, many = (found.at("false alarms, Mahalanobis", n) for n in (10, 400))
    assert few.high - few.low > many.high - many.low and few.value > many.value
    assert found.at("AUROC, Mahalanobis", 400).low > 0.99
    assert "AUROC, Mahalanobis, clean twin" in found.curves and "trusted rows" in str(found)
    assert "<th" in found._repr_html_() and found.figure().axes
    with pytest.raises(AnomalyError, match="between 10 and the 600"):
        sample_sizes(Toy(True), SITE, twin=Toy(False), sizes=(5,), **CASE)


def test_contamination_blinds_the_threshold_before_the_ranking():
    found = contamination(
        Toy(True), SITE, twin=Toy(False), mixed=drawn(300, 5, True), shares=(0, 0.03, 0.4),
        draws=3, **CASE,
    )  # fmt: skip
    assert found.at("caught, Mahalanobis", "0 %").value == 1
    assert found.at("caught, Mahalanobis", "3 %").value < 0.6
    assert found.at("AUROC, Mahalanobis", "3 %").value > 0.97
    assert found.at("AUROC, Mahalanobis", "40 %").value < 0.8
    with pytest.raises(AnomalyError, match="cannot be taken"):
        contamination(Toy(True), SITE, twin=Toy(False), mixed=CASE["anomalous"][:2], **CASE)


def test_pools_with_more_poison_and_their_controls():
    found = pool_shares(
        Toy(True), SITE, twin=Toy(False), trusted=CASE["trusted"], ordinary=CASE["trusted"],
        anomalous=CASE["anomalous"], mislabelled=drawn(300, 8, False), label=0, shares=(0.05, 0.4),
        size=200, draws=2, detectors=[Spectral()],
    )  # fmt: skip
    assert found.at("spectral", "5 %").value > 0.95
    assert abs(found.at("spectral, no trigger", "5 %").value - 0.5) < 0.2
    assert found.at("spectral, clean twin", "5 %").value < 0.7
    with pytest.raises(AnomalyError, match="ordinary rows"):
        pool_shares(
            Toy(True), SITE, twin=Toy(False), trusted=CASE["trusted"], ordinary=CASE["test"],
            anomalous=CASE["anomalous"], mislabelled=CASE["anomalous"], label=0, size=900,
        )  # fmt: skip


def test_ten_thousand_rows_fit_in_one_call():
    wide = np.random.default_rng(0).normal(size=(10_000, 64))
    for detector in (Mahalanobis(), Nearest(), Norm()):
        assert len(detector.fit(wide[:1000]).score(wide)) == 10_000
    assert isinstance(MaxSoftmax(), MaxSoftmax) and isinstance(Toy(True), nn.Module)
