// The pictures of this session: how many are defective, which are listed and in which order, and
// the way from one to the next.

import { isAnomalous, onThreshold, thresholdOf } from "./viewer.js";
import { $ } from "./words.js";

const MOST = 500; // pictures listed; the oldest go first
let tiles = []; // as they came
let gone = 0;
let open = () => {};

export const all = () => tiles;
export const count = () => tiles.length + gone;

export function add(tile) {
  tiles.push(tile);
  if (tiles.length <= MOST) return null;
  gone += 1;
  return tiles.shift();
}

function kind(tile) {
  if (tile.reason !== null) return "failed";
  if (tile.result === null) return "waiting";
  return isAnomalous(tile.result) ? "defect" : "good";
}

// What could not be inspected may be defective, and comes first.
function badness(tile) {
  if (tile.reason !== null) return Infinity;
  return tile.result === null ? -1 : tile.result.score / Math.max(thresholdOf(tile.result), 1e-6);
}

export function update() {
  const wanted = $("filter").value;
  const ordered = [...tiles];
  if ($("order").value === "worst") ordered.sort((a, b) => badness(b) - badness(a));
  const total = { failed: 0, waiting: 0, defect: 0, good: 0 };
  for (const tile of tiles) {
    const is = kind(tile);
    total[is] += 1;
    tile.item.hidden = wanted !== "" && is !== wanted;
  }
  const list = $("results");
  const same = list.children.length === ordered.length && ordered.every((tile, index) => list.children[index] === tile.item);
  if (!same) {
    const focused = document.activeElement;
    list.replaceChildren(...ordered.map((tile) => tile.item));
    if (list.contains(focused)) focused.focus({ preventScroll: true });
  }
  const done = total.defect + total.good;
  const words = done === 0 && total.failed === 0 ? [] : [`${total.defect} of ${done} defective`];
  if (total.failed > 0) words.push(`${total.failed} not inspected`);
  if (total.waiting > 0) words.push(`${total.waiting} to go`);
  if (gone > 0) words.push(`${gone} older not listed`);
  $("count").textContent = words.join(", ");
  $("rail").hidden = tiles.length === 0;
}

export function select(tile) {
  for (const other of tiles) other.button.setAttribute("aria-current", String(other === tile));
  tile?.item.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export const unselect = () => select(null);

function step(by) {
  const listed = [...$("results").querySelectorAll("li:not([hidden]) > .tile:not([disabled])")];
  const here = listed.findIndex((button) => button.getAttribute("aria-current") === "true");
  const next = listed[here < 0 ? 0 : here + by];
  if (!next) return;
  const inList = $("results").contains(document.activeElement);
  open(tiles.find((tile) => tile.button === next));
  if (inList) next.focus({ preventScroll: true });
}

export function onOpen(listener) {
  open = listener;
}

// Takes all pictures off the page; what was inspected stays in the history.
export function clear() {
  const removed = tiles;
  tiles = [];
  gone = 0;
  $("filter").value = "";
  update();
  return removed;
}

export function setUpRail() {
  onThreshold(update);
  $("filter").addEventListener("change", update);
  $("order").addEventListener("change", update);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, dialog, video")) return;
    event.preventDefault();
    step(by);
  });
}
