"""CLAP: key names and sizes of LAION's files, and the embedder at small width."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from soundleap.errors import BundleError, InputError
from soundleap.evaluation.embedders.base import TextEmbedder
from soundleap.evaluation.embedders.clap import (
    WINDOW_SAMPLES,
    ClapEmbedder,
    clap_info,
    clap_windows,
    open_clap,
)
from soundleap.evaluation.embedders.clap_keys import clap_config, clap_state

transformers = pytest.importorskip("transformers")
NAMES = Path(__file__).parents[1] / "golden" / "laion_clap_fusion_names.json"
FUSION = ("mel_conv2d", "fusion_model")


def published(fusion: bool) -> dict[str, torch.Tensor]:
    """Tensors with the names and shapes of LAION's tiny model, with 2 text layers, no content."""
    shapes = json.loads(NAMES.read_text())
    with torch.device("meta"):
        return {
            f"module.{name}": torch.empty(shape)
            for name, shape in shapes.items()
            if fusion or not any(part in name for part in FUSION)
        }


@pytest.mark.parametrize("fusion", [True, False])
def test_every_published_tensor_has_its_place(fusion: bool):
    state = clap_state(published(fusion))
    config = transformers.ClapConfig(**clap_config(state))
    with torch.device("meta"):
        own = transformers.ClapModel(config).state_dict()
    computed = {k for k in own if k.endswith(("position_ids", "token_type_ids"))}
    assert own.keys() - computed == state.keys()
    assert {k: own[k].shape for k in state} == {k: v.shape for k, v in state.items()}


def test_sizes_are_those_of_the_published_model():
    config = clap_config(clap_state(published(False)))
    audio, text = config["audio_config"], config["text_config"]
    assert (audio["depths"], audio["num_attention_heads"]) == ([2, 2, 6, 2], [4, 8, 16, 32])
    assert (audio["window_size"], audio["hidden_size"], audio["num_mel_bins"]) == (8, 768, 64)
    assert (text["num_hidden_layers"], text["num_attention_heads"]) == (2, 12)
    assert (text["vocab_size"], config["projection_dim"]) == (50265, 512)
    assert not audio["enable_fusion"]
    assert clap_config(clap_state(published(True)))["audio_config"]["enable_fusion"]


def test_joint_tensors_are_cut_into_query_key_and_value():
    name = "audio_branch.layers.0.blocks.1.attn.qkv.bias"
    state = clap_state({name: torch.arange(9.0)})
    base = "audio_model.audio_encoder.layers.0.blocks.1.attention.self."
    assert {k: v.tolist() for k, v in state.items()} == {
        f"{base}query.bias": [0, 1, 2],
        f"{base}key.bias": [3, 4, 5],
        f"{base}value.bias": [6, 7, 8],
    }
    with pytest.raises(BundleError, match="not a LAION-CLAP checkpoint"):
        clap_config(state)


def small_model(fusion: bool = False):
    torch.manual_seed(0)
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "num_hidden_layers": 2,
        "enable_fusion": fusion,
        "fusion_type": "aff_2d",
        "projection_dim": 12,
    }
    text = {
        "vocab_size": 30,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 16,
        "projection_dim": 12,
    }
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=12)
    return transformers.ClapModel(config)


def small_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "barks", "rain"]
    model = models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def embedder(tmp_path, fusion: bool = False, text: bool = True) -> ClapEmbedder:
    model = small_model(fusion)
    file = tmp_path / "weights"
    file.write_bytes(b"x")
    return ClapEmbedder(model, clap_info(model, file, text), small_tokenizer() if text else None)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_windows_cover_the_clip():
    starts = [w[0] for w in clap_windows(np.arange(2 * WINDOW_SAMPLES + 100))]
    assert starts == [0, WINDOW_SAMPLES, WINDOW_SAMPLES + 100]
    assert len(clap_windows(noise(WINDOW_SAMPLES))) == 1
    assert clap_windows(noise(50))[0].size == 50


@pytest.mark.parametrize("fusion", [True, False])
def test_sounds_are_unit_vectors_and_nothing_is_random(tmp_path, fusion: bool):
    clap = embedder(tmp_path, fusion)
    waveform = noise(96000)
    first = clap.analyse(waveform)
    np.random.seed(5)
    again = clap.analyse(waveform)
    assert first.embeds.shape == (1, 12)
    assert np.linalg.norm(first.embeds) == pytest.approx(1)
    assert np.array_equal(first.embeds, again.embeds)
    assert clap.analyse(noise(48000)).notes == ("repeated to fill 10 s",)


def test_captions_do_not_depend_on_their_neighbours(tmp_path):
    clap = embedder(tmp_path)
    assert isinstance(clap, TextEmbedder)
    both = clap.embed_text(["a dog barks", "rain"])
    assert both.shape == (2, 12)
    assert np.linalg.norm(both, axis=1) == pytest.approx(1)
    assert clap.embed_text(["rain"])[0] == pytest.approx(both[1], abs=1e-6)
    assert clap.embed_text(["rain " * 100]).shape == (1, 12)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        embedder(tmp_path, text=False).embed_text(["rain"])


def laion_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write transformers' tensors under LAION's names, in another way than they are read."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        words = name.split(".")
        if words[:2] == ["audio_model", "audio_encoder"]:
            words = ["audio_branch", *words[2:]]
        elif words[0] == "text_model":
            words[0] = "text_branch"
        elif words[1:2] in (["linear1"], ["linear2"]):
            words[1] = {"linear1": "0", "linear2": "2"}[words[1]]
        path = ".".join("bn0" if w == "batch_norm" and i == 1 else w for i, w in enumerate(words))
        if words[0] == "audio_branch" and "blocks" in words:
            for ours, theirs in (
                ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
                ("attention.output.dense", "attn.proj"),
                ("attention.self", "attn"),
                ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"),
            ):
                path = path.replace(f".{ours}.", f".{theirs}.")
        if ".attn.query." in path:
            parts = [name.replace(".query.", f".{p}.") for p in ("query", "key", "value")]
            tensors[path.replace(".query.", ".qkv.")] = torch.cat([state[p] for p in parts])
        elif ".attn.key." not in path and ".attn.value." not in path:
            tensors[path] = value
    return {f"module.{k}": v for k, v in tensors.items() if "position_ids" not in k}


def test_laions_file_gives_the_same_vectors_as_transformers_folder(tmp_path):
    model = small_model()
    model.config.text_config.layer_norm_eps = 1e-5
    model = transformers.ClapModel(model.config)
    folder = tmp_path / "folder"
    model.save_pretrained(folder)
    small_tokenizer().save(str(folder / "tokenizer.json"))
    state = laion_names(model.state_dict())
    state["module.audio_branch.head.weight"] = torch.zeros(2, 2)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "laion.pt")
    small_tokenizer().save(str(tmp_path / "tokenizer.json"))
    one, two = open_clap(str(folder), "cpu"), open_clap(str(tmp_path / "laion.pt"), "cpu")
    waveform = noise(96000)
    assert one.analyse(waveform).embeds == pytest.approx(two.analyse(waveform).embeds, abs=1e-6)
    assert one.embed_text(["a dog"]) == pytest.approx(two.embed_text(["a dog"]), abs=1e-6)
    assert two.info.has_text
    assert two.info.dimensions == 12


def test_places_without_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither LAION's"):
        open_clap(str(tmp_path), "cpu")
    with pytest.raises(InputError, match="neither LAION's"):
        open_clap(str(tmp_path / "none.pt"), "cpu")
