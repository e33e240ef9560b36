// What was inspected before: search, look again, say what it was, save as a table.

import { blobUrl, call, json, review } from "./api.js";
import { unselect } from "./rail.js";
import { current, show, showReview } from "./viewer.js";
import { $, badge, download, element, productName, reviewButtons, reviewText, say } from "./words.js";

let next = null;
let count = 0;

function query() {
  const form = new FormData($("search"));
  const asked = new URLSearchParams();
  for (const name of ["text", "verdict"]) {
    if (form.get(name)) asked.set(name, form.get(name));
  }
  if (form.get("class") !== "any") asked.set("class", form.get("class"));
  if (form.get("review") === "none") asked.set("reviewed", "false");
  else if (form.get("review")) asked.set("review", form.get("review"));
  // Dates are days of the person who asks; the service counts in UTC.
  if (form.get("since")) asked.set("since", midnight(form.get("since"), 0).toISOString());
  if (form.get("until")) asked.set("until", midnight(form.get("until"), 1).toISOString());
  return asked;
}

function midnight(day, later) {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + later);
}

async function load(more) {
  const asked = query();
  if (more) asked.set("before", String(next));
  let page;
  try {
    page = await json(`v1/history?${asked}`);
  } catch (error) {
    say(error.message, true);
    return;
  }
  const list = $("items");
  if (!more) {
    list.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
    list.replaceChildren();
    count = 0;
  }
  const rows = page.items.map(row);
  list.append(...rows);
  count += rows.length;
  next = page.next;
  $("more").hidden = next === null;
  const noun = count === 1 ? "inspection" : "inspections";
  $("found").textContent = `${count} ${noun}${next === null ? "" : ", and more"}`;
  if (more) rows[0]?.querySelector("button").focus();
}

function row(item) {
  const picture = element("img", { alt: "" });
  blobUrl(`v1/history/${item.id}/picture`).then(
    (url) => { picture.src = url; },
    () => {},
  );
  const label = `Look at ${item.name ?? "picture"}, number ${item.id}`;
  const button = element("button", { type: "button", className: "open", "aria-label": label }, picture);
  const said = element("small");
  const words = element("div", { className: "review", role: "group", "aria-label": `Review of number ${item.id}` });
  const refresh = () => {
    said.textContent = reviewText(item.review);
    words.replaceChildren(...reviewButtons(item, say_));
    if (current() === item) showReview();
  };
  async function say_(word) {
    try {
      item.review = (await review(item.id, word)).review;
    } catch (error) {
      say(error.message, true);
      return;
    }
    refresh();
    words.querySelector(`[data-word="${word}"]`)?.focus();
  }
  button.addEventListener("click", () => open(item, say_));
  refresh();
  const what = element(
    "div", { className: "what" },
    badge(item.anomalous), ` ${item.name ?? "picture"}`,
    element("small", {
      textContent: [productName(item.class), new Date(item.time).toLocaleString(), `number ${item.id}`].join(" \u00b7 "),
    }),
    said,
  );
  return element("li", {}, button, what, words);
}

async function open(item, onReview) {
  try {
    const [url, map] = await Promise.all([
      blobUrl(`v1/history/${item.id}/picture`),
      call(`v1/history/${item.id}/map`).then((response) => response.blob()),
    ]);
    unselect();
    show(item, { url, map, onReview, note: `number ${item.id} of the history, small picture` });
  } catch (error) {
    say(error.message, true);
    return;
  }
  $("view").scrollIntoView({ block: "start" });
  $("frame").focus({ preventScroll: true });
}

async function save() {
  try {
    download(await blobUrl(`v1/history.csv?${query()}`), "inspections.csv");
  } catch (error) {
    say(error.message, true);
  }
}

export const refreshHistory = () => load(false);

export function setUpHistory(card) {
  const products = $("search").elements.namedItem("class");
  for (const { name } of card.classes) {
    products.append(element("option", { value: name, textContent: name }));
  }
  products.append(element("option", { value: "", textContent: "Unknown product" }));
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    load(false);
  });
  $("more").addEventListener("click", () => load(true));
  $("csv").addEventListener("click", save);
  load(false);
}
