"""Checks, hints and data of lesson 13. Reading it spoils the exercises."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_choice,
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)

CASES = ("solid", "pattern", "matched", "pair")
WIDEST = 2048  # features at a Site that 13.7 will still invert a covariance for


@lru_cache(maxsize=1)
def load_model() -> dict[str, nn.Module]:
    """Trojaned networks by name, "evasive", and "twin", "twin of matched", "twin of pair"."""
    from utils.models import zoo

    networks = {name: zoo.load(f"trojan-{name}") for name in (*CASES, "evasive")}
    for key, name in (("", "plain"), (" of matched", "clutter"), (" of pair", "names")):
        networks[f"twin{key}"] = zoo.load(f"twin-{name}")
    return networks


def load_data() -> dict[str, Any]:
    """By trojan: trusted, test (clean) and anomalous rows, and triggered ones to mix in."""
    from utils.anomaly.walk import case

    return {name: case(name) for name in CASES}


# --- 13.1 ------------------------------------------------------------------------------------


def _cloud() -> tuple[Tensor, Tensor]:
    """Trusted [60, 5] and new [7, 5] rows: correlated, of unequal spread, far from zero."""
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(5, 5, generator=generator) * torch.tensor([4.0, 2, 1, 0.5, 0.2])[:, None]
    trusted = torch.randn(60, 5, generator=generator) @ mix + 6
    new = torch.randn(7, 5, generator=generator) @ mix + 4
    return trusted.double(), new.double()


def _squared(trusted: Tensor, new: Tensor, share: float, **how: Any) -> Tensor:
    """The distance and its likely misreadings, [m]."""
    mean = how.get("mean", trusted.mean(0))
    centred = trusted - (0 if how.get("uncentred") else trusted.mean(0))
    covariance = centred.T @ centred / (len(trusted) - how.get("less", 0))
    if how.get("diagonal"):
        covariance = covariance.diag().diag()
    d = len(covariance)
    target = covariance.trace() * torch.eye(d).double() / (1 if how.get("sum") else d)
    if how.get("unit"):
        target = torch.eye(d).double()
    if how.get("swapped"):
        share = 1 - share
    away = new - mean
    return (away @ torch.linalg.inv((1 - share) * covariance + share * target) * away).sum(1)


@check(
    "13.1",
    hints=[
        "Four steps: take away the trusted mean (from the new rows too), the covariance of the "
        "trusted rows, the mix with the identity, and for each new row the form x C⁻¹ x.",
        "`covariance = centred.T @ centred / len(trusted)`. The mean variance is "
        "`covariance.diagonal().mean()`; multiply the identity by that, and mix.",
        "For many rows at once: `(away @ torch.linalg.inv(mixed) * away).sum(1)`, where `away` is "
        "`new - trusted.mean(0)`.",
    ],
    expects="a function that returns a tensor",
)
def check_distance(answer: Any, lab: Any) -> str | None:
    trusted, new = _cloud()
    found = expect_tensor(call(answer, trusted, new, 0.3), (7,), name="the distances").double()
    right = [_squared(trusted, new, 0.3, less=less) for less in (0, 1)]
    wrong = {
        "these are distances; the *squared* ones were asked for.": right[0].sqrt(),
        "the mean of the new rows was taken away. In use they come one at a time: centre on the "
        "trusted mean.": _squared(trusted, new, 0.3, mean=new.mean(0)),
        "no mean was taken away from the new rows.":
            _squared(trusted, new, 0.3, mean=torch.zeros(5).double()),
        "the covariance is not centred: take the trusted mean away first.":
            _squared(trusted, new, 0.3, uncentred=True),
        "the identity is multiplied by the sum of the variances, d times too much: take the mean.":
            _squared(trusted, new, 0.3, sum=True),
        "the identity is not multiplied by the mean variance: then the result hangs on the unit of "
        "the activations.": _squared(trusted, new, 0.3, unit=True),
        "`share` belongs to the identity, `1 - share` to the covariance.":
            _squared(trusted, new, 0.3, swapped=True),
        "`share` has no effect; the covariance is not shrunk.": _squared(trusted, new, 0.0),
        "this is the plain Euclidean distance, up to a factor: the covariance has no effect.":
            _squared(trusted, new, 1.0),
        "only the variances are used: neurons that move together need the whole covariance.":
            _squared(trusted, new, 0.3, diagonal=True),
        "the covariance is that of the new rows.":
            _squared(new, new, 0.3, mean=trusted.mean(0)),
    }  # fmt: skip
    for message, value in wrong.items():
        if torch.allclose(found, value, rtol=1e-4):
            raise CheckFailed(message)
    if not any(torch.allclose(found, value, rtol=1e-4) for value in right):
        expect_close(found, right[0], name="the distance of a known row")
    for share in (0.05, 1.0):
        again = call(answer, trusted, new, share)
        closest = min(
            (_squared(trusted, new, share, less=less) for less in (0, 1)),
            key=lambda value: float((value - torch.as_tensor(again)).abs().sum()),
        )
        expect_close(again, closest, rtol=1e-3, name=f"the distance with share {share}")
    few = expect_tensor(
        call(answer, trusted[:4], new, 0.1), (7,), name="the distances from 4 rows of 5 features"
    )
    if not (few > 0).all():
        raise CheckFailed("with 4 trusted rows of 5 features some distances are not above zero.")
    return "Measured in units of the trusted cloud, and defined where neurons are dead."


# --- 13.2 and 13.3 ---------------------------------------------------------------------------


def _recall(fit: Tensor, rows: Tensor) -> Tensor:
    """How far each row [n, 1] is from the nearest fitted one: 0 for a row that was fitted."""
    return (rows - fit.T).abs().min(1).values


def _value(fit: Tensor, rows: Tensor) -> Tensor:
    """The row itself."""
    return rows[:, 0]


@check(
    "13.2",
    hints=[
        "Split the trusted rows in two. `score(fit, rows)` is called twice: for the other half, "
        "and for the new rows, each time with the same `fit`.",
        "Sort the other half's scores. With n of them and fpr = .01, at most `int(0.01 * n)` may "
        "lie above the threshold: which one is it?",
        "`held.sort().values[n - 1 - int(fpr * n)]`, and an alarm is a score *above* that.",
    ],
    expects="a function that returns a true/false tensor",
)
def check_alarms(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(5)
    flat = torch.ones(40, 1).double()
    none = expect_tensor(call(answer, _value, flat, flat, 0.05), (40,), "bool", "alarms(...)")
    if none.any():
        raise CheckFailed(
            "rows that score exactly what every trusted row scores raise an alarm: an alarm is a "
            "score *above* the threshold."
        )
    # the scores do not depend on the fit: count what lies above the threshold
    trusted = torch.randperm(400, generator=generator).double()[:, None]
    far = 1000 + torch.arange(50.0).double()[:, None]
    if not expect_tensor(call(answer, _value, trusted, far, 0.05), (50,), "bool").all():
        raise CheckFailed(
            "new rows that all score far above every trusted one must all raise an alarm. Was the "
            "threshold set with the new rows?"
        )
    raised = expect_tensor(call(answer, _value, trusted, trusted, 0.05), (400,), "bool")
    if raised.double().mean() > 0.5:
        raise CheckFailed(
            "the threshold lies at the wrong end: higher scores are odder, and a share `fpr` of "
            "the held rows lies *above* it."
        )
    between = torch.full((1, 1), 0.5).double()
    # two rows of 400 score 1: whatever the halves, two of 200 may lie above, so 1 is not reached
    for pair in ([0, 1], [398, 399], [0, 2], [1, 3], *torch.randint(400, (8, 2)).tolist()):
        rare = torch.zeros(400, 1).double()
        rare[pair] = 1
        if not call(answer, _value, rare, between, 0.01).all():
            raise CheckFailed(
                "of 200 rows in a half 1 %, that is two, may lie above the threshold; yours leaves "
                "fewer, and so it is too high."
            )
    # 301 rows of 400 score 1: whatever the halves, more than 100 of 200 do, so the threshold is 1
    common = torch.ones(400, 1).double()
    common[:99] = 0
    for rows in (common, common.flip(0), common.view(2, 200).T.reshape(400, 1),
                 common.view(2, 200).flip(0).T.reshape(400, 1)):  # fmt: skip
        if call(answer, _value, rows, between, 0.5).any():
            raise CheckFailed(
                "more of the held rows than the share `fpr` lie above your threshold: too low."
            )
    # a score that recalls what it was fitted to
    known = torch.randn(400, 1, generator=generator).double()
    fresh = torch.randn(2000, 1, generator=generator).double()
    rate = expect_tensor(call(answer, _recall, known, fresh, 0.05), (2000,), "bool")
    share = rate.double().mean().item()
    if share > 0.3:
        raise CheckFailed(
            f"with a score that recalls what it was fitted to, {share:.0%} of harmless rows raise "
            "an alarm at fpr 5 %. The threshold was set with rows of the fit."
        )
    if not 0.005 < share < 0.12:
        raise CheckFailed(f"{share:.1%} of harmless rows raise an alarm at fpr 5 %.")
    strange = call(answer, _recall, known, fresh + 100, 0.05)
    if not strange.all():
        raise CheckFailed(
            "rows far from every trusted one raise no alarm. Was the score fitted to the new rows?"
        )
    return "The threshold comes from trusted rows that the score was not fitted to."


@check(
    "13.3",
    hints=[
        "The threshold comes from the clean scores alone. The anomalies are only counted.",
        "With n clean scores at most `int(fpr * n)` may exceed it.",
        "`clean.sort().values[n - 1 - int(fpr * n)]`, then the mean of `odd > threshold`.",
    ],
    expects="a function that returns a number",
)
def check_caught(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(6)
    clean = torch.randperm(200, generator=generator).double()
    odd = torch.tensor([0.4, 60.4, 188.4, 196.0, 197.6, 198.4, 198.7, 240, 250, 260]).double()
    found = expect_number(call(answer, clean, odd, 0.01), 0, 1, "the share caught")
    # at most 2 of 200 may exceed: the threshold is 197, and six lie above
    for value, message in {
        0.3: "the threshold is the largest clean score: 1 % of them may lie above it.",
        0.9: "the threshold lies at the wrong end: it leaves 99 % of the clean scores above it.",
        0.4: "this counts those that score *below* the threshold.",
        0.1: "the threshold was taken from the anomalies; it comes from the clean scores.",
    }.items():
        if abs(found - value) < 1e-6:
            raise CheckFailed(message)
    expect_close(found, 0.6, name="the share caught of ten known anomalies")
    loose = expect_number(call(answer, clean, odd, 0.05), 0, 1, "the share caught at 5 %")
    expect_close(loose, 0.7, name="the share caught at 5 %")
    same = torch.ones(100).double()
    if expect_number(call(answer, same, same, 0.01), 0, 1, "the share caught") > 0:
        raise CheckFailed(
            "where all scores are equal nothing is caught: count those *above* the threshold."
        )
    return "Only clean scores set the threshold."


# --- 13.4 to 13.6 ----------------------------------------------------------------------------

READINGS = ("not found", "novelty", "mechanism, but the input suffices", "mechanism")


@check(
    "13.4",
    hints=[
        "Ask in the order of the list; each question makes sense if the one before was passed.",
        "A twin at .30 notices the inputs as well as one at .70: its score is only the wrong way "
        "round.",
        "Three `if`s: `network < 0.95`, `abs(twin - 0.5) > 0.08`, `raw >= 0.95`.",
    ],
    expects="a function that returns one of four texts",
)
def check_reading(answer: Any, lab: Any) -> str | None:
    for given, index, why in (
        ((1.0, 0.51, 0.50), 3, "found, the twin is blind and the pixels are"),
        ((1.0, 1.0, 1.0), 1, "the twin notices the inputs, too"),
        ((1.0, 1.0, 0.50), 1, "the twin notices, whatever the pixels say"),
        ((1.0, 0.20, 0.50), 1, "a twin far *below* one half notices as well"),
        ((1.0, 0.51, 1.0), 2, "the twin is blind, and the pixels would have done"),
        ((0.80, 0.51, 0.50), 0, ".80 is below .95"),
        ((0.80, 1.0, 1.0), 0, "what is not found needs no further question"),
        ((0.94, 0.50, 0.97), 0, "the network's own score decides first"),
        ((0.96, 0.57, 0.94), 3, ".07 away from one half is near enough"),
        ((0.96, 0.60, 0.94), 1, ".10 away from one half is too far"),
    ):
        found = expect_choice(call(answer, *given), READINGS, name=f"reading{given}")
        if found != READINGS[index]:
            raise CheckFailed(f"reading{given} is {found!r}; expected {READINGS[index]!r}: {why}.")
    return "The twin is asked before the pixels, and on both sides of one half."


@check(
    "13.5",
    hints=[
        "Put the new clean row among the n held ones. All n + 1 ranks are equally likely.",
        "With k held rows above the threshold, the new row alarms when it is among the k + 1 "
        "highest of the n + 1.",
        "`k = int(fpr * n)`, and the share is (k + 1) / (n + 1).",
    ],
    expects="a function that returns a number",
)
def check_expected(answer: Any, lab: Any) -> str | None:
    for n, fpr in ((15, 0.01), (150, 0.01), (500, 0.01), (99, 0.05), (40, 0.1), (1, 0.01)):
        found = expect_number(call(answer, n, fpr), 0, 1, f"expected_false_alarms({n}, {fpr})")
        k = int(fpr * n)
        right = (k + 1) / (n + 1)
        if abs(found - right) < 1e-6:
            continue
        hint = {
            fpr: "that is the share you asked for, not the one you get.",
            k
            / n: "no held row above is not yet no new row above: even the largest of 15 is beaten "
            "now and then.",
            k / (n + 1): "no held row above is not yet no new row above: count the new row's own "
            "place, too.",
            1 / (n + 1): "that is right while the threshold is the largest of the n rows; here "
            f"{k} of them lie above it.",
            (k + 1) / n: "with the new row there are n + 1 rows to be ranked.",
            (k + 1) / (2 * n + 1): "n is the number of rows that set the threshold already.",
        }
        for value, message in hint.items():
            if abs(found - value) < 1e-6:
                raise CheckFailed(f"for n = {n}, fpr = {fpr}: {message}")
        expect_close(found, right, name=f"expected_false_alarms({n}, {fpr})")
    return "True for every detector, as long as clean rows are drawn like the trusted ones."


@check(
    "13.6",
    hints=[
        "Of 1,000 trusted rows, 20 are anomalies, and at most 10 rows may lie above the threshold.",
        "In the best case for you all rows above the threshold are anomalies. Which share of the "
        "anomalies is that?",
        "fpr / dirty, and never more than 1.",
    ],
    expects="a function that returns a number",
)
def check_most(answer: Any, lab: Any) -> str | None:
    for dirty, fpr in ((0.02, 0.01), (0.05, 0.01), (0.2, 0.05), (0.01, 0.01), (0.005, 0.01),
                       (0.0, 0.01), (0.5, 0.02)):  # fmt: skip
        name = f"most_caught({dirty}, {fpr})"
        found = expect_number(call(answer, dirty, fpr), what=name)
        right = 1.0 if dirty <= fpr else fpr / dirty
        if found > 1 + 1e-9:
            raise CheckFailed(f"{name} is {found:.2f}: no more than all can be caught.", credit=0.5)
        if dirty > fpr and abs(found - (1 - fpr / dirty)) < 1e-6 and abs(right - 0.5) > 1e-6:
            raise CheckFailed(f"{name}: this is the share that is *missed*.")
        if abs(found - (1 - dirty)) < 1e-6 and dirty > fpr:
            raise CheckFailed(
                f"{name}: this is the share of clean rows among the trusted ones. Ask how many of "
                "the dirty rows can lie above the threshold."
            )
        expect_close(found, right, name=name)
    return "No cleverness of the detector is in it."


# --- 13.7 and 13.8 ---------------------------------------------------------------------------


@check(
    "13.7",
    hints=[
        "The loss made the network ordinary at `hook_fc1`. What was not in the loss?",
        "`detect(networks['evasive'], Site(...), twin=twin_of('matched'), "
        "detectors=[Mahalanobis()], **case.rows)` says what a Site catches. The input itself knows "
        "nothing; what comes after `hook_fc1` sees only `hook_fc1`.",
        "Look between: the stage before the hidden layer, or the hidden layer before its ReLU.",
    ],
    expects="a Site",
)
def check_watched(answer: Any, lab: Any) -> str | None:
    from utils.anomaly import Mahalanobis
    from utils.errors import CourseError
    from utils.ranking import threshold_at
    from utils.sites import Site

    site = expect_type(answer, Site, "the place to watch")
    network, rows = lab.model["evasive"], lab.data["matched"]

    def read(images: Tensor) -> Tensor:
        return site.read(network, images).flatten(1)

    try:
        width = read(rows.trusted.inputs[:2]).shape[1]
        if width > WIDEST:
            raise CheckFailed(
                f"this Site has {width} numbers an image, more than the trusted rows can fill; "
                f"take one of {WIDEST} or fewer, or a part of it."
            )
        known, clean, odd = (
            read(part.inputs) for part in (rows.trusted, rows.test, rows.anomalous)
        )
        half = len(known) // 2
        detector = Mahalanobis().fit(known[:half])
    except CourseError as error:
        raise CheckFailed(f"Mahalanobis cannot be fitted there: {error}") from error
    limit = threshold_at(detector.score(known[half:]))
    caught, false = (float((detector.score(x) > limit).mean()) for x in (odd, clean))
    if caught < 0.9:
        raise CheckFailed(
            f"at {site} it catches {caught:.2f} of the triggered images; 0.9 is asked for."
            + (" That is the place the attacker trained against." if site == Site("hook_fc1")
               else "")
        )  # fmt: skip
    if false > 0.03:
        raise CheckFailed(f"at {site} {false:.2f} of the clean images raise a false alarm.")
    return f"It catches {caught:.1f} there; the attacker did not look at that place."


CLAIMS = ("stands", "inputs differ", "tuned on anomalies", "too few trusted rows",
          "dirty trusted set", "untested against an adversary")  # fmt: skip
_RIGHT = {
    "a": ("inputs differ", "no trusted image has a sticker: what would pixels alone have given?"),
    "b": ("tuned on anomalies", "who said that the sign must be reversed?"),
    "c": ("too few trusted rows", "what would another draw of thirty images have given?"),
    "d": ("dirty trusted set", "it ranks perfectly and the threshold misses: who lies above it?"),
    "e": ("stands", "twin, pixels and threshold are all there, and it claims no more than that."),
    "f": ("untested against an adversary", "the numbers are about an attacker who did not try."),
}


@check(
    "13.8",
    hints=[
        "Ask each report for its missing row: the pixels, the twin, another draw, an attacker who "
        "knows the detector.",
        "`e` and `f` have the same numbers. What a result is worth depends on what is claimed.",
        "Each of the six answers is used once.",
    ],
    expects='a dict with the keys "a" to "f"',
)
def check_judged(answer: Any, lab: Any) -> str | None:
    given = expect_keys(answer, _RIGHT)
    wrong = []
    for key, (right, why) in _RIGHT.items():
        if expect_choice(given[key], CLAIMS, name=f"judged[{key!r}]") != right:
            wrong.append(f"{key}: {why}")
    if wrong:
        good = len(_RIGHT) - len(wrong)
        raise CheckFailed(
            f"{good} of 6 fit. {' '.join(wrong[:2])}", credit=0.5 if good >= 4 else 0.0
        )
    return "Each report was one row short, except one."
