"use strict";
// Effects by prompt and donor, expression by cell type, and the cell map.
(() => {
  const figures = data.figures;
  if (!figures) return;
  const { genes, effects, groups, cells } = figures;
  const field = (id) => document.getElementById(id);
  const GREY = "#8b959e", GOLD = "#a07a12";
  const LOOK = {
    query: ["query cells (measured)", GREY, "circle-open", 7],
    control: ["control (generated)", DOWN, "square-open", 7],
    perturbed: ["predicted (generated)", UP, "triangle-up", 8],
    control_prompt: ["prompt controls (measured)", GOLD, "cross-thin", 8],
    prompt: ["prompt cells (measured)", GOLD, "x-thin", 8],
  };
  if (figures.query_is_control) LOOK.control[0] = "control (the query cells, measured)";
  // Okabe and Ito's colours, told apart by colour-blind readers; shapes repeat them.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6b6b6b", "#B8A900"];
  const SHAPES = ["circle", "diamond", "square", "triangle-up", "x", "cross", "star", "triangle-down"];
  const MARKS = ["x-thin", "cross-thin", "y-up", "y-down", "square-open", "diamond-open", "triangle-up-open", "star-open"];
  // The strongest stands out from the page: darkest on white, brightest on a dark one.
  const SCALE = matchMedia("(prefers-color-scheme: dark)").matches ? [[0, "#3b464d"], [0.5, "#4b9199"], [1, "#7fe6d9"]]
    : [[0, "#e8e4d8"], [0.5, "#7cb0b5"], [1, "#123f47"]];

  function effectPlot() {
    const called = genes.map((name, at) => ({ name, at, x: effects.prompts[0].x[at] })).filter((gene) => gene.x !== null);
    const up = called.filter((gene) => gene.x > 0).sort((a, b) => b.x - a.x).slice(0, 8);
    const down = called.filter((gene) => gene.x < 0).sort((a, b) => b.x - a.x).slice(-8);
    const rows = [...up, ...down].reverse();
    if (!rows.length) return;
    const series = [
      ...effects.prompts.map((one) => [one, one.best ? UP : DOWN, one.best ? "diamond" : "circle-open", one.best ? 10 : 7, `prompt ${one.name}, predicted`]),
      ...effects.donors.map((one, i) => [one, GOLD, MARKS[i % MARKS.length], 6, `${narrow() && one.name.length > 28 ? `${one.name.slice(0, 27)}…` : one.name}, measured`]),
    ];
    const step = 0.8 / Math.max(1, series.length - 1);
    const traces = series.map(([one, color, symbol, size, name], i) => {
      const shown = rows.map((gene, y) => ({ ...gene, y: y + 0.4 - i * step, x: one.x[gene.at], low: one.low[gene.at], high: one.high[gene.at] })).filter((p) => p.x !== null);
      return {
        type: "scatter", mode: "markers", name: safe(name), x: shown.map((p) => p.x), y: shown.map((p) => p.y), hoverinfo: "text",
        text: shown.map((p) => `<b>${safe(p.name)}</b>, ${safe(name)}<br>log2 change ${fixed(p.x, 2)} (${fixed(p.low, 2)} to ${fixed(p.high, 2)})`),
        error_x: { type: "data", symmetric: false, array: shown.map((p) => p.high - p.x), arrayminus: shown.map((p) => p.x - p.low), color, thickness: 1.1, width: 0 },
        marker: { color, symbol, size, line: { width: 1.6, color } },
      };
    });
    field("effects").style.height = `${Math.max(20, 8 + rows.length * Math.max(1.5, series.length * 0.42))}rem`;
    draw("effects", traces, {
      xaxis: axis("log2 fold change", { zeroline: true, zerolinecolor: GREY }),
      yaxis: axis("", { tickvals: rows.map((_, y) => y), ticktext: rows.map((gene) => safe(gene.name)), range: [-0.7, rows.length - 0.3] }),
    });
  }

  const short = { query: "query", control: "control", perturbed: "predicted", control_prompt: "control, measured", prompt: "prompt, measured" };
  const groupName = (group, most) => `${group.type.length > most ? `${group.type.slice(0, most - 1)}…` : group.type}: ${short[group.role]}`;
  // Genes run across a wide window, and down a phone or a sheet of paper, which are too narrow for their names.
  function expressionPlot(down = narrow()) {
    const dots = field("expression-kind").value === "dot", n = genes.length, names = genes.map(safe);
    const place = (row, at) => (down ? { x: row, y: n - 1 - at } : { x: at, y: groups.length - 1 - row });
    // A matrix plot compares within a gene: each gene from its smallest to its largest mean.
    const scaled = (group, at) => {
      const column = groups.map((one) => one.mean[at]), low = Math.min(...column), high = Math.max(...column);
      return high > low ? (group.mean[at] - low) / (high - low) : 0;
    };
    const text = (group, at) => `<b>${names[at]}</b>, ${safe(groupName(group, 34))} (${group.n} cells)<br>mean ${group.mean[at].toFixed(2)}, in ${(100 * group.share[at]).toFixed(0)}% of the cells`;
    const bar = (title) => ({ title: { text: title, side: "right", font: { size: 11 } }, thickness: 10, len: down ? 0.5 : 0.9, tickfont: { size: 10 } });
    const points = groups.flatMap((group, row) => genes.map((_, at) => ({ group, at, ...place(row, at) })));
    const common = { x: points.map((p) => p.x), y: points.map((p) => p.y), hoverinfo: "text", text: points.map((p) => text(p.group, p.at)) };
    const trace = dots ? {
      ...common, type: "scatter", mode: "markers",
      marker: { size: points.map((p) => 2 + (down ? 10 : 14) * p.group.share[p.at]), color: points.map((p) => p.group.mean[p.at]), colorscale: SCALE, showscale: true, line: { width: 0.6, color: GREY }, colorbar: bar("mean log1p CP10k") },
    } : { ...common, type: "heatmap", z: points.map((p) => scaled(p.group, p.at)), colorscale: SCALE, zmin: 0, zmax: 1, xgap: 1, ygap: 1, colorbar: bar("mean, scaled by gene") };
    const geneAxis = { tickvals: genes.map((_, at) => (down ? n - 1 - at : at)), ticktext: names, range: [-0.7, n - 0.3] };
    const groupAxis = { tickvals: groups.map((_, row) => (down ? row : groups.length - 1 - row)), ticktext: groups.map((group) => safe(groupName(group, down ? 20 : 34))), range: [-0.7, groups.length - 0.3] };
    field("expression").style.height = `${down ? 20 + n * 1.05 : 9 + groups.length * 1.7}rem`;
    draw("expression", [trace], {
      showlegend: false,
      xaxis: axis("", { ...(down ? groupAxis : geneAxis), tickangle: -90, tickfont: { size: down ? 10 : 11 } }),
      yaxis: axis("", { ...(down ? geneAxis : groupAxis), tickfont: { size: down ? 10 : 11.5 } }),
    });
  }

  const rowsOf = (key, index) => cells[key].of.flatMap((of, row) => (of === index ? [row] : []));
  function violins() {
    const gene = field("violin-gene").value, values = cells.expression[gene];
    const traces = cells.role.names.map((name, index) => {
      const [title, color] = LOOK[name], rows = rowsOf("role", index);
      return {
        type: "violin", name: title, y: rows.map((row) => values[row]), line: { color, width: 1.5 }, spanmode: "hard", points: "all", jitter: 0.6, pointpos: 0,
        marker: { size: 2.5, opacity: 0.4, color }, meanline: { visible: true }, hoverinfo: "y+name", scalemode: "width",
      };
    });
    const label = (title) => safe(title).replace(" (", "<br>(");
    draw("violin", traces, {
      showlegend: false, yaxis: axis(`${safe(gene)}, log1p CP10k`, { rangemode: "tozero" }),
      xaxis: axis("", { tickvals: cells.role.names.map((name) => LOOK[name][0]), ticktext: cells.role.names.map((name) => label(LOOK[name][0])), tickfont: { size: narrow() ? 9 : 12 } }),
    });
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  // From control to perturbed: one arrow for generated cells, one for each measured cell type, whose clusters lie apart.
  function arrows(at) {
    const centre = (name, type) => {
      const role = cells.role.names.indexOf(name);
      const rows = cells.role.of.flatMap((of, row) => (of === role && (type === null || cells.type.of[row] === type) ? [row] : []));
      return rows.length >= 5 ? [mean(rows.map((row) => at.x[row])), mean(rows.map((row) => at.y[row]))] : null;
    };
    const pairs = [...cells.type.names.map((_, type) => ["control_prompt", "prompt", type, colour("--warn-ink")]), ["control", "perturbed", null, INK]];
    return pairs.flatMap(([from, to, type, color]) => {
      const [start, end] = [centre(from, type), centre(to, type)];
      return start && end ? [{ x: end[0], y: end[1], ax: start[0], ay: start[1], axref: "x", ayref: "y", showarrow: true, arrowhead: 2, arrowsize: 1.2, arrowwidth: 2.4, arrowcolor: color, text: "" }] : [];
    });
  }
  function cellMap() {
    const kind = field("map-kind").value, by = field("map-colour").value, at = cells[kind];
    field("map-gene").disabled = by !== "gene";
    const symbols = cells.role.of.map((role) => LOOK[cells.role.names[role]][2]);
    const base = { type: "scatter", mode: "markers", hoverinfo: "text" };
    const text = (row) => `${LOOK[cells.role.names[cells.role.of[row]]][0]}<br>${safe(cells.type.names[cells.type.of[row]])}, donor ${safe(cells.donor.names[cells.donor.of[row]])}`;
    const pick = (rows) => ({ ...base, x: rows.map((row) => at.x[row]), y: rows.map((row) => at.y[row]), text: rows.map(text) });
    let traces;
    if (by === "gene") {
      const gene = field("map-gene").value, all = cells.role.of.map((_, row) => row), values = cells.expression[gene];
      traces = [{ ...pick(all), showlegend: false, marker: { symbol: symbols.map((s) => s.replace("-open", "")), size: 7, color: values, colorscale: SCALE, showscale: true, line: { width: symbols.map((s) => (s.endsWith("thin") ? 1.6 : 0.4)), color: values, colorscale: SCALE },
        colorbar: { title: { text: `${safe(gene)}, log1p CP10k`, side: "right", font: { size: 11 } }, thickness: 10 } } }];
    } else if (by === "role") {
      traces = cells.role.names.map((name, index) => {
        const [title, color, symbol, size] = LOOK[name];
        return { ...pick(rowsOf("role", index)), name: title, marker: { color, symbol, size, opacity: 0.75, line: { width: 1.4, color } } };
      });
    } else {
      traces = cells[by].names.map((name, index) => {
        const rows = rowsOf(by, index), color = COLOURS[index % COLOURS.length], symbol = SHAPES[Math.floor(index / COLOURS.length + index) % SHAPES.length];
        return { ...pick(rows), name: safe(name.length > 40 ? `${name.slice(0, 39)}…` : name), marker: { color, symbol, size: 7, opacity: 0.75 } };
      });
    }
    const share = (i) => `PC${i + 1} (${(cells.explained[i] * 100).toFixed(0)}% of the variance)`;
    const [x, y] = kind === "pca" ? [share(0), share(1)] : ["UMAP 1", "UMAP 2"];
    draw("map", traces, { xaxis: axis(x), yaxis: axis(y), annotations: arrows(at) });
  }

  for (const id of ["violin-gene", "map-gene"]) {
    for (const gene of genes) field(id)?.append(new Option(gene, gene));
  }
  if (genes.length) {
    effectPlot();
    expressionPlot();
    violins();
    field("expression-kind").addEventListener("input", () => expressionPlot());
    // Before all plots take the width of the paper (report.js).
    window.addEventListener("beforeprint", () => expressionPlot(true), { capture: true });
    window.addEventListener("afterprint", () => expressionPlot(), { capture: true });
    field("violin-gene").addEventListener("input", violins);
  }
  if (cells.umap && field("map")) {
    cellMap();
    for (const id of ["map-kind", "map-colour", "map-gene"]) field(id).addEventListener("input", cellMap);
  }
})();
