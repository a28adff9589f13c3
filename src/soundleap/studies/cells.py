"""A study's folder: its settings, and one small file for every part of the work that is done.

Whatever stops a study, the same command goes on where it was; other settings are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from soundleap.data.manifest import write_text_atomically
from soundleap.errors import InputError

SETTINGS_FILE = "study.json"


class Cells:
    """Parts of a study, each computed once.

    Attributes:
        folder: of the study.
        computed: parts that this process had to compute.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        """Claim a folder for a study.

        Args:
            folder: made if missing.
            settings: what the results depend on, as JSON values.

        Raises:
            InputError: if the folder holds a study with other settings, naming them, or holds
                other files.
        """
        self.folder = Path(folder)
        self.computed = 0
        wanted = json.loads(json.dumps(settings))
        path = self.folder / SETTINGS_FILE
        if path.is_file():
            before = _read(path)
            other = sorted(k for k in {**before, **wanted} if before.get(k) != wanted.get(k))
            if other:
                told = ", ".join(f"{k}: {before.get(k)} -> {wanted.get(k)}" for k in other)
                raise InputError(
                    f"{self.folder} holds a study with other settings ({told}); use another folder"
                )
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} holds other files; choose an empty or new folder")
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, json.dumps(wanted, indent=1) + "\n")

    def __call__(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Give a part by its name; compute and write it if it is not there.

        Raises:
            InputError: if its file is damaged.
        """
        path = self.folder / "cells" / f"{re.sub('[^A-Za-z0-9_.-]', '-', name)}.json"
        if not path.is_file():
            value = compute()
            self.computed += 1
            write_text_atomically(path, json.dumps(value) + "\n")
        return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged; delete it, and the same command makes it anew")
    return cast("dict[str, Any]", values)
