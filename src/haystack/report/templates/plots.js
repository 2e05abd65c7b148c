"use strict";
// What all figures share.
const data = JSON.parse(document.getElementById("report-data").textContent);
const css = getComputedStyle(document.documentElement);
const colour = (name) => css.getPropertyValue(name).trim();
const UP = colour("--up"), DOWN = colour("--down"), INK = colour("--ink"), MUTED = colour("--muted"), LINE = colour("--line");
const CHANGED = 1, EXPECTED = 2, OUTSIDE = 4;
// Plotly reads a little HTML in its texts, so names of genes and gene sets are escaped for it.
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const minus = (text) => text.replace("-", "−");
const fixed = (value, digits) => (value === null ? "–" : minus((Number(value.toFixed(digits)) || 0).toFixed(digits)));
const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const pValue = (value) => {
  if (value === null) return "–";
  if (value === 0) return "below 10⁻³⁰⁰";
  if (value >= 0.001) return String(Number(value.toPrecision(2)));
  const [mantissa, exponent] = value.toExponential(1).split("e");
  return `${mantissa} × 10${[...String(Number(exponent))].map((c) => SUPERSCRIPT[c]).join("")}`;
};

// -- plots ----------------------------------------------------------------------------------------------------------

const narrow = () => window.innerWidth < 640;
const axis = (title, extra) => ({
  title: { text: title, font: { size: 13, color: MUTED } }, zeroline: false, gridcolor: LINE, linecolor: LINE,
  tickfont: { size: 12 }, automargin: true, fixedrange: narrow(), ...extra,
});
const layout = (extra) => ({
  font: { family: colour("--sans"), size: 13, color: INK }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  margin: { l: 56, r: 16, t: narrow() ? 12 : 40, b: 48 }, hoverlabel: { bgcolor: colour("--card"), bordercolor: LINE, font: { color: INK } },
  legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } }, dragmode: narrow() ? false : "zoom",
  modebar: { bgcolor: "rgba(0,0,0,0)", color: "#9aa3ab", activecolor: INK },
  ...extra,
});
const draw = (id, traces, shape) => {
  const node = document.getElementById(id);
  if (!node) return;
  const config = {
    responsive: true, displaylogo: false, displayModeBar: !narrow(), showSendToCloud: false,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: `${data.run_id}_${id}` },
  };
  if (!node.dataset.drawn) {
    node.after(saving(node, id));
    node.addEventListener("keydown", toggle);
  }
  Plotly.newPlot(node, traces, layout(shape), config).then(() => { node.dataset.drawn = "yes"; });
  reachable(node);
  node.on("plotly_afterplot", () => reachable(node));
};
// Plotly's legend answers the mouse only: its entries become buttons that Tab reaches and that Enter and Space press.
const reachable = (node) => {
  for (const entry of node.querySelectorAll(".legendtoggle")) {
    const group = entry.closest(".traces");
    entry.setAttribute("tabindex", "0");
    entry.setAttribute("role", "button");
    entry.setAttribute("aria-label", `Show ${group.querySelector(".legendtext").textContent}`);
    entry.setAttribute("aria-pressed", String(Number(group.style.opacity || 1) === 1));
  }
};
const toggle = (event) => {
  if (!event.target.matches(".legendtoggle") || ![" ", "Enter"].includes(event.key)) return;
  event.preventDefault();
  for (const type of ["mousedown", "mouseup"]) event.target.dispatchEvent(new MouseEvent(type, { bubbles: true, view: window }));
};
// Every figure as SVG, and as PDF by the browser's own printing of that figure alone.
const saving = (node, id) => {
  const row = document.createElement("div");
  row.className = "saving";
  const button = (title, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = title;
    made.setAttribute("aria-label", `${title} of figure ${id}`);
    made.addEventListener("click", action);
    row.append(made);
  };
  button("SVG", () => Plotly.downloadImage(node, { format: "svg", filename: `${data.run_id}_${id}`, width: node.clientWidth, height: node.clientHeight }));
  button("PDF", () => {
    const figure = node.closest("figure") ?? node;
    figure.classList.add("only");
    document.body.dataset.only = id;
    window.addEventListener("afterprint", () => { figure.classList.remove("only"); delete document.body.dataset.only; }, { once: true });
    window.print();
  });
  return row;
};
const line = (x0, y0, x1, y1, refs) => ({
  type: "line", x0, y0, x1, y1, line: { color: "#9aa3ab", width: 1, dash: "dot" }, layer: "below", ...refs,
});
