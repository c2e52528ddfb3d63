"""Logging a finished cell's model, such that ``mlflow.pyfunc.load_model`` opens it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from supclap.errors import InputError
from supclap.run_files import ANEW
from supclap.storage import Folder
from supclap.stored import Damaged
from supclap_platform.mirror.stored_run import StoredRun

NO_MODEL = f"MLflow shows the run without it; {ANEW}"
CODE = Path(__file__).with_name("pyfunc_model.py")
REQUIREMENTS = ("mlflow", "pandas")  # besides supclap[train], with which all else comes


def shared(log: Callable[[], object]) -> None:
    """Logs what another driver of the experiment may be logging too.

    MLflow looks for the entry and then inserts it. Of two drivers one can lose that race, and
    finds the other's entry at its second look.
    """
    from mlflow.exceptions import MlflowException

    try:
        log()
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        log()


def model_name(text: str) -> str:
    """A name as MLflow allows it for a model: some signs are not."""
    return re.sub(r"""[/:.%"']""", "_", text)


def log_model(
    client: Any,
    experiment: str,
    run: StoredRun,
    folder: Folder,
    step: int,
    name: str,
    params: Mapping[str, str],
) -> str:
    """Logs the model folder as the output of a run; returns the model's id.

    Call it again where it was interrupted: a whole model of the run is taken, others are removed.

    Args:
        experiment: its id in MLflow.
        name: of the model; `model_name` makes it legal.
        params: what tells the model from others.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    ready = None
    if not run.new:  # nothing else has logged one there
        wanted = f"source_run_id = '{run.id}'"
        for model in client.search_logged_models([experiment], filter_string=wanted):
            if ready is None and model.status == LoggedModelStatus.READY:
                ready = model
            else:
                client.delete_logged_model(model.model_id)
    if ready is None:
        with tempfile.TemporaryDirectory(prefix="supclap-mlflow-") as scratch:
            place = Path(scratch, "logged")
            local = _local(folder, Path(scratch))
            from supclap.model.folder import check_model  # PyTorch: seconds, for each command

            try:
                needs_code = check_model(local)
            except InputError as error:
                raise Damaged(folder.uri, str(error), NO_MODEL) from None
            created = client.create_logged_model(
                experiment,
                name=model_name(name),
                source_run_id=run.id,
                params=dict(params),
                model_type="dual encoder",
            )
            save_flavor(local, place, run.id, created, needs_code)
            client.log_model_artifacts(created.model_id, str(place))
            client.finalize_logged_model(created.model_id, "READY")
            ready = created
    identity = str(ready.model_id)
    output = LoggedModelOutput(identity, step)

    def link() -> None:
        """The store refuses a link that it has, as of a process that was killed right after it."""
        known = None if run.new else client.get_run(run.id).outputs
        if identity not in {one.model_id for one in (known.model_outputs if known else ())}:
            client.log_outputs(run.id, [output])

    shared(link)
    return identity


def save_flavor(
    model: Path,
    place: Path,
    run_id: str | None = None,
    logged: Any = None,
    needs_code: bool = False,
) -> None:
    """Writes an MLflow model to ``place``: `pyfunc_model.py` beside the files of ``model``.

    One that needs code of the user's takes it when it is loaded: ``model_config={"code": FILE}``.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    described = Model(
        artifact_path=logged.artifact_location if logged else None,
        run_id=run_id,
        model_uuid=logged.model_id if logged else None,
        model_id=logged.model_id if logged else None,
    )
    mlflow.pyfunc.save_model(
        path=str(place),
        python_model=str(CODE),
        artifacts={"model": str(model)},
        pip_requirements=[
            f"supclap[train]=={version('supclap')}",
            *(f"{name}=={version(name)}" for name in REQUIREMENTS),
        ],
        signature=model_signature(),
        model_config={"code": ""} if needs_code else None,
        mlflow_model=described,
    )


def model_signature() -> Any:
    """What the model takes and gives; columns are optional, as a row fills one of two."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    def optional(kind: Any, name: str) -> Any:
        return ColSpec(kind, name, required=False)

    return ModelSignature(
        inputs=Schema([optional(DataType.string, "text"), optional(DataType.string, "audio")]),
        outputs=Schema(
            [
                optional(Array(DataType.double), "embedding"),
                optional(DataType.string, "query"),
                optional(DataType.long, "rank"),
                optional(DataType.string, "found"),
                optional(DataType.double, "score"),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("task", DataType.string, "embed"),
                ParamSpec("k", DataType.long, 5),
                ParamSpec("language", DataType.string, "eng"),
            ]
        ),
    )


def _local(folder: Folder, scratch: Path) -> Path:
    """The model folder on this machine: itself, or a copy of one that lies elsewhere."""
    if folder.local is not None:
        return folder.local
    copy = scratch / "model"
    folder.copy_to(copy)
    return copy
