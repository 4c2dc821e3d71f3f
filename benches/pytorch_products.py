"""The matrix products of one MaskNet training step through PyTorch's library and nothing else: what `train_speed --products`
does, by oneDNN or MKL.

It answers as the other programs do (see pytorch_masknet.py), without losses.
"""

import argparse
import json
import sys
import time

import torch

BLOCKS, AGGREGATION, OUTPUT, HIDDEN = 3, 512, 256, (512, 256)
SIZES = {"small": (1024, 112), "large": (4096, 624)}


def shapes(width):
    """Inner and outer width of each product, forward."""
    block = [(width, AGGREGATION), (AGGREGATION, width), (width, OUTPUT)]
    widths = [BLOCKS * OUTPUT, *HIDDEN, 1]
    return BLOCKS * block + list(zip(widths, widths[1:]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("medium")
    torch.set_grad_enabled(False)
    rows, width = SIZES[options.size]
    layers = []
    for k, n in shapes(width):
        x, w, y = torch.rand(rows, k), torch.rand(k, n), torch.rand(rows, n)
        layers.append((x, w, y, torch.empty_like(y), torch.empty_like(x), torch.empty_like(w)))

    def step():
        for x, w, _, y, _, _ in layers:
            torch.mm(x, w, out=y)
        for x, w, dy, _, dx, dw in reversed(layers):
            torch.mm(dy, w.t(), out=dx)
            torch.mm(x.t(), dy, out=dw)

    print(json.dumps({"losses": []}), flush=True)
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < float(line):
            step()
            steps += 1
        print(json.dumps({"samples_per_second": round(steps * rows / (time.perf_counter() - start))}), flush=True)


if __name__ == "__main__":
    main()
