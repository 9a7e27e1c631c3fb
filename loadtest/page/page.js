"use strict";
// The theme: as the reader's system has it, until the button is pressed.
(function () {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme:dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours"); };
  button.hidden = false;
  name();
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme:dark)").addEventListener("change", name);
})();
// What is under the pointer, or, with the arrow keys, at the next point. All of it is in the table, too.
for (const figure of document.querySelectorAll("figure")) {
  const source = figure.querySelector("script");
  if (!source) continue;
  const data = JSON.parse(source.textContent), plot = figure.querySelector(".plot");
  const cursor = plot.appendChild(document.createElement("div")), tip = plot.appendChild(document.createElement("div"));
  cursor.className = "cursor"; tip.className = "tip"; tip.setAttribute("role", "status");
  const drawing = () => [...plot.querySelectorAll("svg")].find((s) => s.getBoundingClientRect().width > 0);
  const nearest = (xs, x) => { let best = 0; for (let i = 1; i < xs.length; i++) if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i; return best; };
  let at = 0;
  const hide = () => { cursor.style.display = tip.style.display = "none"; };
  const show = (x) => {
    const svg = drawing(), box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const [x0, x1, low, high] = svg.dataset.x.split(" ").map(Number), [y0, y1] = svg.dataset.y.split(" ").map(Number);
    const first = data.series[0];
    at = nearest(first.x, x);
    const left = (x0 + (first.x[at] - low) / Math.max(high - low, 1e-9) * (x1 - x0)) * scale;
    Object.assign(cursor.style, { display: "block", left: left + "px", top: y1 * scale + "px", height: (y0 - y1) * scale + "px" });
    tip.replaceChildren();
    tip.appendChild(document.createElement("b")).textContent = first.at[at];
    data.series.forEach((s, k) => {
      const i = nearest(s.x, first.x[at]), line = tip.appendChild(document.createElement("div")), key = line.appendChild(document.createElement("i"));
      key.className = "s" + k % 5;
      line.append(s.name + " " + s.text[i]);
    });
    tip.style.display = "block";
    const wide = tip.offsetWidth;
    Object.assign(tip.style, { left: Math.max(0, left + 12 + wide > box.width ? left - wide - 12 : left + 12) + "px", top: (y1 + 6) * scale + "px" });
  };
  plot.addEventListener("pointermove", (e) => {
    const svg = drawing(), box = svg.getBoundingClientRect(), [x0, x1, low, high] = svg.dataset.x.split(" ").map(Number);
    const x = (e.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    show(low + (x - x0) / (x1 - x0) * (high - low));
  });
  plot.addEventListener("pointerleave", hide);
  plot.tabIndex = 0;
  plot.setAttribute("aria-label", "Drawing; the arrow keys go from point to point");
  plot.setAttribute("role", "group");
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step) return;
    e.preventDefault();
    const xs = data.series[0].x;
    show(xs[Math.min(Math.max(at + step, 0), xs.length - 1)]);
  });
}
