"""Encoders out of a repository: huggingface_hub itself, before a hub on loopback."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from supclap_platform.experiment.identity import signature
from tiny_hub import COMMIT, Hub, serving
from tiny_transformers import make_text

from supclap import hub as places
from supclap.config import RunConfig, TextConfig, parse_config
from supclap.errors import InputError, SettingError
from supclap.model.hf.text import HuggingFaceText
from supclap.model.registry import Source


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_text(tmp_path_factory.mktemp("hub") / "bert", "bert")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    (folder / "README.md").write_text("# Bert")
    (folder / "model.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    places._snapshot.cache_clear()
    with serving(monkeypatch, tmp_path / "cache") as one:
        one.repositories["some/bert"] = bert
        yield one
    places._snapshot.cache_clear()


def config_of(repo: str, **keys: object) -> RunConfig:
    return parse_config({"model": {"text": {"name": "huggingface", "repo": repo, **keys}}})


@pytest.mark.heavy
def test_what_is_read_is_downloaded_once_and_opened_as_a_folder_is(
    hub: Hub, bert: Path, tmp_path: Path
) -> None:
    config = config_of("some/bert@main").model.text
    assert config.folder == "hf://some/bert@main"
    encoder = HuggingFaceText(config, Source(1.0))
    weights = HuggingFaceText(
        TextConfig.model_validate({"name": "huggingface", "folder": str(bert)}), Source(1.0)
    ).state_dict()
    assert all(value.equal(weights[name]) for name, value in encoder.state_dict().items())
    files = [path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert not {"README.md", "model.py"} & set(files)
    assert not any("onnx" in path for path in hub.asked)
    # In another process of the node: what is in the cache is asked nothing more.
    places._snapshot.cache_clear()
    hub.asked.clear()
    HuggingFaceText(config, Source(1.0))
    assert hub.asked == []


@pytest.mark.heavy
def test_what_would_be_fetched_is_listed_and_nothing_is(
    hub: Hub, bert: Path, tmp_path: Path
) -> None:
    place = "hf://some/bert@main"
    assert places.cached(place) is None
    read = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    wanted = [bert / name for name in read if (bert / name).is_file()]
    for named in (place, "hf://some/bert", f"hf://some/bert@{COMMIT}"):
        assert places.to_fetch(named, 5) == (len(wanted), sum(f.stat().st_size for f in wanted))
    assert not any("/resolve/" in path for path in hub.asked)
    # Weights that are no safetensors are read where there are no others.
    old = hub.repositories["old/bert"] = shutil.copytree(bert, tmp_path / "old")
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    assert places.to_fetch("hf://old/bert", 5) == places.to_fetch(place, 5)
    places.located(place)
    hub.asked.clear()
    assert places.cached(place) == places.located(place)
    assert hub.asked == []
    for repo, message in (
        ("no/such", "there is no such repository"),
        ("some/bert@v9", "the repository has no revision 'v9'"),
    ):
        with pytest.raises(InputError, match=message):
            places.to_fetch(f"hf://{repo}", 5)


@pytest.mark.heavy
def test_the_identity_is_the_content(hub: Hub, bert: Path, tmp_path: Path) -> None:
    named = {signature(config_of(f"some/bert{at}")) for at in ("", "@main", f"@{COMMIT}")}
    assert len(named) == 1
    hub.repositories["another/name"] = shutil.copytree(bert, tmp_path / "same")
    (tmp_path / "same" / "README.md").write_text("other words")
    assert {signature(config_of("another/name"))} == named
    other = hub.repositories["third/one"] = shutil.copytree(bert, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert {signature(config_of("third/one"))} != named
    assert {signature(config_of("some/bert", pooling="cls"))} != named
    # A file that another program has put into the snapshot.
    (places.located("hf://some/bert") / "notes.bin").write_bytes(b"1")
    assert {signature(config_of("some/bert"))} == named


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("no/such", r"no/such: there is no such repository"),
        ("some/bert@v9", r"some/bert@v9: the repository has no revision 'v9'"),
        ("gated/bert", r"accept its terms on .*/gated/bert, .* `hf download gated/bert`"),
    ],
)
def test_what_cannot_be_had_is_one_line(hub: Hub, bert: Path, repo: str, message: str) -> None:
    hub.repositories["gated/bert"] = bert
    hub.gated.add("gated/bert")
    with pytest.raises(SettingError, match=message) as caught:
        signature(config_of(repo))
    assert str(caught.value).startswith("model.text.folder: ")
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_what_to_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"`hf download a/b --revision v1`.* folder: FOLDER$"):
        places.located("hf://a/b@v1")
    with pytest.raises(InputError, match=r"`hf download a/b --revision v1`.* folder: FOLDER$"):
        places.to_fetch("hf://a/b@v1", 5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"repo": "a/b/c"}, r"expected NAME@REVISION"),
        ({"repo": "../b"}, r"expected NAME@REVISION"),
        ({"repo": "a/b@"}, r"expected NAME@REVISION"),
        ({"repo": "a/b", "folder": "c"}, r"give one of them"),
        ({}, r"needs 'folder', .* or 'repo', NAME@REVISION"),
    ],
)
def test_a_repository_is_named_in_one_way(keys: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=rf"model\.text.*{message}") as caught:
        parse_config({"model": {"text": {"name": "huggingface", **keys}}})
    assert "\n" not in str(caught.value)


def test_the_papers_encoders_take_one_too() -> None:
    both = {"audio": {"name": "ced", "repo": "a/b"}, "text": {"name": "sonar", "repo": "c/d@e"}}
    model = parse_config({"model": both}).model
    assert (model.audio.folder, model.text.folder) == ("hf://a/b", "hf://c/d@e")
    with pytest.raises(InputError, match=r"'model\.audio\.repo'"):
        parse_config({"model": {"audio": {"name": "cnn", "repo": "a/b"}}})
