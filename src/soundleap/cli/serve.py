"""`soundleap serve`: the HTTP API and the studio page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundleap.errors import InputError


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name, folder or hub id; several may be given, the first one is the default."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="FILE[:WEIGHT] of `soundleap finetune`, for the first model."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8765,
    workers: Annotated[int, typer.Option(help="Processes for each model.")] = 1,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A key a line; without it everybody may ask.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep only the part at work in memory.")
    ] = False,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Sounds made at once.  [default: 1 on a CPU, else 8]")
    ] = None,
    batch_window: Annotated[
        float, typer.Option(help="Milliseconds to wait for sounds that can share a batch.")
    ] = 5.0,
    max_queue: Annotated[int, typer.Option(help="Sounds that may wait, for each model.")] = 64,
    max_queue_per_client: Annotated[
        int, typer.Option(help="Of them, from one key or address.")
    ] = 32,
    max_takes: Annotated[int, typer.Option(help="Sounds of one job.")] = 16,
    max_best_of: Annotated[int, typer.Option(help="Tries of a sound, 1 to 16.")] = 8,
    max_audio: Annotated[float, typer.Option(help="Seconds of sound of one job.")] = 300.0,
    queue_timeout: Annotated[
        float, typer.Option(help="Seconds that a direct request may wait.")
    ] = 60.0,
    timeout: Annotated[float, typer.Option(help="Seconds that a batch may take.")] = 300.0,
    drain_timeout: Annotated[
        float, typer.Option(help="Seconds for running work when stopping.")
    ] = 60.0,
    keep_results: Annotated[
        float, typer.Option(help="Seconds that a finished job is kept.")
    ] = 3600.0,
    keep_megabytes: Annotated[
        float, typer.Option(help="Sound that finished jobs may hold.")
    ] = 256.0,
    rate_limit: Annotated[
        float | None, typer.Option(help="Requests a minute for each key or address.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Web origin whose pages may ask; may be repeated.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name the server answers to; any if not on loopback. May be repeated."),
    ] = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts into the log.")
    ] = False,
) -> None:
    """Serve models over HTTP, and the studio page.

    Log lines are JSON on stderr. SIGTERM and Ctrl-C finish what runs and cancel what waits.
    """
    try:
        from soundleap.server.run import LOOPBACK, is_loopback
        from soundleap.server.run import serve as serve_app
        from soundleap.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "soundleap":
            raise
        raise InputError(
            f"{error.name} is not installed; serving needs `pip install 'soundleap[serve]'`"
        ) from None
    from soundleap.adapters import parse_adapter

    names = (*(allowed_host or ()), *LOOPBACK) if is_loopback(host) else tuple(allowed_host or ())
    settings = ServerSettings(
        models=tuple(model or ("default",)),
        workers=workers,
        device=device,
        dtype=dtype,
        low_memory=low_memory,
        adapters=tuple(
            (one.path, 1.0 if one.weight is None else one.weight)
            for one in map(parse_adapter, adapter or ())
        ),
        max_batch_size=max_batch_size,
        batch_window_in_s=batch_window / 1000.0,
        max_queue=max_queue,
        max_queue_per_client=max_queue_per_client,
        max_takes=max_takes,
        max_best_of=max_best_of,
        max_audio_in_s=max_audio,
        queue_timeout_in_s=queue_timeout,
        timeout_in_s=timeout,
        drain_timeout_in_s=drain_timeout,
        results_kept_in_s=keep_results,
        results_kept_bytes=round(keep_megabytes * 1e6),
        api_key_file=api_key_file,
        rate_limit=rate_limit,
        cors_origins=tuple(cors_origin or ()),
        allowed_hosts=names or ("*",),
        log_prompts=log_prompts,
    )
    serve_app(settings, host, port)
