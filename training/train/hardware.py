"""Detection of the devices to train on, and the setup of Keras for them.

With TensorFlow: a CPU, one GPU, several GPUs (MirroredStrategy), or TPUs (TPUStrategy, where the
installed TensorFlow supports them). With JAX: all devices that it lists, in one process or in
several. A device that is present but cannot be used is logged as a warning.
"""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from training.errors import TrainingError
from training.recipe import TrainSettings

_log = logging.getLogger(__name__)

BACKEND = "KERAS_BACKEND"
# Set by whoever starts several processes; keras.distribution.initialize reads it, too.
_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"


class Hardware(NamedTuple):
    """The devices that a run trains on."""

    description: str
    devices: int
    precision: str  # Keras's dtype policy
    strategy: Any = None  # TensorFlow's, for several devices or a TPU
    distribution: Any = None  # Keras's, for several devices of JAX
    process: int = 0
    processes: int = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which a model's variables must be created."""
        if self.strategy is None:
            return nullcontext()
        scope: AbstractContextManager[Any] = self.strategy.scope()
        return scope

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let this process use its own devices alone, independently of the other processes."""
        if self.processes == 1:
            yield
            return
        import jax
        import keras

        own = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
        distribution = keras.distribution.DataParallel(devices=own, auto_shard_dataset=False)
        # Keras assumes that every mesh spans all processes, and would wait for the others' data.
        with distribution.scope():
            yield

    def rows(self, batch_size: int) -> slice:
        """Return the part of each batch that this process feeds."""
        share = batch_size // self.processes
        return slice(self.process * share, (self.process + 1) * share)


def choose_backend() -> None:
    """Choose Keras's backend; call this before Keras and TensorFlow are imported.

    JAX is chosen if there is a TPU and `KERAS_BACKEND` is not set, TensorFlow otherwise. On a CPU,
    TensorFlow is set up to repeat a run bit for bit.

    Raises:
        TrainingError: `KERAS_BACKEND` names a backend that is unknown or not installed.
    """
    chosen = os.environ.get(BACKEND, "")
    if not chosen and _find_tpus() and importlib.util.find_spec("jax"):
        os.environ[BACKEND] = "jax"
    elif chosen not in ("", "tensorflow", "jax"):
        raise TrainingError(f"{BACKEND}={chosen} is not supported. Set it to tensorflow or jax.")
    elif chosen == "jax" and importlib.util.find_spec("jax") is None:
        raise TrainingError(
            f"{BACKEND}=jax, but the package jax is not installed: pip install jax (for a TPU "
            f"'jax[tpu]', for a GPU 'jax[cuda12]'), or unset {BACKEND} to train with TensorFlow."
        )
    if os.environ.get(BACKEND) != "jax" and not _find_nvidia():
        # One operation at a time, on all cores. Operations that run side by side share the cores
        # differently each time, which changes the order of their sums, and so the weights.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


def find_hardware(precision: str) -> Hardware:
    """Detect the devices, set Keras up for them, and log them.

    Args:
        precision: Keras's dtype policy; auto: mixed precision on devices made for it.

    Raises:
        TrainingError: Keras's backend is neither TensorFlow nor JAX.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        hardware = _find_with_tensorflow()
    elif backend == "jax":
        hardware = _find_with_jax()
    else:
        raise TrainingError(f"Keras's backend is {backend}. Set {BACKEND} to tensorflow or jax.")
    if precision != "auto":
        hardware = hardware._replace(precision=precision)
    keras.mixed_precision.set_global_policy(hardware.precision)
    _log.info("Hardware: %s, %s", hardware.description, hardware.precision)
    return hardware


def check_batch_size(batch_size: int, hardware: Hardware) -> None:
    """Check that every device gets the same number of images.

    Raises:
        TrainingError: the batch size is not a multiple of the number of devices.
    """
    if batch_size % hardware.devices:
        raise TrainingError(
            f"--batch-size {batch_size} cannot be shared equally by {hardware.devices} devices. "
            f"Give a multiple of {hardware.devices}."
        )


def check_mixtures(settings: TrainSettings, hardware: Hardware) -> None:
    """Check that mixup finds a neighbour for each image that a process feeds.

    Raises:
        TrainingError: the number of images is odd.
    """
    share = settings.batch_size // hardware.processes
    if settings.augmentation.mixup and share % 2:
        raise TrainingError(
            f"--augment mixup mixes pairs of images, but --batch-size {settings.batch_size} gives "
            f"{share} to each process. Give an even number for each."
        )


def _find_with_tensorflow() -> Hardware:
    import tensorflow as tf

    name = f"TensorFlow {tf.__version__}"
    if tpus := _find_tpus():
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            strategy = tf.distribute.TPUStrategy(resolver)
        except (tf.errors.OpError, ValueError) as error:
            _report(tpus, name, f"{error}", f"set {BACKEND}=jax, or install tensorflow-tpu")
        else:
            count = strategy.num_replicas_in_sync
            return Hardware(f"{count} TPU cores, {name}", count, "mixed_bfloat16", strategy)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and (cards := _find_nvidia()):
        _report(cards, name, "no GPU is listed", "pip install 'tensorflow[and-cuda]'")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    kind = "GPU" if gpus else "CPU"
    devices = tf.config.list_logical_devices(kind)
    strategy = tf.distribute.MirroredStrategy([d.name for d in devices]) if devices[1:] else None
    return Hardware(
        f"{_count(devices, kind)}, {name}",
        len(devices),
        "mixed_float16" if gpus else "float32",
        strategy,
    )


def _find_with_jax() -> Hardware:
    import jax
    import keras
    import tensorflow as tf

    # TensorFlow only reads the shards here; otherwise it would reserve the devices' memory, too.
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    if _PROCESSES in os.environ and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    devices = jax.devices()
    kind, name = devices[0].platform.upper(), f"JAX {jax.__version__}"
    if kind == "CPU" and not os.environ.get("JAX_PLATFORMS"):
        if tpus := _find_tpus():
            _report(tpus, name, "no TPU is listed", "pip install 'jax[tpu]'")
        if cards := _find_nvidia():
            _report(cards, name, "no GPU is listed", "pip install 'jax[cuda12]'")
    distribution = None
    if len(devices) > 1:
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
    processes = jax.process_count()
    several = f" in {processes} processes" if processes > 1 else ""
    return Hardware(
        f"{_count(devices, kind)}{several}, {name}",
        len(devices),
        {"TPU": "mixed_bfloat16", "GPU": "mixed_float16"}.get(kind, "float32"),
        distribution=distribution,
        process=jax.process_index(),
        processes=processes,
    )


def _count(devices: list[Any], kind: str) -> str:
    if kind == "CPU":
        cores = f"CPU, {os.cpu_count()} cores"
        return cores if len(devices) == 1 else f"{cores} as {len(devices)} devices"
    return f"{len(devices)} {kind}{'s' if len(devices) > 1 else ''}"


def _find_tpus() -> list[str]:
    """List signs of a TPU: its device files, and the environment variables of TPU machines."""
    device = Path("/dev")
    files = [str(path) for path in [*device.glob("accel*"), *device.glob("vfio/[0-9]*")]]
    return files + [name for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE") if name in os.environ]


def _find_nvidia() -> list[str]:
    return [str(path) for path in Path("/dev").glob("nvidia[0-9]*")]


def _report(found: list[str], name: str, why: str, remedy: str) -> None:
    why = why.splitlines()[0] if why else "unknown"
    _log.warning(
        "Warning: %s is present, but %s cannot use it (%s). To use it: %s.",
        ", ".join(found), name, why, remedy,
    )  # fmt: skip
