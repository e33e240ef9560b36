// Elements, and words that several parts of the page use.

export const $ = (id) => document.getElementById(id);

// Text never becomes markup: names of files come from anywhere.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export function say(text, bad = false) {
  const status = $("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
  status.hidden = text === "";
}

export function badge(anomalous) {
  return element("span", {
    className: anomalous ? "badge bad" : "badge",
    textContent: anomalous ? "Defect" : "Good",
  });
}

export const productName = (name) => name ?? "unknown product";
export const number = (value) => value.toFixed(3);

// As many digits as two values need to differ, so that rounding hides no verdict.
export function compared(first, second) {
  let digits = 3;
  while (digits < 6 && first !== second && first.toFixed(digits) === second.toFixed(digits)) digits += 1;
  return [first.toFixed(digits), second.toFixed(digits)];
}

export function download(url, name) {
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const REVIEWS = { right: "Correct", false_alarm: "False alarm", missed: "Missed defect" };

export function reviewText(word) {
  return word === null ? "Not reviewed" : REVIEWS[word];
}

// The words that fit a verdict, as buttons; a second press takes the word back.
export function reviewButtons(item, onWord) {
  const words = ["right", item.anomalous ? "false_alarm" : "missed"];
  return words.map((word) => {
    const pressed = item.review === word;
    const button = element("button", {
      type: "button",
      textContent: REVIEWS[word],
      "aria-pressed": String(pressed),
    });
    button.dataset.word = word;
    button.addEventListener("click", () => onWord(pressed ? null : word));
    return button;
  });
}

export function facts(list, pairs) {
  list.replaceChildren(
    ...pairs.flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value }),
    ]),
  );
}
