"""Shell completion of option values. Imports nothing heavy, as people wait for it between two keys.

If a function offers nothing, the shell completes files, with its own rules for blanks, links and `~`.
"""

# A test keeps these equal to the names in `methods` and `datasets`, which load NumPy.
_INTERPOLATORS = ("nearest", "bilinear", "bicubic", "lanczos")
_PIXEL_ART = "pixel-art"
_UNTRAINED = ("ibp", "tv", "selfex", "sparse", "zssr", "dip")
_DATASETS = ("samples", "Set5", "Set14", "BSD100", "Urban100")

# A value and its description.
Offer = tuple[str, str]


def _filter(offers: list[Offer], incomplete: str) -> list[Offer]:
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def models(incomplete: str) -> list[Offer]:
    """Offer everything that `--model` takes; networks with their scales."""
    others = [(name, "interpolator") for name in _INTERPOLATORS]
    others += [(_PIXEL_ART, "repeats pixels")]
    others += [(name, "no training set") for name in _UNTRAINED]
    return _filter([*_list_networks(), *others], incomplete)


def models_or_auto(incomplete: str) -> list[Offer]:
    """Offer everything that `sr upscale --model` takes."""
    return [*_filter([("auto", "suits the picture")], incomplete), *models(incomplete)]


def networks(incomplete: str) -> list[Offer]:
    """Offer models that have weights."""
    return _filter(_list_networks(), incomplete)


def entries(incomplete: str) -> list[Offer]:
    """Offer MODEL, and MODEL-xSCALE as soon as there is only one model left."""
    from srcli import manifest

    found = networks(incomplete)
    if len(found) > 1:
        return found
    return found + _filter([(entry.name, entry.licence) for entry in manifest.load()], incomplete)


def user_entries(incomplete: str) -> list[Offer]:
    """Offer the models that the user added."""
    from srcli import manifest

    return _filter([(entry.name, entry.arch) for entry in manifest.load_user()], incomplete)


def _list_networks() -> list[Offer]:
    from srcli import manifest

    scales: dict[str, list[str]] = {}
    for entry in manifest.load():
        scales.setdefault(entry.model, []).append(f"x{entry.scale}")
    return [(model, " ".join(known)) for model, known in scales.items()]


def archs(incomplete: str) -> list[str]:
    """Offer networks that can be built, with or without weights."""
    from srcli.archs import names

    return [name for name in names() if name.startswith(incomplete)]


def datasets(incomplete: str) -> list[str]:
    """Offer named sets; the shell completes folders."""
    return [name for name in _DATASETS if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """Offer what `--format` takes."""
    from srcli.imaging.codecs.registry import SUFFIXES

    return [suffix[1:] for suffix in SUFFIXES if suffix[1:].startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Offer kinds of devices; only torch would know which exist."""
    return [name for name in ("cpu", "cuda", "mps", "vulkan") if name.startswith(incomplete)]


def jobs(incomplete: str) -> list[str]:
    """Offer the user's named jobs."""
    from srcli.storage.files import get_state_folder

    return sorted(p.stem for p in (get_state_folder() / "jobs").glob("*.db") if p.stem.startswith(incomplete))
