"""`supclap evaluate`, `embed` and `search` from the command line."""

import json
import os
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner, Result

from supclap.config import ModelConfig
from supclap.data.clips import Caption, Clip, Collection, write_split
from supclap.errors import InputError
from supclap.evaluation import retrieval_by_language
from supclap.evaluation.collection import evaluate_retrieval, evaluate_zero_shot
from supclap.model.clap import CLAP, build_model
from supclap.use_commands import embed_command, evaluate_command, search_command

SMALL = {
    "audio": {"width": 8, "layers": 3},
    "text": {"width": 32, "layers": 1, "vocabulary": 300},
    "dim": 16,
}
LABELS = ("dog_bark", "rain", "bell")


@pytest.fixture(scope="module")
def model() -> CLAP:
    return build_model(ModelConfig.model_validate(SMALL), ["a dog", "rain"], 0.5, seed=0)


@pytest.fixture(scope="module")
def model_folder(model: CLAP, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "m"
    model.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """captioned: two languages, unequally many captions; labelled: one, two or no labels a clip."""
    folder = tmp_path_factory.mktemp("data") / "c"
    rng = np.random.default_rng(0)

    def audio() -> np.ndarray:
        return rng.normal(0, 2000, 9000).astype(np.int16)

    captioned = []
    for i in range(6):
        captions = [Caption(f"sound number {i}"), Caption(f"le son {i}", "fra")]
        captions += [Caption(f"once more {i}")] if i % 2 else []
        captioned.append(Clip(f"c{i}", audio(), tuple(captions if i < 5 else ())))
    write_split(folder, "toy", "test", captioned)
    labelled = [Clip(f"l{i}", audio(), labels=(LABELS[i % 3],)) for i in range(9)]
    labelled += [Clip("two", audio(), labels=LABELS[:2]), Clip("none", audio())]
    write_split(folder, "toy", "labelled", labelled)
    return folder


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def test_retrieval_on_a_collection_by_language_beside_chance(
    model: CLAP, model_folder: str, collection: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    found = run(evaluate_command, model_folder, "--data", collection, "--json", out)
    assert found.exit_code == 0
    figures = json.loads(out.read_text())
    clips = Collection(collection).split("test")
    audio = model.encode_audio([clips.audio(i) for i in range(6)])
    asked = [
        (i, c)
        for lang in ("eng", "fra")
        for i in range(6)
        for c in clips.captions[i]
        if c.language == lang
    ]
    texts = model.encode_text([c.text for _, c in asked], [c.language for _, c in asked])
    direct = retrieval_by_language(
        audio, texts, [i for i, _ in asked], [c.language for _, c in asked]
    )
    assert figures["metrics"] == pytest.approx(direct.metrics, nan_ok=True)
    assert figures["counts"] == {"clips": 6, "captions": 12, "uncaptioned": 1}
    assert figures["model"] == model.content_hash()
    assert len(figures["ranks"]["eng"]["t2a"]) == 7
    assert figures["chance"]["t2a.R@1"] == pytest.approx(100 / 6)
    lines = found.output.splitlines()
    (first,) = [line for line in lines if line.strip().startswith("t2a.R@1 ")]
    english, french, mean, chance = (float(word) for word in first.split()[1:])
    assert mean == pytest.approx((english + french) / 2, abs=0.01)
    assert chance == pytest.approx(16.67)
    assert "1 clips without a caption are candidates only" in lines[-1]


def test_one_language_alone(model: CLAP, collection: Path) -> None:
    report = evaluate_retrieval(model, Collection(collection).split("test"), ["fra"])
    assert list(report.result.by_language) == ["fra"]
    assert report.captions == 5
    with pytest.raises(InputError, match="has no caption in 'jpn'"):
        evaluate_retrieval(model, Collection(collection).split("test"), ["jpn"])
    with pytest.raises(InputError, match="has no captions"):
        evaluate_retrieval(model, Collection(collection).split("labelled"))


def test_zero_shot_on_labels_beside_chance(
    model: CLAP, model_folder: str, collection: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    found = run(
        *(evaluate_command, model_folder, "--data", collection, "--split", "labelled"),
        *("--template", "a {label}", "--template", "the {label}", "--json", out),
    )
    assert found.exit_code == 0
    figures = json.loads(out.read_text())
    assert figures["labels"] == ["bell", "dog_bark", "rain"]
    assert figures["counts"] == {"clips": 9, "left_out": 2}
    assert figures["chance"]["zero_shot.accuracy"] == pytest.approx(100 / 3)
    clips = Collection(collection).split("labelled")
    sounds = model.encode_audio([clips.audio(i) for i in range(9)])
    prompts = [[f"a {name}", f"the {name}"] for name in ("bell", "dog bark", "rain")]
    means = [model.encode_text(pair).mean(0) for pair in prompts]
    centres = np.array([c / np.linalg.norm(c) for c in means])
    predicted = (sounds @ centres.T).argmax(1)
    truth = np.array([1, 2, 0] * 3)
    assert figures["metrics"]["zero_shot.accuracy"] == pytest.approx(
        100 * (predicted == truth).mean()
    )
    assert np.array(figures["confusion"]).sum() == 9
    assert "2 clips that do not have exactly one label are left out" in found.output
    with pytest.raises(InputError, match="at least two classes"):
        evaluate_zero_shot(model, Collection(collection).split("test"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: not a prepared collection"),
        (["--data", "{}", "--split", "tset"], "no split 'tset'"),
        (["--data", "{}", "--languages", "jpn"], "no caption in 'jpn'"),
        (["--data", "{}", "--events", "x"], "goes with --data soundscenes"),
        (["--data", "{}", "--split", "labelled", "--template", "x"], "has no {label}"),
        (["--data", "soundscenes", "--languages", "xxx"], "languages"),
    ],
)
def test_unusable_requests_are_one_line(
    arguments: list[str], message: str, model_folder: str, collection: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(evaluate_command, model_folder, *(a.format(collection) for a in arguments))
    assert "\n" not in str(caught.value)


def test_embed_and_search(model_folder: str, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for i in range(3):
        soundfile.write(
            sounds / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 12_000), 16_000
        )
    (sounds / "cut.wav").write_bytes(b"RIFF")
    out = tmp_path / "x.parquet"
    embedded = run(embed_command, sounds, "--model", model_folder, "--out", out)
    assert embedded.exit_code == 0
    assert "3 files in 6 windows of 0.5 s; 1 file skipped, 0 others passed over" in embedded.output
    assert "cut.wav: " in embedded.output
    assert (tmp_path / "x.parquet.skipped.csv").read_text().startswith("path,reason\ncut.wav,")
    found = run(search_command, out, "a dog barks", "-k", 2)
    assert found.exit_code == 0
    named = run(search_command, out, "a dog barks", "--model", model_folder, "-k", 2)
    assert named.output == found.output
    scores = [float(line.split()[0]) for line in found.output.splitlines()]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert all(line.split()[1].endswith(".wav") for line in found.output.splitlines())


def test_names_that_break_a_line_break_no_output(model_folder: str, tmp_path: Path) -> None:
    sounds, out = tmp_path / "sounds", tmp_path / "x.parquet"
    sounds.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 12_000)
    for name in ("a.wav", "b.wav"):
        soundfile.write(sounds / name, noise, 16_000)
    os.link(sounds / "a.wav", os.fsencode(sounds) + b"/caf\xe9.wav")
    os.link(sounds / "a.wav", sounds / "two\nlines.wav")
    (sounds / "notes.txt").write_text("no sound")
    embedded = run(embed_command, sounds, "--model", model_folder, "--out", out)
    assert "2 files skipped, 1 other passed over" in embedded.output
    with open(tmp_path / "x.parquet.skipped.csv", encoding="utf-8", newline="") as file:
        lines = file.read().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        *("path", r"caf\xe9.wav", r"two\nlines.wav", "notes.txt")
    ]
    # An index that an earlier version made may hold such a name.
    table = pq.read_table(out)
    paths = ["two\nlines.wav" if path == "a.wav" else path for path in table["path"].to_pylist()]
    pq.write_table(table.set_column(0, "path", [paths]), out)
    found = run(search_command, out, "rain", "--model", model_folder)
    assert sorted(line.split()[1] for line in found.output.splitlines()) == [
        "b.wav",
        r"two\nlines.wav",
    ]
    # Nothing is left out any more: nor is the list of it.
    for path in sounds.iterdir():
        if path.name not in ("a.wav", "b.wav"):
            path.unlink()
    run(embed_command, sounds, "--model", model_folder, "--out", out)
    assert not (tmp_path / "x.parquet.skipped.csv").exists()
