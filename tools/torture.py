"""Attack `sr` with hostile files, names, kills and full disks: `python tools/torture.py [--short]`.

Each case is a command of its own; its exit code, tracebacks, processor time and memory are recorded. A
case is a fault if it prints a traceback, ends in an exit code that `sr` does not have, takes more than 5 s of
processor time or 1 GB of memory, or leaves a file half-written.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tools import bombs

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "torture.json"
SAMPLE = ROOT / "srcli" / "samples" / "chelsea.png"
_SECONDS, _BYTES, _TIMEOUT = 5.0, 2**30, 60
_BICUBIC = ("-m", "bicubic", "-x2")
JUNK_OPTIONS = (
    ("--name", "{stem:d}"),
    ("--size", "9" * 5000 + "x1"),
    ("--seed", str(2**64)),
    ("--tile", "-1"),
    ("--strength", "nan"),
    ("--format", "xyz"),
    ("--within", ""),
    ("--vram", "1"),
    ("--device", "gpu"),
    ("--quality", "101"),
    ("--background", "\x1b[2J"),
    ("--max-pixels", "1" * 400),
)


@dataclass(frozen=True)
class Outcome:
    """The end of one command; `bytes` is its largest resident memory."""

    name: str
    code: int
    seconds: float
    bytes: int
    fault: str


def run(
    name: str,
    *arguments: object,
    folder: Path,
    prefix: tuple[str, ...] = (),
    program: tuple[str, ...] = ("-m", "srcli"),
    **variables: str,
) -> Outcome:
    """Run `sr` in a folder, with more variables in its environment, and measure it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SR_CACHE": str(folder / ".cache")} | variables
    environment |= {"SR_STATE": str(folder / ".state"), "XDG_CONFIG_HOME": str(folder / ".config")}
    words = [*prefix, sys.executable, *program, *map(str, arguments)]
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(words, stdout=printed, stderr=printed, cwd=folder, env=environment)
        end = time.monotonic() + _TIMEOUT
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode("utf-8", "replace")
    seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    fault = _find_fault(text, process.returncode, seconds, memory)
    return Outcome(name, process.returncode, round(seconds, 2), memory, fault)


def _find_fault(text: str, code: int, seconds: float, memory: int) -> str:
    if "Traceback" in text:
        return f"traceback: {text.strip().splitlines()[-1][:200]}"
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    if any(ord(sign) < 32 and sign not in "\n\t" for sign in text):
        return "control characters were printed"
    if seconds > _SECONDS:
        return f"{seconds:.1f} s of processor time"
    return f"{memory / 1e6:.0f} MB of memory" if memory > _BYTES else ""


def make_tiff_pages(pages: int) -> bytes:
    """Return a TIFF of many pages of 8x8."""
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    page = Image.new("L", (8, 8), 90)
    page.save(out, "TIFF", save_all=True, append_images=[page] * (pages - 1))
    return out.getvalue()


def make_bombs() -> dict[str, bytes]:
    """Return small files that ask for much time or memory, by name."""
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0"
    return {name: make() for name, make in bombs.TOO_LARGE.items()} | {
        "a GIF of 1000 frames": bombs.make_gif(16, 1000),
        "a GIF of 20000 frames": bombs.make_gif(16, 20_000),
        "a TIFF of 1000 pages": make_tiff_pages(1000),
        "thumbnails in XMP": bombs.make_text_png(b"iTXt", xmp + b"<xmp:Thumbnails>" * 50_000),
        "numbers in XMP": bombs.make_text_png(b"iTXt", xmp + b"tiff:Orientation=" + b" " * 900_000),
        "records in a comment": bombs.make_text_png(b"tEXt", b"Comment\0" + b"sr: {" * 180_000),
        "a text of 80 MB": bombs.make_text_png(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 8 * 10**7, 9)),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "an empty file": b"",
    }


def attack_with_bombs(folder: Path, short: bool) -> Iterator[Outcome]:
    """Let each small file be upscaled and described."""
    for number, (name, data) in enumerate(make_bombs().items()):
        (folder / f"{number}.png").write_bytes(data)
        yield run(
            f"upscale {name}",
            "upscale",
            f"{number}.png",
            *_BICUBIC,
            "-o",
            "o.png",
            "--overwrite",
            folder=folder,
        )
        if not short:
            yield run(f"info {name}", "info", f"{number}.png", folder=folder)


_MAKE = """
import sys
from pathlib import Path
from tools import bombs
Path(sys.argv[1]).write_bytes(bombs.fill_up(bombs.AT_THE_LIMIT[sys.argv[2]]()))
"""
_READ = """
from pathlib import Path
from srcli.imaging.codecs.reading import read_frames
from srcli.engine.limits import choose_max_pixels
path = Path("large.bin")
assert sum(frame.samples.size for frame in read_frames(path, choose_max_pixels(path, None))) > 16e6
"""


_READ_FOR_TRAINING = """
from srcli.train.sources import parse
from srcli.train.store import StoreSpec, open_store
assert len(open_store([parse("in", 4)], StoreSpec(4, 16), lambda stage, done, count: None)) == 1
"""


def attack_at_the_limit(folder: Path, short: bool) -> Iterator[Outcome]:
    """Read and reduce flat pictures of 1 MB with almost as many pixels as are allowed by default."""
    for name in list(bombs.AT_THE_LIMIT)[2 if short else 0 : 4 if short else None]:
        # In a process of its own: the memory of the one that makes it would be counted as that of the next.
        subprocess.run([sys.executable, "-c", _MAKE, folder / "large.bin", name], cwd=ROOT, check=True)
        yield run(f"read {name}", _READ, folder=folder, program=("-c",))
        if not short:
            yield run(f"info {name}", "info", "large.bin", folder=folder)
            reduce = ("-m", "bicubic", "--size", "10x10", "--overwrite", "-o", "small.png")
            yield run(f"reduce {name}", "upscale", "large.bin", *reduce, folder=folder)


def attack_whole_images(folder: Path, short: bool) -> Iterator[Outcome]:
    """Give flat pictures, as large as is allowed by default, to the commands that keep images whole."""
    commands = {
        "bench": ("bench", "-d", "in", "-m", "bicubic", "-x4"),
        "compare": ("compare", "in/a.png", "--hr", "-x4", "-m", "bicubic", "--overwrite"),
    }
    (folder / "in").mkdir()
    for name in list(bombs.WHOLE)[: 1 if short else None]:
        (folder / "in" / "a.png").write_bytes(bombs.fill_up(bombs.WHOLE[name]()))
        for verb, command in commands.items():
            yield run(f"{verb} {name}", *command, folder=folder)
        yield run(f"read for training {name}", _READ_FOR_TRAINING, folder=folder, program=("-c",))


def attack_with_names(folder: Path, short: bool) -> Iterator[Outcome]:
    """Use names and options that mean something to a terminal, a shell, a template or a file system."""
    evil = "a\x1b[2J\x1b]0;x\x07\n\u202e.png"
    (folder / "in").mkdir()
    shutil.copy(SAMPLE, folder / "in" / evil)
    (folder / "in" / "loop.png").symlink_to("loop.png")
    (folder / "in" / "self").symlink_to(".")
    yield run("odd names", "upscale", "in", "-r", *_BICUBIC, "-o", "out", folder=folder)
    yield run(
        "odd names in a job", "upscale", "in", "-r", *_BICUBIC, "-o", "job", "--job", "./a.db", folder=folder
    )
    for words in JUNK_OPTIONS[: 4 if short else None]:
        command = ("upscale", SAMPLE, "-o", "junk", *_BICUBIC, *words)
        yield run(f"options {' '.join(words)[:30]}", *command, folder=folder)
        if (folder / "junk").exists():
            yield Outcome(f"options {' '.join(words)[:30]}", 0, 0.0, 0, "an output was written")
            shutil.rmtree(folder / "junk")
    names = ("../{stem}", "{stem:>999999999}", "{stem!r}", "/tmp/x", "{", "x" * 5000, "{stem.__class__}")
    for name in names[: 3 if short else None]:
        outcome = run(
            f"--name {name[:20]}",
            "upscale",
            SAMPLE,
            *_BICUBIC,
            "-o",
            "deep/er",
            "--name",
            name,
            folder=folder,
        )
        yield outcome
        if (folder / "deep").exists():
            yield Outcome(f"--name {name[:20]}", 0, 0.0, 0, "an output was written")
    (folder / "sr.toml").write_text('[tool.sr.upscale]\noutput = "../stolen"\noverwrite = true\n')
    shutil.copy(SAMPLE, folder / "a.png")
    yield run("a foreign sr.toml", "upscale", "a.png", *_BICUBIC, folder=folder)
    if (folder.parent / "stolen").exists():
        yield Outcome("redirected", 0, 0.0, 0, "an output left its folder")


def attack_own_files(folder: Path, short: bool) -> Iterator[Outcome]:
    """Flip bits in a job and in results, and read them again."""
    from PIL import Image

    (folder / "in").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "in" / f"{number}.png")
    job = ("upscale", "in", *_BICUBIC, "-o", "out", "--job", "./a.db")
    yield run("a job", *job, folder=folder)
    yield run("results", "bench", "-d", "samples", "-m", "bicubic", "-x4", "--json", "r.json", folder=folder)
    rng = random.Random(0)
    for name, command in (("a.db", ("jobs", "show", "./a.db")), ("r.json", ("bench", "--from", "r.json"))):
        original = (folder / name).read_bytes()
        for number in range(2 if short else 10):
            data = bytearray(original)
            for _ in range(8):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(data)
            yield run(f"{name}, damaged {number}", *command, folder=folder)
    for name, text in (("nested", b"[" * 100_000), ("digits", b'{"rows": 1' + b"0" * 9999 + b"}")):
        (folder / "r.json").write_bytes(text)
        yield run(f"results, {name}", "bench", "--from", "r.json", folder=folder)
    yield run("results, endless", "bench", "--from", "/dev/zero", folder=folder)


def attack_by_kills(folder: Path, short: bool) -> Iterator[Outcome]:
    """Kill batches with two workers at any moment, then resume and look for missing or partial files."""
    from PIL import Image

    (folder / "in").mkdir()
    count = 24
    for number in range(count):
        Image.effect_noise((200, 200), 50).save(folder / "in" / f"{number}.png")
    command = ("upscale", "in", *_BICUBIC, "-o", "out", "--skip-existing", "--workers", "2")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SR_CACHE": str(folder / ".cache")}
    rng = random.Random(0)
    for _ in range(3 if short else 20):
        process = subprocess.Popen(
            [sys.executable, "-m", "srcli", *map(str, command)], cwd=folder, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(0.5, 3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in (folder / "out").glob("[!.]*.png"):
            with Image.open(path) as image:
                image.load()  # raises for a file that is not whole
    yield run("resume after kills", *command, folder=folder)
    outputs = list((folder / "out").glob("[!.]*.png"))
    left = list((folder / "out").glob(".sr-*"))
    fault = "" if len(outputs) == count and not left else f"{len(outputs)} outputs, {len(left)} leftovers"
    yield Outcome("after kills", 0, 0.0, 0, fault)


def attack_full_disks(folder: Path, short: bool) -> Iterator[Outcome]:
    """Write onto a disk that is full; skipped where nothing may be mounted."""
    writers = {
        "an image": f"upscale {SAMPLE} -m bicubic -x4 -o disk/a.png",
        "a job": f"upscale {SAMPLE} -m bicubic -x2 -o out --job disk/a.db",
        "results": "bench -d samples -m bicubic -x4 --json disk/r.json --html disk/r.html",
        "a comparison": f"compare {SAMPLE} -m bicubic -m lanczos -x4 -o disk/a.html",
    }
    (folder / "disk").mkdir()
    mount = "mount -t tmpfs -o size=100k tmpfs disk && head -c 1000000 /dev/zero > disk/filler 2>/dev/null;"
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mount} "$@"; code=$?; '
              'test -z "$(ls -A disk | grep "^.sr-")" || exit 99; exit $code', "sh")  # fmt: skip
    if subprocess.run(
        [*prefix[:-2], "mount -t tmpfs tmpfs disk"], cwd=folder, check=False, capture_output=True
    ).returncode:
        return
    for name, command in list(writers.items())[: 2 if short else None]:
        yield run(f"full disk: {name}", *command.split(), folder=folder, prefix=prefix)


def attack_as_the_hub(folder: Path, short: bool) -> Iterator[Outcome]:
    """Answer as a Hub that breaks off, never ends, sends a page or asks to come again in an hour."""
    sys.path.insert(0, str(ROOT / "tests"))
    serve, client = import_module("helpers.fake_hub").serve, import_module("helpers.hub_client")
    content = bytes(range(256)) * 4096
    faults = [
        (method, fault)
        for fault in ("endless", "gzip", "page", "reset", "wait 3600", "bare", "astray", "spoil", "busy")
        for method in ("GET", "HEAD")
    ]
    for number, (method, fault) in enumerate(faults[:6] if short else faults):
        work = folder / str(number)
        work.mkdir()
        arguments = ["models", "fetch", "edsr", "--yes"]
        (work / "code.py").write_text(client.code_with_manifest(work, content, arguments, bytes=len(content)))
        with serve() as hub:
            hub.files[client.WEIGHTS_PATH] = content
            hub.faults[f"{method} {client.WEIGHTS_PATH}"] = [fault] * 99
            yield run(
                f"{fault} for {method}", folder=work, program=(str(work / "code.py"),),
                HF_ENDPOINT=hub.url, HF_HOME=str(work / "hf"), NO_PROXY="*", HF_HUB_DISABLE_PROGRESS_BARS="1",
            )  # fmt: skip
        wrong = [
            path for path in work.rglob("blobs/*")
            if not path.name.endswith(".incomplete") and path.read_bytes() != content
        ]  # fmt: skip
        if wrong:
            yield Outcome(f"{fault} for {method}", 0, 0.0, 0, "a wrong file was kept")


ATTACKS = {
    "answers of the Hub": attack_as_the_hub,
    "small files": attack_with_bombs,
    "the most pixels in 1 MB": attack_at_the_limit,
    "the most pixels of whole images": attack_whole_images,
    "names and options": attack_with_names,
    "damaged files of its own": attack_own_files,
    "kills": attack_by_kills,
    "full disks": attack_full_disks,
}


def main() -> None:
    """Run all attacks; write figures unless it is the short form; exit with 1 if there was a fault."""
    short, figures, faults = "--short" in sys.argv, {}, []
    for kind, attack in ATTACKS.items():
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            work = Path(folder, "work")
            work.mkdir()
            outcomes = list(attack(work, short))
        bad = [f"{each.name}: {each.fault}" for each in outcomes if each.fault]
        figures[kind] = {
            "cases": len(outcomes),
            "faults": bad,
            "seconds": max((each.seconds for each in outcomes), default=0),
            "bytes": max((each.bytes for each in outcomes), default=0),
        }
        print(f"{kind}: {len(outcomes)} cases, {len(bad)} faults", *bad, sep="\n  ", flush=True)
        faults += bad
    if not short:
        RESULT.write_text(json.dumps({"kinds": figures}, indent=1) + "\n")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
