"""Where the studies of a search stand, and the locks of its workers: a journal file, or PostgreSQL.

Both offer the same: Optuna's storage, one lock for all workers, and a sign of life of each, which ends
with its process however it dies. In a journal these are flocks on files beside it, in a database
advisory locks of its sessions.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage

from blendmake.errors import BlendmakeError
from blendmake.files import write_text
from blendmake.searches.journal import Journal

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

log = logging.getLogger(__name__)
URL = "BLENDMAKE_OPTUNA_URL"
OUTAGE = 120.0
"""Seconds that a database may be away before a worker gives up; what it has done stays."""
LINK: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""When a server that does not answer is taken for lost."""
PLACE = "place.json"
JOURNAL, DATABASE = "journal", "database"

T = TypeVar("T")


class StorageAway(BlendmakeError):
    """The database stays away, or refuses."""


class Place(ABC):
    """The storage of a search's studies, with the locks of its workers."""

    grace = 0.0
    """Seconds for which a worker must give no sign of life to be taken for dead."""
    storage: BaseStorage
    given_up: StorageAway | None = None
    """What was said when the storage had stayed away for too long: it is not waited for again."""

    @abstractmethod
    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock that all workers share."""

    @abstractmethod
    def live(self, worker: str) -> contextlib.AbstractContextManager[None]:
        """Give a sign of life as a worker, for as long as this process lives."""

    @abstractmethod
    def is_alive(self, worker: str) -> bool:
        """Whether a worker gives a sign of life."""

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something with the storage, waiting for one that is away.

        Raises:
            BlendmakeError: it stays away.
        """
        return work()

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do something with the storage under the lock that all workers share.

        Where the server of the lock goes away, so does the lock: then all of it is done once more.

        Raises:
            BlendmakeError: the storage stays away.
        """

        def once() -> T:
            with self._locked():
                return work()

        return self.patiently(once)

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held open."""


class JournalPlace(Place):
    """A journal file in a folder that all workers share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = JournalStorage(Journal(folder / "journal.log"))

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return _held(self._folder / "lock")

    @contextlib.contextmanager
    def live(self, worker: str) -> Iterator[None]:
        path = self._sign(worker)
        path.parent.mkdir(exist_ok=True)
        with _held(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def is_alive(self, worker: str) -> bool:
        try:
            handle = os.open(self._sign(worker), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        self._sign(worker).unlink(missing_ok=True)  # left behind by a kill
        return False

    def close(self) -> None:
        """Nothing is held open."""

    def _sign(self, worker: str) -> Path:
        return self._folder / "workers" / worker


class DatabasePlace(Place):
    """A PostgreSQL database.

    Args:
        url: with its password; it goes into no message.
        name: of the search, for the lock that its workers share.
    """

    grace = 15.0

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = _checked(url), name
        self._lock_session: Any = None
        self._database: RDBStorage = self.patiently(self._open)
        self.storage = self._database

    def _open(self) -> RDBStorage:
        from optuna.storages import RDBStorage

        # Two that make the tables at once would fail.
        with self._session() as session:
            _lock(session, "blendmake tables")
            return RDBStorage(
                _for_optuna(self._url),
                engine_kwargs={
                    "pool_pre_ping": True,
                    "hide_parameters": True,
                    "connect_args": LINK,
                },
            )

    def _session(self) -> Any:
        import psycopg

        session = psycopg.connect(self._url, autocommit=True, **LINK)
        # A node that is gone must be found out by the server, or its locks would stay for hours.
        for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
            session.execute(f"SET tcp_keepalives_{setting} = {seconds}")
        return session

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock_session is None or self._lock_session.closed:
            self._lock_session = self._session()
        session = self._lock_session
        try:
            _lock(session, self._name)
            yield
            # Of a session that was lost on the way, and its lock with it, this tells.
            session.execute("SELECT pg_advisory_unlock(%s)", (_key(self._name),))
        except BaseException:
            session.close()
            raise

    @contextlib.contextmanager
    def live(self, worker: str) -> Iterator[None]:
        stopped = threading.Event()
        sign = self.patiently(lambda: self._sign(worker))
        thread = threading.Thread(
            target=self._stay_alive, args=(worker, sign, stopped), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(self.grace)  # the sign ends with the process at the latest

    def _sign(self, worker: str) -> Any:
        session = self._session()
        _lock(session, worker)
        return session

    def _stay_alive(self, worker: str, sign: Any, stopped: threading.Event) -> None:
        """Hold a sign of life, and take it up again after the server was away."""
        while not stopped.wait(self.grace / 3):
            try:
                sign.execute("SELECT 1")
            except Exception:
                sign.close()
                with contextlib.suppress(Exception):  # the worker finds out by itself
                    sign = self._sign(worker)
        sign.close()

    def is_alive(self, worker: str) -> bool:
        def work() -> bool:
            with contextlib.closing(self._session()) as session:
                free = session.execute("SELECT pg_try_advisory_lock(%s)", (_key(worker),))
                return not free.fetchone()[0]

        return self.patiently(work)

    def close(self) -> None:
        if self._lock_session is not None:
            self._lock_session.close()
        with contextlib.suppress(Exception):  # the server may be away
            self._database.remove_session()
        self._database.engine.dispose()

    def patiently(self, work: Callable[[], T]) -> T:
        import psycopg
        import sqlalchemy.exc

        away = (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            sqlalchemy.exc.PendingRollbackError,  # what was asked next after either of these
        )
        waited_since: float | None = None
        while True:
            if self.given_up is not None:
                raise self.given_up
            try:
                return work()
            except (
                psycopg.Error,
                sqlalchemy.exc.SQLAlchemyError,
                optuna.exceptions.StorageInternalError,
            ) as error:
                reason = _reason(error)
                refused = _refusal(reason)
                if not (refused or isinstance(reason, away)):
                    raise
                if waited_since is None:
                    waited_since = time.monotonic()
                    if not refused:
                        kind = type(reason).__name__
                        log.warning("the database is away (%s): waiting for it", kind)
                # Neither its message nor its traceback: they name the server and the user.
                if refused or time.monotonic() - waited_since > OUTAGE:
                    self.given_up = StorageAway(
                        f"The database of {URL} cannot be used ({refused or type(reason).__name__}). "
                        "Trials that are done are kept. Check the server and the variable, then run the "
                        "same command again."
                    )
                    raise self.given_up from None
            time.sleep(1.0)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a file's lock; the system drops it with the process, however it dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checked(url: str) -> str:
    """The URL, if those who read it can; what they say of another would quote it."""
    import psycopg
    import sqlalchemy

    try:
        if not url.startswith("postgresql://"):
            raise ValueError
        psycopg.conninfo.conninfo_to_dict(url)
        sqlalchemy.make_url(url)
    except (ValueError, psycopg.Error, sqlalchemy.exc.SQLAlchemyError):
        raise BlendmakeError(
            f"{URL} must be the URL of a PostgreSQL database: "
            "postgresql://user:password@host:port/name, special characters as %40 and the like"
        ) from None
    return url


def _for_optuna(url: str) -> str:
    """The URL with the driver's name, and braces, which Optuna takes for its own, as codes."""
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return url.replace("{", "%7B").replace("}", "%7D")


def _key(text: str) -> int:
    """An advisory lock's key."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True
    )


def _lock(session: Any, text: str) -> None:
    session.execute("SELECT pg_advisory_lock(%s)", (_key(text),))


REFUSALS = {
    "authentication failed": "the server refuses the user or the password",
    "no password supplied": "the server asks for a password",
    "no pg_hba.conf entry": "the server lets nobody in from here",
    "permission denied": "the user may not make or write its tables",
}
"""What a server says that need not be waited for, and what it comes to."""


def _refusal(error: BaseException) -> str | None:
    """Why waiting will not help, if it will not."""
    text = str(error)
    if "does not exist" in text and "FATAL" in text:
        return "there is no such database or user"
    return next((meaning for words, meaning in REFUSALS.items() if words in text), None)


def _reason(error: BaseException) -> BaseException:
    """What the server or the connection to it said, from what Optuna and SQLAlchemy made of it."""
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


@contextlib.contextmanager
def opened(folder: Path, name: str) -> Iterator[Place]:
    """The place of a search's studies.

    PostgreSQL where the environment names one (BLENDMAKE_OPTUNA_URL), else a journal file. Which of
    them it is stays as it was: what identifies the place is noted in the folder.

    Args:
        folder: scratch of the search.
        name: of problem and search.

    Raises:
        BlendmakeError: the studies stand elsewhere already, or the database cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "place.lock"):
        place = _found(folder, name)
    try:
        yield place
    finally:
        place.close()


def _found(folder: Path, name: str) -> Place:
    """The place of `opened`, noted in the folder."""
    url = os.environ.get(URL)
    kind = DATABASE if url else JOURNAL
    noted = _noted(folder)
    if noted and noted["kind"] != kind:
        there, mend = (
            ("a journal file", f"Unset {URL} to go on with it")
            if noted["kind"] == JOURNAL
            else ("a database", f"Set {URL} to go on with it")
        )
        raise BlendmakeError(
            f"The studies of search {name} stand in {there}. {mend}, or begin anew: rm -r {folder}"
        )
    place: Place = DatabasePlace(url, name) if url else JournalPlace(folder)
    here = _identity(place, name) if url else {}
    if not noted:
        write_text(json.dumps({"kind": kind, **here}, indent=1) + "\n", folder / PLACE)
    elif url and noted.get("id") != here["id"]:
        place.close()
        raise BlendmakeError(
            f"The studies of search {name} stand in another database than that of {URL}. Name that "
            f"one to go on, or begin anew: rm -r {folder}"
        )
    return place


def _noted(folder: Path) -> dict[str, Any]:
    path = folder / PLACE
    if not path.exists():
        return {}
    try:
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if noted["kind"] not in (JOURNAL, DATABASE) or not isinstance(noted.get("id", ""), str):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BlendmakeError(
            f"{path}, which notes where the studies of a search stand, is damaged. Delete it, with "
            f"{URL} set (or not) as it was when the search began, and run the same command again: "
            f"rm {path}"
        ) from None
    return noted


def _identity(place: Place, name: str) -> dict[str, str]:
    """What tells a database from others: an id that a study of its own carries."""

    def work() -> dict[str, str]:
        marker = f"blendmake/{name}/place"
        study = optuna.create_study(study_name=marker, storage=place.storage, load_if_exists=True)
        if "id" not in study.user_attrs:
            study.set_user_attr("id", uuid.uuid4().hex)
        return {"id": str(study.user_attrs["id"])}

    return place.exclusively(work)
