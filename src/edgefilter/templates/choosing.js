"use strict";

// Links to sections become a choice of one of them: tabs, or links that show one section and hide the others. In print all are there.

function choose(chooser, place, focus) {
  const tabs = chooser.dataset.chooser === "tabs";
  chooser.links.forEach((link, at) => {
    const chosen = at === place;
    document.getElementById(link.hash.slice(1)).hidden = !chosen;
    link.setAttribute(tabs ? "aria-selected" : "aria-current", String(chosen));
    if (tabs) link.tabIndex = chosen ? 0 : -1;
  });
  if (focus) chooser.links[place].focus();
  document.dispatchEvent(new Event("chosen"));
}

function moved(key, place, count) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return key in steps ? (place + steps[key] + count) % count : null;
}

function makeTabs(chooser) {
  const list = chooser.querySelector("ul");
  const holder = document.createElement("div");
  holder.setAttribute("role", "tablist");
  holder.setAttribute("aria-label", chooser.getAttribute("aria-label"));
  chooser.links.forEach((link) => {
    link.id = link.hash.slice(1) + "-tab";
    link.setAttribute("role", "tab");
    link.setAttribute("aria-controls", link.hash.slice(1));
    const panel = document.getElementById(link.hash.slice(1));
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", link.id);
    holder.append(link);
  });
  list.replaceWith(holder);
}

function makeChooser(chooser) {
  chooser.links = [...chooser.querySelectorAll("a")];
  if (chooser.dataset.chooser === "tabs") makeTabs(chooser);
  chooser.addEventListener("click", (event) => {
    const place = chooser.links.indexOf(event.target.closest("a"));
    if (place < 0) return;
    event.preventDefault();
    choose(chooser, place, true);
  });
  chooser.addEventListener("keydown", (event) => {
    const at = chooser.links.indexOf(event.target);
    const place = event.key === " " ? at : moved(event.key, at, chooser.links.length);
    if (at < 0 || place === null) return;
    event.preventDefault();
    choose(chooser, place, true);
  });
  choose(chooser, 0, false);
}

function openLinked() {
  document.querySelectorAll("[data-chooser]").forEach((chooser) => {
    const place = chooser.links.findIndex((link) => `${location.hash}-`.startsWith(`${link.hash}-`));
    if (location.hash && place >= 0) choose(chooser, place, false);
  });
}

document.documentElement.classList.add("scripted");
document.querySelectorAll("[data-chooser]").forEach(makeChooser);
window.addEventListener("hashchange", openLinked);
openLinked();
