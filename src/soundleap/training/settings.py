"""Settings of a training stage: a strict dataclass, a YAML preset, and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from soundleap.errors import InputError, unknown_name

PRESETS = Path(__file__).parent.parent / "presets"
STRICT = ConfigDict(extra="forbid")
Settings = TypeVar("Settings", bound="RunSettings")


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RunSettings:
    """Settings that every training stage shares."""

    run_dir: str
    seed: int = 0
    iterations: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_iterations: int = 100
    decay_share: float = 0.3
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    mixed_precision: str = "bf16"
    threads: int = 1
    checkpoint_minutes: float = 4.0
    snapshot_minutes: float = 15.0
    log_iterations: int = 20
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges that types alone do not give."""
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(f"mixed_precision is {self.mixed_precision!r}; allowed: no, bf16")
        for name in ("iterations", "batch_size", "learning_rate", "checkpoint_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share is {self.decay_share}; allowed: 0 to 1")


def load_settings(kind: type[Settings], preset: str, overrides: Sequence[str] = ()) -> Settings:
    """Read a preset and apply overrides.

    Args:
        kind: the stage's settings class.
        preset: name of a file in ``soundleap/presets`` or path of a YAML file.
        overrides: ``key=value`` texts; values are parsed as YAML.

    Raises:
        InputError: for an unknown preset or key (naming the nearest) or a bad value; all faults at once.
    """
    values = dict(_read_preset(preset))
    stage = values.pop("stage", None)
    if stage is not None and stage != stage_name(kind):
        raise InputError(f"preset {preset!r} is for `{stage}`, not for `{stage_name(kind)}`")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"override {text!r} is not of the form key=value")
        values[key.strip()] = yaml.safe_load(value)
    known = [field.name for field in dataclasses.fields(kind)]
    faults = [str(unknown_name("setting", key, known)) for key in values if key not in known]
    if faults:
        raise InputError("; ".join(faults))
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError("; ".join(_readable(fault) for fault in error.errors())) from None


def stage_name(kind: type[RunSettings]) -> str:
    """Return ``vocoder`` for ``VocoderSettings``."""
    return kind.__name__.removesuffix("Settings").lower()


def as_dict(settings: RunSettings) -> dict[str, Any]:
    """Return the settings as plain values, to be written as YAML or JSON."""
    values = dataclasses.asdict(settings)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def _read_preset(preset: str) -> Mapping[str, Any]:
    path = Path(preset)
    if path.suffix not in (".yaml", ".yml"):
        names = [file.stem for file in PRESETS.glob("*.yaml")]
        if preset not in names:
            raise unknown_name("preset", preset, names)
        path = PRESETS / f"{preset}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"can't read preset {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"preset {path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"preset {path} must hold key: value lines")
    return values


def _readable(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message} (got {fault['input']!r})" if place else message
