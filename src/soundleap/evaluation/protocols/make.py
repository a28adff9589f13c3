"""Making the sounds of a protocol with a Soundleap model, ready to be evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from soundleap.audio.io import write_audio, write_bytes
from soundleap.errors import InputError
from soundleap.evaluation.protocols.definition import EvaluationProtocol, ProtocolClip
from soundleap.evaluation.protocols.reference import MANIFEST
from soundleap.evaluation.rewarded import KEY

if TYPE_CHECKING:
    from soundleap.generator import Generator, Result
    from soundleap.requests import Request, Sample

SYSTEM_FILE = "system.json"
OF_A_SOUND = ("prompt", "duration_in_s", "seed", "struct_prompt")
"""Settings that differ from sound to sound; all others name the system."""


@dataclass(frozen=True)
class MakeReport:
    """What `make_sounds` did.

    Attributes:
        made: sounds made by this call.
        kept: sounds that were there already.
        seconds_per_second: seconds of work for a second of sound, over all of them.
        folder: where they are.
    """

    made: int
    kept: int
    seconds_per_second: float
    folder: Path


def make_sounds(
    protocol: EvaluationProtocol,
    folder: str | Path,
    generator: Generator,
    *,
    common: Request | None = None,
    seed: int = 0,
    name: str | None = None,
    on_sound: Callable[[str], None] | None = None,
) -> MakeReport:
    """Make one sound for every clip of a protocol; the same call resumes.

    Writes the sounds, `manifest.jsonl` (ids, prompts, seconds of work) and `system.json` (what made
    them and how fast), as `soundleap evaluate --generated` reads them. The k-th clip of the list
    gets seed + k, so a sound does not depend on where a run was stopped.

    Args:
        protocol: whose captions and lengths.
        folder: where to; what another call with other settings made there is refused.
        generator: the loaded model.
        common: settings of all sounds; prompt, length and seed are filled in. None takes the
            model's defaults.
        seed: of the first clip.
        name: of the system; None makes one of model, network and steps.
        on_sound: called with each id when its sound is written.

    Raises:
        InputError: a clip without a caption, a length or value that the model does not allow, or a
            folder with other sounds.
    """
    requests = _requests(protocol, common, seed)
    samples = generator.pipeline.check(requests)
    system = _system(protocol, generator, samples[0], seed, name)
    root = Path(folder)
    rows = _claim(root, system)
    waiting = [i for i, clip in enumerate(protocol.clips) if clip.id not in rows]
    kept = len(rows)
    machine = _machine(generator)
    if waiting:
        generator.warm_up(samples[0].network)  # loading is no work for a sound
    for position, result in generator.stream([requests[i] for i in waiting]):
        number = waiting[position]
        clip = protocol.clips[number]
        rows[clip.id] = _write(root, number, clip, result)
        if on_sound:
            on_sound(clip.id)
    ordered = [rows[clip.id] for clip in protocol.clips]
    write_bytes(root / MANIFEST, _lines(ordered).encode(), overwrite=True)
    factor = sum(r["work_seconds"] for r in ordered) / sum(r["seconds"] for r in ordered)
    measured = {"seconds_per_second": round(factor, 5), "machine": machine}
    text = json.dumps(system | measured, indent=1) + "\n"
    write_bytes(root / SYSTEM_FILE, text.encode(), overwrite=True)
    return MakeReport(len(waiting), kept, factor, root)


def _requests(protocol: EvaluationProtocol, common: Request | None, seed: int) -> list[Request]:
    from soundleap.requests import Request

    silent = next((clip.id for clip in protocol.clips if clip.caption is None), None)
    if silent is not None:
        raise InputError(
            f"protocol {protocol.name} has no caption for {silent!r}; a model needs one"
        )
    settings = common or Request("")
    return [
        replace(settings, prompt=clip.caption or "", duration_in_s=clip.seconds, seed=seed + number)
        for number, clip in enumerate(protocol.clips)
    ]


def _system(
    protocol: EvaluationProtocol,
    generator: Generator,
    sample: Sample,
    seed: int,
    name: str | None,
) -> dict[str, Any]:
    manifest = generator.pipeline.manifest
    settings = {key: value for key, value in asdict(sample).items() if key not in OF_A_SOUND}
    rewards = [] if sample.network == "teacher" else manifest.provenance.get(KEY, [])
    adapters = generator.pipeline.adapters
    return {
        "name": name or f"{manifest.name} {sample.network}:{sample.num_inference_steps}",
        "model": manifest.name,
        "model_version": manifest.version,
        "model_fingerprint": manifest.fingerprint,
        **settings,
        **({KEY: rewards} if rewards else {}),
        **({"adapters": adapters} if adapters else {}),
        "seed": seed,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
    }


def _machine(generator: Generator) -> dict[str, Any]:
    """Say where the seconds are measured; of a run that was resumed, where its end was."""
    from soundleap.bench.machine import describe_machine

    return describe_machine(generator.pipeline.device).model_dump(mode="json")


def _claim(root: Path, system: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Note what is made here, or find what was made; the rows that are done, by id."""
    place = root / SYSTEM_FILE
    if not place.is_file():
        if root.is_dir() and any(root.iterdir()):
            raise InputError(f"{root} holds other files; choose an empty or new folder")
        write_bytes(place, (json.dumps(system, indent=1) + "\n").encode())
        return {}
    there = _read_json(place.read_text("utf-8"), place)
    for key, value in system.items():
        if there.get(key) != value:
            raise InputError(
                f"{root} holds sounds made with {key} {there.get(key)!r}, not {value!r}; choose "
                "another folder"
            )
    return {row["id"]: row for row in _rows(root)}


def _rows(root: Path) -> list[dict[str, Any]]:
    """Read the rows whose sounds are there; a line that was cut off while it was written is not."""
    path = root / MANIFEST
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text("utf-8").split("\n"):
        try:
            row = _read_json(line, path) if line.strip() else {}
        except InputError:
            continue
        if row and (root / row["file"]).is_file():
            rows.append(row)
    write_bytes(path, _lines(rows).encode(), overwrite=True)
    return rows


def _write(root: Path, number: int, clip: ProtocolClip, result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": clip.id,
        "file": _file_name(number, clip.id),
        "prompt": clip.caption,
        "seconds": result.waveform.shape[1] / result.sampling_rate,
        "seed": result.seed,
        "work_seconds": round(sum(result.seconds.values()), 5),
    }
    path = root / row["file"]
    write_audio(path, result.waveform, result.sampling_rate, metadata=result.metadata)
    with (root / MANIFEST).open("a", encoding="utf-8", newline="\n") as file:
        file.write(_lines([row]))
    return row


def _file_name(number: int, clip_id: str) -> str:
    """Name a file after its id where that is a plain name, else after its place in the list."""
    plain = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.#-]{0,99}", clip_id)
    return f"{clip_id}.wav" if plain else f"{number:05d}.wav"


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read_json(text: str, place: Path) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{place} is damaged: delete the folder, or mend it")
    return cast("dict[str, Any]", values)
