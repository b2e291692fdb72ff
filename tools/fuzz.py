"""Run damaged files through `sr`: `python tools/fuzz.py [--cases 200] [--seed 0]`, or `make fuzz`.

Images of every format go through `sr upscale -m bicubic`, weight files through the code that reads them. Each
case has to end within five seconds, with an output that can be read or an error of one line. A crash, a hang,
a traceback or an output next to an error is a fault. Cases run in child processes, so that a crash can be
counted.
"""

import argparse
import contextlib
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image as PilImage
from PIL import ImageCms

from srcli import archs
from srcli.cli.app import run
from srcli.errors import ImageError, SrError
from srcli.imaging.codecs import png_chunks
from srcli.imaging.codecs.base import Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.codecs.registry import CODECS, SUFFIXES
from srcli.imaging.codecs.writing import write_frames
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metadata.fields import Metadata
from tools.odd_files import ODD_FILES
from tools.structures import STRUCTURES

# Of the sound but unusual files, those that run code of their own.
ODD_KINDS = (
    "animated PNG with a palette",
    "animated PNG whose frames cover a part and are drawn over",
    "PNG with EXIF in text (exif)",
    "PGM with a maximum of 1023",
    "PPM with a maximum of 4095, plain",
    "PAM of 16-bit RGB with alpha",
    "PBM, ten pixels wide",
    "JPEG 2000 of 4 channels, 10 bits",
    "JPEG 2000 of 2 channels, 12 bits",
    "TIFF of 12-bit colour in planes, high byte first",
    "TIFF of 16-bit colour in planes, LZW with differences",
    "TIFF of 16 bits in tiles, Zstandard",
    "TIFF of 8-bit grey with premultiplied alpha",
    "TIFF of 16-bit indices into a palette",
    "AVIF of 10-bit grey, limited range",
    "HDR with the axes -X 2 +Y 3",
    "SGI of 16 bits, compressed",
    "JPEG of 12 bits, 3 channels",
)

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
LIMIT = 5.0
_GROUP = 100
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)

Rng = np.random.Generator


class HangError(BaseException):
    """A case took too long. Not an Exception, so that no handler mistakes it for a damaged file."""


# Seeds


# Width and height of a raw file, and what its camera sees of white.
RAW_SIZE = (96, 64)
_NEUTRAL = (0.5, 1, 0.6)


def _make_picture(depth: int, alpha: bool = False) -> Image:
    rng = np.random.default_rng(1)
    exif = PilImage.Exif()
    exif[0x010E], exif[0x0112] = "a cup", 6
    about = Metadata(
        icc=bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        exif=exif.tobytes(),
        dpi=(300.0, 300.0),
        comment=b"a cup",
        chunks=((b"tEXt", b"Title\0a cup"),),
    )
    plane = rng.random((16, 24), np.float32) if alpha else None
    return Image(rng.random((16, 24, 3), np.float32), plane, depth, metadata=about)


def _make_image(suffix: str, depth: int, alpha: bool, folder: Path) -> bytes:
    path = folder / f"seed{suffix}"
    image = _make_picture(depth, alpha)
    try:
        write_image(path, image)
    except ImageError:  # some encoders want more pixels
        write_image(path, Image(np.tile(image.pixels, (4, 4, 1)), depth=depth))
    return path.read_bytes()


def _make_frames(suffix: str, folder: Path) -> bytes:
    path = folder / f"seed{suffix}"
    frames = [Frame(np.full((16, 24, 3), 60 * k, np.uint8), 8) for k in range(3)]
    write_frames(path, frames, FrameTiming(3, (100, 100, 100), 0))
    return path.read_bytes()


def _make_read_only(codec: PillowCodec, folder: Path) -> bytes:
    """Make a file of a format that `sr` only reads, with Pillow, or by hand if Pillow does not write it."""
    codec.load_plugin()
    path = folder / f"seed{codec.read_suffixes[0]}"
    try:
        noise = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        PilImage.fromarray(noise).save(path, codec.name)
    except KeyError:
        path.write_bytes(codec.signatures[0] + struct.pack(">7I", 24, 16, 24, 0, 1, 0, 0) + bytes(16 * 72))
    return path.read_bytes()


def _make_mode(suffix: str, mode: str, folder: Path) -> bytes:
    PilImage.fromarray(np.zeros((16, 24, 3), np.uint8)).convert(mode).save(folder / f"seed{suffix}")
    return (folder / f"seed{suffix}").read_bytes()


def _make_cmyk16(suffix: str, folder: Path) -> bytes:
    samples = np.random.default_rng(1).integers(0, 65536, (16, 24, 4), dtype=np.uint16)
    tifffile.imwrite(folder / f"seed{suffix}", samples, photometric="separated", compression="zlib")
    return (folder / f"seed{suffix}").read_bytes()


def _make_deep_avif(suffix: str, folder: Path) -> bytes:
    samples = np.random.default_rng(1).integers(0, 1024, (16, 24, 4), dtype=np.uint16)
    _, data = cv2.imencode(suffix, samples, [cv2.IMWRITE_AVIF_DEPTH, 10])
    return data.tobytes()


def _make_deep_heic(suffix: str, folder: Path) -> bytes:
    import pillow_heif

    samples = np.random.default_rng(1).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    pillow_heif.from_bytes("RGB;16", (48, 32), samples.tobytes()).save(folder / f"seed{suffix}")
    return (folder / f"seed{suffix}").read_bytes()


def _make_odd(name: str, folder: Path) -> bytes:
    return ODD_FILES[name].make()


def write_dng(path: Path, light: float, orientation: int = 1) -> None:
    """Write a raw file of a grey wall: a mosaic of red, green and blue cells as the camera sees them."""

    def ratios(values: list[float]) -> tuple[int, ...]:
        return tuple(number for value in values for number in (round(value * 10000), 10000))

    cells = np.tile([[0, 1], [1, 2]], (RAW_SIZE[1] // 2, RAW_SIZE[0] // 2))
    mosaic = (light * 65535 * np.array(_NEUTRAL)[cells]).astype(np.uint16)
    identity = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
    tags = [
        (50706, 1, 4, (1, 4, 0, 0), True),  # DNGVersion
        (50708, 2, 0, "A camera", True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, (0, 1, 1, 2), True),
        (50721, 10, 9, ratios(identity), True),
        (50728, 5, 3, ratios(list(_NEUTRAL)), True),
        (50717, 4, 1, 65535, True),
        (50778, 3, 1, 21, True),
        (274, 3, 1, orientation, True),
    ]
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags, metadata=None)


def _make_jpeg_xl(folder: Path) -> bytes:
    import imagecodecs

    samples = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return bytes(imagecodecs.jpegxl_encode(samples, lossless=True))


def _make_dng(folder: Path) -> bytes:
    write_dng(folder / "seed.dng", light=0.25)
    return (folder / "seed.dng").read_bytes()


# Of codecs that read only, without Pillow.
_DECODED: dict[str, Callable[[Path], bytes]] = {"RAW": _make_dng, "JXL": _make_jpeg_xl}


def _make_weights(suffix: str, folder: Path) -> bytes:
    import torch
    from safetensors.torch import save_file

    state = archs.build("espcn", 2, {}).state_dict()
    path = folder / f"seed{suffix}"
    if suffix == ".safetensors":
        save_file(state, path, metadata={"arch": "espcn", "scale": "2", "config": "{}"})
    else:
        torch.save(state, path)
    return path.read_bytes()


def list_kinds() -> dict[str, tuple[str, Callable[[Path], bytes]]]:
    """Return the suffix of each kind of file, and the function that makes an intact one."""
    out: dict[str, tuple[str, Callable[[Path], bytes]]] = {}
    for codec in CODECS:
        if codec.missing_package:
            continue
        if not codec.can_write and isinstance(codec, PillowCodec):
            out[codec.name] = (codec.read_suffixes[0], partial(_make_read_only, codec))
            continue
        if not codec.can_write:
            out[codec.name] = (codec.read_suffixes[0], _DECODED[codec.name])
            continue
        suffix = codec.suffixes[0]
        for depth in codec.depths:
            alpha = codec.has_alpha and depth in (8, 16)
            out[f"{codec.name} {depth}"] = (suffix, partial(_make_image, suffix, depth, alpha))
        if codec.has_frames:
            out[f"{codec.name} frames"] = (suffix, partial(_make_frames, suffix))
    out["PNG palette"] = (".png", partial(_make_mode, ".png", "P"))
    out["TIFF CMYK"] = (".tif", partial(_make_mode, ".tif", "CMYK"))
    out["TIFF CMYK 16"] = (".tif", partial(_make_cmyk16, ".tif"))
    out["JPEG CMYK"] = (".jpg", partial(_make_mode, ".jpg", "CMYK"))
    out["AVIF 10"] = (".avif", partial(_make_deep_avif, ".avif"))
    if "HEIF 8" in out:
        out["HEIF 10"] = (".heic", partial(_make_deep_heic, ".heic"))
    out |= {name: (ODD_FILES[name].suffix, partial(_make_odd, name)) for name in ODD_KINDS}
    out |= {name: out[base] for name, (base, _) in STRUCTURES.items()}
    out["safetensors"] = (".safetensors", partial(_make_weights, ".safetensors"))
    out["checkpoint"] = (".pth", partial(_make_weights, ".pth"))
    return out


# Mutations


def mutate(data: bytes, rng: Rng) -> bytes:
    """Return a damaged copy: one to three of the mutations below."""
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            break
        data = _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](data, rng)
    # Half of the PNGs get correct checksums again, or the code behind the checks would never run.
    return _fix_checksums(data) if data.startswith(png_chunks.SIGNATURE) and rng.random() < 0.5 else data


def _fix_checksums(data: bytes) -> bytes:
    out, at = bytearray(data), len(png_chunks.SIGNATURE)
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        if at + 12 + length > len(out):
            break
        struct.pack_into(">I", out, at + 8 + length, zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


def _flip_bits(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    for at in rng.integers(0, len(out), int(rng.integers(1, 9))):
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _change_header(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    for at in rng.integers(0, min(len(out), 128), int(rng.integers(1, 5))):
        out[at] = int(rng.choice(_INTERESTING))
    return bytes(out)


def _insert_number(data: bytes, rng: Rng) -> bytes:
    """Replace four bytes by a large, small or negative number, in either byte order."""
    at = int(rng.integers(0, max(1, len(data) - 4)))
    value = int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, len(data), 10**6]))
    return data[:at] + struct.pack(str(rng.choice(["<I", ">I"])), value) + data[at + 4 :]


def _truncate(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def _remove(data: bytes, rng: Rng) -> bytes:
    start, stop = sorted(int(at) for at in rng.integers(0, len(data), 2))
    return data[:start] + data[min(stop, start + 64) :]


def _repeat(data: bytes, rng: Rng) -> bytes:
    start, stop = sorted(int(at) for at in rng.integers(0, len(data), 2))
    return data[:stop] + data[start : min(stop, start + 256)] + data[stop:]


def _zero_out(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(0, len(data)))
    length = int(rng.integers(1, 65))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _change_weights(data: bytes, rng: Rng) -> bytes:
    """Change the header of a safetensors file, or the pickle in a checkpoint."""
    if data.startswith(b"PK"):
        return _change_pickle(data, rng)
    if len(data) < 9 or data[8:9] != b"{":
        return _insert_number(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    swaps = (
        (b"F32", b"F64"),
        (b"F32", b"Q99"),
        (b"[", b"[-"),
        (b"0", b"99999999999"),
        (b":", b","),
        (b"shape", b"shap"),
    )
    old, new = swaps[int(rng.integers(len(swaps)))]
    header = header.replace(old, new, int(rng.integers(1, 4)))
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _change_pickle(data: bytes, rng: Rng) -> bytes:
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                new.writestr(name, _flip_bits(content, rng) if name.endswith(".pkl") and content else content)
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        NotImplementedError,
        EOFError,
        RuntimeError,
        struct.error,
    ):
        return _flip_bits(data, rng)
    return out.getvalue()


_MUTATIONS = (
    _flip_bits,
    _change_header,
    _insert_number,
    _truncate,
    _remove,
    _repeat,
    _zero_out,
    _change_weights,
)


# Cases


def run_case(kind: str, seed: int, number: int, folder: Path, sound: bytes) -> str:
    """Return what became of one damaged file: read, refused, or the name of a fault."""
    suffix = list_kinds()[kind][0]
    rng = np.random.default_rng([seed, sum(kind.encode()), number])
    source = folder / f"case{suffix}"
    change = STRUCTURES[kind][1] if kind in STRUCTURES else mutate
    source.write_bytes(change(sound, rng))
    # Processor time: other load on the machine must not count.
    signal.signal(signal.SIGPROF, _raise_hang)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        return _run_weights(source) if suffix in (".safetensors", ".pth") else _run_image(source, folder)
    except HangError:
        return "hang"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _raise_hang(number: int, frame: FrameType | None) -> None:
    raise HangError


def _run_image(source: Path, folder: Path) -> str:
    target = folder / "out" / f"out{source.suffix if source.suffix in SUFFIXES else '.png'}"
    target.parent.mkdir(exist_ok=True)
    talk = io.StringIO()
    with contextlib.redirect_stderr(talk), contextlib.redirect_stdout(talk):
        # The limit keeps an intact file with a large size from looking like a hang.
        words = ["upscale", str(source), "-x2", "-m", "bicubic", "-o", str(target), "-q", "--overwrite"]
        code = run([*words, "--max-pixels", "4000000"])
    left = list(target.parent.iterdir())
    unexpected = re.search(r"failed unexpectedly \((.*)\)", talk.getvalue())
    if unexpected:
        return f"traceback: {unexpected[1][:100]}"
    if code:
        for path in left:
            path.unlink()
        return "output beside an error" if left else "refused"
    if left != [target]:
        return "no output"
    try:
        read_image(target)
    except SrError:
        return "output that cannot be read"
    target.unlink()
    return "read"


def _run_weights(source: Path) -> str:
    from srcli.engine.weights import files

    try:
        files.read_spec(source)
        files.read_state(source)
    except SrError as error:
        return "refused" if error.hint and "\n" not in error.message else "error without a hint"
    return "read"


def run_cases(kind: str, seed: int, start: int, stop: int, log: Path) -> None:
    """Run cases `start` to `stop`; log a line before and after each."""
    with tempfile.TemporaryDirectory() as scratch, log.open("a") as file:
        folder = Path(scratch)
        sound = list_kinds()[kind][1](folder)
        for number in range(start, stop):
            file.write(f"{number} began\n")
            file.flush()
            file.write(f"{number} {run_case(kind, seed, number, folder, sound)}\n")
            file.flush()


def fuzz(kind: str, cases: int, seed: int = 0) -> dict[str, Any]:
    """Run `cases` damaged files of a kind; return counts of the outcomes and the faults by number."""
    verdicts: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        start = 0
        while start < cases:
            stop = min(start + _GROUP, cases)
            end = _run_child(kind, seed, start, stop, log)
            for line in log.read_text().splitlines():
                number, verdict = line.split(" ", 1)
                verdicts[int(number)] = end if verdict == "began" else verdict
            start = max(verdicts, default=start) + 1
            log.unlink()
    faults = {str(k): v for k, v in sorted(verdicts.items()) if v not in ("read", "refused")}
    counts = Counter(verdicts.values())
    return {"cases": len(verdicts), "read": counts["read"], "refused": counts["refused"], "faults": faults}


def _run_child(kind: str, seed: int, start: int, stop: int, log: Path) -> str:
    """Run cases in a child process; return how it ended, for the case that it was running."""
    words = [sys.executable, __file__, "--child", kind, str(seed), str(start), str(stop), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SR_CACHE": str(log.parent / "cache")}
    log.touch()
    try:
        # Wall-clock time, for hangs that use no processor; generous, as the machine may be busy.
        limit = 60 + LIMIT * (stop - start)
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return "hang"
    return f"crash: exit {done.returncode} {done.stderr.strip()[-200:]}"


def main() -> int:
    """Run all kinds and write the figures; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200, help="number of cases per kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="only these kinds; keep the figures of the others")
    arguments = parser.parse_args()
    found = json.loads(RESULT.read_text())["kinds"] if arguments.only else {}
    for kind in arguments.only or list_kinds():
        found[kind] = fuzz(kind, arguments.cases, arguments.seed)
        print(kind, found[kind], flush=True)
    ordered = {kind: found[kind] for kind in list_kinds() if kind in found}
    RESULT.write_text(json.dumps({"seed": arguments.seed, "kinds": ordered}, indent=1) + "\n")
    return int(any(result["faults"] for result in ordered.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        kind_, seed_, start_, stop_, log_ = sys.argv[2:]
        run_cases(kind_, int(seed_), int(start_), int(stop_), Path(log_))
    else:
        sys.exit(main())
