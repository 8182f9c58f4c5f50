// The page's wiring: pictures come in by drop, paste, file, drawing or camera; each goes to the server; what it says is shown.

import { ask, hasToken, reason, Refusal, setToken } from "./page_ask.js";
import { described, drawHeat, facts, make, summary } from "./page_answer.js";
import { mark } from "./page_found.js";
import { makePad } from "./page_draw.js";

const at = (id) => document.getElementById(id);
const KEPT = 8; // pictures
const PAUSE_MS = 350; // after a stroke: a 4 has two
const AGAIN_MS = 1000;
const SMALL_PX = 96; // pictures up to here are enlarged without smoothing

let card = {}; // what GET model says
let entries = []; // the last pictures, newest first
let current = null;
let asking = null;
let refused = null; // the last picture without an answer
let drawing = {}; // a new object for each drawing, so that its next stroke replaces its answer
let camera = null;

// The model --------------------------------------------------------------------------------------------------------

async function learn() {
  try {
    const { body } = await ask("model");
    card = body;
  } catch (error) {
    return trouble(error);
  }
  if (!refused) trouble(null);
  const size = card.preprocess?.size ?? [];
  const kind = [card.kind ?? card.task, card.classes?.length && `${card.classes.length} classes`,
    size.length && `${size[1]} × ${size[0]} px ${card.preprocess.channels === 1 ? "grey" : "colour"}`, engine()];
  at("name").textContent = document.title = card.name ?? "Lamina";
  at("kind").textContent = kind.filter(Boolean).join(" · ");
  at("facts").replaceChildren(facts(about()));
  at("about").hidden = false;
  if (!at("empty").hidden && drawable()) show("pad");
  if (current?.result) at("answer-tools").hidden = !card.explains;
  if (card.engine === null) setTimeout(learn, AGAIN_MS); // it is still starting
}

// What a person may want to know of the model, in words; its layers are too many to read here.
function about() {
  const { name, about: told = {}, limits, batch_ms } = card;
  const { file, sha256, "made with": versions, ...known } = told;
  const takes = limits && [`${limits.max_pictures} pictures at once`, `${limits.max_mb} MB`, `${limits.max_megapixels} megapixels a picture`, `${limits.timeout_s} s`];
  const rows = { name, ...known, "answers with": engine() && `${engine()}${batch_ms ? `, ${Math.round(batch_ms)} ms a full batch` : ""}`, "takes up to": takes?.join(", "), "made with": versions };
  return Object.fromEntries(Object.entries(rows).filter(([, value]) => value));
}

const engine = () => (typeof card.engine === "object" ? card.engine?.name : card.engine);
const drawable = () => card.preprocess?.channels === 1 && Math.max(...(card.preprocess?.size ?? [Infinity])) <= 64;

// Asking -----------------------------------------------------------------------------------------------------------

function tooLarge(blob) {
  const most = (card.limits?.max_picture_mb ?? Infinity) * 1e6;
  const mb = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return blob.size > most ? `The picture has ${mb(blob.size)}. At most ${mb(most)} are taken. Choose a smaller one.` : "";
}

async function predict(blob, name, { of } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const entry = { blob, name, of, url: URL.createObjectURL(blob) };
  if (refused) URL.revokeObjectURL(refused.url);
  refused = null;
  if (!of) show("frame", entry);
  busy(true);
  try {
    const large = tooLarge(blob); // told before it is sent
    if (large) throw new Refusal(large, { status: 413 });
    const { body, took_ms } = await ask("predict", { picture: entry, control: mine });
    const result = body.results?.[0];
    if (!result || result.error) throw new Refusal(reason(result) ?? "The server's answer has no result.");
    Object.assign(entry, { result, server_ms: body.took_ms, all_ms: took_ms, engine: body.engine ?? engine() });
    trouble(null);
    keep(entry);
    answer(entry);
  } catch (error) {
    if (!(error instanceof Refusal) && mine.signal.aborted) return URL.revokeObjectURL(entry.url);
    refused = current = entry;
    at("answer").replaceChildren();
    at("timing").textContent = "";
    at("answer-tools").hidden = true;
    list();
    trouble(error);
    if (!(error instanceof Refusal)) throw error;
  } finally {
    if (asking === mine) busy(false);
  }
}

async function pictures(files) {
  const some = [...files].slice(0, KEPT);
  if (!some.length) return trouble(new Refusal("No picture was in it. Drop, paste or choose a file with a picture."));
  closeCamera();
  for (const file of some) await predict(file, file.name || "picture");
}

// Showing ----------------------------------------------------------------------------------------------------------

function busy(is) {
  at("answer").setAttribute("aria-busy", String(is));
  if (is && !at("answer").querySelector("table, .headline, blockquote")) {
    at("answer").replaceChildren(make("p", { class: "quiet wait" }, "Asking the server …"));
  }
}

function trouble(error) {
  const token = error?.status === 401;
  const told = error && [make("b", {}, "That did not work."), error.message];
  at("trouble").replaceChildren(...(told && !(token && !hasToken()) ? [make("p", { class: "trouble" }, ...told)] : []));
  at("token-form").hidden = !token;
  if (token) at("token").focus();
  if (error) at("status").textContent = "";
}

// Which of the stage's faces is seen: empty, pad, video or frame.
function show(face, entry) {
  for (const [name, id] of Object.entries({ empty: "empty", pad: "pad-box", video: "video", frame: "frame" })) at(id).hidden = name !== face;
  at("pad-tools").hidden = face !== "pad";
  at("camera-tools").hidden = face !== "video";
  at("ways").hidden = face === "video";
  at("draw").hidden = !drawable() || face === "pad";
  at("stage").classList.toggle("dark", face === "pad" || face === "video");
  at("stage").querySelector(".unshown")?.remove();
  note("");
  if (face !== "frame") return;
  const image = at("shown");
  const [frame, mine] = [at("frame"), entry.url];
  mark(frame, null, card, [1, 1]);
  at("chip").textContent = "";
  at("heat").hidden = true;
  frame.style.width = "";
  image.onload = () => {
    const [wide, tall] = [image.naturalWidth, image.naturalHeight];
    frame.style.aspectRatio = `${wide} / ${tall}`;
    frame.style.width = `min(100%, ${Math.max(wide, 480)}px, ${(70 * wide) / tall}vh)`;
    image.classList.toggle("crisp", Math.max(wide, tall) <= SMALL_PX);
    if (current?.url === mine && current.result) drawOn(current);
  };
  image.onerror = () => {
    frame.hidden = true;
    at("stage").append(make("p", { class: "unshown" }, `This browser cannot show ${entry.name}.`));
  };
  image.src = entry.url;
  image.alt = entry.name;
}

function drawOn(entry) {
  const image = at("shown");
  const { short, spoken, none } = summary(entry.result, card);
  mark(at("frame"), entry.result, card, [image.naturalWidth, image.naturalHeight]);
  at("chip").textContent = short;
  at("chip").classList.toggle("none", Boolean(none));
  image.alt = `${entry.name}: ${spoken}`;
  if (entry.heat && at("look").getAttribute("aria-pressed") === "true") drawHeat(at("heat"), entry.heat, [image.naturalWidth, image.naturalHeight]);
}

function answer(entry) {
  current = entry;
  const tell = (isLast) => {
    if (!at("frame").hidden && at("shown").src === entry.url && at("shown").complete) drawOn(entry);
    if (!isLast) return;
    at("status").textContent = `${summary(entry.result, card).spoken}.`;
    list();
  };
  at("answer").replaceChildren(...described(entry.result, card, tell));
  at("timing").textContent = timing(entry);
  at("answer-tools").hidden = !card.explains;
  at("look").setAttribute("aria-pressed", "false");
  tell(true);
}

function timing({ all_ms, server_ms, engine: by }) {
  const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const parts = server_ms === undefined ? [`${ms(all_ms)} in all`] : [`server ${ms(server_ms)}`, `transfer ${ms(Math.max(all_ms - server_ms, 0))}`];
  return [...parts, by].filter(Boolean).join(" · ");
}

function keep(entry) {
  const replaced = entry.of && entries.find(({ of }) => of === entry.of);
  entries = [entry, ...entries.filter((each) => each !== replaced)];
  for (const gone of [replaced, ...entries.splice(KEPT)]) if (gone) URL.revokeObjectURL(gone.url);
}

function list() {
  at("last-part").hidden = !entries.length;
  at("last").replaceChildren(...entries.map((entry) => {
    const { short, spoken, named = short || spoken } = summary(entry.result, card);
    const button = make("button", { type: "button", "aria-current": entry === current ? "true" : undefined },
      make("img", { src: entry.url, alt: entry.name }), make("span", {}, named));
    button.addEventListener("click", () => {
      asking?.abort();
      busy(false);
      trouble(null);
      closeCamera();
      current = entry;
      show("frame", entry);
      answer(entry);
      at("last").querySelector("[aria-current]").focus();
    });
    return make("li", {}, button);
  }));
}

// Where it looked ---------------------------------------------------------------------------------------------------

at("look").addEventListener("click", async () => {
  const on = at("look").getAttribute("aria-pressed") !== "true";
  at("look").setAttribute("aria-pressed", String(on));
  at("heat").hidden = true;
  note("");
  if (!on) return;
  const entry = current;
  if (at("frame").hidden) show("frame", entry);
  try {
    entry.heat ??= (await ask("explain", { picture: entry })).body;
    if (entry !== current || at("look").getAttribute("aria-pressed") !== "true") return;
    if (at("shown").complete) drawOn(entry);
    const somewhere = entry.heat.map.flat().some((value) => value > 0);
    at("status").textContent = somewhere ? "The picture shows where the model looked." : "No part of the picture stands out.";
    note(somewhere ? "" : at("status").textContent);
  } catch (error) {
    at("look").setAttribute("aria-pressed", "false");
    trouble(error);
  }
});

// Ways in ----------------------------------------------------------------------------------------------------------

at("choose").addEventListener("click", () => at("file").click());
for (const id of ["file", "snap"]) {
  at(id).addEventListener("change", ({ target }) => {
    const files = [...target.files];
    target.value = ""; // the same file may be chosen again
    if (files.length) pictures(files);
  });
}

document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  if (event.target.closest?.("input") && !files.length) return; // a token is pasted
  event.preventDefault();
  pictures(files);
});

let inside = 0; // enter and leave come for each element below the pointer
const drop = (shown) => { at("drop").hidden = !shown; };
addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; drop(true); });
addEventListener("dragleave", () => { inside -= 1; if (inside <= 0) drop(false); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  drop(false);
  pictures(event.dataTransfer.files);
});

let waiting = 0;
const pad = makePad(at("pad"), {
  onChange(strokes) {
    clearTimeout(waiting);
    at("pad-hint").hidden = strokes > 0;
    at("undo").disabled = at("clear").disabled = strokes === 0;
  },
  onStroke: () => { waiting = setTimeout(sendDrawing, PAUSE_MS); },
});

async function sendDrawing() {
  const [tall, wide] = card.preprocess.size;
  const of = drawing;
  const png = await pad.picture(10 * Math.max(tall, wide), tall === 28 && wide === 28);
  if (of === drawing) predict(png, "drawing.png", { of });
}

function startAgain() {
  asking?.abort();
  busy(false);
  drawing = {};
  trouble(null);
  current = null;
  at("answer").replaceChildren(make("p", { class: "quiet wait" }, "The answer appears here."));
  at("timing").textContent = "";
  at("answer-tools").hidden = true;
  list();
}

at("undo").addEventListener("click", () => { if (pad.undo()) sendDrawing(); else startAgain(); });
at("clear").addEventListener("click", () => { pad.clear(); startAgain(); });
at("draw").addEventListener("click", () => {
  if (current?.of !== drawing) { pad.clear(); startAgain(); }
  show("pad");
  at("choose").focus(); // for the button that was pressed is gone
});

// The camera: a phone's own where there is one, else the desk's, else a file -----------------------------------------

function note(text) {
  at("note").textContent = text;
  at("note").hidden = !text;
}

at("photograph").addEventListener("click", async () => {
  note("");
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices?.getUserMedia) return at("snap").click();
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "The browser was not allowed to use it." : "None was found.";
    trouble(new Refusal(`No camera could be opened. ${why} Choose a picture instead.`));
    return;
  }
  trouble(null);
  at("video").srcObject = camera;
  show("video");
  at("shoot").focus();
});

function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = at("video").srcObject = null;
}

at("shoot").addEventListener("click", () => {
  const video = at("video");
  const sheet = make("canvas");
  [sheet.width, sheet.height] = [video.videoWidth, video.videoHeight];
  if (!sheet.width) return; // the camera is still waking
  sheet.getContext("2d").drawImage(video, 0, 0);
  sheet.toBlob((blob) => { pictures([new File([blob], "photograph.jpg", { type: blob.type })]); at("photograph").focus(); }, "image/jpeg", 0.92);
});
at("stop").addEventListener("click", () => {
  closeCamera();
  if (current?.url && !current.of) show("frame", current);
  else show(drawable() ? "pad" : "empty");
  at("photograph").focus();
});

// The token --------------------------------------------------------------------------------------------------------

at("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setToken(at("token").value.trim());
  if (card.name === undefined) await learn();
  if (refused && card.name !== undefined) await predict(refused.blob, refused.name, refused);
  if (at("token-form").hidden) at("choose").focus();
});

learn();
