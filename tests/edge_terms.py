"""A local module of `edge_study`: it is hashed and copied with it."""

import torch


def edge_l1(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the steps between neighbors, of pairs that are both valid."""
    error, total, count = pred - target, pred.new_zeros(()), pred.new_zeros(())
    for dim in (-1, -2):
        step, both = (
            error.diff(dim=dim),
            mask.narrow(dim, 1, mask.shape[dim] - 1) & mask.narrow(dim, 0, mask.shape[dim] - 1),
        )
        total, count = total + (step.abs() * both).sum(), count + both.sum()
    return total / count.clamp(min=1)
