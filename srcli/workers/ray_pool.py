"""A pool of Ray actors on a cluster of machines; the only module that imports Ray.

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
from srcli.workers.distribute import Answer, JobFunction, WorkerLost, WorkerSetup
from srcli.workers.worker import run_job

# The address of a cluster that is started on this machine for one run; any other names an existing cluster.
LOCAL = "local"
_POLL_SECONDS = 1.0
# Seconds between queries of the cluster's resources.
_RESOURCES_TTL = 1.0
# Seconds that killed actors have to disappear.
_GRACE = 3.0
# Seconds within which a cluster has to answer.
_CONNECT_TIMEOUT = 5.0
# Seconds without a waiting job after which all idle workers but one are released.
_IDLE_TIMEOUT = 30.0
# Failed starts in a row after which no more workers are requested.
_MAX_FAILED_STARTS = 3
# Bytes of Ray's object store, which is hardly used.
_OBJECT_STORE = 80 * 2**20
_INSTALL = "install sr on every node, with the same extras as here"
_QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class RayWorker:
    """An actor: it runs one job at a time, and keeps what it has loaded."""

    def __init__(self) -> None:
        self._work: JobFunction[Any, Any] | None = None

    def set_up(
        self, setup: WorkerSetup[Any, Any], device: str | None, folder: str, version: str
    ) -> SrError | None:
        """Prepare for jobs, in the folder that paths are relative to; return the error if that fails."""
        node = platform.node()
        if version != srcli.__version__:
            message = f"{node} has sr {srcli.__version__}, this machine has {version}"
            return SrError(message, "install the same version on all nodes")
        try:
            os.chdir(folder)
        except OSError as error:
            hint = "run sr in a folder that all nodes share"
            return SrError(f"{node} cannot open {folder}: {error.strerror}", hint)
        self._work = setup(device)
        return None

    def run(self, job: Any, again: bool) -> tuple[Any, SrError | None]:
        """Return the result of a job or the error it raised."""
        assert self._work
        return run_job(self._work, job, again)


@dataclass
class RayPool(Generic[J, T]):
    """A `Pool` of actors, which are requested while jobs wait, so that a cluster that can grow does.

    Each takes a CPU, and a GPU if `device` is one or the cluster has any; at most `max_workers` at a time. A
    cluster on this machine alone has `cores`.
    """

    setup: WorkerSetup[J, T]
    address: str
    device: str | None = None
    max_workers: int | None = None
    cores: int = 1
    lookahead: int = 16
    straggler_after: float | None = 30.0
    size: int = 0
    _owns_cluster: bool = False
    _starting: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _tickets: dict[Any, int] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _failed_starts: int = 0
    _last_request: float = field(default_factory=time.monotonic)
    _capacity: tuple[float, int] = (-_RESOURCES_TTL, 0)

    def __post_init__(self) -> None:
        ray = _ray()
        _silence_stdout()
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            _connect(self.address, self.cores)
        kind = (self.device or "").partition(":")[0]
        with_gpu = kind == "cuda" or (not kind and ray.cluster_resources().get("GPU", 0) >= 1)
        self._needs = {"num_cpus": 1, "num_gpus": int(with_gpu)}
        self._actor = ray.remote(**self._needs)(RayWorker)

    def can_submit(self, waiting: int) -> bool:
        """Return whether an actor is idle; request more of them if none is."""
        self._last_request = time.monotonic()
        if not self._idle:
            self._request_actors(waiting)
        return bool(self._idle)

    def _request_actors(self, waiting: int) -> None:
        """Request as many actors as there are jobs and room, or as many again in case the cluster grows."""
        running = self._count_running()
        wanted = min(waiting, max(1, self._get_capacity() - running, running))
        if self.max_workers is not None:
            wanted = min(wanted, self.max_workers - running)
        if self._failed_starts >= _MAX_FAILED_STARTS and running:
            wanted = 0
        for _ in range(wanted - len(self._starting)):
            actor = self._actor.remote()
            ready = actor.set_up.remote(self.setup, self.device, str(Path.cwd()), srcli.__version__)
            self._starting[ready] = actor

    def _count_running(self) -> int:
        return len(self._busy) + len(self._idle)

    def _get_capacity(self) -> int:
        """Return how many workers the cluster has room for at its present size."""
        when, capacity = self._capacity
        if time.monotonic() - when > _RESOURCES_TTL:
            resources = _ray().cluster_resources()
            needs = {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]}
            capacity = min(int(resources.get(kind, 0) / need) for kind, need in needs.items() if need)
            self._capacity = time.monotonic(), capacity
        return capacity

    def submit(self, job: J, again: bool) -> int:
        """Hand a job to an idle actor and return its ticket."""
        actor, ticket = self._idle.pop(), next(self._numbers)
        answer = actor.run.remote(job, again)
        self._busy[ticket], self._tickets[answer] = (actor, answer), ticket
        return ticket

    def poll(self) -> Sequence[Answer[T]]:
        """Wait up to a second for one answer. Raises `SrError` if no worker can start."""
        self._release_idle()
        expected = [*self._tickets, *self._starting]
        if not expected:
            time.sleep(_POLL_SECONDS)
            return []
        done, _ = _ray().wait(expected, num_returns=1, timeout=_POLL_SECONDS)
        return [answer for ref in done for answer in self._receive(ref)]

    def _release_idle(self) -> None:
        """Give back to the cluster what the last jobs do not need, once no job is waiting."""
        if time.monotonic() - self._last_request > _IDLE_TIMEOUT:
            for actor in [*self._idle[1:], *self._starting.values()]:
                _kill(actor)
            self._idle, self._starting = self._idle[:1], {}

    def _receive(self, ref: Any) -> Sequence[Answer[T]]:
        if ref in self._starting:
            self._finish_start(ref)
            return []
        ticket = self._tickets.pop(ref)
        actor, _ = self._busy.pop(ticket)
        result = _get_result(ref)
        if isinstance(result, WorkerLost):
            _kill(actor)
            return [(ticket, result)]
        self._idle.append(actor)
        return [(ticket, Outcome(None, *result))]

    def _finish_start(self, ref: Any) -> None:
        """Take in an actor that is set up, or one that failed. Raises `SrError` if all would fail."""
        actor = self._starting.pop(ref)
        failure = _get_start_failure(ref)
        if failure is None:
            self._failed_starts = 0
            self._idle.append(actor)
            self.size = max(self.size, self._count_running())
            return
        _kill(actor)
        if isinstance(failure, SrError):
            raise failure
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS and not self._count_running():
            raise SrError(f"Ray workers cannot start: {failure.reason}", _INSTALL)

    def cancel(self, ticket: int) -> None:
        """Kill the actor that has the ticket."""
        actor, ref = self._busy.pop(ticket)
        del self._tickets[ref]
        _kill(actor)

    def stop(self) -> None:
        """Kill all actors, and shut Ray down if it was started here."""
        ray = _ray()
        for actor in [*self._idle, *self._starting.values(), *(actor for actor, _ in self._busy.values())]:
            _kill(actor)
        if self._tickets:
            ray.wait([*self._tickets], num_returns=len(self._tickets), timeout=_GRACE)
        if self._owns_cluster:
            ray.shutdown()


def _ray() -> Any:
    """Import Ray. Raises `SrError` if it is not installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise SrError("--ray needs Ray, which is not installed", 'pip install "sr-cli[ray]"') from error
    return ray


def _silence_stdout() -> None:
    """Keep Ray's messages about dead workers off stdout, which is for results."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda data, **options: None


def _connect(address: str, cores: int) -> None:
    """Connect to a cluster, or start one. Keeps the handler of SIGTERM, which Ray replaces."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            _ray().init(
                "local", num_cpus=cores, object_store_memory=_OBJECT_STORE, include_dashboard=False, **quiet
            )
        else:
            _check_reachable(address)
            _ray().init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = "`ray status` shows the cluster; --ray local starts one on this machine"
        raise SrError(f"no Ray cluster at {address}: {_last_line(error)}", hint) from error
    finally:
        signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nobody answers; Ray would try for half a minute and print a line each second."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal() and len(port) < 6:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()


def _get_start_failure(ref: Any) -> Any:
    """Return why an actor could not be set up, as an `SrError` or `WorkerLost`; None if it was."""
    from ray.exceptions import RayTaskError

    try:
        return _get_result(ref)
    except RayTaskError as error:
        return SrError(f"a Ray worker cannot start: {_last_line(error)}", _INSTALL)


def _get_result(ref: Any) -> Any:
    """Return what an actor returned, or `WorkerLost`. Raises what is a bug in the work."""
    from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

    try:
        return _ray().get(ref)
    except RayTaskError:
        raise
    except LocalRayletDiedError as error:
        hint = "run the same command with --skip-existing to continue"
        raise SrError("Ray has stopped on this machine", hint) from error
    except RayError as error:
        return WorkerLost(_last_line(error))


def _kill(actor: Any) -> None:
    _ray().kill(actor)


def _last_line(error: Exception) -> str:
    """Return the last line of an error: Ray's reports are long tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(". ")[0] if lines else type(error).__name__
