"""Ways to run on Apache Beam, where requirements-beam.txt is installed (`make beam`)."""

import importlib.util

import pytest

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
HERE = ()
SUBPROCESSES = ("direct_running_mode=multi_processing", "direct_num_workers=2")
with_beam = pytest.mark.skipif(not HAS_BEAM, reason="Apache Beam is not installed")
without_beam = pytest.mark.skipif(HAS_BEAM, reason="Apache Beam is installed")
