"""Which files belong together, what a checkpoint is, and tokenizers in their old forms."""

from __future__ import annotations

import struct
from pathlib import Path

import published_toys as toy
import pytest
import torch
from tokenizers import Tokenizer

from soundleap.errors import BundleError, InputError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.files import Chosen, choose, choose_beside, choose_in_folder
from soundleap.importers.hub import HubId, parse_hub_id
from soundleap.importers.licences import LICENCES, TERMS, expression, notice
from soundleap.importers.recognise import choose_family, recognise
from soundleap.importers.tokenizer_files import (
    bert_tokenizer,
    convert_sentencepiece,
    convert_vocabulary,
    t5_tokenizer,
)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (
            ["main_config.json", "pytorch_model_main.bin", "pytorch_model_stft.bin",
             "pytorch_model_vae.bin", "stft_config.json", "vae_config.json"],
            Chosen("pytorch_model_main.bin", "tango", "pytorch_model_vae.bin",
                   extra=("vae_config.json",)),
        ),
        (
            ["app.py", "ckpt/unet_state_dict.pt", "ckpt/vae_state_dict.pt"],
            Chosen("ckpt/unet_state_dict.pt", "consistencytta", "ckpt/vae_state_dict.pt"),
        ),
        (
            ["audiolcm.ckpt", "useful_ckpt/LCM_audio/maa2.ckpt", "useful_ckpt/vocoder/args.yml",
             "useful_ckpt/vocoder/best_netG.pt", "other/best_netG.pt"],
            Chosen("audiolcm.ckpt", "audiolcm", vocoder="useful_ckpt/vocoder/best_netG.pt",
                   extra=("useful_ckpt/vocoder/args.yml",)),
        ),
        (["ckpts/maa2.ckpt", "README.md"], Chosen("ckpts/maa2.ckpt", "make-an-audio-2")),
        (
            ["A/epoch_10/pytorch_model_2.bin", "A/epoch_60/pytorch_model_2.bin",
             "A/summary.jsonl", "A/epoch_60/pytorch_model.bin"],
            Chosen("A/epoch_60/pytorch_model_2.bin", "consistencytta", extra=("A/summary.jsonl",)),
        ),
        (["README.md", "ConsistencyTTA.zip"], Chosen("ConsistencyTTA.zip", "consistencytta")),
        (["model.ckpt"], Chosen("model.ckpt")),
    ],
)  # fmt: skip
def test_files_that_belong_together(names: list[str], chosen: Chosen) -> None:
    assert choose("here", names) == chosen
    assert set(chosen.names) <= set(names)


def test_files_that_do_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name one: ConsistencyTTA\.zip, LightweightLDM\.zip"):
        choose("here", ["LightweightLDM.zip", "ConsistencyTTA.zip"])
    with pytest.raises(BundleError, match=r"lacks pytorch_model_vae\.bin, vae_config\.json"):
        choose("here", ["main_config.json", "pytorch_model_main.bin"])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BundleError, match=r"no published system .* it has notes\.txt"):
        choose_in_folder(tmp_path)


def test_a_file_brings_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("unet_state_dict.pt", "vae_state_dict.pt", "other.pt"):
        (tmp_path / name).touch()
    assert choose_beside(tmp_path / "unet_state_dict.pt").vae == str(tmp_path / "vae_state_dict.pt")
    assert choose_beside(tmp_path / "other.pt").vae is None


def _checkpoint(*names: str, width: int = 320) -> Checkpoint:
    return Checkpoint(Path("a.ckpt"), {name: torch.empty(width, 8) for name in names}, {}, None)


def test_layouts() -> None:
    for names, form in (
        (["student_ema_unet.x", "vae.x"], "ctta-training"),
        (["consistency_unet.x"], "ctta-training"),
        (["guidance_proj.weight", "conv_in.weight"], "ctta-unet"),
        (["unet.conv_in.weight"], "plain-unet"),
        (["unet.diffusion_model.x", "model.diffusion_model.t_embedder.mlp.0.weight"], "audiolcm"),
        (["model.diffusion_model.t_embedder.mlp.0.weight"], "maa2"),
    ):
        assert recognise(_checkpoint(*names)) == form
    plain = _checkpoint("unet.conv_in.weight")
    light = _checkpoint("unet.conv_in.weight", width=256)
    assert choose_family(plain, "plain-unet", None, None) == "tango"
    assert choose_family(light, "plain-unet", None, None) == "consistencytta"
    assert choose_family(plain, "plain-unet", None, "consistencytta") == "consistencytta"
    assert choose_family(light, "plain-unet", "tango", None) == "tango"
    with pytest.raises(InputError, match=r"family is 'audiolcm' but .* is of make-an"):
        choose_family(plain, "maa2", "audiolcm", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first_stage_model.x", "give it with --vae"),
        ("model.diffusion_model.input_blocks.0.0.weight", "Make-An-Audio 1"),
        ("decoder.up.0.block.0.x", "an autoencoder alone; give it with --vae"),
        ("conv_pre.weight_v", "a vocoder alone; give its folder with --vocoder"),
        ("stft_fn.forward_basis", "it is computed, not learnt"),
        ("encoder.block.0.x", "give it with --text-encoder"),
        ("something.else", r"of no family .* begin with something\.else"),
    ],
)
def test_parts_and_strangers_are_told(name: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        recognise(_checkpoint(name))


def test_hub_ids(tmp_path: Path) -> None:
    assert parse_hub_id("org/name") == HubId("org/name", None)
    assert parse_hub_id("org/name/a/b.zip") == HubId("org/name", "a/b.zip")
    for text in (str(tmp_path), "name", "./a/b", "/a/b", "a b/c"):
        assert parse_hub_id(text) is None


def test_every_licence_is_explained() -> None:
    for family, licences in LICENCES.items():
        lines = "\n".join(notice(family))
        for licence in licences:
            assert f"{licence.what}: {licence.name}" in lines
            assert TERMS[licence.name] in lines
    assert "NOT FOR COMMERCIAL USE" in "\n".join(notice("tango"))
    assert "COMMERCIAL" not in "\n".join(notice("audiolcm"))
    assert expression("audiolcm") == "MIT AND Apache-2.0"


def _message(*fields: tuple[int, bytes | float | int]) -> bytes:
    """Write a protocol buffer of short fields."""
    data = b""
    for number, value in fields:
        if isinstance(value, float):
            data += bytes([number << 3 | 5]) + struct.pack("<f", value)
        elif isinstance(value, int):
            data += bytes([number << 3, value])
        else:
            data += bytes([number << 3 | 2, len(value)]) + value
    return data


def test_sentencepiece(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁", -2.0, 1)]
    pieces += [("▁dog", -1.0, 1), ("a", -3.0, 1), ("▁a", -2.5, 1), ("g", -4.0, 1)]
    records = [
        (1, _message((1, text.encode()), (2, score), (3, kind))) for text, score, kind in pieces
    ]
    path.write_bytes(_message(*records, (2, b"trainer"), (3, _message((1, b"nmt")))))
    tokenizer = convert_sentencepiece(path)
    assert tokenizer.encode(" a  dogg x").tokens == ["▁a", "▁dog", "g", "▁", "x", "</s>"]
    assert tokenizer.encode("").ids == [1]
    assert tokenizer.encode("<pad>").ids == [0, 1]
    assert tokenizer.get_vocab_size() == len(pieces) + 100
    assert tokenizer.token_to_id("<extra_id_0>") == len(pieces) + 99
    text = t5_tokenizer(str(tmp_path), 200)
    assert Tokenizer.from_str(text).encode("a dog").ids == [6, 4, 1]


def test_word_pieces(tmp_path: Path) -> None:
    toy.write_tokenizers(tmp_path)
    tokenizer = convert_vocabulary(tmp_path / "vocab.txt")
    assert tokenizer.encode("A b\tc").tokens == ["[CLS]", "a", "b", "c", "[SEP]"]
    assert tokenizer.encode("xyz").tokens == ["[CLS]", "[UNK]", "[SEP]"]


def test_wrong_tokenizers(tmp_path: Path) -> None:
    t5, bert = toy.write_tokenizers(tmp_path)
    with pytest.raises(BundleError, match=r"another kind .* add \[CLS\] and \[SEP\]"):
        bert_tokenizer(t5, 100)
    with pytest.raises(BundleError, match="has 12 pieces but the encoder knows 5"):
        t5_tokenizer(t5, 5)
    with pytest.raises(BundleError, match="is no tokenizer; give"):
        t5_tokenizer(bert, 100)
    with pytest.raises(BundleError, match="does not exist"):
        t5_tokenizer(str(tmp_path / "none.json"), 100)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="holds no tokenizer"):
        t5_tokenizer(str(tmp_path / "empty"), 100)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BundleError, match="can't read the tokenizer"):
        t5_tokenizer(str(tmp_path / "bad.json"), 100)
