"""The whole content of an MLflow store as plain values, without what differs by nature: ids, and
marks, which hold the times of files."""

import hashlib
from pathlib import Path
from typing import Any

from mlflow import MlflowClient


def histories_of(client: MlflowClient, run: Any) -> dict[str, list[tuple[int, float, int]]]:
    """name -> (step, value, milliseconds) of each point that a run shows."""
    found = {}
    for name in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, name)
        found[name] = sorted((p.step, p.value, p.timestamp) for p in points)
    return found


def content_of(uri: str, folder: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(experiment, runs above, run name) -> all that a store shows; no two runs share these names.

    Args:
        folder: an empty one, to download artifacts into.
    """
    client = MlflowClient(uri)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for experiment in client.search_experiments():
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        names = {run.info.run_id: run.info.run_name for run in runs}
        above = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
        for run in runs:
            parent, at = "", above[run.info.run_id]
            while at is not None:
                parent, at = f"{names[at]} / {parent}", above[at]
            key = (experiment.name, parent, run.info.run_name)
            assert key not in found, f"two runs show {key}"
            found[key] = _content(client, run, names, folder / run.info.run_id)
    return found


def _content(client: MlflowClient, run: Any, names: dict[str, str], folder: Path) -> dict[str, Any]:
    tags = dict(run.data.tags)
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
    tags.pop("supclap.shown", None)
    model = tags.pop("model", None)
    outputs = run.outputs.model_outputs if run.outputs else []
    assert [output.model_id for output in outputs] == ([model] if model else [])
    return {
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": tags,
        "histories": repr(sorted(histories_of(client, run).items())),  # NaN equals NaN in text
        "inputs": [
            (i.dataset.name, i.dataset.digest, i.dataset.source, i.dataset.profile)
            for i in run.inputs.dataset_inputs
        ],
        "artifacts": _files(client, run.info.run_id, folder),
        "models": [output.step for output in outputs],
    }


def _files(client: MlflowClient, run_id: str, folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True)
    client.download_artifacts(run_id, "", str(folder))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
