"""SOAP: Adam in the slowly turning eigenbasis of the gradients' second moments (Vyas et al., 2024).

Adam scales each weight; SOAP scales along the directions in which a layer's gradients vary. For the small
kernels of compact networks the bases are cheap, and one step gains as much as several of Adam's.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Sides beyond this keep their own axes: their bases would cost more than the network.
_LARGEST = 1024


class Soap(torch.optim.Optimizer):
    """SOAP for weights (O, ...), each as a matrix of O rows; vectors get Adam.

    `every`: steps between updates of the bases, each by one step of QR iteration. Source:
    https://arxiv.org/abs/2409.11321, algorithm 3.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        every: int = 10,
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "every": every}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; a weight's first step only initialises its bases."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: Tensor, slope: Tensor, group: dict[str, Any]) -> None:
        gradient = slope.reshape(len(slope), -1) if slope.ndim > 1 else slope[None]
        state = self.state[weight]
        if not state:
            _begin(state, gradient)
            return
        first, second = group["betas"]
        state["steps"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        turned = _turn(gradient, state)
        state["square"].mul_(second).addcmul_(turned, turned, value=1 - second)
        steps = state["steps"]
        scale = (state["square"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        change = _turn_back(_turn(state["mean"], state) / scale, state) / (1 - first**steps)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * change.reshape(weight.shape))
        _observe(state, gradient, second)
        if steps % group["every"] == 0:
            _renew(state)


def _begin(state: dict[str, Any], gradient: Tensor) -> None:
    rows, columns = gradient.shape
    state["steps"] = 0
    state["mean"] = torch.zeros_like(gradient)
    state["square"] = torch.zeros_like(gradient)
    for side, length in (("left", rows), ("right", columns)):
        turns = 1 < length <= _LARGEST and min(rows, columns) > 1
        state[side] = gradient.new_zeros((length, length)) if turns else None
    _observe(state, gradient, 0.0)
    for side in ("left", "right"):
        if state[side] is not None:
            state[f"{side}_basis"] = _axes(state[side])


def _axes(moments: Tensor) -> Tensor:
    """Compute eigenvectors in columns, the strongest first; the plain axes if that fails.

    A first gradient is often of low rank, or tiny: the eigenvalue solver then fails in single precision.
    """
    scaled = moments.cpu().double()
    scaled /= scaled.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    found: Tensor
    try:
        found = torch.linalg.eigh(scaled).eigenvectors.flip(1)
    except RuntimeError:  # as torch.linalg.LinAlgError is
        found = torch.eye(len(scaled))
    return found.to(moments)


def _observe(state: dict[str, Any], gradient: Tensor, keep: float) -> None:
    if state["left"] is not None:
        state["left"].lerp_(gradient @ gradient.T, 1 - keep)
    if state["right"] is not None:
        state["right"].lerp_(gradient.T @ gradient, 1 - keep)


def _turn(matrix: Tensor, state: dict[str, Any]) -> Tensor:
    if state["left"] is not None:
        matrix = state["left_basis"].T @ matrix
    if state["right"] is not None:
        matrix = matrix @ state["right_basis"]
    return matrix


def _turn_back(matrix: Tensor, state: dict[str, Any]) -> Tensor:
    if state["left"] is not None:
        matrix = state["left_basis"] @ matrix
    if state["right"] is not None:
        matrix = matrix @ state["right_basis"].T
    return matrix


def _renew(state: dict[str, Any]) -> None:
    """Take a step of QR iteration, with axes in the order of their moments."""
    for axis, side in enumerate(("left", "right")):
        if state[side] is None:
            continue
        basis = state[f"{side}_basis"]
        moved = state[side] @ basis
        order = (basis * moved).sum(0).argsort(descending=True)
        state["square"] = state["square"].index_select(axis, order)
        state[f"{side}_basis"] = _orthogonalise(moved[:, order])


def _orthogonalise(columns: Tensor) -> Tensor:
    """Return the Q of their QR decomposition, on the CPU for Apple's GPUs."""
    place = "cpu" if columns.device.type == "mps" else columns.device
    turned: Tensor = torch.linalg.qr(columns.to(place)).Q
    return turned.to(columns)
