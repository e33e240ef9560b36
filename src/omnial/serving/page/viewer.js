// One result, large: picture, score map, outlines, and the verdict at the threshold in use.

import { drawMarks, saveMarked } from "./marks.js";
import { $, compared, element, facts, number, productName, reviewButtons } from "./words.js";
import { fit } from "./zoom.js";

const tried = new Map(); // product -> threshold that the user tries instead of the calibrated one
const listeners = [];
let colours = null; // 256 x [red, green, blue]
let shown = null;

export function onThreshold(listener) {
  listeners.push(listener);
}

export function thresholdOf(result) {
  return tried.get(result.class) ?? result.threshold;
}

export function isAnomalous(result) {
  const own = tried.get(result.class);
  return own === undefined ? result.anomalous : result.score > own;
}

export function setHeat(stops) {
  const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  colours = Array.from({ length: 256 }, (_, level) => {
    const score = level / 255;
    const above = Math.max(1, stops.findIndex(([stop]) => stop >= score));
    const [[from, low], [to, high]] = [stops[above - 1], stops[above]];
    const share = (score - from) / (to - from);
    const first = rgb(low);
    return rgb(high).map((channel, k) => Math.round(first[k] + share * (channel - first[k])));
  });
  const ramp = $("ramp").getContext("2d");
  const image = ramp.createImageData(256, 1);
  colours.forEach((colour, level) => image.data.set([...colour, 255], 4 * level));
  ramp.putImageData(image, 0, 0);
}

// result: what the API says; extras: {url, map: Blob, note, onReview or null, fallback or null}
export async function show(result, extras) {
  shown = { result, extras };
  showParts(true);
  const picture = $("picture");
  picture.width = result.width;
  picture.height = result.height;
  picture.src = extras.url ?? "";
  $("frame").style.setProperty("--wide", String(result.width));
  $("frame").style.setProperty("--high", String(result.height));
  fit();
  $("caption").textContent = [result.name ?? "picture", extras.note].filter(Boolean).join(" \u00b7 ");
  update();
  showReview();
  await drawHeat(extras.map);
}

// A file that has no result, and why.
export function showFailure(name, reason) {
  shown = null;
  showParts(true, false);
  setVerdict("none", "NOT INSPECTED", reason);
  $("caption").textContent = name;
}

export function clearView() {
  shown = null;
  showParts(false);
}

function showParts(view, result = view) {
  $("work").hidden = !view;
  $("view").hidden = !view;
  for (const id of ["frame", "details", "zoom-out", "zoom-in", "fit", "show-marks", "save"]) {
    $(id).hidden = !result;
  }
}

function setVerdict(kind, word, more) {
  const verdict = $("verdict");
  verdict.className = `verdict ${kind}`;
  verdict.replaceChildren(element("strong", { textContent: word }), " ", element("span", { textContent: more }));
}

export function showReview() {
  const { result, extras } = shown;
  const area = $("review");
  area.replaceChildren();
  if (!extras.onReview) return;
  area.append(element("p", { textContent: "What was it really?" }));
  area.append(...reviewButtons(result, extras.onReview));
}

export const current = () => shown?.result ?? null;

function marked() {
  const { result } = shown;
  return isAnomalous(result) ? (result.suspects ?? result.outlines) : [];
}

function update() {
  const { result } = shown;
  const threshold = thresholdOf(result);
  const anomalous = isAnomalous(result);
  const found = marked();
  const places = `${found.length} ${found.length === 1 ? "place" : "places"} marked`;
  const more = [result.class ?? "product not recognised: choose it above"];
  if (anomalous) more.push(places);
  if (tried.has(result.class)) more.push("at a threshold that is only tried");
  setVerdict(anomalous ? "bad" : "good", anomalous ? "DEFECT" : "GOOD", more.join(" \u00b7 "));
  const [score, limit] = compared(result.score, threshold);
  facts($("facts"), [
    ["Score", `${score}, ${anomalous ? "above" : "not above"} ${limit}`],
    ["Calibrated", number(result.threshold)],
    ["Pixels", `${result.width} \u00d7 ${result.height}`],
  ]);
  $("threshold").value = String(threshold);
  $("threshold-value").textContent = number(threshold);
  $("threshold-reset").disabled = !tried.has(result.class);
  $("threshold-reset").textContent = `Back to the calibrated ${number(result.threshold)}`;
  // Nothing is coloured on a good part, however high a score may be somewhere.
  $("heat").hidden = !anomalous;
  drawMarks(found, result);
  $("picture").alt = `${result.name ?? "Picture"}: ${anomalous ? `defect, ${places}` : "good"}`;
}

// The formula of the report's and the prediction's overlays: opacity s^2 (3 - 2 s) of the
// strongest, which the slider sets.
async function drawHeat(map) {
  const wanted = shown;
  const canvas = $("heat");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!map || colours === null) return;
  const bitmap = await createImageBitmap(map);
  if (shown !== wanted) return;
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let at = 0; at < image.data.length; at += 4) {
    const level = image.data[at];
    const score = level / 255;
    image.data.set(colours[level], at);
    image.data[at + 3] = Math.round(255 * score * score * (3 - 2 * score));
  }
  context.putImageData(image, 0, 0);
}

function setOverlay() {
  const percent = $("overlay").value;
  $("heat").style.opacity = String(percent / 100);
  $("overlay-value").textContent = `${percent} %`;
}

function tryThreshold(value) {
  const { result } = shown;
  if (value === null) tried.delete(result.class);
  else tried.set(result.class, value);
  update();
  listeners.forEach((listener) => listener());
}

function save() {
  const { result } = shown;
  const anomalous = isAnomalous(result);
  const name = result.name ?? "picture";
  const words = `${anomalous ? "DEFECT" : "GOOD"}  ${productName(result.class)}  ${name}`;
  saveMarked(marked(), result, anomalous, words, name);
}

export function setUpViewer() {
  $("overlay").addEventListener("input", setOverlay);
  setOverlay();
  $("threshold").addEventListener("input", (event) => tryThreshold(Number(event.target.value)));
  $("threshold-reset").addEventListener("click", () => {
    tryThreshold(null);
    $("threshold").focus();
  });
  $("show-marks").addEventListener("click", (event) => {
    $("marks").hidden = !$("marks").hidden;
    event.target.setAttribute("aria-pressed", String(!$("marks").hidden));
  });
  $("save").addEventListener("click", save);
  $("picture").addEventListener("error", async () => {
    const wanted = shown;
    const fallback = wanted?.extras.fallback;
    if (!fallback) return;
    wanted.extras.fallback = null;
    const address = await fallback();
    if (shown === wanted) $("picture").src = address;
  });
}
