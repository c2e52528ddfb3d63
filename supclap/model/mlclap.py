"""ML-CLAP's published checkpoint as a model folder, which a run may start from.

    python -m supclap.model.mlclap pretrain.pt SONAR OUT      # then model.start: OUT

ML-CLAP (Yan et al., "Bridging language gaps in audio-text retrieval", 2024) is CED-Base and SONAR
under heads of Linear, ReLU, Linear. The checkpoint has the names of its parts' own libraries: the
original CED, and fairseq2, which numbers four marks of the vocabulary in another order. SONAR is a
folder with the config.json and tokenizer.json of SONAR (docs/models.md); its weights are not read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from supclap.config import ModelConfig
from supclap.errors import InputError
from supclap.model import ced
from supclap.model.clap import CLAP
from supclap.model.converter import converted
from supclap.model.pretrained import CONFIG, difference, pour, read_checkpoint, read_file
from supclap.model.registry import Source, make_audio, make_text
from supclap.model.sonar import TOKENIZER
from supclap.wording import counted

SECONDS = 10.0  # of AudioCaps' clips
AUDIO, TEXT = "audio_encoder.model.", "text_encoder.model."
# What is left out: what the tagger says, and the loss's temperature.
TEMPERATURE = "temperature"
# From fairseq2's names below the text encoder to those of transformers.
NAMES = (
    (r"encoder_frontend\.embed\.(weight)", r"embed_tokens.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.output_proj\.(.*)", r"layers.\1.self_attn.out_proj.\2"),
    (r"encoder\.layers\.(\d+)\.ffn\.inner_proj\.(.*)", r"layers.\1.fc1.\2"),
    (r"encoder\.layers\.(\d+)\.ffn\.output_proj\.(.*)", r"layers.\1.fc2.\2"),
    (r"encoder\.layers\.(\d+)\.ffn_layer_norm\.(.*)", r"layers.\1.final_layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.(self_attn.*)", r"layers.\1.\2"),
    (r"(?:encoder\.)?layer_norm\.(.*)", r"layer_norm.\1"),
)
EMBEDDING = "embed_tokens.weight"
# fairseq2 begins its vocabulary with <pad>, <unk>, <s>, </s>; the tokenizer with <s>, <pad>, </s>,
# <unk>.
MARKS = (2, 0, 3, 1)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's weights under the names that they have in a model of this package; a name
    that is none of ML-CLAP's stays."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith(AUDIO):
            name = "audio.encoder." + name.removeprefix(AUDIO).replace(
                ced.ORIGINAL_NORM, ced.NORM, 1
            )
        elif name.startswith(TEXT):
            name = f"text.encoder.encoder.{_in_transformers(name.removeprefix(TEXT))}"
            if name.endswith(EMBEDDING):
                value = value.clone()
                value[: len(MARKS)] = value[list(MARKS)]
        else:
            name = re.sub(r"^(audio|text)_proj\.(\d)\.", r"\1.head.\2.", name)
        found[name] = value
    return found


def convert(checkpoint: Path, sonar: Path, out: Path) -> list[str]:
    """Writes the model folder ``out``; what it says of it, line by line.

    Raises:
        InputError: a file that is missing or damaged, or another model's: which weights are
            missing, unexpected or of another shape. Nothing is written then.
    """
    weights = renamed(read_checkpoint(checkpoint))
    below = "audio.encoder."
    own = {n.removeprefix(below): v for n, v in weights.items() if n.startswith(below)}
    files = {CONFIG: ced.described_by(own, checkpoint)}
    texts = {name: read_file(sonar / name) for name in (CONFIG, TOKENIZER)}
    first = weights.get("text.head.2.bias")
    config = ModelConfig.model_validate(
        {
            "audio": {"name": "ced", "folder": str(checkpoint.parent)},
            "text": {"name": "sonar", "folder": str(sonar)},
            "dim": 1 if first is None else len(first),
        }
    )
    audio = make_audio(config.audio, Source(SECONDS, files=files))
    model = CLAP(config, SECONDS, audio, make_text(config.text, Source(SECONDS, files=texts)))
    audio.refuse_other_front_end(own, checkpoint)
    aside = tuple(below + name for name in (*ced.LEFT_OUT, *ced.FRONT_END))
    left_out = [name for name in weights if name.startswith(aside) or name == TEMPERATURE]
    kept = {name: value for name, value in weights.items() if name not in left_out}
    amiss = difference(kept, model)
    matched = len(kept.keys() & model.state_dict().keys())
    said = [
        f"{checkpoint}: {counted(len(weights), 'tensor')}",
        f"  matched: {matched}",
        f"  left out: {len(left_out)} (the tagger, tables of the front end, the temperature)",
        f"  missing, unexpected, of another shape: {amiss or 'none'}",
    ]
    if amiss:
        raise InputError("; ".join(line.strip() for line in said))
    pour(kept, model, checkpoint)
    model.save(out)
    temperature = weights.get(TEMPERATURE)
    more = "" if temperature is None else f", loss.temperature: {float(temperature):.4g}"
    return [*said, f"{out}: written; model.start: {out}, model.dim: {config.dim}{more}"]


def _in_transformers(name: str) -> str:
    for pattern, place in NAMES:
        found, hits = re.subn(f"^{pattern}$", place, name)
        if hits:
            return found
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts a checkpoint; exit code 0, or 2."""
    return converted(convert, "supclap.model.mlclap CHECKPOINT SONAR OUT", arguments)


if __name__ == "__main__":
    sys.exit(main())
