"use strict";
// Shows the pictures of one product or one verdict; without this script, all are shown.
const form = document.querySelector("form.filter");
const shots = [...document.querySelectorAll(".shots article")];

function filter() {
  const { product, verdict } = form.elements;
  let count = 0;
  for (const shot of shots) {
    const fits = (select, value) => !select.value || select.value === value;
    shot.hidden = !(fits(product, shot.dataset.product) && fits(verdict, shot.dataset.verdict));
    count += !shot.hidden;
  }
  form.querySelector("output").textContent = `${count} of ${shots.length} shown`;
}

form.hidden = false;
form.addEventListener("change", filter);
filter(); // a browser may have kept the choice over a reload
