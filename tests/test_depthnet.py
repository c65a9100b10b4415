"""The heavy half of models/hu2019: Hu et al.'s three encoders at full size, plain form beside fast form."""

import pytest
import torch

from advdepth_nb.models.hu2019 import DepthNet, load_hu_weights


@pytest.mark.parametrize("encoder", ["resnet50", "densenet161", "legacy_senet154"])
def test_both_forms_agree(encoder):
    torch.manual_seed(0)
    fast = DepthNet(encoder).eval()
    plain = load_hu_weights(DepthNet(encoder, fast=False), fast.state_dict()).eval()
    image = torch.rand(1, 3, 114, 152)
    with torch.no_grad():
        a, b = fast(image), plain(image)
    assert a.shape == (1, 1, 56 if "senet154" in encoder else 58, 76)  # SENet's pooling has no padding
    assert b.std() > 0
    assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("zipped", [True, False], ids=["torch 1.6 and later", "torch 0.3, as Hu et al. saved"])
def test_released_weights_from_disk(tmp_path, zipped):
    saved = DepthNet("resnet18").state_dict()
    path = tmp_path / "released.pth"
    state = {f"module.{k.replace('E.body.', 'E.')}": v for k, v in saved.items()}
    torch.save({"state_dict": state, "epoch": 20}, path, _use_new_zipfile_serialization=zipped)
    loaded = load_hu_weights(DepthNet("resnet18"), path).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in saved.items())


def test_a_file_that_holds_no_weights_is_named(tmp_path):
    (tmp_path / "page.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"page\.pth is not a file of weights"):
        load_hu_weights(DepthNet("resnet18"), tmp_path / "page.pth")
