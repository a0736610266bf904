"""What no server can beat: decoding a JPEG at the scale needed and the bare runtime, no HTTP."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import simplejpeg
from ai_edge_litert.interpreter import Interpreter

from processing.bundle import SIGNATURE, read_bundle
from processing.image import choose_decoded_side, read_square

CORES = os.cpu_count() or 1


def decode(photo: bytes, crop_fraction: float, side: float) -> object:
    """Decode a JPEG at the smallest scale that leaves the centre crop `side` pixels."""
    height, width, *_ = simplejpeg.decode_jpeg_header(photo)
    scale = side / (crop_fraction * min(height, width))
    return simplejpeg.decode_jpeg(photo, min_height=scale * height, min_width=scale * width)


def make_call(bundle: Path, photo: bytes, threads: int) -> Callable[[], object]:
    """Make a function that decodes the photo and runs the graph on a square that was cut before."""
    opened = read_bundle(bundle)
    wanted = opened.manifest.input
    square = read_square(photo, **wanted.model_dump()).pixels[np.newaxis]
    side = choose_decoded_side(wanted.size, wanted.pixel_path)
    interpreter = Interpreter(str(opened.model_path), num_threads=threads)
    run = interpreter.get_signature_runner(SIGNATURE)

    def call() -> object:
        decode(photo, wanted.crop_fraction, side)
        return run(images=square)

    return call


def measure_rate(bundle: Path, photo: bytes, seconds: float) -> float:
    """Return the photos per second of a process for each core, each with one thread."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(CORES)
    with ProcessPoolExecutor(CORES, spawn, _keep, (barrier,)) as processes:
        loops = [processes.submit(_repeat, bundle, photo, seconds) for _ in range(CORES)]
        return sum(loop.result() for loop in loops)


_barrier: Barrier


def _keep(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _repeat(bundle: Path, photo: bytes, seconds: float) -> float:
    call = make_call(bundle, photo, threads=1)
    call()
    _barrier.wait()
    started, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return calls / elapsed
