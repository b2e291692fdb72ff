"""The training recipes: one function per network, returning a frozen `Recipe`."""

from dataclasses import replace

from srcli import archs
from srcli.engine.device import Device, has_bfloat16_matrices
from srcli.errors import UsageError
from srcli.train.initial import IDENTITY, OWN
from srcli.train.recipe import Gan, Recipe

# ESRGAN's and Real-ESRGAN's features, before activations: conv1_2 ... conv5_4 of VGG19.
_FIVE_LAYERS = "content:conv1_2=0.1,content:conv2_2=0.1,content:conv3_4=1,content:conv4_4=1,content:conv5_4=1"
_ALL_SCALES = (2, 3, 4)
_ANY_SCALE = (1.0, 4.0)
# The decay of averaged weights in BasicSR and KAIR, for recipes of these.
_BASICSR = 0.999


def fsrcnn(scale: int) -> Recipe:
    """FSRCNN(56, 12, 4): squared error, 1e-3, the last layer at a tenth, batch 128; Adam, not SGD.

    SGD on Caffe's summed error diverged here within a few steps. The paper's patches of 10, 7 and 6 pixels
    are without a margin; ours include one.
    """
    return Recipe("fsrcnn", scale, batch=128, loss="l2", steps=1_000_000, last_rate=0.1, clip=1.0)


def srcnn(scale: int) -> Recipe:
    """SRCNN 9-5-5: squared error, 33x33 patches, batch 128, the last layer at a tenth; Adam, not SGD."""
    return Recipe(
        "srcnn", scale, patch=33, batch=128, steps=1_000_000, loss="l2", learning_rate=3e-4, last_rate=0.1
    )


def _halve_rate(recipe: Recipe) -> Recipe:
    """Set a million steps, with the learning rate halved every 200,000."""
    return replace(recipe, steps=1_000_000, schedule="step", decay_at=(0.2, 0.4, 0.6, 0.8))


def espcn(scale: int) -> Recipe:
    """ESPCN on luma: squared error, patches of 17, rate 1e-2 to 1e-4, a tenth in the last layer.

    The paper names neither optimiser nor batch size, and lowers the rate when the loss stops falling.
    """
    return Recipe("espcn", scale, patch=17, loss="l2", learning_rate=1e-2, last_rate=0.1)


def edsr(scale: int) -> Recipe:
    """EDSR baseline: L1, 48x48, batch 16, 1e-4 halved after 200,000 steps; x3, x4 start from x2."""
    return Recipe(
        "edsr", scale, patch=48, steps=300_000, learning_rate=1e-4, schedule="step", decay_at=(2 / 3,)
    )


def ecbsr(scale: int) -> Recipe:
    """ECBSR-M10C32: L1 on luma, 64x64 patches, batch 32, always at 5e-4."""
    return Recipe(
        "ecbsr", scale, patch=64, batch=32, steps=1_600_000, learning_rate=5e-4, schedule="constant"
    )


def slimres(scale: int) -> Recipe:
    """SlimRes: L1 with SOAP at 2e-3, constant for 60 % of the steps, then linear to 1 %."""
    return Recipe(
        "slimres",
        scale,
        patch=48,
        batch=12,
        steps=40_000,
        optimiser="soap",
        beta2=0.95,
        learning_rate=2e-3,
        schedule="linear",
        decay_at=(0.6,),
        warmup=300,
        clip=1.0,
        precision="bfloat16",
        ema=0.999,
        rescale_factors=(1.0, 0.7, 0.5),
    )


def vdsr(scale: int) -> Recipe:
    """VDSR: squared error, 41x41 patches, batch 64, 80 epochs, a tenth of the rate after each quarter.

    Adam with clipped norms replaces SGD at 0.1 with values clipped relative to the rate (`clip_by=rate`).
    Each batch has one of three scales; the paper mixes them within a batch.
    """
    return Recipe(
        "vdsr",
        scale,
        patch=41,
        batch=64,
        steps=936_000,
        loss="l2",
        weight_decay=1e-4,
        learning_rate=2e-4,
        schedule="step",
        decay=0.1,
        decay_at=(0.25, 0.5, 0.75),
        floor=0.0,
        clip=0.4,
        scales=_ALL_SCALES,
    )


def drrn(scale: int) -> Recipe:
    """DRRN: squared error, 31x31 patches, batch 128 of one of three scales, halved every 65,360 steps.

    Adam replaces SGD at 0.1. Norms are clipped at 0.01 as in the authors' code; in the paper it is values,
    relative to the learning rate.
    """
    return Recipe(
        "drrn",
        scale,
        patch=31,
        batch=128,
        steps=326_800,
        loss="l2",
        weight_decay=1e-4,
        learning_rate=1e-4,
        schedule="step",
        decay_at=(0.2, 0.4, 0.6, 0.8),
        clip=0.01,
        scales=_ALL_SCALES,
    )


def drcn(scale: int) -> Recipe:
    """DRCN: squared error on 41x41 patches, batch 64; Adam at 1e-4 instead of SGD at 0.01.

    The prediction of each recursion is supervised too, with a weight that falls over the run.
    """
    return Recipe(
        "drcn",
        scale,
        patch=41,
        batch=64,
        loss="l2",
        weight_decay=1e-4,
        learning_rate=1e-4,
        schedule="step",
        decay=0.1,
        decay_at=(0.5, 0.75),
        clip=1.0,
        deep_supervision=(1 / 16, 0.0),
    )


def lapsrn(scale: int) -> Recipe:
    """LapSRN: its Charbonnier loss on 128x128 pixels, batch 64; Adam at 1e-4 instead of SGD at 1e-5.

    Levels before the last are compared with the truth at their size, weighted by their number of pixels. The
    authors also shrink each training image by a random factor from 0.5 to 1.
    """
    levels = (1.0, 1.0) if scale > 2 else (0.0, 0.0)
    return Recipe(
        "lapsrn",
        scale,
        patch=128 // scale,
        batch=64,
        loss="charbonnier",
        weight_decay=1e-4,
        learning_rate=1e-4,
        schedule="step",
        decay_at=(0.05, 0.1, 0.15, 0.2),
        floor=0.1,
        clip=1.0,
        deep_supervision=levels,
    )


def srvgg(scale: int) -> Recipe:
    """SRVGGNetCompact: its settings are not published; those of Real-ESRGAN's first phase."""
    return Recipe(
        "srvgg",
        scale,
        patch=64,
        batch=48,
        steps=400_000,
        learning_rate=2e-4,
        schedule="constant",
        ema=_BASICSR,
    )


def rrdbnet(scale: int) -> Recipe:
    """ESRGAN's RRDB-PSNR: L1, 128x128 pixels at x4, four cosines of 250,000 steps."""
    return Recipe(
        "rrdbnet",
        scale,
        steps=1_000_000,
        learning_rate=2e-4,
        beta2=0.99,
        cycles=4,
        floor=5e-4,
        ema=_BASICSR,
    )


def srresnet(scale: int) -> Recipe:
    """SRResNet: squared error, 96x96 pixels at x4, batch 16, a million steps at 1e-4."""
    return Recipe(
        "srresnet", scale, patch=24, steps=1_000_000, loss="l2", learning_rate=1e-4, schedule="constant"
    )


def carn(scale: int) -> Recipe:
    """CARN: L1, 64x64, batch 64 of one of three scales, 1e-4 halved at two thirds, norms clipped at 10."""
    made = Recipe(
        "carn",
        scale,
        patch=64,
        batch=64,
        steps=600_000,
        learning_rate=1e-4,
        schedule="step",
        decay_at=(2 / 3,),
        clip=10.0,
    )
    return replace(made, config={"tails": list(_ALL_SCALES)}, scales=_ALL_SCALES)


def mdsr(scale: int) -> Recipe:
    """MDSR: L1, 48x48 patches, batch 16 of one of three scales, 1e-4 halved every 200,000 steps.

    So it is in the paper; the authors' later code halves the rate once.
    """
    made = Recipe(
        "mdsr",
        scale,
        patch=48,
        steps=650_000,
        learning_rate=1e-4,
        schedule="step",
        decay_at=(200 / 650, 400 / 650, 600 / 650),
    )
    return replace(made, config={"tails": list(_ALL_SCALES)}, scales=_ALL_SCALES)


def imdn(scale: int) -> Recipe:
    """IMDN: L1, 192x192 pixels, batch 16, 2e-4 halved every 200,000 steps."""
    return _halve_rate(Recipe("imdn", scale, patch=192 // scale, learning_rate=2e-4))


def rcan(scale: int) -> Recipe:
    """RCAN: L1, 48x48 patches, batch 16, 1e-4 halved every 200,000 steps; x3 and x4 start from x2."""
    return _halve_rate(Recipe("rcan", scale, patch=48, learning_rate=1e-4))


def liif(scale: int) -> Recipe:
    """LIIF: L1, 48x48 pixels, batch 16 of one scale from 1 to 4, 1e-4 halved every 200,000 steps.

    The authors draw a scale per image and 48 x 48 output pixels anywhere; here these form a square.
    """
    return _halve_rate(Recipe("liif", scale, patch=48, learning_rate=1e-4, scale_range=_ANY_SCALE))


def metasr(scale: int) -> Recipe:
    """Meta-SR: L1, 50x50 patches, batch 16 of one scale from 1 to 4, 1e-4 halved every 200,000 steps.

    The authors use multiples of 0.1 and whole patches; here it is a square of 50 x 50 output pixels.
    """
    return _halve_rate(Recipe("metasr", scale, patch=50, learning_rate=1e-4, scale_range=_ANY_SCALE))


def lte(scale: int) -> Recipe:
    """LTE: the settings of LIIF, which its authors adopted."""
    return replace(liif(scale), arch="lte")


def lte_swinir(scale: int) -> Recipe:
    """LTE on SwinIR: batch 32, 2e-4 halved four times in half a million steps; otherwise as LTE."""
    made = replace(lte(scale), name="lte-swinir", config={"encoder": "swinir"}, batch=32)
    return replace(_halve_rate_late(made), beta2=0.999)


def bairnet(scale: int) -> Recipe:
    """BAIRNet: upscales its own downscaled images, which are kept near bicubic; otherwise as LIIF.

    We do not know the paper's settings. Validation uses bicubic downscaling, for which it is not made.
    """
    return replace(liif(scale), arch="bairnet", downscale_weight=1.0)


def han(scale: int) -> Recipe:
    """HAN: L1, 48x48, batch 16, 1e-4 halved every 200,000 steps; the authors start from RCAN's x2 weights.

    Loss, steps and schedule are those of RCAN, as here it starts from scratch.
    """
    return _halve_rate(Recipe("han", scale, patch=48, learning_rate=1e-4))


def safmn(scale: int) -> Recipe:
    """SAFMN: L1 plus 0.05 x frequency loss, 64x64 patches, batch 64, a cosine from 1e-3 to 1e-5."""
    loss = "l1=1,frequency=0.05"
    return Recipe("safmn", scale, patch=64, batch=64, steps=500_000, loss=loss, beta2=0.99, ema=_BASICSR)


def latticenet(scale: int) -> Recipe:
    """LatticeNet: L1, 48x48 patches, batch 16, 2e-4 halved every 200,000 steps."""
    return _halve_rate(Recipe("latticenet", scale, patch=48, learning_rate=2e-4))


def rlfn(scale: int) -> Recipe:
    """RLFN's first stage: L1, 256x256 pixels, batch 64, 5e-4 halved every 200,000; `--init` for more."""
    return _halve_rate(Recipe("rlfn", scale, patch=256 // scale, batch=64, learning_rate=5e-4))


def bsrn(scale: int) -> Recipe:
    """BSRN: L1, 48x48 patches, batch 64, a cosine from 1e-3 to 1e-7."""
    return Recipe("bsrn", scale, patch=48, batch=64, steps=1_000_000, floor=1e-4)


def falsr(scale: int) -> Recipe:
    """FALSR: its training is not published; L1, 64x64 patches, batch 16, 1e-4 like its predecessors."""
    return Recipe("falsr", scale, patch=64, steps=1_000_000, learning_rate=1e-4)


def rfdn(scale: int) -> Recipe:
    """RFDN: L1, 64x64 patches, batch 64, 5e-4 halved every 200,000 steps; x3, x4 start from x2."""
    return _halve_rate(Recipe("rfdn", scale, patch=64, batch=64, learning_rate=5e-4))


def rdn(scale: int) -> Recipe:
    """RDN: L1, 48x48 at x2, then 32x32 from x2, batch 16, 1e-4 halved every 200,000 steps."""
    return _halve_rate(Recipe("rdn", scale, patch=48 if scale == 2 else 32, learning_rate=1e-4))


def srdensenet(scale: int) -> Recipe:
    """SRDenseNet: squared error, 100x100 pixels, batch 32, 60 epochs of 50,000 images, 1e-4, then a tenth."""
    return Recipe(
        "srdensenet",
        scale,
        patch=100 // scale,
        batch=32,
        steps=93_750,
        loss="l2",
        learning_rate=1e-4,
        schedule="step",
        decay=0.1,
        decay_at=(0.5,),
    )


def dbpn(scale: int) -> Recipe:
    """D-DBPN: L1, 40x40 patches, batch 16, 1e-4, a tenth of it in the second half.

    There is no weight decay in the authors' code; its batch and number of epochs are for another version.
    """
    return Recipe(
        "dbpn",
        scale,
        patch=40,
        steps=1_000_000,
        learning_rate=1e-4,
        schedule="step",
        decay=0.1,
        decay_at=(0.5,),
    )


def span(scale: int) -> Recipe:
    """SPAN: L1, 256x256 pixels, batch 64, 5e-4 halved every 200,000 steps."""
    return _halve_rate(Recipe("span", scale, patch=256 // scale, batch=64, learning_rate=5e-4))


def srgan(scale: int) -> Recipe:
    """SRGAN: SRResNet, then against a discriminator with squared differences of VGG19 features."""
    gan = Gan(200_000, "content:relu5_4=0.006,adversarial=0.001", decay=0.1, decay_at=(0.5,))
    return replace(srresnet(scale), name="srgan", gan=gan)


def esrgan(scale: int) -> Recipe:
    """ESRGAN: RRDB-PSNR, then VGG19 features before activation and a relativistic discriminator.

    The authors weight the mean of both halves of the relativistic loss by 0.005; ours is their sum. They
    start the second phase from the newest weights, we from the averaged ones.
    """
    loss = "l1=0.01,content=1,adversarial:ragan=0.0025"
    gan = Gan(loss=loss, discriminator="esrgan", decay_at=(0.125, 0.25, 0.5, 0.75))
    return replace(rrdbnet(scale), name="esrgan", gan=gan)


def bebygan(scale: int) -> Recipe:
    """BebyGAN: RRDB-PSNR, then best buddies, cycle, VGG19 features, a discriminator of textured regions.

    192x192 pixels from x4 on, batch 8, three cosines of 200,000 steps. The authors weight the mean of both
    halves of the relativistic loss by 0.005, and warm up after each restart. They do not say how they made
    the weights they start from (`--init`).
    """
    features = "content:conv3_4=0.125,content:conv4_4=0.25,content:conv5_4=0.5"
    loss = f"best-buddy=1,cycle=1,{features},adversarial:ragan=0.0025"
    gan = Gan(600_000, loss, discriminator="deep", schedule="cosine", cycles=3, regions=0.025)
    patch = min(48, 192 // scale)  # matching costs the square of the pixels
    made = replace(rrdbnet(scale), name="bebygan", patch=patch, batch=8, warmup=2_000, beta2=0.999)
    return replace(made, ema=0.0, gan=gan)


def bsrgan(scale: int) -> Recipe:
    """BSRGAN: RRDB on shuffled degradations with L1, then also VGG19 features and a U-Net, by LSGAN.

    The authors' options, except the number of steps, which they leave open. The paper has batch 48 and
    adversarial weight 0.1. The authors' squared errors are twice those of our lsgan, hence its weight of 2.
    """
    loss = f"l1=1,{_FIVE_LAYERS},adversarial:lsgan=2"
    gan = Gan(2_000_000, loss, 5e-5, decay_at=(0.4, 0.8), discriminator="unet")
    made = _halve_rate(Recipe("rrdbnet", scale, patch=72, batch=4, learning_rate=1e-4, ema=_BASICSR))
    return replace(made, name="bsrgan", initial="orthogonal=0.2", degrade="bsrgan", gan=gan)


def realesrgan(scale: int) -> Recipe:
    """Real-ESRGAN: RRDB on degradations of second order, with L1, then also VGG19 features and a U-Net.

    The authors start from ESRGAN's weights (`--init`), and show the discriminator unsharpened images.
    """
    loss = f"l1=1,{_FIVE_LAYERS},adversarial=0.1"
    gan = Gan(400_000, loss, discriminator="unet")
    made = Recipe(
        "rrdbnet",
        scale,
        patch=256 // scale,
        batch=48,
        steps=1_000_000,
        learning_rate=2e-4,
        beta2=0.99,
        schedule="constant",
        ema=_BASICSR,
    )
    return replace(made, name="realesrgan", augment="flip", sharpen=0.5, degrade="second-order", gan=gan)


def photo(scale: int) -> Recipe:
    """Ours: SlimRes on RGB imitates Real-ESRGAN on photographs as people have them; L1 and a Fourier term.

    The bundled weights were trained by benchmarks/experiments/photo_student.py, on pairs of the same kind.
    """
    return replace(
        slimres(scale),
        name="photo",
        config={"blocks": 8, "features": 64, "channels": 3},
        patch=40,
        batch=16,
        steps=8_000,
        loss="l1=1,frequency=0.00125",
        degrade="photo",
        learning_rate=1e-3,
        decay_at=(0.5,),
        precision="auto",
        rescale_factors=(1.0, 0.875),
        teacher="realesrgan",
        target="teacher",
        pairs=3_200,
        validate_every=500,
    )


def photo_lite(scale: int) -> Recipe:
    """Ours: as `photo`, a sixth of its size."""
    small = {"blocks": 5, "features": 32, "channels": 3}
    return replace(photo(scale), name="photo-lite", config=small, steps=20_000)


def anime(scale: int) -> Recipe:
    """Ours: as `photo`, smaller, imitating Real-ESRGAN's network for drawings."""
    small = {"blocks": 5, "features": 48, "channels": 3}
    return replace(photo(scale), name="anime", config=small, steps=10_000, teacher="realesrgan-anime")


def lapar(scale: int) -> Recipe:
    """LAPAR: L1, 64x64 patches, batch 32, 4e-4 after 2,000 steps, three cosines of 200,000 to 1e-7.

    The authors warm up after each restart, we once.
    """
    made = Recipe("lapar", scale, patch=64, batch=32, steps=600_000, learning_rate=4e-4, warmup=2_000)
    return replace(made, cycles=3, floor=2.5e-4)


def san(scale: int) -> Recipe:
    """SAN: L1, 48x48 patches, batch 16, 1e-4 halved every 200,000 steps; beta2 is 0.99.

    The authors' code lowers the rate more often over more steps, unless told otherwise.
    """
    return _halve_rate(Recipe("san", scale, patch=48, learning_rate=1e-4, beta2=0.99))


def csnln(scale: int) -> Recipe:
    """CSNLN: L1, 48x48 patches, batch 16, 1e-4 halved every 200,000 steps.

    The authors' command halves the rate once.
    """
    return _halve_rate(Recipe("csnln", scale, patch=48, learning_rate=1e-4))


def cran(scale: int) -> Recipe:
    """CRAN: with RCAN's settings."""
    return replace(rcan(scale), arch="cran")


def superresnet(scale: int) -> Recipe:
    """SuperResNet with the settings of EDSR's baseline, as none are published."""
    return replace(edsr(scale), arch="superresnet")


def srlut(scale: int) -> Recipe:
    """SR-LUT: squared error, 48x48 patches, batch 32, learning rate 1e-4 throughout."""
    return Recipe(
        "srlut", scale, patch=48, batch=32, steps=200_000, loss="l2", learning_rate=1e-4, schedule="constant"
    )


def splut(scale: int) -> Recipe:
    """SPLUT: squared error, 48x48 patches, batch 32, learning rate 1e-3 throughout."""
    return Recipe("splut", scale, patch=48, batch=32, steps=2_000_000, loss="l2", schedule="constant")


def _halve_rate_late(recipe: Recipe) -> Recipe:
    """Set half a million steps at 2e-4, halved after 250,000, 400,000, 450,000 and 475,000."""
    rate = replace(recipe, steps=500_000, learning_rate=2e-4, beta2=0.99)
    return replace(rate, schedule="step", decay_at=(0.5, 0.8, 0.9, 0.95))


def swinir(scale: int) -> Recipe:
    """SwinIR: L1, 48x48 patches, batch 32, 2e-4 halved four times, at every scale.

    The authors start x3, x4 and x8 from x2, at half the rate for half the steps (`--init`). The versions for
    DIV2K and Flickr2K, and the lightweight ones, use patches of 64x64.
    """
    return replace(_halve_rate_late(Recipe("swinir", scale, patch=48, batch=32)), beta2=0.999, ema=_BASICSR)


def hat(scale: int) -> Recipe:
    """HAT without ImageNet: L1, 64x64 patches, batch 32, 2e-4 halved four times, at every scale.

    The authors start x4 from x2, at half the rate for half the steps (`--init`).
    """
    return _halve_rate_late(Recipe("hat", scale, patch=64, batch=32, ema=_BASICSR))


def dat(scale: int) -> Recipe:
    """DAT: L1, 64x64 patches, batch 32, 2e-4 halved four times, at every scale.

    The authors start x3 and x4 from x2, at half the rate for half the steps (`--init`).
    """
    return _halve_rate_late(Recipe("dat", scale, patch=64, batch=32))


def swin2sr(scale: int) -> Recipe:
    """Swin2SR's classical size: L1, 64x64 patches, batch 32, 2e-4 halved four times."""
    return replace(_halve_rate_late(Recipe("swin2sr", scale, patch=64, batch=32)), beta2=0.999, ema=_BASICSR)


def omnisr(scale: int) -> Recipe:
    """OmniSR on DIV2K: L1, 64x64 patches, batch 64, 5e-4 halved every 250 of 1,000 epochs; AdamW."""
    return Recipe(
        "omnisr",
        scale,
        patch=64,
        batch=64,
        steps=800_000,
        optimiser="adamw",
        weight_decay=1e-4,
        learning_rate=5e-4,
        schedule="step",
        decay_at=(0.25, 0.5, 0.75),
    )


def edt(scale: int) -> Recipe:
    """EDT on DIV2K and Flickr2K: L1, 48x48 patches, batch 32, 2e-4 halved four times.

    The last time is at 475,000 steps; the authors' 4,750,000 have a digit too many.
    """
    return _halve_rate_late(Recipe("edt", scale, patch=48, batch=32))


def nlsn(scale: int) -> Recipe:
    """NLSN: L1, 48x48 patches, batch 16, 1e-4 halved every 200,000 steps."""
    return _halve_rate(Recipe("nlsn", scale, patch=48, learning_rate=1e-4))


def enlcn(scale: int) -> Recipe:
    """ENLCN: L1, 48x48 patches, batch 16, 1e-4 halved every 200,000 steps; without the contrastive loss."""
    return _halve_rate(Recipe("enlcn", scale, patch=48, learning_rate=1e-4))


def act(scale: int) -> Recipe:
    """ACT's phase on ImageNet: L1, 48x48 patches, 512 per step, 150 epochs, 1e-4 halved every 50."""
    made = Recipe("act", scale, patch=48, batch=64, accumulate=8, steps=375_000, learning_rate=1e-4)
    return replace(made, schedule="step", decay_at=(1 / 3, 2 / 3))


def ipt(scale: int) -> Recipe:
    """IPT on ImageNet, one task: L1, 48x48 patches, batch 256, 300 epochs at 5e-5, then 30 at 2e-5."""
    made = Recipe("ipt", scale, patch=48, batch=256, steps=1_500_000, learning_rate=5e-5)
    return replace(made, schedule="step", decay=0.4, decay_at=(10 / 11,))


def maxim_sr(scale: int) -> Recipe:
    """MAXIM-SR, our own: the settings of SwinIR with patches of 64x64."""
    return _halve_rate_late(Recipe("maxim_sr", scale, patch=64, batch=32))


_ALL = (
    srgan,
    esrgan,
    bebygan,
    bsrgan,
    realesrgan,
    photo,
    anime,
    fsrcnn,
    srcnn,
    espcn,
    edsr,
    ecbsr,
    slimres,
    vdsr,
    drrn,
    srvgg,
    rrdbnet,
    srresnet,
    carn,
    mdsr,
    imdn,
    bairnet,
    liif,
    lte,
    lte_swinir,
    metasr,
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
    lapar,
    san,
    csnln,
    cran,
    superresnet,
    swinir,
    hat,
    dat,
    swin2sr,
    omnisr,
    edt,
    nlsn,
    enlcn,
    act,
    ipt,
    maxim_sr,
    srlut,
    splut,
)
RECIPES = {recipe.__name__: recipe for recipe in _ALL} | {"photo-lite": photo_lite}

# Where the settings are written down, if that is neither the paper of the network nor an option file of the
# authors, which benchmarks/published_recipes.csv lists.
SOURCES = {
    "srgan": "https://arxiv.org/abs/1609.04802",
    "bebygan": "https://github.com/dvlab-research/Simple-SR/blob/master/exps/BebyGAN/config.py",
}


def names() -> list[str]:
    """List all recipes, including networks that use the default one."""
    return sorted({*RECIPES, *archs.names()})


def find(name: str, scale: int) -> Recipe:
    """Return a recipe by name; networks without one of their own get the default."""
    if name in RECIPES:
        return RECIPES[name](scale)
    if name in archs.names():
        return default(name, scale)
    raise UsageError(f"no recipe called '{name}'", f"there are: {', '.join(names())}")


def default(arch: str, scale: int) -> Recipe:
    """Return the recipe of networks without one: L1, 48x48 patches, batch 16, a cosine from 2e-4."""
    scale_range = _ANY_SCALE if archs.traits(arch).any_scale else ()
    return Recipe(
        arch,
        scale,
        patch=48,
        steps=300_000,
        learning_rate=2e-4,
        warmup=1_000,
        clip=1.0,
        ema=0.999,
        scale_range=scale_range,
    )


def preset(name: str, scale: int, kind: str) -> Recipe:
    """Return the recipe of the paper, or a `quick` one that a CPU finishes in minutes."""
    check_preset(kind)
    recipe = find(name, scale)
    return recipe if kind == "paper" else quick(recipe)


def check_preset(kind: str) -> None:
    """Raise `UsageError` for a preset that does not exist."""
    if kind not in PRESETS:
        raise UsageError(f"no preset called '{kind}'", f"there are: {', '.join(PRESETS)}")


PRESETS = ("paper", "quick")


def quick(recipe: Recipe) -> Recipe:
    """Shorten a recipe to a thousand small steps with SOAP that need no download and no teacher.

    It is 300 steps if a second phase follows, as its networks are large.
    """
    gan = _quick_gan(recipe.gan) if recipe.gan else None
    return replace(
        recipe,
        # A multiple of 16 in high resolution, which discriminators need.
        patch=48 if _is_pre_upsampled(recipe) else 24,
        batch=min(recipe.batch, 8),
        steps=300 if gan else 1_000,
        loss=recipe.loss.partition("=")[0],
        optimiser="soap",
        beta2=0.95,
        weight_decay=0.0,
        learning_rate=3e-3,
        last_rate=1.0,
        scales=(),
        warmup=0,
        schedule="one-cycle",
        decay_at=(),
        floor=0.01,
        initial=IDENTITY if archs.has_identity_path(recipe.arch) else OWN,
        clip=1.0,
        clip_by="norm",
        precision=_choose_quick_precision(recipe.arch),
        validate_every=50 if gan else 200,
        ema=0.98,
        teacher="",
        target="",
        pairs=0,
        gan=gan,
    )


# Networks of plain convolutions, which learn as well in bfloat16.
_PLAIN = ("edsr", "ecbsr", "srvgg", "slimres")


def _choose_quick_precision(arch: str) -> str:
    return "auto" if arch in _PLAIN else "float32"


def settle_precision(recipe: Recipe, device: Device) -> Recipe:
    """Return the recipe with `auto` decided for the device."""
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="bfloat16" if has_bfloat16_matrices(device) else "float32")


def _quick_gan(gan: Gan) -> Gan:
    """Replace feature losses in the second phase by L1 and a frequency loss; best buddies stay."""
    pixels = "best-buddy=1,cycle=1" if "best-buddy" in gan.loss else "l1=1,frequency=0.01"
    return replace(gan, steps=100, loss=f"{pixels},adversarial=0.003", decay_at=(), schedule="step", cycles=1)


def _is_pre_upsampled(recipe: Recipe) -> bool:
    return archs.traits(recipe.arch).pre_upsampled


def find_for_weights(model: str, arch: str, scale: int, *, real_world: bool) -> Recipe:
    """Return the recipe that published weights were trained by, or the nearest to it.

    Weights for real-world images without a recipe of their own get Real-ESRGAN's degradations and losses.
    """
    if model in RECIPES:
        return RECIPES[model](scale)
    if not real_world:
        return find(arch, scale)
    like = realesrgan(scale)
    return replace(
        find(arch, scale),
        name=model,
        loss=like.loss,
        augment=like.augment,
        sharpen=like.sharpen,
        degrade=like.degrade,
        gan=like.gan,
    )


def fine_tuning(base: Recipe, spec: archs.Spec, init: str, kind: str = "paper") -> Recipe:
    """Return a short run that starts from the weights in `init`, with the data and losses of `base`.

    It has a tenth of the rate of `base`. What was trained against a discriminator continues against one from
    the first step, at half the rate. `kind`: "quick" has fewer and smaller steps, without features of VGG19.
    """
    short = kind == "quick"
    steps = 500 if short else 20_000
    gan = _quick_gan(base.gan) if base.gan and short else base.gan
    return replace(
        base,
        arch=spec.arch,
        config=spec.config,
        init=init,
        steps=0 if gan else steps,
        patch=min(base.patch, 48 if _is_pre_upsampled(base) else 24) if short else base.patch,
        patches=(),
        batch=min(base.batch, 8) if short else base.batch,
        scales=(),
        deep_supervision=(0.0, 0.0),
        optimiser="adam",
        beta2=0.999,
        weight_decay=0.0,
        learning_rate=min(1e-4, base.learning_rate / 10),
        last_rate=1.0,
        schedule="cosine",
        decay_at=(),
        cycles=1,
        floor=0.01,
        initial=OWN,
        warmup=min(200, steps // 10),
        clip=1.0,
        clip_by="norm",
        ema=0.999,
        precision=_choose_quick_precision(spec.arch) if short else base.precision,
        validate_every=steps // 20,
        gan=replace(gan, steps=steps, learning_rate=gan.learning_rate / 2, decay_at=()) if gan else None,
    )
