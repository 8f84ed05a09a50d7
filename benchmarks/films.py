"""Frames per second and peak memory of films from one picture, network by network.

    python benchmarks/films.py --sizes 256x256 1280x720 --frames 1 7 51 --seconds 120

Every figure comes from a process of its own, so that its peak memory is its own. A case that would take longer than
`--seconds` is measured on as many frames as fit and its time extrapolated; such figures are marked with ~.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version

NETWORKS = ("film", "film-bf16", "cfmd", "mimo-unet")


def case(network: str, width: int, height: int, frames: int, seconds: float) -> dict[str, float]:
    """Measure one case in this process."""
    import torch

    from unblur.exposure.average import frame_times

    torch.manual_seed(0)
    blurry = torch.rand(1, 3, height, width)
    times = frame_times(frames)
    start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw = drawer(network, blurry)
    with torch.inference_mode():
        draw(times[:1])  # a warm-up frame
        start = time.perf_counter()
        draw(times[:1])
        single = time.perf_counter() - start
        count = frames if single * frames < seconds else max(1, int(seconds / single))
        runs = []
        for _ in range(3 if single * count < seconds / 4 else 1):
            start = time.perf_counter()
            draw(times[:count])
            runs.append(time.perf_counter() - start)
    spent = sorted(runs)[len(runs) // 2] * frames / count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "measured": count, "peak": peak / 1024, "idle": start_memory / 1024}


def drawer(name: str, blurry):
    """A function that draws frames at given times with the network of that name, one after the other."""
    import torch

    if name.startswith("film"):
        from unblur.networks.path_film import PathFilm

        network = PathFilm().eval().to(memory_format=torch.channels_last)

        def draw(times):
            with torch.autocast("cpu", torch.bfloat16, enabled=name.endswith("bf16")):
                state = network.encode(blurry)
            for some in times.split(8):
                network.decode(state, some)

        return draw
    if name == "mimo-unet":
        from unblur.networks.mimo_unet import MimoUNet

        network = MimoUNet().eval()
        return lambda times: network(blurry)
    from unblur.networks.cfmd import CFMD

    network = CFMD().eval()
    return lambda times: network(blurry, times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "1280x720"])
    parser.add_argument("--frames", nargs="+", type=int, default=[1, 7, 51])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        network, width, height, frames = args.case
        print(json.dumps(case(network, int(width), int(height), int(frames), args.seconds)))
        return
    print(f"torch {version('torch')}, {platform.processor() or platform.machine()}, {time.strftime('%Y-%m-%d')}\n")
    print("| network | size | frames | seconds | frames/s | peak MB |\n|---|---|---|---|---|---|")
    for size in args.sizes:
        width, height = size.split("x")
        for network in args.networks:
            for frames in args.frames if network != "mimo-unet" else [1]:
                command = [sys.executable, __file__, "--seconds", str(args.seconds), "--case", network, width, height]
                done = subprocess.run([*command, str(frames)], capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"| {network} | {size} | {frames} | failed: {done.stderr.strip().splitlines()[-1][:80]} |")
                    continue
                row = json.loads(done.stdout.splitlines()[-1])
                about = "" if row["measured"] == frames else "~"
                rate = frames / row["seconds"]
                print(
                    f"| {network} | {size} | {frames} | {about}{row['seconds']:.2f} | {rate:.2f} | {row['peak']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
