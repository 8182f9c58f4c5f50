// Questions to the server. Addresses are relative to the page's own, so that it works below any path of a proxy.

const SLOW_MS = 60_000; // the server has its own, shorter limit, and says so

let token = sessionStorage.getItem("token") ?? ""; // gone with the tab

export const hasToken = () => token !== "";

export function setToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

// What a person is told where there is no answer.
export class Refusal extends Error {
  constructor(message, { status = 0, cause } = {}) {
    super(message, { cause });
    this.status = status;
  }
}

// JSON, and the time from the first to the last byte.
export async function ask(path, { picture, control = new AbortController() } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const body = picture && new FormData();
  body?.append("file", picture.blob, picture.name); // the server's errors call it by this name
  const began = performance.now();
  let slow = false;
  const limit = setTimeout(() => { slow = true; control.abort(); }, SLOW_MS);
  let response, text;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal: control.signal });
    text = await response.text();
  } catch (cause) {
    if (control.signal.aborted && !slow) throw cause; // by a newer picture
    throw new Refusal(slow ? `The server did not answer within ${SLOW_MS / 1000} s. Try again.` : "The server cannot be reached. Is it running? Then try again.", { cause });
  } finally {
    clearTimeout(limit);
  }
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  if (!response.ok) throw new Refusal(reason(parsed) || `The server answered ${response.status} ${response.statusText}.`, { status: response.status });
  if (parsed === undefined) throw new Refusal("The server's answer is not JSON. Is another program listening at this address?");
  return { body: parsed, took_ms: performance.now() - began };
}

// The text of an error: Lamina's own, or FastAPI's sentence or list of them.
export function reason(body) {
  const said = body?.error?.message ?? body?.detail ?? body?.error;
  return Array.isArray(said) ? said.map((each) => each.msg ?? String(each)).join(" ") : said;
}
