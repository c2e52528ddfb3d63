"""The examples of docs/parts do what the pages say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from scipy import stats
from tiny_run import make_collection, tiny_config
from torch.nn import functional as F

import supclap
from supclap import registry
from supclap.augmenting import augmenter_of
from supclap.batches import batches_of
from supclap.config import RunConfig, parse_config
from supclap.data import open_data
from supclap.data.clips import Clips, Collection
from supclap.events import Finished
from supclap.feasibility import check_run
from supclap.losses import InfoNCE, SupCLAPLoss, build_loss
from supclap.model.clap import build_model
from supclap.optimization import learning_rate
from supclap.parts import Embeddings
from supclap.storage import Folder
from supclap.training import fit
from supclap.user_code import load_code

PAGES = Path(__file__).parents[2] / "docs" / "parts"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("data"))


def example(page: str, folder: Path, data: Path) -> tuple[dict[str, RunConfig], Clips]:
    """A page's python, loaded as a file of the user's, and the rows of its yaml."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (python,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (written,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    values = yaml.safe_load(written)
    (name,) = values["code"]
    (folder / name).write_text(python)
    load_code([name], folder)
    base = values.get("base", {})
    rows = {
        row: tiny_config(data, **{key.replace(".", "__"): v for key, v in (base | changes).items()})
        for row, changes in values["variants"].items()
    }
    return rows, Collection(data).split("train")


def test_the_order_takes_short_captions_first(tmp_path: Path, data: Path) -> None:
    rows, train = example("order.md", tmp_path, data)
    config = rows["InfoNCE, short first"].model_copy(update={"epochs": 3})
    batches = batches_of(config, train)
    words = np.array([len(said[0].text.split()) for said in train.captions])
    taken = [np.concatenate([b.rows for b in batches.epoch(e)]) for e in range(3)]
    assert [len(set(rows.tolist())) for rows in taken] == [12, 18, 24]
    for rows_of in taken:
        left = np.setdiff1d(np.arange(24), rows_of)
        assert words[rows_of].max() <= min(words[left], default=99)
    assert batches.repeated == 12


def test_the_augmentations_mask_and_mix(tmp_path: Path, data: Path) -> None:
    rows, train = example("augmentation.md", tmp_path, data)
    config = rows["InfoNCE + both"]
    augmenter = augmenter_of(config, train, batches_of(config, train))

    def hear(row: int) -> np.ndarray:
        return np.full(8000, row, np.float32)

    mixed = [augmenter.example(row, [0], ("x",), ("eng",), 0, hear) for row in range(24)]
    both = [row for row in range(24) if mixed[row].captions != ("x",)]
    assert 4 <= len(both) <= 20
    for row in range(24):
        other = 2 * mixed[row].waveform[0] - row
        if row in both:
            assert mixed[row].captions == (f"x and {train.captions[int(other)][0].text}",)
        assert (other != row) == (row in both)
    noise = np.random.default_rng(0).random((64, 51), dtype=np.float32) + 1
    for row in range(5):
        masked = augmenter.features(row, noise.copy(), 0) == noise.min()
        bands, frames = masked.all(1), masked.all(0)
        assert bands.sum() <= 12
        assert frames.sum() <= 20
        whole = bands[:, None] | frames[None]
        assert whole.any()
        assert np.array_equal(masked, whole | (noise == noise.min()))


def test_the_losses_are_what_they_say(tmp_path: Path, data: Path) -> None:
    rows, _ = example("loss.md", tmp_path, data)
    for config in rows.values():
        check_run(config)
    numbers = torch.Generator().manual_seed(0)
    audio, text = (F.normalize(torch.randn(9, 5, generator=numbers), dim=1) for _ in range(2))
    clips = torch.arange(9) // 2

    def loss(row: str, **changes: Any) -> SupCLAPLoss:
        config = rows[row].loss.model_dump()
        return build_loss(parse_config({"loss": config | changes}).loss, 9)

    plain = SupCLAPLoss(InfoNCE())
    for ids in (None, clips):  # beta 0 is InfoNCE
        found = loss("HN-NCE", beta=0, svr=None)(audio, text, ids).total
        torch.testing.assert_close(found, plain(audio, text, ids).total)
    assert loss("HN-NCE", svr=None)(audio, text).total > plain(audio, text).total
    angle = loss("InfoNCE + angle")(audio, text)
    degrees = np.arccos(np.clip((text @ audio.T).numpy(), -0.9999, 0.9999))
    over = [0.3 + degrees[i, i] - np.delete(degrees[i], i).min() for i in range(9)]
    assert angle.parts["angle"].item() == pytest.approx(np.maximum(over, 0).mean(), rel=1e-4)
    assert angle.numbers["angle.hard"].item() == pytest.approx((np.array(over) > 0).mean())
    fading = loss("InfoNCE + angle, fading")
    fading.begin_step(25, 100)
    assert fading.scheduled() == {"angle.weight": 0.25}
    sure = loss("SVR, sure")(audio, text).radii["text"]
    share = (text @ audio.T / 0.07).softmax(1).diagonal()
    torch.testing.assert_close(sure, 0.5 + 0.2 * share)


def test_the_encoders_hear_loudness_and_read_letters(tmp_path: Path, data: Path) -> None:
    rows, _ = example("encoder.md", tmp_path, data)
    model = build_model(rows["Loudness"].model, ["a tone", "ein Ton"], 0.5, seed=0)
    encoder: Any = model.audio.encoder
    assert encoder.layer.weight.shape == (8, 20)  # the width of the tiny configuration
    waves = np.zeros((1, 8000), np.float32)
    waves[:, 400:800] = 0.5
    heard = model.audio.features(torch.from_numpy(waves))
    assert heard.tolist() == [[0.0, 0.25, *[0.0] * 18]]
    model.save(tmp_path / "model")
    opened = supclap.load(tmp_path / "model")
    for words in (["tone", "Ton"], ["not", "eon"]):
        found = opened.encode_text(words, "eng")
        assert (found == model.encode_text(words, "eng")).all()
    assert opened.encode_text(["tone"])[0] == pytest.approx(opened.encode_text(["note"])[0], 1e-5)


@pytest.mark.heavy
def test_the_parts_of_the_pages_train_together(tmp_path: Path, data: Path) -> None:
    lion, _ = example("optimizer.md", tmp_path, data)
    heads, _ = example("head.md", tmp_path, data)
    metrics, _ = example("metric.md", tmp_path, data)
    encoders, _ = example("encoder.md", tmp_path, data)
    optimizer = lion["Lion, 1/sqrt"].optimizer
    assert optimizer.betas == (0.9, 0.99)
    rates = [learning_rate(optimizer, step, 4, 2) for step in range(8)]
    assert rates == pytest.approx([1 / 3, 2 / 3, *(n**-0.4 for n in range(1, 7))])
    model = encoders["Loudness"].model
    audio, text = (
        getattr(model, side).model_copy(
            update={"head": getattr(heads["Bottleneck"].model, side).head}
        )
        for side in ("audio", "text")
    )
    config = metrics["SVR"].model_copy(
        update={
            "model": model.model_copy(update={"audio": audio, "text": text}),
            "optimizer": optimizer,
            "epochs": 1,
        }
    )
    *_, finished = fit(config, Folder.at(tmp_path / "run"))
    assert isinstance(finished, Finished)
    assert 0 <= finished.metrics["test.k1.hubness.never"] < 1
    assert {"val.hubness.skew", "test.modality_gap"} <= finished.metrics.keys()


def test_the_metric_is_the_skewness_that_scipy_knows(tmp_path: Path, data: Path) -> None:
    rows, _ = example("metric.md", tmp_path, data)
    audio, text = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    split = Embeddings(audio, text, torch.arange(30), ("",) * 30, ((),) * 30, ("eng",) * 30)
    section = rows["SVR"].metrics["hubness"]
    found = registry.class_of("metric", "hubness")(**section.own_keys).measure(split)
    nearest = np.argsort(-(text @ audio.T).numpy(), axis=1)[:, :10]
    counts = np.bincount(nearest.ravel(), minlength=30)
    assert float(found["hubness.skew"]) == pytest.approx(stats.skew(counts))
    assert float(found["hubness.never"]) == (counts == 0).mean()


def test_the_source_lists_files_with_captions_in_two_languages(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recordings" / "sounds").mkdir(parents=True)
    numbers = np.random.default_rng(0)
    lines = ["name,english,german,kind,part"]
    for n in range(4):
        soundfile.write(
            tmp_path / f"recordings/sounds/n{n}.wav", numbers.uniform(-1, 1, 900), 16_000
        )
        lines.append(f"n{n},a noise {n},ein Rauschen {n},noise,{'test' if n == 3 else 'train'}")
    (tmp_path / "recordings" / "clips.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    rows, _ = example("data_source.md", tmp_path, data)
    collection = open_data(rows["InfoNCE"].data)
    assert collection.splits == ("train", "test")
    (clip,) = collection.split("test")
    assert (clip.clip_id, len(clip.audio), clip.labels) == ("n3", 900, ("noise",))
    said = [(caption.text, caption.language) for caption in clip.captions]
    assert said == [("a noise 3", "eng"), ("ein Rauschen 3", "deu")]
