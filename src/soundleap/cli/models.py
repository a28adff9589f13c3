"""`soundleap models`: what is here."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

PUBLISHED = {
    "consistencytta": "ConsistencyTTA: one query, 10.24 s; Bai-YT/ConsistencyTTA",
    "tango": "TANGO: teacher, 200 steps, 10.24 s; declare-lab/tango and its variants",
    "audiolcm": "AudioLCM: 1 to 8 queries, up to 27 s; liuhuadai/AudioLCM",
    "make-an-audio-2": "Make-An-Audio 2: teacher, 100 steps; ByteDance/Make-An-Audio-2",
}
"""What `soundleap import` converts: what it is, and where it is published."""


def models(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Model folders or hub ids; left out: known models.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List models with licence, size, limits and measured quality."""
    from soundleap.errors import BundleError
    from soundleap.resolve import KNOWN_MODELS, open_model

    rows: dict[str, dict[str, Any]] = {}
    for source in sources or KNOWN_MODELS:
        try:
            rows[source] = _facts(open_model(source))
        except BundleError as error:
            if sources:
                raise
            rows[source] = {"missing": str(error)}
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for source, facts in rows.items():
        typer.echo(source)
        for name, value in facts.items():
            typer.echo(f"  {name:<24}{value}")
    if not sources:
        typer.echo(_importable())


def _importable() -> str:
    from soundleap.importers.licences import expression

    lines = ["can be imported (`soundleap import SRC OUT`; see its --help)"]
    for family, what in PUBLISHED.items():
        lines += [f"  {family:<24}{what}", f"  {'':<24}licence: {expression(family)}"]  # pyright: ignore[reportArgumentType]
    return "\n".join(lines)


def _facts(bundle: Any) -> dict[str, Any]:
    from soundleap.evaluation.rewarded import rewards_of_system

    manifest = bundle.manifest
    sampling = manifest.sampling
    facts: dict[str, Any] = {
        "name": f"{manifest.name} {manifest.version}",
        "family": manifest.kind,
        "licence": manifest.licence,
        "size": f"{manifest.size_in_bytes / 1e6:.1f} MB",
        "sampling_rate": f"{manifest.sampling_rate} Hz",
        "duration_in_s": f"{sampling.min_duration_in_s:g} to {sampling.max_duration_in_s:g}",
        "guidance_scale": f"{sampling.default_guidance_scale:g} by default",
    }
    for network in manifest.networks:
        default, most = sampling.step_limits(network)
        low, high = sampling.guidance_limits(network)
        facts[network] = f"1 to {most} steps (default {default}), guidance {low:g} to {high:g}"
    if rewards := rewards_of_system(manifest.provenance):
        facts["rewarded_by"] = ", ".join(name for name, _ in rewards) + " (no judges of it)"
    return {**facts, **manifest.quality, "folder": str(bundle.folder)}
