"""What is distilled: a teacher, and the codec, vocoder, text encoder and schedule it goes with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from soundleap.bundle import Bundle
from soundleap.bundle_schema import Sampling
from soundleap.diffusion.denoisers import Prediction
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import BundleError, InputError, SoundleapError
from soundleap.models.registry import NETWORKS, load_network, outline
from soundleap.training.sound_parts import SoundParts

if TYPE_CHECKING:
    from soundleap.models.seams import Network


@dataclass(frozen=True, kw_only=True)
class TeacherParts(SoundParts):
    """A teacher and its parts, found and not loaded.

    Attributes:
        place: what the user called the teacher.
        network: its file.
        bundle: the model that the teacher is part of; None for a file by itself.
    """

    place: str
    network: Path
    bundle: Bundle | None = None

    @cached_property
    def config(self) -> Any:
        """Configuration of the teacher's network."""
        return network_config(self.network)

    @property
    def sampling(self) -> Sampling:
        """How the teacher's model is asked; the defaults for a file by itself."""
        return Sampling() if self.bundle is None else self.bundle.manifest.sampling

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the teacher was trained on."""
        return NoiseSchedule.scaled_linear(**dict(self.sampling.schedule))

    @property
    def prediction(self) -> Prediction:
        """What the teacher gives, as its file says."""
        return self.config.prediction

    def load_network(self) -> Network:
        """Load the teacher, float32 on the CPU, not to be trained."""
        return load_network(self.network)


def network_config(path: Path) -> Any:
    """Read a network's configuration without its weights.

    Raises:
        BundleError: if the file can't be read, is of an unknown kind, or does not fit.
    """
    with torch.device("meta"):
        return outline(path, NETWORKS).config


def find_teacher(
    teacher: str, *, codec: str | None = None, vocoder: str | None = None, text: str | None = None
) -> TeacherParts:
    """Find a teacher's parts; those of its own model, unless others are given.

    Args:
        teacher: a safetensors file with a network of any kind, or a model: folder, known name or
            hub id.
        codec: file of a latent codec.
        vocoder: file of a vocoder.
        text: folder of a text encoder.

    Raises:
        InputError: if the model has no teacher, or there is nothing of this name.
        BundleError: if it can't be read, or a file is damaged.
    """
    path = Path(teacher)
    if path.suffix == ".safetensors" or path.is_file():
        if not path.is_file():
            raise BundleError(f"teacher {teacher} does not exist")
        return TeacherParts(
            place=teacher,
            network=path,
            codec=_path(codec),
            vocoder=_path(vocoder),
            text=_path(text),
        )
    from soundleap.resolve import open_model

    bundle = open_model(teacher)
    network = bundle.part_file("teacher")
    if network is None:
        raise InputError(
            f"model {teacher} has no teacher to learn from, only a student; give a model that "
            "has one (soundleap import --with-teacher), or the teacher's own file"
        )
    return TeacherParts(
        place=teacher,
        network=network,
        bundle=bundle,
        codec=_path(codec) or bundle.part_file("codec"),
        vocoder=_path(vocoder) or bundle.part_file("vocoder"),
        text=_path(text) or bundle.text_folder,
    )


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given)


def prediction_of(teacher: Any) -> Prediction | None:
    """Give what a teacher on this machine predicts; None where there is none to be read."""
    from soundleap.resolve import KNOWN_MODELS, open_model

    if not isinstance(teacher, str):
        return None
    try:
        if Path(teacher).is_file():
            return network_config(Path(teacher)).prediction
        if Path(teacher).is_dir() or teacher in KNOWN_MODELS:
            return open_model(teacher).manifest.sampling.prediction
    except SoundleapError:  # told when the parts are opened
        pass
    return None


def student_file(start: str) -> Path:
    """Find the student to go on from: a safetensors file, or that of a model.

    Raises:
        InputError: if the model has no student.
        BundleError: if it can't be read.
    """
    path = Path(start)
    if path.suffix == ".safetensors" or path.is_file():
        return path
    from soundleap.resolve import open_model

    bundle = open_model(start)
    found = bundle.part_file("student")
    if found is None:
        raise InputError(f"start {start} is a model without a student; leave start out")
    return found
