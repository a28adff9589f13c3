"""Reports of an evaluation: a page in one file and a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soundleap.errors import check_range
from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.record_io import write_atomically
from soundleap.evaluation.report_html import report_page
from soundleap.evaluation.report_markdown import report_markdown
from soundleap.evaluation.report_pictures import spectrogram_grid

__all__ = ["report_markdown", "report_page", "spectrogram_grid", "write_report"]

PAGE_FILE, MARKDOWN_FILE = "report.html", "evaluation.md"
MOST_MEGABYTES = 2000.0


def write_report(
    record: EvaluationRecord,
    folder: str | Path,
    *,
    others: Sequence[EvaluationRecord] = (),
    audio_megabytes: float = 24.0,
) -> list[Path]:
    """Write `evaluation.md` and `report.html`; each appears whole or not at all.

    The page holds everything in one file and loads nothing: sounds and spectrograms of some clips,
    numbers, configuration. It needs the sound files where the record says they are; what is not
    there any more is named in the page.

    Args:
        record: the evaluation.
        folder: where to; made if it is not there.
        others: evaluations under the same protocol, drawn beside this one against their effort.
        audio_megabytes: most of all sounds in the page, 0 to 2000; the page tells what did not fit.

    Returns:
        The two paths.

    Raises:
        InputError: for a limit out of range, or `others` that can't be compared with it.
    """
    from soundleap.evaluation.compare_checks import check_comparable

    check_range("audio_megabytes", audio_megabytes, 0, MOST_MEGABYTES, "MB")
    if others:
        check_comparable([record, *others])
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    page = report_page(record, others=others, audio_megabytes=audio_megabytes)
    for name, text in ((MARKDOWN_FILE, report_markdown(record)), (PAGE_FILE, page)):
        write_atomically(root / name, text.encode())
    return [root / MARKDOWN_FILE, root / PAGE_FILE]
