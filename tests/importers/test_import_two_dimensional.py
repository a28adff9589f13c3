"""ConsistencyTTA and TANGO: every layout, tensor by tensor."""

from __future__ import annotations

import hashlib
import io
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
from soundleap.importers.opened import find, open_file
from soundleap.importers.plan import Options, check_plan
from soundleap.importers.recognise import recognise
from soundleap.importers.run import import_model, make_plan
from soundleap.importers.sources import unwatched
from soundleap.pipeline import TextToAudio

State = dict[str, Tensor]
MEMBER = "ConsistencyTTA/epoch_60/pytorch_model_2.bin"


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
