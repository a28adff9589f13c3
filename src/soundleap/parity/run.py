"""Runs items and collects what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

from soundleap.errors import unknown_name

from .compare import Row, compare
from .family import Family
from .items import Item, ParityError, find_pairs

FAMILIES = {
    "audiolcm_autoencoder1d": "audiolcm_parts:Autoencoder",
    "audiolcm_bigvgan": "audiolcm_parts:Vocoder",
    "audiolcm_concatdit2mlp": "audiolcm_parts:Transformer",
    "audiolcm_distill": "audiolcm:Distillation",
    "audiolcm_lcm_sampler": "audiolcm:Sampler",
    "audiolcm_mel_frontend": "mels:AudioLCM",
    "audiolcm_solver": "audiolcm_solver:Solver",
    "audioldm_mel_frontend": "mels:AudioLDM",
    "audioldm_vae_hifigan": "audioldm:Codec",
    "ctta_distill_stage1": "consistencytta_training:Guided",
    "ctta_distill_stage2": "consistencytta_training:Consistency",
    "ctta_guided_unet": "consistencytta:GuidedUNet",
    "ctta_heun_schedule": "heun_schedule:HeunSchedule",
    "ctta_inference": "consistencytta:Inference",
    "maa2_teacher": "make_an_audio_2:Teacher",
    "tango_unet_sampling": "tango:Tango",
}
"""Items by name: the module in `soundleap.parity` and the class in it."""


def check_folder(
    folder: Path, only: Sequence[str] = (), report: Callable[[Row], None] | None = None
) -> list[Row]:
    """Compare every output of every item in a folder.

    A fault ends an output or an item, not the run.

    Args:
        folder: with ``NAME_SET.json`` and ``NAME_SET.safetensors``.
        only: names of items, with or without their set, with ``*`` for anything; empty: all.
        report: called with every row when it is known.

    Raises:
        InputError: for a folder without items, or a name in `only` that fits none of them.
    """
    rows: list[Row] = []
    for path in _chosen(find_pairs(folder), only):
        for row in check_item(path):
            rows.append(row)
            if report is not None:
                report(row)
    return rows


def check_item(path: Path) -> Iterator[Row]:
    """Compare the outputs of one item, by its path without ending, in order."""
    try:
        item = Item(path)
        family = _family(item)
    except Exception as error:
        yield Row(path.name, "", note=_reason(error))
        return
    for name in item.outputs:
        yield _check_output(item, family, name)


def summary(rows: Sequence[Row]) -> str:
    """Say in one line how many outputs agree."""
    items = {row.item for row in rows}
    failed = [row for row in rows if not row.passed]
    if not failed:
        return f"all {len(rows)} outputs of {len(items)} items agree"
    return (
        f"{len(failed)} of {len(rows)} outputs FAIL, in {len({row.item for row in failed})} of "
        f"{len(items)} items"
    )


def _check_output(item: Item, family: Family, name: str) -> Row:
    try:
        found = family.match(name)
        reference = item.output(name)
        return compare(item.stem, name, family.compute(found), reference, found.kind)
    except Exception as error:
        return Row(item.stem, name, note=_reason(error))


def _family(item: Item) -> Family:
    if item.name not in FAMILIES:
        raise ParityError(f"unknown item {item.name!r}; known: {', '.join(FAMILIES)}")
    module, _, name = FAMILIES[item.name].partition(":")
    return getattr(import_module(f"soundleap.parity.{module}"), name)(item)


def _chosen(paths: list[Path], only: Sequence[str]) -> list[Path]:
    if not only:
        return paths
    names = {path: (path.name, path.name.rpartition("_")[0]) for path in paths}
    for pattern in only:
        if not any(fnmatch(name, pattern) for pair in names.values() for name in pair):
            raise unknown_name("item", pattern, [path.name for path in paths])
    return [p for p in paths if any(fnmatch(n, pattern) for n in names[p] for pattern in only)]


def _reason(error: Exception) -> str:
    """Give an error as one line; one that is not meant for reading keeps its type."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, KeyError):
        return f"the description or the weights lack {text}"
    from soundleap.errors import SoundleapError

    return text if isinstance(error, SoundleapError) else f"{type(error).__name__}: {text}"
