"""JTT and DFR in miniature, as arms of a comparison: the worst group gains (arXiv 2107.09044, 2204.02937)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.recorded import again, recorded

CONF = "study/spurious_colour"


@pytest.mark.slow
def test_two_phases_lift_the_worst_group(tmp_path: Path) -> None:
    rows = recorded(CONF)
    found = again(tmp_path, CONF, [rows[name] for name in ("erm", "rgd", "jtt", "dfr")])
    for name in ("jtt", "dfr"):
        assert found[name]["wins"] >= 9, name
        assert found[name]["difference_mean"] > 0.05, name
        # What one phase gets out of the losses alone is far from it.
        assert found[name]["difference_mean"] > 2 * found["rgd"]["difference_mean"], name
