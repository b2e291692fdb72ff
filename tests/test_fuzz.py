"""A small sample of what `make fuzz` does: damaged files end in an image or in an error of one line."""

import warnings
from pathlib import Path

import pytest

from srcli.cli.app import run
from srcli.errors import ImageError
from srcli.imaging.image import read_images
from srcli.upscaling import files
from tools import fuzz

SAMPLE = 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", fuzz.list_kinds())
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    sound = fuzz.list_kinds()[kind][1](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdicts = {k: fuzz.run_case(kind, 1, k, tmp_path, sound) for k in range(SAMPLE)}
    assert not {k: v for k, v in verdicts.items() if v not in ("read", "refused")}


def test_faults_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that loses its head, or that never ends, is a fault and not a refusal."""

    def lose(*given: object) -> None:
        raise ZeroDivisionError("lost")

    def spin(*given: object) -> None:
        while True:
            pass

    sound = fuzz.list_kinds()["PNG 8"][1](tmp_path)
    monkeypatch.setattr(fuzz, "LIMIT", 0.3)
    monkeypatch.setattr(files, "read_timing", spin)
    assert fuzz.run_case("PNG 8", 0, 0, tmp_path, sound) == "hang"
    monkeypatch.setattr(files, "read_timing", lose)
    assert fuzz.run_case("PNG 8", 0, 0, tmp_path, sound) == "traceback: ZeroDivisionError: lost"


IMAGES = [kind for kind, (suffix, _) in fuzz.list_kinds().items() if suffix not in (".pth", ".safetensors")]


# These end in something other than the samples that are read: smaller pictures, an end mark, a footer.
SHARES = {"ICNS": (0.3, 0.6), "ICO": (0.3, 0.6, 0.9), "TGA": (0.3, 0.6, 0.9)}


@pytest.mark.parametrize("kind", IMAGES)
def test_no_part_of_a_file_is_taken_for_the_whole(kind: str, tmp_path: Path) -> None:
    suffix, make = fuzz.list_kinds()[kind]
    whole, path = make(tmp_path), tmp_path / f"part{suffix}"
    path.write_bytes(whole)
    assert list(read_images(path))
    for share in SHARES.get(kind, (0.3, 0.6, 0.9, 0.99)):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError):
            list(read_images(path))


def test_codecs_do_not_talk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for kind in ("HDR 32", "PPM 16", "JPEG2000 16", "PNG 16"):
        suffix, make = fuzz.list_kinds()[kind]
        (tmp_path / f"a{suffix}").write_bytes(make(tmp_path)[:-60])
        assert run(["upscale", str(tmp_path / f"a{suffix}"), "-x2", "-m", "bicubic"]) == 1
    assert "ERROR" not in capfd.readouterr().err
