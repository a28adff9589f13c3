"""Licences of published weights, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from soundleap.bundle_schema import Family


@dataclass(frozen=True)
class Licence:
    """One licence.

    Attributes:
        what: the weights that it is for.
        name: SPDX identifier.
        source: where it is stated.
    """

    what: str
    name: str
    source: str


TERMS = {
    "CC-BY-NC-ND-4.0": "name the authors; no commercial use; converted or otherwise changed "
    "weights may be used but not passed on",
    "CC-BY-NC-SA-4.0": "name the authors; no commercial use; changed weights may only be passed "
    "on under the same licence",
    "Apache-2.0": "free use, also commercial; keep the notices and say what was changed",
    "MIT": "free use, also commercial; keep the copyright notice",
}
"""What each licence asks, shortly; the licences' own texts decide."""

_AUDIOLDM = Licence(
    "AudioLDM's autoencoder and vocoder", "CC-BY-NC-SA-4.0", "model card of cvssp/audioldm"
)
_FLAN = Licence("FLAN-T5", "Apache-2.0", "model card of google/flan-t5-large")
_T5 = Licence("T5, trained further", "Apache-2.0", "model card of google/t5-v1_1-large")
_BERT = Licence("BERT", "Apache-2.0", "model card of bert-base-uncased")
_MAA2 = Licence(
    "Make-An-Audio 2's autoencoder and vocoder",
    "MIT",
    "licence file of github.com/bytedance/Make-An-Audio-2",
)

LICENCES: dict[Family, tuple[Licence, ...]] = {
    "consistencytta": (
        Licence("ConsistencyTTA", "CC-BY-NC-ND-4.0", "model card of Bai-YT/ConsistencyTTA"),
        _AUDIOLDM,
        _FLAN,
    ),
    "tango": (
        Licence(
            "TANGO",
            "CC-BY-NC-SA-4.0",
            "model card of declare-lab/tango; the code's repository has CC-BY-NC-ND-4.0",
        ),
        _AUDIOLDM,
        _FLAN,
    ),
    "audiolcm": (
        Licence(
            "AudioLCM",
            "MIT",
            "model card of liuhuadai/AudioLCM; the code's repository has no licence file",
        ),
        _MAA2,
        _T5,
        _BERT,
    ),
    "make-an-audio-2": (
        Licence("Make-An-Audio 2", "MIT", "licence file of github.com/bytedance/Make-An-Audio-2"),
        _T5,
        _BERT,
    ),
}
"""What the weights of each published system are under; the system's own come first."""


def expression(family: Family) -> str:
    """Give the SPDX expression of a family's bundle: all licences hold at once."""
    names = dict.fromkeys(licence.name for licence in LICENCES[family])
    return " AND ".join(names)


def non_commercial(family: Family) -> bool:
    """Tell whether any part forbids commercial use."""
    return any("-NC-" in licence.name for licence in LICENCES[family])


def limits(family: Family) -> Iterator[str]:
    """Give the lines on what must not be done with a family's bundle."""
    if non_commercial(family):
        yield "NOT FOR COMMERCIAL USE: the bundle is for research and private use only."
    if "-ND-" in expression(family):
        yield "DO NOT SHARE THE BUNDLE: each user converts the published weights themselves."


def notice(family: Family) -> Iterator[str]:
    """Give the lines that are shown before weights are converted."""
    for licence in LICENCES[family]:
        yield f"{licence.what}: {licence.name} ({licence.source})"
        yield f"  {TERMS[licence.name]}"
    yield from limits(family)
    yield "The licences' own texts decide; by converting you accept them."
