"""Steps of every row on a CUDA device that is emulated: nothing meets a tensor of the CPU, and nothing waits for one.

What this does not see: kernels, their numbers and their memory; streams; precisions other than float32; what Fabric
does; the monitor, and rendering.
"""

import pytest
import torch
from emulated_cuda import DEVICE, OnCuda, emulated, module_on_cuda, on_cuda

from advdepth_nb.apps.predict import load
from advdepth_nb.study.rehearsal import network_for
from advdepth_nb.systems.catalog import STUDIES, SYSTEMS, experiment

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
