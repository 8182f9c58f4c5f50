"""What a search may draw, and how a space that cannot be drawn from is refused."""

import pytest

from lamina import tuner
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.training.tuner import space as spaces


class Lowest:
    """Draws what stands first, as an optuna trial draws."""

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return low

    def suggest_int(self, name, low, high, *, step=1, log=False):
        return low

    def suggest_categorical(self, name, options):
        return options[0]


def test_values_are_drawn_and_fixed_ones_stay():
    space = {
        "lr": tuner.log_uniform(1e-4, 1e-1),
        "width": tuner.integer(4, 32),
        "kind": tuner.choice("a", "b"),
        "epochs": 5,
    }
    assert spaces.draw(space, Lowest()) == {"lr": 1e-4, "width": 4, "kind": "a", "epochs": 5}


def test_a_condition_decides_whether_a_name_is_drawn():
    def space(first):
        momentum = tuner.uniform(0.5, 0.9, when={"optimizer": ("sgd", "rmsprop")})
        return {"optimizer": tuner.choice(first, "x"), "momentum": momentum}

    assert spaces.draw(space("sgd"), Lowest()) == {"optimizer": "sgd", "momentum": 0.5}
    assert spaces.draw(space("adam"), Lowest()) == {"optimizer": "adam"}


def test_a_choice_of_objects_is_stored_by_its_labels_and_read_back():
    small, pair = object(), (3, 3)
    assert tuner.choice({"small": small, "none": None}).read("small") is small
    assert tuner.choice(pair, (5, 5)).read("(3, 3)") == pair
    with pytest.raises(LaminaError, match=r"no name that lasts.*small"):
        tuner.choice(small, 3)


def test_a_range_reads_as_it_was_written():
    told = spaces.described(
        {"a": tuner.log_uniform(0.1, 1.0), "b": tuner.integer(1, 8, step=2), "c": tuner.choice(True, "x"), "d": 3}
    )
    assert told == {"a": "log_uniform(0.1, 1.0)", "b": "integer(1, 8, step=2)", "c": "choice(True, 'x')", "d": "3"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tuner.log_uniform(0.0, 1.0), "above 0"),
        (lambda: tuner.uniform(1.0, 0.5), "the lower first"),
        (lambda: tuner.integer(1, 2.5), "whole numbers"),
        (lambda: tuner.choice(), "without values"),
        (lambda: tuner.choice(1, 1), "Each value once"),
        (lambda: spaces.checked({"epochs": 5}), "nothing to draw"),
        (lambda: spaces.checked({"lr": tuner.uniform(0, 1), "width": [8, 16]}), r"tuner\.choice\(8, 16\)"),
        (lambda: spaces.checked({"momentum": tuner.uniform(0, 1, when={"optimizer": "sgd"})}), "stand before it"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_with_the_remedy(make, words):
    with pytest.raises(LaminaError, match=words):
        make()


def test_a_name_that_the_space_does_not_have_is_no_missing_value():
    drawn = spaces.Drawing({"lr": 0.1}, {"lr": 1, "momentum": 2})
    assert drawn.get("momentum", 0.0) == 0.0
    assert "momentum" not in drawn
    assert dict(drawn) == {"lr": 0.1}
    with pytest.raises(UnknownNameError, match=r"momentun.*'momentum'"):
        drawn.get("momentun", 0.0)
