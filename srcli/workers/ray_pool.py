"""A crew of Ray's actors, on as many machines as there are; the only module that knows Ray.

https://docs.ray.io/en/latest/ray-core/actors.html
"""

import logging
import os
import platform
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Generic

import srcli
from srcli.errors import SrError
from srcli.workers import J, Outcome, T
from srcli.workers.distribute import Answer, Begin, Do, WorkerLost
from srcli.workers.worker import answer

# A cluster that is begun for one run, on this machine; any other word is where Ray finds one.
LOCAL = "local"
_WAIT = 1.0
# Seconds for which what the cluster has is taken for known, and in which what was killed has to be gone.
_FRESH, _GRACE = 1.0, 3.0
# Seconds in which a cluster has to answer.
_PATIENCE = 5.0
# After so many seconds in which no job waited, only one of the workers that idle is kept.
_IDLE = 30.0
# After so many workers in a row that could not begin, those that could have to do.
_FAILURES = 3
# Bytes of Ray's own store, through which next to nothing goes.
_STORE = 80 * 2**20
_INSTALL = "sr has to be installed on every node, with the same extras as here"
_QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class Hand:
    """What an actor is: it does one job at a time, with what it has loaded."""

    def __init__(self) -> None:
        self._do: Do[Any, Any] | None = None

    def begin(self, begin: Begin[Any, Any], device: str | None, folder: str, version: str) -> SrError | None:
        """Be ready, in the folder that paths are relative to; or say why that can't be."""
        node = platform.node()
        if version != srcli.__version__:
            return SrError(f"{node} has sr {srcli.__version__}, and here is {version}", "install the same")
        try:
            os.chdir(folder)
        except OSError as error:
            hint = "call sr from a folder that all nodes share"
            return SrError(f"{node} can't enter {folder}: {error.strerror}", hint)
        self._do = begin(device)
        return None

    def do(self, job: Any, again: bool) -> tuple[Any, SrError | None]:
        """See `answer`."""
        assert self._do
        return answer(self._do, job, again)


@dataclass
class Actors(Generic[J, T]):
    """See `Crew`. Actors are asked for while jobs wait, so that a cluster that can grow does.

    A CPU each, and a GPU where `device` is one or the cluster has some; `most` of them at a time. `cores` are
    what a cluster of this machine's own has.
    """

    begin: Begin[J, T]
    address: str
    device: str | None = None
    most: int | None = None
    cores: int = 1
    ahead: int = 16
    patience: float | None = 30.0
    size: int = 0
    _own: bool = False
    _coming: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _tickets: dict[Any, int] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _failures: int = 0
    _asked: float = field(default_factory=time.monotonic)
    _slots: tuple[float, int] = (-_FRESH, 0)

    def __post_init__(self) -> None:
        ray = _ray()
        _keep_from_stdout()
        self._own = not ray.is_initialized()
        if self._own:
            _join(self.address, self.cores)
        kind = (self.device or "").partition(":")[0]
        with_gpu = kind == "cuda" or (not kind and ray.cluster_resources().get("GPU", 0) >= 1)
        self._needs = {"num_cpus": 1, "num_gpus": int(with_gpu)}
        self._actor = ray.remote(**self._needs)(Hand)

    def takes(self, waiting: int) -> bool:
        """See `Crew`."""
        self._asked = time.monotonic()
        if not self._idle:
            self._hire(waiting)
        return bool(self._idle)

    def _hire(self, waiting: int) -> None:
        """Ask for as many as there is room for and work; in case the cluster grows, for some more."""
        staff = self._staff()
        wanted = min(waiting, max(1, self._room() - staff, staff))
        if self.most is not None:
            wanted = min(wanted, self.most - staff)
        if self._failures >= _FAILURES and staff:
            wanted = 0
        for _ in range(wanted - len(self._coming)):
            actor = self._actor.remote()
            ready = actor.begin.remote(self.begin, self.device, str(Path.cwd()), srcli.__version__)
            self._coming[ready] = actor

    def _staff(self) -> int:
        return len(self._busy) + len(self._idle)

    def _room(self) -> int:
        """How many workers the cluster as it is has room for."""
        when, room = self._slots
        if time.monotonic() - when > _FRESH:
            there = _ray().cluster_resources()
            asked = {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]}
            room = min(int(there.get(kind, 0) / each) for kind, each in asked.items() if each)
            self._slots = time.monotonic(), room
        return room

    def give(self, job: J, again: bool) -> int:
        """See `Crew`."""
        actor, ticket = self._idle.pop(), next(self._numbers)
        answer = actor.do.remote(job, again)
        self._busy[ticket], self._tickets[answer] = (actor, answer), ticket
        return ticket

    def answers(self) -> Sequence[Answer[T]]:
        """See `Crew`."""
        self._release()
        expected = [*self._tickets, *self._coming]
        if not expected:
            time.sleep(_WAIT)
            return []
        found, _ = _ray().wait(expected, num_returns=1, timeout=_WAIT)
        return [heard for ref in found for heard in self._heard(ref)]

    def _release(self) -> None:
        """Where nothing waits any more, the cluster may have back what the last jobs do not need."""
        if time.monotonic() - self._asked > _IDLE:
            for actor in [*self._idle[1:], *self._coming.values()]:
                _kill(actor)
            self._idle, self._coming = self._idle[:1], {}

    def _heard(self, ref: Any) -> Sequence[Answer[T]]:
        if ref in self._coming:
            self._arrived(ref)
            return []
        ticket = self._tickets.pop(ref)
        actor, _ = self._busy.pop(ticket)
        said = _said(ref)
        if isinstance(said, WorkerLost):
            _kill(actor)
            return [(ticket, said)]
        self._idle.append(actor)
        return [(ticket, Outcome(None, *said))]

    def _arrived(self, ref: Any) -> None:
        """A worker is there, or can't be. Raises `SrError` where that is so for all."""
        actor = self._coming.pop(ref)
        said = _said_first(ref)
        if said is None:
            self._failures = 0
            self._idle.append(actor)
            self.size = max(self.size, self._staff())
            return
        _kill(actor)
        if isinstance(said, SrError):
            raise said
        self._failures += 1
        if self._failures >= _FAILURES and not self._staff():
            raise SrError(f"workers of Ray's cannot begin: {said.how}", _INSTALL)

    def drop(self, ticket: int) -> None:
        """See `Crew`."""
        actor, ref = self._busy.pop(ticket)
        del self._tickets[ref]
        _kill(actor)

    def stop(self) -> None:
        """See `Crew`."""
        ray = _ray()
        for actor in [*self._idle, *self._coming.values(), *(actor for actor, _ in self._busy.values())]:
            _kill(actor)
        if self._tickets:
            ray.wait([*self._tickets], num_returns=len(self._tickets), timeout=_GRACE)
        if self._own:
            ray.shutdown()


def _ray() -> Any:
    """Ray, which is there if the extra is."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise SrError("--ray needs Ray, which is not installed", 'pip install "sr-cli[ray]"') from error
    return ray


def _keep_from_stdout() -> None:
    """Ray tells of workers that die on stdout, which is for results; `WorkerLost` has it in fewer words."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda data, **options: None


def _join(address: str, cores: int) -> None:
    """Be part of a cluster. SIGTERM is left as it is: Ray would end this process by itself."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            _ray().init("local", num_cpus=cores, object_store_memory=_STORE, include_dashboard=False, **quiet)
        else:
            _check_reachable(address)
            _ray().init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = "`ray status` says what is there; --ray local needs no cluster"
        raise SrError(f"no Ray cluster at {address}: {_last_line(error)}", hint) from error
    finally:
        signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Raise `OSError` where nobody answers: Ray would ask for half a minute, and say so each second."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _said_first(ref: Any) -> Any:
    """What an actor that begins said; or why it could not, as where a package is missing."""
    from ray.exceptions import RayTaskError

    try:
        return _said(ref)
    except RayTaskError as error:
        return SrError(f"a worker of Ray's cannot begin: {_last_line(error)}", _INSTALL)


def _said(ref: Any) -> Any:
    """What an actor said; or that it was lost. Raises what is a bug in the work."""
    from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

    try:
        return _ray().get(ref)
    except RayTaskError:
        raise
    except LocalRayletDiedError as error:
        hint = "the same command with --skip-existing goes on"
        raise SrError("Ray has ended on this machine", hint) from error
    except RayError as error:
        return WorkerLost(_last_line(error))


def _kill(actor: Any) -> None:
    _ray().kill(actor)


def _last_line(error: Exception) -> str:
    """What is wrong, in few words: Ray's reports are long, and begin with what led there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(". ")[0] if lines else type(error).__name__
