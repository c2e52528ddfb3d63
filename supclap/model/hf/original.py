"""LAION's and Microsoft's published CLAP checkpoints: the audio tower as a folder of transformers.

    python -m supclap.model.hf.original CHECKPOINT OUT    # then {name: huggingface, folder: OUT}

Both have HTS-AT (Chen et al., 2022) under its own names, LAION's below ``audio_branch``, those of
Microsoft's of 2023 below ``audio_encoder.base.htsat``. Which front end a checkpoint was trained
with is known by the table of mel filters that it brings. Microsoft's of 2022 is another network,
which transformers does not have.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from supclap.errors import InputError
from supclap.model.converter import converted
from supclap.model.hf.opening import library
from supclap.model.pretrained import WEIGHTS, difference, read_checkpoint
from supclap.wording import counted

PREFIXES = ("module.audio_branch.", "audio_branch.", "audio_encoder.base.htsat.")
MARKER = "patch_embed.proj.weight"
FILTERS = "logmel_extractor.melW"
SPECTROGRAM, BANDS, FFT = 256, 64, 1024  # of every published HTS-AT
# What is left out: the tagger, tables of the front end, and masks that are computed anew.
LEFT_OUT = re.compile(
    r"tscam_conv\.|head\.|spectrogram_extractor\.|logmel_extractor\.|.*attn_mask$"
)
# From HTS-AT's names to those of transformers.
NAMES = (
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)


@dataclass(frozen=True)
class FrontEnd:
    """How the waveforms of a publisher's checkpoints become log-mels.

    Attributes:
        rate: samples in a second.
        hop: samples from frame to frame.
        seconds: that are heard at once.
        highest: frequency, in Hz; the lowest is 50.
        padding: of a shorter clip, as transformers' extractor calls it.
    """

    publisher: str
    rate: int
    hop: int
    seconds: int
    highest: int
    padding: str

    def extractor(self, fused: bool) -> Any:
        """Transformers' own, set so."""
        return library().ClapFeatureExtractor(
            feature_size=BANDS,
            sampling_rate=self.rate,
            hop_length=self.hop,
            max_length_s=self.seconds,
            fft_window_size=FFT,
            frequency_min=50,
            frequency_max=self.highest,
            truncation="fusion" if fused else "rand_trunc",
            padding=self.padding,
        )


FRONT_ENDS = (
    FrontEnd("LAION", 48_000, 480, 10, 14_000, "repeatpad"),
    FrontEnd("Microsoft, 2023", 44_100, 320, 7, 8_000, "repeat"),
)


def convert(checkpoint: Path, out: Path) -> list[str]:
    """Writes the folder ``out``; what it says of it, line by line.

    Raises:
        InputError: a file that is damaged, that holds anything but tensors, or another model's;
            nothing is written then.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; choose another name")
    every = read_checkpoint(checkpoint)
    prefix = next((one for one in PREFIXES if one + MARKER in every), None)
    if prefix is None:
        raise InputError(
            f"{checkpoint}: is no CLAP checkpoint of LAION's, nor of Microsoft's of 2023: expected "
            f"one of {', '.join(one + MARKER for one in PREFIXES)}"
        )
    own = {n.removeprefix(prefix): v for n, v in every.items() if n.startswith(prefix)}
    fused = "patch_embed.mel_conv2d.weight" in own
    front, extractor = _front_end(own, fused, checkpoint)
    config = library().ClapAudioConfig(**_sizes(own, fused, checkpoint))
    weights = renamed({n: v for n, v in own.items() if not LEFT_OUT.match(n)})
    with torch.device("meta"):
        shapes = library().ClapAudioModel(config)
    amiss = difference(weights, shapes)
    if amiss:
        raise InputError(f"{checkpoint}: is not the HTS-AT that its sizes describe: {amiss}")
    out.mkdir(parents=True)
    config.save_pretrained(out)
    extractor.save_pretrained(out)
    save_file({n: v.contiguous() for n, v in weights.items()}, out / WEIGHTS, {"format": "pt"})
    left = sum(bool(LEFT_OUT.match(name)) for name in own)
    return [
        f"{checkpoint}: {counted(len(every), 'tensor')}, the front end of {front.publisher}"
        + (", fused" if fused else ""),
        f"  matched: {len(weights)}",
        f"  left out: {left} of the audio tower (the tagger, tables, masks), "
        f"{len(every) - len(own)} of the rest (text tower, projections)",
        "  missing, unexpected, of another shape: none",
        f"{out}: written; model.audio: {{name: huggingface, folder: {out}}}",
    ]


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """HTS-AT's weights under the names of transformers' audio tower."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        place = re.sub(r"^bn0\.", "batch_norm.", name)
        for theirs, ours in NAMES:
            place = place.replace(theirs, ours)
        place = f"audio_encoder.{place}"
        if ".qkv." not in place:
            found[place] = value
            continue
        for which, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
            found[place.replace(".qkv.", f".{which}.")] = third.clone()
    return found


def _front_end(own: Mapping[str, Tensor], fused: bool, place: Path) -> tuple[FrontEnd, Any]:
    """The front end whose mel filters are the checkpoint's, and its extractor."""
    table = own.get(FILTERS)
    for front in FRONT_ENDS:
        extractor = front.extractor(fused)
        ours = torch.from_numpy(extractor.mel_filters_slaney).float()
        if (
            table is not None
            and table.shape == ours.shape
            and table.float().allclose(ours, rtol=0, atol=1e-4)
        ):
            return front, extractor
    known = " or ".join(front.publisher for front in FRONT_ENDS)
    raise InputError(f"{place}: {FILTERS}: are not the mel filters of {known}")


def _sizes(own: Mapping[str, Tensor], fused: bool, place: Path) -> dict[str, Any]:
    """What a config.json would say, by the shapes."""
    blocks = [re.match(r"layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight$", name) for name in own]
    found = [(int(one[1]), int(one[2])) for one in blocks if one]
    depths = [max(b for s, b in found if s == stage) + 1 for stage in sorted({s for s, _ in found})]
    try:
        width, _, patch, _ = own[MARKER].shape
        tables = [
            own[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"]
            for stage in range(len(depths))
        ]
        inner = len(own["layers.0.blocks.0.mlp.fc1.weight"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{place}: is no HTS-AT (lacks {error})") from None
    if not depths:
        raise InputError(f"{place}: is no HTS-AT (has no layers)")
    return {
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** (len(depths) - 1),
        "depths": depths,
        "num_hidden_layers": len(depths),
        "num_attention_heads": [table.shape[1] for table in tables],
        "window_size": (round(len(tables[0]) ** 0.5) + 1) // 2,
        "patch_size": patch,
        "patch_stride": [patch, patch],
        "mlp_ratio": inner / width,
        "spec_size": SPECTROGRAM,
        "num_mel_bins": BANDS,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts a checkpoint; exit code 0, or 2."""
    return converted(convert, "supclap.model.hf.original CHECKPOINT OUT", arguments)


if __name__ == "__main__":
    sys.exit(main())
