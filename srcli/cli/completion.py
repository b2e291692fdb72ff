"""What the shell completes on a Tab. Nothing heavy is imported, as people wait for it between two keys.

Where nothing is offered the shell completes files, with its own rules for blanks, links and `~`.
"""

_INTERPOLATORS = ("nearest", "bilinear", "bicubic", "lanczos")  # `imaging.resize` would load NumPy
_SETS = ("samples", "Set5", "Set14", "BSD100", "Urban100")  # `datasets` too

Offer = tuple[str, str]


def _fitting(offers: list[Offer], incomplete: str) -> list[Offer]:
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def models(incomplete: str) -> list[Offer]:
    """What `--model` takes, with the scales that there are."""
    kernels = [(name, "interpolator") for name in _INTERPOLATORS]
    return _fitting([*_networks(), *kernels], incomplete)


def with_weights(incomplete: str) -> list[Offer]:
    """Only models that are networks."""
    return _fitting(_networks(), incomplete)


def entries(incomplete: str) -> list[Offer]:
    """MODEL, and MODEL-xSCALE once a model is named."""
    from srcli import manifest

    whole = [(entry.name, entry.licence) for entry in manifest.load()]
    networks = _fitting(_networks(), incomplete)
    return networks if len(networks) > 1 else networks + _fitting(whole, incomplete)


def _networks() -> list[Offer]:
    from srcli import manifest

    scales: dict[str, list[str]] = {}
    for entry in manifest.load():
        scales.setdefault(entry.model, []).append(f"x{entry.scale}")
    return [(model, " ".join(known)) for model, known in scales.items()]


def archs(incomplete: str) -> list[str]:
    """Networks that can be built, whether there are weights or not."""
    from srcli.archs import names

    return [name for name in names() if name.startswith(incomplete)]


def datasets(incomplete: str) -> list[str]:
    """Named sets; of anything else the shell makes a folder."""
    return [name for name in _SETS if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """As `--format` takes them."""
    from srcli.imaging.codecs.registry import SUFFIXES

    return [suffix[1:] for suffix in SUFFIXES if suffix[1:].startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """The kinds, as only torch would know what is there."""
    return [name for name in ("cpu", "cuda", "mps") if name.startswith(incomplete)]


def jobs(incomplete: str) -> list[str]:
    """Those of this user that have names."""
    from srcli.storage.files import get_state_folder

    return sorted(p.stem for p in (get_state_folder() / "jobs").glob("*.db") if p.stem.startswith(incomplete))
