"""The T5 text encoder, small and with a small tokenizer, against transformers' own network."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.importers.keys_2d import t5_config, t5_state
from soundleap.models.text_t5 import (
    T5Config,
    T5TextEncoder,
    make_t5_network,
    save_t5_folder,
)

pytest.importorskip("transformers")

TINY = T5Config(
    vocab_size=40,
    dim=12,
    num_layers=2,
    num_heads=3,
    head_dim=5,
    hidden_dim=20,
    num_buckets=8,
    max_length=12,
)
PROMPTS = ["a dog barks", "", "a dog barks a dog barks a dog", "barks"]


def tokenizer_json() -> str:
    letters = "▁ abdgkors"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁a", -2.0), ("▁dog", -2.0)]
    pieces += [("▁barks", -2.5), *((letter, -6.0) for letter in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer.to_str()


def make_state(config: T5Config = TINY, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = make_t5_network(config).state_dict()
    return {k: 0.3 * torch.randn(v.shape, generator=generator) for k, v in t5_state(state).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_t5_folder(tmp_path / "text", TINY, make_state(), tokenizer_json())
    return tmp_path / "text"


def test_a_folder_and_back(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(T5TextEncoder.FILES)
    assert json.loads((folder / "config.json").read_text())["kind"] == "t5"
    encoder = T5TextEncoder.from_folder(folder)
    assert encoder.config == TINY == t5_config(make_state(), max_length=12)
    assert (encoder.dim, encoder.max_tokens, encoder.structured) == (12, 11, False)
    assert encoder.tokens("a dog") == ["▁a", "▁dog"]
    assert encoder.count_tokens("") == 0


def test_states_are_those_of_the_library(folder: Path) -> None:
    encoder = T5TextEncoder.from_folder(folder)
    states = encoder.encode(PROMPTS)
    assert states.embeds.shape == (4, 9, 12)
    assert states.mask.dtype == torch.bool
    assert states.mask.sum(1).tolist() == [4, 1, 9, 2]
    assert torch.equal(states.embeds.abs().sum(-1) > 0, states.mask)
    network = make_t5_network(TINY).eval()
    table = make_state()["shared.weight"]
    network.load_state_dict({**make_state(), "encoder.embed_tokens.weight": table})
    ids = [[3, 4, 5, 1], [1], [3, 4, 5, 3, 4, 5, 3, 4, 1], [5, 1]]
    for i, row in enumerate(ids):
        with torch.no_grad():
            expected = network(torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(states.embeds[i, : len(row)], expected)


def test_neighbours_do_not_matter(folder: Path) -> None:
    encoder = T5TextEncoder.from_folder(folder)
    together = encoder.encode(PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        alone = encoder.encode([prompt])
        size = alone.embeds.shape[1]
        assert bool(alone.mask.all())
        torch.testing.assert_close(together.embeds[i, :size], alone.embeds[0])


def test_weights_in_half_precision(folder: Path) -> None:
    expected = T5TextEncoder.from_folder(folder).encode(PROMPTS)
    half = {name: value.half() for name, value in make_state().items()}
    save_file(half, folder / "model.safetensors")
    encoder = T5TextEncoder.from_folder(folder)
    assert encoder.network.shared.weight.dtype == torch.float32
    torch.testing.assert_close(
        encoder.encode(PROMPTS).embeds, expected.embeds, atol=0.01, rtol=0.01
    )
    encoder = T5TextEncoder.from_folder(folder, dtype=torch.bfloat16)
    assert encoder.network.shared.weight.dtype == torch.bfloat16
    found = encoder.encode(PROMPTS).embeds
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.embeds, atol=0.1, rtol=0.1)


def test_the_word_table_is_held_once(folder: Path) -> None:
    network = T5TextEncoder.from_folder(folder).network
    assert network.encoder.embed_tokens.weight is network.shared.weight


def test_published_size() -> None:
    with torch.device("meta"):
        network = make_t5_network(T5Config())
    assert sum(p.numel() for p in network.parameters()) == 341_231_104


def test_wrong_prompts_are_refused(folder: Path) -> None:
    encoder = T5TextEncoder.from_folder(folder)
    encoder.encode(["a" + " a" * 10])
    with pytest.raises(InputError, match=r"prompts\[1\] has 12 tokens; allowed: at most 11"):
        encoder.encode(["a", "a" + " a" * 11])
    with pytest.raises(InputError, match="at least one text"):
        encoder.encode([])
    with pytest.raises(InputError, match="at least one text"):
        encoder.encode("a dog")
    with pytest.raises(InputError, match=r"prompts\[0\] is 3"):
        encoder.encode([3])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="no structured prompts"):
        encoder.encode(["a"], struct_prompts=["<a & all>"])


def test_damaged_folders_are_refused(folder: Path) -> None:
    good = load_file(folder / "model.safetensors")
    bad = {**good, "extra": torch.zeros(1), "shared.weight": torch.zeros(39, 12)}
    del bad["encoder.final_layer_norm.weight"]
    save_file(bad, folder / "model.safetensors")
    with pytest.raises(BundleError, match=r"missing \['encoder.final_layer_norm.weight'\]") as info:
        T5TextEncoder.from_folder(folder)
    assert "unexpected ['extra']" in str(info.value)
    assert "shared.weight is (39, 12), expected (40, 12)" in str(info.value)
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(BundleError, match="weights"):
        T5TextEncoder.from_folder(folder)
    (folder / "config.json").write_text(json.dumps(asdict(replace(TINY, vocab_size=5))))
    with pytest.raises(BundleError, match="more than the 5 pieces"):
        T5TextEncoder.from_folder(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="tokenizer"):
        T5TextEncoder.from_folder(folder)
    (folder / "config.json").write_text('{"kind": "minilm"}')
    with pytest.raises(BundleError, match="kind is 'minilm'"):
        T5TextEncoder.from_folder(folder)


def test_a_tokenizer_without_an_end_is_refused(folder: Path) -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    with pytest.raises(BundleError, match="one token </s>"):
        save_t5_folder(folder, TINY, make_state(), tokenizer.to_str())


@pytest.mark.parametrize("change", [{"dim": 0}, {"max_length": 1}, {"num_heads": 2.0}])
def test_wrong_sizes_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} is"):
        replace(TINY, **change)
