"""Sets of high-resolution images: named sets, folders, remote storage and repositories of the Hub.

`find_dataset` accepts what `--dataset` does. What is measured on a set is in `bench`.
"""

from srcli.datasets.folder import (
    Dataset,
    Picture,
    find_partners,
    list_images,
    load_samples,
    open_folder,
    read_picture,
)
from srcli.datasets.lookup import HUB, HUB_SETS, OWN_COPY, SIZES, find_dataset

__all__ = [
    "HUB",
    "HUB_SETS",
    "OWN_COPY",
    "SIZES",
    "Dataset",
    "Picture",
    "find_dataset",
    "find_partners",
    "list_images",
    "load_samples",
    "open_folder",
    "read_picture",
]
