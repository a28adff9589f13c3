"""All protocols by name."""

from __future__ import annotations

from pathlib import Path

from soundleap.errors import InputError, unknown_name
from soundleap.evaluation.protocols.definition import EvaluationProtocol
from soundleap.evaluation.protocols.folder import folder_protocol
from soundleap.evaluation.protocols.heldout import NAME as HELDOUT
from soundleap.evaluation.protocols.heldout import heldout_protocol
from soundleap.evaluation.protocols.lists import read_list
from soundleap.evaluation.protocols.published import PUBLISHED, make_protocol

PROTOCOLS = (HELDOUT, *PUBLISHED)
"""Names that `load_protocol` knows; a folder or a protocol file may be given instead."""


def load_protocol(name: str | Path, *, list_file: str | Path | None = None) -> EvaluationProtocol:
    """Load a protocol.

    Args:
        name: one of `PROTOCOLS`, a folder of one's own (`folder.folder_protocol`), or a file that
            `EvaluationProtocol.save` wrote.
        list_file: one's own copy of a published list, for the names in `published.PUBLISHED`.

    Raises:
        InputError: for an unknown name, a list that is missing, not asked for or does not fit.
    """
    path = Path(name)
    if str(name) in PUBLISHED:
        published = PUBLISHED[str(name)]
        if list_file is None:
            raise InputError(
                f"protocol {name} reads its list from your copy: give --list (list_file) with "
                f"{published.file}"
            )
        return make_protocol(str(name), read_list(list_file))
    if list_file is not None:
        needed = ", ".join(PUBLISHED)
        raise InputError(f"protocol {name} reads no list; only these do: {needed}")
    if str(name) == HELDOUT:
        return heldout_protocol()
    if path.exists():
        return folder_protocol(path)
    raise unknown_name("protocol", str(name), (*PROTOCOLS, "FOLDER"))
