"""Models of transformers of random weights, each with a tokenizer trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny_encoders import SENTENCES  # mends what transformers imports
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
# By the type of model: what its description calls the sizes.
TEXTS: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "roberta": SMALL | {"pad_token_id": 1},
    "xlm-roberta": SMALL | {"pad_token_id": 1},
    "mpnet": SMALL | {"pad_token_id": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "modernbert": SMALL,
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48},
    "qwen2": SMALL | {"num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
}


def make_text(folder: Path, kind: str, seed: int = 0, **changes: Any) -> Path:
    """A folder as transformers writes one: description, weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(folder)
    sizes = TEXTS[kind] | {"vocab_size": len(tokenizer)} | changes
    marks = {"pad_token_id": tokenizer.pad_token_id} | dict.fromkeys(
        ("bos_token_id", "eos_token_id"), tokenizer.cls_token_id
    )
    config = AutoConfig.for_model(kind, **(marks | sizes))
    save_random(AutoModel.from_config(config), folder, seed)
    return folder


def save_random(model: Any, folder: Path, seed: int = 0) -> None:
    """Every weight drawn anew: biases and norms start at 0 and 1, and nothing would notice them."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            near = 1.0 if value.ndim == 1 and bool((value == 1).all()) else 0.0
            value.copy_(near + 0.2 * torch.randn(value.shape, generator=numbers))
        for name, value in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand(value.shape, generator=numbers) + 0.5)
    model.save_pretrained(folder)


def word_tokenizer(padding: str = "[PAD]") -> Any:
    """Pieces of words, lower case, between two marks; the padding has number 1."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[UNK]", padding, "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=marks, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token=padding,
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=40,
    )


def write(path: Path, values: Any) -> None:
    """A JSON file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


VIEW: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
# A front end of two convolutions: a state every 40 samples.
LISTEN: dict[str, Any] = VIEW | {
    "conv_dim": (16, 16),
    "conv_stride": (10, 4),
    "conv_kernel": (20, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 8,
}
SWIN: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "depths": [2, 1],
    "num_attention_heads": [2, 4],
    "hidden_size": 16,
    "spec_size": 64,
    "window_size": 4,
    "num_mel_bins": 16,
    "projection_dim": 8,
}
WORDS = SMALL | {"vocab_size": 20}
# Kind, its sizes, its feature extractor, and that one's settings.
SOUNDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "ast": (
        "audio-spectrogram-transformer",
        VIEW | {"max_length": 64, "num_mel_bins": 32},
        "ASTFeatureExtractor",
        {"max_length": 64, "num_mel_bins": 32},
    ),
    "clap": (
        "clap",
        {"audio_config": SWIN, "text_config": WORDS, "projection_dim": 8},
        "ClapFeatureExtractor",
        {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc"},
    ),
    "clap fused": (
        "clap",
        {
            "audio_config": SWIN | {"enable_fusion": True, "fusion_type": "aff_2d"},
            "text_config": WORDS,
            "projection_dim": 8,
        },
        "ClapFeatureExtractor",
        {"feature_size": 16, "max_length_s": 1, "truncation": "fusion"},
    ),
    "whisper": (
        "whisper",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_source_positions": 50,
            "max_target_positions": 8,
            "num_mel_bins": 20,
            "vocab_size": 30,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        "WhisperFeatureExtractor",
        {"feature_size": 20, "chunk_length": 1},
    ),
    "wav2vec2-bert": (
        "wav2vec2-bert",
        VIEW | {"feature_projection_input_dim": 40, "conv_depthwise_kernel_size": 3},
        "SeamlessM4TFeatureExtractor",
        {"feature_size": 20, "num_mel_bins": 20, "stride": 2},
    ),
    **{
        kind: (kind, LISTEN, "Wav2Vec2FeatureExtractor", {"do_normalize": True})
        for kind in (
            *("wav2vec2", "wav2vec2-conformer", "hubert", "wavlm", "unispeech", "unispeech-sat"),
        )
    },
    "data2vec-audio": (
        "data2vec-audio",
        LISTEN | {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2},
        "Wav2Vec2FeatureExtractor",
        {},
    ),
    **{
        kind: (kind, LISTEN | {"squeeze_factor": 2}, "Wav2Vec2FeatureExtractor", {})
        for kind in ("sew", "sew-d")
    },
}


def make_sound(folder: Path, name: str, seed: int = 0) -> Path:
    """A folder as transformers writes one: description, weights, feature extractor."""
    import transformers

    kind, sizes, extractor, settings = SOUNDS[name]
    folder.mkdir(parents=True, exist_ok=True)
    getattr(transformers, extractor)(**settings).save_pretrained(folder)
    save_random(AutoModel.from_config(AutoConfig.for_model(kind, **sizes)), folder, seed)
    return folder


LOOK = VIEW | {"image_size": 16, "patch_size": 8}
READ = SMALL | {"max_position_embeddings": 36, "pad_token_id": 1}
# Models of which only a part reads text, or none.
PAIRED: dict[str, dict[str, Any]] = {
    "clap": {"audio_config": SWIN, "text_config": READ, "projection_dim": 8},
    "clip": {"text_config": READ, "vision_config": LOOK, "projection_dim": 8},
    "siglip": {"text_config": READ | {"projection_size": 32}, "vision_config": LOOK},
}
TEXTLESS: dict[str, dict[str, Any]] = {
    "wav2vec2": LISTEN,
    "whisper": SOUNDS["whisper"][1],
    "audio-spectrogram-transformer": SOUNDS["ast"][1],
    "vit": LOOK,
    "siglip_vision_model": LOOK,
}


def make_pair(folder: Path, kind: str, seed: int = 0) -> Path:
    """A model of two towers, with the tokenizer of its texts."""
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(folder)
    sizes = PAIRED[kind]
    marks = {"vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 3}
    sizes = sizes | {"text_config": sizes["text_config"] | marks}
    save_random(AutoModel.from_config(AutoConfig.for_model(kind, **sizes)), folder, seed)
    return folder


def make_textless(folder: Path, kind: str) -> Path:
    """A model that reads no text, without a tokenizer."""
    save_random(AutoModel.from_config(AutoConfig.for_model(kind, **TEXTLESS[kind])), folder)
    return folder
