"""Regenerates ``docs/evidence.md``: what a draw itself tells of how right it is, measured on answers of local models.

``make evidence`` computes everything from the records of the demo and ``benchmarks/long_answers.jsonl.gz``; how these
were drawn stands on the page. ``--only PART`` makes one part anew and keeps the others from ``docs/evidence.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import evidence_day_one
import evidence_demo
import evidence_long
import evidence_page
import evidence_router

DOCS = Path(__file__).parent.parent / "docs"
SECTIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "demo": evidence_demo.measure,
    "day_one": evidence_day_one.measure,
    "long": evidence_long.measure,
    "routers": evidence_router.measure,
}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, default=None)
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page anew")
    options = parser.parse_args()
    kept = DOCS / "evidence.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in [] if options.page else options.only or SECTIONS:
        figures[name] = _rounded(SECTIONS[name]())
        kept.write_text(json.dumps(figures, indent=1) + "\n")
    (DOCS / "evidence.md").write_text(evidence_page.page(figures))


if __name__ == "__main__":
    main()
