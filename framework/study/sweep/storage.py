"""Where the trials of a sweep are kept: a database, or a journal in a file."""

from __future__ import annotations

import time
from pathlib import Path

from framework.errors import UserError

try:
    import optuna
    from optuna.storages import BaseStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
except ImportError as error:
    raise UserError(f"a sweep needs Optuna: pip install 'framework[sweep]' ({error})") from error

JOURNAL = "journal:"


def without_password(storage: str) -> str:
    """A storage as it may be written down."""
    if storage.startswith(JOURNAL) or "://" not in storage:
        return storage
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return storage.partition("://")[0] + "://…"


def open_storage(storage: str) -> BaseStorage:
    """The storage of that name, made if it is not there.

    Args:
        storage: an URL of SQLAlchemy, or `journal:PATH`.

    Raises:
        SQLAlchemyError: the database cannot be reached or used.
        OSError: the file cannot be written.
    """
    if storage.startswith(JOURNAL):
        path = Path(storage.removeprefix(JOURNAL))
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    # The driver that is an extra of this package; another one is named in the URL.
    url = storage.replace("postgresql://", "postgresql+psycopg://", 1)
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    for _ in range(4):
        try:
            return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=waits))
        except SQLAlchemyError as error:
            # Two processes that make the same tables at once: one of them finds them made.
            if "already exists" not in str(error) and "UNIQUE" not in str(error).upper():
                raise
            time.sleep(0.5)
    return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=waits))


def close_storage(storage: BaseStorage) -> None:
    """Let the connections of a database go."""
    if isinstance(backend := getattr(storage, "_backend", storage), RDBStorage):
        backend.engine.dispose()
