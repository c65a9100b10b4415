"""Training step and forward pass of DepthNet, plain beside fast, same weights, in turn in one process.

    python benchmarks/depthnet.py --encoder legacy_senet154 --batch 2 --size 228 304 --threads 1 --repeats 1
    python benchmarks/depthnet.py --encoder resnet18 --batch 8 --size 68 92 --threads 1 --repeats 9

Prints median milliseconds, their ratio, the greatest relative difference of the outputs, and each form's peak memory
(resident, in a process of its own, beyond the built network) with --memory. Close other programs first.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from advdepth_nb.models.hu2019 import DepthNet


def networks(encoder: str) -> dict[str, DepthNet]:
    torch.manual_seed(0)
    plain, fast = DepthNet(encoder, fast=False), DepthNet(encoder)
    plain.load_state_dict(fast.state_dict())
    return {"plain": plain, "fast": fast}


def training_step(net: DepthNet, image: torch.Tensor) -> None:
    net(image).mean().backward()
    net.zero_grad(set_to_none=True)


def forward(net: DepthNet, image: torch.Tensor) -> None:
    with torch.no_grad():
        net(image)


def peak_mib(encoder: str, form: str, shape: tuple[int, ...], threads: int) -> float:
    torch.set_num_threads(threads)
    net, image = DepthNet(encoder, fast=form == "fast"), torch.rand(shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    training_step(net, image)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(228, 304), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = (args.batch, 3, *args.size)
    height, width = args.size
    print(f"{args.encoder}, batch {args.batch}, {height}x{width}, {args.threads} thread(s), torch {torch.__version__}")
    if args.memory:
        for form in "plain", "fast":
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # says so if it is killed
                peak = pool.submit(peak_mib, args.encoder, form, shape, args.threads).result()
            print(f"peak of a training step, {form}: {peak:.0f} MiB", flush=True)
    image, nets = torch.rand(shape), networks(args.encoder)
    for name, run in ("training step", training_step), ("forward", forward):
        times = {form: [] for form in nets}
        for _ in range(args.repeats + 1):
            for form, net in nets.items():
                start = time.perf_counter()
                run(net, image)
                times[form].append(1e3 * (time.perf_counter() - start))
        plain, fast = (statistics.median(t[1:]) for t in times.values())
        print(f"{name}: plain {plain:.0f} ms, fast {fast:.0f} ms, {plain / fast:.2f} times as fast", flush=True)
    nets["plain"].load_state_dict(nets["fast"].state_dict())  # the running statistics of the last step
    with torch.no_grad():
        plain, fast = (net.eval()(image) for net in nets.values())
    print(f"outputs differ by {((plain - fast).abs().max() / plain.abs().max()).item():.1e} relative")


if __name__ == "__main__":
    main()
