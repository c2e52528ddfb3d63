"""A run as a Ray job, on a head node of this machine that wants a token; and cluster.yaml."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray_head import Head, free_ports
from supclap_platform.ledger.leases import parse_lease
from supclap_platform.running.submit import Request, entrypoint, lay_out
from tiny_grid import SUPCLAP, attempts, environment, write_experiment
from waiting import until

ROOT = Path(__file__).parents[2]
IDEA = """
from supclap.parts import Schedule, register


@register("flat")
class Flat(Schedule):
    def share(self, step, steps_per_epoch, epochs):
        return 1.0
"""


def test_cluster_yaml_is_valid_by_rays_own_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["head_node_type"] in config["available_node_types"]
    assert any(kind["resources"].get("GPU") for kind in config["available_node_types"].values())
    wrong = {**config, "max_worker": 3}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(wrong))


@pytest.mark.heavy
def test_what_is_uploaded_is_code_and_runs_by_itself(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    (tmp_path / "up").mkdir()
    folder = lay_out(Request(path), tmp_path / "up")
    kinds = {file.suffix for file in folder.rglob("*") if file.is_file()}
    assert kinds <= {".py", ".yaml", ".json", ".html", ".css", ".js", ".typed"}
    for package in (ROOT / "supclap", ROOT / "platform" / "supclap_platform"):  # and all of it
        for path in package.rglob("*"):
            if path.is_file() and path.parent.name != "__pycache__":
                assert (folder / path.relative_to(package.parent)).is_file(), path
    assert sorted(p.name for p in folder.iterdir()) == [
        "experiment.yaml",
        "supclap",
        "supclap_platform",
    ]
    bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = "import platform, supclap, supclap_platform.cli; print(supclap.__file__); platform.node"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=bare, capture_output=True, text=True
    )
    assert found.stdout.strip() == str(folder / "supclap" / "__init__.py"), found.stderr


def test_the_entrypoint_is_quoted() -> None:
    request = Request(Path("e.yaml"), ["--set", "loss={name: siglip}; rm -rf /"])
    assert entrypoint(request).endswith("--set 'loss={name: siglip}; rm -rf /'")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    node = Head()
    try:
        node.wait()
        yield node
    finally:
        node.stop()


@pytest.mark.heavy
def test_a_job_runs_the_experiment_with_its_code_and_its_output_is_followed(
    head: Head, tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, seeds=1)
    text = path.read_text(encoding="utf-8")
    text = text.replace("InfoNCE: {}", "InfoNCE: {optimizer.schedule: flat}")
    path.write_text(f"code: [ideas/my_idea.py]\n{text}", encoding="utf-8")
    (tmp_path / "ideas").mkdir()
    (tmp_path / "ideas" / "my_idea.py").write_text(IDEA, encoding="utf-8")
    code, output = head.supclap(
        "submit", path, "--address", head.url, "--storage", tmp_path / "storage"
    )
    assert code == 0, output
    table = (tmp_path / "storage" / "experiments" / "tiny" / "table.txt").read_text()
    assert table.strip() in output
    assert sorted(attempts(tmp_path / "storage").values()) == [1, 1]
    (kept,) = (tmp_path / "storage" / "code").iterdir()
    assert (kept / "ideas" / "my_idea.py").read_text(encoding="utf-8") == IDEA
    assert "INFO" not in output  # of Ray's client: not of the run
    (job,) = re.findall(r"^job (tiny-[0-9a-f]{6}) at ", output, flags=re.MULTILINE)
    code, listed = head.supclap("jobs", "--address", head.url)
    (line,) = [line for line in listed.splitlines() if line.startswith(job)]
    assert line.split()[1] == "succeeded"
    code, said = head.supclap("logs", job[:-2], "--address", head.url)
    assert code == 0
    assert table.strip() in said


def held(storage: Path) -> list[Path]:
    """The leases of cells whose holders have not ended."""
    leases = ((path, parse_lease(path.name)) for path in storage.glob("cells/*/lease*"))
    return [path for path, lease in leases if lease is not None and not lease.gone()]


@pytest.mark.heavy
def test_a_job_is_cancelled_as_a_run_is_stopped(head: Head, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, seeds=1)
    storage = ("--storage", tmp_path / "storage")
    to = ("--address", head.url)
    long = ("--set", "epochs=500")
    code, output = head.supclap("submit", path, *to, *storage, *long, "--no-wait")
    assert code == 0, output
    (job,) = re.findall(r"^job (tiny-\S+) at ", output, flags=re.MULTILINE)
    until(lambda: any((tmp_path / "storage").glob("cells/*/*/events.jsonl")))
    code, output = head.supclap("cancel", job, *to)
    assert (code, output) == (
        0,
        f"job {job}: stopped; the same `supclap submit` goes on from the checkpoints\n",
    )
    # A second run could take its cells at once: no lease is left whose process is there.
    until(lambda: not held(tmp_path / "storage"))
    code, output = head.supclap("logs", job, "--follow", *to)
    assert code == 1, output


@pytest.mark.heavy
def test_the_exit_code_of_the_run_is_that_of_submit(head: Head, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, seeds=1)
    code, output = head.supclap("submit", path, "--address", head.url)  # of no setting of its own
    assert code == 2, output
    assert "supclap-results: a job's own folder, which is cleared away" in output
    assert "Traceback" not in output


@pytest.mark.heavy
def test_without_the_token_nothing_is_started(head: Head, tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    (tmp_path / "token").write_text(secrets.token_hex(32))
    wrong = str(tmp_path / "token")
    code, output = head.supclap("submit", path, "--address", head.url, RAY_AUTH_TOKEN_PATH=wrong)
    assert code == 2, output
    assert "the cluster wants its own token" in output
    assert "Traceback" not in output


@pytest.mark.heavy
def test_a_run_attaches_to_a_cluster_that_is_there(head: Head, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, seeds=1)
    address = f"127.0.0.1:{head.port}"
    code, output = head.supclap("run", path, "--address", address, "--storage", tmp_path / "s")
    assert code == 0, output
    assert sorted(attempts(tmp_path / "s").values()) == [1, 1]
    assert head.process.poll() is None  # whoever only attached must not stop the cluster


@pytest.mark.heavy
def test_an_address_where_nothing_answers_is_told_in_one_line(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    found = subprocess.run(
        [*SUPCLAP, "submit", str(path), "--address", f"http://127.0.0.1:{free_ports(1)[0]}"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("supclap: --address http://127.0.0.1:")
    assert "Traceback" not in found.stderr
