"""Configurations of networks that are quick on any machine: for tests, and for short training runs."""

from typing import Any

# Networks cut down so that tests of what holds for every network are quick; those with attention in the range
# of [0, 1], as random weights on 255 open and shut its gates at the slightest difference.
SMALL: dict[str, dict[str, Any]] = {
    "bairnet": {"blocks": 2, "layers": 2, "growth": 8, "features": 16, "hidden": 16, "reducing": 1},
    "bsrn": {"blocks": 2, "features": 16},
    "carn": {"features": 16},
    "cran": {"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    "csnln": {"depth": 1, "features": 4, "cell": 6},
    "dbpn": {"stages": 3, "features": 16, "head": 16},
    "drcn": {"recursions": 3, "features": 16},
    "drrn": {"units": 3, "features": 16},
    "edsr": {"blocks": 2, "features": 16},
    "falsr": {"features": 32},
    "han": {"groups": 2, "blocks": 1, "features": 16, "span": 1.0, "mean": 1.0},
    "imdn": {"blocks": 2, "features": 16},
    "lapar": {"features": 8, "blocks": 1},
    "lapsrn": {"layers": 2, "features": 8},
    "latticenet": {"units": 2, "features": 16},
    "liif": {"blocks": 2, "features": 16, "hidden": 24},
    "lte": {"blocks": 2, "features": 16, "hidden": 24},
    "mdsr": {"blocks": 2, "features": 16},
    "metasr": {"blocks": 2, "layers": 2, "growth": 8, "features": 16, "hidden": 16, "span": 1.0},
    "rcan": {"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    "rdn": {"blocks": 2, "layers": 2, "growth": 8, "features": 16},
    "rfdn": {"blocks": 2, "features": 16},
    "rlfn": {"blocks": 2, "features": 16, "span": 1.0},
    "rrdbnet": {"blocks": 1, "features": 16, "growth": 8},
    "safmn": {"blocks": 2, "features": 16},
    "san": {"groups": 2, "blocks": 1, "features": 32, "cell": 96, "span": 1.0, "mean": 1.0},
    "span": {"features": 16, "span": 1.0, "mean": 1.0},
    "splut": {"size": "s"},
    "srdensenet": {"blocks": 2, "layers": 2, "growth": 8},
    "srresnet": {"blocks": 2, "features": 16},
    "srvgg": {"convs": 3, "features": 16},
    "superresnet": {"blocks": 2, "features": 16},
    "vdsr": {"layers": 5, "features": 16},
}
