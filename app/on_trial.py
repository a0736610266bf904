"""The process in which a model is tried: `python -m app.on_trial BUNDLE`."""

import sys
from pathlib import Path

from app.classifier import Classifier
from app.heatmap import draw_heatmap
from app.markdown import render_card
from config.process import limit_process
from processing.bundle import (
    MANIFEST,
    MODEL,
    VIEWS,
    Bundle,
    BundleError,
    read_bundle,
    read_manifest,
)

# With the embedded graph of 15 MB the address space takes 290 MB, most of it Python's.
_MEMORY_BYTES, _MEMORY_BY_GRAPH = 512 << 20, 8
_CPU_SECONDS = 120
_OUTPUT_BYTES = 1 << 20


def main(path: Path) -> None:
    """Do with the bundle in folder `path` all that the app does before it serves it."""
    try:
        graph_bytes = read_manifest(path / MANIFEST).files[MODEL].size_bytes
        memory_bytes = _MEMORY_BYTES + _MEMORY_BY_GRAPH * graph_bytes
        limit_process(memory_bytes, _CPU_SECONDS, _OUTPUT_BYTES)
        bundle = read_bundle(path)
        render_card(bundle.read_card())
        classifier = Classifier(bundle, threads=1)
        _answer_in_full(bundle, classifier)
    except BundleError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(f"It needs more than {memory_bytes >> 20} MB.")


def _answer_in_full(bundle: Bundle, classifier: Classifier) -> None:
    images, _ = bundle.read_golden()
    (prediction,) = classifier.classify(images[:1])
    if len(prediction.by_view) not in VIEWS:
        raise BundleError(f"Its graph averages {len(prediction.by_view)} orientations.")
    classifier.measure_stability(images[0], prediction)
    draw_heatmap(prediction.cam)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
