// What was found where: boxes with a slider for the least score, maps of classes with one for the opacity, both drawn and listed.

import { count, headline, make, named } from "./page_answer.js";

const COLOURS = ["#ffb000", "#4cc9f0", "#f15bb5", "#9be15d", "#c8a2ff", "#ff7a3d", "#2ec4b6", "#ffe45c"]; // where the server tells none
const SHEET = 1600; // px: the longer side of what masks are drawn on
const NAMED = 8; // boxes of which each has its name on the picture; of more the number alone
const chosen = { least: 50, cover: 55 }; // %: what the sliders say, for all pictures

// To two digits or so; never rounded up to 100 nor down to 0 when it is neither.
function percent(share) {
  const text = (100 * share).toFixed(share < 0.0995 ? 1 : 0);
  if (text === "100" && share < 1) return "> 99 %";
  return text === "0.0" && share > 0 ? "< 0.1 %" : `${text.replace(/\.0$/, "")} %`;
}

export const locates = (result) => Boolean(result.detections || result.areas);

// The objects that are certain enough, most certain first.
export function objects(result, { classes = [], colours = COLOURS } = {}) {
  const own = classes.length < 2; // of one class each object has a colour of its own
  return (result.detections ?? []).filter(({ score }) => 100 * score >= chosen.least)
    .map((each, row) => ({ ...each, colour: colours[own ? row % colours.length : each.index % colours.length] ?? COLOURS[row % COLOURS.length] }));
}

// { short: on the picture, spoken: for a screen reader, none: nothing was found }
export function told(result, card) {
  if (result.areas) {
    const parts = result.areas.map(({ label, share }) => `${label} ${percent(share)}`).join(", ");
    return { short: "", named: result.areas[0]?.label ?? "no class", spoken: parts ? `${count(result.areas.length, "class", "es")}: ${parts}` : "No class" };
  }
  const list = objects(result, card);
  if (!list.length) return { short: "nothing found", spoken: `Nothing found of ${chosen.least} % or more`, none: true };
  return { short: "", named: count(list.length, "object"), spoken: `${count(list.length, "object")}: ${list.map(({ label, box_xyxy }) => `${label} ${where(box_xyxy, result)}`).join(", ")}` };
}

// The elements that say it; `changed(is last)` is called where a slider moves.
export function found(result, card, changed) {
  return result.areas ? areas(result, card, changed) : boxes(result, card, changed);
}

function boxes(result, card, changed) {
  const head = make("div", {});
  const body = make("tbody", {});
  const titles = make("tr", {}, ...["Object", "Where", "Score"].map((title) => make("th", { scope: "col", class: { Where: "where", Score: "number" }[title] }, title)));
  const table = make("table", { "aria-label": "Objects found" }, make("thead", {}, titles), body);
  const fill = () => {
    const list = objects(result, card);
    const less = result.detections.length - list.length;
    head.replaceChildren(...headline(list.length ? count(list.length, "object") : "nothing found", less ? `and ${less} less certain` : ""));
    table.hidden = !list.length;
    body.replaceChildren(...list.map(({ label, score, box_xyxy, colour }, row) => {
      const line = make("tr", { class: "below" }, named("th", { scope: "row" }, label, tagged("tag", colour, String(row + 1))),
        make("td", { class: "where" }, where(box_xyxy, result), " ", make("span", { class: "quiet" }, extent(box_xyxy))), make("td", { class: "number" }, percent(score)));
      for (const [event, on] of [["mouseenter", true], ["mouseleave", false]]) line.addEventListener(event, () => point(row, on));
      return line;
    }));
  };
  fill();
  if (!result.detections.length) return [head];
  return [head, slider("Least score", "least", 1, (last) => { fill(); changed(last); }), table];
}

function areas(result, { colours = COLOURS }, changed) {
  const head = headline(result.areas.length ? count(result.areas.length, "class", "es") : "no class", "");
  const rows = result.areas.map(({ label, index, share, confidence }) => {
    const fill = make("i");
    Object.assign(fill.style, { width: `${100 * share}%`, background: colours[index % colours.length] });
    return make("tr", { class: "below" }, named("th", { scope: "row" }, label, tagged("swatch", colours[index % colours.length], "")),
      make("td", { class: "line", "aria-hidden": "true" }, make("div", { class: "bar" }, fill)), make("td", { class: "number" }, percent(share)),
      make("td", { class: "number" }, confidence === undefined ? "" : percent(confidence)));
  });
  const titles = ["Class", "", "Of the picture", "Certainty"].map((title, place) => make(title ? "th" : "td", { scope: title ? "col" : undefined, class: place > 1 ? "number" : undefined }, title));
  const none = result.unlabelled_px ? [make("p", { class: "quiet" }, `${percent(result.unlabelled_px / (result.height * result.width))} have no class.`)] : [];
  const table = make("table", { "aria-label": "Classes in the picture", class: "legend" }, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...rows));
  return [...head, slider("Opacity of the colours", "cover", 0, changed), table, ...none];
}

function slider(title, name, least, changed) {
  const said = make("output", { for: name }, `${chosen[name]} %`);
  const input = make("input", { type: "range", id: name, min: least, max: 100, step: 1, value: chosen[name], "aria-valuetext": `${chosen[name]} %` });
  const move = (last) => {
    chosen[name] = Number(input.value);
    said.textContent = `${chosen[name]} %`;
    input.setAttribute("aria-valuetext", said.textContent);
    changed(last);
  };
  input.addEventListener("input", () => move(false));
  input.addEventListener("change", () => move(true));
  return make("div", { class: "slider" }, make("label", { for: name }, title), input, said);
}

// A coloured label; its text is black or white, whichever is read better.
function tagged(kind, colour, text) {
  const tag = make("span", { class: kind, "aria-hidden": kind === "swatch" ? "true" : undefined }, text);
  const light = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  Object.assign(tag.style, { background: colour, color: light > 0.179 ? "#000" : "#fff" });
  return tag;
}

// In which ninth of the picture the middle of a box lies, in words.
function where([x, y, x1, y1], { width, height }) {
  if (!width) return "";
  const third = (middle, whole, names) => names[Math.min(Math.max(Math.floor((3 * middle) / whole), 0), 2)];
  const words = [third((y + y1) / 2, height, ["top", "", "bottom"]), third((x + x1) / 2, width, ["left", "", "right"])];
  return words.filter(Boolean).join(" ") || "middle";
}

const extent = ([x, y, x1, y1]) => `${Math.round(x1 - x)} × ${Math.round(y1 - y)} px`;

function point(row, on) {
  document.querySelectorAll("#marks rect:not(.under)")[row]?.classList.toggle("on", on);
}

// Boxes and masks on the picture, in its own pixels; nothing where there is no result.
export function mark(frame, result, card, [width, height]) {
  const [svg, sheet] = [frame.querySelector("svg"), frame.querySelector("#masks")];
  [width, height] = [result?.width ?? width, result?.height ?? height];
  frame.querySelectorAll(".tag").forEach((tag) => tag.remove());
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  sheet.hidden = !result?.areas;
  sheet.style.opacity = chosen.cover / 100;
  if (result?.areas && sheet.of !== result) drawMasks(sheet, result, card.colours ?? COLOURS);
  sheet.of = result;
  const list = objects(result ?? {}, card);
  list.forEach(({ box_xyxy: [x, y, x1, y1], colour, label }, row) => {
    const place = { x, y, width: Math.max(x1 - x, 0), height: Math.max(y1 - y, 0) };
    svg.append(make("rect", { ...place, class: "under" }), make("rect", { ...place, stroke: colour }));
    const tag = tagged("tag", colour, list.length > NAMED ? String(row + 1) : `${row + 1} ${label}`);
    tag.setAttribute("aria-hidden", "true");
    Object.assign(tag.style, { inset: "auto", left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%`, margin: "0" });
    if (y > 0.09 * height) tag.style.translate = "0 -100%"; // above the box, where there is room
    if (x > 0.7 * width) Object.assign(tag.style, { left: "auto", right: `${100 - (100 * Math.min(x1, width)) / width}%` });
    frame.append(tag);
  });
}

// Each class's pixels in its colour, at most SHEET of them a side: the pixel in the middle of each is looked up.
function drawMasks(sheet, { areas: list, height, width }, colours) {
  const scale = Math.min(1, SHEET / Math.max(width, height));
  [sheet.width, sheet.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const context = sheet.getContext("2d");
  const pixels = context.createImageData(sheet.width, sheet.height);
  const lines = new Int32Array(width).fill(-1); // the column of the sheet that shows a column of the picture
  for (let x = 0; x < sheet.width; x++) lines[Math.min(Math.floor(((x + 0.5) * width) / sheet.width), width - 1)] = x;
  const first = (row) => Math.ceil((row * sheet.height) / height - 0.5);
  for (const { mask, index } of list) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colours[index % colours.length].slice(at, at + 2), 16));
    let from = 0;
    runs(mask?.counts ?? []).forEach((run, turn) => {
      for (let at = from, left = turn % 2 ? run : 0; left > 0;) {
        const [column, row] = [Math.floor(at / height), at % height];
        const tall = Math.min(left, height - row);
        for (let y = first(row); lines[column] >= 0 && y < first(row + tall); y++) pixels.data.set([red, green, blue, 255], 4 * (y * sheet.width + lines[column]));
        at += tall;
        left -= tall;
      }
      from += run;
    });
  }
  context.putImageData(pixels, 0, 0);
}

// COCO's runs: how many pixels are outside, inside, outside ... down the columns from the left; as a text each number is its
// difference to the one two before it, in digits of 5 bits, lowest first, as characters from the digit 0 on, with bit 6 where more follow.
function runs(counts) {
  if (Array.isArray(counts)) return counts;
  const told = [];
  for (let at = 0; at < counts.length;) {
    let [value, bits, digit] = [0, 0, 32];
    for (; digit & 32; bits += 5) {
      digit = counts.charCodeAt(at++) - 48;
      value |= (digit & 31) << bits;
    }
    if (digit & 16 && bits < 32) value |= -1 << bits;
    told.push(value + (told.length > 2 ? told[told.length - 2] : 0));
  }
  return told;
}
