"""Data sets fetched from their public homes: checked by SHA-256, cached, or read from a local mirror.

Every byte that is returned has the hash that ``registry.txt`` states. A truncated or altered file, in the
mirror, in the cache or on the wire, is refused by name and fetched again; it is never used.
"""

import gzip
import hashlib
import os
import tarfile
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.io import imread
from torch import Tensor

from regularity.data.photographs import grey_tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pooch's progress bar asks for ipywidgets, in notebooks, at its import
    import pooch

_REGISTRY = Path(__file__).with_name("registry.txt")


def load_mnist(split: Literal["train", "test"]) -> tuple[Float[Tensor, "n 28 28"], Int[Tensor, " n"]]:
    """Load the handwritten digits of MNIST.

    Parameters
    ----------
    split
        "train" (60,000 digits) or "test" (10,000).

    Returns
    -------
    images
        Intensities in [0, 1], float32, ink bright on black.
    labels
        The digits 0 to 9, int64.

    Raises
    ------
    ValueError
        If `split` is neither "train" nor "test".
    OSError
        If a file is neither in the mirror nor in the cache and cannot be downloaded intact.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition.
    """
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    images = _decode_idx(read_checked(f"mnist/{prefixes[split]}-images-idx3-ubyte"))
    labels = _decode_idx(read_checked(f"mnist/{prefixes[split]}-labels-idx1-ubyte"))
    return images.float() / 255, labels.long()


def load_cifar(
    n_classes: Literal[10, 100], split: Literal["train", "test"]
) -> tuple[Float[Tensor, "n 3 32 32"], Int[Tensor, " n"]]:
    """Load the small colour photographs of CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    n_classes
        10, or 100 (the fine labels).
    split
        "train" (50,000 photographs) or "test" (10,000).

    Returns
    -------
    images
        Intensities in [0, 1], float32; red, green and blue.
    labels
        The classes 0 to n_classes − 1, int64.

    Raises
    ------
    ValueError
        If `n_classes` is neither 10 nor 100, or `split` neither "train" nor "test".
    OSError
        If the archive is neither in the mirror nor in the cache and cannot be downloaded intact.

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    if n_classes not in (10, 100):
        raise ValueError(f"n_classes must be 10 or 100; got {n_classes!r}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    if n_classes == 10:
        parts = [f"data_batch_{k}" for k in range(1, 6)] if split == "train" else ["test_batch"]
        names, n_labels = [f"cifar-10-batches-bin/{part}.bin" for part in parts], 1
    else:
        names, n_labels = [f"cifar-100-binary/{split}.bin"], 2  # a coarse label stands before the fine one
    archive = read_checked(f"cifar/cifar-{n_classes}-binary.tar.gz")
    with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as files:
        content = b"".join(files.extractfile(name).read() for name in names)
    rows = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).reshape(-1, n_labels + 3 * 32 * 32).copy())
    return rows[:, n_labels:].reshape(-1, 3, 32, 32).float() / 255, rows[:, n_labels - 1].long()


def load_bsd68() -> list[Float[Tensor, "_ _"]]:
    """Load BSD68, 68 grey photographs of 481x321 or 321x481 pixels on which denoisers are compared.

    Returns
    -------
    The images in the order of their names: float32 tensors (height, width) in [0, 1].

    Raises
    ------
    OSError
        If a file is neither in the mirror nor in the cache and cannot be downloaded intact.

    References
    ----------
    Martin, Fowlkes, Tal and Malik (2001), A database of human segmented natural images. The subset of 68:
    Roth and Black (2009), Fields of experts.
    """
    return _load_images("bsd68")


def load_set12() -> list[Float[Tensor, "_ _"]]:
    """Load Set12, twelve classical grey test images of 256x256 or 512x512 pixels.

    Returns
    -------
    The images in the order of their names: float32 tensors (height, width) in [0, 1].

    Raises
    ------
    OSError
        If a file is neither in the mirror nor in the cache and cannot be downloaded intact.

    References
    ----------
    Zhang, Zuo, Chen, Meng and Zhang (2017), Beyond a Gaussian denoiser.
    """
    return _load_images("set12")


def load_tiny_shakespeare() -> str:
    """Load Tiny Shakespeare, a million characters of the plays.

    Returns
    -------
    The text.

    Raises
    ------
    OSError
        If the file is neither in the mirror nor in the cache and cannot be downloaded intact.

    References
    ----------
    Karpathy (2015), char-rnn.
    """
    return read_checked("tinyshakespeare/input.txt").decode("ascii")


def read_checked(name: str) -> bytes:
    """Read a registered file from the mirror, else from the cache, else from its public home.

    Parameters
    ----------
    name
        A name of ``registry.txt``, for instance "set12/01.png".

    Returns
    -------
    Content whose SHA-256 is the registered one.

    Raises
    ------
    ValueError
        If `name` is not registered.
    NotADirectoryError
        If the environment variable ``REGULARITY_DATA`` is set and names no folder.
    OSError
        If no intact copy can be had. The message names the file, its address and what went wrong.

    Warns
    -----
    UserWarning
        For each copy in the mirror or the cache that is refused, with the hash expected and the one found.
    """
    files = _registered_files()
    if name not in files.registry:
        raise ValueError(f"{name!r} is not a registered file; {_REGISTRY} lists them")
    for path in (*_mirrored(name), files.abspath / name):
        if not path.is_file():
            continue
        content = _intact(path, files.registry[name], is_kept_packed=name.endswith(".gz"))
        if content is not None:
            return content
    try:
        # Pooch writes to a temporary file and moves it into the cache once its hash is right.
        downloader = pooch.HTTPDownloader() if name.endswith(".gz") else _download
        return Path(files.fetch(name, downloader=downloader)).read_bytes()
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name} could not be fetched from {files.get_url(name)}. Without a network, set the environment "
            f"variable REGULARITY_DATA to a folder that holds {name}. The reason: {error}"
        ) from None


def _registered_files() -> pooch.Pooch:
    cache = pooch.os_cache("regularity")
    files = pooch.create(cache, base_url="", env="REGULARITY_CACHE", retry_if_failed=1)
    files.load_registry(_REGISTRY)
    return files


def _mirrored(name: str) -> tuple[Path, ...]:
    """Say where a local mirror would hold the file: as it is, or gzipped."""
    mirror = os.environ.get("REGULARITY_DATA")
    if not mirror:
        return ()
    if not Path(mirror).is_dir():
        raise NotADirectoryError(f"REGULARITY_DATA should name a folder of data sets; got {mirror!r}")
    return Path(mirror, name), Path(mirror, f"{name}.gz")


def _intact(path: Path, known_hash: str, *, is_kept_packed: bool) -> bytes | None:
    """Read a file, unpacked where that is what is registered, if it has the known hash; else refuse it by name."""
    try:
        content = path.read_bytes() if is_kept_packed else _unpacked(path.read_bytes())
    except ValueError as error:
        found = str(error)
    else:
        found = hashlib.sha256(content).hexdigest()
        if found == known_hash:
            return content
    warnings.warn(f"refused {path}: expected SHA-256 {known_hash}, got {found}", stacklevel=3)
    return None


def _download(url: str, output_file: str, files: pooch.Pooch) -> None:
    """Download and unpack, for :meth:`pooch.Pooch.fetch`, which then checks the hash."""
    pooch.HTTPDownloader()(url, output_file, files)
    content = _unpacked(Path(output_file).read_bytes())
    Path(output_file).write_bytes(content)


def _unpacked(content: bytes) -> bytes:
    """Gunzip what is gzip and leave the rest; gzip's own bytes depend on who packed them."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"a broken gzip file ({error})") from error


def _load_images(folder: str) -> list[Float[Tensor, "_ _"]]:
    names = sorted(name for name in _registered_files().registry if name.startswith(f"{folder}/"))
    return [grey_tensor(imread(BytesIO(read_checked(name)))) for name in names]


def _decode_idx(content: bytes) -> Tensor:
    """Decode the idx format of unsigned bytes: 0, 0, 8, rank, each side as a big-endian uint32, the values."""
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4).astype(int)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(values.reshape(shape).copy())
