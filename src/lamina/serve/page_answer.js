// The answer: what a result's JSON says, as text, as a table, and as marks on its picture. It asks what is there, not which task it was.

import { found, locates, told } from "./page_found.js";

const KNOWN = new Set(["path", "label", "index", "probability", "threshold", "top", "labels", "values", "caption", "text",
  "detections", "areas", "height", "width", "unlabelled_px"]);
const ENDLESS = 24; // characters of a word that may break where it must, for no line of a phone holds it
const DETAILS = 12; // of what no other rule shows

export function make(tag, attributes = {}, ...children) {
  const element = tag === "rect" ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

// As a person writes it; never rounded up to 100 nor down to 0 when it is neither.
export function percent(share) {
  const rounded = Math.round(share * 10000) / 100;
  if (rounded >= 100 && share < 1) return "> 99.99 %";
  if (rounded <= 0 && share > 0) return "< 0.01 %";
  return `${rounded.toFixed(2)} %`;
}

const number = (value) => new Intl.NumberFormat("en", { maximumSignificantDigits: 5 }).format(value);
export const count = (many, noun, plural = "s") => `${many} ${noun}${many === 1 ? "" : plural}`;
const words = (text) => text.split(/[\s\-–—]+/);

// An element with a name in it, which breaks between words, after _ / . and :, and inside no word that fits a line.
export function named(tag, attributes, text, ...before) {
  const parts = text.split(/(?<=[_/.:])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));
  const longest = Math.max(...words(text).flatMap((word) => word.split(/[_/.:]/)).map(({ length }) => length));
  const kind = [attributes.class, longest > ENDLESS && "endless"].filter(Boolean).join(" ");
  return make(tag, { ...attributes, class: kind || undefined }, ...before, ...parts);
}

// { short: on the picture, named: below a small one, spoken: for a screen reader, none: nothing was recognised }
export function summary(result, card = {}) {
  const asked = Object.entries(result.values ?? {});
  if (typeof (result.caption ?? result.text) === "string") return { short: "", spoken: result.caption ?? result.text };
  if (locates(result)) return told(result, card);
  if (asked.length) {
    const told = asked.map(([name, value]) => `${name} ${number(value)}`).join(", ");
    return { short: asked.length > 2 ? "" : told, spoken: told };
  }
  if (result.labels && !Array.isArray(result.labels)) {
    const said = Object.keys(result.labels).join(", ");
    return { short: said || "none of these", spoken: said || "None of these", none: !said };
  }
  if (result.label === undefined) return { short: "", spoken: "Answered" };
  const none = result.index === null;
  const spoken = none ? `${result.label}. Nearest: ${result.top?.[0]?.label}` : result.label;
  const sure = percent(result.probability);
  return { short: none ? result.label : `${result.label}  ${sure}`, named: result.label, spoken: `${spoken}, ${sure}`, none };
}

// The right-hand side: the elements that say all of the result.
export function described(result, card = {}, changed = () => {}) {
  const parts = [];
  const text = result.caption ?? result.text;
  if (typeof text === "string") parts.push(make("blockquote", {}, text));
  if (result.top) parts.push(...bars(result));
  if (result.values) parts.push(...values(result.values));
  if (locates(result)) parts.push(...found(result, card, changed));
  const rest = Object.entries(result).filter(([name]) => !KNOWN.has(name)).slice(0, DETAILS);
  if (rest.length) parts.push(facts(Object.fromEntries(rest)));
  return parts;
}

export function headline(text, below) {
  const head = named("p", { class: `headline${text.length > 12 ? " long" : ""}` }, text);
  head.style.setProperty("--longest", Math.max(...words(text).map(({ length }) => length))); // so large that no word breaks
  return [head, make("p", { class: "sure" }, below)];
}

function bars({ label, index, probability, threshold, top, labels }) {
  const several = labels && !Array.isArray(labels);
  const chosen = several ? Object.keys(labels) : [];
  const nearest = `nearest: ${top[0]?.label} ${percent(top[0]?.probability ?? 0)}`;
  let head = headline(label ?? "", index === null ? nearest : percent(probability ?? 0));
  if (several) head = headline(chosen.join(", ") || "none of these", chosen.length ? count(chosen.length, "label") : nearest);
  const below = several || index === null;
  const rows = top.map((row) => {
    const fill = make("i");
    fill.style.width = `${100 * Math.min(Math.max(row.probability, 0), 1)}%`;
    const bar = make("div", { class: "bar" }, fill);
    if (threshold) {
      const line = make("b");
      line.style.left = `${100 * threshold}%`;
      bar.append(line);
    }
    const kind = [below && "below", several && chosen.includes(row.label) && "is"].filter(Boolean).join(" ");
    return make("tr", { class: kind || undefined }, named("th", { scope: "row" }, row.label),
      make("td", { class: "line", "aria-hidden": "true" }, bar), make("td", { class: "number" }, percent(row.probability)));
  });
  const title = several ? "Probability of each label" : "Most probable classes";
  const kind = top.every(({ label: name }) => name.length <= 4) ? "short" : undefined;
  const parts = [...head, make("table", { class: kind, "aria-label": title }, make("tbody", {}, ...rows))];
  if (threshold) parts.push(make("p", { class: "quiet timing" }, `The line: what is less probable than ${number(100 * threshold)} % is not given as the answer.`));
  return parts;
}

function values(told) {
  const pairs = Object.entries(told);
  if (pairs.length === 1) return headline(number(pairs[0][1]), pairs[0][0]);
  const rows = pairs.map(([name, value]) => make("tr", { class: "below" }, named("th", { scope: "row" }, name), make("td", { class: "number" }, number(value))));
  return [make("table", { "aria-label": "Numbers" }, make("tbody", {}, ...rows))];
}

export function facts(pairs) {
  const text = (value) => {
    if (Array.isArray(value)) return value.map(text).join(", ");
    if (value && typeof value === "object") return Object.entries(value).map(([name, of]) => `${name.replaceAll("_", " ")}: ${text(of)}`).join(" · ");
    return typeof value === "number" ? number(value) : String(value ?? "–");
  };
  const short = (words) => (words.length > 600 ? `${words.slice(0, 600)} …` : words);
  const rows = Object.entries(pairs).map(([name, value]) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, short(text(value)))));
  return make("dl", { class: "facts" }, ...rows);
}

// { map: rows of 0 .. 1, box_xyxy: where they lie on the picture, in its pixels; all of it if it is not told }
export function drawHeat(sheet, { map, box_xyxy }, [wide, tall]) {
  const [x, y, x1, y1] = box_xyxy ?? [0, 0, wide, tall];
  const small = make("canvas");
  [small.width, small.height] = [map[0].length, map.length];
  const pixels = new ImageData(small.width, small.height);
  map.flat().forEach((value, index) => {
    const v = Math.min(Math.max(value, 0), 1);
    pixels.data.set([255, 70 + 170 * v, 20 + 60 * v * v, 190 * v ** 0.8], 4 * index);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const scale = Math.max(1, 560 / Math.max(wide, tall)) * Math.min(1, 1600 / Math.max(wide, tall));
  [sheet.width, sheet.height] = [Math.round(wide * scale), Math.round(tall * scale)];
  const context = sheet.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "rgb(0 0 0 / .35)";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.drawImage(small, x * scale, y * scale, (x1 - x) * scale, (y1 - y) * scale);
  sheet.hidden = false;
}
