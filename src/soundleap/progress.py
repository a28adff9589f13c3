"""A progress bar over the steps of sampling."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import Tensor

from soundleap.diffusion.sampling import SampleCallback


@contextmanager
def progress_bar(
    wanted: bool, steps: int, callback: SampleCallback | None
) -> Generator[SampleCallback | None]:
    """Give a callback that moves a bar on stderr and then calls `callback`, where there is one.

    Args:
        wanted: False gives `callback` back as it is.
        steps: how many calls fill the bar.
        callback: called after every step.
    """
    if not wanted:
        yield callback
        return
    from tqdm import tqdm

    with tqdm(total=steps, desc="steps", leave=False) as bar:

        def report(step: int, timestep: float, x_0: Tensor) -> None:
            bar.update()
            if callback is not None:
                callback(step, timestep, x_0)

        yield report
