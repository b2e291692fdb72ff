"""What is trained and how: one function for each network, returning a frozen `Recipe`."""

from dataclasses import replace

from srcli import archs
from srcli.errors import UsageError
from srcli.train.recipe import Gan, Recipe


def fsrcnn(scale: int) -> Recipe:
    """FSRCNN(56, 12, 4) with Adam; the paper's SGD at batch 1 reaches the same in many more steps."""
    return Recipe("fsrcnn", scale, loss="l2")


def srcnn(scale: int) -> Recipe:
    """SRCNN 9-5-5 with the paper's squared error."""
    return Recipe("srcnn", scale, patch=24, loss="l2", learning_rate=3e-4)


def espcn(scale: int) -> Recipe:
    """ESPCN on luma with the paper's squared error."""
    return Recipe("espcn", scale, patch=24, loss="l2")


def edsr(scale: int) -> Recipe:
    """EDSR baseline: L1, 48x48 patches, batch 16, learning rate 1e-4, as in the paper."""
    return Recipe("edsr", scale, patch=48, steps=300_000, learning_rate=1e-4)


def ecbsr(scale: int) -> Recipe:
    """ECBSR-M10C32 as in the paper: L1, 64x64 patches, batch 32, learning rate 5e-4."""
    return Recipe("ecbsr", scale, patch=64, batch=32, steps=1_000_000, learning_rate=5e-4)


def vdsr(scale: int) -> Recipe:
    """VDSR: squared error on 41x41 patches, batch 64; Adam takes the place of SGD with clipped gradients."""
    return Recipe("vdsr", scale, patch=41, batch=64, steps=80_000, loss="l2", learning_rate=2e-4, clip=0.4)


def drrn(scale: int) -> Recipe:
    """DRRN: squared error on 31x31 patches, batch 128, gradients clipped; Adam in the place of SGD."""
    return Recipe("drrn", scale, patch=31, batch=128, steps=150_000, loss="l2", learning_rate=1e-4, clip=0.01)


def srvgg(scale: int) -> Recipe:
    """SRVGGNetCompact's first stage: L1, patches of 256x256 of the target at x4, learning rate 2e-4."""
    return Recipe("srvgg", scale, patch=64, batch=48, steps=400_000, learning_rate=2e-4)


def rrdbnet(scale: int) -> Recipe:
    """ESRGAN's RRDB-PSNR: L1, 128x128 patches of the target at x4, batch 16, learning rate 2e-4."""
    return Recipe("rrdbnet", scale, steps=1_000_000, learning_rate=2e-4)


def srresnet(scale: int) -> Recipe:
    """SRResNet: squared error, 96x96 patches of the target at x4, batch 16, learning rate 1e-4."""
    return Recipe("srresnet", scale, patch=24, steps=1_000_000, loss="l2", learning_rate=1e-4)


def carn(scale: int) -> Recipe:
    """CARN: L1, 64x64 patches, batch 64, learning rate 1e-4; for one scale, not the paper's three."""
    return Recipe("carn", scale, patch=64, batch=64, steps=600_000, learning_rate=1e-4)


def mdsr(scale: int) -> Recipe:
    """MDSR's settings, which are EDSR's; for one scale, not the paper's three."""
    return Recipe("mdsr", scale, patch=48, steps=1_000_000, learning_rate=1e-4)


def imdn(scale: int) -> Recipe:
    """IMDN: L1, 192x192 patches of the target, batch 16, learning rate 2e-4."""
    return Recipe("imdn", scale, patch=192 // scale, steps=1_000_000, learning_rate=2e-4)


def rcan(scale: int) -> Recipe:
    """RCAN: L1, 48x48 patches, batch 16, learning rate 1e-4."""
    return Recipe("rcan", scale, patch=48, steps=1_000_000, learning_rate=1e-4)


def han(scale: int) -> Recipe:
    """HAN: L1, 64x64 patches, batch 16, learning rate 1e-4."""
    return Recipe("han", scale, patch=64, steps=1_000_000, learning_rate=1e-4)


def safmn(scale: int) -> Recipe:
    """SAFMN: 64x64 patches, batch 64, learning rate 1e-3; L1 without the paper's term on the spectrum."""
    return Recipe("safmn", scale, patch=64, batch=64, steps=500_000)


def latticenet(scale: int) -> Recipe:
    """LatticeNet: L1, 48x48 patches, batch 16, learning rate 2e-4."""
    return Recipe("latticenet", scale, patch=48, steps=1_000_000, learning_rate=2e-4)


def rlfn(scale: int) -> Recipe:
    """RLFN's first stage: L1, 64x64 patches, batch 64, learning rate 5e-4."""
    return Recipe("rlfn", scale, patch=64, batch=64, steps=1_000_000, learning_rate=5e-4)


def bsrn(scale: int) -> Recipe:
    """BSRN: L1, 48x48 patches, batch 64, learning rate 1e-3, annealed by a cosine."""
    return Recipe("bsrn", scale, patch=48, batch=64, steps=1_000_000)


def falsr(scale: int) -> Recipe:
    """FALSR: L1, 64x64 patches, batch 16, learning rate 1e-4."""
    return Recipe("falsr", scale, patch=64, steps=1_000_000, learning_rate=1e-4)


def rfdn(scale: int) -> Recipe:
    """RFDN: L1, 64x64 patches, batch 64, learning rate 5e-4."""
    return Recipe("rfdn", scale, patch=64, batch=64, steps=1_000_000, learning_rate=5e-4)


def rdn(scale: int) -> Recipe:
    """RDN: L1, 32x32 patches, batch 16, learning rate 1e-4."""
    return Recipe("rdn", scale, steps=200_000, learning_rate=1e-4)


def srdensenet(scale: int) -> Recipe:
    """SRDenseNet: squared error, 25x25 patches, batch 32, learning rate 1e-4."""
    return Recipe("srdensenet", scale, patch=25, batch=32, loss="l2", learning_rate=1e-4)


def drcn(scale: int) -> Recipe:
    """DRCN: squared error, 41x41 patches, batch 64; Adam in the place of SGD."""
    return Recipe("drcn", scale, patch=41, batch=64, loss="l2", learning_rate=1e-4)


def dbpn(scale: int) -> Recipe:
    """D-DBPN: L1, 40x40 patches, batch 16, learning rate 1e-4."""
    return Recipe("dbpn", scale, patch=40, steps=1_000_000, learning_rate=1e-4)


def span(scale: int) -> Recipe:
    """SPAN: L1, 64x64 patches, batch 64, learning rate 5e-4."""
    return Recipe("span", scale, patch=64, batch=64, steps=1_000_000, learning_rate=5e-4)


def lapsrn(scale: int) -> Recipe:
    """LapSRN: L1 in the place of its Charbonnier loss, 32x32 patches at x4, batch 64, learning rate 1e-4."""
    return Recipe("lapsrn", scale, batch=64, steps=500_000, learning_rate=1e-4)


def srgan(scale: int) -> Recipe:
    """SRGAN: SRResNet, then against a discriminator with squared differences of VGG19 features."""
    gan = Gan(200_000, "content:relu5_4=0.006,adversarial=0.001")
    return replace(srresnet(scale), name="srgan", gan=gan)


def esrgan(scale: int) -> Recipe:
    """ESRGAN: RRDB-PSNR, then VGG19 features before activation and a relativistic discriminator."""
    return replace(rrdbnet(scale), name="esrgan", gan=Gan())


def bsrgan(scale: int) -> Recipe:
    """BSRGAN: ESRGAN's network and losses on shuffled degradations; its discriminator is a U-Net."""
    gan = Gan(400_000, "l1=1,content=1,adversarial=0.1", discriminator="unet")
    return replace(rrdbnet(scale), name="bsrgan", degrade="bsrgan", gan=gan)


def realesrgan(scale: int) -> Recipe:
    """Real-ESRGAN: RRDB on degradations of second order, first with L1, then against a U-Net."""
    gan = Gan(400_000, "l1=1,content=1,adversarial=0.1", discriminator="unet")
    return replace(rrdbnet(scale), name="realesrgan", patch=256 // scale, degrade="second-order", gan=gan)


_ALL = (
    srgan,
    esrgan,
    bsrgan,
    realesrgan,
    fsrcnn,
    srcnn,
    espcn,
    edsr,
    ecbsr,
    vdsr,
    drrn,
    srvgg,
    rrdbnet,
    srresnet,
    carn,
    mdsr,
    imdn,
    safmn,
    rcan,
    han,
    latticenet,
    rlfn,
    bsrn,
    falsr,
    rfdn,
    rdn,
    srdensenet,
    drcn,
    dbpn,
    span,
    lapsrn,
)
RECIPES = {recipe.__name__: recipe for recipe in _ALL}


def find(arch: str, scale: int) -> Recipe:
    """The recipe of a network."""
    if arch not in RECIPES:
        raise UsageError(f"no recipe to train '{arch}'", f"there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[arch](scale)


def preset(name: str, scale: int, kind: str) -> Recipe:
    """The recipe as in the paper, or a `quick` one that a CPU is through with in minutes."""
    if kind not in PRESETS:
        raise UsageError(f"no preset called '{kind}'", f"there are: {', '.join(PRESETS)}")
    recipe = find(name, scale)
    return recipe if kind == "paper" else quick(recipe)


PRESETS = ("paper", "quick")


def quick(recipe: Recipe) -> Recipe:
    """The same network and losses in a few hundred small steps, without features that need a download."""
    gan = recipe.gan
    if gan:
        gan = replace(gan, steps=100, loss="l1=1,frequency=0.01,adversarial=0.003")
    return replace(
        recipe,
        # A multiple of 16 at the target, which discriminators need.
        patch=min(recipe.patch, 96 if _is_pre_upsampled(recipe) else 24),
        batch=min(recipe.batch, 8),
        steps=300,
        learning_rate=max(recipe.learning_rate, 5e-4),
        warmup=30,
        validate_every=100,
        ema=0.98,
        gan=gan,
    )


def _is_pre_upsampled(recipe: Recipe) -> bool:
    return archs.traits(recipe.arch).pre_upsampled


def fine_tuning(spec: archs.Spec, init: str) -> Recipe:
    """A short run at a tenth of the paper's rate that begins with the weights in `init`."""
    recipe = find(spec.arch, spec.scale)
    return replace(
        recipe,
        config=spec.config,
        init=init,
        steps=20_000,
        learning_rate=recipe.learning_rate / 10,
        validate_every=1_000,
    )


def srlut(scale: int) -> Recipe:
    """SR-LUT: squared error, 48x48 patches, batch 32, learning rate 1e-4 throughout."""
    return Recipe(
        "srlut", scale, patch=48, batch=32, steps=200_000, loss="l2", learning_rate=1e-4, schedule="constant"
    )


def splut(scale: int) -> Recipe:
    """SPLUT: squared error, 48x48 patches, batch 32, learning rate 1e-3 throughout."""
    return Recipe("splut", scale, patch=48, batch=32, steps=2_000_000, loss="l2", schedule="constant")


RECIPES |= {recipe.__name__: recipe for recipe in (srlut, splut)}
