"""Image folders in remote storage, copied into the cache once."""

import contextlib
import hashlib
import tempfile
from pathlib import Path

from srcli.errors import DatasetError
from srcli.imaging.codecs.registry import is_image
from srcli.storage.files import get_cache_folder
from srcli.storage.locations import ListedFile, RemotePath, download, list_files, strip_pattern


def copy_remote_folder(location: RemotePath) -> Path:
    """Return a local copy of the images of a folder or pattern; a copy is made again when they change."""
    listed = _list_images(location)
    facts = [str(location), *(f"{each.location} {each.identity}" for each in listed)]
    digest = hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()
    target = get_cache_folder() / "datasets" / f"store-{digest[:24]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sr-", dir=target.parent) as temporary:
            for each in listed:
                copy = Path(temporary, "set", each.location.relative_to(strip_pattern(location)))
                copy.parent.mkdir(parents=True, exist_ok=True)
                download(each.location, copy)
            with contextlib.suppress(FileExistsError):  # another process was faster
                Path(temporary, "set").rename(target)
    return target


def _list_images(location: RemotePath) -> list[ListedFile]:
    """Return the images directly in a folder or, if it has none, those below it."""
    for recursive in (False, True):
        images = sorted(each for each in list_files(location, recursive) if is_image(each.location))
        if images:
            return images
    raise DatasetError(f"no images in {location}", "choose a folder that contains image files")
