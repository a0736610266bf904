import numpy as np

from training.recipe import Schedule
from training.train.schedules import PerStep


def test_a_thawed_backbone_begins_with_a_rise_from_0_to_the_schedules_rate() -> None:
    schedule = Schedule(name="cyclic", learning_rate=1.0, lowest=1.0)
    thawed = PerStep(schedule, epochs=4, steps_per_epoch=10, first_epoch=2, warmup_epochs=0.5)
    rates = [float(thawed(step)) for step in range(20)]
    np.testing.assert_allclose(rates[:6], [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-6)
    assert rates[5:] == [1.0] * 15
    assert PerStep.from_config(thawed.get_config())(3) == thawed(3)


def test_without_a_warmup_the_rate_is_the_schedules() -> None:
    schedule = Schedule(warmup_epochs=0.0)
    plain = PerStep(schedule, epochs=4, steps_per_epoch=10, first_epoch=2)
    whole = PerStep(schedule, epochs=4, steps_per_epoch=10)
    assert [float(plain(step)) for step in (0, 5)] == [float(whole(step)) for step in (20, 25)]
