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


def box(label: str, score: float, *box_xyxy: float) -> dict[str, Any]:
    return {"label": label, "index": 0, "score": score, "box_xyxy": box_xyxy}


def test_boxes_lie_where_they_are_said_to(told: Callable[..., Any], shot: Callable[..., None]) -> None:
    boxes = [box("cat", 0.983, 20, 30, 220, 150), box("sofa", 0.61, 300, 50, 390, 190), box("dog", 0.4, 0, 0, 9, 9)]
    page = told({"height": TALL, "width": WIDE, "detections": boxes})
    frame = page.locator("#shown").bounding_box()
    drawn = page.locator("#marks rect:not(.under)")
    expect(drawn).to_have_count(2)  # the dog is less certain than the slider asks for
    scale = frame["width"] / WIDE
    for index in range(2):
        x, y, x1, y1 = boxes[index]["box_xyxy"]
        seen = drawn.nth(index).bounding_box()
        assert seen["x"] == pytest.approx(frame["x"] + x * scale, abs=3)
        assert seen["y"] == pytest.approx(frame["y"] + y * scale, abs=3)
        assert (seen["width"], seen["height"]) == pytest.approx(((x1 - x) * scale, (y1 - y) * scale), abs=6)
    table = page.get_by_role("table", name="Objects found")
    expect(table.get_by_role("rowheader")).to_have_text(["1cat", "2sofa"])
    expect(table.locator("td.where")).to_have_text(["left 200 × 120 px", "right 90 × 140 px"])  # noqa: RUF001
    expect(page.locator("#status")).to_have_text("2 objects: cat left, sofa right.")
    expect(page.locator("#frame .tag")).to_have_text(["1 cat", "2 sofa"])
    shot(page, "boxes")


def test_nothing_found_is_said(told: Callable[..., Any]) -> None:
    page = told({"height": TALL, "width": WIDE, "detections": []})
    expect(page.locator("#answer .headline")).to_have_text("nothing found")
    expect(page.locator("#status")).to_have_text("Nothing found of 50 % or more.")
    assert page.locator("#least").count() == 0


@pytest.mark.parametrize("width", [360, 740, 1000, 1200])
def test_names_break_between_words_and_in_none(told: Callable[..., Any], width: int) -> None:
    names = ["Staffordshire bullterrier", "n02093256_Staffordshire_bullterrier", "Nordic rhinoceros"]
    top = [{"label": name, "probability": 0.3} for name in names]
    page = told(
        {"label": names[0], "index": 0, "probability": 0.3, "top": top}, viewport={"width": width, "height": 800}
    )
    broken = page.evaluate("""() => [...document.querySelectorAll("#answer th, #answer .headline")].flatMap((element) => {
      const parts = [...element.childNodes].filter((node) => node.nodeType === 3);
      return parts.flatMap((node) => [...node.textContent.matchAll(/\\p{L}+/gu)].filter(({ 0: word, index }) => {
        const range = document.createRange();
        range.setStart(node, index);
        range.setEnd(node, index + word.length);
        return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1;
      }).map(({ 0: word }) => word));
    })""")
    assert broken == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
