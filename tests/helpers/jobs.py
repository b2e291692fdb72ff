"""Looking into the database of a job."""

from pathlib import Path

from srcli.batch import job_store


def count_states(job: Path) -> dict[str, int]:
    with job_store.reading(job) as book:
        counts = book.counts()
    return {state: getattr(counts, state) for state in job_store.STATES if getattr(counts, state)}
