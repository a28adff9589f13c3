"""Importing a published system: find, recognise, tell the licence, check, convert."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from soundleap.bundle import Bundle
from soundleap.bundle_schema import Family
from soundleap.bundle_writer import new_folder
from soundleap.errors import InputError
from soundleap.importers.archive import is_archive
from soundleap.importers.files import Chosen
from soundleap.importers.hub import HubId
from soundleap.importers.licences import LICENCES, notice
from soundleap.importers.one_dimensional import plan_one_dimensional
from soundleap.importers.opened import Opened, fetch_chosen, find, open_file, open_packed
from soundleap.importers.plan import Options, Plan, check_plan
from soundleap.importers.sources import Watch, hash_sources, unwatched
from soundleap.importers.two_dimensional import plan_two_dimensional
from soundleap.importers.writing import write_plan

Tell = Callable[[str], None]


def import_model(
    source: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    tell: Tell | None = None,
    watch: Watch = unwatched,
) -> Bundle:
    """Convert a published checkpoint into a model folder; it appears whole or not at all.

    Nothing in the source is run, and only the tensors that are needed are read, one at a time.
    Every tensor must be known, there and of the right shape.

    Args:
        source: a file, a folder, or a hub id ``org/name`` (or ``org/name/file``).
        out: must not exist yet, or be an empty folder.
        options: what is not to be found out; None finds out everything.
        tell: called with lines about the system and its licence, before anything is written, and
            with notes.
        watch: shows progress.

    Returns:
        The new folder, opened.

    Raises:
        InputError: if the source does not exist or is of another family, `out` exists, or an
            option has no use here.
        BundleError: if the source is damaged, unsafe, incomplete or holds what is not known, or
            the folder can't be written.
    """
    options = options or Options()
    target, announcer = Path(out), _Announcer(tell or _silent)
    check_target(target)
    chosen, hub_id = find(str(source))
    announcer.family(options.family or chosen.family)
    if hub_id is not None:
        chosen = fetch_chosen(chosen, hub_id)
    packed = is_archive(Path(chosen.main))
    opened = None if packed else open_file(chosen, options.family)
    announcer.family("consistencytta" if opened is None else opened.family)
    with new_folder(target) as folder, _scratch(target) as scratch:
        if opened is None:
            opened = open_packed(chosen, options.family, scratch, watch)
            announcer.family(opened.family)
        plan = make_plan(opened, options, _name(chosen, hub_id, packed, opened))
        check_plan(plan)
        plan.release()
        if hub_id is not None:
            plan.facts["hub"] = {"repository": hub_id.repo, "revision": chosen.revision}
        records = _hash(plan, chosen, scratch, watch)
        for record in (record for record in records if "published" in record):
            announcer.tell(f"{record['file']} is the published {record['published']}")
        write_plan(folder, plan, options.dtype, records, watch)
    return Bundle(target)


def _hash(plan: Plan, chosen: Chosen, scratch: Path, watch: Watch) -> list[dict[str, Any]]:
    """Measure the sources; for what was unpacked, the archive that it came in."""
    files = [Path(chosen.main) if path.parent == scratch else path for path in plan.sources]
    return hash_sources(files, watch)


def make_plan(opened: Opened, options: Options, name: str) -> Plan:
    """Plan the bundle of an opened source; see `plan_two_dimensional`, `plan_one_dimensional`."""
    two = opened.family in ("consistencytta", "tango")
    make = plan_two_dimensional if two else plan_one_dimensional
    return make(opened, options, options.name or name)


def check_target(target: Path) -> None:
    """Raise `InputError` if a folder exists and is not empty, before any work is done."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} exists and is not an empty folder; give another name")


@contextmanager
def _scratch(target: Path) -> Generator[Path]:
    """Give a folder on the target's disk that is deleted afterwards, whatever happens."""
    made = TemporaryDirectory(prefix=".soundleap-", dir=target.parent, ignore_cleanup_errors=True)
    with made as name:
        yield Path(name)


class _Announcer:
    """Tells each family's licence once."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._told: set[Family] = set()

    def family(self, family: Family | None) -> None:
        if family in LICENCES and family not in self._told:
            self._told.add(family)
            for line in notice(family):
                self.tell(line)


def _name(chosen: Chosen, hub_id: HubId | None, packed: bool, opened: Opened) -> str:
    if packed:
        return Path(chosen.main).stem.lower()
    return opened.family if hub_id is None else hub_id.repo.partition("/")[2].lower()


def _silent(line: str) -> None:
    pass
