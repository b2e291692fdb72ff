"""`sr desktop`: an "Enlarge" entry in the context menu of the file manager."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from srcli.cli import console, options
from srcli.errors import ExitCode

desktop = typer.Typer(
    help="Add Enlarge to the context menu of the file manager, or remove it.",
    no_args_is_help=True,
    add_completion=False,
)


@desktop.command()
def install(
    scale: options.OneScale = 4,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, as for sr upscale.")] = None,
) -> None:
    """Add Enlarge: to Nautilus and Dolphin, to Finder as a Quick Action, or to Explorer below Send to.

    Outputs are written beside the images. Calling it again replaces the entry.
    """
    from srcli.cli.desktop_files import get_command, list_files
    from srcli.storage.files import replace_atomically

    words = [f"-x{scale:g}", *(("--model", model) if model else ())]
    for file in list_files(sys.platform, Path.home(), get_command(words)):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(file.path) as temporary:
            temporary.write_bytes(file.content)
        file.path.chmod(0o755 if file.is_executable else 0o644)
        console.out.print(str(file.path), markup=False, soft_wrap=True)


@desktop.command()
def remove() -> int:
    """Remove what `sr desktop install` wrote."""
    from srcli.cli.desktop_files import list_files

    paths = [file.path for file in list_files(sys.platform, Path.home(), ()) if file.path.exists()]
    for path in paths:
        path.unlink()
        console.out.print(str(path), markup=False, soft_wrap=True)
        for folder in path.parents[:2]:
            if ".workflow" in str(folder) and not any(folder.iterdir()):
                folder.rmdir()
    if not paths:
        console.err.print("there is no entry to remove", markup=False)
    return ExitCode.OK
