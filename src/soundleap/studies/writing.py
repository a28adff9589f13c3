"""Writing a study's result: JSON, Markdown and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from soundleap.data.manifest import write_text_atomically


def write_result(
    folder: Path,
    name: str,
    result: Mapping[str, Any],
    markdown: Callable[[Mapping[str, Any]], str],
    plot: Callable[[Mapping[str, Any], Path], Path] | None,
) -> list[Path]:
    """Write a result into a study's folder, replacing what an earlier call summed up.

    Args:
        folder: of the study.
        name: of the files.
        result: JSON values.
        markdown: lays it out.
        plot: draws it; None for no picture.
    """
    written = [folder / f"{name}.json", folder / f"{name}.md"]
    write_text_atomically(written[0], json.dumps(result, indent=1) + "\n")
    write_text_atomically(written[1], markdown(result))
    if plot is not None:
        written.append(plot(result, folder / f"{name}.png"))
    return written
