"""Settings of stage 5, distillation."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from soundleap.training.objectives import DistillationAxes
from soundleap.training.rewards import RewardSettings
from soundleap.training.settings import PREVIEW_PROMPTS, STRICT, ScaleSettings
from soundleap.training.student_lora import LoraSettings
from soundleap.training.teacher_parts import prediction_of

PREVIEW_GUIDANCE = 3.0


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DistillationSettings(DistillationAxes, LoraSettings, RewardSettings, ScaleSettings):
    """Settings of `distill`: the axes, rewards, the run, and what they work on.

    Attributes:
        cache: latents and text states to learn from; `batch_size` counts latent vectors.
        captions: what to learn from with data=captions instead: a text file of one caption a line,
            or a clip manifest, whose sounds need not be there.
        duration_range_in_s: of the sounds made for them; None where the codec has one length.
        teacher: a model with a teacher (folder, known name or hub id) of any family, or a file with
            a network by itself. From a model also come what is left out of prediction, codec,
            vocoder and text, and the noise schedule.
        teacher_dtype: "float32", or "bfloat16": half the memory for its weights and, where the
            hardware computes in it, half the time of its queries, for answers that are about 1 %
            off.
        codec: file of the latent codec, for sounds.
        vocoder: file of the vocoder, for these.
        text: folder of the text encoder, for these; None with a file as teacher: the built-in one.
        start: a student to go on from, a file or a model; None: the teacher itself.
        drop_text: share of items that learn the empty prompt.
        target_ema: decay of the target network.
        ema: decay of the weights that are written.
        preview_prompts: of the sounds of snapshots.
        preview_guidance: guidance scale of these; None: 3, or the nearest that the student is
            trained for.
        solver_error_iterations: how often the error of the teacher's solver is estimated, for the
            next line of stats.jsonl; 0: never. See `objectives.solver_error`.
    """

    cache: str | None = None
    captions: str | None = None
    duration_range_in_s: tuple[float, float] | None = None
    teacher: str
    teacher_dtype: Literal["float32", "bfloat16"] = "float32"
    codec: str | None = None
    vocoder: str | None = None
    text: str | None = None
    start: str | None = None
    drop_text: float = 0.05
    target_ema: float = 0.95
    ema: float = 0.995
    preview_prompts: tuple[str, ...] = PREVIEW_PROMPTS
    preview_guidance: float | None = None
    solver_error_iterations: int = 500

    @model_validator(mode="before")
    @classmethod
    def _as_the_teacher(cls, values: Any) -> Any:
        """Where `prediction` is left out, take what the teacher's file says."""
        given: dict[str, Any] = getattr(values, "kwargs", None) or values
        found = None if "prediction" in given else prediction_of(given.get("teacher"))
        if found is None:
            return values
        filled = {**given, "prediction": found}
        return ArgsKwargs((), filled) if isinstance(values, ArgsKwargs) else filled

    def faults(self) -> list[str]:
        """Also refuse settings that contradict each other."""
        found = [
            *ScaleSettings.faults(self), *DistillationAxes.faults(self), *self.reward_faults(),
            *self.lora_faults(), *self._source_faults(),
        ]  # fmt: skip
        if self.lora_rank and self.shard == "all":
            found.append(
                "lora_rank is set and shard is all: its layers are small; set shard=teacher"
            )
        if self.solver_error_iterations < 0:
            found.append(
                f"solver_error_iterations is {self.solver_error_iterations}; allowed: from 0, never"
            )
        if self.rewards and self.objective == "guided":
            found.append("objective is guided, whose answers are no sounds; leave rewards out")
        low, high = self.cfg_range
        if self.preview_guidance is not None and not low <= self.preview_guidance <= high:
            found.append(
                f"preview_guidance is {self.preview_guidance:g}; allowed: {low:g} to {high:g}, "
                "what the student is trained for"
            )
        return found + self.not_within(drop_text=1.0, target_ema=1.0, ema=1.0)

    @property
    def preview_scale(self) -> float:
        """Guidance scale of the sounds of snapshots."""
        low, high = self.cfg_range
        given = self.preview_guidance
        return min(max(PREVIEW_GUIDANCE, low), high) if given is None else given

    def estimates(self, iteration: int) -> bool:
        """Tell whether the solver's error is estimated in an iteration: one that is reported."""
        every, lines, done = self.solver_error_iterations, self.log_iterations, iteration + 1
        if every == 0 or self.objective == "guided" or done % lines:
            return False
        return done // every > (done - lines) // every

    def _source_faults(self) -> list[str]:
        """Name what is missing and what has no use, by what is learnt from."""
        alone = self.data == "captions"
        needed, useless = ("captions", ["cache"]) if alone else ("cache", ["captions"])
        found: list[str] = []
        if getattr(self, needed) is None:
            what = "a file of captions" if alone else "the folder of latents and text states"
            found.append(f"{needed} is missing: data is {self.data}; give {needed}= {what}")
        useless += [] if alone else ["duration_range_in_s"]
        for name in useless:
            if getattr(self, name) is not None:
                found.append(f"data is {self.data}, which has no use for {name}; leave it out")
        low, high = self.duration_range_in_s or (1.0, 1.0)
        if not 0 < low <= high < math.inf:
            found.append(
                f"duration_range_in_s is {low:g} to {high:g}; needed: two numbers above 0, the "
                "first not larger"
            )
        for term in self.rewards if alone else ():
            if term.term != "text":
                found.append(
                    f"data is captions and reward {term.name} has term={term.term}, which compares "
                    "with recordings; set term=text"
                )
        return found
