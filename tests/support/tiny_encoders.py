"""Pretrained encoders of random weights, in the layout of the published folders."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor

from supclap.audio_library import torchaudio  # noqa: F401  transformers' own import would fail
from supclap.model import nllb
from supclap.vision_library import mend_torchvision

mend_torchvision()

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# As mispeech/ced-tiny writes it, but for the sizes.
CED_CONFIG: dict[str, Any] = {
    "architectures": ["CedForAudioClassification"],
    "attn_drop_rate": 0.0,
    "center": True,
    "depth": 2,
    "drop_path_rate": 0.0,
    "drop_rate": 0.0,
    "embed_dim": 24,
    "eval_avg": "mean",
    "f_max": 8000,
    "f_min": 0,
    "hop_size": 160,
    "mlp_ratio": 2.0,
    "model_type": "ced",
    "n_fft": 512,
    "n_mels": 64,
    "name": "ced-tiny",
    "num_heads": 3,
    "outputdim": 5,
    "pad_last": True,
    "patch_size": 16,
    "patch_stride": 16,
    "pooling": "mean",
    "qkv_bias": True,
    "target_length": 72,
    "win_size": 512,
}


def make_ced(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A CED folder: config.json and model.safetensors with the tagger's head."""
    config = CED_CONFIG | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(ced_weights(config, seed), folder / "model.safetensors")
    return folder


def ced_weights(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the names of the published state."""
    width, classes = config["embed_dim"], config["outputdim"]
    inner, grid = int(width * config["mlp_ratio"]), config["target_length"] // 16
    shapes: dict[str, tuple[int, ...]] = {
        "init_bn.weight": (64,),
        "init_bn.bias": (64,),
        "init_bn.running_mean": (64,),
        "patch_embed.proj.weight": (width, 1, 16, 16),
        "patch_embed.proj.bias": (width,),
        "time_pos_embed": (1, width, 1, grid),
        "freq_pos_embed": (1, width, 4, 1),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(config["depth"]):
        for name, shape in {
            "norm1": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "norm2": (width,),
            "mlp.fc1": (inner, width),
            "mlp.fc2": (width, inner),
        }.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1]
    numbers = torch.Generator().manual_seed(seed)
    weights = {f"encoder.{n}": torch.randn(s, generator=numbers) * 0.3 for n, s in shapes.items()}
    weights["encoder.init_bn.running_mean"] -= 40
    weights["encoder.init_bn.running_var"] = 100 + torch.rand(64, generator=numbers)
    weights["encoder.init_bn.num_batches_tracked"] = torch.tensor(7)
    weights["outputlayer.0.weight"] = weights["outputlayer.0.bias"] = torch.ones(width)
    weights["outputlayer.1.weight"] = torch.ones(classes, width)
    weights["outputlayer.1.bias"] = torch.ones(classes)
    return {name: value.clone() for name, value in weights.items()}


def original_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of the original's state, with the tables of its front end."""
    from torchaudio.functional import melscale_fbanks

    found = {name.removeprefix("encoder."): value for name, value in weights.items()}
    found = {name.replace("init_bn.", "init_bn.1."): value for name, value in found.items()}
    found["front_end.0.spectrogram.window"] = torch.hann_window(512)
    found["front_end.0.mel_scale.fb"] = melscale_fbanks(257, 0.0, 8000.0, 64, 16000)
    return found


SENTENCES = [
    "a dog barks while rain falls",
    "un chien aboie sous la pluie",
    "ein Hund bellt im Regen",
    "犬が雨の中で吠える",
    "狗在雨中吠叫",
    "a low tone, steady",
    "ein Ton, shrill, slow",
    "a middle high tone, fast",
]


def sentencepiece_model() -> bytes:
    """A SentencePiece model as NLLB's is: BPE, with SentencePiece's own marks and normalisation."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=200,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    return model.getvalue()


def make_sonar(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A SONAR folder as transformers itself writes one: config, weights, NLLB's tokenizer."""
    from transformers import M2M100Config
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = nllb.nllb_tokenizer(sentencepiece_model(), FAIRSEQ_LANGUAGE_CODES)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    values = {
        "vocab_size": tokenizer.get_vocab_size(),
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "max_position_embeddings": 64,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = M2M100Encoder(M2M100Config(**(values | changes)))
        for name, value in encoder.named_parameters():
            if value.ndim == 1:  # biases and norms start at 0 and 1: nothing would notice them
                torch.nn.init.normal_(value, mean=float("norm.weight" in name), std=0.2)
    encoder.save_pretrained(folder)
    return folder
