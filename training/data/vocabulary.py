"""The common vocabulary: sites, diagnoses, targets, and how to attribute each source."""

from typing import NamedTuple, get_args

from processing.manifest import Label, Modality

# The position of a word is its code in the TFRecords: append, never reorder.
SEXES = ("female", "male")
SITES = (
    "head/neck", "lower extremity", "oral/genital", "palms/soles", "torso", "upper extremity",
)  # fmt: skip
DIAGNOSES = (
    "melanoma", "nevus", "basal cell carcinoma", "actinic keratosis", "benign keratosis",
    "dermatofibroma", "vascular lesion", "squamous cell carcinoma",
    # ISIC 2020 distinguishes these, some of them kinds of benign keratosis.
    "seborrheic keratosis", "lentigo NOS", "lichenoid keratosis", "solar lentigo",
    "cafe-au-lait macule", "atypical melanocytic proliferation",
    # MILK10k's classes that the others lack; "other" is for lists whose label is all they say.
    "other benign", "other malignant", "inflammatory or infectious", "other",
)  # fmt: skip
MODALITIES: tuple[Modality, ...] = get_args(Modality)
SKIN_TONES = ("0", "1", "2", "3", "4", "5")  # from very dark to very light, as MILK10k grades them


class Target(NamedTuple):
    """Which diagnoses count as 1."""

    name: str
    diagnoses: frozenset[str]
    plural: str  # name of the lesions that count as 1, for reports
    label: Label


# All skin cancers but melanoma.
_CARCINOMAS = frozenset({"basal cell carcinoma", "squamous cell carcinoma", "other malignant"})
_ISIC2020 = (
    "ISIC 2020 records no skin cancer but melanoma, so any other among its images counts as benign"
)
TARGETS = {
    target.name: target
    for target in (
        Target(
            "melanoma",
            frozenset({"melanoma"}),
            "melanomas",
            Label(
                name="melanoma",
                covers="melanoma, invasive or in situ",
                not_covered=(
                    "other skin cancers: basal cell carcinoma, squamous cell carcinoma and "
                    "actinic keratosis count as benign here"
                ),
            ),
        ),
        Target(
            "malignant",
            frozenset({"melanoma"}) | _CARCINOMAS,
            "malignant lesions",
            Label(
                name="malignant",
                covers=(
                    "melanoma, invasive or in situ, basal cell carcinoma, squamous cell "
                    "carcinoma and, where the source records them, rarer skin cancers"
                ),
                not_covered=("actinic keratosis, which counts as benign here; " + _ISIC2020),
            ),
        ),
        Target(
            "malignant with actinic keratosis",
            frozenset({"melanoma", "actinic keratosis"}) | _CARCINOMAS,
            "malignant lesions and actinic keratoses",
            Label(
                name="malignant with actinic keratosis",
                covers=(
                    "melanoma, invasive or in situ, basal cell carcinoma, squamous cell "
                    "carcinoma, actinic keratosis, a precursor of the last, and, where the source "
                    "records them, rarer skin cancers"
                ),
                not_covered=_ISIC2020,
            ),
        ),
    )
}
# The strictest licence among the images decides how the model may be used.
LICENCE = "CC-BY-NC-4.0: for non-commercial use, with the attribution below"


class Source(NamedTuple):
    """An archive of images, as the model card names it, and its required attribution."""

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
    "milk10k": Source(
        "MILK10k training set or a part of it",
        (
            "MILK10k (c) MILK study team, https://challenge.isic-archive.com/landing/milk10k, "
            "CC-BY-NC",
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


def describe_source(name: str) -> Source:
    """Describe a source by its name in the table of cases."""
    own = (
        f"{name}: the licence and attribution of this source itself apply; they are not known here"
    )
    return SOURCES.get(name) or Source(name, (own,))
