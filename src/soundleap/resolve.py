"""From what a user calls a model to its folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from soundleap.bundle import Bundle
from soundleap.bundle_schema import MANIFEST_NAME
from soundleap.errors import BundleError, unknown_name

ASSETS = Path(__file__).parent / "assets"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_HUB_FILES = ["*.json", "*.safetensors", "*.md"]


@dataclass(frozen=True)
class KnownModel:
    """A model that can be asked for by name.

    Attributes:
        folder: where it lies.
        summary: one line for lists.
    """

    folder: Path
    summary: str


KNOWN_MODELS: dict[str, KnownModel] = {
    "default": KnownModel(ASSETS / "default", "comes with the package"),
}
"""Models by name."""


def open_model(source: str | Path | None = None) -> Bundle:
    """Find and open a model.

    Args:
        source: None for the model that comes with the package, a name in `KNOWN_MODELS`, a model
            folder, or a hub id ``org/name`` (fetched, or found in the hub's cache; HF_HUB_OFFLINE
            and HF_HOME are honoured).

    Raises:
        InputError: for a name that is neither known nor a folder nor a hub id.
        BundleError: if the model can't be fetched or is not valid.
    """
    if source is None:
        source = "default"
    if isinstance(source, str) and source in KNOWN_MODELS:
        return _open_known(source)
    folder = Path(source)
    if isinstance(source, Path) or os.path.exists(folder):  # unlike Path.exists it never raises
        return Bundle(folder)
    if _HUB_ID.match(source):
        return Bundle(_fetch(source))
    if "/" in source or "\\" in source:
        raise BundleError(f"model folder {source} does not exist")
    raise unknown_name("model (and no such folder)", source, KNOWN_MODELS)


def _open_known(name: str) -> Bundle:
    folder = KNOWN_MODELS[name].folder
    if not (folder / MANIFEST_NAME).exists():
        raise BundleError(
            f"model {name!r} is not part of this installation; give a model folder or a hub id"
        )
    return Bundle(folder)


def _fetch(hub_id: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BundleError(
            f"no folder {hub_id}, and can't fetch it from the hub: {reason}"
        ) from None
