"""A folder that a shard's sounds go to, one by one, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from soundleap.audio.io import encode_audio
from soundleap.audio.metadata import read_metadata
from soundleap.audio.names import check_format, check_writable, plan_paths
from soundleap.errors import AudioFileError, InputError
from soundleap.offline import manifest
from soundleap.offline.manifest import MERGED, Row, key_of, manifest_path
from soundleap.offline.shards import Shard
from soundleap.output import Result
from soundleap.requests import Sample


class OfflineFolder:
    """One shard of a list on its way into a folder; a context.

    Entering it reads what an earlier run has done, takes away what that run left unfinished, and
    keeps other runs of the same shard out. A sound's row is written before the file gets its name,
    so that no kill leaves a file without a row, and rows without a file are dropped on entering.

    Attributes:
        samples: the whole list.
        shard: this run's share of it.
        paths: the file of each sound of the whole list.
        missing: positions that are to be made, in order.
        damaged: names of files that are made anew since they are not what the manifest says.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        output: str | Path,
        shard: Shard,
        *,
        fingerprint: str,
        audio_format: str | None = None,
        metadata: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Plan; nothing is read or written yet.

        Args:
            samples: the whole list, checked.
            output: the folder.
            shard: which share of it is made.
            fingerprint: of the model.
            audio_format: wav (None), flac, ogg, opus or mp3.
            metadata: write each sound's settings into its file.
            settings: what else decides about the bytes, for the key.

        Raises:
            InputError: for an unknown format, or a file where a folder is needed.
        """
        self.samples, self.shard, self.metadata = samples, shard, metadata
        self.folder = Path(output)
        self.format = check_format(audio_format or "wav")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{output} is a file; a list in shards needs a folder")
        sounds = [(sample.prompt, sample.seed) for sample in samples]
        self.paths = plan_paths(f"{output}{os.sep}", sounds, self.format)
        decides = {"format": self.format, "metadata": metadata, **(settings or {})}
        self.key = key_of(samples, shard, fingerprint, decides)
        self.missing: list[int] = []
        self.damaged: list[str] = []
        self._dtype = decides.get("dtype") or "float32"
        self._open: set[int] = set()
        self._own = manifest_path(self.folder, shard)
        self._partial = self.folder / f".soundleap-{shard.index}-of-{shard.count}"
        self._lock: IO[bytes] | None = None
        self._rows: IO[bytes] | None = None

    @property
    def done(self) -> int:
        """How many sounds of this shard are there."""
        return len(self.shard.positions(len(self.samples))) - len(self.missing)

    def __enter__(self) -> OfflineFolder:
        """Take the folder.

        Raises:
            InputError: if it belongs to another run, another process makes this shard, or a file
                is in the way that this run did not write.
        """
        check_writable([self._own], overwrite=True)
        for path in manifest.other_manifests(self.folder, self.shard):
            self.key.check_same(manifest.read_key(path), path)
        if self._own.exists():
            self.key.check_same(manifest.read_key(self._own), self._own)
        self._take_lock()
        try:
            self._resume()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave; if all shards are done, the whole manifest is written."""
        try:
            if kind is None and not self._open:
                self._merge()
        finally:
            self._leave()

    def encode(self, result: Result) -> bytes:
        """Give the bytes of a sound's file."""
        return encoded(result, self.format, self.metadata)

    def keep(self, position: int, data: bytes) -> Path:
        """Write a sound's file; returns its path.

        Raises:
            ValueError: for a position that is not missing.
            AudioFileError: if it can't be written.
        """
        if self._rows is None or position not in self._open:
            raise ValueError(f"position {position} is not missing")
        path, sample = self.paths[position], self.samples[position]
        digest = hashlib.sha256(data).hexdigest()
        row = Row(position, path.name, len(data), digest, sample.prompt, sample.seed)
        partial = self._partial / path.name
        try:
            partial.write_bytes(data)
            self._rows.write(row.line())
            self._rows.flush()
            partial.replace(path)
        except OSError as error:
            raise AudioFileError(f"can't write {path}: {error.strerror}") from None
        self._open.discard(position)
        return path

    @property
    def open_positions(self) -> list[int]:
        """Positions of `missing` that have not been kept since."""
        return sorted(self._open)

    def _resume(self) -> None:
        rows = manifest.read(self._own)[1] if self._own.exists() else []
        known = {row.position: row for row in rows}
        whole: list[Row] = []
        for position in self.shard.positions(len(self.samples)):
            row = self._whole(position, known.get(position))
            if row is None:
                self.missing.append(position)
            else:
                whole.append(row)
        self._open = set(self.missing)
        data = manifest.pack(self.key, whole)
        self._replace(self._own, data)
        self._rows = self._own.open("ab")

    def _whole(self, position: int, row: Row | None) -> Row | None:
        """Give the row of a file that is there and as it should be; None if it must be made.

        Raises:
            InputError: for a file that this list's runs did not write.
        """
        path, sample = self.paths[position], self.samples[position]
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from None
        digest = hashlib.sha256(data).hexdigest()
        if row is not None and row.file == path.name:
            if digest == row.sha256:
                return row
            self.damaged.append(path.name)
            return None
        if not self._matches(path, sample):
            raise InputError(
                f"{path} exists and is not a sound of this list; move it away, or choose another "
                "folder"
            )
        return Row(position, path.name, len(data), digest, sample.prompt, sample.seed)

    def _matches(self, path: Path, sample: Sample) -> bool:
        """Tell whether a file without a row holds the whole sound that is asked for."""
        import soundfile

        try:
            found = read_metadata(path)
            with soundfile.SoundFile(str(path)) as sound:
                length = len(sound.read(dtype="float32")) / sound.samplerate
        except (AudioFileError, soundfile.SoundFileError):
            return False
        asked = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
        same = all(found.get(name) == value for name, value in asked.items())
        made_by = (found.get("model_fingerprint"), found.get("dtype"))
        fits = made_by == (self.key.model, self._dtype)
        return same and fits and self.metadata and length > sample.duration_in_s - 0.1

    def _merge(self) -> None:
        data = manifest.merged(self.folder, self.key)
        if data is not None:
            self._replace(self.folder / MERGED, data)

    def _replace(self, path: Path, data: bytes) -> None:
        partial = self._partial / path.name
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise AudioFileError(f"can't write {path}: {error.strerror}") from None

    def _take_lock(self) -> None:
        """Keep a second run of this shard out, and clear what a killed one left."""
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = (self._partial / "lock").open("ab")
            if not _locked(self._lock):
                self._lock.close()
                self._lock = None
                raise InputError(
                    f"another process is making shard {self.shard} in {self.folder}; wait for it"
                )
            for left in self._partial.iterdir():
                if left.name != "lock":
                    left.unlink()
        except OSError as error:
            raise InputError(f"can't write to {self.folder}: {error.strerror}") from None

    def _leave(self) -> None:
        for file in (self._rows, self._lock):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._rows = self._lock = None
        shutil.rmtree(self._partial, ignore_errors=True)


def encoded(result: Result, audio_format: str, metadata: bool) -> bytes:
    """Give the bytes of a sound's file."""
    entry = result.metadata if metadata else None
    return encode_audio(result.waveform, result.sampling_rate, audio_format, entry)


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; the system unlocks it when the process is killed."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs of one shard are not kept apart
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # else its owner has just left
