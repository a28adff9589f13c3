"""What a reward is, the settings that ask for rewards, and the rewards by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.errors import InputError, SoundleapError, unknown_name
from soundleap.training.settings import STRICT

if TYPE_CHECKING:
    from soundleap.audio.mel import MelConfig

Needs = Literal["latents", "mel", "waveform"]
Term = Literal["text", "audio", "both"]
RewardWeighting = Literal["none", "as_loss"]

REWARDS = {"ours": "ours:open_ours", "clap": "clap:open_clap"}
"""Name -> module here and the function that opens it."""

WITHOUT_WEIGHTS = ("ours",)
"""Those that come with the package, so that `weights` may be left out."""


class Reward(Protocol):
    """A frozen network that scores sounds; higher is better.

    Attributes:
        name: as in the settings.
        network: what it is, ``kind:sha256`` of its weights: evaluation refuses it as a judge.
        needs: what it hears: latents ``[B, C, L(, H)]``, mel ``[B, M, F]`` or waveform ``[B, S]``.
    """

    name: str
    network: str
    needs: Needs

    def __call__(self, sound: Tensor, prompts: Sequence[str], reference: Tensor | None) -> Tensor:
        """Score sounds.

        Args:
            sound: what it needs, of B sounds of one length.
            prompts: B captions.
            reference: the recordings of these captions, like `sound`; None where its term is
                about captions alone.

        Returns:
            ``[B]``, differentiable in `sound`; an item's score does not depend on the others.
        """
        ...


class CosineReward(nn.Module, ABC):
    """Cosine of a sound and its caption, of a sound and its recording, or their sum.

    Args:
        term: what is compared.
    """

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term: Term = term

    @abstractmethod
    def audio(self, sound: Tensor) -> Tensor:
        """Embed sounds: ``[B, D]`` of length 1."""

    @abstractmethod
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embed captions: ``[B, D]`` of length 1."""

    def forward(self, sound: Tensor, prompts: Sequence[str], reference: Tensor | None) -> Tensor:
        """Score sounds; see `Reward`."""
        heard = self.audio(sound)
        scores: list[Tensor] = []
        if self.term != "audio":
            scores.append((heard * self.text(prompts).to(heard)).sum(-1))
        if self.term != "text":
            if reference is None:
                raise InputError(f"term={self.term} needs the recordings")
            with torch.no_grad():
                aim = self.audio(reference)
            scores.append((heard * aim).sum(-1))
        return sum(scores[1:], scores[0])


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RewardTerm:
    """One reward of a run.

    Attributes:
        name: a key of `REWARDS`.
        weight: what the score is multiplied by before it is subtracted from the loss.
        term: "text": cosine of sound and caption; "audio": of sound and recording; "both": their
            sum.
        weights: folder or file of the network's weights; None: those that come with the package.
    """

    name: str
    weight: float = 0.1
    term: Term = "text"
    weights: str | None = None

    def faults(self) -> list[str]:
        """Return what is wrong with the values."""
        if self.name not in REWARDS:
            return [str(unknown_name("reward", self.name, REWARDS))]
        found: list[str] = []
        if not 0 < self.weight < math.inf:
            found.append(f"weight of reward {self.name} is {self.weight:g}; it must be above 0")
        if self.weights is None and self.name not in WITHOUT_WEIGHTS:
            found.append(f"reward {self.name} needs weights=PATH (Soundleap never downloads them)")
        return found


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RewardSettings:
    """Rewards as settings of a stage; its loss becomes loss - sum(weight * reward).

    Attributes:
        rewards: what rewards the student's answer x_0; none: no reward.
        reward_weighting: "as_loss": an item's weight by its time multiplies its rewards as it does
            its loss (ConsistencyTTA); "none": its loss alone.
        reward_from_t: items whose time t is below it get no reward. Generation in one step asks at
            the noisiest time alone, where that weight is smallest.
    """

    rewards: tuple[RewardTerm, ...] = ()
    reward_weighting: RewardWeighting = "none"
    reward_from_t: float = 0.0

    def reward_faults(self) -> list[str]:
        """Return what is wrong with the values."""
        found = [fault for term in self.rewards for fault in term.faults()]
        names = [term.name for term in self.rewards]
        for name in sorted({name for name in names if names.count(name) > 1}):
            found.append(f"rewards names {name} twice; give it once, with term=both for both terms")
        if not 0 <= self.reward_from_t < 1000:
            found.append(f"reward_from_t is {self.reward_from_t:g}; allowed: 0 to below 1000")
        return found


def open_rewards(settings: RewardSettings, mel: MelConfig) -> list[Reward]:
    """Open the rewards of a run, frozen, on the CPU, in order.

    Args:
        settings: which.
        mel: of the mel spectrograms and waveforms that the model's codec gives.

    Raises:
        InputError: naming everything that is missing or does not fit.
    """
    found: list[Reward] = []
    faults: list[str] = []
    for term in settings.rewards:
        try:
            found.append(_open(term, mel))
        except SoundleapError as error:
            faults.append(f"reward {term.name}: {error}")
    if faults:
        raise InputError("; ".join(faults))
    return found


def _open(term: RewardTerm, mel: MelConfig) -> Reward:
    if term.weights is not None and not Path(term.weights).exists():
        raise InputError(f"there is nothing at weights={term.weights}")
    module, _, opener = REWARDS[term.name].partition(":")
    function = getattr(import_module(f"soundleap.training.rewards.{module}"), opener)
    return cast("Reward", function(term, mel))
