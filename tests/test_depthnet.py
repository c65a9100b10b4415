"""The heavy half of 10_depthnet: Hu et al.'s three encoders at full size, plain form beside fast form."""

import pytest
import torch

from advdepth_nb.depthnet import DepthNet, load_hu_weights


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
