"""A job that survives: what is to be done, what is done and what failed, in a file of SQLite.

One process writes, any number read. What was in hand when a run was killed is told from what was not, and is
the only work whose outputs have to be looked at again.
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

from srcli.batch.planning import ListedTask
from srcli.errors import FileError, SrError, UsageError
from srcli.storage.files import get_state_folder
from srcli.storage.locations import Location, parse_location
from srcli.upscaling.task import UpscaleTask

STATES = ("pending", "running", "done", "failed")
# So often a run may end in the middle of an image until the image is taken for the reason.
CUT_OFTEN = 5
_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_APPLICATION, _VERSION = 0x73724A42, 1  # what says in the file that it is one of these
_AT_ONCE = 1000
_LATELY = 1000
Absent = Callable[[UpscaleTask], bool]
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


@dataclass(frozen=True)
class Unit:
    """An image of a job.

    `content` is the SHA-256 of its source, `seconds` what it took, `began` and `ended` in seconds since 1970;
    `attempts` the times that it was taken in hand, `cut` those that a run was killed then.
    """

    source: str
    target: str
    state: str
    attempts: int
    cut: int
    identity: str
    content: str | None
    error: str | None
    hint: str | None
    seconds: float | None
    began: float | None
    ended: float | None


_COLUMNS = ", ".join(Unit.__dataclass_fields__)


@dataclass(frozen=True)
class Counts:
    """How many images are in each state, and how many are done in a second of late; None for too few."""

    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    per_second: float | None = None

    @property
    def left(self) -> int:
        """Those still to be done."""
        return self.pending + self.running

    @property
    def all(self) -> int:
        """Those there are."""
        return self.left + self.done + self.failed


def place_of(name: str) -> Path:
    """The file of a job: one of that name among this user's, or the file itself where it is named.

    Raises `UsageError` for what is neither.
    """
    path = Path(name)
    if path.suffix.lower() in _SUFFIXES:
        return path
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(
            f"'{name}' is no name for a job", "letters, digits, . _ -; or a file, as in ./scans.db"
        )
    return get_state_folder() / "jobs" / f"{name}.db"


def name_of(path: Path) -> str:
    """What `place_of` takes."""
    return path.stem if path.parent == get_state_folder() / "jobs" else str(path)


def every() -> list[Path]:
    """The files of this user's jobs that have names."""
    return sorted((get_state_folder() / "jobs").glob("*.db"))


class JobStore:
    """The file, opened. Errors of SQLite are raised as they are: `reading` and `holding` turn them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rwc", uri=True, isolation_level=None, check_same_thread=False
        )
        self._db.text_factory = os.fsdecode
        self._db.execute("PRAGMA busy_timeout = 10000")
        # Only the power going could undo the last images then, which are redone.
        self._db.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Put all into the one file."""
        self._db.close()

    def check(self) -> None:
        """Raise `SrError` where the file is another program's, or a later version's."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise SrError(f"{self.path} is no job of sr", "name another file with --job")
        if version > _VERSION:
            raise SrError(f"{self.path} was made by a later sr", "pip install -U sr-cli")

    def make(self, settings: Mapping[str, str]) -> None:
        """Begin a job in a file that is empty."""
        # Readers don't wait then.
        self._db.execute("PRAGMA journal_mode = WAL")
        about = {"settings": json.dumps(dict(settings)), "begun": str(time.time())}
        with self._at_once():
            for statement in _SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def is_empty(self) -> bool:
        """Whether no job was begun in it."""
        return not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    @property
    def is_listed(self) -> bool:
        """Whether all that there was is in it."""
        return bool(self._about("listed"))

    @property
    def settings(self) -> dict[str, str]:
        """What the job was begun with."""
        return dict(json.loads(self._about("settings") or "{}"))

    def _about(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def take_in(self, found: Iterable[ListedTask], tell: Callable[[int], None] = lambda count: None) -> int:
        """List what is not listed yet, and again what has changed since; how many these are.

        `tell` is told how many were looked at, a thousand at a time; few of them are held.
        Raises `UsageError` where two would become one file, or one another's input.
        """
        before, left, count = self._db.total_changes, iter(found), 0
        while chunk := list(islice(left, _AT_ONCE)):
            with self._at_once():
                self._insert(chunk)
            count += len(chunk)
            tell(count)
        new = self._db.total_changes - before
        self._check_apart()
        self._db.execute("INSERT OR REPLACE INTO about VALUES ('listed', ?)", (str(time.time()),))
        return new

    def _insert(self, chunk: list[ListedTask]) -> None:
        # As bytes: names need not be text.
        rows = [(_bytes(f.job.source), _bytes(f.job.target), f.identity) for f in chunk]
        try:
            self._db.executemany(
                "INSERT INTO units (source, target, identity)"
                " VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?) ON CONFLICT (source) DO UPDATE"
                " SET identity = excluded.identity, state = 'pending', cut = 0, error = NULL, hint = NULL"
                " WHERE identity != excluded.identity",
                rows,
            )
        except sqlite3.IntegrityError:
            raise self._collision(chunk) from None

    def _collision(self, chunk: list[ListedTask]) -> SrError:
        taken: dict[str, str] = {}
        for job in (found.job for found in chunk):
            query = "SELECT source FROM units WHERE target = CAST(? AS TEXT)"
            row = self._db.execute(query, (_bytes(job.target),)).fetchone()
            other = row[0] if row else taken.setdefault(str(job.target), str(job.source))
            if other != str(job.source):
                both = f"{other} and {job.source}"
                return UsageError(f"{both} would both become {job.target}", "leave out --flat, or rename one")
        return UsageError("two inputs would become one file", "leave out --flat, or rename one")

    def _check_apart(self) -> None:
        query = "SELECT a.target FROM units a JOIN units b ON a.target = b.source LIMIT 1"
        row = self._db.execute(query).fetchone()
        if row:
            raise UsageError(f"{row[0]} is an input too", "choose another --output")

    def in_hand(self) -> list[UpscaleTask]:
        """What is being done or, where nobody does, what a run that was killed was doing."""
        rows = self._db.execute("SELECT source, target FROM units WHERE state = 'running'").fetchall()
        return [UpscaleTask(parse_location(source), parse_location(target)) for source, target in rows]

    def recover(self) -> int:
        """Take up again what a run that was killed had in hand, after all the rest; how many these are.

        What was in hand too often is left as failed.
        """
        error = f"{CUT_OFTEN} runs ended in the middle of it"
        hint = "it may need more memory than there is: try it alone"
        return self._db.execute(
            "UPDATE units SET cut = cut + 1, state = iif(cut + 1 < ?, 'pending', 'failed'),"
            " error = iif(cut + 1 < ?, NULL, ?), hint = iif(cut + 1 < ?, NULL, ?) WHERE state = 'running'",
            (CUT_OFTEN, CUT_OFTEN, error, CUT_OFTEN, hint),
        ).rowcount

    def pending(self, absent: Absent) -> Iterator[UpscaleTask]:
        """What is to be done, each noted as in hand when it is asked for.

        `absent` tells whether a job's output is not there and will not say itself what it was made of. Where
        that was so when it was taken in hand first, what lies there later is its own.
        """
        query = "SELECT id, source, target, own FROM units WHERE state = 'pending' ORDER BY cut, id LIMIT ?"
        while rows := self._db.execute(query, (_AT_ONCE,)).fetchall():
            for number, source, target, own in rows:
                job = UpscaleTask(parse_location(source), parse_location(target), bool(own))
                self._db.execute(
                    "UPDATE units SET state = 'running', attempts = attempts + 1, own = ?, began = ?"
                    " WHERE id = ?",
                    (own or absent(job), time.time(), number),
                )
                yield job

    def done(self, job: UpscaleTask, content: str | None, seconds: float | None) -> None:
        """Note that the output is there."""
        self._note(job, "done", content, seconds, None)

    def failed(self, job: UpscaleTask, error: SrError) -> None:
        """Note why it is not; what would have failed whatever was tried is left to be done."""
        self._note(job, "pending" if error.affects_all else "failed", None, None, error)

    def _note(
        self, job: UpscaleTask, state: str, content: str | None, seconds: float | None, error: SrError | None
    ) -> None:
        said = (error.message, error.hint) if error else (None, None)
        texts = [None if text is None else os.fsencode(text) for text in said]
        self._db.execute(
            "UPDATE units SET state = ?, content = ?, seconds = ?, error = CAST(? AS TEXT),"
            " hint = CAST(? AS TEXT), ended = ?, own = iif(? = 'done', 0, own)"
            " WHERE source = CAST(? AS TEXT)",
            (state, content, seconds, *texts, time.time(), state, _bytes(job.source)),
        )

    def let_go(self) -> None:
        """What is in hand is to be done another time: for a run that ends as it should."""
        self._db.execute("UPDATE units SET state = 'pending' WHERE state = 'running'")

    def retry(self) -> int:
        """Have all that failed tried again by the next run; how many these are."""
        return self._db.execute(
            "UPDATE units SET state = 'pending', cut = 0, error = NULL, hint = NULL WHERE state = 'failed'"
        ).rowcount

    def counts(self) -> Counts:
        """How far it is."""
        rows = self._db.execute("SELECT state, count(*) FROM units GROUP BY state").fetchall()
        return Counts(**dict(rows), per_second=self._per_second())

    def _per_second(self) -> float | None:
        """Over the last that were done, one after another."""
        count, first, last = self._db.execute(
            "SELECT count(*), min(ended), max(ended) FROM"
            " (SELECT ended FROM units WHERE seconds IS NOT NULL ORDER BY ended DESC LIMIT ?)",
            (_LATELY,),
        ).fetchone()
        return (count - 1) / (last - first) if count > 1 and last > first else None

    def units(self, state: str | None = None, limit: int = -1) -> Iterator[Unit]:
        """What is in it, in the order of listing, one at a time."""
        where = "WHERE state = ?" if state else ""
        given = (state, limit) if state else (limit,)
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM units {where} ORDER BY id LIMIT ?", given):
            yield Unit(*row)


def _bytes(where: Location) -> bytes:
    return os.fsencode(str(where))


@contextmanager
def reading(path: Path) -> Iterator[JobStore]:
    """A job that exists, to look at. Raises `SrError` for what is none, or is damaged."""
    if not path.is_file():
        raise UsageError(f"no job called '{name_of(path)}'", "`sr jobs` lists those there are")
    with _opened(path) as ledger:
        ledger.check()
        yield ledger


@contextmanager
def holding(path: Path) -> Iterator[JobStore]:
    """A job that nobody else works at meanwhile; a new one is empty, one that was never listed is not kept.

    Raises `SrError` where another process has it, and for what is no job.
    """
    with _locked(path), _opened(path) as ledger:
        if not ledger.is_empty:
            ledger.check()
        try:
            yield ledger
        except SrError:
            if ledger.is_empty or not ledger.is_listed:
                ledger.close()
                path.unlink(missing_ok=True)
            raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        hint = "wait until it ends, or give another --job"
        raise SrError(f"another process works at the job {name_of(path)}", hint) from None
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", "choose another place for --job") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process works at it."""
    try:
        with FileLock(f"{path}.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[JobStore]:
    ledger = None
    try:
        ledger = JobStore(path)
        yield ledger
    except sqlite3.Error as error:
        hint = (
            "free the disk; if the file is damaged, move it away and begin the job anew: what is done is kept"
        )
        raise FileError(f"the job in {path} cannot be used: {error}", hint, affects_all=True) from error
    finally:
        if ledger:
            ledger.close()


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What of the settings is not what it was.

    >>> differences({"model": "edsr", "scale": "x2"}, {"model": "edsr", "scale": "x4", "depth": "16"})
    ['depth was not given, is 16', 'scale was x2, is x4']
    """
    changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    return [f"{key} was {then.get(key, 'not given')}, is {now.get(key, 'not given')}" for key in changed]
