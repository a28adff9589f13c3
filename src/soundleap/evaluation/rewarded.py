"""Networks that rewarded a model: never its judges, and named beside those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from soundleap.errors import InputError
from soundleap.evaluation.record import EmbedderInfo, EvaluationRecord
from soundleap.evaluation.report_values import SHORT_HASH, judge

KEY = "rewards"
"""Of a system, as of a model's provenance: ``[{name, network}]``, a network as ``kind:sha256``."""


def rewards_of_system(system: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give name and network of whatever rewarded a system.

    Raises:
        InputError: if the system tells it in another form.
    """
    rows = system.get(KEY) or []
    try:
        return [(str(row["name"]), str(row["network"])) for row in cast("list[Any]", rows)]
    except (TypeError, KeyError):
        raise InputError(
            f"{KEY} of the system is {rows!r}; needed: a list of entries with name and network, as "
            "`soundleap evaluate make` writes it into system.json"
        ) from None


def check_judges(system: Mapping[str, Any], judges: Sequence[EmbedderInfo]) -> None:
    """Refuse to judge a system by a network that rewarded it.

    Raises:
        InputError: naming every such judge.
    """
    taught = {_hash(network): name for name, network in rewards_of_system(system)}
    faults = [
        f"embedder {judge.name} is the network that gave reward {taught[judge.weights_sha256]} in "
        "training: its numbers would be those of the training; leave this embedder out"
        for judge in judges
        if judge.weights_sha256 in taught
    ]
    if faults:
        raise InputError("; ".join(faults))


def told(record: EvaluationRecord) -> str | None:
    """Say which networks rewarded a system and which judge it; None where none rewarded it."""
    rewards = rewards_of_system(record.system)
    if not rewards:
        return None
    names = [info.name for info in record.embedders]
    gave = ", ".join(f"{name} (SHA-256 {_hash(n)[:SHORT_HASH]})" for name, n in rewards)
    text = f"Rewarded in training by {gave}; judged by "
    text += ", ".join(judge(record, name) for name in names)
    alike = sorted({*names} & {name for name, _ in rewards})
    if alike:
        text += f" ({', '.join(alike)}: of the same kind with other weights, not independent)"
    return text + "."


def _hash(network: str) -> str:
    return network.rpartition(":")[2]
