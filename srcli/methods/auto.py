"""`-m auto`: the model that suits a picture, among those that are on this machine."""

from collections.abc import Iterator
from dataclasses import astuple
from typing import Literal

from srcli import manifest
from srcli.dataclass import dataclass
from srcli.engine.weights import files
from srcli.imaging.picture_kind import Kind, Picture
from srcli.manifest import DEFAULT_MODEL
from srcli.methods.pixel_art import PIXEL_ART

AUTO = "auto"
Preference = Literal["quality", "speed"]
# For each kind of content: the models by preference, the first that is at hand is taken. By default only
# those that a CPU runs in seconds; Real-ESRGAN takes minutes for a photograph.
_CLEAN: dict[Preference | None, tuple[str, ...]] = {
    "quality": ("dat", "swinir", "omnisr", "edsr-baseline", DEFAULT_MODEL),
    "speed": ("fsrcnn",),
    None: (DEFAULT_MODEL,),
}
_DEGRADED: dict[Preference | None, tuple[str, ...]] = {
    "quality": ("realesrgan", "realesr-general", "photo"),
    "speed": ("photo-lite",),
    None: ("photo",),
}
_DRAWING: dict[Preference | None, tuple[str, ...]] = {
    "quality": ("realesrgan-anime", "realesr-animevideo", "anime"),
    "speed": _CLEAN["speed"],
    None: ("realesr-animevideo", "anime"),
}


@dataclass(frozen=True)
class AutoModels:
    """The model for each kind of picture."""

    clean: str = DEFAULT_MODEL
    degraded: str = "photo"
    drawing: str = "anime"
    pixel_art: str = PIXEL_ART

    def choose(self, picture: Picture) -> str:
        """Return the model for a picture. Text gets the one for clean pictures: others delete letters."""
        match picture.kind:
            case Kind.PIXEL_ART:
                return self.pixel_art
            case Kind.DRAWING:
                return self.drawing
        return self.degraded if picture.is_degraded else self.clean

    @property
    def names(self) -> tuple[str, ...]:
        """All models, without duplicates."""
        return tuple(dict.fromkeys(astuple(self)))


def find_auto_models(prefer: Preference | None = None) -> AutoModels:
    """Return the models at hand: bundled, of installed packages, or downloaded before. Downloads nothing."""
    return AutoModels(
        next(_list_at_hand(_CLEAN[prefer])),
        next(_list_at_hand(_DEGRADED[prefer])),
        next(_list_at_hand(_DRAWING[prefer])),
    )


def _list_at_hand(names: tuple[str, ...]) -> Iterator[str]:
    """Yield the models that need no download at any scale, see `plan_entries`; the last one never does."""
    for name in names:
        entries = manifest.find_entries(name).values()
        here = [entry for entry in entries if files.find_local(entry)]
        if len(here) == len(entries) or any(entry.packaged for entry in here):
            yield name
