"""`soundleap batch`: a long list of sounds, in this process or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from soundleap.errors import InputError, check_range, unknown_name

ENGINES = ("local", "ray")


def batch(
    prompts: Annotated[
        Path, typer.Option(help="File with a prompt a line, or .jsonl with settings each.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="A folder.")],
    engine: Annotated[str, typer.Option(help="local (this process) or ray.")] = "local",
    seed: Annotated[
        int | None, typer.Option(help="Of the first sound; needed unless every line has one.")
    ] = None,
    count: Annotated[int, typer.Option(help="Sounds for each prompt.")] = 1,
    audio_format: Annotated[
        str | None, typer.Option("--format", help="wav, flac, ogg, opus or mp3.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Network queries (or solver steps).")] = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none; more is closer.")] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be heard.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds.  [default: 5]")] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Use the slow teacher.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: make every n-th sound only.")] = "1/1",
    threads: Annotated[
        int, typer.Option(help="CPU threads of each generator; samples depend on it by rounding.")
    ] = 1,
    workers: Annotated[int, typer.Option(help="Ray: actors, each with a model.")] = 1,
    gpus: Annotated[float, typer.Option(help="Ray: GPUs of each actor; parts are allowed.")] = 0.0,
    address: Annotated[
        str | None,
        typer.Option(help="Ray: of a running cluster, or auto; else one on this machine."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Make a long list of sounds; the same command again goes on where a run was ended.

    The samples do not depend on the engine or on the number of workers.
    """
    from soundleap.bundle_schema import NetworkName
    from soundleap.cli.jobs import read_prompts
    from soundleap.cli.offline import check_list, folder_for
    from soundleap.requests import Request, complete_all, spread_seeds
    from soundleap.resolve import open_model
    from soundleap.ways import with_structure

    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    for name, value, low, high in (
        ("threads", threads, 1, 1024), ("workers", workers, 1, 10_000), ("gpus", gpus, 0, 64)
    ):  # fmt: skip
        check_range(name, value, low, high)
    if engine == "local" and (workers, gpus, address) != (1, 0.0, None):
        raise InputError("--workers, --gpus and --address go with --engine ray; leave them out")
    network: NetworkName | None = "teacher" if teacher else None
    common = Request(
        "",
        negative_prompt=negative,
        duration_in_s=duration,
        num_inference_steps=steps,
        guidance_scale=guidance,
        network=network,
    )
    asked = read_prompts(prompts, common)
    check_list(asked, seed, "all")
    bundle = open_model(model)
    spread = with_structure(spread_seeds(asked, seed, count), "all", bundle.manifest.sampling)
    samples = complete_all(spread, bundle.manifest)
    folder = folder_for(
        samples, output, shard, bundle, audio_format=audio_format, metadata=True, dtype=dtype,
        threads=threads,
    )  # fmt: skip
    with folder:
        loading: dict[str, Any] = {"device": device, "dtype": dtype}
        if engine == "local":
            _local(folder, bundle, threads, quiet, loading)
        else:
            from soundleap.cluster.ray_data import RayOptions

            options = RayOptions(model, workers, threads, gpus, address, **loading)
            _on_ray(folder, options, quiet)


def _local(folder: Any, bundle: Any, threads: int, quiet: bool, loading: dict[str, Any]) -> None:
    from soundleap.cli.offline import make_missing

    if folder.missing:
        import torch

        torch.set_num_threads(threads)
    make_missing(folder, bundle, quiet, low_memory=False, **loading)


def _on_ray(folder: Any, options: Any, quiet: bool) -> None:
    from soundleap.cli.offline import progress, say_done
    from soundleap.cluster.ray_data import make

    if folder.missing:
        with progress(folder, quiet) as keep:
            wanted = {position: folder.samples[position] for position in folder.missing}
            for position, data in make(wanted, folder.format, options):
                keep(position, data)
    say_done(folder, quiet)
