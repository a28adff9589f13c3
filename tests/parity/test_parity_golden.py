"""Every reference file, where they lie beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundleap.parity.run import FAMILIES, check_item

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
LONG = ("ctta_distill_stage2", "ctta_inference", "tango_unet_sampling")
"""Whole samplers and objectives of U-Nets: seconds to minutes."""


def paths(name: str) -> list[Path]:
    found = sorted(GOLDEN.glob(f"{name}_*.json"))
    if not found:
        pytest.skip(f"no reference tensors of {name} in {GOLDEN}")
    return [path.with_suffix("") for path in found]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in sorted(FAMILIES)],
)
def test_every_output_agrees(name: str):
    for path in paths(name):
        rows = list(check_item(path))
        described = json.loads(path.with_name(f"{path.name}.json").read_text())["outputs"]
        assert [f"out/{row.output}" for row in rows] == list(described)
        assert [row.line() for row in rows if not row.passed] == []


def test_every_reference_file_is_of_a_known_item():
    if not GOLDEN.is_dir():
        pytest.skip(f"no reference tensors in {GOLDEN}")
    names = {json.loads(path.read_text())["name"] for path in GOLDEN.glob("*.json")}
    assert names <= set(FAMILIES)
