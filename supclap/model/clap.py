"""CLAP: two encoders, each under a projection head, in one embedding space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supclap.config import LANGUAGES, AudioConfig, ModelConfig, TextConfig
from supclap.data.clips import SAMPLE_RATE
from supclap.errors import InputError, nearest
from supclap.model.depth import freeze_first, recompute
from supclap.model.folder import (
    SIDES,
    SavedModel,
    content_hash,
    model_at,
    read_model,
    save_model,
)
from supclap.model.registry import (
    AudioEncoder,
    Source,
    TextEncoder,
    make_audio,
    make_head,
    make_text,
)
from supclap.model.results import check_rows, check_tokens
from supclap.model.tokens import Tokens
from supclap.model.waveform import as_waveform, fit, read_audio
from supclap.objects import in_store
from supclap.parts.calling import guarded
from supclap.storage import Folder
from supclap.user_code import load_given
from supclap.wording import gist

AudioInput = str | Path | np.ndarray | Tensor
Level = Literal["waveforms", "features", "outputs"]


class Tower(nn.Module):
    """One side: an encoder and a head that projects its output, onto the unit sphere.

    A frozen encoder gets no gradient and stays in evaluation mode (no dropout), so that its outputs
    are a function of its input and can be computed once per data set (`supclap.model.frozen`).
    Where its first layers are frozen alone, that holds for these.
    """

    side = ""  # its section of `ModelConfig`

    def __init__(self, encoder: Any, section: AudioConfig | TextConfig, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = make_head(section.head, encoder.width, dim)
        self.dim = dim
        self.frozen = section.freeze is True
        self.adapted = False  # by low-rank adapters (`supclap.model.lora`)
        self._still: list[nn.Module] = []  # in evaluation mode, whatever the tower's is
        self._compiled: Callable[[Any], Tensor] | None = None
        if self.frozen:
            encoder.requires_grad_(False)
            self._still = [encoder]
        elif section.freeze:
            self._still = freeze_first(encoder, section.freeze, f"model.{self.side}.freeze")
        if section.recompute:
            recompute(encoder, f"model.{self.side}.recompute")
        self.train(self.training)

    def train(self, mode: bool = True) -> Tower:
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def compile_encoder(self) -> None:
        """Training steps use the encoder as `torch.compile` translates it, at the first of them;
        measurements use it as it is. A frozen encoder takes no part in steps, and stays as it is.
        """
        if not self.frozen:
            # Dropout draws what it draws without: in chunks an encoder runs twice, with a graph and
            # without one, which are two translations, and its masks must be the same in both.
            self._compiled = torch.compile(self.encoder.forward, options={"fallback_random": True})

    def outputs(self, given: Any) -> Tensor:
        """N inputs of this side -> encoder outputs (N, width)."""
        raise NotImplementedError

    def project(self, outputs: Tensor) -> Tensor:
        """Encoder outputs (N, width) -> unit vectors (N, dim), float32."""
        with guarded(self.head, "forward"):
            projected = self.head(outputs)
        check_rows(self.head, "forward", projected, len(outputs), self.dim)
        return F.normalize(projected.float(), dim=-1)

    def _encode(self, given: Any) -> Tensor:
        """What the encoder itself takes, N rows of it -> outputs (N, width)."""
        compiled = self.training and self._compiled
        with guarded(self.encoder, "forward"):
            outputs: Tensor = _translated(compiled, given) if compiled else self.encoder(given)
        check_rows(self.encoder, "forward", outputs, len(given), self.encoder.width)
        return outputs


def _translated(encoder: Callable[[Any], Tensor], given: Any) -> Tensor:
    from torch._dynamo.exc import TorchDynamoException  # a second, which few runs have a use for

    try:
        return encoder(given)
    except TorchDynamoException as error:
        raise InputError(
            f"compile: PyTorch cannot translate the encoder here ({gist(error)}); leave it out"
        ) from None


class AudioTower(Tower):
    side = "audio"
    encoder: AudioEncoder

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) float32 in [-1, 1] at 16 kHz -> (N, ...): the encoder's input.

        Parameter-free and row by row: a loop without waveform augmentation may compute it once per
        data set, keep it, and train on ``model(features, tokens, level="features")``.
        """
        with torch.no_grad(), guarded(self.encoder, "features"):
            features = self.encoder.features(waveforms)
        check_rows(self.encoder, "features", features, len(waveforms))
        return features

    def outputs(self, audio: Tensor, level: Level = "waveforms") -> Tensor:
        """Waveforms (N, samples) or features (N, ...) -> encoder outputs (N, width)."""
        if level == "outputs":
            return audio
        return self._encode(self.features(audio) if level == "waveforms" else audio)

    def forward(self, audio: Tensor, level: Level = "waveforms") -> Tensor:
        """Waveforms, features or encoder outputs, N of them -> unit vectors (N, dim)."""
        return self.project(self.outputs(audio, level))


class TextTower(Tower):
    side = "text"
    encoder: TextEncoder

    def tokenize(self, texts: Sequence[str], languages: Sequence[str] | str = "eng") -> Tokens:
        """N texts -> tokens of shape (N, L). Raises InputError: an empty text, no such language."""
        spoken = [languages] * len(texts) if isinstance(languages, str) else list(languages)
        if len(spoken) != len(texts):
            raise InputError(f"{len(texts)} texts with {len(spoken)} languages")
        for row, (text, language) in enumerate(zip(texts, spoken, strict=True)):
            if language not in LANGUAGES:
                raise InputError(
                    f"text {row}: unknown language '{language}'{nearest(language, LANGUAGES)} "
                    f"(known: {', '.join(LANGUAGES)})"
                )
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"text {row}: expected words, found {text!r}")
        with guarded(self.encoder, "tokenize"):
            tokens = self.encoder.tokenize(list(texts), spoken)
        check_tokens(self.encoder, tokens, len(texts))
        return tokens

    def outputs(self, text: Tokens | Tensor) -> Tensor:
        """Tokens (N, L), or encoder outputs (N, width) as they are -> outputs (N, width)."""
        return text if isinstance(text, Tensor) else self._encode(text)

    def forward(self, text: Tokens | Tensor) -> Tensor:
        """Tokens (N, L), or kept encoder outputs (N, width) -> unit vectors (N, dim)."""
        return self.project(self.outputs(text))


class CLAP(nn.Module):
    """The dual encoder. ``model.audio`` and ``model.text`` are its sides.

    Attributes:
        config: the configuration it was built from.
        seconds: length of the clips it is made for; `encode_audio` pads or crops to it.
        folder: where it was opened from, a path or the address in a store; or None.
    """

    def __init__(self, config: ModelConfig, seconds: float, audio: Any, text: Any) -> None:
        super().__init__()
        # Where a run started from is its history; the model that it ends with stands on its own.
        # So are adapters, whose work a saved model has in its weights.
        self.config = config.model_copy(
            update={
                "start": None,
                **{s: getattr(config, s).model_copy(update={"lora": None}) for s in SIDES},
            }
        )
        self.seconds = seconds
        self.folder: Path | str | None = None
        self.audio = AudioTower(audio, config.audio, config.dim)
        self.text = TextTower(text, config.text, config.dim)

    @property
    def samples(self) -> int:
        """Samples of a clip of `seconds`."""
        return round(self.seconds * SAMPLE_RATE)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self, audio: Tensor, text: Tokens | Tensor, level: Level = "waveforms"
    ) -> tuple[Tensor, Tensor]:
        """N pairs -> audio and text embeddings, both (N, dim), float32, of length 1.

        Args:
            audio: ``level`` says what: waveforms (N, samples) float32 in [-1, 1] at 16 kHz;
                features (N, ...) as `model.audio.features` returns them; or outputs (N, width) of a
                frozen encoder.
            text: tokens of shape (N, L), or outputs (N, width) of a frozen encoder.
        """
        return self.audio(audio, level), self.text(text)

    @torch.inference_mode()
    def encode_audio(
        self, audio: AudioInput | Sequence[AudioInput], batch_size: int = 64
    ) -> np.ndarray:
        """Sounds -> unit vectors (N, dim) float32, without dropout; N = 1 for a single sound.

        Args:
            audio: paths of sound files (any rate, mono or stereo), or arrays (samples,) at 16 kHz,
                int16 or float in [-1, 1]; one or a list, or one array (N, samples). Each is cropped
                to its first `seconds` or padded with silence.

        Raises:
            InputError: a file that cannot be read, an empty or non-finite sound; it names the row.
        """
        items = _listed(audio)
        found: list[Tensor] = []
        for start in range(0, len(items), batch_size):
            rows = [
                fit(self._samples(item, start + row), self.samples)
                for row, item in enumerate(items[start : start + batch_size])
            ]
            waveforms = torch.from_numpy(np.stack(rows)).to(self.device)
            found.append(self._evaluating(self.audio, waveforms))
        return _stacked(found, self.config.dim)

    @torch.inference_mode()
    def encode_text(
        self,
        texts: str | Sequence[str],
        language: str | Sequence[str] = "eng",
        batch_size: int = 256,
    ) -> np.ndarray:
        """Texts -> unit vectors (N, dim) float32, without dropout; N = 1 for a single text.

        Args:
            language: ISO 639-3 code of all the texts, or one code for each.

        Raises:
            InputError: an empty text or an unknown language; it names the row.
        """
        tokens_of = self.text.tokenize([texts] if isinstance(texts, str) else texts, language)
        found = [
            self._evaluating(self.text, tokens_of[start : start + batch_size].to(self.device))
            for start in range(0, len(tokens_of), batch_size)
        ]
        return _stacked(found, self.config.dim)

    def adapt(self, config: ModelConfig, seed: int) -> None:
        """Puts adapters into the encoders for which ``config`` has ``lora``; their first values
        come from the run's seed.

        Raises:
            SettingError: peft is not installed, or there are no such layers.
        """
        towers: tuple[Tower, ...] = (self.audio, self.text)
        for tower in towers:
            wanted = getattr(config, tower.side).lora
            if wanted is not None:
                from supclap.model.lora import adapt

                adapt(tower.encoder, wanted, f"model.{tower.side}.lora", seed)
                tower.adapted = True
        self.train(self.training)

    @property
    def adapted(self) -> bool:
        """Whether an encoder has adapters."""
        return self.audio.adapted or self.text.adapted

    def merge_adapters(self) -> None:
        """Adds what adapters have learned to the weights beside them, and takes them out: what is
        measured from now on is the model that `save` writes, to the bit."""
        if self.adapted:
            from supclap.model.lora import merge

            merge(self)
            self.audio.adapted = self.text.adapted = False

    def saved_weights(self) -> dict[str, Tensor]:
        """The weights as a model folder holds them: merged, where there are adapters."""
        if not self.adapted:
            return self.state_dict()
        from supclap.model.lora import merged_weights

        return merged_weights(self)

    def save(self, folder: Path) -> None:
        """Writes the model folder whole, or not at all (`supclap.model.folder`)."""
        save_model(self, folder)

    def content_hash(self) -> str:
        """16 hexadecimal digits over weights, configuration and the encoders' own files."""
        # Where pretrained encoders lay, and how training saved memory, is no part of the model.
        no_part = {"folder", "recompute", "lora"}
        config = self.config.model_dump_json(exclude={"audio": no_part, "text": no_part})
        return content_hash(self, config, str(self.seconds))

    def _samples(self, item: AudioInput, row: int) -> np.ndarray:
        if isinstance(item, str | Path):
            return as_waveform(read_audio(Path(item), self.seconds), str(item))
        array = item.cpu().numpy() if isinstance(item, Tensor) else item
        return as_waveform(array, f"audio {row}")

    def _evaluating(self, side: Tower, batch: Tensor | Tokens) -> Tensor:
        """The side's embeddings with dropout off; the mode it was in is restored."""
        training = side.training
        side.eval()
        try:
            embeddings: Tensor = side(batch)
        finally:
            side.train(training)
        return embeddings


def build_model(
    config: ModelConfig,
    captions: Iterable[str],
    seconds: float,
    seed: int,
    widths: tuple[int, int] | None = None,
) -> CLAP:
    """A new model, on the CPU; equal arguments give equal weights, and no global state changes.

    Args:
        captions: texts that a tokenizer may learn from (those of the train split).
        seconds: length of the clips it will be trained on.
        seed: of the initial weights.
        widths: of precomputed features, numbers of an audio and of a text vector.

    Raises:
        InputError: an unknown encoder, an impossible size.
    """
    if config.start is not None:
        model = _continued(config, model_at(config.start), seconds)
    else:
        audio, text = (
            Source(seconds, config.dropout, captions, width=width)
            for width in widths or (None, None)
        )
        model = _assemble(config, audio, text, seed)
    model.adapt(config, seed)
    return model


def load(folder: Path | str, code: str | Path | Sequence[str | Path] = ()) -> CLAP:
    """The model in a folder that `CLAP.save` wrote; on the CPU, in evaluation mode.

    A folder of a store (``s3://BUCKET/MODEL``, ``gs://``) is fetched into the cache, once.

    Nothing of the folder is executed: it holds numbers, and text that is read as data. A model that
    needs a part of somebody's own names its file and version, and is opened where that is loaded.

    Args:
        code: files to run first, such as "my_idea.py", or installed modules (`load_given`).

    Raises:
        InputError: no such folder, another format, a missing, truncated or altered file, a part
            that is not loaded, or that is loaded in another version. Of a store: nothing lies
            there, it cannot be read, or there is no room.
    """
    load_given([code] if isinstance(code, str | Path) else code)
    saved = read_model(model_at(folder))
    model = _restored(saved, saved.config, saved.seconds).eval()
    # Of a store its address, without keys: what is fetched may be removed from the cache.
    far = in_store(folder)
    model.folder = Folder.at(folder).uri if far else saved.folder.absolute()
    return model


def _assemble(config: ModelConfig, audio: Source, text: Source, seed: int) -> CLAP:
    # Only the CPU's generator: seeding all of them would disturb a GPU that is at work.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoders = make_audio(config.audio, audio), make_text(config.text, text)
        return CLAP(config, audio.seconds, *encoders)


def _restored(saved: SavedModel, config: ModelConfig, seconds: float) -> CLAP:
    audio = Source(seconds, config.dropout, files=saved.files_of("audio"))
    text = Source(seconds, config.dropout, files=saved.files_of("text"))
    with saved.bounded():
        model = _assemble(config, audio, text, seed=0)
    saved.pour_into(model)
    return model


def _continued(config: ModelConfig, start: Path, seconds: float) -> CLAP:
    """A model with the weights of ``start``; dropout and freezing are the new configuration's."""
    return _restored(check_start(config, start), config, seconds)


def check_start(config: ModelConfig, start: Path) -> SavedModel:
    """The model in the folder ``start``. Raises InputError where it has other shapes."""
    saved = read_model(start)
    for key in ("audio", "text", "dim"):
        wanted, found = (_shape(getattr(c, key)) for c in (config, saved.config))
        if wanted != found:
            raise InputError(
                f"model.start: {start} has {key} {found}, the configuration asks for {wanted}"
            )
    return saved


def _shape(section: Any) -> Any:
    """What of an encoder's section decides the shapes of its weights."""
    if not hasattr(section, "model_dump"):
        return section
    return section.model_dump(exclude={"freeze", "folder", "recompute", "lora"})


def _listed(audio: AudioInput | Sequence[AudioInput]) -> Sequence[AudioInput]:
    if isinstance(audio, str | Path):
        return [audio]
    if isinstance(audio, np.ndarray | Tensor):
        return [audio] if audio.ndim == 1 else list(audio)
    return audio


def _stacked(found: list[Tensor], dim: int) -> np.ndarray:
    if not found:
        return np.zeros((0, dim), np.float32)
    embeddings: np.ndarray = torch.cat(found).cpu().numpy()
    return embeddings
