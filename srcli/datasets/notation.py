"""The notation of images on the command line, for `--data`, `--valid` and `--dataset` alike."""

import math
import os
from dataclasses import dataclass, replace

from srcli.errors import UsageError
from srcli.storage.locations import RemotePath, parse_location

# The prefix of repositories of the Hub, to tell them from folders.
HUB = "hub:"
_LR, _WEIGHT = ",lr=", ",weight="


@dataclass(frozen=True)
class DatasetText:
    """A data set as it was written: `[NAME=]PLACE[,lr=PLACE][,weight=NUMBER]`.

    `place`: a folder, a pattern such as `photos/*_HR.png`, a URL, `hub:OWNER/NAME`, or a named set; `lr`:
    the place of low-resolution partners, in which `{scale}` stands for the scale; "" if there are none.
    `weight`: how often a pixel is drawn in training, relative to other sets; `PLACE=NUMBER` is short for it.
    """

    place: str
    name: str = ""
    lr: str = ""
    weight: float = 1.0


def parse_dataset(text: str) -> DatasetText:
    """Take a text apart; an existing folder may have any name. Raises `UsageError` for one that lacks a part.

    >>> parse_dataset("mine=photos/*.png,lr=small/X{scale},weight=2")
    DatasetText(place='photos/*.png', name='mine', lr='small/X{scale}', weight=2.0)
    >>> parse_dataset("hub:me/photos=0.5")
    DatasetText(place='hub:me/photos', name='', lr='', weight=0.5)
    """
    if os.path.isdir(text):
        return DatasetText(text)
    text, weight = _split_weight(text)
    lr = ""
    if not os.path.isdir(text) and _LR in text:  # also for names that are too long
        text, _, lr = text.rpartition(_LR)
        if not lr:
            raise UsageError(f"'{text}{_LR}' names no folder of partners", "write SET,lr=FOLDER")
    return replace(_split_name(text), lr=lr, weight=weight)


def _split_weight(text: str) -> tuple[str, float]:
    place, sign, number = text.rpartition(_WEIGHT)
    if not sign:
        place, sign, number = text.rpartition("=")
        if not _is_place(place.partition(_LR)[0]) or place.endswith(_LR.removesuffix("=")):
            return text, 1.0
    return place, parse_weight(place, number, "FOLDER=2")


def _is_place(text: str) -> bool:
    """Return whether this is a place for certain, and not the name of one."""
    return os.path.isdir(text) or text.startswith(HUB) or is_pattern(text)


def _split_name(text: str) -> DatasetText:
    name, equals, place = text.partition("=")
    if not equals or os.path.isdir(text) or isinstance(parse_location(text), RemotePath):
        return DatasetText(text)
    if not name or not place:
        raise UsageError(f"'{text}' lacks a name or a folder", "write NAME=FOLDER")
    return DatasetText(place, name)


def is_pattern(text: str) -> bool:
    """Return whether a local place is a pattern of file names."""
    return any(sign in text for sign in "*?[") and not os.path.isdir(text)


def parse_weight(label: str, text: str, example: str) -> float:
    """Parse a weight, a number above 0. Raises `UsageError`, with an example, for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"the weight of {label} cannot be '{text}'", f"a number above 0, as in {example}")
    return value
