"""Tools that must do something an engineer needs: edits of facts, trojans, anomalies.

Gathers the parts that are installed; each is a module here with `rows(quick)` and `table(rows)`.
"""

from __future__ import annotations

from benchmarks.gathered import Gathered

PARTS = ("editing", "trojans", "anomaly")
_gathered = Gathered("engineering", PARTS)
parts, rows, table = _gathered.parts, _gathered.rows, _gathered.table
