"""ConsistencyTTA and TANGO: what is refused, and what is said."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import published_toys as toy
import pytest
import torch
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.consistencytta import sampling, training_networks
from soundleap.importers.opened import Opened
from soundleap.importers.plan import Options
from soundleap.importers.run import import_model, make_plan

State = dict[str, Tensor]
MEMBER = "ConsistencyTTA/epoch_60/pytorch_model_2.bin"


def _options(tokenizer: str, **values: Any) -> Options:
    return Options(tokenizer=tokenizer, attention_heads=toy.HEADS, **values)


def _networks(tensors: State, options: Options, **settings: Any) -> None:
    checkpoint = Checkpoint(Path("model.bin"), tensors, {}, None)
    training_networks(checkpoint, settings, options)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (None, "holds no scale_factor; take audioldm-s-full"),
        (0.9138255715370178, "that of audioldm-m-full; these networks were trained with"),
        (0.5, r"holds scale_factor 0\.5; these"),
        (float("nan"), "can't be right"),
        ("much", "that is no number"),
    ],
)
def test_a_wrong_scale_factor(tmp_path: Path, tokenizer: str, factor: Any, message: str) -> None:
    toy.write_tango(tmp_path / "tango")
    record = {} if factor is None else {"scale_factor": factor}
    (tmp_path / "tango" / "vae_config.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=message):
        import_model(tmp_path / "tango", tmp_path / "out", _options(tokenizer))
    assert not (tmp_path / "out").exists()


def test_all_faults_of_all_parts_are_listed(tmp_path: Path, tokenizer: str) -> None:
    toy.write_tango(tmp_path / "tango")
    path = tmp_path / "tango" / "pytorch_model_main.bin"
    state = torch.load(path)
    del (
        state["unet.mid_block.resnets.0.conv1.bias"],
        state["text_encoder.encoder.final_layer_norm.weight"],
    )
    state["unet.more"] = torch.zeros(1)
    state["unet.conv_out.bias"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(BundleError) as caught:
        import_model(tmp_path / "tango", tmp_path / "out", _options(tokenizer))
    for part in (
        "teacher: missing unet.mid_block.resnets.0.conv1.bias; unexpected unet.more; "
        "mis-shaped unet.conv_out.bias (3,) instead of (8,)",
        "text: missing encoder.final_layer_norm.weight",
    ):
        assert part in str(caught.value)
    torch.save({**torch.load(path), "extra.weight": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match=r"unexpected tensors: extra\.weight"):
        import_model(tmp_path / "tango", tmp_path / "out", _options(tokenizer))
    assert [x.name for x in tmp_path.iterdir()] == ["tango"]


def test_what_has_no_use_or_no_factor(training: tuple[State, State], training_file: Path) -> None:
    checkpoint = Checkpoint(Path("model.bin"), training[1], {}, None)
    opened = Opened(checkpoint, "ctta-training", "consistencytta", None, None, {}, -1)
    for values, error, message in (
        ({"vocoder": Path("bigvgan")}, InputError, "consistencytta needs no --vocoder"),
        ({"vae": training_file}, BundleError, "holds no scale_factor"),
    ):
        with pytest.raises(error, match=message):
            make_plan(opened, _options("", **values), "name")


def test_copies_and_settings_that_are_not_there(training: tuple[State, State]) -> None:
    less = {name: x for name, x in training[1].items() if "ema" not in name}
    with pytest.raises(InputError, match="no ema network; it holds: student, target, teacher"):
        _networks(less, _options(""))
    for settings, message in (
        ({"use_karras": True}, "Karras"),
        ({"finetune_vae": True}, "its own autoencoder"),
        ({"stage": 1}, "first stage"),
    ):
        with pytest.raises(BundleError, match=message):
            _networks(training[1], _options(""), **settings)
    first = {name: x for name, x in training[1].items() if "target" not in name}
    with pytest.raises(BundleError, match="first stage"):
        _networks(first, _options(""))
    tuned = {**training[1], "ema_vae_decoder.conv_in.bias": torch.zeros(1)}
    with pytest.raises(BundleError, match="its own autoencoder"):
        _networks(tuned, _options(""))
    assert sampling(6).grid == pytest.approx((0, 199.8, 399.6, 599.4, 799.2, 999))


def test_damaged_zips(tmp_path: Path, tokenizer: str, training_file: Path) -> None:
    content = training_file.read_bytes()
    source = tmp_path / "ConsistencyTTA.zip"
    toy.write_zip(source, MEMBER, content, stored=False)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match="truncated or no zip"):
        import_model(source, tmp_path / "out", _options(tokenizer))
    source.write_bytes(data[:5000] + bytes(100) + data[5100:])
    with pytest.raises(BundleError, match=r"is damaged .*download it again"):
        import_model(source, tmp_path / "out", _options(tokenizer))
    toy.write_zip(source, MEMBER, content[:-5000], stored=True)
    with pytest.raises(BundleError, match="truncated or damaged"):
        import_model(source, tmp_path / "out", _options(tokenizer))
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BundleError, match="no torch file"):
        import_model(source, tmp_path / "out", _options(tokenizer))
    assert [x.name for x in tmp_path.iterdir()] == [source.name]
