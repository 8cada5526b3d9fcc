"""Fetched sets: read from a mirror or a server on this machine; what is not intact is never used."""

import gzip
import hashlib
import os
import re
import socket
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from regularity.data import fetched
from regularity.data.fetched import (
    load_bsd68,
    load_cifar,
    load_mnist,
    load_set12,
    load_tiny_shakespeare,
    read_checked,
)

IMAGE = "set12/01.png"
DIGITS = "mnist/t10k-labels-idx1-ubyte"
ARCHIVE = "cifar/cifar-10-binary.tar.gz"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx(values: np.ndarray) -> bytes:
    """Encode as the MNIST files are, by the format's definition."""
    sides = b"".join(side.to_bytes(4, "big") for side in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sides + values.tobytes()


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def pixels_of(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def archive(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed_files:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed_files.addfile(entry, BytesIO(content))
    return buffer.getvalue()


def cifar_rows(labels: list[list[int]], pixels: np.ndarray) -> bytes:
    """Encode as CIFAR's binary files are, by their description: the labels, then red, green and blue, row by row."""
    return b"".join(bytes(row) + image.tobytes() for row, image in zip(labels, pixels, strict=True))


DIGIT_PIXELS = {"train": pixels_of(0, (5, 28, 28)), "t10k": pixels_of(1, (3, 28, 28))}
DIGIT_LABELS = {"train": np.arange(5, dtype=np.uint8), "t10k": np.array([7, 2, 9], dtype=np.uint8)}
IMAGE_PIXELS = {
    "bsd68/test001.png": pixels_of(2, (12, 8)),
    "bsd68/test002.png": pixels_of(3, (8, 12)),
    IMAGE: pixels_of(4, (16, 16)),
}
COLOUR_PIXELS = pixels_of(5, (12, 3, 32, 32))  # two in each of five batches, and two to test on
CIFAR10 = {
    f"cifar-10-batches-bin/{name}.bin": cifar_rows([[k], [9 - k]], COLOUR_PIXELS[2 * k : 2 * k + 2])
    for k, name in enumerate([*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"])
}
CIFAR100 = {  # the coarse label, then the fine one
    "cifar-100-binary/train.bin": cifar_rows([[3, 77], [4, 99]], COLOUR_PIXELS[:2]),
    "cifar-100-binary/test.bin": cifar_rows([[19, 0]], COLOUR_PIXELS[2:3]),
}
# Sets like the real ones, only smaller: the content that a reader must get, by registered name.
CONTENTS = (
    {f"mnist/{split}-images-idx3-ubyte": idx(values) for split, values in DIGIT_PIXELS.items()}
    | {f"mnist/{split}-labels-idx1-ubyte": idx(values) for split, values in DIGIT_LABELS.items()}
    | {name: png(values) for name, values in IMAGE_PIXELS.items()}
    | {"tinyshakespeare/input.txt": b"Speak, speak.\n"}
    | {ARCHIVE: archive(CIFAR10), "cifar/cifar-100-binary.tar.gz": archive(CIFAR100)}
)


def packed(name: str) -> bytes:
    """Pack as the public homes do: MNIST in gzip, images as they are."""
    return gzip.compress(CONTENTS[name]) if name.startswith("mnist/") else CONTENTS[name]


def altered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


@dataclass
class Home:
    """A public home on this machine: answers each name with the bodies queued for it, else with the file."""

    url: str = ""
    queued: dict[str, list[bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    breaks_off: bool = False


@pytest.fixture
def home():
    home = Home()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/")
            name = name if name in CONTENTS else name.removesuffix(".gz")
            home.requests.append(name)
            if name in home.gone:
                self.send_error(404)
                return
            whole = packed(name)
            body = home.queued[name].pop(0) if home.queued.get(name) else whole
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole if home.breaks_off else body)))
            self.end_headers()
            self.wfile.write(truncated(whole) if home.breaks_off else body)

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        home.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield home
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no mirror."""
    monkeypatch.setenv("REGULARITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REGULARITY_DATA", raising=False)
    monkeypatch.setattr("pooch.core.time.sleep", lambda _seconds: None)
    return tmp_path / "cache"


@pytest.fixture
def registered(home, cache, tmp_path, monkeypatch):
    """Point the loaders at the small sets on the server of this test."""
    write_registry(tmp_path / "registry.txt", home.url)
    monkeypatch.setattr(fetched, "_REGISTRY", tmp_path / "registry.txt")


def write_registry(path: Path, url: str) -> None:
    suffix = {name: ".gz" if name.startswith("mnist/") else "" for name in CONTENTS}
    lines = [f"{name} {sha256(content)} {url}/{name}{suffix[name]}" for name, content in CONTENTS.items()]
    # Backwards: the order of the images comes from their names.
    path.write_text("# small sets\n" + "\n".join(reversed(lines)) + "\n")


@pytest.fixture
def mirror(registered, tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    for name in CONTENTS:
        path = folder / (f"{name}.gz" if name.startswith("mnist/") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(name))
    monkeypatch.setenv("REGULARITY_DATA", str(folder))
    return folder


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_sets_are_right() -> None:
    for split, prefix in [("train", "train"), ("test", "t10k")]:
        images, labels = load_mnist(split)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(images, DIGIT_PIXELS[prefix].astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, DIGIT_LABELS[prefix])
    loaded = dict(zip(sorted(IMAGE_PIXELS), load_bsd68() + load_set12(), strict=True))
    for name, image in loaded.items():
        assert image.dtype == torch.float32
        np.testing.assert_array_equal(image, IMAGE_PIXELS[name].astype(np.float32) / 255)
    assert load_tiny_shakespeare() == "Speak, speak.\n"
    for n_classes, split, labels, pixels in (
        (10, "train", [0, 9, 1, 8, 2, 7, 3, 6, 4, 5], COLOUR_PIXELS[:10]),
        (10, "test", [5, 4], COLOUR_PIXELS[10:]),
        (100, "train", [77, 99], COLOUR_PIXELS[:2]),
        (100, "test", [0], COLOUR_PIXELS[2:3]),
    ):
        images, found = load_cifar(n_classes, split)
        assert images.dtype == torch.float32
        np.testing.assert_array_equal(images, pixels.astype(np.float32) / 255)
        assert found.tolist() == labels


def test_a_mirror_gives_the_sets_and_nothing_is_fetched_or_written(mirror, home, cache):
    assert_sets_are_right()
    assert home.requests == []
    assert not cache.exists()


def test_a_mirror_may_hold_what_is_gzipped_in_public_as_it_is(mirror, home):
    (mirror / f"{DIGITS}.gz").unlink()
    (mirror / DIGITS).write_bytes(CONTENTS[DIGITS])
    assert read_checked(DIGITS) == CONTENTS[DIGITS]
    assert home.requests == []


def test_how_the_mirror_was_gzipped_does_not_matter(mirror, home):
    repacked = gzip.compress(CONTENTS[DIGITS], compresslevel=1, mtime=1)
    assert sha256(repacked) != sha256(packed(DIGITS))
    (mirror / f"{DIGITS}.gz").write_bytes(repacked)
    assert read_checked(DIGITS) == CONTENTS[DIGITS]
    assert home.requests == []


@pytest.mark.usefixtures("registered")
def test_downloads_give_the_sets_and_each_file_is_fetched_once(home, cache):
    assert_sets_are_right()
    assert sorted(home.requests) == sorted(CONTENTS)
    assert files_in(cache) == set(CONTENTS)
    assert_sets_are_right()
    assert len(home.requests) == len(CONTENTS)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", [IMAGE, DIGITS, ARCHIVE])
@pytest.mark.parametrize("spoil", [altered, truncated])
def test_a_spoilt_download_is_fetched_again(home, name, spoil):
    home.queued[name] = [spoil(packed(name))]
    assert read_checked(name) == CONTENTS[name]
    assert home.requests == [name, name]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", [IMAGE, DIGITS])
@pytest.mark.parametrize("spoil", [altered, truncated])
def test_a_download_that_stays_spoilt_is_refused_and_leaves_nothing(home, cache, name, spoil):
    home.queued[name] = [spoil(packed(name))] * 2
    with pytest.raises(OSError, match=rf"{name} could not be fetched from {home.url}/{name}"):
        read_checked(name)
    assert files_in(cache) == set()
    assert read_checked(name) == CONTENTS[name]


@pytest.mark.usefixtures("registered")
def test_a_refused_download_names_the_hash_expected_and_the_one_found(home):
    spoilt = altered(CONTENTS[IMAGE])
    home.queued[IMAGE] = [spoilt] * 2
    with pytest.raises(OSError, match=rf"{sha256(CONTENTS[IMAGE])} but got {sha256(spoilt)}"):
        read_checked(IMAGE)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", [IMAGE, DIGITS])
def test_a_connection_that_breaks_off_leaves_no_half_file(home, cache, name):
    home.breaks_off = True
    with pytest.raises(OSError, match=f"{name} could not be fetched"):
        read_checked(name)
    assert files_in(cache) == set()
    home.breaks_off = False
    assert read_checked(name) == CONTENTS[name]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", [IMAGE, DIGITS, ARCHIVE])
@pytest.mark.parametrize("spoil", [altered, truncated])
def test_a_spoilt_file_in_the_cache_is_refused_by_name_and_fetched_again(home, cache, name, spoil):
    spoilt = spoil(CONTENTS[name])
    (cache / name).parent.mkdir(parents=True)
    (cache / name).write_bytes(spoilt)
    message = f"refused {cache / name}: expected SHA-256 {sha256(CONTENTS[name])}, got {sha256(spoilt)}"
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert read_checked(name) == CONTENTS[name]
    assert home.requests == [name]
    assert (cache / name).read_bytes() == CONTENTS[name]


@pytest.mark.parametrize(
    ("name", "spoil", "found"),
    [
        (IMAGE, altered, f"got {sha256(altered(CONTENTS[IMAGE]))}"),
        (IMAGE, truncated, f"got {sha256(truncated(CONTENTS[IMAGE]))}"),
        (DIGITS, altered, "got a broken gzip file"),
        (DIGITS, truncated, "got a broken gzip file"),
        (DIGITS, lambda gz: gz[:10] + b"\xff" * (len(gz) - 10), "got a broken gzip file"),
        (
            DIGITS,
            lambda _: gzip.compress(altered(CONTENTS[DIGITS])),
            f"got {sha256(altered(CONTENTS[DIGITS]))}",
        ),
    ],
)
def test_a_spoilt_file_in_the_mirror_is_refused_by_name_and_fetched(mirror, home, name, spoil, found):
    path = mirror / (name if name == IMAGE else f"{name}.gz")
    path.write_bytes(spoil(packed(name)))
    message = f"refused {path}: expected SHA-256 {sha256(CONTENTS[name])}, {found}"
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert read_checked(name) == CONTENTS[name]
    assert home.requests == [name]


def test_a_spoilt_cache_is_mended_from_the_mirror_without_a_network(mirror, home, cache):
    (cache / IMAGE).parent.mkdir(parents=True)
    (cache / IMAGE).write_bytes(truncated(CONTENTS[IMAGE]))
    assert read_checked(IMAGE) == CONTENTS[IMAGE]
    assert home.requests == []


def test_what_the_mirror_lacks_is_fetched(mirror, home):
    (mirror / IMAGE).unlink()
    assert read_checked(IMAGE) == CONTENTS[IMAGE]
    assert home.requests == [IMAGE]


def test_the_shipped_registry_lists_the_sets(cache):
    files = fetched._registered_files()
    splits = [
        f"mnist/{split}-{kind}" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    ]
    assert set(files.registry) == (
        {f"{name}-ubyte" for name in splits}
        | {f"bsd68/test{number:03d}.png" for number in range(1, 69)}
        | {f"set12/{number:02d}.png" for number in range(1, 13)}
        | {"tinyshakespeare/input.txt"}
        | {f"cifar/cifar-{n_classes}-binary.tar.gz" for n_classes in (10, 100)}
    )
    assert len(set(files.registry.values())) == len(files.registry)
    for name, known_hash in files.registry.items():
        assert re.fullmatch("[0-9a-f]{64}", known_hash)
        assert re.fullmatch(rf"https://.+/{Path(name).name}(\.gz)?", files.get_url(name))


def test_the_cache_is_the_user_s_unless_told(monkeypatch):
    monkeypatch.delenv("REGULARITY_CACHE", raising=False)
    assert fetched._registered_files().abspath == pooch.os_cache("regularity").absolute()


BESIDE = Path(__file__).parents[3] / "shared" / "data"
REAL = Path(os.environ.get("REGULARITY_DATA") or BESIDE)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="no mirror of the real sets (set REGULARITY_DATA to its folder)"
)
class TestRealSets:
    """The real files, when a mirror of them is at hand; nothing may come from the network."""

    @pytest.fixture(autouse=True)
    def _only_the_mirror(self, cache, monkeypatch):
        monkeypatch.setenv("REGULARITY_DATA", str(REAL))

        def refuse(*_arguments):
            raise OSError("this test has no network")

        monkeypatch.setattr(socket.socket, "connect", refuse)

    def test_mnist_has_the_published_counts_and_moments(self):
        images, labels = load_mnist("train")
        assert images.shape == (60_000, 28, 28)
        assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        # The constants by which half the world normalises MNIST.
        assert round(images.mean().item(), 4) == 0.1307
        assert round(images.std().item(), 4) == 0.3081
        images, labels = load_mnist("test")
        assert images.shape == (10_000, 28, 28)
        assert labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    def test_bsd68_and_set12_have_the_published_sizes(self):
        bsd68, set12 = load_bsd68(), load_set12()
        assert [sorted(image.shape) for image in bsd68] == [[321, 481]] * 68
        assert [tuple(image.shape) for image in set12] == [(256, 256)] * 7 + [(512, 512)] * 5
        for image in bsd68 + set12:
            assert image.min() >= 0
            assert 0.5 < image.max() <= 1


@pytest.mark.bad_input
@pytest.mark.parametrize("split", ["validation", "", "Train", None])
def test_an_unknown_split_is_refused(split):
    for load in (load_mnist, lambda split: load_cifar(10, split)):
        with pytest.raises(ValueError, match=rf"split must be 'train' or 'test'; got {split!r}"):
            load(split)


@pytest.mark.bad_input
def test_an_unknown_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="n_classes must be 10 or 100; got 20"):
        load_cifar(20, "train")


@pytest.mark.bad_input
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["set12/99.png", "../secret", ""])
def test_an_unregistered_name_is_refused(home, name):
    with pytest.raises(ValueError, match=f"'{name}' is not a registered file"):
        read_checked(name)
    assert home.requests == []


@pytest.mark.bad_input
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_mirror_that_is_no_folder_is_named(tmp_path, monkeypatch, kind):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("REGULARITY_DATA", str(tmp_path / kind))
    with pytest.raises(NotADirectoryError, match=f"REGULARITY_DATA should name a folder .*{kind}"):
        load_set12()


@pytest.mark.bad_input
def test_without_network_and_mirror_one_error_says_what_to_do(cache, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        write_registry(tmp_path / "registry.txt", url)
        monkeypatch.setattr(fetched, "_REGISTRY", tmp_path / "registry.txt")
        with pytest.raises(OSError, match=f"^{IMAGE} could not be fetched from {url}/{IMAGE}") as raised:
            load_set12()
    assert f"set the environment variable REGULARITY_DATA to a folder that holds {IMAGE}" in str(raised.value)
    assert raised.value.__suppress_context__
    assert files_in(cache) == set()


@pytest.mark.bad_input
@pytest.mark.usefixtures("registered")
def test_a_file_that_its_home_no_longer_has_is_named(home):
    home.gone.add("bsd68/test001.png")
    with pytest.raises(OSError, match=r"bsd68/test001\.png could not be fetched .*404"):
        load_bsd68()
