"""`soundleap generate`: sounds from text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundleap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soundleap.adapters import AdapterSource
    from soundleap.cli.engines import Opened
    from soundleap.output import Result
    from soundleap.requests import Request


def generate(
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT...", help="What is to be heard.")
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option("--prompts", help="File with a prompt a line, or .jsonl with settings each."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file for one sound, or a folder.")
    ] = ".",
    audio_format: Annotated[
        str | None, typer.Option("--format", help="wav, flac, ogg, opus or mp3.")
    ] = None,
    count: Annotated[int, typer.Option(help="Sounds for each prompt.")] = 1,
    best_of: Annotated[
        int, typer.Option(help="Tries for each sound, 1 to 16; the one that fits best is kept.")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option(help="Of the first sound; the others count up. Drawn if left out.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Network queries (or solver steps).")] = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none; more is closer.")] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be heard.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds.  [default: 5]")] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Use the slow teacher.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="FILE[:WEIGHT] of `soundleap finetune`; may be repeated."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="torch or onnx.  [default: what the model folder is for]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep only the part at work in memory.")
    ] = False,
    struct_prompt: Annotated[
        str | None, typer.Option(help="Structured caption: '<event& tag>@<event& tag>'.")
    ] = None,
    structure: Annotated[
        str, typer.Option(help="How a missing one is made: all, split or endpoint.")
    ] = "all",
    guidance_post: Annotated[
        float | None, typer.Option(help="Guidance of the student's answers; 1 is none.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="Of the teacher: ddim, heun, dpmpp_2m or ddpm.")
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="Sample as the published system's scripts do.")
    ] = False,
    spectrogram: Annotated[
        bool, typer.Option("--spectrogram", help="Also write a picture beside each sound.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            help="i/n: make every n-th sound, from the i-th on; can be repeated to go on."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Don't write settings into the files.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="Repeat the sound of a generated file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Allow another model than --from's or --adapter's.")
    ] = False,
) -> None:
    """Make sounds from text.

    Every file carries its settings (see `soundleap show`); `--from FILE` makes the same again, with
    the same `--adapter FILE` where there were any.
    """
    from soundleap.cli.engines import open_for, used_adapters
    from soundleap.ranking import check_best_of
    from soundleap.requests import Request, complete_all, spread_seeds
    from soundleap.ways import with_structure

    if check_best_of(best_of) > 1 and shard is not None:
        raise InputError("--shard makes one try of each sound; leave --best-of out")
    settings = {
        "negative_prompt": negative,
        "duration_in_s": duration,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "network": "teacher" if teacher else None,
        "struct_prompt": struct_prompt,
        "guidance_scale_post": guidance_post,
        "solver": solver,
        "compat": compat or None,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    texts = prompts or []
    adapters: list[AdapterSource] = [*(adapter or [])]
    if from_file is not None:
        others = [
            *given,
            *(["seed"] if seed is not None else []),
            *(["count"] if count != 1 else []),
            *(["shard"] if shard is not None else []),
            *(["best_of"] if best_of != 1 else []),
        ]
        _refuse_others(texts, prompts_file, others)
        bundle = open_for(engine, model)
        requests, made_with, adapters = _repeated(from_file, bundle, force, adapters)
        dtype = dtype or made_with
    else:
        common = Request("", **given)  # pyright: ignore[reportArgumentType]
        asked = _requests(texts, prompts_file, common)
        if shard is not None:
            from soundleap.cli.offline import check_list

            check_list(asked, seed, structure, overwrite=overwrite, spectrogram=spectrogram)
        requests = spread_seeds(asked, seed, count)
        bundle = open_for(engine, model)
        requests = with_structure(requests, structure, bundle.manifest.sampling)
    samples = complete_all(requests, bundle.manifest)  # before torch; tokens are counted later
    used = used_adapters(bundle, adapters, force=force)
    if shard is not None:
        from soundleap.cli.offline import folder_for, make_missing

        folder = folder_for(
            samples, output, shard, bundle, audio_format=audio_format,
            metadata=not no_metadata, dtype=dtype, adapters=used,
        )  # fmt: skip
        with folder:
            make_missing(
                folder, bundle, quiet, device=device, dtype=dtype, low_memory=low_memory,
                adapters=used,
            )  # fmt: skip
        return
    writer = _Writer(requests, output, audio_format, overwrite, spectrogram, not no_metadata, quiet)
    writer.best_of = best_of
    writer.run(bundle, device=device, dtype=dtype, low_memory=low_memory, adapters=used)


class _Writer:
    """Plans the files, makes the sounds and writes each as soon as it is there."""

    def __init__(
        self,
        requests: list[Request],
        output: str,
        audio_format: str | None,
        overwrite: bool,
        spectrogram: bool,
        metadata: bool,
        quiet: bool,
    ) -> None:
        from soundleap.audio.names import check_writable, plan_paths

        sounds = [(request.prompt, request.seed or 0) for request in requests]
        self.paths = plan_paths(output, sounds, audio_format)
        self.pictures = [path.with_suffix(".png") for path in self.paths] if spectrogram else []
        check_writable([*self.paths, *self.pictures], overwrite=overwrite)
        self.requests = requests
        self.best_of = 1
        self.format = audio_format
        self.overwrite = overwrite
        self.metadata = metadata
        self.quiet = quiet

    def run(self, bundle: Opened, **loading: Any) -> None:
        """Make and write everything; `loading` goes to `make_generator`."""
        from tqdm import tqdm

        from soundleap.cli.engines import make_generator

        generator = make_generator(bundle, **loading)
        hidden = True if self.quiet else None  # None: shown on a terminal only
        with tqdm(total=len(self.requests), unit="sound", disable=hidden, leave=False) as bar:
            for position, result in self._sounds(generator):
                line = self._write(position, result)
                bar.update()
                if not self.quiet:
                    with bar.external_write_mode():
                        typer.echo(line)

    def _sounds(self, generator: Any) -> Iterator[tuple[int, Result]]:
        if self.best_of == 1:
            return generator.stream(self.requests)
        from soundleap.ranking import best_takes

        return best_takes(generator, self.requests, self.best_of)

    def _write(self, position: int, result: Result) -> str:
        from soundleap.audio.io import write_audio
        from soundleap.audio.picture import write_spectrogram

        path, rate = self.paths[position], result.sampling_rate
        write_audio(
            path,
            result.waveform,
            rate,
            format=self.format,
            metadata=result.metadata if self.metadata else None,
            overwrite=self.overwrite,
        )
        if self.pictures:
            picture = self.pictures[position]
            write_spectrogram(picture, result.waveform, rate, overwrite=self.overwrite)
        seconds, length = sum(result.seconds.values()), result.waveform.shape[1] / rate
        return (
            f"{path}  seed {result.seed}  {length:g} s in {seconds:.2f} s "
            f"(real-time factor {seconds / length:.3f}){_ranking(result.metadata)}"
        )


def _ranking(metadata: dict[str, Any]) -> str:
    """Say how the tries of a kept sound were scored; nothing where there was one."""
    if "ranking" not in metadata:
        return ""
    scores, number = metadata["ranking"]["scores"], metadata["ranking"]["try"]
    others = " ".join(f"{score:.2f}" for score in scores)
    return f"  try {number} of {len(scores)} (scores {others})"


def _refuse_others(texts: list[str], prompts_file: Path | None, given: list[str]) -> None:
    others = (["a prompt"] if texts else []) + (["--prompts"] if prompts_file else []) + given
    if others:
        raise InputError(f"--from repeats a file as it is; leave out: {', '.join(others)}")


def _repeated(
    path: Path, bundle: Opened, force: bool, adapters: list[AdapterSource]
) -> tuple[list[Request], str | None, list[AdapterSource]]:
    from soundleap.adapters import repeated_adapters
    from soundleap.cli.jobs import check_same_model, repeat_request

    request, metadata = repeat_request(path)
    if not force:
        check_same_model(path, metadata, bundle.manifest)
    if adapters or metadata.get("adapters"):
        adapters = repeated_adapters(path, metadata, adapters)
    return [request], metadata.get("dtype"), adapters


def _requests(texts: list[str], prompts_file: Path | None, common: Request) -> list[Request]:
    from dataclasses import replace

    from soundleap.cli.jobs import read_prompts

    requests = [replace(common, prompt=text) for text in texts]
    if prompts_file is not None:
        requests += read_prompts(prompts_file, common)
    if not requests:
        raise InputError("no prompt is given; give PROMPT, --prompts FILE or --from FILE")
    return requests
