// Zoom, pan and full screen. The stage is a wide child of a frame that scrolls, so that fingers,
// keys and the browser's own scrolling move the picture.

import { $ } from "./words.js";

const MOST = 24;
let zoom = 1;

// The point x, y of the window stays where it is.
function zoomTo(wanted, x, y) {
  const [frame, stage] = [$("frame"), $("stage")];
  const before = stage.getBoundingClientRect();
  zoom = Math.min(Math.max(wanted, 1), MOST);
  stage.style.setProperty("--zoom", String(zoom));
  frame.classList.toggle("zoomed", zoom > 1);
  const after = stage.getBoundingClientRect();
  frame.scrollLeft += after.left + ((x - before.left) / before.width) * after.width - x;
  frame.scrollTop += after.top + ((y - before.top) / before.height) * after.height - y;
  $("fit").disabled = zoom === 1;
}

function zoomBy(factor) {
  const box = $("frame").getBoundingClientRect();
  zoomTo(zoom * factor, box.left + box.width / 2, box.top + box.height / 2);
}

export const fit = () => zoomTo(1, 0, 0);

// Shows a box, in shares of the picture, in the middle and large.
export function zoomInto(left, top, right, bottom) {
  const frame = $("frame");
  fit();
  const fitted = $("stage").getBoundingClientRect();
  const share = Math.max(
    ((right - left) * fitted.width) / frame.clientWidth,
    ((bottom - top) * fitted.height) / frame.clientHeight,
  );
  zoomTo(Math.min(0.4 / Math.max(share, 0.001), 8), 0, 0);
  const stage = $("stage").getBoundingClientRect();
  frame.scrollLeft = ((left + right) / 2) * stage.width - frame.clientWidth / 2;
  frame.scrollTop = ((top + bottom) / 2) * stage.height - frame.clientHeight / 2;
}

function drag(event) {
  // Fingers scroll by themselves.
  if (event.pointerType === "touch" || event.button !== 0 || zoom === 1) return;
  const frame = $("frame");
  frame.setPointerCapture(event.pointerId);
  const move = (to) => frame.scrollBy({ left: -to.movementX, top: -to.movementY, behavior: "instant" });
  frame.addEventListener("pointermove", move);
  frame.addEventListener("lostpointercapture", () => frame.removeEventListener("pointermove", move), { once: true });
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("view").requestFullscreen();
}

export function setUpZoom() {
  const frame = $("frame");
  frame.addEventListener("pointerdown", drag);
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomTo(zoom * 1.0015 ** -event.deltaY, event.clientX, event.clientY);
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => zoomTo(zoom > 1 ? 1 : 3, event.clientX, event.clientY));
  $("zoom-in").addEventListener("click", () => zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  $("fit").addEventListener("click", fit);
  $("full").hidden = !document.fullscreenEnabled;
  $("full").addEventListener("click", fullScreen);
  document.addEventListener("fullscreenchange", () => {
    $("full").textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
    fit();
  });
  // Within the view alone, so that a letter typed elsewhere does nothing.
  $("view").addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const act = {
      "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: fit, f: fullScreen,
    }[event.key];
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const pans = (right || down) && zoom > 1 && event.target === frame;
    if (!act && !pans) return;
    event.preventDefault();
    if (act) act();
    else frame.scrollBy({ left: 60 * right, top: 60 * down, behavior: "instant" });
  });
}
