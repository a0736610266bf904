import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.model.backbones import BACKBONES, build_backbone, noisy_student_file

WRITE_WEIGHTS = Path(__file__).parents[1] / "efficientnet_package.py"


@pytest.mark.slow
def test_b4_answers_as_the_packages_own_b4_from_the_same_weights_file(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (16, 64, 64, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / name for name in ("images.npy", "features.npy", "b4_notop.h5")]
    done = subprocess.run(
        [sys.executable, WRITE_WEIGHTS, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = np.load(tmp_path / "features.npy")  # (B, 2, 2, 1792)
    backbone = build_backbone("EfficientNetB4", 64, str(tmp_path / "b4_notop.h5"))
    features = backbone.predict(images.astype(np.float32), verbose=0)
    # Measured: 3e-6 of the largest value. With 5 % more in any one array of weights, 1e-3 or above.
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("EfficientNetB")])
def test_each_b_has_noisy_student_weights(name: str) -> None:
    address, md5 = noisy_student_file(name)
    assert address.endswith(f"/efficientnet-b{name[-1]}_noisy-student_notop.h5")
    assert len(md5) == 32
