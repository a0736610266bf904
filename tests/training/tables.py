"""A table of cases like that of a data folder."""

import numpy as np
import pandas as pd


def make_cases(prefix: str = "", seed: int = 0) -> pd.DataFrame:
    """Make 48 images, four per patient and two per lesion, in four shards without a leak."""
    rng = np.random.default_rng(seed)
    patient = np.arange(48) // 4
    return pd.DataFrame(
        {
            "image_name": [f"{prefix}IMAGE_{i}" for i in range(48)],
            "source": "isic2020",
            "patient_id": [f"{prefix}P_{i}" for i in patient],
            "lesion_id": [f"{prefix}L_{i // 2}" for i in range(48)],
            "sex": rng.choice(["female", "male", ""], 48),
            "age_approx": rng.choice([30.0, 60.0, np.nan], 48),
            "anatom_site": rng.choice(["torso", "head/neck", ""], 48),
            "diagnosis": "",
            "modality": "",
            "skin_tone": "",
            "target": patient // 4 % 2,
            "group": [f"{prefix}P_{i}" for i in patient],
            "width": 640,
            "height": 480,
            "phash": [rng.bytes(32).hex() for _ in range(48)],
            "shard": patient % 4,
        }
    )
