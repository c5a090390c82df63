from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from heliorestore.cli import main
from heliorestore.errors import RestorationError, WeightsError
from heliorestore.nets import keras_files, weights
from heliorestore.nets.enhance import small
from heliorestore.nets.importing import import_file

KERNELS = 32


def enhance_layers(seed: int = 0) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The layers of the small Enhance as Keras has them: kernels (y, x, in, out), moments of the norms."""
    rng = np.random.default_rng(seed)

    def conv(number: int, size: int, before: int, after: int) -> tuple[str, dict[str, np.ndarray]]:
        kernel = rng.normal(0, 1 / np.sqrt(size**2 * before), (size, size, before, after))
        return f"conv2d_{number}", {"kernel": kernel, "bias": rng.normal(0, 0.1, after)}

    def norm(number: int) -> tuple[str, dict[str, np.ndarray]]:
        arrays = {name: rng.normal(0, 0.2, KERNELS) for name in ("beta", "moving_mean")}
        return f"batch_normalization_{number}", {
            "gamma": rng.uniform(0.5, 1.5, KERNELS),
            **arrays,
            "moving_variance": rng.uniform(1e-3, 1, KERNELS),
        }

    return [
        ("input_1", {}),
        ("reflection_padding2d_1", {}),
        conv(1, 3, 1, KERNELS),
        ("activation_1", {}),
        conv(2, 3, KERNELS, KERNELS),
        norm(1),
        conv(3, 3, KERNELS, KERNELS),
        norm(2),
        ("add_1", {}),
        conv(4, 3, KERNELS, KERNELS),
        norm(3),
        ("add_2", {}),
        ("up_sampling2d_1", {}),
        conv(5, 3, KERNELS, KERNELS),
        conv(6, 1, KERNELS, 1),
    ]


def write(path: Path, layers: list[tuple[str, dict[str, np.ndarray]]], *, whole_model: bool = False) -> Path:
    """A file as Keras' save_weights (or save) writes it."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            group = root.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
            for key, array in arrays.items():
                group.create_dataset(f"{name}/{key}:0", data=array.astype(np.float32))
    return path


def by_hand(layers: list[tuple[str, dict[str, np.ndarray]]], image: np.ndarray) -> np.ndarray:
    """Enhance in numpy, after the published Keras code: image (y, x) to (2 y, 2 x)."""
    convs = [a for name, a in layers if name.startswith("conv2d")]
    norms = [a for name, a in layers if name.startswith("batch")]

    def conv(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
        size = layer["kernel"].shape[0]
        if size > 1:
            x = np.pad(x, [(1, 1), (1, 1), (0, 0)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
        return np.einsum("yxiab,abio->yxo", windows, layer["kernel"]) + layer["bias"]

    def norm(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
        return (
            layer["gamma"] * (x - layer["moving_mean"]) / np.sqrt(layer["moving_variance"] + 1e-3)
            + layer["beta"]
        )

    x0 = np.maximum(conv(image[..., None], convs[0]), 0)
    x = norm(conv(np.maximum(norm(conv(x0, convs[1]), norms[0]), 0), convs[2]), norms[1]) + x0
    x = norm(conv(x, convs[3]), norms[2]) + x0
    x = np.maximum(conv(x.repeat(2, 0).repeat(2, 1), convs[4]), 0)
    return conv(x, convs[5])[..., 0]


@pytest.mark.parametrize("whole_model", [False, True])
def test_an_imported_network_computes_what_keras_would(tmp_path: Path, whole_model: bool) -> None:
    layers = enhance_layers()
    net = small().eval()
    keras_files.fill(net, keras_files.read_layers(write(tmp_path / "w.h5", layers, whole_model=whole_model)))
    image = np.random.default_rng(1).normal(1, 0.3, (9, 11))
    with torch.inference_mode():
        found = net(torch.from_numpy(image.astype(np.float32))[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, by_hand(layers, image), rtol=0, atol=2e-5 * np.abs(found).max())


def test_the_command_imports_and_recognises_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "own", tmp_path / "package"))
    monkeypatch.setattr("heliorestore.nets.importing.folders", weights.folders)
    path = write(tmp_path / "w.hdf5", enhance_layers())
    assert main(["weights", "import", str(path), "--as", "published-magnetogram"]) == 0
    assert capsys.readouterr().out.strip().endswith("published-magnetogram.safetensors")
    _, record = weights.load("published-magnetogram")
    assert (record.architecture, record.kind, record.normalisation) == ("enhance-small", "magnetogram", "kG")
    assert "w.hdf5" in record.origin


def test_wrong_layers_are_named(tmp_path: Path) -> None:
    layers = enhance_layers()
    with pytest.raises(WeightsError, match="6 convolutions and 2 batch"):
        keras_files.fill(
            small(),
            keras_files.read_layers(
                write(tmp_path / "a.h5", [item for item in layers if item[0] != "batch_normalization_3"])
            ),
        )
    layers[4][1]["kernel"] = layers[4][1]["kernel"][:, :, :5]
    with pytest.raises(WeightsError, match=r"kernel of the layer conv2d_2 has the shape \(32, 5, 3, 3\)"):
        keras_files.fill(small(), keras_files.read_layers(write(tmp_path / "b.h5", layers)))
    del layers[4][1]["kernel"]
    layers[4][1]["kernel"] = np.zeros((3, 3))
    with pytest.raises(WeightsError, match=r"has the shape \(3, 3\)"):
        keras_files.fill(small(), keras_files.read_layers(write(tmp_path / "c.h5", layers)))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "new", "no file"),
        (b"not HDF5", "new", "cannot be read"),
        (b"anything", "a/b", "cannot name weights"),
    ],
)
def test_what_cannot_be_imported_is_said(
    tmp_path: Path, content: bytes | None, name: str, message: str
) -> None:
    path = tmp_path / "w.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        import_file(path, name, folder=tmp_path)


def test_a_folder_that_takes_no_weights_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"never read")
    with pytest.raises(RestorationError, match="is not a folder"):
        import_file(tmp_path / "w.h5", "new", folder=tmp_path / "w.h5")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(WeightsError, match="not as Keras saves weights"):
        import_file(tmp_path / "plain.h5", "new", folder=tmp_path)
    (tmp_path / "w.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be imported"):
        import_file(tmp_path / "w.onnx", "new", folder=tmp_path)
    with pytest.raises(
        WeightsError,
        match=r"fits none of the networks\. enhance: The file has 1 "
        r"convolutions",
    ):
        import_file(write(tmp_path / "one.h5", enhance_layers()[:4]), "new", folder=tmp_path)


def huge(group: h5py.Group) -> None:
    group.create_dataset("kernel:0", (10**5, 10**5, 10), "f4", chunks=(10, 10, 10))


def loop(group: h5py.Group) -> None:
    group["kernel:0"] = h5py.SoftLink("/layer/kernel:0")


def outside(group: h5py.Group) -> None:
    """Raw numbers of any file: of a pipe the reading would never end."""
    group.create_dataset("kernel:0", (4,), "u1", external=[(__file__, 0, 4)])


def linked(group: h5py.Group) -> None:
    other = f"{group.file.filename}.other"
    with h5py.File(other, "w") as file:
        file["kernel"] = np.ones(3)
    group["kernel:0"] = h5py.ExternalLink(other, "/kernel")


def virtual(group: h5py.Group) -> None:
    group.create_virtual_dataset("kernel:0", h5py.VirtualLayout((4,), "f4"))


def number(group: h5py.Group) -> None:
    group.attrs["weight_names"] = 5


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (huge, "holds 100,000,000,000 numbers"),
        (loop, "cannot be read"),
        (number, "cannot be read"),
        (outside, "the numbers of layer are in other files"),
        (linked, "the numbers of layer are in other files"),
        (virtual, "the numbers of layer are in other files"),
    ],
)
def test_shapes_links_and_attributes_that_lie_are_refused(
    damage: Callable[[h5py.Group], None], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"layer"]
        group = file.create_group("layer")
        group.attrs["weight_names"] = [b"kernel:0"]
        damage(group)
    with pytest.raises(WeightsError, match=says) as refused:
        keras_files.read_layers(path)
    assert "\n" not in str(refused.value)
