"""A detector and a segmenter behind the page: sliders, lists and legends, for eyes, keyboard and screen reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
STATUS, SHOWN = "#status", "#marks rect:not(.under)"


def upload(page: Any, content: bytes) -> None:
    page.set_input_files("#file", {"name": "blocks.png", "mimeType": "image/png", "buffer": content})


def test_the_slider_says_how_certain_objects_must_be(
    visit: Callable[..., Any], shot: Callable[..., None], locating: Any
) -> None:
    page = visit("blocks", color_scheme="dark")
    upload(page, locating.blocks(size=(480, 320)))
    expect(page.locator(STATUS)).to_have_text("1 object: red block top left.")
    expect(page.locator(SHOWN)).to_have_count(1)
    slider = page.get_by_role("slider", name="Least score")
    assert slider.get_attribute("aria-valuetext") == "50 %"
    slider.focus()
    for _ in range(2):
        page.keyboard.press("PageDown")
    expect(page.locator(SHOWN)).to_have_count(2)
    expect(page.locator(STATUS)).to_have_text("2 objects: red block top left, blue block right.")
    rows = page.get_by_role("table", name="Objects found").get_by_role("rowheader")
    expect(rows).to_have_text(["1red block", "2blue block"])
    assert page.evaluate("document.activeElement.id") == "least"  # it is not made anew below the finger
    shot(page, "found")
    page.keyboard.press("End")
    expect(page.locator(STATUS)).to_have_text("Nothing found of 100 % or more.")
    expect(page.locator("#chip")).to_have_text("nothing found")
    assert page.locator("#look").is_hidden()  # there is no heat map to be shown


def test_a_map_lies_on_the_picture_with_a_legend(
    visit: Callable[..., Any], shot: Callable[..., None], locating: Any
) -> None:
    page = visit("fields")
    upload(page, locating.blocks(size=(480, 320)))
    legend = page.get_by_role("table", name="Classes in the picture")
    expect(legend.get_by_role("rowheader")).to_have_text(["green field", "red earth", "blue sky"])
    expect(page.locator(STATUS)).to_contain_text("3 classes: green field 73 %, red earth 14 %")
    colours = page.evaluate(
        """points => {
      const { width, height } = document.querySelector("#masks");
      const { data } = document.querySelector("#masks").getContext("2d").getImageData(0, 0, width, height);
      return points.map(([x, y]) => `rgb(${[...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)].join(", ")})`);
    }""",
        [[20, 300], [120, 100], [360, 160]],
    )
    swatches = page.evaluate("[...document.querySelectorAll('.swatch')].map(each => each.style.backgroundColor)")
    assert colours == swatches
    assert len(set(colours)) == 3
    slider = page.get_by_role("slider", name="Opacity of the colours")
    slider.focus()
    page.keyboard.press("Home")
    assert page.evaluate("getComputedStyle(document.querySelector('#masks')).opacity") == "0"
    page.keyboard.press("End")
    assert page.evaluate("getComputedStyle(document.querySelector('#masks')).opacity") == "1"
    slider.fill("55")
    shot(page, "map")


def test_both_fit_a_phone_in_the_dark(visit: Callable[..., Any], shot: Callable[..., None], locating: Any) -> None:
    for server in ("blocks", "fields"):
        page = visit(server, color_scheme="dark", **PHONE)
        upload(page, locating.blocks(size=(480, 320)))
        page.locator(".slider").wait_for()
        page.click("summary")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        expect(page.locator("#facts dt").first).to_be_visible()
        shot(page, f"phone-{server}")
