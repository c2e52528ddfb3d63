"""Checkpoints: the last good one is always readable, whatever happens to the writer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from supclap.checkpoint import Checkpoints, learned_state, restore
from supclap.errors import InputError
from supclap.storage import Folder


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Folder.at(tmp_path))
    assert checkpoints.load_latest() is None
    state = {"step": 3, "weights": torch.randn(4, 3), "sums": {"loss": 0.1}, "lines": ["a"]}
    checkpoints.save("3.pt", state)
    found = checkpoints.load_latest()
    assert found is not None
    assert torch.equal(found.pop("weights"), state.pop("weights"))
    assert found == state


def test_a_failed_write_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(Folder.at(tmp_path))
    checkpoints.save("1.pt", {"step": 1})
    write = Folder.write
    for failing in ("2.pt", "latest.json"):

        def full(self: Folder, name: str, content: bytes, failing: str = failing) -> None:
            if name == failing:
                raise OSError(28, "No space left on device")
            write(self, name, content)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "write", full)
            with pytest.raises(OSError, match="No space"):
                checkpoints.save("2.pt", {"step": 2})
        assert checkpoints.load_latest() == {"step": 1}


def test_only_the_latest_and_the_one_to_keep_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Folder.at(tmp_path))
    for step in range(5):
        checkpoints.save(f"{step}.pt", {"step": step}, keep="1.pt" if step > 0 else None)
    (tmp_path / "checkpoints" / "9.pt.123.part").write_bytes(b"half")
    checkpoints.save("5.pt", {"step": 5}, keep="1.pt")
    found = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert found == ["1.pt", "5.pt", "latest.json"]
    assert checkpoints.load("1.pt") == {"step": 1}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Folder.at(tmp_path))
    checkpoints.save("1.pt", {"weights": torch.zeros(100)})
    path = tmp_path / "checkpoints" / "1.pt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"checkpoints/1\.pt: damaged \(not a readable checkpoint"):
        checkpoints.load_latest()


def test_loading_runs_no_code_of_the_file(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    checkpoints = Checkpoints(Folder.at(tmp_path))
    checkpoints.save("1.pt", {"trap": Trap()})
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoints.load_latest()


def test_frozen_weights_are_not_kept_and_not_touched() -> None:
    def module() -> nn.Module:
        made = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        made[0].requires_grad_(False)
        made.register_buffer("scale", torch.randn(1))
        return made

    source, target = module(), module()
    frozen = target[0].weight.clone()  # type: ignore[index]
    restore(target, learned_state(source))
    assert torch.equal(target[0].weight, frozen)  # type: ignore[index]
    assert torch.equal(target[1].weight, source[1].weight)  # type: ignore[index]
    assert torch.equal(target.get_buffer("scale"), source.get_buffer("scale"))
    with pytest.raises(KeyError, match="another module"):
        restore(nn.Sequential(nn.Linear(2, 3)), learned_state(source))
