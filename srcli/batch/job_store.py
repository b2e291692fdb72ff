"""A job that can be resumed: what is to be done, what is done and what failed, in an SQLite file.

One process writes, any number read. Images that were in progress when a run was killed are marked, so that
only their outputs have to be looked at again.
"""

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from srcli.batch.planning import ListedTask, suggest_name
from srcli.errors import FileError, SrError, UsageError
from srcli.storage.files import get_state_folder
from srcli.storage.json_text import parse_json
from srcli.storage.locations import Location, parse_location
from srcli.storage.typed import check_fields
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore

STATES = ("pending", "running", "done", "failed")
# Runs that may end while an image is in progress before the image counts as the reason.
MAX_INTERRUPTIONS = 5
_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_APPLICATION_ID, _VERSION = 0x73724A42, 1  # stored in the file's header
_CHUNK = 1000  # rows per transaction or query
_RECENT = 1000  # images that the throughput is computed from
# The names of columns are part of the file format; `JobImage` and `sr jobs export` have clearer ones.
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE units (
  id INTEGER PRIMARY KEY,
  source TEXT NOT NULL UNIQUE,
  target TEXT NOT NULL UNIQUE,
  identity TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  attempts INTEGER NOT NULL DEFAULT 0,
  cut INTEGER NOT NULL DEFAULT 0,
  own INTEGER NOT NULL DEFAULT 0,
  content TEXT,
  error TEXT,
  hint TEXT,
  seconds REAL,
  began REAL,
  ended REAL
);
CREATE INDEX units_by_state ON units (state, cut, id);
"""
_COLUMNS = "source, target, state, attempts, cut, identity, content, error, hint, seconds, began, ended"


@dataclass(frozen=True)
class JobImage:
    """An image of a job.

    `attempts` counts the times it was started, `interruptions` those that ended because the run was killed.
    `identity` is what the listing said of the source (size and time, or an ETag). `started` and `finished`
    are in seconds since 1970.
    """

    source: str
    target: str
    state: str
    attempts: int
    interruptions: int
    identity: str
    source_sha256: str | None
    error: str | None
    hint: str | None
    seconds: float | None
    started: float | None
    finished: float | None


@dataclass(frozen=True)
class Counts:
    """The number of images in each state, and the recent throughput in images/s; None if too few samples."""

    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    per_second: float | None = None

    @property
    def remaining(self) -> int:
        """Images that are not finished."""
        return self.pending + self.running

    @property
    def total(self) -> int:
        """All images."""
        return self.remaining + self.done + self.failed


def find_path(name: str) -> Path:
    """Return the file of a job: one in the user's state folder, or `name` itself if it names a file.

    Raises `UsageError` for a name that is neither.
    """
    path = Path(name)
    if path.suffix.lower() in _SUFFIXES:
        return path
    if not re.fullmatch(r"\w[\w.-]*", name):
        hint = "use letters, digits and . _ -, or name a file such as ./scans.db"
        raise UsageError(f"'{name}' is not a valid job name", hint)
    return get_state_folder() / "jobs" / f"{name}.db"


def get_name(path: Path) -> str:
    """Return the name that `find_path` takes."""
    return path.stem if path.parent == get_state_folder() / "jobs" else str(path)


def list_paths() -> list[Path]:
    """Return the files of the user's named jobs."""
    return sorted((get_state_folder() / "jobs").glob("*.db"))


class JobStore:
    """An open job. Raises the errors of SQLite, which `open_for_reading` and `open_locked` translate."""

    def __init__(self, path: Path, mode: str = "mode=rwc") -> None:
        self.path = path
        self._db = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False
        )
        self._db.text_factory = os.fsdecode
        self._db.execute("PRAGMA busy_timeout = 10000")
        # A power cut may lose the last transactions, whose images are then looked at again.
        self._db.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file, with everything in it."""
        self._db.close()

    def check(self) -> None:
        """Raise `SrError` if the file belongs to another program or a later version."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            raise SrError(f"{self.path} is not a job of sr", "name another file with --job")
        if version > _VERSION:
            raise SrError(f"{self.path} was created by a later version of sr", "pip install -U sr-cli")

    def create(self, settings: Mapping[str, str]) -> None:
        """Create a job in an empty file."""
        self._db.execute("PRAGMA journal_mode = WAL")  # so that readers need not wait
        about = {"settings": json.dumps(dict(settings)), "begun": str(time.time())}
        with self._transaction():
            for statement in _SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def is_empty(self) -> bool:
        """True if no job was created in the file."""
        return not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    @property
    def is_listed(self) -> bool:
        """True if all inputs have been listed."""
        return bool(self._get("listed"))

    @property
    def unlisted(self) -> int:
        """The number of folders and images that could not be listed; the next run tries them again."""
        count = self._get("unlisted") or "0"
        return int(count[:9]) if count.isdecimal() else 1

    @unlisted.setter
    def unlisted(self, count: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES ('unlisted', ?)", (str(count),))

    @property
    def settings(self) -> dict[str, str]:
        """The settings that the job was created with."""
        try:
            settings = parse_json(self._get("settings") or "{}")
        except ValueError:
            settings = None
        if not isinstance(settings, dict):
            raise sqlite3.DatabaseError("its settings are damaged")
        return {str(key): str(value) for key, value in settings.items()}

    def _get(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add(
        self,
        listed: Iterable[ListedTask],
        report: Callable[[int], None] = ignore,
        refuse: Callable[[UpscaleTask, SrError], None] = ignore,
    ) -> int:
        """Add tasks that are new, and reset those whose source has changed; return how many these are.

        `report` receives the number of tasks looked at, in steps of a thousand; few are in memory at a time.
        `refuse` receives each task whose target is that of an earlier one, and why; it is not added. Raises
        `UsageError` if a target is another's source.
        """
        before, rest, count = self._db.total_changes, iter(listed), 0
        while chunk := list(islice(rest, _CHUNK)):
            with self._transaction():
                self._insert(chunk, refuse)
            count += len(chunk)
            report(count)
        new = self._db.total_changes - before
        self._check_inputs_kept()
        self._db.execute("INSERT OR REPLACE INTO about VALUES ('listed', ?)", (str(time.time()),))
        return new

    def _insert(self, chunk: list[ListedTask], refuse: Callable[[UpscaleTask, SrError], None]) -> None:
        # As bytes: file names need not be valid text.
        rows = [(_encode(one.task.source), _encode(one.task.target), one.identity) for one in chunk]
        statement = (
            "INSERT INTO units (source, target, identity)"
            " VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?) ON CONFLICT (source) DO UPDATE"
            " SET identity = excluded.identity, state = 'pending', cut = 0, error = NULL, hint = NULL"
            " WHERE identity != excluded.identity"
        )
        try:
            self._db.executemany(statement, rows)
        except sqlite3.IntegrityError:  # one after the other, to find those that collide
            for row, one in zip(rows, chunk, strict=True):
                try:
                    self._db.execute(statement, row)
                except sqlite3.IntegrityError:
                    refuse(one.task, self._describe_collision(one.task))

    def _describe_collision(self, task: UpscaleTask) -> SrError:
        query = "SELECT source FROM units WHERE target = CAST(? AS TEXT)"
        (other,) = self._db.execute(query, (_encode(task.target),)).fetchone()
        both, hint = f"{other} and {task.source}", suggest_name(parse_location(other), task.source)
        return SrError(f"{both} would both be written to {task.target}", hint)

    def _check_inputs_kept(self) -> None:
        query = "SELECT a.target FROM units a JOIN units b ON a.target = b.source LIMIT 1"
        row = self._db.execute(query).fetchone()
        if row:
            raise UsageError(f"{row[0]} is also an input", "choose another --output")

    def list_running(self) -> list[UpscaleTask]:
        """Return the tasks in progress, or those that were in progress when a run was killed."""
        rows = self._db.execute("SELECT source, target FROM units WHERE state = 'running'").fetchall()
        return [_make_task(source, target) for source, target in rows]

    def recover_interrupted(self) -> int:
        """Move what a killed run had in progress to the end of the queue; return how many these are.

        An image that was interrupted too often is marked as failed. One in a state that nobody knows, because
        the file is damaged, is done again.
        """
        marks = ", ".join("?" * len(STATES))
        self._db.execute(f"UPDATE units SET state = 'pending' WHERE state NOT IN ({marks})", STATES)
        error = f"{MAX_INTERRUPTIONS} runs ended while it was in progress"
        hint = "it may need more memory than this machine has: try it alone"
        limit = MAX_INTERRUPTIONS
        return self._db.execute(
            "UPDATE units SET cut = cut + 1, state = iif(cut + 1 < ?, 'pending', 'failed'),"
            " error = iif(cut + 1 < ?, NULL, ?), hint = iif(cut + 1 < ?, NULL, ?) WHERE state = 'running'",
            (limit, limit, error, limit, hint),
        ).rowcount

    def take_pending(self, owns_target: Callable[[UpscaleTask], bool]) -> Iterator[UpscaleTask]:
        """Yield the tasks to do; each is marked as running when it is taken.

        `owns_target` returns whether the target does not exist yet and, once written, will not say what it
        was made from. The answer is remembered: a file found there later was written by this job.
        """
        query = "SELECT id, source, target, own FROM units WHERE state = 'pending' ORDER BY cut, id LIMIT ?"
        while rows := self._db.execute(query, (_CHUNK,)).fetchall():
            for number, source, target, own in rows:
                task = _make_task(source, target, interrupted=bool(own))
                self._db.execute(
                    "UPDATE units SET state = 'running', attempts = attempts + 1, own = ?, began = ?"
                    " WHERE id = ?",
                    (own or owns_target(task), time.time(), number),
                )
                yield task

    def mark_done(self, task: UpscaleTask, source_sha256: str | None, seconds: float | None) -> None:
        """Record that the output exists."""
        self._finish(task, "done", source_sha256, seconds, None)

    def mark_failed(self, task: UpscaleTask, error: SrError) -> None:
        """Record why a task failed; one that failed for a reason that affects all stays pending."""
        self._finish(task, "pending" if error.affects_all else "failed", None, None, error)

    def _finish(
        self,
        task: UpscaleTask,
        state: str,
        source_sha256: str | None,
        seconds: float | None,
        error: SrError | None,
    ) -> None:
        message, hint = (os.fsencode(error.message), os.fsencode(error.hint)) if error else (None, None)
        self._db.execute(
            "UPDATE units SET state = ?, content = ?, seconds = ?, error = CAST(? AS TEXT),"
            " hint = CAST(? AS TEXT), ended = ?, own = iif(? = 'done', 0, own)"
            " WHERE source = CAST(? AS TEXT)",
            (state, source_sha256, seconds, message, hint, time.time(), state, _encode(task.source)),
        )

    def release_running(self) -> None:
        """Mark what is in progress as pending, at the orderly end of a run."""
        self._db.execute("UPDATE units SET state = 'pending' WHERE state = 'running'")

    def retry_failed(self) -> int:
        """Mark all that failed as pending; return how many these are."""
        return self._db.execute(
            "UPDATE units SET state = 'pending', cut = 0, error = NULL, hint = NULL WHERE state = 'failed'"
        ).rowcount

    def retry_missing(self) -> int:
        """Mark images as pending whose output was deleted; return how many these are.

        Only outputs on this machine are looked at, as a store would be asked about each of them.
        """
        count, last = 0, -1
        query = "SELECT id, target FROM units WHERE state = 'done' AND id > ? ORDER BY id LIMIT ?"
        while rows := self._db.execute(query, (last, _CHUNK)).fetchall():
            last = rows[-1][0]
            missing = [
                (number,)
                for number, target in rows
                if isinstance(location := _parse(target), Path) and not os.path.lexists(location)
            ]
            self._db.executemany("UPDATE units SET state = 'pending', cut = 0 WHERE id = ?", missing)
            count += len(missing)
        return count

    def count(self) -> Counts:
        """Return the progress of the job; an image in a damaged state counts as pending."""
        counts = dict.fromkeys(STATES, 0)
        for state, count in self._db.execute("SELECT state, count(*) FROM units GROUP BY state"):
            counts[state if state in counts else "pending"] += count
        return Counts(**counts, per_second=self._compute_throughput())

    def _compute_throughput(self) -> float | None:
        count, first, last = self._db.execute(
            "SELECT count(*), min(ended), max(ended) FROM"
            " (SELECT ended FROM units WHERE typeof(ended) = 'real' AND seconds IS NOT NULL"
            " ORDER BY ended DESC LIMIT ?)",
            (_RECENT,),
        ).fetchone()
        return (count - 1) / (last - first) if count > 1 and last > first else None

    def iterate_images(self, state: str | None = None, limit: int = -1) -> Iterator[JobImage]:
        """Yield the images, in the order they were listed."""
        where = "WHERE state = ?" if state else ""
        values = (state, limit) if state else (limit,)
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM units {where} ORDER BY id LIMIT ?", values):
            image = JobImage(*row)
            try:
                check_fields(image)
            except ValueError as error:
                raise sqlite3.DatabaseError(f"an image is damaged: {error}") from error
            yield image


def _make_task(source: object, target: object, *, interrupted: bool = False) -> UpscaleTask:
    return UpscaleTask(_parse(source), _parse(target), interrupted)


def _parse(name: object) -> Location:
    """Return the location of an image; other values than text are signs of damage."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise sqlite3.DatabaseError("the name of an image is damaged")
    return parse_location(name)


def _encode(location: Location) -> bytes:
    return os.fsencode(str(location))


@contextmanager
def open_for_reading(path: Path) -> Iterator[JobStore]:
    """Open an existing job. Raises `SrError` if the file is missing, damaged or not a job."""
    if not path.is_file():
        raise UsageError(f"no job called '{get_name(path)}'", "`sr jobs` lists the jobs")
    # SQLite creates helper files even for reading, unless the database is declared immutable.
    can_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    with _open(path, "mode=rw" if can_write else "mode=ro&immutable=1") as store:
        store.check()
        yield store


@contextmanager
def open_locked(path: Path) -> Iterator[JobStore]:
    """Open a job for writing; a new one is empty, and is deleted if an error leaves it without a list.

    Raises `SrError` if another process is running it, or the file is not a job.
    """
    with _lock(path), _open(path) as store:
        if not store.is_empty:
            store.check()
        try:
            yield store
        except SrError:
            if store.is_empty or not store.is_listed:
                store.close()
                path.unlink(missing_ok=True)
            raise


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        hint = "wait until it ends, or use another --job"
        raise SrError(f"another process is running the job {get_name(path)}", hint) from None
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", "choose another path for --job") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process is running the job."""
    try:
        with FileLock(f"{path}.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@contextmanager
def _open(path: Path, mode: str = "mode=rwc") -> Iterator[JobStore]:
    store = None
    try:
        store = JobStore(path, mode)
        yield store
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes damaged names in its messages
        hint = "free some disk space; if the file is damaged, move it away and start again: outputs are kept"
        raise FileError(f"the job in {path} cannot be used: {error}", hint, affects_all=True) from error
    finally:
        if store:
            store.close()


def describe_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which settings differ.

    >>> describe_differences({"model": "a", "scale": "x2"}, {"model": "a", "scale": "x4", "depth": "16"})
    ['depth was not given, is 16', 'scale was x2, is x4']
    """
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return [f"{key} was {before.get(key, 'not given')}, is {now.get(key, 'not given')}" for key in changed]
