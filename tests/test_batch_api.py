"""`srcli.batch.run` from Python: a request in, events on the way, a summary out, and nothing printed."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image as PilImage

from srcli import batch
from srcli.batch import events
from srcli.batch.dry_run import estimate_batch
from srcli.batch.prepare import prepare
from srcli.batch.request import BatchPolicy, Execution, Naming, UpscaleRequest
from srcli.batch.summary import Summary
from srcli.bench import BenchRequest
from srcli.bench.plan import build_plan
from srcli.errors import ExitCode, FileError, SrError, UsageError
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.image import read_image
from srcli.imaging.size import TargetSize
from srcli.methods import MethodOptions
from srcli.methods.choice import ModelChoice
from srcli.methods.classical import UntrainedSettings
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore


@pytest.fixture
def request_(photos: Path, tmp_path: Path) -> UpscaleRequest:
    """Three photographs and a broken one, by bicubic, into a folder."""
    (photos / "broken.png").write_bytes(b"no image")
    return UpscaleRequest(
        (photos,), TargetSize(scale=2), ModelChoice("bicubic"), Naming(tmp_path / "out", suffix="")
    )


def run(request: UpscaleRequest) -> tuple[Summary, list[events.Event]]:
    seen: list[events.Event] = []
    return batch.run(request, seen.append), seen


def names_of(seen: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in seen]


def test_a_folder(
    request_: UpscaleRequest, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, seen = run(request_)
    assert (summary.done, summary.failed, summary.untried, summary.images) == (3, 1, 0, 4)
    assert [failure.task.source.name for failure in summary.failures] == ["broken.png"]
    assert summary.exit_code == ExitCode.PARTLY
    assert capsys.readouterr() == ("", "")
    for name in ("astronaut", "chelsea", "coffee"):
        assert read_image(tmp_path / "out" / f"{name}.png").size == (192, 192)
    assert names_of(seen) == [
        "BatchStarted", "ImageStarted", "ModelLoading", "ModelLoaded", "ImageDone", "ImageStarted",
        "ImageFailed", *["ImageStarted", "ImageDone"] * 2, "BatchDone",
    ]  # fmt: skip
    done = next(event for event in seen if isinstance(event, events.ImageDone))
    assert done.task == UpscaleTask(photos / "astronaut.png", tmp_path / "out" / "astronaut.png")
    assert (done.result.input_size, done.result.output_size) == ((96, 96), (192, 192))
    assert seen[-1] == events.BatchDone(summary)


def test_a_string_is_an_input_and_defaults_are_those_of_the_command(photo: Path) -> None:
    summary, _ = run(UpscaleRequest((str(photo),), model=ModelChoice("nearest")))
    assert summary == Summary(done=1)
    assert read_image(photo.with_name("photo_x4.png")).size == (320, 240)


def test_workers_return_the_events_of_their_images(request_: UpscaleRequest, tmp_path: Path) -> None:
    """In whatever order images are finished; each one's events are together."""
    one, _ = run(request_)
    apart = replace(
        request_,
        naming=Naming(tmp_path / "apart", suffix=""),
        model=ModelChoice("espcn"),
        execution=Execution("cpu", workers=2),
    )
    two, seen = run(apart)
    assert (two.done, two.failed) == (one.done, one.failed)
    assert isinstance(seen[0], events.BatchStarted)
    assert seen[1] == events.WorkersStarted(4)
    found = names_of(seen)
    assert found.count("ImageStarted") == 4
    assert found.count("SeamMeasured") == 0
    assert "ModelLoaded" in found[: found.index("ImageDone")]
    assert "TileDone" not in found, "of use only while an image is in progress"
    for event, following in pairwise(seen):
        if isinstance(event, events.SeamMeasured | events.Note | events.ModelLoaded):
            assert not isinstance(following, events.ImageStarted)


def test_tiles_and_seams_are_reported(photo: Path, tmp_path: Path) -> None:
    request = UpscaleRequest(
        (photo,), TargetSize(scale=2), ModelChoice("espcn"), Naming(tmp_path / "out.png"),
        execution=Execution("cpu", tile=32),
    )  # fmt: skip
    _, seen = run(request)
    tiles = [event for event in seen if isinstance(event, events.TileDone)]
    assert [tile.done for tile in tiles] == list(range(1, tiles[0].total + 1))
    assert any(isinstance(event, events.SeamMeasured) for event in seen)


def test_what_is_up_to_date_is_skipped(request_: UpscaleRequest) -> None:
    run(request_)
    again, seen = run(replace(request_, policy=BatchPolicy(skip_existing=True)))
    assert (again.done, again.failed) == (3, 1)
    assert names_of(seen).count("ImageSkipped") == 3
    refused, _ = run(request_)
    assert (refused.done, refused.failed, refused.exit_code) == (0, 4, ExitCode.FAILED)


def test_it_stops_between_two_images_when_asked_to(request_: UpscaleRequest, tmp_path: Path) -> None:
    asked = iter([False, False, False, True])
    summary = batch.run(request_, should_stop=lambda: next(asked))
    assert (summary.done, summary.failed, summary.untried) == (2, 1, 1)
    assert summary.exit_code == ExitCode.PARTLY
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_job_resumes(request_: UpscaleRequest, tmp_path: Path) -> None:
    job = replace(request_, policy=BatchPolicy(job=str(tmp_path / "job.db")))
    asked = iter([False, False, True])
    first = batch.run(job, should_stop=lambda: next(asked))
    assert (first.done + first.failed, first.untried, first.exit_code) == (2, 2, ExitCode.PARTLY)
    second, seen = run(job)
    assert (second.done, second.failed, second.untried) == (3, 1, 0)
    opened = next(event for event in seen if isinstance(event, events.JobOpened))
    assert (opened.counts.total, opened.counts.remaining, opened.new, opened.interrupted) == (4, 2, 0, 0)
    assert names_of(seen).count("ImageStarted") == 2
    assert isinstance(seen[-1], events.JobDone)


def test_a_folder_is_watched_until_it_is_stopped(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    photo.rename(folder / "a.png")
    seen: list[events.Event] = []
    request = UpscaleRequest(
        (folder,), TargetSize(scale=2), ModelChoice("nearest"), Naming(tmp_path / "out"),
        policy=BatchPolicy(watch=True),
    )  # fmt: skip
    summary = batch.run(
        request, seen.append, lambda: any(isinstance(event, events.ImageDone) for event in seen)
    )
    assert summary == Summary(done=1)
    assert seen[0] == events.FoldersWatched((folder,))
    assert (tmp_path / "out" / "a_x2.png").exists()


def test_the_best_model_in_time_is_chosen(photo: Path, tmp_path: Path) -> None:
    request = UpscaleRequest((photo,), TargetSize(scale=2), policy=BatchPolicy(within=1000))
    _, seen = run(request)
    assert events.ModelChosen("slimres", 1000) in seen  # on a busy machine, a long trial is announced before


def test_the_time_is_for_all_images(photos: Path) -> None:
    """Divided evenly over images and frames; in a bench over images at each scale."""
    frames = [PilImage.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(3)]
    frames[0].save(photos / "three.gif", save_all=True, append_images=frames[1:])
    request = UpscaleRequest((photos,), model=ModelChoice("tv"), policy=BatchPolicy(within=60))
    settings = prepare(request, ignore).settings
    assert settings.options.untrained.within == 60 / (3 + 3)
    assert settings.fingerprint.options == {"within": "60s"}
    options = MethodOptions(untrained=UntrainedSettings(within=60))
    (photos / "three.gif").unlink()
    plan = build_plan(BenchRequest((str(photos),), (2, 3), ("tv",), options=options))
    assert plan.lineup.options.untrained.within == 60 / (2 * 3)


def test_estimates_write_nothing(request_: UpscaleRequest, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").unlink()
    estimates = list(estimate_batch(request_))
    assert [each.output_size for each in estimates] == [(192, 192)] * 3
    assert all(each.estimate.seconds > 0 for each in estimates)
    assert not (tmp_path / "out").exists()


BAD = [
    ({"inputs": ()}, "no input given"),
    ({"model": ModelChoice("edsr", Path("a.safetensors"))}, "model cannot be used with weights"),
    ({"model": ModelChoice(arch="edsr")}, "arch needs weights"),
    ({"model": ModelChoice("edrs")}, "no model called 'edrs'"),
    ({"naming": Naming(name="{stem}_{size}")}, "--name has no field {size}"),
    ({"encoding": EncodingOptions(subsampling="9")}, "9"),
    ({"policy": BatchPolicy(rescan=True)}, "--rescan needs --job"),
    ({"policy": BatchPolicy(watch=True, within=3)}, "--within cannot be used with --watch"),
    ({"policy": BatchPolicy(job="a", within=3)}, "--within cannot be used with --job"),
    ({"execution": Execution("gpu0,cpu")}, "no device called 'gpu0'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_request_that_cannot_be_carried_out(
    changes: dict[str, object], message: str, request_: UpscaleRequest, tmp_path: Path
) -> None:
    with pytest.raises(SrError, match=message):
        batch.run(replace(request_, **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_exit_code_follows_from_the_summary() -> None:
    usage, disk = UsageError("no device"), FileError("disk full", affects_all=True)
    assert Summary().exit_code == ExitCode.OK
    assert Summary(done=2).exit_code == ExitCode.OK
    assert Summary(done=1, failed=1).exit_code == ExitCode.PARTLY
    assert Summary(done=1, untried=1).exit_code == ExitCode.PARTLY
    assert Summary(failed=2).exit_code == ExitCode.FAILED
    assert Summary(failed=1, untried=3, error=usage).exit_code == ExitCode.USAGE
    assert Summary(failed=1, untried=3, error=disk).exit_code == ExitCode.FAILED
