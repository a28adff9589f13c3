"""What `soundleap bench distill` is asked to measure, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from soundleap.bench.settings import MOST_BATCH, MOST_RUNS, MOST_THREADS, check_whole
from soundleap.errors import unknown_name

CaseName = Literal["default", "consistencytta-stage1", "consistencytta-stage2", "audiolcm"]
"""What can be measured."""
Precision = Literal["float32", "bfloat16"]
PRESETS: dict[CaseName, str] = {
    "default": "default-distill",
    "consistencytta-stage1": "consistencytta-stage1",
    "consistencytta-stage2": "consistencytta-stage2",
    "audiolcm": "audiolcm",
}
"""The preset whose objective a case runs."""
FAMILIES: dict[str, tuple[CaseName, ...]] = {
    "default": ("default",),
    "consistencytta": ("consistencytta-stage1", "consistencytta-stage2"),
    "audiolcm": ("audiolcm",),
}
"""Cases of a family."""


@dataclass(frozen=True, kw_only=True)
class DistillBenchSettings:
    """What to measure.

    Attributes:
        cases: see `cases_of`.
        batch_size: clips of ten seconds in a step.
        iterations: measurements, after one that does not count.
        threads: that torch uses inside an operation; None leaves torch's default.
        dtype: "float32", or "bfloat16": mixed precision, with the teacher's weights stored so.
        checkpointing: recompute the student's activations on the way back; less memory, more time.
        reduced: for machines that can't hold an iteration: the networks share their weights, which
            stay as they are in a temporary file, gradients are dropped as they come, and AdamW and
            the averages are measured apart, some tensors at a time. The times are the same; the
            memory is not what training needs.
        stock: also time the plain formulation, in turn with ours in one process.
        size: "published", or "tiny" to try the command out.
    """

    cases: tuple[CaseName, ...] = get_args(CaseName)
    batch_size: int = 1
    iterations: int = 3
    threads: int | None = None
    dtype: Precision = "float32"
    checkpointing: bool = False
    reduced: bool = False
    stock: bool = False
    size: Literal["published", "tiny"] = "published"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: naming the first value that is not allowed.
        """
        check_whole("batch_size", self.batch_size, MOST_BATCH)
        check_whole("iterations", self.iterations, MOST_RUNS)
        if self.threads is not None:
            check_whole("threads", self.threads, MOST_THREADS)
        if self.dtype not in get_args(Precision):
            raise unknown_name("dtype", self.dtype, get_args(Precision))
        if self.size not in ("published", "tiny"):
            raise unknown_name("size", self.size, ("published", "tiny"))

    def has_stock(self, case: CaseName) -> bool:
        """Tell whether a case is compared; the default family has no original."""
        return self.stock and case != "default"


def cases_of(names: Sequence[str]) -> tuple[CaseName, ...]:
    """Give the cases of families or cases by name, each once, in order; none gives all.

    Raises:
        InputError: for an unknown name.
    """
    if not names:
        return get_args(CaseName)
    known = {**FAMILIES, **{case: (case,) for case in get_args(CaseName)}}
    for name in names:
        if name not in known:
            raise unknown_name("family", name, known)
    return tuple(dict.fromkeys(case for name in names for case in known[name]))
