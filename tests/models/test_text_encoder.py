"""The text encoder: the shipped one through its public API, and small ones built by the recipe."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from soundleap.errors import BundleError, InputError
from soundleap.models.text import (
    DEFAULT_FOLDER,
    BertEncoder,
    TextEncoder,
    TextEncoderConfig,
    dequantise,
)

RECIPE = Path(__file__).parents[2] / "recipes" / "slim_text_encoder.py"
PROMPTS = ["a dog barks", "", "rain falls on a tin roof while thunder rumbles far away", "wind"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.default()


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slim_text_encoder", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> dict:
    return json.loads((DEFAULT_FOLDER / "tokenizer.json").read_text(encoding="utf-8"))


def random_state(config: TextEncoderConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = BertEncoder(config).state_dict()
    return {k: 0.1 * torch.randn(v.shape, generator=generator) for k, v in state.items()}


@pytest.fixture
def small_folder(tmp_path: Path, recipe: ModuleType, document: dict) -> Path:
    """Make a complete encoder folder, 8 wide, with the pieces of a few words."""
    tokenizer = Tokenizer.from_str(json.dumps(document))
    pieces = recipe.choose_pieces(tokenizer, ["a dog barks"], 5)
    config = TextEncoderConfig(len(pieces), 16, dim=8, num_layers=2, num_heads=2, hidden_dim=12)
    text = json.dumps(recipe.slim_tokenizer(document, pieces))
    recipe.write_folder(tmp_path, config, text, random_state(config))
    return tmp_path


def test_shapes_masks_and_zeroed_padding(encoder: TextEncoder) -> None:
    states = encoder.encode(PROMPTS)
    counts = torch.tensor([encoder.count_tokens(p) + 2 for p in PROMPTS])
    assert states.embeds.shape == (4, int(counts.max()), encoder.dim) == (4, 14, 384)
    assert states.embeds.dtype == torch.float32
    assert states.mask.dtype == torch.bool
    assert torch.equal(states.mask.sum(1), counts)
    assert torch.equal(states.embeds.abs().sum(-1) > 0, states.mask)
    assert not states.embeds.requires_grad


def test_states_can_be_trained_on(encoder: TextEncoder) -> None:
    layer = torch.nn.Linear(384, 2)
    layer(encoder.encode(["a dog"]).embeds).sum().backward()
    assert layer.weight.grad is not None


def test_a_prompt_does_not_depend_on_its_batch(encoder: TextEncoder) -> None:
    together = encoder.encode(PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        alone = encoder.encode([prompt])
        n = alone.embeds.shape[1]
        torch.testing.assert_close(together.embeds[i, :n], alone.embeds[0], atol=1e-5, rtol=0)


def test_long_lists_keep_their_order(encoder: TextEncoder) -> None:
    prompts = [f"{'very ' * (i % 7)}loud bell {i}" for i in range(140)]
    states = encoder.encode(prompts)
    last = encoder.encode(prompts[139:])
    n = last.embeds.shape[1]
    torch.testing.assert_close(states.embeds[139:, :n], last.embeds, atol=1e-5, rtol=0)


def test_pooled_has_length_one_and_orders_meanings(encoder: TextEncoder) -> None:
    texts = ["a dog barks", "a puppy is barking loudly", "an orchestra plays a waltz"]
    pooled = encoder.pooled(encoder.encode(texts))
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(3))
    assert pooled[0] @ pooled[1] > pooled[0] @ pooled[2] + 0.3


def test_pooled_ignores_padding(encoder: TextEncoder) -> None:
    together = encoder.pooled(encoder.encode(PROMPTS))
    alone = torch.cat([encoder.pooled(encoder.encode([p])) for p in PROMPTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_longest_prompt_is_encoded_and_one_more_token_is_refused(encoder: TextEncoder) -> None:
    assert encoder.max_tokens == 126
    assert encoder.encode(["bell " * 126]).embeds.shape[1] == 128
    with pytest.raises(InputError, match=r"prompts\[1\] has 127 tokens; allowed: at most 126"):
        encoder.encode(["wind", "bell " * 127])


@pytest.mark.parametrize("prompts", [[], "a dog", [None]])
def test_only_lists_of_texts(encoder: TextEncoder, prompts: object) -> None:
    with pytest.raises(InputError, match="give a"):
        encoder.encode(prompts)  # pyright: ignore[reportArgumentType]


def test_tokens(encoder: TextEncoder) -> None:
    assert encoder.tokens("A DOG barks!") == ["a", "dog", "bark", "##s", "!"]
    assert encoder.tokens("café") == encoder.tokens("cafe")
    assert encoder.count_tokens("") == encoder.count_tokens("  ") == 0
    assert encoder.tokens("[SEP]") == ["[", "sep", "]"]
    printable = "".join(map(chr, range(33, 127)))
    assert "[UNK]" not in encoder.tokens(f"{printable} xqzjv C♯m 120° “loud” 5–6")


def test_pruned_words_fall_back_to_smaller_pieces(recipe: ModuleType, document: dict) -> None:
    tokenizer = Tokenizer.from_str(json.dumps(document))
    pieces = recipe.choose_pieces(tokenizer, ["a dog"], 5)
    slim = Tokenizer.from_str(json.dumps(recipe.slim_tokenizer(document, pieces)))
    encoded = slim.encode("a dog park", add_special_tokens=False)
    assert encoded.tokens == ["a", "dog", "p", "##a", "##r", "##k"]
    assert slim.encode("dog").tokens == ["[CLS]", "dog", "[SEP]"]
    assert [slim.token_to_id(p) for p in pieces] == list(range(len(pieces)))


def test_tokenizer_neither_truncates_nor_pads(document: dict) -> None:
    assert document["truncation"] is None
    assert document["padding"] is None


def test_network_agrees_with_transformers(recipe: ModuleType) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with its BertModel")
    config = TextEncoderConfig(50, 20, dim=24, num_layers=3, num_heads=4, hidden_dim=40)
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=50,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=40,
            max_position_embeddings=20,
        ),
        add_pooling_layer=False,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    ours = BertEncoder(config)
    ours.load_state_dict(recipe.convert_state(theirs.state_dict(), 3))
    ids = torch.randint(50, (3, 11), generator=generator)
    mask = torch.arange(11) < torch.tensor([[11], [4], [1]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        states = ours(ids, mask)
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=0)


def test_quantisation_is_within_half_a_level(recipe: ModuleType) -> None:
    matrix = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    matrix[3] = 0
    stored = recipe.quantise({"m": matrix, "b": matrix[0]})
    assert stored["m"].dtype == torch.int8
    assert stored["m_scale"].dtype == stored["b"].dtype == torch.float16
    error = (dequantise(stored)["m"] - matrix).abs()
    assert (error <= 0.51 * stored["m_scale"].float()[:, None]).all()


def test_shipped_folder_is_complete() -> None:
    assert {p.name for p in DEFAULT_FOLDER.iterdir()} == {
        "LICENSE", "NOTICE", "config.json", "model.safetensors", "tokenizer.json"
    }  # fmt: skip


def test_small_folder_loads(small_folder: Path) -> None:
    encoder = TextEncoder.from_folder(small_folder)
    assert (encoder.dim, encoder.max_tokens) == (8, 14)
    assert encoder.encode(["a dog barks", ""]).embeds.shape == (2, 6, 8)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_and_damaged_files(small_folder: Path, name: str) -> None:
    (small_folder / name).write_text("{")
    with pytest.raises(BundleError, match=name):
        TextEncoder.from_folder(small_folder)
    (small_folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        TextEncoder.from_folder(small_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "extra"),
        ({"num_heads": 3}, "num_heads is 3"),
        ({"dim": 8.0}, "dim is 8.0"),
        ({"num_layers": 3}, r"missing tensors \['layers.2"),
        ({"num_layers": 1}, r"unexpected tensors \['layers.1"),
        ({"hidden_dim": 16}, r"layers.0.up.weight is \[12, 8\] torch.int8, expected \[16, 8\]"),
        ({"vocab_size": 7}, "does not have the 7 word pieces"),
    ],
)
def test_config_must_fit(small_folder: Path, change: dict, message: str) -> None:
    path = small_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        TextEncoder.from_folder(small_folder)


def test_tensors_must_have_the_stored_type(small_folder: Path) -> None:
    path = small_folder / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"norm.bias": tensors["norm.bias"].float()}, path)
    with pytest.raises(BundleError, match=r"norm.bias is \[8\] torch.float32, expected \[8\]"):
        TextEncoder.from_folder(small_folder)


def test_import_is_light_and_loading_leaves_the_global_generator_alone() -> None:
    code = """
import sys, torch
before = torch.get_rng_state()
from soundleap.models.text import TextEncoder
TextEncoder.default()
assert torch.equal(before, torch.get_rng_state())
print([m for m in ("transformers", "torch._dynamo") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
