"""SOAP: Adam in the slowly turning eigenbasis of the gradients' second moments (Vyas et al., 2024).

Adam scales each weight; SOAP scales along the directions in which a layer's gradients vary. For the small
kernels of compact networks the bases are cheap, and one step gains as much as several of Adam's.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

# Sides beyond this keep their own axes: their bases would cost more than the network.
_LARGEST = 1024
_SIDES = ("left", "right")


class Soap(torch.optim.Optimizer):
    """SOAP for weights (O, ...), each as a matrix of O rows; vectors get Adam.

    `every`: steps between two updates of a basis, each by one step of QR iteration; the weights take turns,
    so that all steps cost the same. Weights of one shape are computed together, which is several times as
    fast for small ones: the first of them has the state of all, stacked. Source:
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
        """Take a step; the first one only initialises the bases."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for shape, weights in _group_by_shape(group["params"]).items():
                if any(weight.grad is not None for weight in weights):
                    self._update(weights, shape, group)
        return loss

    def _update(self, weights: list[Tensor], shape: tuple[int, ...], group: dict[str, Any]) -> None:
        gradient = _stack(weights, shape)
        state = self.state[weights[0]]
        first, second = group["betas"]
        if not state:
            _begin(state, gradient, second)
            return
        state["steps"] += 1
        steps = state["steps"]
        turned = _turn(gradient, state)
        state["mean"].lerp_(turned, 1 - first)
        state["square"].mul_(second).addcmul_(turned, turned, value=1 - second)
        scale = (state["square"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        change = _turn_back((state["mean"] / scale).div_(1 - first**steps), state)
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(weights, _unstack(change, weights), alpha=group["lr"])
        _observe(state, gradient, second)
        if shape and (chosen := range(-steps % group["every"], len(weights), group["every"])):
            _renew(state, slice(chosen.start, None, chosen.step))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; those of earlier versions, which had a state for each weight, are converted."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for shape, weights in _group_by_shape(group["params"]).items():
                states = [self.state.get(weight, {}) for weight in weights]
                if all("mean" in state for state in states) and states[0]["mean"].ndim == 2:
                    for weight in weights[1:]:
                        del self.state[weight]
                    self.state[weights[0]] = _convert(states, shape)


def _group_by_shape(weights: Sequence[Tensor]) -> dict[tuple[int, ...], list[Tensor]]:
    """Group weights by their shape as matrices; those without a side to turn share the shape ()."""
    found: dict[tuple[int, ...], list[Tensor]] = {}
    for weight in weights:
        rows, columns = (len(weight), weight[0].numel()) if weight.ndim > 1 else (1, weight.numel())
        turns = min(rows, columns) > 1 and min(rows, columns) <= _LARGEST
        found.setdefault((rows, columns) if turns else (), []).append(weight)
    return found


def _stack(weights: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the gradients as matrices (N, rows, columns), or all in one row without a shape."""
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    if shape:
        return torch.stack([gradient.reshape(shape) for gradient in gradients])
    return torch.cat([gradient.flatten() for gradient in gradients])


def _unstack(change: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return parts of a stack in the shapes of the weights."""
    sizes = [weight.numel() for weight in weights]
    parts = change if change.ndim == 3 else torch.split(change, sizes)
    return [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def _begin(state: dict[str, Any], gradient: Tensor, second: float) -> None:
    state["steps"] = 0
    state["mean"] = torch.zeros_like(gradient)
    state["square"] = torch.zeros_like(gradient)
    for axis, side in enumerate(_SIDES, 1):
        turns = gradient.ndim == 3 and gradient.shape[axis] <= _LARGEST
        size = gradient.shape[axis] if turns else 0
        state[side] = gradient.new_zeros((len(gradient), size, size)) if turns else None
    # Moments begin at 0, so that the first gradient weighs no more than others; a basis has no scale.
    _observe(state, gradient, second)
    for side in _SIDES:
        if state[side] is not None:
            state[f"{side}_basis"] = torch.stack([_axes(moments) for moments in state[side]])


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
    """Average the second moments of rows and columns."""
    if state["left"] is not None:
        state["left"].baddbmm_(gradient, gradient.mT, beta=keep, alpha=1 - keep)
    if state["right"] is not None:
        state["right"].baddbmm_(gradient.mT, gradient, beta=keep, alpha=1 - keep)


def _turn(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    if state["left"] is not None:
        matrices = state["left_basis"].mT @ matrices
    if state["right"] is not None:
        matrices = matrices @ state["right_basis"]
    return matrices


def _turn_back(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    if state["left"] is not None:
        matrices = state["left_basis"] @ matrices
    if state["right"] is not None:
        matrices = matrices @ state["right_basis"].mT
    return matrices


def _renew(state: dict[str, Any], chosen: slice) -> None:
    """Take a step of QR iteration for some of the matrices, with axes in the order of their moments."""
    mean, square = state["mean"][chosen], state["square"][chosen]
    # The average gradient is in the coordinates of the bases, and turns with them.
    plain = _turn_back(mean, _choose(state, chosen))
    for axis, side in enumerate(_SIDES, 1):
        if state[side] is None:
            continue
        basis = state[f"{side}_basis"][chosen]
        moved = state[side][chosen] @ basis
        order = (basis * moved).sum(1).argsort(dim=1, descending=True)
        index = order[:, :, None] if axis == 1 else order[:, None]
        square.copy_(square.gather(axis, index.expand_as(square)))
        basis.copy_(_orthogonalise(moved.gather(2, order[:, None].expand_as(moved))))
    mean.copy_(_turn(plain, _choose(state, chosen)))


def _choose(state: dict[str, Any], chosen: slice) -> dict[str, Any]:
    """Return the bases of some of the matrices, as views."""
    return {
        name: None if state[side] is None else state[name][chosen]
        for side in _SIDES
        for name in (side, f"{side}_basis")
        if name in state
    }


def _orthogonalise(columns: Tensor) -> Tensor:
    """Return the Q of their QR decomposition, on the CPU for Apple's GPUs."""
    place = "cpu" if columns.device.type == "mps" else columns.device
    turned: Tensor = torch.linalg.qr(columns.to(place)).Q
    return turned.to(columns)


def _convert(states: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> dict[str, Any]:
    """Stack the states of weights of one shape, whose averages were not in the coordinates of the bases."""
    join = torch.stack if shape else lambda parts: torch.cat([part.flatten() for part in parts])
    converted: dict[str, Any] = {"steps": states[0]["steps"], "left": None, "right": None}
    for name in ("mean", "square", "left", "right", "left_basis", "right_basis"):
        if all(state.get(name) is not None for state in states) and (shape or name in ("mean", "square")):
            converted[name] = join([state[name] for state in states])
    converted["mean"] = _turn(converted["mean"], converted)
    return converted
