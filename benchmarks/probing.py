"""Probes with their controls, contrast pairs, and erasure, over several networks each.

Gathers the parts that are installed; each is a module here with `rows(quick)` and `table(rows)`.
"""

from __future__ import annotations

from benchmarks.gathered import Gathered

PARTS = ("selectivity", "contrast", "erasure")
_gathered = Gathered("probing", PARTS)
parts, rows, table = _gathered.parts, _gathered.rows, _gathered.table
