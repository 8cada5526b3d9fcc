"""Convolutional networks for images: two U-Nets, and how to apply one to an image of any size."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regularity.foundations.checks import as_floats, check_at_least


def _double_convolution(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )


def _check_sides(images: Tensor, multiple: int) -> None:
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"image sides must be divisible by {multiple}; got {height} x {width}")


def _initialise(network: nn.Module, generator: torch.Generator | None, negative_slope: float = 0.0) -> None:
    """He initialisation from an explicit generator: the same seed gives the same network."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, a=negative_slope, generator=generator)
            nn.init.zeros_(layer.bias)


class UNet(nn.Module):
    """A U-Net: at each scale two 3×3 convolutions, max pooling down, nearest neighbours up, skip connections.

    The head starts small, so that the untrained network returns nearly zero.

    Parameters
    ----------
    width
        Channels at full resolution; they double at each pooling.
    n_poolings
        Number of halvings. The sides of an image must be divisible by 2**n_poolings.
    n_channels
        Channels of the images, in and out.
    generator
        Source of the initial weights.

    Raises
    ------
    ValueError
        If a size is not positive or, in a call, if a side of the image is not divisible.

    References
    ----------
    Ronneberger, Fischer and Brox (2015), U-Net; He et al. (2015), Delving deep into rectifiers (initialisation).

    Examples
    --------
    >>> network = UNet(width=16, n_poolings=2)
    >>> sum(weights.numel() for weights in network.parameters())
    117985
    >>> network(torch.zeros(1, 1, 30, 32))
    Traceback (most recent call last):
    ValueError: image sides must be divisible by 4; got 30 x 32
    """

    def __init__(
        self,
        *,
        width: int = 16,
        n_poolings: int = 2,
        n_channels: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("width", width), ("n_poolings", n_poolings), ("n_channels", n_channels)):
            check_at_least(name, size, 1)
        widths = [width * 2**level for level in range(n_poolings + 1)]
        inputs = [n_channels, *widths[:-1]]
        self.down = nn.ModuleList(map(_double_convolution, inputs, widths))
        self.up = nn.ModuleList(_double_convolution(3 * fine, fine) for fine in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, n_channels, kernel_size=1)
        self.multiple = 2**n_poolings
        _initialise(self, generator)
        with torch.no_grad():
            self.head.weight *= 0.1
        self.to(memory_format=torch.channels_last)  # a fifth faster on CPUs

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Map images to images.

        Parameters
        ----------
        images
            Intensities; both sides divisible by 2**n_poolings.

        Returns
        -------
        The network's output, of the same shape.

        Raises
        ------
        ValueError
            If a side is not divisible.
        """
        _check_sides(images, self.multiple)
        features, skips = images, []
        for level, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        skips.pop()
        for block in self.up:
            larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([skips.pop(), larger], dim=1))
        return self.head(features)


class Noise2NoiseUNet(nn.Module):
    """The U-Net of Noise2Noise, as the authors of Noise2Score use it: 48 and 96 channels, five poolings.

    One encoder block serves the four coarser scales and one decoder block three of them, with shared weights.
    LeakyReLU of slope 0.1 follows each convolution but the last, whose output is free: a score has both signs.

    Parameters
    ----------
    n_channels
        Channels of the images, in and out.
    generator
        Source of the initial weights.

    Raises
    ------
    ValueError
        In a call, if a side of the image is not divisible by 32.

    References
    ----------
    Lehtinen et al. (2018), Noise2Noise, Table 2; Kim and Ye (2021), Noise2Score (shared blocks).
    """

    def __init__(self, *, n_channels: int = 1, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.multiple = 32

        def convolution(n_in: int, n_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(n_in, n_out, kernel_size=3, padding=1), nn.LeakyReLU(0.1, inplace=True)
            )

        def upscaling(n: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(n, n, kernel_size=3, stride=2, padding=1, output_padding=1)

        self.first = nn.Sequential(convolution(n_channels, 48), convolution(48, 48), nn.MaxPool2d(2))
        self.shared_down = nn.Sequential(convolution(48, 48), nn.MaxPool2d(2))
        self.bottom = nn.Sequential(convolution(48, 48), upscaling(48))
        self.up_bottom = nn.Sequential(convolution(96, 96), convolution(96, 96), upscaling(96))
        self.shared_up = nn.Sequential(convolution(144, 96), convolution(96, 96), upscaling(96))
        self.last = nn.Sequential(
            convolution(96 + n_channels, 64),
            convolution(64, 32),
            nn.Conv2d(32, n_channels, kernel_size=3, padding=1),
        )
        _initialise(self, generator, negative_slope=0.1)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Map images to images.

        Parameters
        ----------
        images
            Intensities; both sides divisible by 32.

        Returns
        -------
        The network's output, of the same shape.

        Raises
        ------
        ValueError
            If a side is not divisible by 32.
        """
        _check_sides(images, self.multiple)
        pooled = [self.first(images)]
        for _ in range(4):
            pooled.append(self.shared_down(pooled[-1]))
        features = self.bottom(pooled.pop())
        features = self.up_bottom(torch.cat([features, pooled.pop()], dim=1))
        while pooled:
            features = self.shared_up(torch.cat([features, pooled.pop()], dim=1))
        return self.last(torch.cat([features, images], dim=1))


def apply_to_any_size(
    network: Callable[[Tensor], Tensor], images: Float[Tensor, "n c h w"], multiple: int
) -> Float[Tensor, "n c h w"]:
    """Apply a network whose input sides must be divisible, by padding with reflections and cropping.

    Parameters
    ----------
    network
        Any map of images that keeps their shape.
    images
        Images of any size, as long as a side is longer than what it lacks to the next multiple.
    multiple
        What the sides must be divisible by.

    Returns
    -------
    The network's output on the padded images, cropped to the size of `images`.

    Raises
    ------
    ValueError
        If an image is too small to be padded by its own reflection.

    Examples
    --------
    The network sees 8 x 12 pixels here, the caller 7 x 10:

    >>> apply_to_any_size(torch.square, torch.ones(1, 1, 7, 10), multiple=4).shape
    torch.Size([1, 1, 7, 10])
    """
    check_at_least("multiple", multiple, 1)
    (images,) = as_floats(images=images)
    if images.ndim != 4:
        raise ValueError(f"images must have four axes, n c h w; got shape {tuple(images.shape)}")
    height, width = images.shape[-2:]
    if -height % multiple >= height or -width % multiple >= width:
        raise ValueError(
            f"sides of images are too small to be padded to multiples of {multiple}; got {height} x {width}"
        )
    padded = functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="reflect")
    return network(padded)[..., :height, :width]
