"""Answers of every shape are drawn: what a server would say is put in its place, and the page is looked at."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

WIDE, TALL = 400, 200


@pytest.fixture
def told(visit: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    """`told(result)` is a page whose grey picture of 400 x 200 was answered with that result."""

    def answered(result: dict[str, Any], **settings: Any) -> Any:
        def prepare(page: Any) -> None:
            page.route("**/predict", lambda route: route.fulfill(json={"results": [result], "took_ms": 12.3}))

        page = visit("digits", prepare=prepare, **settings)
        written = io.BytesIO()
        Image.new("RGB", (WIDE, TALL), (90, 90, 90)).save(written, "PNG")
        page.set_input_files("#file", {"name": "grey.png", "mimeType": "image/png", "buffer": written.getvalue()})
        expect(page.locator("#timing")).to_contain_text("server 12 ms")
        return page

    return answered


def test_boxes_lie_where_they_are_said_to(told: Callable[..., Any], shot: Callable[..., None]) -> None:
    boxes = [[20, 30, 220, 150], [300, 50, 390, 190]]
    page = told({"boxes_xyxy": boxes, "labels": ["cat", "sofa"], "scores": [0.983, 0.61]})
    frame = page.locator("#shown").bounding_box()
    drawn = page.locator("#marks rect:not(.under)")
    expect(drawn).to_have_count(2)
    scale = frame["width"] / WIDE
    for index, (x, y, x1, y1) in enumerate(boxes):
        seen = drawn.nth(index).bounding_box()
        assert seen["x"] == pytest.approx(frame["x"] + x * scale, abs=3)
        assert seen["y"] == pytest.approx(frame["y"] + y * scale, abs=3)
        assert (seen["width"], seen["height"]) == pytest.approx(((x1 - x) * scale, (y1 - y) * scale), abs=6)
    expect(page.get_by_role("table", name="Objects found").get_by_role("rowheader")).to_have_text(["1cat", "2sofa"])
    expect(page.locator("#status")).to_have_text("2 objects: cat, sofa.")
    expect(page.locator("#frame .tag")).to_have_text(["1 cat", "2 sofa"])
    shot(page, "boxes")


def test_masks_cover_outlines_and_runs(told: Callable[..., Any], shot: Callable[..., None]) -> None:
    half = {"size": [TALL, WIDE], "counts": [TALL * WIDE // 2, TALL * WIDE // 2]}  # the right half, in COCO's runs
    page = told(
        {"masks": [[[10, 10, 110, 10, 110, 90, 10, 90]], half], "labels": ["cat", "sofa"], "scores": [0.9, 0.8]}
    )
    expect(page.locator("#masks")).to_be_visible()
    alpha = """points => {
      const { width, height } = document.querySelector("#masks");
      const { data } = document.querySelector("#masks").getContext("2d").getImageData(0, 0, width, height);
      return points.map(([x, y]) => data[4 * (y * width + x) + 3]);
    }"""
    assert page.evaluate(alpha, [[50, 50], [150, 50], [50, 150], [250, 100]]) == [255, 0, 0, 255]
    shot(page, "masks")


def test_nothing_found_is_said(told: Callable[..., Any]) -> None:
    page = told({"boxes_xyxy": [], "labels": [], "scores": []})
    expect(page.locator("#answer .headline")).to_have_text("nothing found")
    expect(page.locator("#status")).to_have_text("Nothing found.")


def test_numbers_stand_in_a_table_with_their_names(told: Callable[..., Any]) -> None:
    page = told({"values": {"age in years": 7.25, "weight in kg": 4.123456}})
    expect(page.get_by_role("table", name="Numbers").get_by_role("row")).to_have_text(
        ["age in years7.25", "weight in kg4.1235"]
    )


def test_none_of_these_is_no_class(told: Callable[..., Any], shot: Callable[..., None]) -> None:
    top = [{"label": "tabby", "probability": 0.31}, {"label": "a lynx in the snow", "probability": 0.22}]
    page = told({"label": "none of these", "index": None, "probability": 0.31, "threshold": 0.6, "top": top})
    expect(page.locator("#answer .headline")).to_have_text("none of these")
    expect(page.locator("#chip")).to_have_text("none of these")
    expect(page.locator("#status")).to_have_text("none of these. Nearest: tabby, 31.00 %.")
    assert page.evaluate("[...document.querySelectorAll('.bar b')].map(line => line.style.left)") == ["60%", "60%"]
    shot(page, "none")


def test_several_labels_are_all_the_answer(told: Callable[..., Any]) -> None:
    top = [{"label": name, "probability": p} for name, p in (("cat", 0.91), ("cushion", 0.7), ("dog", 0.1))]
    page = told({"labels": {"cat": 0.91, "cushion": 0.7}, "threshold": 0.5, "top": top})
    expect(page.locator("#answer .headline")).to_have_text("cat, cushion")
    expect(page.locator("#answer tr.is th")).to_have_text(["cat", "cushion"])


def test_a_caption_is_read_out(told: Callable[..., Any]) -> None:
    page = told({"caption": "a cat on a cushion"})
    expect(page.locator("#answer blockquote")).to_have_text("a cat on a cushion")
    expect(page.locator("#status")).to_have_text("a cat on a cushion.")


def test_names_from_a_model_are_text_and_never_markup(told: Callable[..., Any]) -> None:
    trap = "<img src=x onerror=alert(1)>"
    page = told({"label": trap, "index": 0, "probability": 0.9, "top": [{"label": trap, "probability": 0.9}]})
    expect(page.locator("#answer .headline")).to_have_text(trap)
    assert page.locator("#answer img").count() == 0


def test_what_no_rule_knows_is_listed(told: Callable[..., Any]) -> None:
    page = told({"sharpness": 0.4, "corners": [[1, 2], [3, 4]]})
    expect(page.locator("#answer dl > div")).to_have_text(["sharpness0.4", "corners1, 2, 3, 4"])


def test_a_long_answer_does_not_widen_a_phone(told: Callable[..., Any]) -> None:
    top = [{"label": "a-class-whose-name-has-no-place-to-break-" * 3, "probability": 0.99}]
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    page = told({"label": top[0]["label"], "index": 0, "probability": 0.99, "top": top}, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
