"""Which networks rewarded a student: beside its file in a run's folder, then in its model's."""

from __future__ import annotations

import json
from pathlib import Path

from soundleap.data.manifest import write_text_atomically
from soundleap.errors import BundleError
from soundleap.evaluation.rewarded import KEY

FILE = "rewards.json"
MODEL_FILE = "soundleap.json"


def write_rewards(folder: Path, networks: list[dict[str, str]]) -> None:
    """Write ``rewards.json`` for a student; nothing where no network rewarded it."""
    if networks:
        write_text_atomically(folder / FILE, json.dumps(networks, indent=1) + "\n")


def rewards_of(student: Path) -> list[dict[str, str]]:
    """Read which networks rewarded a student: name and network of each.

    Args:
        student: its file, in a run's folder or in a model's.

    Raises:
        BundleError: if what stands beside it can't be read.
    """
    for name in (FILE, MODEL_FILE):
        path = student.parent / name
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            found = found if name == FILE else found.get("provenance", {}).get(KEY, [])
            return [{"name": str(row["name"]), "network": str(row["network"])} for row in found]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(
                f"can't read which networks gave rewards in {path}: {error}"
            ) from None
    return []


def joined(*lists: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put lists of networks together, each network once."""
    rows = {row["network"]: row for one in lists for row in one}
    return list(rows.values())
