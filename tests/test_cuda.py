"""What runs on a device, on a CUDA device that is emulated: nothing meets a tensor of the CPU, no step waits for one.

Steps of every row, the GAN monitor, scores, predictions and rendering. What this does not see: kernels, their numbers
and their memory; streams; precisions other than float32; what Fabric does.
"""

import ast
from types import SimpleNamespace
from pathlib import Path

import pytest
import torch
from emulated_cuda import DEVICE, OnCuda, emulated, module_on_cuda, on_cuda

from advdepth_nb.apps.predict import load
from advdepth_nb.scenes.fields import field
from advdepth_nb.scenes.rooms import room
from advdepth_nb.study.rehearsal import network_for
from advdepth_nb.study.train import prepare_run
from advdepth_nb.systems.catalog import STUDIES, SYSTEMS, experiment
from advdepth_nb.training.gan_monitor import decoder_ratio, held_out_accuracy, raw_batches, snapshot, spectra

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    (study, row)
    for study in ("table1", "stereo", "translate")
    for row in STUDIES[study].all
    if experiment(row, study, "smoke").trained
]


@pytest.mark.parametrize(("study", "row"), ROWS)
def test_a_step_keeps_to_the_device_and_does_not_wait_for_it(study, row):
    e = experiment(row, study, "smoke")
    system = SYSTEMS[e.system]
    torch.manual_seed(0)
    net, adversary = module_on_cuda(network_for(system, e)), system.adversary(e, seed=0)
    if adversary is not None:
        module_on_cuda(adversary.network, adversary.optimizer)
    raw = on_cuda(system.example(e, torch.Generator().manual_seed(0)))
    with emulated() as mode:
        generator = torch.Generator()
        generator.manual_seed(1)
        task = system.batch_task(e, net.train())
        batch = task.prepare(raw, generator)
        prediction = task.predict(batch)
        terms = task.terms(prediction, batch)
        total = sum(e.losses[name] * value for name, value in terms.items() if name in e.losses)
        health = {}
        if adversary is not None:
            real, fake, condition = task.discriminator_inputs(prediction, batch, generator)
            total = total + adversary.generator_loss(fake, condition, real)
        total.backward()
        if adversary is not None:
            health = adversary.step(real, fake.detach(), condition)
        assert all(value.device == DEVICE for value in (*terms.values(), *health.values(), total))
        learnt = [p for p in net.parameters() if p.requires_grad]
        assert learnt and all(p.grad is None or p.grad.device == DEVICE for p in learnt)
        assert any(p.grad is not None for p in learnt)
        assert not mode.waits, f"the host would wait for the device: {dict(mode.waits)}"


@pytest.mark.parametrize(("study", "row"), [("table1", "adv"), ("stereo", "full"), ("translate", "segment_l1_cgan")])
def test_scores_on_the_device_are_those_of_the_cpu(study, row, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    e = experiment(row, study, "smoke")
    system = SYSTEMS[e.system]
    data = system.dataset(system.data_file(e, STUDIES[study].data), "test", e)
    torch.manual_seed(0)
    net, protocols = network_for(system, e).eval(), system.protocols_for(e, data)
    with torch.no_grad():
        torch.manual_seed(1)  # pix2pix's noise
        expected = system.scores(net, e, data, 0, protocols)
        module_on_cuda(net)
        with emulated():
            torch.manual_seed(1)
            scored = system.scores(net, e, data, 0, protocols)
    assert len(scored) == len(protocols)
    for (_, there), (_, here) in zip(scored, expected):
        assert there.keys() == here.keys()
        for name, value in there.items():
            found = value.numbers if isinstance(value, OnCuda) else torch.as_tensor(value)
            torch.testing.assert_close(found, torch.as_tensor(here[name]), equal_nan=True, msg=name)


def test_weights_that_ship_predict_on_the_device_what_they_do_on_the_cpu():
    predictor, image = load("depth"), torch.randint(256, (3, 120, 160), dtype=torch.uint8)
    expected = predictor(image)
    module_on_cuda(predictor.net)
    predictor.device = DEVICE
    with emulated():
        found = predictor(image)
    torch.testing.assert_close(found.numbers if isinstance(found, OnCuda) else found, expected)


def test_the_emulation_finds_what_it_looks_for():
    here, there = torch.ones(3), on_cuda(torch.ones(3))
    with emulated() as mode:
        with pytest.raises(RuntimeError, match="of the CPU meets"):
            here + there
        with pytest.raises(RuntimeError, match="of the CPU meets"):
            there.clone().mul_(torch.ones(3))
        with pytest.raises(RuntimeError, match="a generator of another device"):
            torch.rand(3, device=DEVICE, generator=torch.Generator())
        made = torch.zeros(3, device="cuda") + torch.zeros_like(there) + 2.0 * torch.tensor(1.0)
        assert isinstance(made, OnCuda) and made.device == DEVICE and not mode.waits
        for wait in (lambda: float(made.sum()), lambda: made[made > 0], lambda: made.cpu(), lambda: bool(made.any())):
            before = sum(mode.waits.values())
            wait()
            assert sum(mode.waits.values()) > before
        assert made.to("cpu").device.type == "cpu" and torch.equal(made.cpu(), torch.full((3,), 2.0))
        weight = there.clone().requires_grad_()
        (weight**2).sum().backward()
        assert torch.equal(weight.grad.numbers, torch.full((3,), 2.0))


@pytest.mark.parametrize(("study", "row"), [("table1", "adv"), ("stereo", "full"), ("translate", "segment_no_dropout")])
def test_the_monitor_measures_on_the_device_what_it_does_on_the_cpu(study, row, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    e = experiment(row, study, "smoke")
    system = SYSTEMS[e.system]
    run = prepare_run(e, system.dataset(system.data_file(e, STUDIES[study].data), "train", e))
    raw = raw_batches(run.data, run.batch_size, count=1)

    def measured() -> list[float]:
        shown = snapshot(run, raw[0])
        run.batch = run.task.prepare(run.fabric.to_device(raw[0]), torch.Generator().manual_seed(0))
        power = spectra(shown["real"], shown["fake"])
        return [
            *held_out_accuracy(run, raw).values(),
            decoder_ratio(run),
            *power["fake"],
            *shown["fake_patches"].flatten(),
        ]

    expected = measured()
    module_on_cuda(run.task.net.get_submodule("module"))
    module_on_cuda(run.adversary.network, run.adversary.optimizer)
    run.fabric = SimpleNamespace(
        device=DEVICE, to_device=on_cuda, autocast=run.fabric.autocast, strategy=run.fabric.strategy
    )
    with emulated():
        found = measured()
    # torchvision resizes bytes on the CPU, and floats elsewhere: a picture differs by up to one level of 255
    close = {"rtol": 0.05, "atol": 0.03} if study == "translate" else {}
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), **close)


@pytest.mark.parametrize("world", ["room", "field"])
def test_a_world_rendered_on_the_device_is_that_of_the_cpu(world):
    render = {"room": lambda device: room(3, size=(48, 64), device=device),
              "field": lambda device: field(3, size=(32, 64), device=device, look="stalks")}[world]  # fmt: skip
    expected = render("cpu")
    with emulated():
        found = render(DEVICE)
    for name, here in expected.items():
        if isinstance(here, torch.Tensor):
            there = found[name]
            assert there.device == DEVICE, name
            torch.testing.assert_close(there.numbers, here, msg=name)


MAKERS = {
    "arange", "as_tensor", "empty", "eye", "full", "hann_window", "linspace", "ones", "rand", "randint", "randn",
    "randperm", "tensor", "zeros",
}  # fmt: skip
ON_A_DEVICE = ("core", "scenes", "models", "losses", "metrics", "training", "systems")
MEANT_FOR_THE_CPU = {  # a part of the call that makes a tensor there, and why it may
    "core/colors": ("XYZ", "torch.ones(1)", "torch.arange(256", "as_palette"),  # tables, sent on by who reads them
    "scenes/raycast": ("np.linspace(low, high, 100)",),  # one blade's width, before anything is rendered
    "scenes/variation": ("torch.linspace(-1, 1", "torch.arange(-reach"),  # a picture that is rendered already
    "models/constant": ("torch.linspace(0, 0.3", "torch.zeros("),  # fitted to data, and buffers of a module
    "models/encoders": ("torch.full((1, 3, 224",),  # a fingerprint of weights that have just been read
    "metrics/boundaries": ("torch.linspace(1.05",),  # sent on where it is used
    "training/gan_monitor": ("hann_window", "torch.arange(1, bins", "torch.linspace(0, len(data)"),  # sent on; an axis
    "training/shortcut_audit": ("torch.tensor(train)", "torch.tensor(test)"),  # indices of images on the CPU
    "systems/depth": ("torch.zeros(2)",),  # an example that is made up for a rehearsal
    "systems/translation": ("made.permute", "torch.as_tensor(labels)"),  # a finished picture; labels out of a file
}


def names_in(node: ast.AST) -> list[str]:
    """Methods and attributes along a chain: `x.detach().cpu()` gives cpu, detach."""
    names = []
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    return names


def made_on_the_cpu(source: str) -> list[str]:
    """Calls that make a tensor without saying where, and `.numpy()` of what may lie on a device."""
    tree, found = ast.parse(source), []
    moved = {id(n.func.value) for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
             and n.func.attr in ("to", "type_as")}  # fmt: skip
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
        if call.func.attr == "numpy" and "cpu" not in names_in(call.func.value):
            found.append(ast.unparse(call))
        of_torch = isinstance(call.func.value, ast.Name) and call.func.value.id == "torch"
        told = {"device", "generator", None} & {keyword.arg for keyword in call.keywords}
        if of_torch and call.func.attr in MAKERS and not told and id(call) not in moved:
            found.append(ast.unparse(call))
    return found


def test_tensors_are_made_where_they_are_used():
    for place in (ROOT / "advdepth_nb" / package for package in ON_A_DEVICE):
        for module in sorted(place.glob("*.py")):
            meant = MEANT_FOR_THE_CPU.get(f"{place.name}/{module.stem}", ())
            for call in made_on_the_cpu(module.read_text(encoding="utf-8")):
                assert any(part in call for part in meant), f"{place.name}/{module.stem}: {call}"


@pytest.mark.fast
def test_the_check_of_sources_finds_what_it_looks_for():
    for wrong in (
        "torch.zeros(3)",
        "x.numpy()",
        "x.detach().numpy()",
        "torch.rand(2, 2)[0]",
        "torch.tensor([1.0], dtype=d)",
    ):
        assert made_on_the_cpu(wrong), wrong
    for right in ("torch.zeros(3, device=x.device)", "x.cpu().numpy()", "x.detach().cpu().float().numpy()",
                  "torch.rand(2, generator=g)", "torch.tensor(1.0).to(x)", "torch.zeros(3, **like)"):  # fmt: skip
        assert not made_on_the_cpu(right), right
