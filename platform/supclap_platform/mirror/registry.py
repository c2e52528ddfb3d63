"""MLflow's model registry: a finished cell's logged model under a name that lasts."""

from __future__ import annotations

from collections.abc import Mapping

from supclap.errors import InputError
from supclap.storage import Folder
from supclap_platform.mirror.content import MODEL
from supclap_platform.mirror.logged_model import make_whole
from supclap_platform.mirror.store import Store

ALIAS = "winner"  # of the version that was registered last: "models:/NAME@winner"


def register(
    store: Store,
    experiment: str,
    signature: str,
    name: str,
    tags: Mapping[str, str],
    kept: Folder | None,
) -> str:
    """Registers the model of a cell; returns its version. Once registered, it is not again.

    A version outlives the storage: of a model that MLflow has by its address it gets a copy.

    Args:
        kept: where the storage has the model.
        tags: what the version says of itself.

    Raises:
        InputError: MLflow does not show the cell's model. Whatever MLflow raises where it is away.
    """
    client = store.connect()
    found = client.get_experiment_by_name(experiment)
    wanted = f"tags.signature = '{signature}'"
    runs = client.search_runs([found.experiment_id], wanted) if found is not None else []
    logged = [run for run in runs if MODEL in run.data.tags]
    if not logged:
        raise InputError(
            f"MLflow at {store.shown} shows no model of this run: bring it up to date with "
            "`supclap sync` first"
        )
    model = logged[0].data.tags[MODEL]
    entry = client.get_logged_model(model)
    make_whole(client, entry, kept)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    run = logged[0].info.run_id  # which has one model; not every store names that of a version
    version = next((one for one in versions if one.run_id == run), None)
    if version is None:
        # MLflow looks a "models:/" source up in this process's own default store, which it makes;
        # only a server finds it in the right one, and takes no other source.
        source = f"models:/{model}" if store.served else entry.artifact_location
        version = client.create_model_version(name, source, run, tags=dict(tags), model_id=model)
    client.set_registered_model_alias(name, ALIAS, version.version)
    return str(version.version)
