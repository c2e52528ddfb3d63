"""Signatures: the same run has the same one everywhere, another run has another."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.identity import digest, signature
from supclap_platform.experiment.reader import load_experiment

from supclap.config import DataConfig, LossConfig, RunConfig, parse_config
from supclap.config.pretrained import PRETRAINED
from supclap.data.clips import Clip, write_split
from supclap.errors import InputError
from supclap.overrides import override

ABLATION = Path(__file__).parents[2] / "experiments" / "table3_ablation.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_digest_of_given_values_never_changes() -> None:
    # Golden: results in a ledger are found by these digits. They follow from the text alone.
    values = {"b": [1, 2.5, None, True], "a": {"ä": "x", "n": -0.0}, "c": 1e-05}
    text = '{"a":{"n":0.0,"\\u00e4":"x"},"b":[1,2.5,null,true],"c":1e-05}'
    assert digest(values) == hashlib.sha256(text.encode()).hexdigest()[:16] == "381f203314a45f57"


def test_key_order_and_notation_do_not_matter() -> None:
    one = parse_config({"epochs": 3, "loss": {"name": "infonce", "temperature": 0.07}})
    other = parse_config({"loss": {"temperature": "7e-2", "name": "infonce"}, "epochs": 3.0})
    assert signature(one) == signature(other)
    assert signature(parse_config({"loss": "infonce"})) == signature(RunConfig())


def test_what_changes_the_result_changes_the_signature() -> None:
    base = {"loss": {"svr": {}}}
    changes = [
        {"seed": 1},
        {"loss.svr.alpha": 0.5},
        {"loss.svr": None},
        {"data.clips": 10},
        {"model.start": "cell:0123456789abcdef"},
        {"select.split": "test"},
        {"chunk": 8},
    ]
    found = {signature(parse_config(override(base, change))) for change in changes}
    found |= {signature(parse_config(base)), signature(parse_config(base), workers=2)}
    assert len(found) == len(changes) + 2


def test_how_often_a_checkpoint_is_written_does_not_change_it() -> None:
    assert signature(RunConfig(checkpoint_steps=5)) == signature(RunConfig())


def test_a_changed_default_changes_the_signature() -> None:
    class Later(LossConfig):
        bias: float = -5.0

    config = RunConfig()
    assert signature(config.model_copy(update={"loss": Later()})) != signature(config)


@pytest.mark.heavy
@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_signatures_are_the_same_in_every_process(hash_seed: str) -> None:
    code = (
        "from pathlib import Path; import sys, locale\n"
        "from supclap_platform.experiment.reader import load_experiment\n"
        "from supclap_platform.experiment.cells import cells_of\n"
        "print(*(c.signature for c in cells_of(load_experiment(Path(sys.argv[1])))))"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(ABLATION)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    experiment = load_experiment(ABLATION)
    here = [cell.signature for cell in cells_of(experiment)]
    assert done.stdout.split() == here
    assert len(set(here)) == len(here) == 1 + 7 * len(experiment.seeds)


def test_cells_carry_their_seed_and_their_stage() -> None:
    experiment = load_experiment(ABLATION)
    stage, *cells = cells_of(experiment)
    assert (stage.variant, stage.seed, stage.start) == ("init", 0, None)
    assert stage.config.data.train == "pretrain"
    seeds = experiment.seeds
    assert [(c.variant, c.seed) for c in cells[: len(seeds) + 1]] == [
        *(("InfoNCE", seed) for seed in seeds),
        ("bi-DynamicSVR", seeds[0]),
    ]
    for cell in cells:
        assert cell.config.seed == cell.seed
        assert cell.start == stage.signature
        assert cell.config.model.start == f"cell:{stage.signature}"


def test_another_stage_makes_other_cells(tmp_path: Path) -> None:
    text = ABLATION.read_text(encoding="utf-8")
    changed = text.replace("data.train: pretrain, epochs: 8", "data.train: pretrain, epochs: 9")
    assert changed != text
    longer = write(tmp_path, changed)
    shutil.copytree(ABLATION.parent / "profiles", tmp_path / "profiles")
    before = {cell.signature for cell in cells_of(load_experiment(ABLATION))}
    after = {cell.signature for cell in cells_of(load_experiment(longer))}
    assert len(after) == len(before)
    assert not before & after


def test_a_stage_for_each_seed_and_a_stage_that_is_a_variant(tmp_path: Path) -> None:
    rows = "experiment: e\nvariants: {A: {}, B: {epochs: 2}, C: {epochs: 3}}\nseeds: [5, 6]\n"
    own = cells_of(
        load_experiment(write(tmp_path, rows + "init: {base: {epochs: 1}, per_seed: true}"))
    )
    assert [(c.variant, c.seed) for c in own[:2]] == [("init", 5), ("init", 6)]
    stages = {cell.seed: cell.signature for cell in own[:2]}
    assert all(cell.start == stages[cell.seed] for cell in own[2:])
    shared = cells_of(load_experiment(write(tmp_path, rows + "init: {variant: A}")))
    assert [c.variant for c in shared] == ["A", "A", "B", "B", "C", "C"]
    assert [c.start for c in shared] == [None, None, *[shared[0].signature] * 4]


def test_rows_that_differ_in_workers_only_are_different_cells(tmp_path: Path) -> None:
    path = write(tmp_path, "experiment: e\nvariants: {one: {}, two: {resources.workers: 2}}\n")
    one, two = cells_of(load_experiment(path))
    assert one.config == two.config
    assert one.signature != two.signature
    path = write(tmp_path, "experiment: e\nresources: {cpu: 4, gpu: 1, memory: 100}\n")
    assert cells_of(load_experiment(path))[0].signature == one.signature


def collection(folder: Path, seed: int) -> None:
    noise = np.random.default_rng(seed)
    for split in ("train", "val", "test"):
        audio = noise.integers(-99, 99, 50).astype(np.int16)
        write_split(folder, "c", split, [Clip(f"{split}-1", audio)])


def test_a_collection_enters_by_its_content_not_its_place(tmp_path: Path) -> None:
    collection(tmp_path / "a", 1)
    collection(tmp_path / "b", 1)
    collection(tmp_path / "c", 2)
    found = [
        signature(RunConfig(data=DataConfig(name="collection", folder=str(tmp_path / name))))
        for name in "abc"
    ]
    assert found[0] == found[1] != found[2]


def test_variants_whose_folders_have_the_same_content_are_the_same_run(tmp_path: Path) -> None:
    collection(tmp_path / "a", 1)
    collection(tmp_path / "b", 1)
    text = "experiment: e\nbase: {data.name: collection}\nvariants:\n"
    text += f"  A: {{data.folder: {tmp_path}/a}}\n  B: {{data.folder: {tmp_path}/b}}\n"
    with pytest.raises(InputError, match="variants 'A' and 'B' are the same run"):
        cells_of(load_experiment(write(tmp_path, text)))


def test_folders_of_sounds_and_models_enter_by_their_content_too(tmp_path: Path) -> None:
    (tmp_path / "a" / "meta").mkdir(parents=True)
    (tmp_path / "a" / "meta" / "esc50.csv").write_text("x,1")
    (tmp_path / "a" / "x.flac").write_bytes(b"sound")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    (tmp_path / "c" / "meta" / "esc50.csv").write_text("x,2")
    for key in ("data.events", "model.start"):
        found = [
            signature(parse_config(override({}, {key: str(tmp_path / name)}))) for name in "abc"
        ]
        assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"name": "collection", "folder": "/nowhere"}},
        {"data.events": "/nowhere"},
        {"model.start": "/nowhere"},
    ],
)
def test_a_missing_folder_is_told_before_anything_starts(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="/nowhere"):
        signature(parse_config(override({}, values)))


def test_the_signature_is_that_of_the_whole_dump() -> None:
    # An independent statement of what is hashed, for a run without folders.
    values = json.loads(RunConfig().model_dump_json())
    del values["checkpoint_steps"]
    # Keys that came later, at what was done before there were any.
    del values["metrics"], values["data"]["order"], values["data"]["augment"]
    del values["data"]["arrays"], values["compile"], values["on_oom"]
    del values["optimizer"]["lr_scale"]
    del values["model"]["audio"]["recompute"], values["model"]["text"]["recompute"]
    del values["model"]["audio"]["lora"], values["model"]["text"]["lora"]
    del values["loss"]["terms"], values["model"]["audio"]["head"], values["model"]["text"]["head"]
    text = json.dumps({"run": values, "workers": 1}, sort_keys=True, separators=(",", ":"))
    assert signature(RunConfig()) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_further_test_set_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    clip = Clip("a", np.ones(100, np.int16))
    for place, split in (("one", "test"), ("two", "test"), ("three", "evaluation")):
        write_split(tmp_path / place, "c", split, [clip])

    def signed(place: str, split: str = "test") -> str:
        data = {"name": "collection", "folder": str(tmp_path / place)}
        return signature(parse_config({"also": {"X": {"data": data, "split": split}}}))

    assert signed("one") == signed("two") != signature(RunConfig())
    assert signed("three", "evaluation") != signed("one")
    with pytest.raises(InputError, match=r"^also\.X\.split: .*three: no split 'test' \(it"):
        signed("three")
    with pytest.raises(InputError, match=r"^also\.X: .*four: not a prepared collection"):
        signed("four")
    assert signature(parse_config({"also": {"X": {"split": "shifted"}}})) != signature(RunConfig())


@pytest.mark.parametrize(("side", "name"), [("audio", "ced"), ("text", "sonar")])
def test_a_pretrained_encoder_counts_by_its_weights_not_by_its_place(
    tmp_path: Path, side: str, name: str
) -> None:
    def signature_of(folder: str, **more: object) -> str:
        encoder = {"name": name, "folder": str(tmp_path / folder), **more}
        return signature(parse_config({"model": {side: encoder}}))

    (tmp_path / "a").mkdir()
    for file in PRETRAINED[name]:
        (tmp_path / "a" / file).write_bytes(b"weights")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / ".cache").mkdir()
    (tmp_path / "b" / ".cache" / "downloaded.json").write_text("yesterday")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"Weights")
    assert (
        signature_of("a") == signature_of("b") == signature_of("a", width=16) != signature_of("c")
    )
    assert signature_of("a") != signature_of("a", freeze=True)
    with pytest.raises(InputError, match=rf"^model\.{side}\.folder: .*/d is not a folder$"):
        signature_of("d")
    for file in PRETRAINED[name]:
        (tmp_path / "b" / file).rename(tmp_path / "elsewhere")
        with pytest.raises(
            InputError, match=rf"^model\.{side}\.folder: .*/b has no {file}; {name} needs "
        ):
            signature_of("b")
        (tmp_path / "elsewhere").rename(tmp_path / "b" / file)
