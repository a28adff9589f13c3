"""Results of an evaluation as data, JSON, Markdown, JSON lines and a picture."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError
from soundleap.evaluation.frechet import FrechetResult
from soundleap.evaluation.tags import Accuracy

FloatArray = NDArray[np.floating[Any]]

METHOD = (
    "Fréchet distance: Gaussians over all patch embeddings (0.96 s patches every 0.48 s, the last "
    "one ending with the clip); lower is better. Clips below 0.975 s are zero-padded at the end. "
    "Tag accuracy: mean scores over patches, largest class of each label; 95 % Wilson interval."
)


@dataclass(frozen=True)
class ClipResult:
    """What happened to one clip.

    Attributes:
        role: "generated" or "reference".
        id: the clip's name.
        prompt: caption or prompt, if known.
        label: true class, if known.
        seconds: length that was heard; 0 if the clip was refused.
        predicted: class chosen by the tags, if a label set was given.
        notes: changes made to the sound (averaged channels, resampling, padding).
        fault: why the clip was refused; None if it was used.
    """

    role: str
    id: str
    prompt: str | None
    label: str | None
    seconds: float = 0.0
    predicted: str | None = None
    notes: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(frozen=True)
class SetSummary:
    """Totals of one set of clips.

    Attributes:
        role: "generated" or "reference".
        used: clips that were measured.
        refused: clips that were left out, each with its fault in the report.
        changed: clips with notes.
        patches: feature rows.
        seconds: total length heard.
        accuracy: tag accuracy of the labelled clips, if any.
        unlabelled: used clips without a label, though a label set was given.
    """

    role: str
    used: int
    refused: int
    changed: int
    patches: int
    seconds: float
    accuracy: Accuracy | None = None
    unlabelled: int = 0


@dataclass(frozen=True)
class EvaluationReport:
    """Everything an evaluation found.

    Attributes:
        embedder: name of the embedder.
        label_set: name of the label set, or None.
        frechet: one result per number of dimensions.
        sets: totals of the generated and the reference set.
        clips: one entry a clip, refused ones included.
    """

    embedder: str
    label_set: str | None
    frechet: tuple[FrechetResult, ...]
    sets: tuple[SetSummary, ...]
    clips: tuple[ClipResult, ...]

    def to_json(self) -> str:
        """Write all but the per-clip results, which `to_jsonl` gives, as JSON."""
        data = asdict(self)
        del data["clips"]
        data["method"] = METHOD
        data["refused"] = [asdict(clip) for clip in self.clips if clip.fault]
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_jsonl(self) -> str:
        """Write one JSON object a clip."""
        rows = (json.dumps(asdict(c), ensure_ascii=False, allow_nan=False) for c in self.clips)
        return "".join(row + "\n" for row in rows)

    def to_markdown(self) -> str:
        """Write tables of distances, sets, confusion and refused clips."""
        parts = [f"# Evaluation with {self.embedder}", METHOD, _frechet_table(self.frechet)]
        parts += [f"- {warning}" for result in self.frechet for warning in result.warnings]
        parts.append(_set_table(self.sets))
        parts += [_confusion_table(s.role, s.accuracy) for s in self.sets if s.accuracy]
        refused = [clip for clip in self.clips if clip.fault]
        if refused:
            rows = [[clip.role, clip.id, clip.fault or ""] for clip in refused]
            parts.append("Refused clips:\n\n" + _table(["set", "clip", "reason"], rows))
        return "\n\n".join(parts) + "\n"


def write_report(report: EvaluationReport, folder: str | Path) -> list[Path]:
    """Write `evaluation.json`, `evaluation.md` and `clips.jsonl`; each appears whole or not at all.

    Returns:
        The three paths.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    texts = {
        "evaluation.json": report.to_json(),
        "evaluation.md": report.to_markdown(),
        "clips.jsonl": report.to_jsonl(),
    }
    for name, text in texts.items():
        _write(root / name, text.encode())
    return [root / name for name in texts]


def spectrogram_grid(
    waveforms: Sequence[FloatArray],
    titles: Sequence[str],
    path: str | Path,
    *,
    sampling_rate: int = 16000,
    columns: int = 4,
) -> None:
    """Draw the spectrograms of waveforms [S_i] as a grid, dB over time and frequency, into a PNG.

    Raises:
        InputError: no waveforms, counts differ, or columns < 1.
    """
    if not waveforms or len(waveforms) != len(titles) or columns < 1:
        raise InputError(
            f"{len(waveforms)} waveforms, {len(titles)} titles, {columns} columns; "
            "allowed: one title a waveform, at least one of each"
        )
    import io

    from matplotlib.figure import Figure

    width = min(columns, len(waveforms))
    rows = -(-len(waveforms) // width)
    figure: Any = Figure(figsize=(3.2 * width, 2.2 * rows), layout="constrained")
    axes: Any = figure.subplots(rows, width, squeeze=False).ravel()
    for axis in axes[len(waveforms) :]:
        axis.set_axis_off()
    for axis, waveform, title in zip(axes, waveforms, titles, strict=False):
        extent = (0, waveform.size / sampling_rate, 0, sampling_rate / 2000)
        axis.imshow(
            _levels(waveform), origin="lower", aspect="auto", extent=extent, vmin=-100, vmax=0
        )
        axis.set_title(title, fontsize=8)
    figure.supxlabel("seconds", fontsize=8)
    figure.supylabel("kHz", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    _write(Path(path), buffer.getvalue())


def _levels(waveform: FloatArray) -> FloatArray:
    size, hop = 1024, 256
    padded = np.pad(waveform, (0, max(0, size - waveform.size)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(size))) * (4 / size)
    return 20 * np.log10(np.maximum(magnitude.T, 1e-5))


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _frechet_table(results: Sequence[FrechetResult]) -> str:
    rows = [
        [str(r.dimensions), f"{r.distance:.4g}", str(r.generated_count), str(r.reference_count)]
        for r in results
    ]
    return _table(["dimensions", "Fréchet distance", "generated rows", "reference rows"], rows)


def _set_table(sets: Sequence[SetSummary]) -> str:
    header = "set, used, refused, changed, patches, seconds, tag accuracy, unlabelled".split(", ")
    rows = [
        [
            *(s.role, str(s.used), str(s.refused), str(s.changed), str(s.patches)),
            *(f"{s.seconds:.1f}", _percent(s.accuracy), str(s.unlabelled)),
        ]
        for s in sets
    ]
    return _table(header, rows)


def _percent(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "none"
    low, high = 100 * accuracy.low, 100 * accuracy.high
    return f"{100 * accuracy.accuracy:.1f} % ({low:.1f} to {high:.1f}, n = {accuracy.count})"


def _confusion_table(role: str, accuracy: Accuracy) -> str:
    rows = [
        [label, *map(str, row)]
        for label, row in zip(accuracy.labels, accuracy.confusion, strict=True)
    ]
    return f"Confusion, {role} (rows: truth):\n\n" + _table(["", *accuracy.labels], rows)
