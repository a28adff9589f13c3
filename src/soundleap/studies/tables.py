"""Results of studies as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table; columns after the first are aligned to the right."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def short(value: float | None, digits: int = 3) -> str:
    """Format a number with so many significant digits; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.1e}"


def circumstances_line(result: Mapping[str, Any]) -> str:
    """Tell in one line what was measured on what, and when."""
    machine = result["machine"]
    load = machine.get("load_before")
    return (
        f"Model {result['model']} {result['model_version']}, {len(result['prompts'])} prompts of "
        f"{result['duration_in_s']:g} s, guidance {result['guidance_scale']:g}, seeds from "
        f"{result['seed']}; {result['date']}, {machine['cpu']}, {machine['usable_cores']} cores, "
        f"{machine['threads']} threads, load {'unknown' if load is None else f'{load:.1f}'}, "
        f"torch {machine['torch']}, soundleap {result['soundleap']}.\n"
    )


def solver_markdown(result: Mapping[str, Any]) -> str:
    """Lay out a solver study: for every grid, methods with queries and errors."""
    parts = ["# Solver error against teacher queries\n", circumstances_line(result)]
    for grid in result["results"].values():
        parts.append(f"## {grid['title']}\n")
        header = ["method", "calls", "queries", "RMS error", "of the way"]
        header += [f"t = {t:.0f}" for t in grid["t"]]
        rows = [
            [row["method"], str(row["calls"]), f"{row['queries']:g}", short(row["error"]),
             f"{100 * row['relative']:.2g} %", *(short(value, 2) for value in row["by_level"])]
            for row in grid["methods"]
        ]  # fmt: skip
        rows.append(["reference, half its steps", "", "", short(grid["reference_check"]), "",
                     *(short(value, 2) for value in grid["reference_check_by_level"])])  # fmt: skip
        parts.append(markdown_table(header, rows))
    return "\n".join(parts)


def students_markdown(result: Mapping[str, Any]) -> str:
    """Lay out a study of students."""
    header = ["way", "iterations", "teacher calls", "distance", "to walk", "± (paired)"]
    walk = [row for row in result["rows"] if row["way"] == "walk"]
    rows: list[list[str]] = []
    for row in result["rows"]:
        apart = paired(row, walk[-1]) if walk else (None, None)
        numbers = [str(row[key]) if row[key] is not None else "" for key in
                   ("iterations", "teacher_calls")]  # fmt: skip
        rows.append([row["way"], *numbers, short(row["distance"]),
                     *(short(value, 2) for value in apart)])  # fmt: skip
    note = (
        f"Distance of one-step answers from the end of the teacher's flow (RMS of latents; the ends"
        f" themselves have RMS {short(result['reference_rms'])} and change by "
        f"{short(result['reference_check'])} at half the steps).\n"
    )
    return "\n".join(
        ["# Students at equal cost\n", circumstances_line(result), note,
         markdown_table(header, rows)]
    )  # fmt: skip


def paired(row: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Give the mean difference of two rows over prompts, and its standard error."""
    differences = [a - b for a, b in zip(row["each"], other["each"], strict=True)]
    count = len(differences)
    mean = sum(differences) / count
    if row is other or count < 2:
        return None, None
    variance = sum((value - mean) ** 2 for value in differences) / (count - 1)
    return mean, (variance / count) ** 0.5


JUDGED = ("FD", "FD (64 PCs)", "recognised")


def steps_markdown(result: Mapping[str, Any]) -> str:
    """Lay out a study of steps: systems, cosines of pairs, latent distances."""
    header = ["system", *JUDGED, "seconds a sound", "seconds a second"]
    rows = [
        [row["system"], *judged_cells(row), short(row["seconds"]),
         short(row["seconds_per_second"])]
        for row in result["rows"]
    ]  # fmt: skip
    pairs = [
        [" / ".join(row["pair"]), f"{row['cosine']:.3f}", f"{row['other_clips']:.3f}"]
        for row in result["pairs"]
    ]
    latents = result["latents"]
    names = latents["systems"]
    apart = [
        [name, *(short(value) for value in values), short(level)]
        for name, values, level in zip(names, latents["distances"], latents["rms"], strict=True)
    ]
    return "\n".join([
        "# One query or more\n", circumstances_line(result), protocol_line(result),
        markdown_table(header, rows),
        "Agreement of the sounds (cosine of embeddings about their mean, same noise):\n",
        markdown_table(["pair", "same caption", "other captions"], pairs),
        "Distance of latents from the same noise (RMS):\n",
        markdown_table(["", *names, "own RMS"], apart),
    ])  # fmt: skip


def guidance_markdown(result: Mapping[str, Any]) -> str:
    """Lay out a study of guidance."""
    header = ["way", "scale", "queries", "distance to the teacher", *JUDGED, "seconds a sound"]
    rows: list[list[str]] = []
    for row in result["rows"]:
        start = [row["way"], f"{row['scale']:g}", str(row["queries"])]
        if "refused" in row:
            rows.append([*start, "refused", "", "", "", ""])
            continue
        rows.append([*start, short(row["distance"]), *judged_cells(row), short(row["seconds"])])
    refused = [row["refused"] for row in result["rows"] if "refused" in row]
    told = "".join(f"Refused: {text}.\n\n" for text in dict.fromkeys(refused))
    return "\n".join([
        "# Guidance as an input or by two queries\n", circumstances_line(result),
        protocol_line(result), markdown_table(header, rows), told,
    ])  # fmt: skip


def protocol_line(result: Mapping[str, Any]) -> str:
    """Tell which sounds were judged."""
    return f"Sounds: {result['protocol']}, hash {result['protocol_hash'][:12]}.\n"


def judged_cells(row: Mapping[str, Any]) -> list[str]:
    """Format the judges' numbers of a system with their intervals; nothing where there are none."""
    if "fd" not in row:
        return ["", "", ""]
    cells = [short(row["fd"]["value"])]
    for name, factor, unit in (("fd-pca64", 1, ""), ("accuracy", 100, " %")):
        found = row.get(name)
        if found is None:
            cells.append("")
            continue
        value, low, high = (
            None if found[key] is None else found[key] * factor for key in ("value", "low", "high")
        )
        span = "" if low is None or high is None else f" ({short(low)} to {short(high)})"
        cells.append(f"{short(value)}{unit}{span}")
    return cells
