"""Settings of a training stage: a strict dataclass, a YAML preset, and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from soundleap.errors import InputError, unknown_name

PRESETS = Path(__file__).parent.parent / "presets"
STRICT = ConfigDict(extra="forbid")
PREVIEW_PROMPTS = ("a dog barks", "rain", "slow piano waltz in c minor", "a man speaks")
"""What snapshots let networks in training say."""
Shard = Literal["none", "teacher", "all"]
TRACKERS = ("tensorboard", "trackio", "wandb")
Settings = TypeVar("Settings", bound="RunSettings")


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RunSettings:
    """Settings that every training stage shares.

    Attributes:
        run_dir: folder of the run, made if missing.
        seed: of every random draw.
        iterations: steps of the whole run; the learning rate falls towards them.
        batch_size: items a step; see the stage for what an item is.
        learning_rate: peak.
        final_learning_rate: at the end.
        warmup_iterations: of linear growth to the peak.
        decay_share: last part of the run, 0 to 1, in which the rate falls as a cosine.
        weight_decay: of AdamW.
        gradient_clip: largest norm of a gradient.
        mixed_precision: "no" or "bf16".
        threads: of the CPU.
        checkpoint_minutes: between checkpoints.
        snapshot_minutes: between sample sounds.
        log_iterations: between lines of stats.jsonl.
        max_minutes: stop after this time, to go on with the same command; None: no limit.
        keep_checkpoints: how many of the newest stay.
        max_skipped: stop after so many steps one after another whose loss or gradient was not
            finite; single ones are skipped and counted.
        tracker: "none", or one or several of `TRACKERS`; stats.jsonl is written in any case.
    """

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
    keep_checkpoints: int = 2
    max_skipped: int = 10
    tracker: str | tuple[str, ...] = "none"

    def __post_init__(self) -> None:
        """Refuse values that types alone allow; every fault is named."""
        faults = self.faults()
        if faults:
            raise ValueError("; ".join(faults))

    def faults(self) -> list[str]:
        """Return what is wrong with the values; stages add to it."""
        found: list[str] = []
        if self.mixed_precision not in ("no", "bf16"):
            found.append(f"mixed_precision is {self.mixed_precision!r}; allowed: no, bf16")
        found += self.not_above_0(
            "iterations",
            "batch_size",
            "learning_rate",
            "gradient_clip",
            "threads",
            "checkpoint_minutes",
            "snapshot_minutes",
            "log_iterations",
            "max_minutes",
            "keep_checkpoints",
            "max_skipped",
        )
        for name in ("final_learning_rate", "warmup_iterations", "weight_decay"):
            if not getattr(self, name) >= 0:
                found.append(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in tracker_names(self.tracker):
            if name not in TRACKERS:
                found.append(str(unknown_name("tracker", name, (*TRACKERS, "none"))))
        return found + self.not_within(decay_share=1.0)

    def not_above_0(self, *names: str) -> list[str]:
        """Return a fault for each of these settings that is set and not above 0."""
        values = {name: getattr(self, name) for name in names}
        return [
            f"{name} is {value}; it must be above 0"
            for name, value in values.items()
            if value is not None and not value > 0  # also catches NaN
        ]

    def not_within(self, **most: float) -> list[str]:
        """Return a fault for each of these settings that is not from 0 to the number given."""
        return [
            f"{name} is {getattr(self, name):g}; allowed: 0 to {high:g}"
            for name, high in most.items()
            if not 0 <= getattr(self, name) <= high
        ]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScaleSettings(RunSettings):
    """How large networks and batches fit; what is learnt is the same, to rounding.

    Attributes:
        accumulation: micro-batches that a process makes of its share of a batch.
        gradient_checkpointing: keep less in memory of what the trained network computed, and
            compute it again on the way back.
        shard: what the processes keep in shares instead of whole: "none", the frozen "teacher", or
            "all" networks, averages and moments of the optimiser.
    """

    accumulation: int = 1
    gradient_checkpointing: bool = False
    shard: Shard = "none"

    def faults(self) -> list[str]:
        """Also refuse fewer than one micro-batch."""
        return super().faults() + self.not_above_0("accumulation")


def tracker_names(tracker: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in a setting `tracker`; "none" alone is none."""
    names = (tracker,) if isinstance(tracker, str) else tracker
    return () if names == ("none",) else names


class _Loader(yaml.SafeLoader):
    """YAML in which ``no`` is a word and ``1e-3`` a number, as in YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if not tag.endswith((":bool", ":float"))]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+.0123456789"),
)


def load_settings(kind: type[Settings], preset: str, overrides: Sequence[str] = ()) -> Settings:
    """Read a preset and apply overrides.

    Args:
        kind: the stage's settings class.
        preset: name of a file in ``soundleap/presets`` or path of a YAML file.
        overrides: ``key=value`` texts; values are parsed as YAML.

    Raises:
        InputError: for an unknown preset or key (naming the nearest) or a bad value; all faults at
            once.
    """
    values = _read_preset(preset)
    stage = values.pop("stage", None)
    if stage is not None and stage != stage_name(kind):
        raise InputError(f"preset {preset!r} is for `{stage}`, not for `{stage_name(kind)}`")
    faults = _override(values, overrides)
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [key for key in values if key not in known]
    faults += [str(unknown_name("setting", str(key), known)) for key in unknown]
    try:
        settings = TypeAdapter(kind).validate_python({k: values[k] for k in values if k in known})
    except ValidationError as error:
        faults += [_readable(fault) for fault in error.errors()]
    else:
        if not faults:
            return settings
    raise InputError("; ".join(faults))


def preset_stage(preset: str) -> str | None:
    """Return the stage that a preset is for; None where it does not say.

    Raises:
        InputError: for an unknown preset, or one that is not valid YAML.
    """
    return _read_preset(preset).get("stage")


def stage_name(kind: type[RunSettings]) -> str:
    """Return ``vocoder`` for ``VocoderSettings``."""
    return kind.__name__.removesuffix("Settings").lower()


def as_dict(settings: RunSettings) -> dict[str, Any]:
    """Return the settings as plain values, to be written as YAML or JSON."""
    values = dataclasses.asdict(settings)
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value


def _override(values: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Apply overrides; return what is wrong with them."""
    faults: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            faults.append(f"override {text!r} is not of the form key=value")
            continue
        try:
            values[key.strip()] = yaml.load(value, _Loader)  # a SafeLoader
        except yaml.YAMLError:
            faults.append(f"override {text!r}: the value is not valid YAML; put it into quotes")
    return faults


def _read_preset(preset: str) -> dict[str, Any]:
    path = Path(preset)
    if path.suffix not in (".yaml", ".yml"):
        names = [file.stem for file in PRESETS.glob("*.yaml")]
        if preset not in names:
            raise unknown_name("preset", preset, names)
        path = PRESETS / f"{preset}.yaml"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise InputError(f"can't read preset {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"preset {path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"preset {path} must hold key: value lines")
    return cast("dict[str, Any]", values)


def _readable(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {message} (got {fault['input']!r})" if place else message
