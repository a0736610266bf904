"""The words that all sources share: sites, diagnoses, the label, and what each source asks for."""

from typing import NamedTuple

from processing.bundle import Label

# One vocabulary over all sources. The order is the code in the TFRecords: append, never reorder.
SEXES = ("female", "male")
SITES = (
    "head/neck", "lower extremity", "oral/genital", "palms/soles", "torso", "upper extremity",
)  # fmt: skip
DIAGNOSES = (
    "melanoma", "nevus", "basal cell carcinoma", "actinic keratosis", "benign keratosis",
    "dermatofibroma", "vascular lesion", "squamous cell carcinoma",
    # ISIC 2020 tells some kinds of benign keratosis and others apart.
    "seborrheic keratosis", "lentigo NOS", "lichenoid keratosis", "solar lentigo",
    "cafe-au-lait macule", "atypical melanocytic proliferation",
)  # fmt: skip

LABEL = Label(
    name="melanoma",
    covers="melanoma, invasive or in situ",
    not_covered=(
        "other skin cancers: basal cell carcinoma, squamous cell carcinoma and actinic keratosis "
        "count as benign here"
    ),
)
# The strictest licence among the images decides what the model may be used for.
LICENCE = "CC-BY-NC-4.0: for non-commercial use, with the attribution below"


class Source(NamedTuple):
    """An archive of images: its name in a model card, and whom to name for it."""

    title: str
    attribution: tuple[str, ...]


SOURCES = {
    "isic2019": Source(
        "ISIC 2019 training set or a part of it",
        (
            "HAM10000 (c) ViDIR Group, Department of Dermatology, Medical University of Vienna, "
            "doi:10.1038/sdata.2018.161, CC-BY-NC 4.0",
            "ISIC 2017 and ISIC 2018 tasks 1-2, International Skin Imaging Collaboration, "
            "arXiv:1710.05006 and arXiv:1902.03368, CC-0",
            "ISIC 2019 also holds BCN_20000, (c) Department of Dermatology, Hospital Clinic de "
            "Barcelona, arXiv:1908.02288, CC-BY-NC 4.0",
        ),
    ),
    "isic2020": Source(
        "ISIC 2020 training set or a part of it",
        (
            "ISIC 2020 (c) International Skin Imaging Collaboration, doi:10.34970/2020-ds01, "
            "CC-BY-NC 4.0",
        ),
    ),
}
