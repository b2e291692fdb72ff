"""Habits of other tools: a command line without a command, their options, an output without `-o`."""

import os
import re
from collections.abc import Collection, Sequence

from srcli.errors import UsageError

# What options of Real-ESRGAN, waifu2x, upscayl and ImageMagick are called here.
_OPTIONS = {
    "-i": "inputs need no option: sr upscale photo.jpg",
    "--input": "inputs need no option: sr upscale photo.jpg",
    "-s": "that is `-x` here, as in -x4",
    "--outscale": "that is `-x` here, as in -x4",
    "-n": "a model is named with `-m` here; `sr models` lists them",
    "--model_name": "that is `-m` here; `sr models` lists them",
    "-g": "that is `--device` here, as in --device cuda:0",
    "--gpu-id": "that is `--device` here, as in --device cuda:0",
    "-t": "that is `--tile` here",
    "-f": "that is `--format` here",
    "-j": "that is `--workers` here",
    "--resize": "use --size 1920x1080, --width, --height or --long-edge",
    "--face_enhance": "sr has no network for faces",
    "--fp32": "sr computes in float32 on CPUs; `sr info --devices` shows what it does on a GPU",
}
# Options that belong to `sr` itself.
_GLOBAL = ("--help", "-h", "--version", "--debug", "--install-completion", "--show-completion")
_FILE = re.compile(r".*\.[A-Za-z0-9]{2,5}|.*[/*].*|-")


def insert_command(arguments: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return a command line in which `upscale` stands before a file, a folder or an option of it.

    A word that looks like neither is left for the parser, which suggests the command that is nearest.
    """
    first = next((number for number, word in enumerate(arguments) if word not in ("--debug",)), None)
    if first is None:
        return list(arguments)
    word = arguments[first]
    if word in commands or word.partition("=")[0] in _GLOBAL:
        return list(arguments)
    if len(word) > 1 and word.startswith("-"):
        is_input = any(map(os.path.isfile, arguments[first:]))
    else:
        is_input = _FILE.fullmatch(word) is not None or os.path.lexists(word)
    if is_input:
        return [*arguments[:first], "upscale", *arguments[first:]]
    return list(arguments)


def explain_option(message: str) -> str | None:
    """Return what an unknown option of another tool, which `message` names, is called here."""
    found = re.search(r"No such option: (--?[\w-]+)", message)
    return _OPTIONS.get(found[1]) if found else None


def check_no_output_among(inputs: Sequence[str], output: str | None) -> None:
    """Raise `UsageError` if the second of two inputs is the name of a new file: it is meant as the output."""
    if output is not None or len(inputs) != 2:
        return
    source, target = inputs
    if os.path.isfile(source) and not os.path.lexists(target) and _is_new_image(target):
        raise UsageError(f"{target} does not exist", f"to write to it: sr upscale {source} -o {target}")


def _is_new_image(name: str) -> bool:
    from srcli.imaging.codecs.registry import SUFFIXES

    return os.path.splitext(name)[1].lower() in SUFFIXES and "*" not in name and "://" not in name
