"""Bodies of requests, and what they ask of the library."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from soundleap.bundle_schema import NetworkName, Sampling, TeacherSolver
from soundleap.ranking import available
from soundleap.requests import MAX_CHARACTERS, MAX_SEED, Request
from soundleap.server.errors import ApiError, FieldFault, field_error
from soundleap.server.formats import OUTPUT_FORMATS, AudioFormat, parse_output_format

FileFormat = Literal["wav", "flac", "ogg", "opus", "mp3"]
ModelId = Annotated[str | None, Field(description="Id of a model; the first one if left out.")]
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Steps = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Scale = Annotated[float, Field(ge=1)]
OPENAI_PCM_HZ = 24000
"""What OpenAI's `pcm` means: 24 kHz, 16 bit, little-endian, one channel."""


class Body(BaseModel):
    """A body that refuses fields it does not know, and values of another kind."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    spellings: ClassVar[dict[str, str]] = {}
    """Our names of what this body calls otherwise."""

    @property
    def asked_model(self) -> str | None:
        """Id of the model; None for the first one."""
        return getattr(self, "model", None)

    def request(self) -> Request:
        """Give what is asked for.

        Raises:
            ApiError: for fields that are missing, or contradict one another.
        """
        raise NotImplementedError

    def names(self) -> dict[str, str]:
        """Give the client's spelling of our names, where it differs."""
        given = self.model_fields_set
        return {ours: theirs for theirs, ours in self.spellings.items() if theirs in given}

    def _ours(self, *left_out: str) -> dict[str, Any]:
        """Give the fields of `Request` that are set."""
        names = Request.__dataclass_fields__
        given = {name: getattr(self, name) for name in self.model_fields_set}
        spelt = {self.spellings.get(name, name): value for name, value in given.items()}
        return {
            name: value
            for name, value in spelt.items()
            if name in names and name not in left_out and value is not None
        }


class SoundBody(Body):
    """One sound, in our words or those of vLLM-Omni."""

    spellings: ClassVar[dict[str, str]] = {"input": "prompt", "audio_length": "duration_in_s"}

    model: ModelId = None
    prompt: Annotated[Text | None, Field(description="What is to be heard.")] = None
    input: Annotated[Text | None, Field(description="The same as prompt.")] = None
    negative_prompt: Annotated[Text | None, Field(description="What is not.")] = None
    duration_in_s: Annotated[Seconds | None, Field(description="Length; see /v1/models.")] = None
    audio_length: Annotated[Seconds | None, Field(description="The same as duration_in_s.")] = None
    num_inference_steps: Steps | None = None
    guidance_scale: Annotated[Scale | None, Field(description="1 is no guidance.")] = None
    seed: Annotated[Seed | None, Field(description="Drawn if left out; see X-Seed.")] = None
    network: NetworkName | None = None
    struct_prompt: Text | None = None
    guidance_scale_post: Scale | None = None
    solver: TeacherSolver | None = None
    compat: bool | None = None
    best_of: Annotated[
        int | None,
        Field(ge=1, description="Tries; the one that fits the prompt best is kept. See limits."),
    ] = None

    def tries(self, most: int) -> int:
        """Give how many tries of a sound are made.

        Raises:
            ApiError: if there are more than `most`, or nothing to choose with.
        """
        asked = self.best_of or 1
        allowed = most if available() else 1
        if asked > allowed:
            message = f"best_of is {asked}; allowed: 1 to {allowed}"
            raise field_error("best_of", message, asked, f"1 to {allowed}")
        return asked

    def request(self) -> Request:
        """Give what is asked for.

        Raises:
            ApiError: if the prompt is missing, or something is given by two names.
        """
        for theirs, ours in self.spellings.items():
            if getattr(self, theirs) is not None and getattr(self, ours) is not None:
                message = f"{ours} and {theirs} are the same; give one of them"
                faults = [FieldFault(name, message) for name in (ours, theirs)]
                raise ApiError(422, "invalid_value", message, faults)
        values = self._ours()
        if "prompt" not in values:
            raise field_error("prompt", "prompt is missing; say what is to be heard")
        return Request(**values)


class GenerateBody(SoundBody):
    """Body of POST /v1/audio/generate."""

    response_format: FileFormat = "wav"
    audio_start: Annotated[float | None, Field(description="Only 0.")] = None
    speed: Annotated[float | None, Field(description="Only 1.")] = None

    def request(self) -> Request:
        """Give what is asked for."""
        if self.audio_start:
            message = f"audio_start is {self.audio_start:g}; allowed: 0"
            raise field_error("audio_start", message, self.audio_start, "0")
        check_speed(self.speed)
        return super().request()


class JobBody(SoundBody):
    """Body of POST /v1/jobs."""

    count: Annotated[int, Field(ge=1, description="Takes; seeds count up.")] = 1


class SoundGenerationBody(Body):
    """Body of POST /v1/sound-generation, as ElevenLabs names things."""

    spellings: ClassVar[dict[str, str]] = {
        "text": "prompt",
        "duration_seconds": "duration_in_s",
        "prompt_influence": "guidance_scale",
        "model_id": "model",
    }

    text: Annotated[Text, Field(description="What is to be heard.")]
    duration_seconds: Annotated[
        Seconds | None, Field(description="Length; the model's default if left out.")
    ] = None
    prompt_influence: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="guidance_scale, from the lowest (0) to the highest (1) that the model "
            "takes; the model's default if left out.",
        ),
    ] = None
    loop: Annotated[bool | None, Field(description="Only false.")] = None
    model_id: Annotated[
        str | None,
        Field(description="Id of a model; ElevenLabs' own ids mean the first one."),
    ] = None
    num_inference_steps: Steps | None = None
    negative_prompt: Text | None = None
    seed: Seed | None = None

    @property
    def asked_model(self) -> str | None:
        """Id of the model; None for the first one."""
        named = self.model_id
        return None if named is None or named.startswith("eleven_") else named

    def request(self) -> Request:
        """Give what is asked for, but for the guidance."""
        if self.loop:
            message = (
                "loop is true; allowed: false: no model here makes sounds that loop seamlessly"
            )
            raise field_error("loop", message, True, "false")
        return Request(**self._ours("guidance_scale"))

    def guidance(self, sampling: Sampling, network: NetworkName) -> float | None:
        """Give the guidance scale that the influence stands for; None if it is not given."""
        if self.prompt_influence is None:
            return None
        low, high = sampling.guidance_limits(network)
        return low + self.prompt_influence * (high - low)


class SpeechBody(Body):
    """Body of POST /v1/audio/speech, as OpenAI names things."""

    spellings: ClassVar[dict[str, str]] = {"input": "prompt"}

    model: ModelId = None
    input: Annotated[Text, Field(description="What is to be heard.")]
    voice: Annotated[
        str | dict[str, Any] | None, Field(description="Not used: sounds have no voice.")
    ] = None
    response_format: Literal["mp3", "opus", "flac", "wav", "ogg", "pcm"] = "mp3"
    speed: Annotated[float | None, Field(description="Only 1.")] = None
    stream_format: Literal["audio"] | None = None
    negative_prompt: Text | None = None
    duration_in_s: Seconds | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Scale | None = None
    seed: Seed | None = None
    network: NetworkName | None = None

    def request(self) -> Request:
        """Give what is asked for."""
        check_speed(self.speed)
        return Request(**self._ours())

    @property
    def audio_format(self) -> AudioFormat:
        """How the sound is to be sent."""
        rate = OPENAI_PCM_HZ if self.response_format == "pcm" else None
        return AudioFormat(self.response_format, rate)


def check_speed(speed: float | None) -> None:
    """Raise `ApiError` for a speed other than 1."""
    if speed not in (None, 1):
        message = f"speed is {speed:g}; allowed: 1: ask for another duration instead"
        raise field_error("speed", message, speed, "1")


def elevenlabs_format(name: str) -> AudioFormat:
    """Read ElevenLabs' output_format.

    Raises:
        ApiError: for one that is not in `OUTPUT_FORMATS`.
    """
    if name not in OUTPUT_FORMATS:
        allowed = ", ".join(OUTPUT_FORMATS)
        message = f"output_format is {name[:100]!r}; allowed: {allowed}"
        raise field_error("output_format", message, name, allowed)
    return parse_output_format(name)
