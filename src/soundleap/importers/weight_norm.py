"""Weight norm: a weight kept as directions and their norms, made one tensor again.

Source: Salimans and Kingma, Weight Normalization (2016), equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from soundleap.errors import BundleError

SPELLINGS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
"""Names of norms and directions: of torch before 2.0 and after."""


def fold_weight_norm(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with one ``weight`` in place of every pair; all else is passed on.

    Raises:
        BundleError: if one half of a pair is missing.
    """
    state: dict[str, Tensor] = {}
    for name, value in published.items():
        for norms, directions in SPELLINGS:
            if name.endswith(f".{norms}"):
                _other(published, name, norms, directions)
                break
            if name.endswith(f".{directions}"):
                scale = _other(published, name, directions, norms)
                state[name.removesuffix(directions) + "weight"] = _fold(scale, value)
                break
        else:
            state[name] = value
    return state


def _other(published: Mapping[str, Tensor], name: str, own: str, other: str) -> Tensor:
    partner = name.removesuffix(own) + other
    if partner not in published:
        raise BundleError(f"{name} has no {partner} beside it")
    return published[partner]


def _fold(norms: Tensor, directions: Tensor) -> Tensor:
    rows = directions.float().flatten(1)
    scale = norms.float().flatten(1) / rows.norm(dim=1, keepdim=True)
    return (rows * scale).reshape(directions.shape)
