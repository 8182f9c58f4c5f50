"""Networks beside one another, checked against published figures."""

import json

import pytest

from lamina import networks
from lamina.cli import main
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.models import sizes

# Multiply-adds in units of 10^9 as they are published for 224 px, and layers with weights as the papers count them.
PUBLISHED = {
    "alexnet": (0.71, 8),
    "vgg16": (15.5, 16),
    "googlenet": (1.5, 22),
    "resnet18": (1.8, 18),
    "resnet50": (4.1, 50),
    "densenet121": (2.8, 121),
    "mobilenet_v1": (0.57, 28),
    "mobilenet_v2": (0.30, 53),
    "squeezenet1_1": (0.35, 18),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_work_and_depth_are_the_published_ones(name):
    (row,) = sizes.compare([name]).rows
    work, depth = PUBLISHED[name]
    assert row.input_shape == (3, 224, 224)
    assert row.multiply_adds / 1e9 == pytest.approx(work, rel=0.02)
    assert row.depth == depth


def test_fields_and_memory_are_the_known_ones():
    alexnet, vgg = sizes.compare(["alexnet", "vgg16"]).rows
    assert (alexnet.sees_px, vgg.sees_px) == ((195, 195), (212, 212))  # Araujo 2019, table 1
    # The convolutions' and pools' maps of the paper's table, and the class layers: ReLU works in place.
    maps = 2 * 64 * 224**2 + (64 + 2 * 128) * 112**2 + (128 + 3 * 256) * 56**2 + (256 + 3 * 512) * 28**2
    maps += (512 + 3 * 512) * 14**2 + 2 * 512 * 7**2  # the last pool's twice: for other sizes it is averaged to 7 x 7
    assert vgg.activation_bytes == 4 * (maps + 2 * 4096 + 1000)
    assert vgg.top1 == pytest.approx(71.592)


def test_a_common_size_may_be_given():
    (row,) = sizes.compare(["squeezenet1_1"], size=64).rows
    assert row.input_shape == (3, 64, 64)
    assert row.multiply_adds < 0.1e9


def test_each_has_its_own_usual_pictures():
    assert sizes.usual_shape("resnet50") == (3, 224, 224)
    assert sizes.usual_shape("cifar_resnet20") == (3, 32, 32)
    assert sizes.usual_shape("lenet5") == (1, 32, 32)
    assert sizes.usual_shape("fastconvnet") == (1, 28, 28)


def test_every_network_can_be_compared_without_drawing_weights():
    rows = sizes.compare(["lenet5", "cifar_resnet20", "nin_cifar", "airbench", "deepconvnet"]).rows
    for row in rows:
        net = networks.create(row.network, in_channels=row.input_shape[0])
        assert row.parameters == sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_fits_the_terminal(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = str(sizes.compare(["cifar_resnet20", "squeezenet1_1"]))
    assert max(map(len, text.splitlines())) <= width
    assert ("training" in text.splitlines()[1]) == (width >= 100)
    left_out = {60: "input, sees px, memory, training", 80: "input, training", 100: ""}[width]
    assert " ".join(text.split()).partition("no room for: ")[2] == (left_out and f"{left_out}.")
    assert ("memory:" in text) == (width >= 80)
    for part in ("cifar_resnet20", "269,722", "40.6 M", "91.73"):
        assert part in text


def test_the_command_prints_the_table_or_json(monkeypatch, capsys):
    for words, code in ((["fastconvnet", "lenet5", "--json"], 0), (["fastconvnet"], 0), (["lenet6"], 2)):
        monkeypatch.setattr("sys.argv", ["lamina", "compare", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == code
        printed = capsys.readouterr()
        if "--json" in words:
            assert [row["network"] for row in json.loads(printed.out)["networks"]] == words[:2]
        elif code:
            assert "lenet5" in printed.err
        else:
            assert "62,290" in printed.out


@pytest.mark.parametrize(
    ("names", "size", "error", "says"),
    [
        ([], None, LaminaError, "No network was named"),
        (["vgg"], None, UnknownNameError, "vgg16"),
        (["squeezenet1_1"], 0, LaminaError, "size is 0"),
        (["squeezenet1_1"], 4, ShapeError, "smallest"),
    ],
)
def test_bad_input_is_named(names, size, error, says):
    with pytest.raises(error, match=says):
        sizes.compare(names, size=size)
