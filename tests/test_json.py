"""What `--json` prints is what docs/schema.json says, down to integers."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from helpers.command import BICUBIC_X2, Run
from helpers.images import copy_sample
from helpers.json_objects import STRICT, check_object
from tools import json_docs


def check_event(item: dict[str, Any]) -> None:
    check_object(item, f"{item['event'].capitalize()}Event")


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return copy_sample("coffee.png", tmp_path)


def test_the_file_is_the_generated_one() -> None:
    assert json.loads(json_docs.SCHEMA.read_text()) == json_docs.build_schema(), "run make docs"
    jsonschema.Draft202012Validator.check_schema(json_docs.build_schema())


def test_a_wrong_type_is_found() -> None:
    record = {"event": "progress", "done": 1, "total": 2}
    check_event(record)
    for wrong in ({"done": 1.0}, {"done": "1"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check_event(record | wrong)


def test_upscale(sr: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    done = sr("upscale", tmp_path, "-x2", "-m", "fsrcnn", "--tile", 200, "-o", tmp_path / "out", "--json")
    records = {record["status"]: record for record in read_lines(done.out)}
    check_object(records["done"], "DoneImage")
    check_object(records["failed"], "FailedImage")
    events = read_lines(done.err)
    assert {"begin", "method", "progress", "seam", "end"} <= {event["event"] for event in events}
    for event in events:
        check_event(event)
    again = sr("upscale", photo, *BICUBIC_X2, "--only-enlarge", "--long-edge", 10, "--json")
    assert again.code == 2  # two sizes
    again = sr("upscale", photo, "--only-enlarge", "--long-edge", 10, "--json")
    check_object(json.loads(again.out), "SkippedImage")


def test_upscale_in_a_job(sr: Run, photo: Path, tmp_path: Path) -> None:
    done = sr("upscale", photo, *BICUBIC_X2, "-o", tmp_path / "out", "--job", tmp_path / "j.db", "--json")
    assert done.code == 0, done.err
    check_object(json.loads(done.out), "DoneImage")
    events = read_lines(done.err)
    assert {"job", "end"} <= {event["event"] for event in events}
    for event in events:
        check_event(event)


def test_estimates(sr: Run, photo: Path) -> None:
    done = sr("upscale", photo, *BICUBIC_X2, "--dry-run", "--json")
    check_object(json.loads(done.out), "EstimatedImage")


def test_info(sr: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    copy_sample("camera.png", tmp_path)
    assert sr("upscale", photo, *BICUBIC_X2, "-o", tmp_path / "large.jpg").code == 0
    lines = read_lines(sr("info", tmp_path, "--json").out)
    assert len(lines) == 4
    for line in lines:
        check_object(line, "UnreadableImage" if "error" in line else "ReadableImage")
    assert any(line.get("made") for line in lines)


def test_models(sr: Run) -> None:
    found = json.loads(sr("models", "list", "--json").out)
    assert len(found) > 10
    schema = json_docs.build_schema(strict=True)
    kind = {"type": "array", "items": {"$ref": "#/$defs/ListedModel"}, "$defs": schema["$defs"]}
    STRICT(kind).validate(found)


def test_bench(sr: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    command = ("bench", "-d", tmp_path, "-x2", "-m", "bicubic", "-m", "fsrcnn", "--keep-going")
    found = json.loads(sr(*command, "--metric", "all", "--json", "-").out)
    check_object(found, "Results")
    assert found["failures"]
