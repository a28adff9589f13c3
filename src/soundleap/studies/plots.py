"""Pictures of studies; they need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundleap.errors import SoundleapError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"ddim": "tab:blue", "heun": "tab:orange", "dpmpp_2m": "tab:green"}
SHOWN = ("ddim-1", "ddim-4", "ddim-8", "heun-1", "heun-4", "dpmpp_2m-4")
"""Methods in the panels by noise level."""


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure without a window.

    Raises:
        SoundleapError: if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise SoundleapError(
            'plots need matplotlib: run `pip install "soundleap[plot]"`, or give --no-plot'
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    from matplotlib import pyplot

    figure.tight_layout()
    partial = path.with_suffix(".partial")
    figure.savefig(partial, dpi=80, format="png")
    pyplot.close(figure)
    partial.replace(path)
    return path


def plot_solver(result: Mapping[str, Any], path: Path) -> Path:
    """Draw error against queries, and below it error against noise level, a column a grid."""
    grids = list(result["results"].values())
    figure, axes = new_figure(2, len(grids), 3.6 * len(grids), 6.4)
    for column, grid in enumerate(grids):
        _queries_panel(axes[0, column], grid)
        _levels_panel(axes[1, column], grid)
    axes[0, 0].set_ylabel("RMS error of latents")
    axes[1, 0].set_ylabel("RMS error of latents")
    axes[0, -1].legend(fontsize=8)
    axes[1, -1].legend(fontsize=7)
    return save(figure, path)


def _queries_panel(axis: Any, grid: Mapping[str, Any]) -> None:
    for solver, colour in COLOURS.items():
        rows = [row for row in grid["methods"] if row["method"].startswith(f"{solver}-")]
        x, y = ([row[key] for row in rows] for key in ("queries", "error"))
        axis.loglog(x, y, "o-", color=colour, label=solver)
        for row in rows:
            axis.annotate(row["method"].rpartition("-")[2], (row["queries"], row["error"]),
                          fontsize=7, xytext=(3, 3), textcoords="offset points")  # fmt: skip
    axis.axhline(grid["reference_check"], color="grey", linestyle=":", label="reference check")
    axis.set_title(grid["title"], fontsize=8)
    ticks = sorted({row["queries"] for row in grid["methods"]})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("network queries an interval", fontsize=8)


def _levels_panel(axis: Any, grid: Mapping[str, Any]) -> None:
    for row in grid["methods"]:
        if row["method"] in SHOWN:
            solver, _, steps = row["method"].rpartition("-")
            style = {"1": "-", "4": "--", "8": ":"}[steps]
            axis.semilogy(grid["t"], row["by_level"], style, color=COLOURS[solver],
                          label=row["method"])  # fmt: skip
    axis.set_xlabel("t, where the interval starts", fontsize=8)


def plot_students(result: Mapping[str, Any], path: Path) -> Path:
    """Draw the students' distance against iterations and against teacher calls."""
    figure, axes = new_figure(1, 2, 8, 3.4)
    for axis, key in zip(axes[0], ("iterations", "teacher_calls"), strict=True):
        for way in ("jump", "heun", "walk"):
            rows = sorted((r for r in result["rows"] if r["way"] == way), key=lambda r: r[key])
            axis.plot([r[key] for r in rows], [r["distance"] for r in rows], "o-", label=way)
        axis.set_xlabel(key.replace("_", " "))
        axis.set_xlim(left=0)
    axes[0, 0].set_ylabel("distance from the teacher's flow")
    axes[0, 0].legend()
    return save(figure, path)


def plot_steps(result: Mapping[str, Any], path: Path) -> Path:
    """Draw quality against time (where it was judged) and agreement with the last system."""
    figure, axes = new_figure(1, 2, 9, 3.4)
    for row in result["rows"]:
        if "fd-pca64" in row:
            found = row["fd-pca64"]
            low, high = (
                max(0.0, sign * (found["value"] - end)) if end is not None else 0.0
                for sign, end in ((1, found["low"]), (-1, found["high"]))
            )
            axes[0, 0].errorbar(row["seconds"], found["value"], [[low], [high]], fmt="o")
            axes[0, 0].annotate(row["system"], (row["seconds"], found["value"]), fontsize=8,
                                xytext=(4, 4), textcoords="offset points")  # fmt: skip
    axes[0, 0].set_xscale("log")
    axes[0, 0].xaxis.set_minor_formatter("{x:.2g}")
    axes[0, 0].set_xlabel("median seconds of work a sound")
    axes[0, 0].set_ylabel("FD (64 PCs)")
    names = [row["system"] for row in result["rows"]]
    with_last = {tuple(row["pair"]): row["cosine"] for row in result["pairs"]}
    values = [with_last.get((name, names[-1]), 1.0) for name in names[:-1]]
    axes[0, 1].bar(names[:-1], values)
    axes[0, 1].set_ylabel(f"cosine with {names[-1]}")
    return save(figure, path)


def plot_guidance(result: Mapping[str, Any], path: Path) -> Path:
    """Draw distance to the teacher and the judges' numbers against the scale, a line a way."""
    rows = [row for row in result["rows"] if "refused" not in row]
    figure, axes = new_figure(1, 3, 11, 3.4)
    for axis, (name, title) in zip(
        axes[0],
        (("distance", "one step: RMS to the teacher"), ("fd-pca64", "FD (64 PCs)"),
         ("accuracy", "recognised")),
        strict=True,
    ):  # fmt: skip
        for way in dict.fromkeys(row["way"] for row in rows):
            shown = [row for row in rows if row["way"] == way and name in row]
            values = [row[name] if name == "distance" else row[name]["value"] for row in shown]
            axis.plot([row["scale"] for row in shown], values, "o-", label=way)
        axis.set_xlabel("guidance scale")
        axis.set_title(title, fontsize=9)
    axes[0, 0].legend(fontsize=8)
    return save(figure, path)
