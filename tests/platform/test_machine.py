"""What a file asks of this machine and can never get is one line before Ray is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.schema import Resources
from supclap_platform.running import cluster, machine
from supclap_platform.running.machine import cores, impossible, misfit, seats

FILE = """\
experiment: small
base: {data: {name: soundscenes, clips: 200}, epochs: 3}
variants:
  A: {}
  B: {epochs: 4, resources: {max_failures: 1}}
seeds: 1
"""
SEARCH = """\
search:
  space: {optimizer.lr: {log_uniform: [1e-4, 1e-2]}}
  objective: val.t2a.R@1
  trials: 2
"""
HAVE = {"CPU": 4.0, "GPU": 2.0, "memory": 8000.0 * 2**20}


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    return cells_of(load_experiment(path))[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpu": 4}, None),
        ({"cpu": 64}, "A, seed 0: its resources ask for 64 CPU, this machine has 4"),
        ({"workers": 8}, "ask for 8 CPU, this machine has 4"),
        ({"workers": 8, "min_workers": 4}, None),
        ({"workers": 8, "min_workers": 5}, "ask for 5 CPU"),
        ({"gpu": 2}, None),
        ({"gpu": 3}, "ask for 3 GPU, this machine has 2"),
        ({"gpu": 1, "workers": 3}, "ask for 3 GPU"),
        ({"gpu": 0.6, "workers": 2}, None),
        ({"gpu": 0.6, "workers": 3}, "ask for 3 GPU"),  # 1.8 in all, but no two share a device
        ({"memory": 4000, "workers": 2}, None),
        ({"memory": 9000}, "ask for 9000 MB of memory, this machine has 8000"),
    ],
)
def test_what_fits(cell: Cell, asked: dict[str, float], words: str | None) -> None:
    found = misfit([replace(cell, resources=Resources.model_validate(asked))], HAVE)
    assert found is None if words is None else found is not None and words in found


CLUSTER = (
    {"CPU": 8.0, "memory": 8000.0 * 2**20},  # a head
    {"CPU": 4.0, "GPU": 2.0, "memory": 4000.0 * 2**20},
    {"CPU": 4.0, "GPU": 1.0, "memory": 4000.0 * 2**20},
)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpu": 8}, None),
        ({"cpu": 9}, "ask for 9 CPU on one node, and no node of the cluster has that (at most 8 C"),
        ({"cpu": 4, "workers": 4}, None),  # 2 + 1 + 1
        ({"cpu": 4, "workers": 5}, "its 5 workers ask for 4 CPU each, and the cluster's nodes have "
                                   "room for 4;"),
        ({"cpu": 5, "workers": 2}, "room for 1;"),  # 16 cores in all, but 3 + 4 + 4 lie apart
        ({"cpu": 5, "workers": 2, "min_workers": 1}, None),
        ({"gpu": 1, "workers": 3}, None),
        ({"gpu": 3}, "ask for 1 CPU, 3 GPU on one node, and no node of the cluster has that (at "
                     "most 8 CPU, 2 GPU)"),
        ({"gpu": 0.5}, None),
        ({"gpu": 0.6, "workers": 4}, "room for 3;"),  # no two share a device
        ({"gpu": 1, "cpu": 5}, "no node of the cluster has that"),  # cores and devices lie apart
        ({"memory": 3000, "workers": 4}, None),
        ({"memory": 3000, "workers": 5}, "room for 4;"),
    ],
)  # fmt: skip
def test_what_the_nodes_of_a_cluster_can_ever_run(
    cell: Cell, asked: dict[str, float], words: str | None
) -> None:
    found = impossible([replace(cell, resources=Resources.model_validate(asked))], CLUSTER)
    assert found is None if words is None else found is not None and words in found


def test_what_a_cell_waits_for_in_words() -> None:
    asked = {"gpu": 1, "workers": 4, "min_workers": 2, "memory": 500}
    assert seats(Resources.model_validate(asked)) == "2 x (1 CPU, 1 GPU, 500 MB of memory)"
    assert seats(Resources(workers=3)) == "3 x 1 CPU"
    assert seats(Resources(gpu=1)) == "1 CPU, 1 GPU"


def said(*arguments: str | Path) -> tuple[Result, list[str]]:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    return done, [line for line in done.output.splitlines() if not line.endswith(" s)")]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("place", "asked", "words"),
    [
        ("row", "cpu: 64", "B, seed 0: its resources ask for 64 CPU, this machine has 2 for a run"),
        ("row", "gpu: 1", "B, seed 0: its resources ask for 1 GPU, this machine has 0 for a run"),
        ("search", "workers: 8", "trial 0, seed 1000: its resources ask for 8 CPU"),
    ],
)
def test_it_is_refused_before_ray_and_a_study_and_remarked_by_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, asked: str, words: str
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(cluster, "_start", lambda *_, **__: pytest.fail("Ray is started"))
    path, storage = tmp_path / "e.yaml", tmp_path / "storage"
    text = FILE.replace("max_failures: 1", asked)
    if place == "search":  # its trials alone
        name = asked.partition(":")[0]
        little = FILE.replace("{}", f"{{resources: {{{name}: {int(name != 'gpu')}}}}}")
        little = little.replace("max_failures: 1", f"{name}: {int(name != 'gpu')}")
        text = f"{little}resources: {{{asked}}}\n{SEARCH}"
    path.write_text(text)
    done, lines = said("run", path, "--storage", storage)
    assert done.exit_code == 2, done.output
    (line,) = lines
    assert line.startswith("supclap: ")
    assert words in line
    assert line.endswith("lower 'resources' or attach to a cluster with --address")
    assert not list(storage.rglob("study.db"))
    if place == "row":
        done, lines = said("plan", path, "--storage", storage, "--no-timing")
        assert done.exit_code == 0
        assert next(one for one in lines if words in one).startswith("not on this machine: B")
    # Of a cluster nobody here knows what it has; and nothing answers at this address.
    done, lines = said("run", path, "--storage", storage, "--address", "127.0.0.1:1")
    assert "nothing answers there" in lines[-1]


def test_fewer_cores_may_be_given_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_start", lambda *_, **__: pytest.fail("Ray is started"))
    path = tmp_path / "e.yaml"
    path.write_text(FILE.replace("max_failures: 1", "cpu: 2"))
    done, lines = said("run", path, "--storage", tmp_path / "storage", "--cpus", "1")
    assert done.exit_code == 2
    assert "ask for 2 CPU, this machine has 1 for a run" in lines[-1]
    assert cores() >= 1


@pytest.mark.parametrize(("gpu", "right"), [(0.5, True), (2, True), (1.5, False)])
def test_a_share_is_of_one_device(gpu: float, right: bool) -> None:
    if right:
        assert Resources(gpu=gpu).gpu == gpu
    else:
        with pytest.raises(ValueError, match="a share of one device, or a whole number of them"):
            Resources(gpu=gpu)


def test_two_workers_are_never_given_one_device() -> None:
    """NCCL refuses it: `Duplicate GPU detected`. Two shares beyond a half do not fit on one."""
    with pytest.raises(ValueError, match=r"2 workers with 0\.5 of a device each may be given the"):
        Resources(workers=2, gpu=0.5)
    assert Resources(workers=2, gpu=0.6).gpu == 0.6
