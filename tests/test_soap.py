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
        basis = state[f"{side}_basis"]
        torch.testing.assert_close(basis @ basis.T, torch.eye(size), atol=1e-5, rtol=0)
        moments = (basis * (state[side] @ basis)).sum(0)
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
    for basis in (state["left_basis"], state["right_basis"]):
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
