"""Remove noise from photographs with a kernel for every pixel, which a small network predicts.

    python demo/denoise.py

The network learns from the left and right margins of the two photographs of scikit-learn and is tested on the middle. A
picture in runs/denoise shows the results beside the best Gaussian filter. The method is that of Mildenhall et al.,
"Burst Denoising with Kernel Prediction Networks", CVPR 2018, for a single image and 5x5 kernels.
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from involution.family import predict_kernels

RUNS = Path("runs/denoise")
PHOTOGRAPHS = ("china", "flower")
LEFT, RIGHT = 160, 400  # the columns between them, of 640, are the test
KERNEL_SIZE = 5
NOISE = 0.1  # standard deviation, for pixels from 0 to 1
CROP, BATCH, STEPS = 64, 8, 600
SIGMAS = [0.1 * step for step in range(3, 31)]  # of the Gaussian filters, in pixels
TITLES = {"noisy": "noisy", "gaussian": "best Gaussian", "predicted": "predicted kernels"}
SHOWN = {"china": (150, 40), "flower": (120, 10)}  # corners of the parts of the middle that the picture shows
SIDE, EVERY = 96, 12  # pixels a side, and between the kernels in the picture


class Denoiser(nn.Module):
    """Predict a kernel at every pixel and filter with it, [B, 3, H, W] → [B, 3, H, W]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for dilation in (1, 2, 4, 1):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        last = nn.Conv2d(width, KERNEL_SIZE**2, 1)
        nn.init.constant_(last.bias, KERNEL_SIZE**-2)  # start near the mean of the window
        self.kernels = nn.Sequential(*layers, last)  # [B, 3, H, W] → [B, 25, H, W], for all colours

    def forward(self, noisy: Tensor) -> Tensor:
        return predict_kernels(noisy, self.kernels(noisy), KERNEL_SIZE)


def photograph(name: str) -> Tensor:
    """Return a photograph of scikit-learn, [1, 3, 427, 640], from 0 to 1."""
    return torch.tensor(load_sample_image(f"{name}.jpg")).movedim(2, 0)[None] / 255


def add_noise(image: Tensor) -> Tensor:
    """Return the image with Gaussian noise."""
    return image + NOISE * torch.randn_like(image)


def psnr(image: Tensor, clean: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB: −10 log₁₀ of the mean squared error."""
    return -10 * (image - clean).square().mean().log10().item()


def crops(images: list[Tensor]) -> Tensor:
    """Return random crops, [BATCH, 3, CROP, CROP], some of them mirrored or transposed."""
    found = []
    for index in range(BATCH):
        image = images[index % len(images)]
        top, left = (int(torch.randint(size - CROP + 1, ())) for size in image.shape[2:])
        found.append(image[..., top : top + CROP, left : left + CROP])
    batch = torch.cat(found)
    mirror, transpose = torch.rand(2) < 0.5
    batch = batch.flip(3) if mirror else batch
    return (batch.mT if transpose else batch).contiguous(memory_format=torch.channels_last)


def train(images: list[Tensor], steps: int) -> tuple[Denoiser, list[float]]:
    """Train on noisy crops; return the network and the mean squared error of every step."""
    net, losses = Denoiser().to(memory_format=torch.channels_last), []
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        clean = crops(images)
        loss = (net(add_noise(clean)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return net, losses


def best_gaussian(noisy: Tensor, clean: Tensor) -> Tensor:
    """Return the result of the Gaussian filter that comes nearest to the clean image."""
    filtered = [gaussian_blur(noisy, 2 * int(3 * sigma + 1) + 1, sigma) for sigma in SIGMAS]
    return max(filtered, key=lambda image: psnr(image, clean))


def compare(net: Denoiser, clean: Tensor) -> dict[str, Tensor]:
    """Return the clean image, the noisy one, and the results of the filters."""
    noisy = add_noise(clean)
    with torch.no_grad():
        predicted = net(noisy)
    return {"clean": clean, "noisy": noisy, "gaussian": best_gaussian(noisy, clean), "predicted": predicted}


def figures(images: dict[str, Tensor]) -> dict[str, float]:
    """Return the peak signal-to-noise ratios of the results of `compare`."""
    return {f"{name}_psnr_db": psnr(image, images["clean"]) for name, image in images.items() if name != "clean"}


def draw(net: Denoiser, compared: dict[str, dict[str, Tensor]]) -> Figure:
    """Draw parts of each photograph and its results, and some of the kernels."""
    figure = Figure(figsize=(12.5, 5.4), layout="constrained")
    for (name, images), axes in zip(compared.items(), figure.subplots(len(compared), 5), strict=True):
        top, left = SHOWN[name]
        for ax, (kind, image) in zip(axes, images.items(), strict=False):
            ax.imshow(
                image[0, :, top : top + SIDE, left : left + SIDE].movedim(0, 2).clamp(0, 1), interpolation="nearest"
            )
            ax.set_title(f"{TITLES[kind]}, {psnr(image, images['clean']):.1f} dB" if kind != "clean" else "clean")
        with torch.no_grad():
            kernels = net.kernels(images["noisy"])[0, :, top : top + SIDE, left : left + SIDE]
        some = kernels[:, EVERY // 2 :: EVERY, EVERY // 2 :: EVERY].unflatten(0, (KERNEL_SIZE, KERNEL_SIZE))
        tiles = nn.functional.pad(some.permute(2, 0, 3, 1), (1, 1, 0, 0, 1, 1))
        axes[-1].imshow(tiles.flatten(2).flatten(0, 1), cmap="RdBu_r", vmin=-0.4, vmax=0.4)
        axes[-1].set_title(f"kernels, every {EVERY} pixels")
        for ax in axes:
            ax.set_axis_off()
    return figure


def run(seed: int, steps: int) -> tuple[list[dict[str, float | str]], Figure]:
    """Train and test; return the figures of each photograph, for its whole middle, and the picture."""
    torch.manual_seed(seed)
    images = {name: photograph(name) for name in PHOTOGRAPHS}
    net, _ = train([part for image in images.values() for part in (image[..., :LEFT], image[..., RIGHT:])], steps)
    compared = {name: compare(net, image[..., LEFT:RIGHT]) for name, image in images.items()}
    return [{"photograph": name, **figures(found)} for name, found in compared.items()], draw(net, compared)


def demo(*arguments: str) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    rows, figure = run(given.seed, given.steps)
    RUNS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RUNS / "denoise.png", dpi=80)
    for row in rows:
        print(
            f"{row['photograph']:<8}", *(f"{TITLES[kind]} {row[f'{kind}_psnr_db']:.1f} dB" for kind in TITLES), sep="  "
        )
    print(f"picture   {RUNS / 'denoise.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(demo(*sys.argv[1:]))
