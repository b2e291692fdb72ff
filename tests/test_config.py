"""Defaults from sr.toml and the environment; flags win."""

from pathlib import Path

import pytest

from helpers.command import Run
from srcli.imaging.image import read_image


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own sr.toml; the working folder is an empty one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "home" / "sr").mkdir(parents=True)
    return tmp_path / "home" / "sr" / "sr.toml"


def test_flags_win_over_environment_over_folder_over_home(
    home: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    def side(*arguments: str) -> int:
        assert sr("upscale", photo, "-o", "o.png", "--overwrite", *arguments).code == 0
        return read_image(Path("o.png")).size[0]

    home.write_text('[tool.sr]\nmodel = "bicubic"\n[tool.sr.upscale]\nscale = 2\n')
    assert side() == 160
    Path("sr.toml").write_text("[tool.sr]\nscale = 3\n")
    assert side() == 240
    monkeypatch.setenv("SR_SCALE", "1.5")
    assert side() == 120
    monkeypatch.setenv("SR_UPSCALE_SCALE", "5")
    assert side() == 400
    assert side("-x6") == 480
    done = sr("config")
    assert done.code == 0
    told = {line.split(" = ")[0]: line.split()[-1] for line in done.out.splitlines()}
    assert told["upscale --model"] == str(home)
    assert told["upscale --scale"] == "SR_UPSCALE_SCALE"
    assert told["bench --scale"] == "SR_SCALE"


def test_flags_and_lists(home: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    home.write_text('[tool.sr.upscale]\nmodel = "bicubic"\nquiet = true\nformat = "jpg"\nlong-edge = 100\n')
    done = sr("upscale", photo)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert read_image(photo.with_name("photo_l100.jpg")).size == (100, 75)
    monkeypatch.setenv("SR_QUIET", "0")
    monkeypatch.setenv("SR_BENCH_MODEL", "nearest,lanczos")
    assert sr("upscale", photo, "--overwrite").out
    assert "['nearest', 'lanczos']" in sr("config").out


BAD = [
    ("[tool.sr]\nmodle = 'x'", "no option called 'modle'", "did you mean 'model'"),
    ("[tool.sr.upscal]\nx = 1", "no command called 'upscal'", "did you mean 'upscale'"),
    ("[tool.sr.upscale]\nscael = 1", "upscale has no option called 'scael'", "did you mean 'scale'"),
    ("[tool.sr", "cannot be read", "fix it"),
    ("[tool]\nsr = 1", "[tool.sr] is not a table", "write"),
    ("[tool.sr.upscale]\nscale = 'many'", "Invalid value", "see `sr upscale --help`"),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD)
def test_bad_files_are_named(text: str, message: str, hint: str, home: Path, photo: Path, sr: Run) -> None:
    Path("sr.toml").write_text(text)
    done = sr("upscale", photo)
    assert done.code == 2
    assert message in done.err
    assert hint in done.err


def test_nothing_set(home: Path, sr: Run) -> None:
    done = sr("config")
    assert (done.code, done.out) == (0, "")
    assert f"{home}: does not exist" in done.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows(encoding: str, in_tmp: Path, sr: Run) -> None:
    Path("sr.toml").write_bytes('[tool.sr]\r\nprefix = "groß-"\r\n'.encode(encoding))
    done = sr("config")
    assert (done.code, "upscale --prefix = groß-" in done.out) == (0, True)


_REDIRECTIONS = [
    'output = "../stolen"',
    'name = "../../{stem}"',
    'prefix = "x"',
    "overwrite = true",
    'weights = "evil.pth"',
    'job = "evil"',
    'ray = "10.0.0.1:6379"',
    "in-place = true",
    'uncertainty = "map.png"',
    'files-from = "/etc/passwd"',
    "max-pixels = 1000000000000",
]


@pytest.mark.parametrize("line", _REDIRECTIONS)
def test_a_file_in_a_folder_cannot_redirect(line: str, home: Path, photo: Path, sr: Run) -> None:
    option = line.split(maxsplit=1)[0]
    Path("sr.toml").write_text(f'[tool.sr.upscale]\n{line}\nmodel = "bicubic"\nscale = 2\n')
    Path("a.png").write_bytes(photo.read_bytes())
    done = sr("upscale", "a.png")
    assert done.code == 0
    assert f"sr.toml: --{option} ignored; `sr config trust` allows them in this folder" in done.err
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.png", "a_x2.png", "sr.toml"]
    assert "(ignored: not trusted)" in sr("config").out


def test_a_folder_is_trusted_until_its_file_changes(home: Path, photo: Path, sr: Run) -> None:
    Path("sr.toml").write_text('[tool.sr.upscale]\noutput = "out"\nmodel = "bicubic"\nscale = 2\n')
    Path("out").mkdir()
    Path("out2").mkdir()
    assert sr("config", "trust").code == 0
    assert "ignored" not in sr("upscale", photo).err
    assert Path("out/photo_x2.png").exists()
    Path("sr.toml").write_text(Path("sr.toml").read_text().replace('"out"', '"out2"'))
    assert "--output ignored" in sr("upscale", photo).err
    assert not list(Path("out2").iterdir())
    assert sr("config", "trust").code == 0
    assert sr("upscale", photo).code == 0
    assert Path("out2/photo_x2.png").exists()
    assert sr("config", "trust", "--undo").code == 0
    assert "--output ignored" in sr("upscale", photo, "--overwrite").err


def test_the_own_file_may_redirect(home: Path, photo: Path, sr: Run) -> None:
    home.write_text('[tool.sr.upscale]\noutput = "out"\nmodel = "bicubic"\nscale = 2\n')
    Path("out").mkdir()
    assert sr("upscale", photo).code == 0
    assert Path("out/photo_x2.png").exists()


def test_nothing_to_trust(home: Path, sr: Run) -> None:
    done = sr("config", "trust")
    assert done.code == 2
    assert "there is no sr.toml in this folder" in done.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quiet = 'yes'", "--quiet takes true or false, not 'yes'"),
        ("tile = true", "--tile takes a whole number, not True"),
        ("width = 1.5", "--width takes a whole number, not 1.5"),
        ("strength = 'much'", "--strength takes a number, not 'much'"),
        ("model = ['a']", "--model takes a text, not ['a']"),
        ("model = 1979-05-27", "--model takes a text, not datetime.date"),
        ("format = true", "--format takes a text, not True"),
    ],
)
def test_values_of_another_type(line: str, message: str, home: Path, photo: Path, sr: Run) -> None:
    Path("sr.toml").write_text(f"[tool.sr.upscale]\n{line}\n")
    done = sr("upscale", photo)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("error: ") == 1


@pytest.mark.parametrize("kind", ["nested", "long", "not text", "a long number"])
def test_files_that_are_no_configuration(kind: str, home: Path, photo: Path, sr: Run) -> None:
    texts = {
        "nested": b"a = " + b"[" * 100_000,
        "long": b"x" * 2**21,
        "not text": b"\xff\xfe\x00",
        "a long number": b"a = 1" + b"0" * 10_000,
    }
    Path("sr.toml").write_bytes(texts[kind])
    done = sr("upscale", photo)
    assert done.code == 2
    assert done.err.count("error: sr.toml ") == 1
    assert max(map(len, done.err.splitlines())) < 300
