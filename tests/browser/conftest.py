"""One browser for a module's tests. Where there is none, they skip and say why."""

from __future__ import annotations

import pytest

from tests.browser import chromium


@pytest.fixture(scope="module")
def browser():
    """Chromium, as Playwright's `Browser`; skips where it, or Playwright, is missing.

    Not for the whole run: Playwright does not start a second time in a process where it is on, and
    other modules start it as well.
    """
    if chromium.missing():
        pytest.skip(str(chromium.missing()))
    with chromium.browser() as launched:
        yield launched
