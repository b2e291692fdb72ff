"""Jobs that overlap: on threads, with turns on the main thread; small images of a batch are such jobs."""

import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.command import wait_until
from srcli import batch
from srcli.batch import events, execution
from srcli.batch.request import Naming, UpscaleRequest
from srcli.errors import SrError
from srcli.imaging.size import TargetSize
from srcli.methods.choice import ModelChoice
from srcli.workers.overlap import Overlap


def test_a_job_starts_during_the_turn_of_another() -> None:
    second_runs = threading.Event()
    with Overlap[int, tuple[int, int]](2) as overlap:

        def work(job: int) -> tuple[int, int]:
            if job == 2:
                second_runs.set()
            return overlap.run_in_turn(take_turn), threading.get_ident()

        def take_turn() -> int:
            assert second_runs.wait(20)
            return threading.get_ident()

        tickets = [overlap.start(job, work) for job in (1, 2)]
        results = [overlap.finish(ticket).result for ticket in tickets]
        assert overlap.run_in_turn(threading.get_ident) == threading.get_ident()
    assert [result and result[0] for result in results] == [threading.get_ident()] * 2
    assert len({result and result[1] for result in results} | {threading.get_ident()}) == 3


def test_turns_of_earlier_jobs_come_first() -> None:
    order, second_may_ask = [], threading.Event()

    def work(job: int) -> None:
        assert job != 2 or second_may_ask.wait(20)
        overlap.run_in_turn(lambda: order.append(job))

    def wait_for_both() -> None:
        tickets.extend(overlap.start(job, work) for job in (2, 3))
        wait_until(lambda: overlap._messages.qsize() == 1)
        second_may_ask.set()
        wait_until(lambda: overlap._messages.qsize() == 2)

    with Overlap[int, None](3) as overlap:
        tickets = [overlap.start(1, lambda job: overlap.run_in_turn(wait_for_both))]
        for number in range(3):
            overlap.finish(tickets[number])
    assert order == [2, 3]


def test_what_a_turn_raises_is_the_failure_of_its_job() -> None:
    def fail() -> None:
        raise SrError("it cannot be enlarged")

    with Overlap[str, None](2) as overlap:
        outcome = overlap.finish(overlap.start("a", lambda job: overlap.run_in_turn(fail)))
    assert outcome.error
    assert outcome.error.message == "it cannot be enlarged"


def test_leaving_early_stops_jobs_at_their_next_turn() -> None:
    second_runs, cleaned = threading.Event(), []

    def ask(job: str) -> None:
        second_runs.set()
        try:
            overlap.run_in_turn(lambda: None)
        finally:
            cleaned.append(job)

    def interrupt() -> None:
        overlap.start("second", ask)
        assert second_runs.wait(20)
        raise KeyboardInterrupt

    overlap, interval = Overlap[str, None](2), sys.getswitchinterval()
    with pytest.raises(KeyboardInterrupt), overlap:
        overlap.finish(overlap.start("first", lambda job: overlap.run_in_turn(interrupt)))
    assert cleaned == ["second"]
    assert sys.getswitchinterval() == interval


@pytest.fixture
def request_(photo: Path, tmp_path: Path) -> UpscaleRequest:
    """Six photographs, by a network, into a folder."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        shutil.copy(photo, tmp_path / "in" / f"{number}.png")
    return UpscaleRequest(
        (tmp_path / "in",), TargetSize(scale=2), ModelChoice("espcn"), Naming(tmp_path / "out", suffix="")
    )


@pytest.mark.parametrize("smallest_large", [2**22, 1])
def test_events_of_images_that_overlap_come_in_order(
    smallest_large: int, request_: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "STREAMED_PIXELS", smallest_large)
    seen: list[events.Event] = []
    request = replace(request_, execution=replace(request_.execution, tile=64))
    assert batch.run(request, seen.append).done == 6
    names = [type(event).__name__ for event in seen]
    starts = [number for number, name in enumerate(names) if name == "ImageStarted"]
    for number, start in enumerate(starts):
        end = names.index("ImageDone", start)
        event = seen[end]
        assert isinstance(event, events.ImageDone)
        assert event.task.source.name == f"{number}.png"
        assert set(names[start + 1 : end]) - {"ModelLoading", "ModelLoaded", "Note"} == {
            "TileDone",
            "SeamMeasured",
        }
    assert len(starts) == 6
