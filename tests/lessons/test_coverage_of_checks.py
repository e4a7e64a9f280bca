"""No exercise goes without wrong answers that its check was shown to refuse."""

import importlib

import pytest

from tests.lessons.machinery import CheckSuite
from utils.lessons import places
from utils.lessons.manifest import read_manifest
from utils.lessons.source import sources

LESSONS = sorted(sources(places.PACKAGE_ROOT))


def test_the_manifest_lists_every_source():
    assert sorted(read_manifest(places.PACKAGE_ROOT)) == LESSONS


@pytest.mark.parametrize("name", LESSONS)
def test_each_exercise_has_three_wrong_answers(name):
    module = importlib.import_module(f"tests.lessons.test_checks_{name}")
    suites = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, CheckSuite) and value is not CheckSuite
    ]
    assert len(suites) == 1 and suites[0].lesson == name
    assert suites[0].root == places.PACKAGE_ROOT
    exercises = read_manifest(places.PACKAGE_ROOT)[name]["exercises"]
    assert {e: len(suites[0].wrong.get(e, [])) >= 3 for e in exercises} == dict.fromkeys(
        exercises, True
    )
    assert set(suites[0].wrong) <= set(exercises), "wrong answers of an exercise that is gone"
    assert all(reason.strip() for reason in suites[0].no_fault.values())
