"""Sets of high-resolution images: named sets, folders, remote storage and repositories of the Hub.

`--data`, `--valid` and `--dataset` have one notation, see `notation`. What is measured on a set is in
`bench`.
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
from srcli.datasets.lookup import HUB_SETS, OWN_COPY, SIZES, find_dataset, open_dataset
from srcli.datasets.notation import HUB, DatasetText, parse_dataset, parse_weight

__all__ = [
    "HUB",
    "HUB_SETS",
    "OWN_COPY",
    "SIZES",
    "Dataset",
    "DatasetText",
    "Picture",
    "find_dataset",
    "find_partners",
    "list_images",
    "load_samples",
    "open_dataset",
    "open_folder",
    "parse_dataset",
    "parse_weight",
    "read_picture",
]
