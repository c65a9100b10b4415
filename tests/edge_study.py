"""A study of one's own: a term from a module beside it, a network, a discriminator with its objective, an optimizer."""

from edge_terms import edge_l1
from torch import nn
from torch.optim import SGD

from advdepth_nb import Study, rows
from advdepth_nb.losses.gan import Objective


class Halving(nn.Module):
    """A network of two convolutions, which predicts at half of what it sees."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(width, 1, 5, padding=2), nn.Softplus()
        )

    def forward(self, image):
        return self.layers(image)


def patches(channels: int) -> nn.Module:
    """A discriminator of three convolutions."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 1, 3),
    )  # fmt: skip


def slower(groups):
    """Plain gradient descent."""
    return SGD(groups, momentum=0.9)


absolute = Objective(lambda f: (f - 1).abs().mean(), lambda r, f: (r - 1).abs().mean() + f.abs().mean(), 0.5)
study = Study.like(
    "table1",
    rows={
        "baseline": rows.baseline,
        "mine": rows.baseline.with_loss(edge_l1, 0.5).saying("Steps between neighbors say where a thing ends."),
        "halving": rows.baseline.with_network(Halving).with_optimizer(slower),
        "judged": rows.adv.with_discriminator(patches).with_objective(absolute, "absolute"),
    },
)
