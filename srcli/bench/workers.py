"""Images shared among workers; one is a plain loop."""

from collections.abc import Generator, Mapping
from contextlib import closing

from srcli.bench import work
from srcli.bench.plan import Plan, Unit
from srcli.bench.work import Scored, Share
from srcli.workers.distribute import Pool, distribute

Done = Mapping[Unit, frozenset[str]]


def left_of(plan: Plan, units: list[Unit], done: Done) -> list[Share]:
    """What is not `done` by every method."""
    left = [unit for unit in units if not {each.name for each in plan.field.at(unit.scale)} <= done[unit]]
    return [Share(unit, done[unit]) for unit in left]


def all_scores(
    plan: Plan, shares: list[Share], crew: Pool[Share, list[Scored]] | None
) -> Generator[tuple[Unit, Scored]]:
    """Every score that is missing, as it comes; by this process, where there is no crew."""
    if crew is None:
        for share in shares:
            for score in work.scores(plan, share.unit, share.done):
                yield share.unit, score
        return
    with closing(distribute(shares, crew)) as outcomes:
        for outcome in outcomes:
            error = outcome.error
            if error and error.affects_all:
                raise error
            found = work.lost(plan, outcome.job, error.message) if error else outcome.result
            for score in found or ():
                yield outcome.job.unit, score
