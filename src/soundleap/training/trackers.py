"""Trackers beside ``stats.jsonl``: TensorBoard, trackio, wandb; each is imported when asked for.

None of them sends anything anywhere unless its own settings say so: TensorBoard and trackio write
files, wandb runs offline where ``WANDB_MODE`` is not set.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from soundleap.errors import InputError
from soundleap.training.run_folder import Sound, sounds_of
from soundleap.training.settings import RunSettings, as_dict, tracker_names

PROJECT = "soundleap"


class Tracker(Protocol):
    """A place that shows runs."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take scalars."""
        ...

    def sounds(self, iteration: int, sounds: Sequence[Sound]) -> None:
        """Take the sounds of a snapshot and their spectrograms."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TensorBoard:
    """Event files in the folder ``tensorboard`` of the run; they hold WAV and PNG as they are."""

    def __init__(self, settings: RunSettings, folder: Path, first: int):
        files = import_module("tensorboard.summary.writer.event_file_writer")
        messages: Any = import_module("tensorboard.compat.proto.event_pb2")
        self._writer: Any = files.EventFileWriter(str(folder / "tensorboard"))
        self._event = messages.Event
        if first:  # what an earlier process wrote beyond its last checkpoint comes again
            start = messages.SessionLog(status=messages.SessionLog.START)
            event = self._event(wall_time=time.time(), step=first + 1, session_log=start)
            self._writer.add_event(event)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take scalars."""
        self._add(iteration, [{"tag": k, "simple_value": v} for k, v in values.items()])

    def sounds(self, iteration: int, sounds: Sequence[Sound]) -> None:
        """Take the sounds of a snapshot and their spectrograms."""
        values: list[dict[str, Any]] = []
        for sound in sounds:
            audio = {
                "encoded_audio_string": sound.path.read_bytes(),
                "content_type": "audio/wav",
                "sample_rate": float(sound.sampling_rate),
                "num_channels": 1,
            }
            values.append({"tag": sound.label, "audio": audio})
            if sound.picture is not None:
                picture = {"encoded_image_string": sound.picture.read_bytes()}
                values.append({"tag": sound.label, "image": picture})
        self._add(iteration, values)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _add(self, iteration: int, values: list[dict[str, Any]]) -> None:
        event = self._event(wall_time=time.time(), step=iteration, summary={"value": values})
        self._writer.add_event(event)
        self._writer.flush()


class Trackio:
    """A run of the project `PROJECT` in trackio's local store (``trackio show`` opens it)."""

    def __init__(self, settings: RunSettings, folder: Path, first: int):
        self._trackio: Any = import_module("trackio")
        self._trackio.init(
            project=PROJECT, name=run_name(folder), config=as_dict(settings), resume="allow"
        )

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take scalars."""
        self._trackio.log(dict(values), step=iteration)

    def sounds(self, iteration: int, sounds: Sequence[Sound]) -> None:
        """Take the sounds of a snapshot and their spectrograms."""
        values: dict[str, Any] = {}
        for sound in sounds:
            values[sound.label] = self._trackio.Audio(sound.path, format="wav")
            if sound.picture is not None:
                values[f"{sound.label} (spectrogram)"] = self._trackio.Image(sound.picture)
        self._trackio.log(values, step=iteration)

    def close(self) -> None:
        """Write what is left."""
        self._trackio.finish()


class Wandb:
    """A run of the project `PROJECT`, in the folder ``wandb`` of the run until it is synced."""

    def __init__(self, settings: RunSettings, folder: Path, first: int):
        self._wandb: Any = import_module("wandb")
        self._run: Any = self._wandb.init(
            project=PROJECT,
            name=run_name(folder),
            id=run_name(folder),
            resume="allow",
            dir=str(folder),
            config=as_dict(settings),
            mode=None if "WANDB_MODE" in os.environ else "offline",
        )
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take scalars."""
        self._run.log({"iteration": iteration, **values})

    def sounds(self, iteration: int, sounds: Sequence[Sound]) -> None:
        """Take the sounds of a snapshot and their spectrograms."""
        values: dict[str, Any] = {"iteration": iteration}
        for sound in sounds:
            values[sound.label] = self._wandb.Audio(
                str(sound.path), sample_rate=sound.sampling_rate, caption=sound.title
            )
            if sound.picture is not None:
                values[f"{sound.label} (spectrogram)"] = self._wandb.Image(str(sound.picture))
        self._run.log(values)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


_TRACKERS: dict[str, Callable[[RunSettings, Path, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": Wandb,
}


class TrackerListener:
    """Tells a tracker what a run says; see `soundleap.training.run_report.Listener`."""

    def __init__(self, name: str, tracker: Tracker, folder: Path, prompts: Sequence[str]):
        self.name, self._tracker, self._folder, self._prompts = name, tracker, folder, prompts

    def __str__(self) -> str:
        return f"tracker {self.name}"

    def step(self, iteration: int) -> None:
        """Nothing to tell."""

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Tell scalars."""
        self._tracker.log(iteration, values)

    def snapshot(self, iteration: int) -> None:
        """Tell sounds and pictures."""
        found = sounds_of(self._folder, iteration, self._prompts)
        if found:
            self._tracker.sounds(iteration, found)

    def end(self, iteration: int, *, finished: bool) -> None:
        """Close it."""
        self._tracker.close()


def check_trackers(settings: RunSettings) -> None:
    """Check that the packages of the trackers asked for are there.

    Raises:
        InputError: naming every one that is missing.
    """
    names = tracker_names(settings.tracker)
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(
            f"tracker {', '.join(missing)}: not installed; `pip install {' '.join(missing)}`, or "
            "leave the setting out (stats.jsonl and index.html are written in any case)"
        )


def open_trackers(settings: RunSettings, folder: Path, first: int) -> list[TrackerListener]:
    """Open the trackers that the settings name.

    Args:
        settings: of the run.
        folder: of the run.
        first: iterations done before this process.

    Raises:
        InputError: if a package is missing.
    """
    check_trackers(settings)
    prompts = getattr(settings, "preview_prompts", ())
    return [
        TrackerListener(name, _TRACKERS[name](settings, folder, first), folder, prompts)
        for name in tracker_names(settings.tracker)
    ]


def run_name(folder: Path) -> str:
    """Name a run for trackers: its folder's name and a hash of its place, the same every time."""
    place = folder.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name)
    return f"{name}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
