"""What was logged."""

import math

from lamina.training import History


def test_figures_belong_to_their_epochs_also_where_some_come_later_or_stay_away():
    history = History()
    history.append(0, {"loss": 1.0, "old": 3.0})
    history.append(1, {"loss": 0.5, "new": 7.0})
    assert history.epoch == [0, 1]
    assert history.history["loss"] == [1.0, 0.5]
    assert math.isnan(history.history["new"][0])
    assert history.history["new"][1] == 7.0
    assert math.isnan(history.history["old"][1])
