import math
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_2d.py"


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_example_runs_and_draws(tmp_path: Path, guidance: float):
    pytest.importorskip("matplotlib")
    out = tmp_path / "toy.png"
    main = runpy.run_path(str(EXAMPLE))["main"]
    distances = main(steps=5, distill_steps=3, guidance=guidance, count=40, out=str(out))
    assert distances.keys() == {"jump", "walk"}
    assert all(math.isfinite(value) for value in distances.values())
    assert out.stat().st_size > 10_000
    with out.open("rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
