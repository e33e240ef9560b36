// The page: asks for the model card, then puts its parts together.

import { json } from "./api.js";
import { setUpCamera } from "./camera.js";
import { refreshHistory, setUpHistory } from "./history.js";
import { setUpInspect } from "./inspect.js";
import { setUpRail } from "./rail.js";
import { setHeat, setUpViewer } from "./viewer.js";
import { $, element, facts, number, say } from "./words.js";
import { setUpZoom } from "./zoom.js";

function showCard(card) {
  facts($("card"), [
    ["System", `${card.system}, size ${card.size}`],
    ["Input", `${card.input.height} \u00d7 ${card.input.width} pixels, ${card.input.geometry}`],
    ["Engine", Object.values(card.engine).join(", ")],
    ["Model", card.model],
    ["Software", `omnial ${card.omnial}`],
    ["False alarms", `set to ${(100 * card.false_alarm_rate).toFixed(1)} % of good images`],
  ]);
  const rows = card.classes.map((product) =>
    element(
      "tr", {},
      element("td", { textContent: product.name }),
      element("td", { textContent: number(product.threshold) }),
      element("td", {
        textContent: `${product.normal_images} good images` +
          (product.own_threshold ? "" : ", too few: all products' threshold"),
      }),
    ),
  );
  $("products").tBodies[0].replaceChildren(...rows);
  $("notes").replaceChildren(...card.notes.map((note) => element("li", { className: "note", textContent: note })));
}

async function start() {
  setUpCamera();
  setUpViewer();
  setUpZoom();
  setUpRail();
  let card;
  try {
    card = await json("v1/model");
  } catch (error) {
    say(error.message, true);
    return;
  }
  showCard(card);
  setHeat(card.heat);
  setUpInspect(card, card.history ? refreshHistory : () => {});
  if (card.history) setUpHistory(card);
  $("history").hidden = !card.history;
  $("history-link").hidden = !card.history;
  document.documentElement.dataset.ready = "true";
}

start();
