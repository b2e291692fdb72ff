"""Looking into the database of a job."""

from pathlib import Path

from srcli.batch import job_store


def count_states(job: Path) -> dict[str, int]:
    with job_store.open_for_reading(job) as store:
        counts = store.count()
    return {state: getattr(counts, state) for state in job_store.STATES if getattr(counts, state)}
