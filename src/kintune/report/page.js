"use strict";
// Without this script the page says the same: tips are then the browser's own.
const tip = document.getElementById("tip");

function show(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = y - tip.offsetHeight - 14;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above < 8 ? y + 18 : above) + "px";
}

function hide() {
  tip.hidden = true;
}

function nearestVertex(line, event) {
  const box = line.ownerSVGElement;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(box.getScreenCTM().inverse());
  let nearest = 0;
  for (let i = 1; i < line.points.numberOfItems; i++) {
    const distance = Math.abs(line.points.getItem(i).x - at.x);
    if (distance < Math.abs(line.points.getItem(nearest).x - at.x)) nearest = i;
  }
  return nearest;
}

function textOf(element, event) {
  const name = element.getAttribute("aria-label");
  if (!element.dataset.tips || !("clientX" in event)) return name;
  const line = element.querySelector(".touch");
  return element.dataset.tips.split("|")[nearestVertex(line, event)] + " · " + name;
}

for (const title of document.querySelectorAll("svg .mark > title, svg .curve > title")) {
  const element = title.parentElement;
  element.setAttribute("aria-label", title.textContent);
  element.setAttribute("role", "img");
  title.remove();
  element.addEventListener("pointermove", (event) => show(textOf(element, event), event.clientX, event.clientY));
  element.addEventListener("pointerleave", hide);
  element.addEventListener("focus", (event) => {
    const box = element.getBoundingClientRect();
    show(textOf(element, event), box.right, box.top);
  });
  element.addEventListener("blur", hide);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
