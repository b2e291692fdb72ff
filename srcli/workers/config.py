"""Which workers to start."""

from srcli.dataclass import dataclass
from srcli.workers import J, T
from srcli.workers.distribute import Pool, WorkerSetup
from srcli.workers.slot import Slot


@dataclass(frozen=True)
class PoolConfig:
    """Worker processes in `slots`, or the workers of a Ray cluster, or this process alone.

    `ray` is the address of the cluster; it runs at most `max_workers` workers, each on `device`. A `local`
    cluster has `cores`.
    """

    slots: tuple[Slot, ...] = ()
    ray: str | None = None
    device: str | None = None
    max_workers: int | None = None
    cores: int = 1

    @property
    def is_single(self) -> bool:
        """True if this process does everything, in a plain loop."""
        return self.ray is None and len(self.slots) < 2

    def start(self, setup: WorkerSetup[J, T]) -> Pool[J, T]:
        """Start the pool, whose workers each call `setup` first. Raises `SrError` if there is no cluster."""
        if self.ray is not None:
            from srcli.workers.ray_pool import RayPool

            return RayPool(setup, self.ray, self.device, self.max_workers, self.cores)
        from srcli.workers.process_pool import ProcessPool

        return ProcessPool(setup, list(self.slots))
