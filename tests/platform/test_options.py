"""The options that commands share mean the same in each."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from supclap_platform.cli import GROUPS, main


def options(name: str) -> dict[str, click.Parameter]:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return {param.name or "": param for param in command.params}


ON_RESULTS = {name for title in ("Experiments", "Results", "Cluster") for name in GROUPS[title]}


ON_A_JOB_SERVER = {"submit", "jobs", "logs", "cancel"}  # which knows of jobs, not of results


@pytest.mark.parametrize("name", sorted(ON_RESULTS - ON_A_JOB_SERVER))
def test_every_command_on_results_finds_them_alike(name: str) -> None:
    storage = options(name)["storage"]
    assert isinstance(storage, click.Option)
    assert (storage.envvar, storage.default) == ("SUPCLAP_STORAGE", "supclap-results")
    assert "s3://" in str(storage.help)


def test_every_command_on_a_job_server_finds_it_alike() -> None:
    for name in ON_A_JOB_SERVER:
        address = options(name)["address"]
        assert address.required
        assert address.envvar == "RAY_API_SERVER_ADDRESS"


def test_a_jobs_storage_is_the_clusters_own_and_never_this_machines_setting() -> None:
    storage = options("submit")["storage"]
    assert storage.envvar is None
    assert storage.default != "supclap-results"


@pytest.mark.parametrize("name", ["run", "plan", "status", "stop", "table", "figures", "report"])
def test_a_command_on_a_file_reads_profile_and_changes(name: str, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("experiment: e\nvariants: {A: {}}\n", encoding="utf-8")
    storage = ["--storage", str(tmp_path / "s")]
    for more, message in (
        (["--profile", "papr"], "no profile 'papr'"),
        (["--set", "epochs=none"], "--set epochs"),
    ):
        result = CliRunner().invoke(main, [name, str(tmp_path / "e.yaml"), *storage, *more])
        assert (result.exit_code, message in result.output) == (2, True), result.output
    assert not (tmp_path / "s").exists()
