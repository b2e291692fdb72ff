"""`sr`: all commands, and the one place where errors become messages and exit codes."""

import atexit
import contextlib
import errno
import io
import os
import sys
import threading
from typing import Annotated

import typer

from srcli import __version__
from srcli.cli import console, habits
from srcli.cli.lazy_group import LazyGroup
from srcli.errors import ExitCode, SrError, UsageError, explain_missing, is_optional

# What `sr --help` says of each command, so that it need not be imported.
SUMMARIES = {
    "upscale": "Upscale images with a network, an interpolator or another method.",
    "bench": "Score methods on images, always next to nearest, bilinear and bicubic.",
    "compare": "Show images upscaled by several methods, with scores if the truth is known.",
    "train": "Train a network on a folder of images; after Ctrl-C, --resume FOLDER continues.",
    "info": "Print what an image is, which model suits it and why, and how sr made it if it did.",
    "export": "Write a network for another runtime, any height and width, and compare it with torch.",
    "config": "Show the defaults set in sr.toml and in the environment.",
    "models": "List models; download, verify, identify and publish weights.",
    "doctor": "Print versions, devices, runtimes and their speed, caches, and missing extras.",
    "jobs": "Show, retry, export or remove the jobs of `sr upscale --job`.",
    "desktop": "Add Enlarge to the context menu of the file manager, or remove it.",
}


class Commands(LazyGroup):
    """The commands of `sr`: each in a module of its name."""

    package = "srcli.cli"
    summaries = SUMMARIES


app = typer.Typer(
    name="sr",
    cls=Commands,
    help="Upscale images with pretrained networks, and measure the quality.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"sr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print a traceback with each error.")] = False,
) -> None:
    """Upscale images with pretrained networks, and measure the quality."""
    if debug:
        os.environ[console.DEBUG] = "1"
    from srcli.cli.config import make_default_map

    context.default_map = make_default_map(context.command, context.invoked_subcommand)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; expected failures are printed, bugs raise."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        _check_texts(given)
        return _call(habits.insert_command(given, SUMMARIES))
    except SrError as error:
        console.print_error(error)
        return error.exit_code
    except typer.TyperException as error:
        usage = _as_usage_error(error)
        if usage.message:  # `sr` without a command has printed its help already
            console.print_error(usage)
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            console.print_error(UsageError(f"{error.filename}: the name is too long", "use a shorter one"))
            return ExitCode.USAGE
        from srcli.storage.files import DISK_ERRORS

        if error.errno not in DISK_ERRORS or error.filename:
            raise
        console.print_error(
            SrError(f"cannot write to stdout: {error.strerror}", "redirect it to another file")
        )
        _discard_stdout()
        return ExitCode.FAILED


# Options for which an empty text has a meaning, or a message of its own.
_MAY_BE_EMPTY = ("--prefix", "--suffix", "--name", "--degrade")


def _check_texts(arguments: list[str]) -> None:
    """Raise `UsageError` for texts that no argument has: an empty path would be the current folder."""
    if any("\0" in each for each in arguments):
        raise UsageError("an argument contains a NUL character", "no name or number has one")
    for before, each in zip(["", *arguments], arguments, strict=False):
        option = before if not each else each.removesuffix("=")
        is_empty = not each or (each.startswith("--") and each.endswith("=") and each.count("=") == 1)
        if is_empty and option not in _MAY_BE_EMPTY:
            name = option if option.startswith("-") and option.strip("-") else "an argument"
            raise UsageError(f"{name} is empty", "give a value, or leave it out")


def _call(arguments: list[str]) -> int:
    """Run one command line. Raises `SrError` if it needs a package that is not installed."""
    try:
        return int(app(arguments, prog_name="sr", standalone_mode=False) or ExitCode.OK)
    except ModuleNotFoundError as error:
        if not is_optional(error.name or ""):
            raise
        raise explain_missing(error.name or "", "this command") from error


def _discard_stdout() -> None:
    """Redirect stdout to nowhere, as Python would try to write its buffer again at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_usage_error(error: typer.TyperException) -> SrError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "sr"
    message = error.format_message().rstrip(".").replace("\n", " ")
    return SrError(message, habits.explain_option(message) or f"see `{path} --help`")


def main() -> None:
    """Run the console script `sr`."""
    _allow_any_file_name()
    code = run()
    if threading.active_count() == 1:
        _exit_quickly(code)
    sys.exit(code)


def _allow_any_file_name() -> None:
    """Print file names that are not valid text byte by byte, as `ls` does, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="surrogateescape")


def _exit_quickly(code: int) -> None:
    """End the process without tearing down the interpreter.

    That would take an eighth of a second, with torch half a second.
    """
    with contextlib.suppress(OSError):  # a closed pipe: the regular exit reports it
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(code)
