"""Which files of a folder, or of a repository, make a published system."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from soundleap.bundle_schema import Family
from soundleap.errors import BundleError, InputError

TRAINING_FILE = "pytorch_model_2.bin"
TANGO_FILES = (
    "main_config.json",
    "pytorch_model_main.bin",
    "pytorch_model_vae.bin",
    "vae_config.json",
)
DEMO_FILES = ("unet_state_dict.pt", "vae_state_dict.pt")
VOCODER_FILES = ("best_netG.pt", "args.yml")
SUMMARY_FILE = "summary.jsonl"
WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".zip")


@dataclass(frozen=True)
class Chosen:
    """Names of the files to read, or their paths.

    Attributes:
        main: with the networks.
        family: that the name tells, if it does.
        vae: with the autoencoder (and AudioLDM's vocoder).
        vocoder: AudioLCM's; its settings lie beside it.
        extra: other files that are needed beside these.
        revision: of the repository on the hub.
    """

    main: str
    family: Family | None = None
    vae: str | None = None
    vocoder: str | None = None
    extra: tuple[str, ...] = ()
    revision: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(x for x in (self.main, self.vae, self.vocoder, *self.extra) if x)

    def under(self, folder: Path) -> Chosen:
        """Put a folder before every name."""

        def path(name: str | None) -> str | None:
            return None if name is None else str(folder / name)

        extra = tuple(str(folder / name) for name in self.extra)
        return replace(
            self,
            main=str(folder / self.main),
            vae=path(self.vae),
            vocoder=path(self.vocoder),
            extra=extra,
        )


def choose(where: str, names: Iterable[str]) -> Chosen:
    """Pick what belongs to one system.

    Args:
        where: what the names are of, for messages.
        names: paths inside of it, with ``/``.

    Raises:
        BundleError: if nothing is recognised, or a file of a set is missing.
        InputError: if several systems are there; the message lists them.
    """
    known = sorted(names, key=lambda name: (name.count("/"), name))
    for rule in (_tango, _demo, _lightning, _training, _single):
        chosen = rule(where, known)
        if chosen is not None:
            return chosen
    shown = ", ".join(known[:12]) or "nothing"
    raise BundleError(f"{where} holds no published system that is known here; it has {shown}")


def choose_in_folder(folder: Path) -> Chosen:
    """Pick the files of a folder; see `choose`. The result has full paths."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return choose(str(folder), names).under(folder)


def choose_beside(file: Path) -> Chosen:
    """Pick a file, and what lies beside it if its name is that of a known set's main file."""
    alone = Chosen(str(file), _family(file.name))
    if file.name not in (TANGO_FILES[1], DEMO_FILES[0]):
        return alone
    names = [path.name for path in file.parent.iterdir() if path.is_file()]
    second = TANGO_FILES[2] if file.name == TANGO_FILES[1] else DEMO_FILES[1]
    return replace(alone, vae=str(file.with_name(second)) if second in names else None)


def epoch(name: str) -> int:
    """Give the number in ``…/epoch_60/…``; -1 where there is none."""
    found = re.search(r"(?:^|/)epoch_(\d+)/", name)
    return int(found[1]) if found else -1


def training_files(names: Iterable[str]) -> list[str]:
    """Give the training checkpoints among names, the latest epoch first."""
    found = [name for name in names if PurePosixPath(name).name == TRAINING_FILE]
    return sorted(found, key=lambda name: (-epoch(name), name))


def _tango(where: str, names: Sequence[str]) -> Chosen | None:
    if TANGO_FILES[0] not in names:
        return None
    missing = [name for name in TANGO_FILES if name not in names]
    if missing:
        raise BundleError(f"{where} is a TANGO folder but lacks {', '.join(missing)}")
    return Chosen(TANGO_FILES[1], "tango", vae=TANGO_FILES[2], extra=(TANGO_FILES[3],))


def _demo(where: str, names: Sequence[str]) -> Chosen | None:
    unet = _first(names, DEMO_FILES[0])
    if unet is None:
        return None
    vae = str(PurePosixPath(unet).with_name(DEMO_FILES[1]))
    return Chosen(unet, "consistencytta", vae=vae if vae in names else None)


def _lightning(where: str, names: Sequence[str]) -> Chosen | None:
    main = min(
        (name for name in (_first(names, "audiolcm.ckpt"), _first(names, "maa2.ckpt")) if name),
        key=lambda name: name.count("/"),
        default=None,
    )
    if main is None:
        return None
    for vocoder in (name for name in names if PurePosixPath(name).name == VOCODER_FILES[0]):
        settings = str(PurePosixPath(vocoder).with_name(VOCODER_FILES[1]))
        if settings in names:
            return Chosen(main, _family(main), vocoder=vocoder, extra=(settings,))
    return Chosen(main, _family(main))


def _training(where: str, names: Sequence[str]) -> Chosen | None:
    found = training_files(names)
    if not found:
        return None
    summary = str(PurePosixPath(found[0]).parent.parent / SUMMARY_FILE)
    return Chosen(found[0], "consistencytta", extra=(summary,) if summary in names else ())


def _single(where: str, names: Sequence[str]) -> Chosen | None:
    found = [name for name in names if name.endswith(WEIGHTS)]
    if len(found) > 1:
        raise InputError(f"{where} holds several files of weights; name one: {', '.join(found)}")
    return Chosen(found[0], _family(found[0])) if found else None


def _first(names: Sequence[str], wanted: str) -> str | None:
    return next((name for name in names if PurePosixPath(name).name == wanted), None)


def _family(name: str) -> Family | None:
    stem = PurePosixPath(name.replace("\\", "/")).name.lower()
    for start, family in _STARTS.items():
        if stem.startswith(start):
            return family
    return None


_STARTS: dict[str, Family] = {
    "consistencytta": "consistencytta",
    "lightweightldm": "consistencytta",
    "unet_state_dict": "consistencytta",
    "pytorch_model_2": "consistencytta",
    "pytorch_model_main": "tango",
    "audiolcm": "audiolcm",
    "maa2": "make-an-audio-2",
}
