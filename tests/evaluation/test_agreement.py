"""Our numbers against torchmetrics' on the same features, where it is installed (it needs none)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from soundleap.evaluation.features import Features
from soundleap.evaluation.frechet import frechet
from soundleap.evaluation.kernel import cubic, kernel_distance

pytest.importorskip(
    "torchmetrics", reason="torchmetrics is not installed; it is only compared with"
)


def sets(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) for _ in "xy")
    return x, y + 0.3


@pytest.mark.parametrize(("count", "size"), [(400, 32), (40, 64)])
def test_frechet_distance(count: int, size: int):
    from torchmetrics.image.fid import _compute_fid

    x, y = sets(count, size)
    arguments = [torch.tensor(a) for s in (x, y) for a in (s.mean(axis=0), np.cov(s.T))]
    assert frechet(x, y).distance == pytest.approx(float(_compute_fid(*arguments)), rel=1e-6)


def test_kernel_distance():
    from torchmetrics.image.kid import poly_mmd

    x, y = sets(200, 16)
    expected = float(poly_mmd(torch.tensor(x), torch.tensor(y)))
    found = kernel_distance(Features.of(x), Features.of(y), cubic).value
    assert found == pytest.approx(expected, rel=1e-9)
