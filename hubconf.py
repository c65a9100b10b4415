"""For torch.hub: depth from a photograph in two lines, without an installation of the package.

torch.hub.load("PATH OF A CLONE", "depth", source="local")        weights that come with the package
torch.hub.load("OWNER/REPOSITORY", "model", "owner/name@commit")  a run's folder, or a model of Hugging Face's hub

What comes back is called with a photograph, (3,H,W) or (B,3,H,W) in 0-1, (H,W,3) uint8 or a file; depth in metres,
(H,W) or (B,H,W). Its attribute `net` is the `torch.nn.Module`.
"""

# Modules that are imported on the way; torch.hub names those that are missing.
dependencies = [
    "torch", "torchvision", "timm", "safetensors", "huggingface_hub", "h5py", "filelock", "matplotlib", "numpy",
    "pandas", "PIL", "packaging", "scipy", "tqdm", "yaml",
]  # fmt: skip


def depth(device: str = "auto"):
    """The depth network that comes with the package, trained on synthetic rooms alone."""
    from advdepth_nb import load

    return load("depth", device)


def model(name: str, device: str = "auto"):
    """The network of a run: its folder, a name of the package's weights, or `owner/name[@revision]` of the hub."""
    from advdepth_nb import load

    return load(name, device)
