from xml.etree import ElementTree

import pytest

from lamina import layers
from lamina.models.drawing import draw
from lamina.models.graph import Graph

SVG = "{http://www.w3.org/2000/svg}"


def inception():
    x = layers.Input((3, 8, 8), name="image")
    ways = [layers.Conv2D(4, size, padding="same", name=f"way{size}")(x) for size in (1, 3, 5)]
    joined = layers.Concatenate(name="join")([*ways, x])
    return Graph.from_symbols(x, layers.Dense(2, name="<out>")(layers.Flatten()(joined)))


@pytest.fixture
def drawing():
    return ElementTree.fromstring(draw(inception()).svg)


def boxes(drawing):
    return [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in drawing.iter(f"{SVG}rect")
        if rect.get("rx")
    ]


def test_every_layer_is_a_box_with_name_kind_and_shape(drawing):
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    for words in ("image: Input", "way3: Conv2D", "join: Concatenate", "(15, 8, 8)", "<out>: Dense", "(2,)"):
        assert words in texts
    assert len(boxes(drawing)) == 7


def test_boxes_do_not_overlap_and_stay_inside(drawing):
    found = boxes(drawing)
    width, height = float(drawing.get("width")), float(drawing.get("height"))
    for place, (x, y, w, h) in enumerate(found):
        assert x >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in found[place + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_every_use_of_a_result_is_an_arrow(drawing):
    assert len([path for path in drawing.iter(f"{SVG}path") if path.get("marker-end")]) == 3 + 4 + 1 + 1


def test_shows_itself_in_a_notebook():
    drawn = draw(inception())
    assert drawn._repr_svg_() == str(drawn) == drawn.svg
