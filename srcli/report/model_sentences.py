"""A sentence on each model: what it is good and bad for; and how much work it is."""

from typing import Literal

from srcli import manifest

Speed = Literal["fast", "medium", "slow", "GPU"]
# The most multiply-adds, in units of 10^9, for an output of 1280 x 720: below each the speed is called so.
SPEEDS: dict[Speed, float] = {"fast": 20, "medium": 150, "slow": 450, "GPU": float("inf")}
_SENTENCES: dict[str, tuple[Speed, str]] = {
    "anime": ("fast", "For drawings and anime: clean lines and flat colours, also from JPEG."),
    "ecbsr": ("fast", "For clean images: nearly as sharp as slimres, and faster."),
    "espcn": ("fast", "The classic small network for clean images; softer than slimres."),
    "fsrcnn": ("fast", "The fastest one for many clean images; a little softer than slimres."),
    "photo": ("medium", "For photographs with noise, blur or JPEG blocks: crisp, and invents little."),
    "photo-lite": ("fast", "photo in small, several times as fast: a little softer."),
    "slimres": ("fast", "The default: sharp edges on clean images; sharpens noise and JPEG blocks, too."),
    "a2n": ("medium", "Attention where it helps; clean images, better than slimres."),
    "awsrn-bam": ("medium", "Balanced attention in a light network, for clean images."),
    "bsrgan": ("GPU", "Restores badly degraded photographs with natural texture; invents detail."),
    "bsrnet": ("GPU", "BSRGAN before its discriminator: restores, but smooth; invents less."),
    "carn": ("medium", "A good step up from slimres for clean images at a moderate price."),
    "carn-bam": ("medium", "CARN with balanced attention, for clean images."),
    "dat": ("GPU", "Among the best for clean images; very slow without a GPU."),
    "dat-2": ("GPU", "DAT with fewer operations and nearly its quality, for clean images."),
    "drln": ("GPU", "Dense residual attention, for clean images; large."),
    "drln-bam": ("GPU", "DRLN with balanced attention, for clean images; large."),
    "edsr": ("GPU", "The large classic for clean images; better ones are smaller today."),
    "edsr-baseline": ("medium", "Clearly better than slimres on clean images, at many times the work."),
    "edsr-transformers": ("medium", "EDSR baseline, trained by others; for clean images."),
    "esrgan": ("GPU", "Invents convincing texture on clean images; wrong for text and measurements."),
    "han": ("GPU", "Attention across layers, for clean images; large."),
    "hat": ("GPU", "The best scores on clean images here; the slowest as well."),
    "mdsr": ("slow", "One network for x2, x3 and x4, for clean images."),
    "msrn": ("slow", "Several receptive fields side by side, for clean images."),
    "msrn-bam": ("slow", "MSRN with balanced attention, for clean images."),
    "nmkd-superscale": ("GPU", "A favourite for clean to slightly damaged photographs; invents texture."),
    "nomos-webphoto": ("slow", "For photographs from the web with JPEG and rescaling; invents detail."),
    "omnisr": ("medium", "A small transformer with high scores on clean images."),
    "pan": ("medium", "Tiny, with pixel attention; good on clean images for its size."),
    "pan-bam": ("medium", "PAN with balanced attention, for clean images."),
    "rcan-bam": ("GPU", "RCAN with balanced attention: high scores on clean images."),
    "real-hat-sharper": ("GPU", "HAT for degraded photographs: very sharp, with invented detail."),
    "realesr-animevideo": (
        "medium",
        "For drawings and animation, small for that; flattens photographs.",
    ),
    "realesr-general": (
        "medium",
        "Real-ESRGAN in small: degraded photographs, with less detail.",
    ),
    "realesrgan": ("GPU", "The best known for degraded photographs; invents texture, changes small letters."),
    "realesrgan-anime": ("slow", "For drawings: crisp outlines; wrong for photographs."),
    "realesrgan-sber": ("GPU", "Real-ESRGAN trained by others, also for x8."),
    "remacri": ("GPU", "Natural texture on clean or slightly damaged photographs; invents detail."),
    "rrdb-psnr": ("GPU", "ESRGAN before its discriminator: accurate and smooth, for clean images."),
    "safmn": ("fast", "Small and good for its size on clean images."),
    "safmn-l": ("slow", "SAFMN in large, for clean images."),
    "srgan": ("medium", "The first one that invented texture; better ones followed."),
    "srresnet": ("medium", "SRGAN without its discriminator: accurate and smooth, for clean images."),
    "srresnet-deepinv": ("medium", "SRResNet of another training, for clean images."),
    "swin2sr": ("GPU", "A transformer for clean images; slow."),
    "swinir": ("GPU", "As good as it gets on clean images, nearly; slow."),
    "swinir-div2k": ("GPU", "SwinIR trained on fewer images, as in the paper's tables."),
    "swinir-real-l": ("GPU", "SwinIR for degraded photographs; invents detail."),
    "ultrasharp": ("GPU", "Very sharp photographs and textures; invents detail, exaggerates noise."),
    "ultrasharp-v2": ("GPU", "The newer UltraSharp, a transformer: sharp, with fewer artefacts."),
    "waifu2x": ("slow", "For drawings without noise; x2, run twice for x4."),
    "waifu2x-upconv": ("medium", "waifu2x in small, for drawings without noise."),
    "waifu2x-photo": ("medium", "waifu2x for photographs: removes noise and blocks, adds nothing."),
}
_NOISE = ("little", "some", "much", "very much")


def find_sentence(model: str) -> tuple[Speed, str]:
    """Return how much work a model is, and a sentence on it; for those of the user it is not known."""
    if model in _SENTENCES:
        return _SENTENCES[model]
    base, _, strength = model.rpartition("-n")
    if base in _SENTENCES and strength.isdigit() and int(strength) < len(_NOISE):
        kind = "photographs" if "photo" in base else "drawings"
        return _SENTENCES[base][0], f"{base} for {kind} with {_NOISE[int(strength)]} noise or JPEG blocks."
    entry = next(entry for entry in manifest.load() if entry.model == model)
    uses = {"classical": "clean images", "real-world": "degraded images", "drawings": "drawings"}
    return "medium", f"Your own {entry.arch} network, for {uses[entry.purpose]}."
