// One result, large: picture, score map, outlines, and the verdict at the threshold in use.

import { $, element, facts, number, productName, reviewButtons } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
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

// result: what the API says; extras: {url, map: Blob, note, onReview or null}
export async function show(result, extras) {
  shown = { result, extras };
  $("view").hidden = false;
  const picture = $("picture");
  picture.width = result.width;
  picture.height = result.height;
  picture.src = extras.url ?? "";
  // As large as the page allows without scrolling, in the picture's own proportions.
  $("stage").style.width = `min(100%, ${(72 * result.width) / result.height}vh)`;
  $("caption").textContent = [result.name ?? "image", extras.note].filter(Boolean).join(" \u00b7 ");
  const box = `-0.5 -0.5 ${result.width} ${result.height}`;
  $("outlines").setAttribute("viewBox", box);
  $("outlines").setAttribute("preserveAspectRatio", "none");
  update();
  showReview();
  await drawHeat(extras.map);
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

function update() {
  const { result } = shown;
  const threshold = thresholdOf(result);
  const anomalous = isAnomalous(result);
  const verdict = $("verdict");
  verdict.classList.toggle("bad", anomalous);
  const compared = anomalous ? "above" : "not above";
  verdict.textContent =
    `${anomalous ? "Anomalous" : "Good"}: score ${number(result.score)} is ${compared} ` +
    `the threshold ${number(threshold)}`;
  facts($("facts"), [
    ["Product", productName(result.class)],
    ["Score", number(result.score)],
    ["Calibrated", number(result.threshold)],
    ["Pixels", `${result.width} \u00d7 ${result.height}`],
  ]);
  $("threshold").value = String(threshold);
  $("threshold-value").textContent = number(threshold);
  $("threshold-reset").disabled = !tried.has(result.class);
  $("threshold-reset").textContent = `Back to the calibrated ${number(result.threshold)}`;
  const found = anomalous ? (result.suspects ?? result.outlines) : [];
  drawOutlines(found);
  listRegions(found);
  $("picture").alt =
    `${result.name ?? "Image"}: ${anomalous ? "anomalous" : "good"}, ` +
    `${found.length} outlined ${found.length === 1 ? "region" : "regions"}`;
}

function drawOutlines(found) {
  const drawn = found.flatMap((outline, index) =>
    ["rim", "line"].map((kind) => {
      const polygon = document.createElementNS(SVG, "polygon");
      polygon.setAttribute("points", outline.polygon.map((corner) => corner.join(",")).join(" "));
      polygon.setAttribute("class", kind);
      polygon.dataset.index = String(index);
      return polygon;
    }),
  );
  $("outlines").replaceChildren(...drawn);
}

const MOST_ROWS = 12;

function listRegions(found) {
  const area = $("regions");
  area.replaceChildren();
  if (found.length === 0) return;
  const rows = found.slice(0, MOST_ROWS).map((outline, index) => {
    const xs = outline.polygon.map(([x]) => x);
    const ys = outline.polygon.map(([, y]) => y);
    const middle = (values) => Math.round((Math.min(...values) + Math.max(...values)) / 2);
    const cells = [String(index + 1), `${middle(xs)}, ${middle(ys)}`, String(outline.area)];
    const row = element(
      "tr", {}, ...[...cells, number(outline.peak)].map((text) => element("td", { textContent: text })),
    );
    row.addEventListener("pointerenter", () => mark(index));
    row.addEventListener("pointerleave", () => mark(null));
    return row;
  });
  const more = found.length > MOST_ROWS ? `, the largest ${MOST_ROWS} of ${found.length}` : "";
  area.append(
    element(
      "table", {},
      element("caption", { textContent: `Outlined regions${more}` }),
      element("thead", {}, element("tr", {}, ...["#", "At x, y", "Pixels", "Peak"].map(
        (text) => element("th", { scope: "col", textContent: text })))),
      element("tbody", {}, ...rows),
    ),
  );
}

function mark(index) {
  for (const polygon of $("outlines").querySelectorAll(".line")) {
    polygon.classList.toggle("chosen", polygon.dataset.index === String(index));
  }
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

export function setUpViewer() {
  $("overlay").addEventListener("input", setOverlay);
  setOverlay();
  $("threshold").addEventListener("input", (event) => tryThreshold(Number(event.target.value)));
  $("threshold-reset").addEventListener("click", () => {
    tryThreshold(null);
    $("threshold").focus();
  });
  $("show-outlines").addEventListener("change", (event) => {
    $("outlines").style.visibility = event.target.checked ? "visible" : "hidden";
  });
  $("picture").addEventListener("error", async () => {
    const fallback = shown?.extras.fallback;
    if (!fallback) return;
    shown.extras.fallback = null;
    $("picture").src = await fallback();
  });
}
