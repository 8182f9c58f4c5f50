"""Errors have three parts and know the nearest names."""

import pickle

from lamina.core.errors import MissingExtraError, ShapeError, UnknownNameError, listed, nearest_names, unknown_name


def test_an_error_says_what_came_what_was_expected_and_what_to_do():
    error = ShapeError("A came.", "B was expected.", "Do C.")
    assert str(error) == "A came. B was expected. Do C."
    assert isinstance(error, ValueError)


def test_an_error_survives_pickling_so_workers_can_raise_it():
    error = pickle.loads(pickle.dumps(ShapeError("A.", "B.", "C.")))
    assert (error.came, error.expected, error.remedy) == ("A.", "B.", "C.")


def test_an_unknown_name_lists_the_nearest():
    error = unknown_name("optimizer", "Adamm", ["sgd", "adam", "adamw", "rmsprop"])
    assert isinstance(error, UnknownNameError)
    assert "'adam'" in str(error)
    assert "'rmsprop'" not in str(error)


def test_names_that_resemble_nothing_list_what_there_is():
    assert nearest_names("zzzz", ["sgd", "adam"]) == ["sgd", "adam"]


def test_a_long_list_is_told_by_its_first_and_how_many_more_there_are():
    assert listed(["a", "b", "c"], most=3) == "a, b, c"
    assert listed(range(1200), most=2) == "0, 1 and 1,198 more"


def test_a_missing_extra_names_the_line_that_installs_it():
    assert 'pip install "lamina[tensorboard]"' in str(MissingExtraError("TensorBoard", "tensorboard"))
