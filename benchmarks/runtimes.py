"""Which inference runtime is fastest and smallest: `python -m benchmarks.runtimes`.

The same graphs, the embedded model and an untrained EfficientNetB4 at 384 px, run with LiteRT, with
ONNX Runtime and with OpenVINO (in its own choice of precision, bfloat16 where the processor has
it, and in float32). Each runs in a process of its own, one photo at a time on one core. The time is
the process's, so that other programs hardly change it. "start" is from the import to the first
answer, and "memory" is the process's share (PSS) after it. "probability" is the
largest difference from LiteRT's on a few drawn photos.

The other two runtimes are no part of the project. Without them, their rows are left out:

    .venv/dev/bin/uv pip install onnxruntime==1.32.0 openvino==2026.4.1 tf2onnx==1.17.0 onnx==1.23.2
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from numpy.typing import NDArray
from tqdm import tqdm

from app.service import EMBEDDED_BUNDLE
from benchmarks.server import ROOT
from benchmarks.tool import Report, benchmark
from processing.bundle import MODEL, read_bundle
from processing.drawing import draw_photo

CALLS = 30
PHOTOS = 4
NAMES = {
    "LiteRT": "ai_edge_litert",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
    "OpenVINO, float32": "openvino",
}
OUTPUT = "probability"
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load(name: str, graph: Path, output: str) -> Run:
    """Load a graph for one thread.

    Args:
        name: one of `NAMES`.
        graph: the TFLite file; ONNX Runtime takes the .onnx file beside it.
        output: name of the tensor to return.
    """
    if name == "LiteRT":
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(str(graph), num_threads=1).get_signature_runner()
        return lambda image: run(images=image)[OUTPUT]
    if name == "ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph.with_suffix(".onnx"), options)
        (wanted,) = (each.name for each in session.get_inputs())
        # All outputs, as the app needs them.
        place = [each.name for each in session.get_outputs()].index(output)
        return lambda image: session.run(None, {wanted: image})[place]
    import openvino

    settings: dict[str, int | str] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    if name.endswith("float32"):
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    request, port = compiled.create_infer_request(), compiled.output(output)
    return lambda image: request.infer([image])[port]


def measure_alone() -> None:
    """Measure the runtime that the command line names, and print the figures as JSON."""
    name, graph, output = sys.argv[1:]
    images = np.load(Path(graph).with_suffix(".npy"))
    started = time.perf_counter()
    run = load(name, Path(graph), output)
    results = [float(np.ravel(run(images[:1]))[0])]
    start = time.perf_counter() - started
    results += [float(np.ravel(run(image[np.newaxis]))[0]) for image in images[1:]]
    taken = []
    for _ in range(CALLS):
        began = time.process_time()
        run(images[:1])
        taken.append(time.process_time() - began)
    figures = {
        "time": float(np.median(taken)) * 1000,
        "memory": psutil.Process().memory_full_info().pss / 1e6,
        "start": start,
        "results": results,
    }
    print(json.dumps(figures))


def compare(report: Report, title: str, graph: Path) -> None:
    """Measure each runtime that is installed, in a process of its own."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(graph)).get_signature_runner()
    size = runner.get_input_details()["images"]["shape"][1]
    output = runner.get_output_details()[OUTPUT]["name"]
    images = np.stack([draw_photo(n, size, irregular=bool(n % 2)) for n in range(PHOTOS)])
    np.save(graph.with_suffix(".npy"), images)
    report.begin(title)
    reference: dict[str, Any] = {}
    for name, package in NAMES.items():
        if not importlib.util.find_spec(package):
            click.echo(f"  {name}: not installed; see --help")
            continue
        if name == "ONNX Runtime":
            _convert(graph)
        alone = "from benchmarks import runtimes; runtimes.measure_alone()"
        command = [sys.executable, "-c", alone, name, str(graph), output]
        found = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        row = json.loads(found.stdout.splitlines()[-1])
        reference = reference or row
        report.add(f"{name}, time on one core", row["time"], "ms")
        report.add("  time, LiteRT / this", reference["time"] / row["time"])
        report.add("  memory", row["memory"], "MB")
        report.add("  start", row["start"], "s")
        different = np.abs(np.subtract(row["results"], reference["results"])).max()
        report.add("  probability, largest difference", float(different))


def _convert(graph: Path) -> None:
    target = graph.with_suffix(".onnx")
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(graph), "--output"]
    subprocess.run([*command, str(target), "--opset", "17"], capture_output=True, check=True)


def measure_graphs(report: Report, parts: list[str]) -> None:
    """Write the graphs that are wanted, and compare the runtimes on each."""
    with tempfile.TemporaryDirectory() as name, tqdm(total=1, desc="Preparing", leave=False) as bar:
        folder = Path(name)
        graphs: dict[str, Path] = {}
        if "embedded" in parts:
            bundle = read_bundle(EMBEDDED_BUNDLE)
            title = f"{bundle.manifest.backbone}, embedded ({bundle.manifest.version[:12]})"
            graphs[title] = folder / "embedded.tflite"
            shutil.copy(bundle.model_path, graphs[title])
        if "b4" in parts:
            untrained = [sys.executable, "-m", "benchmarks.untrained", name]
            subprocess.run(untrained, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
            for precision in ("float32", "int8"):
                graphs[f"EfficientNetB4 at 384 px, {precision}"] = folder / precision / MODEL
        bar.update()
        for title, graph in graphs.items():
            compare(report, title, graph)


@benchmark("embedded", "b4", libraries=("ai-edge-litert",))
def main(report: Report, parts: list[str]) -> None:
    """Measure and print."""
    measure_graphs(report, parts)


if __name__ == "__main__":
    main()
