"""How near an output must come to its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor


class Kind(Enum):
    """Kinds of outputs, each with its tolerance: a share of the output's scale, or absolute.

    The scale is the largest absolute value of the reference. The references were computed in
    float32 by other code, so both sides carry its rounding: about 1e-7 an operation, more where
    differences of large numbers are taken. Members are told apart by name; values may be equal.
    """

    EXACT = ("integers", 0.0, True)
    COUNT = ("samples of 16 bits: one step, where the truncation falls on either side", 1.0, True)
    LOOKUP = ("times looked up in a table by an interpolation of our own", 0.05, True)
    TIMES = ("times by a formula", 1e-6)
    TABLE = ("tables of a schedule, scalings, windows", 2e-6)
    LEVELS = ("noise levels, of which the references round 1 - alpha^2 to float32", 5e-5)
    EMBEDDING = ("sines of large angles, which are rounded to float32", 1e-4)
    STEP = ("one step of a solver, and other arithmetic", 5e-6)
    MEL = ("a spectrogram, its logarithm, or its filters", 1e-5)
    LN = ("a natural logarithm that reaches down to rounding: compared before it is taken", 1e-5)
    NETWORK = ("what a network or a submodule gives", 1e-5)
    LOSS = ("a loss", 1e-5)
    GRADIENT = ("a gradient", 5e-5)
    SAMPLE = ("networks asked one after another, as a sampler does", 5e-5)

    def __init__(self, meaning: str, tolerance: float, absolute: bool = False) -> None:
        """Keep the parts of the value."""
        self.meaning = meaning
        self.tolerance = tolerance
        self.absolute = absolute


@dataclass(frozen=True)
class Row:
    """One output, compared.

    Attributes:
        item: name of the item with its set, as its files are called.
        output: name of the output without ``out/``; empty for a fault of the whole item.
        difference: largest absolute difference; None where nothing could be compared.
        relative: the same as a share of the scale (for `Kind.LN` both without the logarithm).
        tolerance: largest allowed `relative`, or `difference` for kinds with an absolute one.
        passed: whether it is near enough.
        note: why not, where there is more to say.
    """

    item: str
    output: str
    difference: float | None = None
    relative: float | None = None
    tolerance: float | None = None
    passed: bool = False
    note: str = ""

    def line(self) -> str:
        """Spell the row out as one line."""
        name = f"{self.item} {self.output}".rstrip()
        figures = "".join(
            f"  {label} {value:.1e}" if value is not None else ""
            for label, value in (
                ("max", self.difference),
                ("rel", self.relative),
                ("tol", self.tolerance),
            )
        )
        end = "pass" if self.passed else "FAIL"
        return f"{name}{figures}  {end}{': ' + self.note if self.note else ''}"


def compare(item: str, output: str, ours: Tensor, reference: Tensor, kind: Kind) -> Row:
    """Compare an output with its reference.

    Types may differ, shapes may not; integers must be equal but for the kinds with an absolute
    tolerance. A value that is not finite fails on either side.
    """
    if ours.shape != reference.shape:
        note = f"ours is {tuple(ours.shape)}, the reference {tuple(reference.shape)}"
        return Row(item, output, note=note)
    got, wanted = (x.detach().cpu().double() for x in (ours, reference))
    if not bool(torch.isfinite(wanted).all()):
        return Row(item, output, note="the reference is not finite")
    if not bool(torch.isfinite(got).all()):
        return Row(item, output, note="ours is not finite")
    if not wanted.numel():
        return Row(item, output, note="the reference is empty")
    difference = float((got - wanted).abs().max())
    if kind is Kind.LN:
        got, wanted = got.exp(), wanted.exp()
    scale = float(wanted.abs().max())
    share = float((got - wanted).abs().max())
    relative = share / scale if scale else (math.inf if share else 0.0)
    allowed = 0.0 if not reference.is_floating_point() and not kind.absolute else kind.tolerance
    passed = (difference if kind.absolute else relative) <= allowed
    return Row(item, output, difference, relative, allowed, passed)
