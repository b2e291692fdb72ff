"""Upscaling methods by name: interpolators, chains of networks, any-scale and untrained methods.

A `Method` is a function of pixels and a scale: `load_method` finds one by name, `load_method_file` by a
weight file. How a network runs is in `engine`; what is done around a method for a file is in `upscaling`.
"""

from srcli.methods.base import FunctionMethod, Method, MethodOptions
from srcli.methods.interpolator import Interpolator
from srcli.methods.networks import AnyScaleNetwork, NetworkChain, chain_networks
from srcli.methods.registry import (
    WEIGHTLESS,
    build_upscaler,
    check_model,
    check_own_scale,
    find_arch,
    find_licence,
    find_own_scale,
    identify_weights,
    list_models,
    load_method,
    load_method_file,
    load_methods,
    load_table,
    locate_weights,
    plan_entries,
    resolve_name,
)
from srcli.methods.scaling import LARGEST_SCALE, check_scale, compute_output_size, plan_scale_chain
from srcli.methods.untrained import Untrained

__all__ = [
    "LARGEST_SCALE",
    "WEIGHTLESS",
    "AnyScaleNetwork",
    "FunctionMethod",
    "Interpolator",
    "Method",
    "MethodOptions",
    "NetworkChain",
    "Untrained",
    "build_upscaler",
    "chain_networks",
    "check_model",
    "check_own_scale",
    "check_scale",
    "compute_output_size",
    "find_arch",
    "find_licence",
    "find_own_scale",
    "identify_weights",
    "list_models",
    "load_method",
    "load_method_file",
    "load_methods",
    "load_table",
    "locate_weights",
    "plan_entries",
    "plan_scale_chain",
    "resolve_name",
]
