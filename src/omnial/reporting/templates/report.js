"use strict";
// An enlarged picture is the article that the address names. The page's links do without this
// script; with it the keys follow them, and Back leaves the pictures at once.
const REL = { ArrowLeft: "prev", ArrowRight: "next", Escape: "close" };
const enlarged = () => document.querySelector("article:target");
let entered = false;

function follow(link) {
  if (link.rel === "close" && entered) history.back();
  else location.replace(link.hash);
}

addEventListener("click", (event) => {
  const link = event.target.closest("article a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.rel) {
    event.preventDefault();
    follow(link);
  } else if (!enlarged()) entered = true;
});

addEventListener("keydown", (event) => {
  const link = enlarged()?.querySelector(`a[rel="${REL[event.key]}"]`);
  if (!link || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  follow(link);
});

addEventListener("hashchange", () => {
  const shot = enlarged();
  if (shot) shot.querySelector("a[rel=close]").focus();
  else entered = false;
});
