"""Pinned protocols: which clips, which captions, how sounds are prepared, who judges."""

from __future__ import annotations

from soundleap.evaluation.protocols.catalogue import PROTOCOLS, load_protocol
from soundleap.evaluation.protocols.definition import (
    AudioRule,
    EvaluationProtocol,
    ProtocolClip,
)

__all__ = ["PROTOCOLS", "AudioRule", "EvaluationProtocol", "ProtocolClip", "load_protocol"]
