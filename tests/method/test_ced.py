"""CED against a literal derivation of the published model, from the same tensors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import erf
from tiny_encoders import CED_CONFIG, ced_weights, make_ced, original_weights

from supclap.config import AudioConfig
from supclap.errors import InputError
from supclap.model.ced import CED
from supclap.model.registry import Source

State = dict[str, np.ndarray]


def encoder_of(folder: Path, dropout: float = 0.0) -> CED:
    return CED(AudioConfig(name="ced", folder=str(folder)), Source(1.0, dropout)).eval()


def sounds(count: int = 3, samples: int = 11_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (count, samples)).astype(np.float32)


# --- the literal model, in float64, one clip at a time


def literal_decibels(wave: np.ndarray) -> np.ndarray:
    padded = np.pad(wave.astype(np.float64), 256, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = [padded[s : s + 512] * window for s in range(0, len(wave) + 1, 160)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = 2595 * np.log10(1 + 8000 / 700) * np.arange(66) / 65
    edges = 700 * (10 ** (edges / 2595) - 1)
    hertz = np.linspace(0, 8000, 257)
    bands = [
        np.maximum(0, np.minimum((hertz - lo) / (mid - lo), (hi - hertz) / (hi - mid)))
        for lo, mid, hi in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    decibels = 10 * np.log10(np.maximum(np.array(bands) @ power.T, 1e-10))
    return np.maximum(decibels, decibels.max() - 120)


def normed(given: np.ndarray, state: State, name: str, epsilon: float = 1e-6) -> np.ndarray:
    centred = given - given.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(given: np.ndarray, state: State, name: str) -> np.ndarray:
    return np.einsum("ti,oi->to", given, state[f"{name}.weight"]) + state[f"{name}.bias"]


def literal_piece(image: np.ndarray, state: State, config: dict[str, Any]) -> np.ndarray:
    """(64, frames), normalised -> (width,)."""
    columns = image.shape[1] // 16
    tokens = np.stack(
        [
            np.einsum(
                "ft,cft->c",
                image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16],
                state["patch_embed.proj.weight"][:, 0],
            )
            + state["patch_embed.proj.bias"]
            + state["time_pos_embed"][0, :, 0, column]
            + state["freq_pos_embed"][0, :, row, 0]
            for row in range(4)
            for column in range(columns)
        ]
    )
    heads, size = config["num_heads"], config["embed_dim"] // config["num_heads"]
    for block in range(config["depth"]):
        at = f"blocks.{block}"
        three = linear(normed(tokens, state, f"{at}.norm1"), state, f"{at}.attn.qkv")
        query, key, value = three.reshape(len(tokens), 3, heads, size).swapaxes(0, 1)
        scores = np.exp(np.einsum("qhs,khs->hqk", query, key) / np.sqrt(size))
        shares = scores / scores.sum(-1, keepdims=True)
        attended = np.einsum("hqk,khs->qhs", shares, value).reshape(len(tokens), -1)
        tokens = tokens + linear(attended, state, f"{at}.attn.proj")
        inner = linear(normed(tokens, state, f"{at}.norm2"), state, f"{at}.mlp.fc1")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        tokens = tokens + linear(inner, state, f"{at}.mlp.fc2")
    return normed(tokens, state, "norm").mean(0)


def literal(wave: np.ndarray, folder: Path, config: dict[str, Any] = CED_CONFIG) -> np.ndarray:
    found = load_file(folder / "model.safetensors")
    state = {n.removeprefix("encoder."): v.double().numpy() for n, v in found.items()}
    image = literal_decibels(wave) - state["init_bn.running_mean"][:, None]
    image /= np.sqrt(state["init_bn.running_var"][:, None] + 1e-5)
    image = image * state["init_bn.weight"][:, None] + state["init_bn.bias"][:, None]
    longest = config["target_length"]
    if image.shape[1] > longest:
        image = np.pad(image, ((0, 0), (0, -image.shape[1] % longest)))
    pieces = [image[:, s : s + longest] for s in range(0, image.shape[1], longest)]
    return np.mean([literal_piece(piece, state, config) for piece in pieces], axis=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ced(tmp_path_factory.mktemp("ced"))


# Shorter than the model's 72 frames; as long; two pieces of which the last is filled up; two full.
@pytest.mark.parametrize("samples", [3_000, 5_000, 11_000, 11_519, 22_880])
def test_outputs_are_the_literal_models(folder: Path, samples: int) -> None:
    waves = sounds(samples=samples)
    encoder = encoder_of(folder)
    with torch.no_grad():
        found = encoder(encoder.features(torch.from_numpy(waves))).numpy()
    assert found.shape == (3, 24) == (3, encoder.width)
    expected = np.stack([literal(wave, folder) for wave in waves])
    assert np.abs(expected).max() > 0.1
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_clip_is_cut_in_two_where_it_has_a_frame_more_than_the_model(folder: Path) -> None:
    encoder = encoder_of(folder)
    pieces = []
    pooled = encoder._pooled

    def noting(normed: torch.Tensor) -> torch.Tensor:
        pieces.append(len(normed))
        return pooled(normed)

    encoder._pooled = noting
    for samples in (72 * 160 - 1, 72 * 160):  # 72 and 73 frames, as 161,919 and 161,920 samples
        encoder(encoder.features(torch.from_numpy(sounds(1, samples))))
    assert pieces == [1, 2]


def test_a_clip_is_cut_off_below_its_own_loudest_point_not_the_batchs(folder: Path) -> None:
    waves = sounds(2, 4000)
    waves[0] *= 1e-5
    waves[1] *= 10
    waves[:, 2000:] = 0  # silence, 120 dB below the second and not below the first
    found = encoder_of(folder).features(torch.from_numpy(waves)).numpy()
    expected = np.stack([literal_decibels(wave) for wave in waves])
    assert found == pytest.approx(expected, abs=1e-2)
    assert found[0].min() == pytest.approx(-100)
    assert found[1].min() > -100


def test_a_clip_shorter_than_a_patch_is_filled_up_whatever_its_neighbours(folder: Path) -> None:
    encoder = encoder_of(folder)
    features = encoder.features(torch.from_numpy(sounds(2, 1000)))
    assert features.shape == (2, 64, 7)
    with torch.no_grad():
        together = encoder(features)
        alone = encoder(features[:1])
    assert together[0].numpy() == pytest.approx(alone[0].numpy(), abs=1e-5)


def test_statistics_stay_those_of_the_checkpoint_in_training(folder: Path) -> None:
    encoder = encoder_of(folder)
    features = encoder.features(torch.from_numpy(sounds()))
    evaluated = encoder(features)
    trained = encoder.train()(features)
    assert trained.equal(evaluated)
    trained.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    assert encoder.init_bn.running_var.equal(
        load_file(folder / "model.safetensors")["encoder.init_bn.running_var"]
    )


def test_dropout_is_the_runs(folder: Path) -> None:
    encoder = encoder_of(folder, dropout=0.5)
    features = encoder.features(torch.from_numpy(sounds()))
    assert encoder(features).equal(encoder(features))
    encoder.train()
    assert not encoder(features).equal(encoder(features))


@pytest.mark.parametrize(("width", "heads", "millions"), [(192, 3, 5.5), (256, 4, 9.6)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    width: int, heads: int, millions: float
) -> None:
    sizes = {"embed_dim": width, "num_heads": heads, "depth": 12, "mlp_ratio": 4.0}
    description = json.dumps(CED_CONFIG | sizes | {"target_length": 1012}).encode()
    config = AudioConfig(name="ced", folder="nowhere")
    encoder = CED(config, Source(10.0, files={"config.json": description}))
    head = 2 * width + (width + 1) * 527  # the tagger, which is left out here
    assert encoder.time_pos_embed.shape[-1] == 63
    assert (sum(p.numel() for p in encoder.parameters()) + head) / 1e6 == pytest.approx(
        millions, abs=0.1
    )


def test_the_encoder_without_its_prefix_and_tagger_is_the_same(
    folder: Path, tmp_path: Path
) -> None:
    other = make_ced(tmp_path / "bare")
    weights = load_file(other / "model.safetensors")
    bare = {n.removeprefix("encoder."): v for n, v in weights.items() if n.startswith("encoder.")}
    save_file(bare, other / "model.safetensors")
    one, same = encoder_of(folder).state_dict(), encoder_of(other).state_dict()
    assert all(one[name].equal(same[name]) for name in one)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "audio-spectrogram-transformer"),
        ("n_mels", 128),
        ("hop_size", 320),
        ("patch_stride", 10),
        ("f_max", 7000),
        ("pooling", "token"),
        ("num_heads", 5),
        ("embed_dim", "wide"),
        ("depth", 0),
        ("mlp_ratio", None),
        ("target_length", True),
        ("target_length", 15),
    ],
)
def test_a_description_of_another_model_is_refused_in_one_line(
    tmp_path: Path, key: str, value: bool | int | str | None
) -> None:
    folder = make_ced(tmp_path)
    (folder / "config.json").write_text(json.dumps(CED_CONFIG | {key: value}))
    with pytest.raises(InputError, match=r"config\.json: ") as caught:
        encoder_of(folder)
    assert key in str(caught.value) or repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.norm.bias"), r"missing norm\.bias$"),
        (lambda w: w.pop("encoder.time_pos_embed"), "missing .* unexpected encoder"),
        (
            lambda w: w.update({"encoder.blocks.0.ls1.gamma": torch.ones(24)}),
            r"unexpected blocks\.0\.ls1\.gamma$",
        ),
        (lambda w: w.update({"cls_token": torch.ones(1)}), "unexpected cls_token"),
        (
            lambda w: w.update({"encoder.norm.weight": torch.ones(23)}),
            r"of another shape norm\.weight \(23,\) for \(24,\)",
        ),
    ],
)
def test_weights_too_few_too_many_or_of_another_shape_are_told(
    tmp_path: Path, change: Callable[..., Any], message: str
) -> None:
    folder = make_ced(tmp_path)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(folder)
    assert "\n" not in str(caught.value)


def test_another_depth_than_the_weights_names_what_is_missing(tmp_path: Path) -> None:
    folder = make_ced(tmp_path)
    (folder / "config.json").write_text(json.dumps(CED_CONFIG | {"depth": 3}))
    with pytest.raises(InputError, match=r"missing blocks\.2\.\S+, .* and 9 more$"):
        encoder_of(folder)


# --- the original's checkpoints: one .pt file

ORIGINAL = {"embed_dim": 64, "num_heads": 1, "target_length": 64}  # sizes that say the rest


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A folder that holds nothing but an original checkpoint."""
    config = CED_CONFIG | ORIGINAL
    torch.save(original_weights(ced_weights(config)), tmp_path / "audiotransformer_mAP_4814.pt")
    return tmp_path


def same_encoders(one: CED, other: CED) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    return all(mine[name].equal(theirs[name]) for name in mine)


@pytest.mark.parametrize("below", [False, True])
def test_the_originals_checkpoint_alone_is_the_same_encoder(
    original: Path, tmp_path: Path, below: bool
) -> None:
    hub = make_ced(tmp_path / "hub", **ORIGINAL)
    if below:
        (path,) = original.glob("*.pt")
        torch.save({"model": torch.load(path, weights_only=True)}, path)
    found, expected = encoder_of(original), encoder_of(hub)
    assert same_encoders(found, expected)
    waves = torch.from_numpy(sounds())
    assert found(found.features(waves)).equal(expected(expected.features(waves)))
    # Its model folder holds a description, as it brought none.
    kept = Source(1.0, files=found.files())
    again = CED(AudioConfig(name="ced", folder="nowhere"), kept)
    again.load_state_dict(found.state_dict())
    assert same_encoders(again, found)


def test_a_description_beside_it_says_the_heads(tmp_path: Path) -> None:
    torch.save(original_weights(ced_weights(CED_CONFIG)), tmp_path / "tiny.pt")
    with pytest.raises(InputError, match=r"tiny\.pt: is 24 wide.* num_heads"):
        encoder_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CED_CONFIG))
    assert same_encoders(encoder_of(tmp_path), encoder_of(make_ced(tmp_path / "hub")))


class Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda w: {"state": Command(), **w}, "cannot be read as tensors alone"),
        (lambda w: [*w.values()], "is no state of a model"),
        (lambda w: {"epoch": 3, **w}, "is no state of a model"),
        (lambda w: {n: v for n, v in w.items() if "patch_embed" not in n}, "lacks 'patch_embed"),
        (lambda w: {**w, "cls_token": torch.ones(1)}, "unexpected cls_token"),
        (
            lambda w: {**w, "front_end.0.mel_scale.fb": torch.ones(257, 128)},
            r"front_end\.0\.mel_scale\.fb: is another front end",
        ),
        (
            lambda w: {**w, "front_end.0.spectrogram.window": torch.hamming_window(512)},
            r"front_end\.0\.spectrogram\.window: is another front end",
        ),
    ],
    ids=["code", "list", "number", "other", "token", "bands", "window"],
)
def test_a_checkpoint_of_anything_else_is_refused_in_one_line(
    original: Path, capfd: pytest.CaptureFixture[str], content: Callable[..., Any], message: str
) -> None:
    (path,) = original.glob("*.pt")
    torch.save(content(torch.load(path, weights_only=True)), path)
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(original)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "this ran" not in capfd.readouterr().out


def test_a_truncated_checkpoint_and_two_of_them_are_told(original: Path) -> None:
    (path,) = original.glob("*.pt")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"truncated\?"):
        encoder_of(original)
    (original / "other.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"has no config\.json; .* or one \.pt file"):
        encoder_of(original)
