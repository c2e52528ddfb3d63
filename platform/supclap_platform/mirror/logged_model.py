"""Logging a finished cell's model, such that ``mlflow.pyfunc.load_model`` opens it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from supclap.errors import InputError
from supclap.scratch import scratch_folder
from supclap.storage import Folder
from supclap.stored import Damaged
from supclap_platform.mirror.content import NO_MODEL, KeptModel
from supclap_platform.mirror.stored_run import StoredRun

CODE = Path(__file__).with_name("pyfunc_model.py")
MODEL_TYPE = "dual encoder"
WEIGHTS = "weights"  # tag of a logged model whose files MLflow has no copy of: where they lie
_DESCRIPTION, _FLAVOR = "MLmodel", "python_function"
_OPTIONS = ("region", "scheme", "endpoint_override")  # of a URI, such as hold no secret
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
    model: KeptModel,
    step: int,
    name: str,
    params: Mapping[str, str],
    link: bool,
) -> str:
    """Logs a model as the output of a run; returns the model's id.

    Call it again where it was interrupted: a whole model of the run is taken, others are removed.

    Args:
        client: one of `gathered`.
        experiment: its id in MLflow.
        name: of the model; `model_name` makes it legal.
        params: what tells the model from others.
        link: MLflow gets the model's description alone, which leads to its folder; else a copy.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    ready = None
    if not run.new:  # nothing else has logged one there
        wanted = f"source_run_id = '{run.id}'"
        for found in client.search_logged_models([experiment], filter_string=wanted):
            if ready is None and found.status == LoggedModelStatus.READY:
                ready = found
            else:
                client.delete_logged_model(found.model_id)
    if ready is None:
        ready = (_link if link else _copy)(client, experiment, run, model, name, params)
    identity = str(ready.model_id)
    output = LoggedModelOutput(identity, step)

    def connect() -> None:
        """The store refuses a link that it has, as of a process that was killed right after it."""
        known = None if run.new else client.get_run(run.id).outputs
        if identity not in {one.model_id for one in (known.model_outputs if known else ())}:
            client.log_outputs(run.id, [output])

    shared(connect)
    return identity


def _link(
    client: Any,
    experiment: str,
    run: StoredRun,
    model: KeptModel,
    name: str,
    params: Mapping[str, str],
) -> Any:
    place = address(model.folder)
    created = _create(client, experiment, run, name, params, {WEIGHTS: place})
    client.put_model_files(created, linked_files(run.id, created, place, model.needs_code))
    client.finalize_logged_model(created.model_id, "READY")
    return created


def _copy(
    client: Any,
    experiment: str,
    run: StoredRun,
    model: KeptModel,
    name: str,
    params: Mapping[str, str],
) -> Any:
    with scratch_folder("mlflow") as scratch:
        local = _local(model.folder, scratch)
        needs_code = _checked(local)  # before there is an entry, which would stay without files
        created = _create(client, experiment, run, name, params)
        copy_into(client, created, local, run.id, needs_code)
        client.finalize_logged_model(created.model_id, "READY")
        return created


def _create(
    client: Any,
    experiment: str,
    run: StoredRun,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> Any:
    return client.create_logged_model(
        experiment,
        name=model_name(name),
        source_run_id=run.id,
        tags=tags,
        params=dict(params),
        model_type=MODEL_TYPE,
    )


def drop_linked(client: Any, experiment: str, run: StoredRun) -> None:
    """Deletes what is logged of a run's model by its address, where another lies by now, or none.
    A copy is still what it was, and may be registered: it stays."""
    for found in client.search_logged_models(
        [experiment], filter_string=f"source_run_id = '{run.id}'"
    ):
        if WEIGHTS in found.tags:
            client.delete_logged_model(found.model_id)


def make_whole(client: Any, logged: Any, folder: Folder | None) -> None:
    """Copies the files of a model that is logged by its address, as what is registered lasts.

    Raises:
        InputError: the run is kept without its model by now.
    """
    if WEIGHTS not in logged.tags:
        return
    if folder is None:
        raise InputError(f"{logged.tags[WEIGHTS]}: the run is kept without its model by now")
    with scratch_folder("mlflow") as scratch:
        local = _local(folder, scratch)
        copy_into(client, logged, local, logged.source_run_id, _checked(local))
    client.delete_logged_model_tag(logged.model_id, WEIGHTS)


def _checked(model: Path) -> bool:
    """Whether a model needs code of the user's. Raises Damaged where its files are not those that
    were saved."""
    from supclap.model.folder import check_model  # PyTorch: seconds, for each command

    try:
        return check_model(model)
    except InputError as error:
        raise Damaged(str(model), str(error), NO_MODEL) from None


def copy_into(client: Any, logged: Any, model: Path, run: str, needs_code: bool) -> None:
    """Makes the files of a model, and what describes them, those of a logged one.

    Args:
        needs_code: as `_checked` says of the same files.
    """
    with scratch_folder("mlflow") as scratch:
        place = scratch / "logged"
        save_flavor(model, place, run, logged, needs_code)
        client.log_model_artifacts(logged.model_id, str(place))


def address(folder: Folder) -> str:
    """Where a model lies, for whoever opens it: of a URI without credentials, which that person
    has of their own."""
    if folder.local is not None:
        return str(folder.local.absolute())
    place = urlsplit(folder.place)
    options = [(key, value) for key, value in parse_qsl(place.query) if key in _OPTIONS]
    query = f"?{urlencode(options)}" if options else ""
    return f"{place.scheme}://{folder.base.strip('/')}{query}"


def linked_files(run: str, logged: Any, place: str, needs_code: bool) -> dict[str, bytes]:
    """What MLflow keeps of a model that lies elsewhere: its description, by file name."""
    import yaml

    files, described = _linked_template()
    flavors = described["flavors"]
    config = {"folder": place, **({"code": ""} if needs_code else {})}
    own = {**flavors[_FLAVOR], "config": config}
    values = {
        **described,
        "run_id": run,
        "model_id": logged.model_id,
        "model_uuid": logged.model_id,
        "artifact_path": logged.artifact_location,
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
        "flavors": {**flavors, _FLAVOR: own},
    }
    return {**files, _DESCRIPTION: yaml.safe_dump(values, allow_unicode=True).encode()}


@cache
def _linked_template() -> tuple[dict[str, bytes], dict[str, Any]]:
    """What MLflow writes of one such model, which takes it 0.1 s; that of others differs in ids."""
    import yaml

    with scratch_folder("mlflow") as scratch:
        place = scratch / "logged"
        save_flavor(None, place)
        found = {path.name: path.read_bytes() for path in place.iterdir()}
    return found, yaml.safe_load(found.pop(_DESCRIPTION))


def save_flavor(
    model: Path | None,
    place: Path,
    run_id: str | None = None,
    logged: Any = None,
    needs_code: bool = False,
) -> None:
    """Writes an MLflow model to ``place``: `pyfunc_model.py` beside the files of ``model``, or
    (None) of one that lies elsewhere.

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
        artifacts=None if model is None else {"model": str(model)},
        pip_requirements=[
            f"supclap[train]=={version('supclap')}",
            *(f"{name}=={version(name)}" for name in REQUIREMENTS),
        ],
        signature=model_signature(),
        model_config={"folder": ""} if model is None else {"code": ""} if needs_code else None,
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
