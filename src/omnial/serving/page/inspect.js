// Files from the picker, a drop, the clipboard or the camera, inspected a few at a time.

import { blobUrl, inspect, review } from "./api.js";
import * as rail from "./rail.js";
import { clearView, current, isAnomalous, onThreshold, show, showFailure, showReview } from "./viewer.js";
import { $, badge, element, productName, say } from "./words.js";

const AT_ONCE = 4;
let waiting = [];
let running = 0;
let fresh = []; // what came last, of which the first is shown
let limits = { megabytes: Infinity };
let afterward = () => {};

function pngBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });
}

export function addFiles(files) {
  const added = [...files].map((file) => {
    const tile = makeTile(file);
    const old = rail.add(tile);
    // The picture that is being looked at stays.
    if (old && current() !== old.result) URL.revokeObjectURL(old.url);
    return tile;
  });
  if (added.length === 0) return;
  say("");
  fresh = [...added];
  $("work").hidden = false;
  for (const tile of added) {
    if (tile.file.size > limits.megabytes * 1e6) fail(tile, `larger than ${limits.megabytes} MB`);
    else waiting.push(tile);
  }
  rail.update();
  work();
}

function makeTile(file) {
  const url = URL.createObjectURL(file);
  // Cameras and lines give one name to many pictures: the number tells them apart.
  const number = rail.count() + 1;
  const state = element("span", { className: "badge wait", textContent: "Waiting" });
  const detail = element("small");
  const picture = element("img", { loading: "lazy", src: url, alt: "" });
  const thumb = element("span", { className: "thumb" }, picture);
  const what = element("span", { className: "what" }, state, element("span", { className: "name" }, `${number} \u00b7 ${file.name}`), detail);
  const button = element("button", { type: "button", className: "tile", disabled: true }, thumb, what);
  const tile = { file, url, number, state, detail, picture, button, item: element("li", {}, button), result: null, reason: null };
  picture.onerror = () => useKept(tile);
  button.addEventListener("click", () => open(tile));
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
  if (tile.unseen) useKept(tile);
  refresh(tile);
  rail.update();
  showFirst();
}

function showFirst() {
  // Rather one with a result, if any has or may still get one.
  while (fresh.length > 1 && fresh[0].reason !== null) fresh.shift();
  if (fresh.length === 0 || fresh[0].button.disabled) return;
  open(fresh[0]);
  fresh = [];
}

// A format that browsers do not show, such as TIFF, is shown as the history keeps it.
async function useKept(tile) {
  tile.unseen = true;
  tile.picture.remove();
  if ((tile.result?.id ?? null) === null) return;
  tile.url = await blobUrl(`v1/history/${tile.result.id}/picture`);
  tile.picture = element("img", { src: tile.url, alt: "" });
  tile.button.querySelector(".thumb").append(tile.picture);
}

function fail(tile, reason) {
  tile.reason = reason;
  tile.button.disabled = false;
  tile.state.textContent = "Not inspected";
  tile.detail.textContent = reason;
  rail.update();
  showFirst();
}

function refresh(tile) {
  if (tile.result === null) return;
  const state = badge(isAnomalous(tile.result));
  tile.state.replaceWith(state);
  tile.state = state;
  tile.detail.textContent = productName(tile.result.class);
}

function open(tile) {
  rail.select(tile);
  if (tile.reason !== null) {
    showFailure(`${tile.file.name} \u00b7 picture ${tile.number}`, tile.reason);
    return;
  }
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
    note: `picture ${tile.number}`,
    onReview: tile.result.id === null ? null : onReview,
    fallback: tile.result.id === null ? null : () => blobUrl(`v1/history/${tile.result.id}/picture`),
  });
}

function clear() {
  waiting = [];
  fresh = [];
  for (const tile of rail.clear()) URL.revokeObjectURL(tile.url);
  clearView();
  $("files").focus();
}

export function setUpInspect(card, onDone) {
  limits = card.limits;
  afterward = onDone;
  $("limits").textContent = `; at most ${limits.megabytes} MB and ${limits.megapixels} megapixels`;
  for (const { name } of card.classes) {
    $("product").append(element("option", { value: name, textContent: name }));
  }
  rail.onOpen(open);
  onThreshold(() => rail.all().forEach(refresh));
  $("clear").addEventListener("click", clear);
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
