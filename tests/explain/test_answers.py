from types import SimpleNamespace

import numpy as np
import pytest
import torch

import lamina
from lamina import explain
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.explain import class_probs
from lamina.explain.answers import checked


def data(count=4, classes=3):
    images = np.zeros((count, 1, 2, 2), np.uint8)
    return SimpleNamespace(images=images, labels=np.arange(count) % classes, classes=[str(k) for k in range(classes)])


def answering(outputs):
    return SimpleNamespace(predict=lambda images: outputs)


def test_probabilities_are_kept_and_logits_go_through_softmax():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    softmax = torch.softmax(torch.from_numpy(logits), 1).numpy()
    assert np.allclose(class_probs(answering(logits), data()), softmax, atol=1e-6)
    assert np.array_equal(class_probs(answering(softmax), data()), softmax)


def test_large_logits_do_not_overflow():
    probs = class_probs(answering(np.array([[1e4, 0, -1e4]] * 4)), data())
    assert np.array_equal(probs, [[1, 0, 0]] * 4)


def test_predict_probs_is_asked_first():
    model = SimpleNamespace(predict=None, predict_probs=lambda images: torch.full((len(images), 3), 1 / 3))
    assert class_probs(model, data()).shape == (4, 3)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_output_beside_two_classes_is_the_probability_of_the_second(shape):
    probs = class_probs(answering(np.array([0.1, 0.9, 0.5, 1.0]).reshape(shape)), data(classes=2))
    assert np.allclose(probs[:, 1], [0.1, 0.9, 0.5, 1.0])
    assert np.allclose(probs.sum(1), 1)
    logits = class_probs(answering(np.array([-200.0, 200.0, 0.0, 3.0]).reshape(shape)), data(classes=2))
    assert np.allclose(logits[:, 1], [0, 1, 0.5, 1 / (1 + np.exp(-3))])


def test_a_tensor_on_the_way_is_welcome():
    probs, labels = checked(torch.full((2, 2), 0.5, dtype=torch.bfloat16, requires_grad=True), torch.tensor([0, 1]))
    assert probs.dtype == np.float32
    assert labels.dtype == np.int64


THREE_PARTS = {
    "labels beyond the classes": (np.eye(3), [0, 1, 3], DataError, r"label 2 is 3.*0 to 2.*correct its labels"),
    "negative labels": (np.eye(3), [0, -1, 2], DataError, r"label 1 is -1.*0 to 2"),
    "float labels": (np.eye(3), [0.0, 1.0, 2.0], DataError, r"float64 numbers.*an integer.*astype"),
    "no samples": (np.zeros((0, 3)), np.zeros(0, int), DataError, r"empty.*At least one.*Check the path"),
    "another length": (np.eye(3), [0, 1], ShapeError, r"\(3, 3\) and labels \(2,\).*Expected \(N, K\).*class_probs"),
    "one dimension": (np.ones(3), [0, 1, 2], ShapeError, r"\(3,\).*Expected \(N, K\)"),
    "one class": (np.ones((3, 1)), [0, 0, 0], ShapeError, r"\(3, 1\).*two classes at least"),
    "NaN": (np.array([[0.5, 0.5], [np.nan, 0.5]]), [0, 1], DataError, r"1 of 2 rows.*row 1.*0 to 1.*learning rate"),
}


@pytest.mark.parametrize("case", THREE_PARTS)
def test_says_what_came_what_was_expected_and_what_to_do(case):
    probs, labels, kind, text = THREE_PARTS[case]
    with pytest.raises(kind, match=text):
        checked(probs, np.asarray(labels))


def test_refuses_data_that_are_not_in_memory():
    with pytest.raises(DataError, match=r"A SimpleNamespace came.*in memory.*in_memory"):
        class_probs(answering(None), SimpleNamespace(labels=[1]))


def test_refuses_images_and_labels_of_different_lengths():
    broken = data()
    broken.labels = broken.labels[:3]
    with pytest.raises(ShapeError, match=r"4 images and 3 labels"):
        class_probs(answering(None), broken)


def test_refuses_what_cannot_predict():
    with pytest.raises(DataError, match=r"A Linear came as model.*predict.*models.Model\(net\)"):
        class_probs(torch.nn.Linear(1, 1), data())


def test_of_several_labels_a_picture_each_answer_stands_for_itself():
    data = SimpleNamespace(images=np.zeros((2, 1, 4, 4), np.uint8), labels=np.eye(2, dtype=int), classes=("a", "b"))
    probs, logits = np.array([[0.9, 0.8], [0.1, 0.7]]), np.array([[0.0, 2.0], [-1.0, 9.0]])
    assert class_probs(SimpleNamespace(predict=lambda _: probs), data) == pytest.approx(probs)
    assert class_probs(SimpleNamespace(predict=lambda _: logits), data) == pytest.approx(1 / (1 + np.exp(-logits)))


def test_a_model_that_answers_numbers_has_no_right_and_wrong():
    model = lamina.Regressor("lenet5")
    data = SimpleNamespace(images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.zeros(4, int), classes=("a", "b"))
    for look in (explain.class_probs, explain.calibration):
        with pytest.raises(LaminaError, match=r"A Regressor came as model.*grad_cam"):
            look(model, data)
