// Files from the picker, a drop, the clipboard or the camera, inspected a few at a time.

import { blobUrl, inspect, review } from "./api.js";
import { isAnomalous, current, onThreshold, show, showReview } from "./viewer.js";
import { $, badge, element, number, productName, say } from "./words.js";

const AT_ONCE = 4;
const MOST_TILES = 200;
const waiting = [];
const tiles = [];
let running = 0;
let fresh = []; // what came last, of which the first usable one is shown
let limits = { megabytes: Infinity };
let afterward = () => {};

function pngBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });
}

export function addFiles(files) {
  const added = [...files].map(makeTile);
  if (added.length > 0) fresh = added;
  for (const tile of added) {
    const { file } = tile;
    tiles.push(tile);
    $("results").append(tile.item);
    if (file.size > limits.megabytes * 1e6) fail(tile, `larger than ${limits.megabytes} MB`);
    else waiting.push(tile);
  }
  while (tiles.length > MOST_TILES) {
    const old = tiles.shift();
    old.item.remove();
    // The picture that is being looked at stays.
    if (current() !== old.result) URL.revokeObjectURL(old.url);
  }
  work();
}

function makeTile(file) {
  const url = URL.createObjectURL(file);
  const state = element("span", { className: "badge wait", textContent: "Waiting" });
  const text = element("span", { textContent: file.name });
  const detail = element("span", { className: "hint" });
  const picture = element("img", { src: url, alt: "" });
  const button = element(
    "button", { type: "button", className: "tile", disabled: true }, picture, state, text, detail,
  );
  const tile = { file, url, state, detail, picture, button, item: element("li", {}, button), result: null, failed: false };
  button.addEventListener("click", () => {
    open(tile);
    $("view").focus({ preventScroll: true });
    $("view").scrollIntoView({ block: "nearest" });
  });
  return tile;
}

function work() {
  while (running < AT_ONCE && waiting.length > 0) {
    running += 1;
    one(waiting.shift()).finally(() => {
      running -= 1;
      work();
      if (running === 0) afterward();
    });
  }
}

async function one(tile) {
  tile.state.textContent = "In work";
  try {
    tile.result = await inspect(tile.file, tile.file.name, $("product").value);
  } catch (error) {
    fail(tile, error.message);
    return;
  }
  tile.result.review = null;
  tile.map = pngBlob(tile.result.map);
  delete tile.result.map;
  tile.button.disabled = false;
  tile.picture.onerror = () => useKept(tile);
  if (tile.picture.complete && tile.picture.naturalWidth === 0) useKept(tile);
  refresh(tile);
  say(`${tile.file.name}: ${isAnomalous(tile.result) ? "anomalous" : "good"}`);
  showFirst();
}

function showFirst() {
  while (fresh.length > 0 && fresh[0].failed) fresh.shift();
  if (fresh.length === 0 || fresh[0].result === null) return;
  open(fresh[0]);
  fresh = [];
}

// A format that browsers do not show, such as TIFF, is shown as the history keeps it.
async function useKept(tile) {
  tile.picture.onerror = null;
  if (tile.result.id === null) return;
  tile.url = await blobUrl(`v1/history/${tile.result.id}/picture`);
  tile.picture.src = tile.url;
}

function fail(tile, reason) {
  tile.failed = true;
  tile.state.textContent = "Not inspected";
  tile.state.className = "badge bad";
  tile.detail.textContent = reason;
  say(`${tile.file.name}: ${reason}`, true);
  showFirst();
}

function refresh(tile) {
  if (tile.result === null) return;
  const state = badge(isAnomalous(tile.result));
  tile.state.replaceWith(state);
  tile.state = state;
  tile.detail.textContent = `${productName(tile.result.class)}, ${number(tile.result.score)}`;
}

function open(tile) {
  for (const other of tiles) other.button.setAttribute("aria-current", String(other === tile));
  const onReview = async (word) => {
    try {
      tile.result.review = (await review(tile.result.id, word)).review;
    } catch (error) {
      say(error.message, true);
      return;
    }
    showReview();
    $("review").querySelector(`[data-word="${word}"]`)?.focus();
    afterward();
  };
  show(tile.result, {
    url: tile.url,
    map: tile.map,
    onReview: tile.result.id === null ? null : onReview,
    fallback: tile.result.id === null ? null : () => blobUrl(`v1/history/${tile.result.id}/picture`),
  });
}

export function setUpInspect(card, onDone) {
  limits = card.limits;
  afterward = onDone;
  $("limits").textContent = `; at most ${limits.megabytes} MB and ${limits.megapixels} megapixels`;
  for (const { name } of card.classes) {
    $("product").append(element("option", { value: name, textContent: name }));
  }
  onThreshold(() => tiles.forEach(refresh));
  $("files").addEventListener("change", (event) => {
    addFiles([...event.target.files]);
    event.target.value = "";
  });
  const drop = $("drop");
  const over = (inside) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", inside);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  // A file that misses the box must not replace the page.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    addFiles([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => addFiles([...(event.clipboardData?.files ?? [])]));
}
