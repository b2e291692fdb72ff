"""Who does the work."""

from dataclasses import dataclass

from srcli.workers import J, T
from srcli.workers.distribute import Begin, Pool
from srcli.workers.slot import Slot


@dataclass(frozen=True)
class PoolConfig:
    """Processes at their seats; or Ray's workers, where `ray` says by which cluster; or this process alone.

    Of Ray's workers there are `most` at a time, which take `device`; a `local` cluster has `cores`.
    """

    seats: tuple[Slot, ...] = ()
    ray: str | None = None
    device: str | None = None
    most: int | None = None
    cores: int = 1

    @property
    def alone(self) -> bool:
        """Whether all is done in this process, in a plain loop."""
        return self.ray is None and len(self.seats) < 2

    def crew(self, begin: Begin[J, T]) -> Pool[J, T]:
        """The workers, each of which begins with `begin`. Raises `SrError` where there is no cluster."""
        if self.ray is not None:
            from srcli.workers.ray_pool import Actors

            return Actors(begin, self.ray, self.device, self.most, self.cores)
        from srcli.workers.process_pool import Processes

        return Processes(begin, list(self.seats))
