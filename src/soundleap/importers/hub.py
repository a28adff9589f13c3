"""Files from the Hugging Face hub, or from its cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from soundleap.errors import BundleError

_Result = TypeVar("_Result")
_ID = re.compile(r"^(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:/(?P<file>.+))?$")


class HubId(NamedTuple):
    """A repository on the hub, and a file in it if one is named."""

    repo: str
    file: str | None


def parse_hub_id(text: str) -> HubId | None:
    """Read ``org/name`` or ``org/name/path/to/file``; None for what can't be one, such as a path.

    What exists on this machine is taken for a path, not for an id.
    """
    found = _ID.match(text)
    if found is None or Path(text).exists():
        return None
    return HubId(found["repo"], found["file"])


def list_files(repo: str) -> list[str]:
    """List a repository's files; offline, those that are in the cache.

    Raises:
        BundleError: if it can't be reached and is not in the cache.
    """
    import huggingface_hub

    try:
        return _tried(lambda: huggingface_hub.HfApi().list_repo_files(repo), repo)
    except BundleError:
        folder = _cached(repo)
        if folder is None:
            raise
        return [path.relative_to(folder).as_posix() for path in _files(folder)]


def fetch(repo: str, names: Iterable[str]) -> Path:
    """Get some of a repository's files.

    Returns:
        The folder in the hub's cache where all of them lie under their names.

    Raises:
        BundleError: if one can't be fetched and is not in the cache.
    """
    import huggingface_hub

    folder = Path()
    for name in names:
        path = Path(
            _tried(lambda name=name: huggingface_hub.hf_hub_download(repo, name), f"{repo}/{name}")
        )
        folder = path.parents[name.count("/")]
    return folder


def fetch_first(repo: str, names: Iterable[str]) -> Path:
    """Get the first of some files that a repository has.

    Raises:
        BundleError: if it has none of them.
    """
    wanted = list(names)
    here = list_files(repo)
    name = next((name for name in wanted if name in here), None)
    if name is None:
        raise BundleError(f"{repo} on the hub has none of the files {', '.join(wanted)}")
    return fetch(repo, [name]) / name


def _tried(action: Callable[[], _Result], repo: str) -> _Result:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return action()
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BundleError(f"can't fetch {repo} from the hub: {reason}") from None


def _cached(repo: str) -> Path | None:
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(repo, local_files_only=True))
    except (OSError, ValueError):
        return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
