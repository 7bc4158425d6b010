"use strict";
// The steps are the stages in forward order, then the adjoints in the order of the reverse pass.
const { steps, turn } = JSON.parse(document.getElementById("steps").textContent);
const $ = (id) => document.getElementById(id);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const slider = $("step"), views = all(".view"), drawing = $("drawing");
const at = { f: {}, r: {} }; // when a box gets its value, and when its adjoint
steps.forEach(({ box, way }, k) => { at[way][box] = k; });
let now = 0, size = 1, chosen = steps[0].box, view = views[0];

function show(next) {
  view = next;
  for (const each of views) each.hidden = each !== view;
  paint();
}

function paint() {
  const { box: current, way } = steps[now];
  for (const box of all(".box", view)) {
    const key = box.dataset.box, is = box.classList;
    is.toggle("ahead", (at.f[key] ?? -1) > now);
    is.toggle("back", (at.r[key] ?? Infinity) <= now);
    is.toggle("now", key === current);
    is.toggle("chosen", key === chosen);
    if (key === current) box.setAttribute("aria-current", "step"); else box.removeAttribute("aria-current");
    box.setAttribute("aria-pressed", key === chosen);
  }
  for (const line of all("[data-to]", view)) {
    // forward what arrives at a box, in reverse what comes back to it
    const here = way === "f" ? line.dataset.to : line.dataset.from;
    line.classList.toggle("flow", here === current && !line.classList.contains("branch"));
    line.classList.toggle("shown", (at.r[line.dataset.to] ?? Infinity) <= now);
  }
}

function choose(box) {
  chosen = box;
  for (const section of all(".about")) section.hidden = section.id !== "about-" + box;
  paint();
}

function inSight(box) {
  const found = view.querySelector(`[data-box="${box}"]`);
  if (!found) return;
  const b = drawing.getBoundingClientRect();
  const blocks = all(".step.whole .block", view), whole = blocks.length === 1 && blocks[0].getBoundingClientRect();
  const a = whole && whole.width < b.width ? { ...found.getBoundingClientRect().toJSON(), left: whole.left, right: whole.right }
    : found.getBoundingClientRect();
  if (a.left < b.left + 24 || a.right > b.right - 24) drawing.scrollLeft += (a.left + a.right - b.left - b.right) / 2;
  if (a.top < b.top + 12 || a.bottom > b.bottom - 12) drawing.scrollTop += (a.top + a.bottom - b.top - b.bottom) / 2;
}

function go(k) {
  now = Math.max(0, Math.min(steps.length - 1, k));
  const step = steps[now];
  slider.value = now;
  slider.setAttribute("aria-valuetext", step.text);
  $("status").textContent = step.text;
  $("turn").disabled = now === turn;
  choose(step.box);
  const own = views.find((each) => each.dataset.step === String(step.step));
  if (own && !$("unfold").checked) show(own);
  else if (!view.querySelector(`[data-box="${step.box}"]`)) show(viewWith(step.box));
  inSight(step.box);
}

const viewWith = (box) => views.find((each) => each.querySelector(`[data-box="${box}"]`));
const viewOf = (step) => views.find((each) => each.dataset.step === String(step)) ?? views[0];

function unfoldAll(on) {
  const step = steps[now].step;
  show(on ? views.find((each) => each.dataset.step === "all") : viewOf(step));
  inSight(steps[now].box);
}

function scale(by) {
  size = Math.max(0.4, Math.min(2, size * by));
  for (const picture of all(".view svg")) {
    const { width, height } = picture.viewBox.baseVal;
    picture.setAttribute("width", width * size);
    picture.setAttribute("height", height * size);
  }
  inSight(steps[now].box);
}

function dark(on) {
  document.documentElement.dataset.theme = on ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", on);
}

slider.max = steps.length - 1;
slider.addEventListener("input", () => go(+slider.value));
for (const [id, k] of [["first", () => 0], ["previous", () => now - 1], ["next", () => now + 1],
  ["last", () => steps.length - 1], ["turn", () => turn]]) $(id).addEventListener("click", () => go(k()));
$("theme").addEventListener("click", () => dark(document.documentElement.dataset.theme !== "dark"));
$("smaller").addEventListener("click", () => scale(1 / 1.15));
$("larger").addEventListener("click", () => scale(1.15));
$("unfold").addEventListener("change", (event) => unfoldAll(event.target.checked));
$("folding").hidden = views.length < 2;

function act(event) {
  const box = event.target.closest(".box"), step = event.target.closest(".step[data-step]");
  if (box) choose(box.dataset.box);
  else if (step) { show(viewOf(step.dataset.step)); $("unfold").checked = false; }
  return box || step;
}
drawing.addEventListener("click", act);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key, inDrawing = drawing.contains(event.target) && event.target !== drawing;
  if ((key === "Enter" || key === " ") && inDrawing) { if (act(event)) event.preventDefault(); return; }
  if (key === "+" || key === "-") { scale(key === "+" ? 1.15 : 1 / 1.15); return; }
  const k = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: steps.length - 1, r: turn, R: turn }[key];
  if (k === undefined) return;
  event.preventDefault();
  go(k);
});

const wish = matchMedia("(prefers-color-scheme: dark)");
wish.addEventListener("change", () => dark(wish.matches));
dark(wish.matches);
show(viewOf(steps[0].step));
scale(innerWidth < 900 ? 0.75 : 0.9);
go(0);
