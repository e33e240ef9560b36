// What the model marked: numbered outlines on the picture, the table that they match, and a
// picture file with all of it.

import { $, download, element, say } from "./words.js";
import { zoomInto } from "./zoom.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 12; // numbered, and listed

function box(outline) {
  const xs = outline.polygon.map(([x]) => x);
  const ys = outline.polygon.map(([, y]) => y);
  return { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) };
}

const upperRight = (outline) => outline.polygon.reduce((a, b) => (b[0] - b[1] > a[0] - a[1] ? b : a));
const within = (share) => `clamp(0.8rem, ${100 * share}%, 100% - 0.8rem)`;

export function drawMarks(found, { width, height }) {
  // Whole numbers are the middles of pixels.
  $("outlines").setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
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
  const numbers = found.slice(0, MOST).map((outline, index) => {
    const number = element("span", { textContent: String(index + 1) });
    const [x, y] = upperRight(outline);
    number.style.left = within((x + 0.5) / width);
    number.style.top = within((y + 0.5) / height);
    return number;
  });
  $("numbers").replaceChildren(...numbers);
  listMarks(found, width, height);
}

function listMarks(found, width, height) {
  const rows = found.slice(0, MOST).map((outline, index) => {
    const { left, top, right, bottom } = box(outline);
    const look = element("button", {
      type: "button", textContent: String(index + 1), "aria-label": `Look at place ${index + 1}`,
    });
    look.addEventListener("click", () => {
      zoomInto((left + 0.5) / width, (top + 0.5) / height, (right + 0.5) / width, (bottom + 0.5) / height);
    });
    const middle = `${Math.round((left + right) / 2)}, ${Math.round((top + bottom) / 2)}`;
    const row = element(
      "tr", {}, element("td", {}, look),
      ...[middle, String(outline.area)].map((text) => element("td", { textContent: text })),
    );
    for (const come of ["pointerenter", "focusin"]) row.addEventListener(come, () => choose(index));
    for (const go of ["pointerleave", "focusout"]) row.addEventListener(go, () => choose(null));
    return row;
  });
  const area = $("regions");
  area.replaceChildren();
  if (rows.length === 0) return;
  const more = found.length > MOST ? `, the largest ${MOST} of ${found.length}` : "";
  area.append(
    element(
      "table", {},
      element("caption", { textContent: `Marked places${more}` }),
      element("thead", {}, element("tr", {}, ...["Place", "At x, y", "Pixels"].map(
        (text) => element("th", { scope: "col", textContent: text })))),
      element("tbody", {}, ...rows),
    ),
  );
}

function choose(index) {
  for (const polygon of $("outlines").querySelectorAll(".line")) {
    polygon.classList.toggle("chosen", polygon.dataset.index === String(index));
  }
}

// The picture as it is shown, below a strip with the verdict; small ones enlarged.
export async function saveMarked(found, { width, height }, anomalous, words, name) {
  const picture = $("picture");
  const scale = Math.max(1, Math.ceil(800 / Math.max(picture.naturalWidth, picture.naturalHeight)));
  const [wide, high] = [scale * picture.naturalWidth, scale * picture.naturalHeight];
  const unit = Math.max(wide, high) / 400;
  const strip = Math.round(18 * unit);
  const canvas = element("canvas", { width: wide, height: high + strip });
  const paint = canvas.getContext("2d");
  const write = (text, x, y, size, colour) => {
    paint.font = `bold ${size * unit}px sans-serif`;
    paint.fillStyle = colour;
    paint.fillText(text, x, y, wide - x);
  };
  paint.fillStyle = anomalous ? "#b3261e" : "#17663a";
  paint.fillRect(0, 0, wide, strip);
  write(words, 5 * unit, 13 * unit, 11, "#ffffff");
  paint.translate(0, strip);
  paint.imageSmoothingEnabled = false;
  paint.drawImage(picture, 0, 0, wide, high);
  paint.imageSmoothingEnabled = true;
  if (anomalous) {
    paint.globalAlpha = Number($("heat").style.opacity);
    paint.drawImage($("heat"), 0, 0, wide, high);
    paint.globalAlpha = 1;
  }
  const at = (corner, size, span) => ((corner + 0.5) / size) * span;
  paint.lineJoin = "round";
  for (const outline of found) {
    paint.beginPath();
    for (const [x, y] of outline.polygon) paint.lineTo(at(x, width, wide), at(y, height, high));
    paint.closePath();
    for (const [colour, thick] of [["#000000b3", 2.5], ["#00e5ff", 1.2]]) {
      paint.strokeStyle = colour;
      paint.lineWidth = thick * unit;
      paint.stroke();
    }
  }
  found.slice(0, MOST).forEach((outline, index) => {
    const corner = upperRight(outline);
    const x = Math.min(at(corner[0], width, wide) + 2 * unit, wide - 14 * unit);
    const y = Math.max(at(corner[1], height, high), 10 * unit);
    paint.strokeStyle = "#000000";
    paint.lineWidth = 3 * unit;
    paint.font = `bold ${10 * unit}px sans-serif`;
    paint.strokeText(String(index + 1), x, y);
    write(String(index + 1), x, y, 10, "#00e5ff");
  });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob === null) say("This browser cannot save so large a picture.", true);
  else download(URL.createObjectURL(blob), `${name.replace(/\.[^.]*$/, "")}_marked.png`);
}
