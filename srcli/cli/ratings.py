"""`sr bench --ratings`: what people answered on the pages of `sr compare --rate`."""

from pathlib import Path

from srcli.cli import console
from srcli.errors import UsageError


def show_ratings(files: list[Path], wanted: bool, json_file: Path | None) -> None:
    """Print mean opinion scores, Bradley-Terry ranks and agreement. Raises `SrError` for other files."""
    from srcli.report import ratings

    if not wanted:
        raise UsageError(f"what is {files[0]} for?", "give --ratings with files of ratings, -d with a folder")
    summary = ratings.summarise(ratings.read(files))
    console.out.print(ratings.rich_table(summary))
    console.out.print(ratings.agreement(summary), markup=False)
    if json_file:
        console.save_text(json_file, ratings.to_json(summary))
