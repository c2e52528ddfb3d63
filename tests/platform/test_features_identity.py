"""Precomputed features in a signature: what they hold, wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from supclap_platform.experiment.identity import signature
from tiny_features import features_config, make_features

from supclap.config import RunConfig, parse_config
from supclap.errors import SettingError


def of_arrays(folder: Path) -> RunConfig:
    names = {"audio": "audio.npy", "text": "text.npy", "captions": "clips.csv"}
    arrays = {key: str(folder / name) for key, name in names.items()}
    values = features_config(folder).model_dump()
    return parse_config({**values, "data": {"name": "features", "arrays": arrays}})


def test_it_is_that_of_the_numbers_and_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    make_features(tmp_path / "one")
    first = signature(features_config(tmp_path / "one" / "prepared"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert signature(features_config(tmp_path / "two" / "prepared")) == first
    arrays = tmp_path / "two" / "arrays"
    assert signature(of_arrays(arrays)) == first
    text = np.load(arrays / "text.npy")
    np.save(arrays / "text.npy", text * 2)
    assert signature(of_arrays(arrays)) != first
    np.save(arrays / "text.npy", text)
    assert signature(of_arrays(arrays)) == first
    table = (arrays / "clips.csv").read_text()
    (arrays / "clips.csv").write_text(table.replace("unused", "train"))
    assert signature(of_arrays(arrays)) != first


def test_a_split_that_is_not_there_is_named_by_its_key(tmp_path: Path) -> None:
    folder = make_features(tmp_path).folder
    with pytest.raises(SettingError, match=r"data.val: .*no split 'vla'; did you mean 'val'"):
        signature(features_config(folder, data__val="vla"))
    with pytest.raises(SettingError, match="holds no features"):
        signature(features_config(tmp_path / "none"))
