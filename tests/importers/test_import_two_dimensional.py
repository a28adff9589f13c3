"""ConsistencyTTA and TANGO: every layout, tensor by tensor."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import published_toys as toy
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.bundle import Bundle
from soundleap.errors import BundleError, InputError
from soundleap.importers.archive import open_archive
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.codecs import SCALE
from soundleap.importers.consistencytta import sampling, training_networks
from soundleap.importers.opened import Opened, find, open_file
from soundleap.importers.plan import Options, check_plan
from soundleap.importers.recognise import recognise
from soundleap.importers.run import import_model, make_plan
from soundleap.importers.sources import unwatched
from soundleap.pipeline import TextToAudio

State = dict[str, Tensor]
MEMBER = "ConsistencyTTA/epoch_60/pytorch_model_2.bin"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy.write_tokenizers(tmp_path_factory.mktemp("tokenizers"))[0]


@pytest.fixture(scope="module")
def students() -> dict[str, tuple[State, State]]:
    """States of the copies of the student, ours and published."""
    names = ("student", "student_target", "student_ema")
    return {name: toy.unet(toy.STUDENT, 2 + i) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def training(students: dict[str, tuple[State, State]]) -> tuple[State, State]:
    """The teacher's state, and a training checkpoint with all copies."""
    return toy.ctta_training(**{name: published for name, (_, published) in students.items()})


@pytest.fixture(scope="module")
def vae() -> tuple[State, State, State]:
    return toy.vae_and_vocoder()


def _options(tokenizer: str, **values: Any) -> Options:
    return Options(tokenizer=tokenizer, attention_heads=toy.HEADS, **values)


def _same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def _check(bundle: Bundle, vae: tuple[State, State, State], **networks: State) -> None:
    assert set(bundle.manifest.networks) == set(networks)
    for name, state in networks.items():
        _same(bundle.load_network(name).state_dict(), state)  # pyright: ignore
    codec = bundle.load_codec()
    _same(codec.latent.state_dict(), vae[0])  # pyright: ignore
    _same(codec.vocoder.state_dict(), vae[1])  # pyright: ignore
    _same(bundle.load_text().network.state_dict(), toy.t5())  # pyright: ignore
    bundle.verify()


def _planned(source: Path, options: Options) -> dict[str, State]:
    """Plan an import, check it, and give the states of its parts."""
    chosen, _ = find(str(source))
    plan = make_plan(open_file(chosen, options.family), options, "name")
    check_plan(plan)
    return {part.name: dict(part.state) for part in plan.parts} | {"text": dict(plan.text.state)}


def _networks(tensors: State, options: Options, **settings: Any) -> dict[str, State]:
    """Plan the networks of a training checkpoint, and give their states."""
    checkpoint = Checkpoint(Path("model.bin"), tensors, {}, None)
    assert recognise(checkpoint) == "ctta-training"
    return {
        part.name: dict(part.state) for part in training_networks(checkpoint, settings, options)
    }


@pytest.fixture(scope="module")
def training_file(tmp_path_factory: pytest.TempPathFactory, training: tuple[State, State]) -> Path:
    path = tmp_path_factory.mktemp("training") / "pytorch_model_2.bin"
    torch.save(training[1], path)
    return path


def test_a_zip(
    tmp_path: Path,
    tokenizer: str,
    students: dict[str, tuple[State, State]],
    training: tuple[State, State],
    training_file: Path,
    vae: tuple[State, State, State],
) -> None:
    source, out = tmp_path / "ConsistencyTTA_CLAPFT.zip", tmp_path / "out"
    lines: list[str] = []
    settings = {"ema_decay": 0.999, "secret": "x"}
    toy.write_zip(source, MEMBER, training_file.read_bytes(), stored=False, **settings)
    options = _options(tokenizer, with_teacher=True)
    made = import_model(source, out, options, tell=lines.append)
    _check(made, vae, student=students["student_ema"][0], teacher=training[0])
    manifest = made.manifest
    assert (manifest.kind, manifest.name) == ("consistencytta", "consistencytta_clapft")
    assert (manifest.version, manifest.sampling_rate) == ("epoch 60", 16000)
    assert manifest.licence == "CC-BY-NC-ND-4.0 AND CC-BY-NC-SA-4.0 AND Apache-2.0"
    assert manifest.provenance["training"] == {
        "ema_decay": 0.999, "num_diffusion_steps": 18, "stage": 2
    }  # fmt: skip
    record = {"file": source.name, "bytes": source.stat().st_size}
    record["sha256"] = hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest.provenance["imported"] == [record]
    assert "NOT FOR COMMERCIAL USE" in (out / "MODEL_CARD.md").read_text()
    assert "DO NOT SHARE THE BUNDLE: each user converts the published weights" in "\n".join(lines)
    assert {x.name for x in tmp_path.iterdir()} == {source.name, "out"}
    assert {x.name for x in out.iterdir()} == {
        "MODEL_CARD.md", "codec.safetensors", "soundleap.json", "student.safetensors",
        "teacher.safetensors", "text", "vocoder.safetensors",
    }  # fmt: skip
    assert manifest.sampling == sampling()
    sound = TextToAudio.from_pretrained(out, device="cpu")("a b c", seed=1, duration_in_s=1.0)
    assert sound.audios[0].shape == (1, 16000)


def test_a_stored_zip_is_read_where_it_lies(
    tmp_path: Path, training: tuple[State, State], training_file: Path
) -> None:
    for i in range(2):
        source = tmp_path / f"{i}.zip"
        toy.write_zip(source, "A/epoch_7/pytorch_model_2.bin", b"", stored=True)
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("odd", "x" * i)
            archive.writestr(MEMBER, training_file.read_bytes())
        found = open_archive(source, tmp_path / "nowhere", unwatched)
        _same(dict(found.checkpoint), training[1])
        assert (found.member, found.settings) == (MEMBER, {})


def test_every_copy_of_a_training_checkpoint(
    students: dict[str, tuple[State, State]], training: tuple[State, State]
) -> None:
    for which, name in (
        ("student", "student"), ("target", "student_target"), ("ema", "student_ema")
    ):  # fmt: skip
        found = _networks(training[1], _options("", which=which))
        assert list(found) == ["student"]
        _same(found["student"], students[name][0])
    for options in (
        _options("", which="teacher"),
        _options("", which="teacher", with_teacher=True),
    ):
        found = _networks(training[1], options)
        assert list(found) == ["teacher"]
        _same(found["teacher"], training[0])


@pytest.mark.parametrize("slow", [True, False])
def test_old_names(students: dict[str, tuple[State, State]], slow: bool) -> None:
    copies = {
        "consistency": students["student"][1],
        "consistency_ema": students["student_target"][1],
    }
    if slow:
        copies["consistency_slow_ema"] = students["student_ema"][1]
    teacher, checkpoint = toy.ctta_training("diffusion_unet.", **copies)
    found = _networks(checkpoint, _options("", with_teacher=True))
    _same(found["student"], students["student_ema" if slow else "student_target"][0])
    _same(found["teacher"], teacher)


def test_the_demo_with_parts_from_other_files(
    tmp_path: Path,
    tokenizer: str,
    students: dict[str, tuple[State, State]],
    vae: tuple[State, State, State],
) -> None:
    torch.save(students["student_ema"][1], tmp_path / "unet_state_dict.pt")
    torch.save({"state_dict": vae[2], "scale_factor": SCALE}, tmp_path / "vae_state_dict.pt")
    decoder = {"decoder.final_layer_norm.weight": torch.ones(32), "lm_head.weight": torch.ones(2)}
    torch.save({**toy.t5(), **decoder}, tmp_path / "pytorch_model.bin")
    for source, text in (
        (tmp_path / "unet_state_dict.pt", tmp_path / "pytorch_model.bin"),
        (tmp_path, tmp_path),
    ):
        found = _planned(source, _options(tokenizer, text_encoder=str(text)))
        _same(found["student"], students["student_ema"][0])
        _same(found["codec"], vae[0])
        _same(found["vocoder"], vae[1])
        _same(found["text"], {k: x for k, x in toy.t5().items() if "embed_tokens" not in k})
    with pytest.raises(InputError, match="holds one network, the student"):
        _planned(tmp_path, _options(tokenizer, which="teacher"))


def test_the_lightweight_teacher(
    tmp_path: Path, tokenizer: str, vae: tuple[State, State, State]
) -> None:
    network, published = toy.unet(toy.TEACHER, 1)
    buffer = io.BytesIO()
    torch.save({**toy.under("unet.", published), **toy.under("text_encoder.", toy.t5())}, buffer)
    source, ckpt = tmp_path / "LightweightLDM.zip", tmp_path / "audioldm-s-full.ckpt"
    toy.write_zip(source, "LightweightLDM/best/pytorch_model_2.bin", buffer.getvalue(), stored=True)
    state = {
        **toy.under("first_stage_model.", vae[2]),
        "first_stage_model.loss.logvar": torch.zeros(1),
        "model.diffusion_model.input_blocks.0.weight": torch.ones(3),
        "scale_factor": torch.tensor(SCALE),
    }
    torch.save(toy.lightning(state), ckpt)
    made = import_model(source, tmp_path / "out", _options(tokenizer, vae=ckpt))
    _check(made, vae, teacher=network)
    assert made.manifest.kind == "consistencytta"
    assert made.manifest.sampling.teacher_solver == "heun"
    with pytest.raises(BundleError, match="holds no autoencoder; give audioldm-s-full"):
        import_model(source, tmp_path / "none", _options(tokenizer))


def test_tango_folder_and_file(tmp_path: Path, tokenizer: str) -> None:
    network, *parts = toy.write_tango(tmp_path / "tango")
    made = import_model(tmp_path / "tango", tmp_path / "out", _options(tokenizer, dtype="float16"))
    assert (made.manifest.kind, made.manifest.sampling.teacher_solver) == ("tango", "ddpm")
    assert made.manifest.parts.teacher is not None
    assert made.manifest.parts.teacher.dtype == "float16"
    _same(
        made.load_network("teacher").state_dict(),  # pyright: ignore
        {name: value.half().float() for name, value in network.items()},
    )
    single = tmp_path / "single"
    single.mkdir()
    (tmp_path / "tango" / "pytorch_model_main.bin").rename(single / "main.bin")
    options = _options(tokenizer, vae=tmp_path / "tango" / "pytorch_model_vae.bin")
    found = _planned(single / "main.bin", options)
    for name, state in {"teacher": network, "codec": parts[0], "vocoder": parts[1]}.items():
        _same(found[name], state)


def test_guidance_frequencies_stay_exact(
    tmp_path: Path,
    tokenizer: str,
    students: dict[str, tuple[State, State]],
    training_file: Path,
) -> None:
    options = _options(tokenizer, dtype="float16", name="mine")
    made = import_model(training_file, tmp_path / "out", options)
    assert made.manifest.name == "mine"
    found = load_file(tmp_path / "out" / "student.safetensors")
    assert torch.equal(found["frequencies"], students["student_ema"][0]["frequencies"])
    assert {x.dtype for x in found.values()} == {torch.float16, torch.float32}


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
