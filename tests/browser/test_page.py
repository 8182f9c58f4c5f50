"""The page as a person meets it: pictures come in by every way there is, and what the server says is seen, and heard."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

SEVEN = (((0.3, 0.25), (0.7, 0.25), (0.48, 0.8)),)
FOUR = (((0.4, 0.2), (0.3, 0.55), (0.7, 0.55)), ((0.62, 0.25), (0.6, 0.85)))
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
LABEL, STATUS, TROUBLE = "#answer .headline", "#status", "#trouble .trouble"


def picture(colour: str, *, size: tuple[int, int] = (320, 200), kind: str = "JPEG") -> bytes:
    """A photo-like picture in which one colour prevails."""
    noise = np.random.default_rng(1).integers(0, 90, (size[1], size[0], 3)).astype(np.uint8)
    noise[..., ("red", "green", "blue").index(colour)] += 150
    written = io.BytesIO()
    Image.fromarray(noise).save(written, kind)
    return written.getvalue()


def upload(page: Any, name: str, content: bytes, *, kind: str = "image/jpeg") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def draw(page: Any, strokes: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draws with the mouse; points are shares of the pad."""
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=6)
        page.mouse.up()


def says(page: Any, label: str, *, where: str = LABEL) -> None:
    page.locator(where).filter(has_text=label).wait_for(state="attached")


def unnamed(page: Any) -> list[str]:
    """What a screen reader would meet without a name: the browser's own tree of accessibility."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    wanted = {
        "button",
        "textbox",
        "image",
        "img",
        "link",
        "table",
        "list",
        "region",
        "group",
        "DisclosureTriangle",
        "video",
    }
    return [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node.get("role", {}).get("value") in wanted
        and not node.get("name", {}).get("value")
        and node["role"]["value"] not in ("list", "group")
    ]


def test_a_seven_drawn_with_the_mouse_is_a_seven(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("digits")
    shot(page, "start")
    draw(page, SEVEN)
    says(page, "7")
    says(page, "7, ", where=STATUS)
    assert "server" in page.inner_text("#timing")
    assert "transfer" in page.inner_text("#timing")
    shot(page, "drawn")


def test_a_small_drawing_in_a_corner_is_read_too(visit: Callable[..., Any]) -> None:
    page = visit("digits")
    draw(page, [[(0.04 + 0.3 * x, 0.04 + 0.3 * y) for x, y in stroke] for stroke in SEVEN])
    says(page, "7")


def test_strokes_of_one_drawing_are_one_picture_and_undo_takes_the_last(visit: Callable[..., Any]) -> None:
    page = visit("digits")
    draw(page, FOUR)
    says(page, "4")
    sure = page.locator("#answer .sure")
    before = sure.inner_text()
    draw(page, [[(0.2, 0.9), (0.8, 0.9)]])
    expect(sure).not_to_have_text(before)
    assert page.locator("#last li").count() == 1
    page.click("#undo")
    expect(sure).to_have_text(before)
    page.click("#clear")
    assert page.locator(LABEL).count() == 0
    draw(page, SEVEN)
    says(page, "7")
    assert page.locator("#last li").count() == 2


def test_a_finger_draws_on_a_phone_without_scrolling(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("digits", **PHONE)
    touch = page.context.new_cdp_session(page)
    box = page.locator("#pad").bounding_box()
    for index, (x, y) in enumerate(SEVEN[0]):
        at = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if index else "touchStart", "touchPoints": [at]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    says(page, "7")
    assert page.evaluate("scrollY") == 0
    shot(page, "phone-drawn")


@pytest.mark.parametrize("server", ["digits", "colours"])
def test_a_phone_has_no_sideways_scrolling_and_large_buttons(
    visit: Callable[..., Any], shot: Callable[..., None], server: str
) -> None:
    page = visit(server, color_scheme="dark", **PHONE)
    upload(page, "a-rather-long-name-of-a-photo-from-a-phone-20260101.jpg", picture("green"))
    page.wait_for_selector(LABEL)
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    sizes = page.evaluate(
        "[...document.querySelectorAll('button, summary, input:not([type=file])')].filter(each => each.offsetWidth)"
        ".map(each => [each.textContent, each.offsetWidth, each.offsetHeight])"
    )
    assert len(sizes) >= 4
    assert [size for size in sizes if min(size[1:]) < 44] == []
    page.click("summary")
    shot(page, f"phone-{server}")


def test_an_uploaded_photo_is_answered_and_kept(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("colours")
    upload(page, "leaf.jpg", picture("green"))
    says(page, "green")
    upload(page, "sea.png", picture("blue", kind="PNG"), kind="image/png")
    says(page, "blue")
    says(page, "blue", where="#chip")
    assert page.locator("#last li").count() == 2
    page.get_by_role("button", name="leaf.jpg").click()
    says(page, "green")
    says(page, "green", where="#chip")
    assert page.get_by_role("img", name="leaf.jpg: green").count() == 1
    rows = page.get_by_role("table", name="Most probable classes").get_by_role("row")
    assert rows.count() == 3
    shot(page, "photo")


def test_a_picture_is_pasted(visit: Callable[..., Any]) -> None:
    page = visit("colours", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("""async () => {
      const sheet = Object.assign(document.createElement("canvas"), { width: 90, height: 60 });
      const pen = sheet.getContext("2d");
      pen.fillStyle = "rgb(40 40 200)";
      pen.fillRect(0, 0, 90, 60);
      const blob = await new Promise((done) => sheet.toBlob(done, "image/png"));
      await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }""")
    page.keyboard.press("Control+V")
    says(page, "blue")


def test_a_picture_is_dropped_anywhere(visit: Callable[..., Any]) -> None:
    page = visit("colours")
    files = page.evaluate_handle(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
          return data;
        }""",
        list(picture("red", size=(60, 40))),
    )
    page.dispatch_event("footer", "dragenter", {"dataTransfer": files})
    assert page.is_visible("#drop")
    page.dispatch_event("footer", "drop", {"dataTransfer": files})
    assert not page.is_visible("#drop")
    says(page, "red")


def test_something_else_that_is_dropped_is_named(visit: Callable[..., Any]) -> None:
    page = visit("colours")
    text = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.setData('text/plain', 'hello'); return data; }"
    )
    page.dispatch_event("body", "drop", {"dataTransfer": text})
    says(page, "No picture was in it.", where=TROUBLE)


def test_a_photograph_is_taken_by_the_camera(visit: Callable[..., Any]) -> None:
    page = visit("colours")  # Chromium's stand-in camera shows a green field
    page.click("#photograph")
    expect(page.locator("#video")).to_have_js_property("videoWidth", 640)
    page.click("#shoot")
    says(page, "green")
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_without_a_camera_a_file_remains(visit: Callable[..., Any]) -> None:
    denied = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }"
    page = visit("colours", prepare=lambda page: page.add_init_script(denied))
    page.click("#photograph")
    says(page, "No camera could be opened.", where=TROUBLE)
    upload(page, "leaf.jpg", picture("green"))
    says(page, "green")
    assert page.locator(TROUBLE).count() == 0


def test_a_phone_uses_its_own_camera(visit: Callable[..., Any]) -> None:
    page = visit("colours", **PHONE)
    with page.expect_file_chooser() as chosen:
        page.tap("#photograph")
    assert chosen.value.element.get_attribute("capture") == "environment"
    chosen.value.set_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": picture("red")})
    says(page, "red")


def test_a_broken_file_is_named_as_the_server_names_it(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("colours")
    upload(page, "leaf.jpg", picture("green"))
    says(page, "green")
    with page.expect_response("**/predict") as answered:
        upload(page, "half.jpg", picture("green")[:2000])
    assert answered.value.status == 422
    message = answered.value.json()["error"]["message"]
    assert "half.jpg" in message
    says(page, message, where=TROUBLE)
    assert page.get_by_role("alert").filter(has_text=message).count() == 1
    assert page.locator(LABEL).count() == 0  # no older answer beside the new picture
    shot(page, "broken")
    page.get_by_role("button", name="leaf.jpg").click()
    says(page, "green")
    assert page.locator(TROUBLE).count() == 0


def test_a_huge_file_is_not_even_sent(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("colours")
    before = len(page.watch.requests)
    upload(page, "huge.jpg", picture("red") + bytes(3_000_000))
    says(page, "The picture has 3.0 MB. At most 2.0 MB are taken.", where=TROUBLE)
    assert [url for url in page.watch.requests[before:] if url.endswith("/predict")] == []
    shot(page, "huge")


def test_a_huge_file_is_refused_by_the_server_in_its_words(visit: Callable[..., Any]) -> None:
    def forget_limits(page: Any) -> None:
        page.route("**/model", lambda route: route.fulfill(json={"name": "colours", "engine": "any", "classes": []}))

    page = visit("colours", prepare=forget_limits)
    upload(page, "huge.jpg", picture("red") + bytes(3_000_000))
    says(page, "At most 2 MB are taken.", where=TROUBLE)
    upload(page, "small.jpg", picture("red"))
    says(page, "red")


def test_the_server_wants_its_token_and_gets_it(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("colours", known=False)
    page.wait_for_selector("#token:focus")
    upload(page, "leaf.jpg", picture("green"))
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    page.get_by_label("Token").fill("open")
    page.keyboard.press("Enter")
    says(page, "a wrong one", where=TROUBLE)
    shot(page, "token")
    page.get_by_label("Token").fill("sesame")
    page.get_by_role("button", name="Use it").click()
    says(page, "green")  # the picture that waited
    assert not page.is_visible("#token-form")
    assert page.title() == "colours"


def test_all_goes_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit("colours")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Choose a picture"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files(
        [{"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": picture(name)} for name in ("red", "green")]
    )
    says(page, "green")
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().split(' ')[0]"))
    assert reached == ["Photograph", "Show", "green", "red", "About"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    says(page, "red")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


def test_a_screen_reader_finds_names_and_hears_answers(visit: Callable[..., Any]) -> None:
    page = visit("digits")
    assert unnamed(page) == []
    draw(page, SEVEN)
    says(page, "7, ", where=STATUS)
    upload(page, "seven.png", picture("red", kind="PNG"), kind="image/png")
    expect(page.locator("#last li")).to_have_count(2)
    assert unnamed(page) == []
    tree = page.locator("body").aria_snapshot()
    for part in (
        "- banner",
        "- main",
        "- contentinfo",
        '- region "Picture"',
        '- region "Answer"',
        "- status",
        "- alert",
    ):
        assert part in tree
    assert '- table "Most probable classes"' in tree


def test_where_it_looked_is_drawn_behind_the_answer(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    page = visit("digits", color_scheme="dark")
    draw(page, SEVEN)
    says(page, "7")
    look = page.get_by_role("button", name="Show where it looked")
    with page.expect_response("**/explain") as explained:
        look.click()
    page.wait_for_selector("#heat:visible")
    assert max(map(max, explained.value.json()["map"])) == 1.0
    assert look.get_attribute("aria-pressed") == "true"
    warm = page.evaluate("""() => {
      const sheet = document.querySelector("#heat");
      return sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height).data.filter((_, at) => at % 4 === 0)
        .reduce((most, red) => Math.max(most, red), 0);
    }""")
    assert warm > 100
    shot(page, "looked")
    look.click()
    assert not page.is_visible("#heat")
    page.get_by_role("button", name="Draw", exact=True).click()
    assert page.is_visible("#pad")  # with the drawing still on it
    assert page.is_enabled("#undo")


def test_colours_follow_the_scheme_and_stay_readable(visit: Callable[..., Any], shot: Callable[..., None]) -> None:
    seen = []
    for scheme in ("light", "dark"):
        page = visit("colours", color_scheme=scheme)
        upload(page, "leaf.jpg", picture("green"))
        says(page, "green")
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(CONTRASTS) == []
        shot(page, f"{scheme}")
    assert seen == ["rgb(250, 249, 246)", "rgb(21, 20, 18)"]


def test_nothing_moves_for_those_who_ask_for_that(visit: Callable[..., Any]) -> None:
    page = visit("colours", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.querySelector('#answer')).transitionDuration") in ("0s", "")


def test_a_server_that_is_gone_is_said_to_be(visit: Callable[..., Any]) -> None:
    page = visit(
        "digits", prepare=lambda page: page.route("**/predict", lambda route: route.abort("connectionrefused"))
    )
    draw(page, SEVEN)
    says(page, "The server cannot be reached.", where=TROUBLE)
    page.watch.faults.remove("error: Failed to load resource: net::ERR_CONNECTION_REFUSED")


# Texts of less contrast than 4.5 : 1 against the nearest background below them (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !element.offsetWidth || element.closest(".unseen, :disabled")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""
