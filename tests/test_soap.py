"""SOAP, the optimiser: it follows Adam where axes are all there is, and beats it where they mislead."""

import copy

import pytest
import torch
from torch import Tensor, nn

from srcli.train.soap import Soap


def run(optimiser: torch.optim.Optimizer, loss_of: "nn.Module", steps: int) -> float:
    for _ in range(steps):
        optimiser.zero_grad()
        loss: Tensor = loss_of()
        loss.backward()
        optimiser.step()
    return float(loss_of().detach())


class Skewed(nn.Module):
    """|A W B - C|^2, whose moments differ by 10^4 in directions at an angle to the axes; its least is 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.zeros(12, 3, 3, 3))
        self.left, self.right = self._mixing(12), self._mixing(27)
        self.goal = self.left @ torch.randn(12, 27) @ self.right

    def _mixing(self, size: int) -> Tensor:
        turn = torch.linalg.qr(torch.randn(size, size)).Q
        return turn @ torch.diag(torch.logspace(0, -2, size)) @ turn.T

    def forward(self) -> Tensor:
        return (self.left @ self.weight.reshape(12, 27) @ self.right - self.goal).square().sum()


def test_it_is_ahead_of_adam_where_directions_are_mixed() -> None:
    problem = Skewed()
    rivals = {}
    for name, kind in (("adam", torch.optim.Adam), ("soap", Soap)):
        tried = copy.deepcopy(problem)
        rivals[name] = run(kind([{"params": [tried.weight]}], lr=0.03), tried, 400)
    assert rivals["soap"] < rivals["adam"] / 3


def test_bases_stay_at_right_angles() -> None:
    problem = Skewed()
    optimiser = Soap([{"params": [problem.weight]}], lr=0.03, every=3)
    run(optimiser, problem, 50)
    state = optimiser.state[problem.weight]
    for side, size in (("left", 12), ("right", 27)):
        basis = state[f"{side}_basis"][0]
        torch.testing.assert_close(basis @ basis.T, torch.eye(size), atol=1e-5, rtol=0)
        moments = (basis * (state[side][0] @ basis)).sum(0)
        assert moments[0] > moments[-1], "the strongest direction comes first"


@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 1, 1, 1)])
def test_without_sides_to_turn_it_is_adam(shape: tuple[int, ...]) -> None:
    """After its first step, which only looks."""
    torch.manual_seed(0)
    ours = torch.randn(shape, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    soap = Soap([{"params": [ours]}], lr=0.1, betas=(0.9, 0.99))
    adam = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99))
    for step in range(6):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        soap.step()
        if step:
            adam.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e6])
@pytest.mark.parametrize("rank", [1, 3])
def test_gradients_of_low_rank_and_any_size_are_borne(size: float, rank: int) -> None:
    torch.manual_seed(0)
    weight = torch.zeros(48, 96, requires_grad=True)
    optimiser = Soap([{"params": [weight]}], lr=0.1, every=2)
    for _ in range(9):
        weight.grad = size * torch.randn(48, rank) @ torch.randn(rank, 96)
        optimiser.step()
    state = optimiser.state[weight]
    assert torch.isfinite(weight).all()
    assert weight.abs().max() < 9 * 0.1 * 20, "no step is out of proportion to the rate"
    for basis in (state["left_basis"][0], state["right_basis"][0]):
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-4, rtol=0)


def test_it_goes_on_from_its_state() -> None:
    """Bit for bit, as a run that is resumed has to."""
    problem = Skewed()
    optimiser = Soap([{"params": [problem.weight]}], lr=0.03)
    run(optimiser, problem, 17)
    again = copy.deepcopy(problem)
    other = Soap([{"params": [again.weight]}], lr=0.03)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    run(optimiser, problem, 25)
    run(other, again, 25)
    assert torch.equal(problem.weight, again.weight)


def test_large_sides_keep_their_axes() -> None:
    weight = torch.zeros(4, 2000, requires_grad=True)
    optimiser = Soap([{"params": [weight]}], lr=0.1)
    weight.grad = torch.randn(4, 2000)
    optimiser.step()
    assert optimiser.state[weight]["right"] is None
    assert optimiser.state[weight]["left"] is not None


def step_by_the_paper(gradients: list[Tensor], weight: Tensor, every: int, beta: float = 0.95) -> Tensor:
    """Algorithm 3 of the paper for one matrix, as the authors' code begins it: the first step only looks."""
    moments = [torch.zeros(side, side) for side in weight.shape]
    mean, square, bases = torch.zeros_like(weight), torch.zeros_like(weight), []

    def observe(gradient: Tensor) -> None:
        moments[0].lerp_(gradient @ gradient.T, 1 - beta)
        moments[1].lerp_(gradient.T @ gradient, 1 - beta)

    observe(gradients[0])
    bases = [torch.linalg.eigh(m.double()).eigenvectors.flip(1).float() for m in moments]
    for step, gradient in enumerate(gradients[1:], 1):
        mean.lerp_(gradient, 1 - beta)
        square = beta * square + (1 - beta) * (bases[0].T @ gradient @ bases[1]).square()
        scale = (square / (1 - beta**step)).sqrt() + 1e-8
        change = bases[0].T @ mean @ bases[1] / (1 - beta**step) / scale
        weight = weight - 0.1 * bases[0] @ change @ bases[1].T
        observe(gradient)
        if step % every:
            continue
        for axis in (0, 1):
            order = torch.diag(bases[axis].T @ moments[axis] @ bases[axis]).argsort(descending=True)
            square = square.index_select(axis, order)
            bases[axis] = torch.linalg.qr(moments[axis] @ bases[axis][:, order]).Q
    return weight


@pytest.mark.parametrize("every", [1, 4])
def test_it_is_the_published_algorithm(every: int) -> None:
    torch.manual_seed(0)
    gradients, weight = list(torch.randn(12, 9, 6)), torch.randn(9, 6)
    ours = weight.clone().requires_grad_()
    optimiser = Soap([{"params": [ours]}], lr=0.1, every=every)
    for gradient in gradients:
        ours.grad = gradient.clone()
        optimiser.step()
    torch.testing.assert_close(ours.detach(), step_by_the_paper(gradients, weight, every), atol=2e-4, rtol=0)


def build_weights() -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(8, 2, 3, 3), (8, 2, 3, 3), (8,), (4, 8, 1, 1), (8, 2, 3, 3), (4,), (1, 5)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def take_steps(optimisers: list[Soap], weights: list[Tensor], steps: int) -> None:
    torch.manual_seed(1)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape)
        for optimiser in optimisers:
            optimiser.step()


def test_weights_that_are_computed_together_are_as_if_alone() -> None:
    together, alone = build_weights(), build_weights()
    take_steps([Soap([{"params": together}], lr=0.1, every=1, weight_decay=0.01)], together, 8)
    apart = [Soap([{"params": [weight]}], lr=0.1, every=1, weight_decay=0.01) for weight in alone]
    take_steps(apart, alone, 8)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_states_of_earlier_versions_are_read() -> None:
    """They had the state of each weight beside it, with averages in the weight's own coordinates."""
    weights = build_weights()
    optimiser = Soap([{"params": weights}], lr=0.1, every=1)
    take_steps([optimiser], weights, 8)
    saved = copy.deepcopy(optimiser.state_dict())
    former = {}
    for number, weight in enumerate(weights):
        rows, columns = (len(weight), weight[0].numel()) if weight.ndim > 1 else (1, len(weight))
        turns = min(rows, columns) > 1
        same = [k for k, other in enumerate(weights) if (other.shape == weight.shape or not turns)]
        same = [k for k in same if (weights[k].ndim == 4) == turns]
        stack, place = saved["state"][same[0]], same.index(number)
        one = {"steps": stack["steps"], "left": None, "right": None}
        if turns:
            one |= {k: v[place] for k, v in stack.items() if isinstance(v, Tensor)}
            one["mean"] = one["left_basis"] @ one["mean"] @ one["right_basis"].T
        else:
            first = sum(weights[k].numel() for k in same[:place])
            span = slice(first, first + weight.numel())
            one |= {name: stack[name][span][None] for name in ("mean", "square")}
        former[number] = one
    others = [weight.detach().clone().requires_grad_() for weight in weights]
    again = Soap([{"params": others}], lr=0.1, every=1)
    again.load_state_dict({**saved, "state": former})
    take_steps([optimiser], weights, 3)
    take_steps([again], others, 3)
    for one_weight, other in zip(weights, others, strict=True):
        torch.testing.assert_close(one_weight, other, atol=1e-4, rtol=1e-4)
