"""`sr bench --ratings`: summarise what people answered on the pages of `sr compare --rate`."""

from pathlib import Path

from srcli.cli import console
from srcli.errors import UsageError


def print_ratings(files: list[Path], has_flag: bool, json_file: Path | None) -> None:
    """Print mean opinion scores, Bradley-Terry ranks and agreement.

    Raises `UsageError` if files are given without `--ratings`, `SrError` for files that hold no ratings.
    """
    from srcli.report import ratings

    if not has_flag:
        raise _explain_files(files[0])
    summary = ratings.summarise_ratings(ratings.read_ratings(files))
    console.out.print(ratings.format_table(summary))
    console.out.print(ratings.format_agreement(summary), markup=False)
    if json_file:
        console.save_text(json_file, ratings.to_json(summary))


def _explain_files(file: Path) -> UsageError:
    """Say how to pass `file`, by what it is: images, results or ratings."""
    message = f"`sr bench` takes {file} only with an option"
    if file.is_dir():
        return UsageError(message, f"to measure on its images: sr bench -d {file}")
    return UsageError(
        message,
        f"ratings: sr bench --ratings {file}; results: sr bench --from {file}; a folder of images: -d FOLDER",
    )
