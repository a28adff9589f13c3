"""BERT and T5 as one text encoder: nothing is masked, nothing is cut, small random parts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.models.registry import text_class
from soundleap.models.text_t5 import T5Config

pytest.importorskip("transformers", reason="the networks are its classes")

from soundleap.models.bert_t5_network import BertConfig, BertT5Config, BertT5Network
from soundleap.models.text_bert_t5 import BertT5TextEncoder, save_bert_t5_folder

CONFIG = BertT5Config(
    bert=BertConfig(
        vocab_size=40, dim=16, num_layers=2, num_heads=4, hidden_dim=24, max_positions=32
    ),
    t5=T5Config(vocab_size=48, dim=20, num_layers=2, num_heads=2, head_dim=6, hidden_dim=28),
    projection_dim=20,
    max_tokens=11,
)
PROMPTS = ["a dog barks", "", "rain"]
STRUCTURES = ["<a dog barks& all>", "", "<rain& end>"]


def bert_tokenizer() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "bark", "##s", "rain", "on"]
    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def t5_tokenizer() -> Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁a", "▁dog", "▁bark", "s", "▁rain", "&", ">", "@",
              "▁all", "▁end", "a", "dog", "rain"]  # fmt: skip
    tokenizer = Tokenizer(models.Unigram([(p, -1.0 - 0.1 * i) for i, p in enumerate(pieces)], 2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["</s>", "<pad>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def random_state(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = BertT5Network(CONFIG).state_dict()
    del state["t5.encoder.embed_tokens.weight"]
    return {k: 0.3 * torch.randn(v.shape, generator=generator) for k, v in state.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("text")
    tokenizers = bert_tokenizer().to_str(), t5_tokenizer().to_str()
    save_bert_t5_folder(made, CONFIG, random_state(), *tokenizers)
    return made


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> BertT5TextEncoder:
    return BertT5TextEncoder.from_folder(folder)


def test_states_of_both_encoders_and_a_mask_of_nothing(encoder: BertT5TextEncoder) -> None:
    states = encoder.encode(PROMPTS, STRUCTURES)
    assert states.embeds.shape == (3, 22, 20)
    assert states.embeds.dtype == torch.float32
    assert states.mask.shape == (3, 22)
    assert bool(states.mask.all())
    assert not states.embeds.requires_grad
    assert encoder.structured
    assert (encoder.dim, encoder.max_tokens, encoder.max_struct_tokens) == (20, 9, 10)


@torch.no_grad()
def test_padding_is_attended_to_as_without_any_mask(encoder: BertT5TextEncoder) -> None:
    states = encoder.encode(["a dog barks"], ["<rain& all>"]).embeds
    bert_ids = torch.tensor([[2, 4, 5, 6, 7, 3, *[0] * 5]])
    t5_ids = torch.tensor([t5_tokenizer().encode("<rain& all>").ids])
    t5_ids = torch.nn.functional.pad(t5_ids, (0, 11 - t5_ids.shape[1]))
    network, ones = encoder.network, torch.ones(1, 11, dtype=torch.long)
    prompt = network.bert(input_ids=bert_ids, attention_mask=ones).last_hidden_state
    structure = network.t5(input_ids=t5_ids, attention_mask=ones).last_hidden_state
    expected = torch.cat([network.projection(prompt), structure], dim=1)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-6)
    masked = network.bert(input_ids=bert_ids, attention_mask=(bert_ids > 0).long())
    assert float((network.projection(masked.last_hidden_state) - states[:, :11]).abs().max()) > 1e-3


@torch.no_grad()
def test_networks_by_their_formulas(encoder: BertT5TextEncoder) -> None:
    """One layer of each network written out, so that a change of the library is noticed."""
    state = random_state()
    ids = torch.tensor([[2, 4, 5, 3, 0, 0]])

    def bert(name: str) -> Tensor:
        return state[f"bert.{name}"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ bert(f"{name}.weight").T + bert(f"{name}.bias")

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = bert(f"{name}.weight"), bert(f"{name}.bias")
        return torch.nn.functional.layer_norm(x, (16,), weight, bias, eps=1e-12)

    x = bert("embeddings.word_embeddings.weight")[ids]
    x = x + bert("embeddings.position_embeddings.weight")[:6]
    x = norm(x + bert("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    for i in range(2):
        layer = f"encoder.layer.{i}"
        q, k, v = (
            linear(x, f"{layer}.attention.self.{n}").unflatten(-1, (4, 4)).transpose(1, 2)
            for n in ("query", "key", "value")
        )
        seen = ((q @ k.transpose(-1, -2)) / 2).softmax(-1) @ v
        out = linear(seen.transpose(1, 2).flatten(2), f"{layer}.attention.output.dense")
        x = norm(x + out, f"{layer}.attention.output.LayerNorm")
        hidden = torch.nn.functional.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    found = encoder.network.bert(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)
    first = x @ state["projection.linear1.weight"].T
    both = first + torch.nn.functional.gelu(first) @ state["projection.linear2.weight"].T
    norms = state["projection.layer_norm.weight"], state["projection.layer_norm.bias"]
    expected = torch.nn.functional.layer_norm(both, (20,), *norms)
    torch.testing.assert_close(encoder.network.projection(x), expected, rtol=0, atol=1e-5)


def test_a_prompt_does_not_depend_on_its_batch(encoder: BertT5TextEncoder) -> None:
    many, structures = PROMPTS * 7, STRUCTURES * 7  # more than are encoded at once
    together = encoder.encode(many, structures).embeds
    for i in range(3):
        alone = encoder.encode([PROMPTS[i]], [STRUCTURES[i]]).embeds[0]
        for row in range(i, 21, 3):
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def test_tokens(encoder: BertT5TextEncoder) -> None:
    assert encoder.tokens("a dog barks") == ["a", "dog", "bark", "##s"]
    assert encoder.count_tokens("") == encoder.count_struct_tokens("") == 0
    assert "[SEP]" not in encoder.tokens("[SEP]")
    pieces = encoder.struct_tokens("<rain& all>")
    assert pieces[-2:] == ["▁all", ">"]


def test_longest_texts_are_encoded_and_one_more_token_is_refused(
    encoder: BertT5TextEncoder,
) -> None:
    longest, longest_structure = "dog " * 9, "a dog " * 5
    assert encoder.count_tokens(longest) == encoder.max_tokens
    assert encoder.count_struct_tokens(longest_structure.strip()) == encoder.max_struct_tokens
    encoder.encode([longest], [longest_structure.strip()])
    with pytest.raises(InputError, match=r"^prompts\[1\] has 10 tokens; allowed: at most 9"):
        encoder.encode(["dog", "dog " * 10], ["", ""])
    with pytest.raises(InputError, match=r"struct_prompts\[0\] has 11 tokens; allowed: at most 10"):
        encoder.encode(["dog"], ["a dog " * 5 + "dog"])


@pytest.mark.parametrize("structures", [None, [], ["a", "b"]])
def test_every_prompt_needs_its_structure(
    encoder: BertT5TextEncoder, structures: list[str] | None
) -> None:
    with pytest.raises(InputError, match="given for 1 prompts; give one to each"):
        encoder.encode(["a dog"], structures)


@pytest.mark.parametrize("prompts", [[], "a dog", [None]])
def test_only_lists_of_texts(encoder: BertT5TextEncoder, prompts: object) -> None:
    with pytest.raises(InputError, match="give a"):
        encoder.encode(prompts, ["a"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="give"):
        encoder.encode(["a"], prompts)  # pyright: ignore[reportArgumentType]


def test_registry_knows_the_folder(folder: Path) -> None:
    assert text_class(folder) is BertT5TextEncoder
    assert {file.name for file in folder.iterdir()} == set(BertT5TextEncoder.FILES)


def test_weights_in_float16_are_loaded_as_float32(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    single = BertT5TextEncoder.from_folder(own_folder)
    half = BertT5TextEncoder.from_folder(own_folder, dtype=torch.bfloat16)
    assert {p.dtype for p in single.network.parameters()} == {torch.float32}
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    exact, near = (e.encode(PROMPTS, STRUCTURES).embeds for e in (single, half))
    assert near.dtype == torch.float32
    assert float((near - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize("name", BertT5TextEncoder.FILES)
def test_missing_and_damaged_files(own_folder: Path, name: str) -> None:
    (own_folder / name).write_text("{")
    with pytest.raises(BundleError, match=name):
        BertT5TextEncoder.from_folder(own_folder)
    (own_folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        BertT5TextEncoder.from_folder(own_folder)


def test_tensors_must_fit(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    tensors = load_file(path)
    table = tensors.pop("t5.shared.weight")
    save_file(tensors | {"extra": table[:2]}, path)
    with pytest.raises(BundleError, match=r"missing \['t5.shared.weight'\], unexpected \['extra'"):
        BertT5TextEncoder.from_folder(own_folder)


def test_tokenizers_must_fit(own_folder: Path) -> None:
    swapped = bert_tokenizer().to_str(), bert_tokenizer().to_str()
    with pytest.raises(BundleError, match="does not add 1 special tokens"):
        save_bert_t5_folder(own_folder, CONFIG, {}, *swapped)
    small = replace(CONFIG, bert=replace(CONFIG.bert, vocab_size=9))
    with pytest.raises(BundleError, match="more than the 9 pieces"):
        save_bert_t5_folder(own_folder, small, {}, swapped[0], t5_tokenizer().to_str())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown settings: extra"),
        ({"bert": {"width": 1}}, "unknown settings: width"),
        ({"projection_dim": 21}, "projection_dim is 21; T5's dim is 20"),
        ({"max_tokens": 33}, "max_tokens is 33; allowed: 3 to 32"),
        ({"bert": asdict(replace(CONFIG.bert)) | {"num_heads": 3}}, "num_heads is 3"),
    ],
)
def test_config_must_fit(own_folder: Path, change: dict, message: str) -> None:
    path = own_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        BertT5TextEncoder.from_folder(own_folder)


def test_it_moves(folder: Path) -> None:
    moved = BertT5TextEncoder.from_folder(folder).to("cpu")
    assert moved.encode(["a"], ["a"]).embeds.device.type == "cpu"
    assert not any(b.is_meta for b in moved.network.buffers())
