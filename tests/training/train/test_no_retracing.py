from tests.training.conftest import TracedRun


def test_two_epochs_trace_the_train_function_once(traced_run: TracedRun) -> None:
    assert traced_run.traces == [1]
