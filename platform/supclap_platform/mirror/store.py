"""The MLflow store that shows the ledger: which one, and how it is opened without chatter.

By default an SQLite file inside the storage folder, its artifacts beside it. An empty one is made
once for each version of MLflow and kept in the cache: every new store is a copy of it. It gets its
name when it is whole, so that a killed process leaves no half-made store.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import secrets
import shutil
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from supclap.data.cache import build_once, cache_folder
from supclap.errors import InputError
from supclap.secrets import without_password
from supclap.storage import Folder

_TO_QUOTE = re.compile(r"[%?{}\x00-\x1f\x7f]")
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///")
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# database -> driver by SQLAlchemy's name: the module, and what to install. The first is taken.
_DRIVERS = {
    "postgresql": {
        "psycopg2": ("psycopg2", "psycopg2-binary"),
        "psycopg": ("psycopg", "psycopg[binary]"),
    },
    "mysql": {"pymysql": ("pymysql", "pymysql"), "mysqldb": ("MySQLdb", "mysqlclient")},
}
DATABRICKS = "databricks"  # a whole URI of MLflow's: the workspace that the machine is set up for
_SERVERS = ("http", "https", DATABRICKS)

# MLflow reads these at its import or at each request; what the user has set stays.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # A dead server is given up soon: the mirror tries again itself, and all it sends may be sent
    # twice. A retry inside MLflow could create a run twice.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}


@dataclass(frozen=True)
class Store:
    """An MLflow store. ``artifacts``: where new experiments keep theirs; None: it knows itself."""

    uri: str
    artifacts: str | None = None

    @property
    def shown(self) -> str:
        """The URI as people may see it."""
        return without_password(self.uri)

    @property
    def served(self) -> bool:
        """Whether it is a server, whose users may be on any machine."""
        return urlsplit(self.uri).scheme.partition("+")[0] not in _DATABASES

    def connect(self) -> Any:
        """An MlflowClient; creates or upgrades an SQLite store first.

        Raises whatever MLflow raises where the store cannot be used.
        """
        quiet()
        from mlflow import MlflowClient

        path = sqlite_path(self.uri)
        if path is not None:
            _prepare_database(path)
        return MlflowClient(self.uri)


def choose_store(uri: str | None, storage: Folder) -> Store | None:
    """The store to use: ``uri``, else $MLFLOW_TRACKING_URI, else SQLite in a local storage folder.

    None where nothing is named and the storage is not on this machine.

    Raises:
        InputError: a URI that MLflow cannot use.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        local = storage.local
        return None if local is None else default_store(local)
    if check_uri(uri) not in _DATABASES:
        return Store(uri)
    path = sqlite_path(uri)
    # MLflow's own default is relative to wherever a process happens to stand.
    if path is not None:
        return Store(uri, (path.absolute().parent / ARTIFACTS).as_uri())
    return Store(_with_driver(uri), _artifacts_below(storage))


def check_uri(uri: str) -> str:
    """The kind of a store's URI, its scheme. Raises InputError: MLflow cannot use it."""
    kind = urlsplit(uri).scheme.partition("+")[0]
    if uri != DATABRICKS and kind not in (*_SERVERS, *_DATABASES):
        raise InputError(
            f"tracking URI '{without_password(uri)}': expected http(s)://HOST:PORT of an MLflow "
            "server, or a database such as sqlite:///mlflow.db; MLflow no longer writes to plain "
            "folders"
        )
    return kind


def _with_driver(uri: str) -> str:
    """The URI of a database with a driver that is installed: without one, SQLAlchemy takes its
    own default, which may not be, and differs between its versions. Raises InputError."""
    database, _, named = uri.partition("://")[0].partition("+")
    known = _DRIVERS.get(database, {})
    for driver, (module, _) in known.items():
        if named in ("", driver) and _can_import(module):
            return f"{database}+{driver}{uri[uri.index('://') :]}"
    if not known or (named and named not in known):
        return uri  # of a driver that is not known here, SQLAlchemy says what it lacks
    package = known[named or next(iter(known))][1]
    raise InputError(
        f"tracking URI '{without_password(uri)}': no driver for it is installed here: "
        f"pip install '{package}'"
    )


def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:  # also of one that lacks its database's own library
        return False
    return True


def _artifacts_below(storage: Folder) -> str:
    """Where a database's new experiments keep their artifacts: below the storage, which whoever
    reads the results can read."""
    if storage.local is not None:
        return (storage.local.absolute() / ARTIFACTS).as_uri()
    # As MLflow's own clients of object stores take it: without our options and credentials.
    return f"{urlsplit(storage.place).scheme}://{storage.base.strip('/')}/{ARTIFACTS}"


def default_store(folder: Path) -> Store:
    """The SQLite store of a local storage folder."""
    path = folder.absolute()
    return Store(sqlite_uri(path / DATABASE), (path / ARTIFACTS).as_uri())


def sqlite_uri(path: Path) -> str:
    """The URI under which SQLAlchemy, Optuna and MLflow find an SQLite file of any name."""
    text = str(path)
    # SQLAlchemy decodes what stands before a "?", and Optuna fills in what stands in braces.
    if not _TO_QUOTE.search(text):
        return f"sqlite:///{text}"
    # With its driver named: of a plain ``sqlite:///`` MLflow makes the folder without decoding it.
    return f"sqlite+pysqlite:///{quote(text)}"


def sqlite_path(uri: str) -> Path | None:
    """The file of an URI of SQLite, or None."""
    found = _SQLITE.match(uri)
    return None if found is None else Path(unquote(uri[found.end() :].partition("?")[0]))


def preload() -> None:
    """Begins to import MLflow, in a thread: a driver calls it where it is about to wait."""

    def load() -> None:
        import mlflow.store.db.utils  # noqa: F401

    quiet()
    threading.Thread(target=load, name="mlflow import", daemon=True).start()


def quiet() -> None:
    """Keeps MLflow's, alembic's and urllib3's own words off the terminal. Call it before import."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # What a database refuses is reported by whoever asked for it, in one line and no traceback.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    warnings.filterwarnings("ignore", message=r"(?s).*Add type hints to the `predict` method")


def _prepare_database(path: Path) -> None:
    """Creates a new store under another name and renames it; upgrades one of an older MLflow."""
    import sqlalchemy
    from mlflow.store.db import utils

    if path.exists():
        engine = sqlalchemy.create_engine(sqlite_uri(path))
        try:
            if utils._get_schema_version(engine) != utils._get_latest_schema_revision():
                utils._safe_initialize_tables(engine)
                utils._upgrade_db(engine)
        finally:
            engine.dispose()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        shutil.copyfile(_empty_store() / DATABASE, scratch)
        os.link(scratch, path)  # never over a store that another process made meanwhile
    except FileExistsError:
        pass
    finally:
        for left in path.parent.glob(f"{scratch.name}*"):
            left.unlink(missing_ok=True)


def _empty_store() -> Path:
    """The folder of a store without content, for this version of MLflow: its dozens of migrations
    take 2 s of processor time, which the cells of each new storage would have to wait for."""
    import sqlalchemy
    from mlflow.store.db import utils
    from mlflow.version import VERSION

    def build(scratch: Path) -> None:
        engine = sqlalchemy.create_engine(sqlite_uri(scratch / DATABASE))
        try:
            utils._initialize_tables(engine)
        finally:
            engine.dispose()

    return build_once(cache_folder() / f"mlflow-{VERSION}", build)
