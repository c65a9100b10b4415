"""A fourth system in one file: surface normals from one image of the rooms. The library knows nothing of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, interpolate, normalize

from advdepth_nb.core.geometry import NYU_CAMERA, surface_normals
from advdepth_nb.data.nyu import PackedDepth
from advdepth_nb.data.rendered import pack_rooms
from advdepth_nb.metrics.registry import Metric, headings_of, register as register_metric
from advdepth_nb.systems.base import System, at_network_size, device_of, register, world_file
from advdepth_nb.systems.experiments import Experiment, Study, World, configure

register_metric(Metric("angle", "mean angle", "lower", "mean angle between normals", "°", ("normals",), "Fouhey"))
RECIPE = dict(
    recipe="plain", epochs=2, batch=4, lr=1e-2, lr_schedule="constant", augment="none", adversary=None,
    discriminator_first=False,
)  # fmt: skip
SCALES = {"smoke": dict(scale="smoke", network="convs", world=World(4, 2, 2, (36, 48), (72, 96)), size=(36, 48))}


def normals(depth: torch.Tensor) -> torch.Tensor:
    """(B,1,H,W) metres -> unit normals (B,3,H,W)."""
    return surface_normals(depth, NYU_CAMERA.resized(*depth.shape[-2:]))


@dataclass(frozen=True, kw_only=True)
class NormalsExperiment(Experiment):
    """Unit normals of what is seen, one for each pixel."""

    system: ClassVar[str] = "normals"
    networks: ClassVar[tuple[str, ...]] = ("convs",)
    augments: ClassVar[Mapping[str, Any]] = {"none": None}
    size: tuple[int, int]  # (H,W) the network sees

    @classmethod
    def terms(cls, recipe: str) -> set[str]:
        return {"cosine", "l1"}


@dataclass
class NormalsTask:
    """Images and depth in, normals and their terms out."""

    net: nn.Module
    size: tuple[int, int]
    names: list[str]  # of the terms

    def prepare(self, raw, generator):
        depth = interpolate(raw["depth"], self.size, mode="nearest-exact")
        return {"image": at_network_size(raw["image"], self.size, depth.device), "normals": normals(depth)}

    def predict(self, batch):
        return self.net(batch["image"])

    def terms(self, prediction, batch):
        cosine = (1 - cosine_similarity(prediction, batch["normals"])).mean()
        known = {"cosine": cosine, "l1": (normalize(prediction) - batch["normals"]).abs().mean()}
        return {name: known[name] for name in self.names}


@dataclass(frozen=True)
class Whole:
    """The one protocol: every pixel of the whole image."""

    name: str = "whole"

    def describe(self) -> str:
        return "Normals of every pixel, at the network's size."


class NormalsSystem(System):
    """Surface normals from one image."""

    name, experiment, recipes, scales = "normals", NormalsExperiment, {"plain": RECIPE}, SCALES
    worlds, real, protocols = ("rooms",), "frames with depth", ("whole",)
    columns = headings_of("angle")
    endpoints: ClassVar[Mapping[str, str]] = {"angle": "superior?"}

    def render(self, e, world):
        return pack_rooms(world_file(e, world), **vars(e.world), progress=False)

    def dataset(self, path, split, e):
        return PackedDepth(path, split)

    def network(self, e):
        return nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 3, 5, padding=2))

    def batch_task(self, e, net):
        return NormalsTask(net, e.size, list(e.losses))

    def scores(self, net, e, data, i, protocols, flip=False):
        task, sample = self.batch_task(e, net), data[i]
        raw = {k: sample[k][None].to(device_of(net)) for k in ("image", "depth")}
        batch = task.prepare(raw, torch.Generator())
        cosine = cosine_similarity(task.predict(batch), batch["normals"]).clamp(-1, 1)
        angle, count = torch.rad2deg(cosine.acos()).mean().cpu()[None], torch.tensor([float(cosine.numel())])
        return [(Whole(), {"angle": angle, "mse": angle**2, "n_valid": count}) for _ in protocols]

    def protocol(self, name):
        return Whole()


def cosine(scale: str, recipe: str) -> Experiment:
    """The cosine alone."""
    return configure(NormalsExperiment, {"cosine": 1.0}, RECIPE, SCALES[scale])


def both_terms(scale: str, recipe: str) -> Experiment:
    """L1 beside it."""
    return replace(cosine(scale, recipe), losses={"cosine": 1.0, "l1": 1.0})


ROWS = {"cosine": cosine, "both_terms": both_terms}
register(NormalsSystem(), {"normals": Study("normals", "plain", "rooms", ROWS, references={})})
