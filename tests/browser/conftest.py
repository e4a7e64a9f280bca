"""One browser for a worker's tests. Where there is none, they skip and say why."""

from __future__ import annotations

import pytest

from tests.browser import chromium


@pytest.fixture(scope="session")
def browser():
    """Chromium, as Playwright's `Browser`; skips where it, or Playwright, is missing."""
    if chromium.missing():
        pytest.skip(str(chromium.missing()))
    with chromium.browser() as launched:
        yield launched
