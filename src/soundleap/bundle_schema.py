"""What ``soundleap.json`` in a model folder says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from soundleap.errors import BundleError, told_faults

FORMAT_VERSION = 1
MANIFEST_NAME = "soundleap.json"
CARD_NAME = "MODEL_CARD.md"
USUAL_DURATION_IN_S = 5.0

NetworkName = Literal["student", "teacher"]
"""Which of a model's two networks: few queries, or many."""

PartName = Literal["codec", "vocoder", "student", "teacher"]
"""The parts that are one file each."""

Family = Literal["default-family", "consistencytta", "tango", "audiolcm", "make-an-audio-2"]
"""Where a model comes from: trained by Soundleap, or one of the published systems."""

TeacherSolver = Literal["ddim", "heun", "dpmpp_2m", "ddpm"]
"""How a teacher is followed: a solver of the probability flow, or DDPM's ancestral sampling."""

Spacing = Literal["trailing", "leading", "linspace"]
"""Which timesteps a teacher visits; see `soundleap.diffusion.timesteps`."""


def _plain_name(name: str) -> str:
    if PurePath(name).name != name or "\\" in name or name.startswith("."):
        raise ValueError("must be the plain name of something in the model folder")
    return name


PlainName = Annotated[str, AfterValidator(_plain_name)]


_LATER = {"student_guided": True}
"""Younger fields of `Sampling`; as here they don't count in fingerprints, which so stay."""


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileHash(Strict):
    """A file's SHA-256 in hexadecimal, and its size in bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Part(FileHash):
    """A safetensors file, whose header carries its module's configuration."""

    file: PlainName
    dtype: Literal["float16", "float32"]


class TextPart(Strict):
    """A text encoder's folder inside the model folder."""

    folder: PlainName
    files: dict[PlainName, FileHash]


class BuiltinText(Strict):
    """The text encoder that comes with the package, by the SHA-256 of its files' hashes."""

    builtin: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Parts(Strict):
    """The files of a model."""

    codec: Part
    vocoder: Part
    student: Part | None = None
    teacher: Part | None = None
    text: BuiltinText | TextPart


class Schedule(Strict):
    """Noise schedule; see `NoiseSchedule.scaled_linear`."""

    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_steps: int = 1000


class Sampling(Strict):
    """How a model is asked, and within which limits.

    Attributes:
        schedule: the schedule both networks were trained on.
        prediction: what the teacher gives.
        student_prediction: what the student gives.
        boundary: scalings of the consistency function.
        sigma_data: for boundary "lcm".
        timestep_scaling: for boundary "lcm".
        grid: timesteps the student was trained at; empty where there is none.
        default_steps: queries of the student where none are asked for.
        max_steps: most queries of the student.
        default_teacher_steps: solver steps of the teacher where none are asked for.
        max_teacher_steps: most solver steps of the teacher.
        default_guidance_scale: 1 is no guidance.
        student_guided: whether the student is told the guidance scale; else it knows one only.
        guidance_range: what the student was trained for.
        teacher_guidance_range: what the teacher takes.
        min_duration_in_s: shortest sound.
        max_duration_in_s: longest sound.
        default_duration_in_s: where none is asked for; None for 5 s, or the longest if less.
        initial_noise: "unit" starts from standard normal noise, "schedule" from noise scaled by
            the schedule's highest sigma, as systems do that sample in variance-exploding
            coordinates.
        teacher_solver: how the teacher is followed where nothing else is asked for.
        teacher_spacing: the timesteps it visits.
        length_rule: latent vectors for a duration: "cover" takes as many as cover it,
            "make_an_audio_2" that system's own number, 31.5 a second rounded up to an even one.
        remove_dc: subtract each sound's offset, the middle between its extremes.
        structured_captions: the text encoder also reads a structured caption.
    """

    schedule: Schedule = Schedule()
    prediction: Literal["eps", "v", "x0"] = "v"
    student_prediction: Literal["eps", "v", "x0"] = "v"
    boundary: Literal["lcm", "identity"] = "lcm"
    sigma_data: float = 0.5
    timestep_scaling: float = 10.0
    grid: tuple[float, ...] = ()
    default_steps: int = 2
    max_steps: int = 8
    default_teacher_steps: int = 25
    max_teacher_steps: int = 200
    default_guidance_scale: float = 3.0
    student_guided: bool = True
    guidance_range: tuple[float, float] = (1.0, 6.0)
    teacher_guidance_range: tuple[float, float] = (1.0, 20.0)
    min_duration_in_s: float = 0.5
    max_duration_in_s: float = 10.0
    default_duration_in_s: float | None = None
    initial_noise: Literal["unit", "schedule"] = "unit"
    teacher_solver: TeacherSolver = "dpmpp_2m"
    teacher_spacing: Spacing = "trailing"
    length_rule: Literal["cover", "make_an_audio_2"] = "cover"
    remove_dc: bool = False
    structured_captions: bool = False

    def step_limits(self, network: NetworkName) -> tuple[int, int]:
        """Give a network's default and largest number of steps."""
        if network == "student":
            return self.default_steps, self.max_steps
        return self.default_teacher_steps, self.max_teacher_steps

    @property
    def takes_negative(self) -> bool:
        """Whether the student can be led away from a negative prompt by its guidance input."""
        return self.student_guided and self.guidance_range[0] <= 1

    @property
    def usual_duration_in_s(self) -> float:
        """Length of a sound where none is asked for."""
        if self.default_duration_in_s is not None:
            return self.default_duration_in_s
        return min(max(USUAL_DURATION_IN_S, self.min_duration_in_s), self.max_duration_in_s)

    def guidance_limits(self, network: NetworkName) -> tuple[float, float]:
        """Give the lowest and highest guidance scale of a network."""
        return self.guidance_range if network == "student" else self.teacher_guidance_range

    @model_validator(mode="after")
    def _check(self) -> Sampling:
        if self.grid and self.max_steps > sum(t > 0 for t in self.grid):
            raise ValueError(f"max_steps is {self.max_steps}; grid has fewer points above t = 0")
        for network in ("student", "teacher"):
            default, most = self.step_limits(network)
            if not 1 <= default <= most:
                raise ValueError(
                    f"the {network}'s default steps are {default}; allowed: 1 to {most}"
                )
            low, high = self.guidance_limits(network)
            if not low <= self.default_guidance_scale <= high:
                raise ValueError(
                    f"default_guidance_scale is {self.default_guidance_scale}; "
                    f"allowed: {low} to {high} ({network})"
                )
        low, high = self.guidance_range
        if not self.student_guided and low != high:
            raise ValueError(f"guidance_range is {low:g} to {high:g}; not guided knows one only")
        if not 0 < self.min_duration_in_s <= self.max_duration_in_s:
            raise ValueError("min_duration_in_s must be above 0 and not above max_duration_in_s")
        if not self.min_duration_in_s <= self.usual_duration_in_s <= self.max_duration_in_s:
            raise ValueError(
                f"default_duration_in_s is {self.usual_duration_in_s:g}; allowed: "
                f"{self.min_duration_in_s:g} to {self.max_duration_in_s:g}"
            )
        return self


class Description(Strict):
    """What a person says about a model.

    Attributes:
        name: short, for lists.
        version: of the weights.
        licence: SPDX expression of the weights.
        sampling: how it is asked.
        provenance: data, settings and commands that made it.
        quality: measured figures by name.
    """

    name: Annotated[str, Field(min_length=1)]
    version: str
    licence: str
    sampling: Sampling
    provenance: dict[str, Any] = {}
    quality: dict[str, float] = {}


class Manifest(Description):
    """All of ``soundleap.json``."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Family = "default-family"
    sampling_rate: Annotated[int, Field(gt=0)]
    parts: Parts

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that shapes a sound: the parts' hashes and the sampling."""
        shaping = self.model_dump(mode="json", include={"kind", "parts", "sampling"})
        for name, value in _LATER.items():
            if shaping["sampling"][name] == value:
                del shaping["sampling"][name]
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()

    @property
    def networks(self) -> tuple[NetworkName, ...]:
        """The networks that are there."""
        both: tuple[NetworkName, ...] = ("student", "teacher")
        return tuple(name for name in both if getattr(self.parts, name) is not None)

    @property
    def size_in_bytes(self) -> int:
        """Bytes of all parts in the folder; a built-in text encoder does not count."""
        parts = [self.parts.codec, self.parts.vocoder, self.parts.student, self.parts.teacher]
        total = sum(part.bytes for part in parts if part is not None)
        text = self.parts.text
        own = sum(file.bytes for file in text.files.values()) if isinstance(text, TextPart) else 0
        return total + own

    @model_validator(mode="after")
    def _some_network(self) -> Manifest:
        if not self.networks:
            raise ValueError("parts hold neither a student nor a teacher")
        if self.parts.student is not None and not self.sampling.grid:
            raise ValueError("sampling.grid is empty, but parts hold a student")
        return self


def read_manifest(folder: Path) -> Manifest:
    """Read and check a model folder's ``soundleap.json``.

    Raises:
        BundleError: if it is missing, made by a newer version, or not valid (all faults at once).
    """
    path = folder / MANIFEST_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is no model folder: it has no {MANIFEST_NAME}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    record = cast("dict[str, Any]", values) if isinstance(values, dict) else {}
    version = record.get("format_version")
    if not isinstance(version, int):
        raise BundleError(f"{path} is not a model description: it has no format_version")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format_version {version}, this Soundleap reads up to {FORMAT_VERSION}: "
            "upgrade with `pip install -U soundleap`"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise BundleError(f"{path} is not valid: {told_faults(error, 'model')}") from None
