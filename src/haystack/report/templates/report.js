"use strict";
(() => {
  let found = null, place = null;
  // Genes that the search names, drawn over the others.
  function highlight(rows) {
    const node = document.getElementById("volcano");
    if (!found || !node || !node.data) return;
    const points = rows.slice(0, 50).map(place).filter((p) => p.p !== null && p.x !== null);
    Plotly.restyle(node, { x: [points.map((p) => p.x)], y: [points.map((p) => p.y)], text: [points.map((p) => `<b>${safe(p.name)}</b><br>log2 change ${fixed(p.x, 2)}`)] }, [node.data.length - 1]);
  }

  function volcano() {
    const genes = data.genes, limits = genes.limits;
    // Without a local false sign rate (a single prompt, nothing measured) no gene is called: genes are placed by expression.
    const called = genes.lfsr.some((p) => p !== null);
    const level = (index) => (genes.control[index] === null ? null : Math.max(genes.control[index], genes.perturbed[index]));
    const column = called ? genes.lfsr : genes.gene.map((_, index) => level(index));
    const CEILING = 12;
    const finite = column.filter((p) => p !== null && p > 0);
    const height = (p) => (called ? Math.min(CEILING, -Math.log10(p)) : Math.log10(1 + p));
    const cap = finite.reduce((most, p) => Math.max(most, height(p)), called ? 5 : 1) * 1.04;
    const at = (p) => (called && !(p > 0) ? cap : height(p));
    const sets = { up: [], down: [], rest: [] };
    const seen = new Set();
    genes.gene.forEach((name, index) => {
      const p = column[index], x = genes.log2fc[index];
      if (p === null || x === null) return;
      const point = { name, x, y: at(p), p, flag: genes.flag[index], low: genes.low[index], high: genes.high[index] };
      if (point.flag & CHANGED) { (x > 0 ? sets.up : sets.down).push(point); return; }
      // Unchanged genes lie on top of each other by the thousand: one per place is drawn.
      const spot = `${Math.round(x * 40)}:${Math.round((point.y / cap) * 150)}`;
      if (!(point.flag & EXPECTED) && seen.has(spot)) return;
      seen.add(spot);
      sets.rest.push(point);
    });
    const trace = (points, name, color, symbol, size, opacity) => ({
      type: "scatter", mode: "markers", name: `${name} (${points.length.toLocaleString("en")})`,
      x: points.map((p) => p.x), y: points.map((p) => p.y),
      text: points.map((p) => `<b>${safe(p.name)}</b><br>log2 change ${fixed(p.x, 2)} (90% interval ${fixed(p.low, 2)} to ${fixed(p.high, 2)})<br>${called ? `lfsr ${pValue(p.p)}` : `mean CP10k ${fixed(p.p, 2)}`}`),
      hoverinfo: "text", marker: { color, symbol, size, opacity, line: { width: symbol.endsWith("open") ? 1 : 0 } },
    });
    const total = genes.flag.filter((f, i) => !(f & CHANGED) && column[i] !== null).length;
    const size = sets.up.length + sets.down.length > 600 ? 5.5 : 8;
    const rest = trace(sets.rest, "not called", "#9aa3ab", "circle-open", 5, 0.55);
    rest.name = `not called (${total.toLocaleString("en")})`;
    const expected = [...sets.up, ...sets.down, ...sets.rest].filter((p) => p.flag & EXPECTED);
    const traces = [rest, trace(sets.up, "upregulated", UP, "triangle-up", size, 0.8), trace(sets.down, "downregulated", DOWN, "triangle-down", size, 0.8)];
    if (expected.length) {
      const ring = trace(expected, "expected to respond", INK, "circle-open", 14, 0.9);
      ring.marker.line.width = 1.6;
      traces.push(ring);
    }
    found = trace([], "found by the search", INK, "diamond", 11, 1);
    found.showlegend = false;
    traces.push(found);
    place = (index) => ({ name: genes.gene[index], x: genes.log2fc[index], y: at(column[index]),
      p: column[index], low: genes.low[index], high: genes.high[index] });
    const reach = Math.max(limits.log2fc * 2, ...[...sets.up, ...sets.down, ...sets.rest].map((p) => Math.abs(p.x))) * 1.12;
    const annotations = labels(sets, reach, cap).map((p) => ({
      x: p.x, y: p.y, text: safe(p.name.length > 16 ? `${p.name.slice(0, 15)}…` : p.name), showarrow: false,
      yshift: 13, font: { size: 11.5, color: p.x > 0 ? UP : DOWN },
    }));
    draw("volcano", traces, {
      xaxis: axis("log2 fold change (predicted / control)", { range: [-reach, reach], zeroline: true, zerolinecolor: LINE }),
      yaxis: axis(called ? "−log10 local false sign rate" : "log10(1 + mean CP10k)", { range: [-cap * 0.02, cap * 1.1] }), annotations,
      shapes: [line(-limits.log2fc, 0, -limits.log2fc, 1, { yref: "paper" }), line(limits.log2fc, 0, limits.log2fc, 1, { yref: "paper" }),
        ...(called && limits.lfsr ? [line(0, -Math.log10(limits.lfsr), 1, -Math.log10(limits.lfsr), { xref: "paper" })] : [])],
    });
  }

  // The strongest genes of each side, left out where a label would cover another.
  function labels(sets, reach, cap) {
    const wide = narrow() ? 0.3 : 0.13, high = narrow() ? 0.06 : 0.05, chosen = [];
    const strongest = (points) => [...points].sort((a, b) => b.y * Math.abs(b.x) - a.y * Math.abs(a.x)).slice(0, 14);
    for (const point of [...strongest(sets.up), ...strongest(sets.down)]) {
      const clear = chosen.every((c) => Math.abs(c.x - point.x) / (2 * reach) > wide || Math.abs(c.y - point.y) / (cap * 1.1) > high);
      if (clear) chosen.push(point);
    }
    return chosen;
  }

  function wrap(text, width, rows) {
    const lines = [""];
    for (const word of text.replace(/_/g, " ").split(/\s+/)) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length + 1 > width) lines.push(word);
      else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    }
    const cut = lines.map((item) => (item.length > width + 8 ? `${item.slice(0, width + 7)}…` : item));
    return cut.slice(0, rows).map(safe).join("<br>") + (cut.length > rows ? " …" : "");
  }

  function terms() {
    const rows = [...data.terms].filter((row) => row.neglog !== null).reverse();
    if (!rows.length) return;
    const width = narrow() ? 20 : 40;
    const largest = Math.max(...rows.map((row) => row.n_overlap), 1);
    const side = (direction, color, symbol, name) => {
      const own = rows.map((row, y) => ({ ...row, y })).filter((row) => row.direction === direction);
      return {
        type: "scatter", mode: "markers", name, x: own.map((row) => row.neglog), y: own.map((row) => row.y), hoverinfo: "text",
        text: own.map((row) => `<b>${wrap(row.term, 50, 4)}</b><br>${row.n_overlap} called of ${row.n_set} genes<br>` +
          `adjusted p ${pValue(row.padj)}<br>${safe(row.genes.slice(0, 8).join(", "))}`),
        marker: { color, symbol, size: own.map((row) => 8 + 16 * Math.sqrt(row.n_overlap / largest)), opacity: 0.9, line: { width: 2, color } },
      };
    };
    const limit = -Math.log10(Number(document.getElementById("terms").dataset.padj));
    const reach = Math.max(1.2 * limit, ...rows.map((row) => row.neglog));
    const node = document.getElementById("terms");
    node.style.height = `${Math.max(14, 5 + rows.length * (narrow() ? 3 : 1.9))}rem`;
    draw("terms", [side("up", UP, "circle", "upregulated genes"), side("down", DOWN, "circle-open", "downregulated genes")].filter((t) => t.x.length), {
      showlegend: true,
      xaxis: axis("−log10 adjusted p", { range: [-(narrow() ? 0.1 : 0.03) * reach, (narrow() ? 1.12 : 1.04) * reach], zeroline: true, zerolinecolor: LINE }),
      yaxis: axis("", { tickvals: rows.map((_, y) => y), ticktext: rows.map((row) => wrap(row.term, width, 2)), range: [-0.8, rows.length - 0.2],
        tickfont: { size: narrow() ? 11 : 12.5 } }),
      shapes: [line(limit, 0, limit, 1, { yref: "paper" })],
    });
  }

  function factors() {
    const rows = data.factors;
    if (!rows.length) return;
    const limit = Number(document.getElementById("factors").dataset.padj);
    document.getElementById("factors").style.height = `${Math.max(14, 6 + rows.length * 1.5)}rem`;
    // Values stand outside their bars: each side that has bars gets room for a number, in pixels of the plot.
    const lowest = Math.min(0, ...rows.map((row) => row.statistic)), highest = Math.max(0, ...rows.map((row) => row.statistic));
    const room = (highest - lowest || 1) * (narrow() ? 0.24 : 0.07);
    draw("factors", [{
      type: "bar", orientation: "h", x: rows.map((row) => row.statistic), y: rows.map((_, y) => y), hoverinfo: "text",
      text: rows.map((row) => safe(fixed(row.statistic, 1))), textposition: "outside", cliponaxis: false, textfont: { size: 11.5 },
      hovertext: rows.map((row) => `<b>${safe(row.term)}</b><br>t ${fixed(row.statistic, 2)}<br>adjusted p ${pValue(row.padj)}<br>${row.n_overlap} targets`),
      marker: { opacity: rows.map((row) => (row.padj !== null && row.padj <= limit ? 0.9 : 0.3)), color: rows.map((row) => (row.statistic > 0 ? UP : DOWN)), pattern: { shape: rows.map((row) => (row.statistic > 0 ? "" : "/")), fgcolor: "#fff", size: 6 } },
    }], {
      bargap: 0.35, margin: { l: 56, r: narrow() ? 16 : 40, t: narrow() ? 12 : 40, b: 48 },
      xaxis: axis("activity (t of the linear model)", { range: [lowest < 0 ? lowest - room : 0, highest > 0 ? highest + room : 0], zeroline: true, zerolinecolor: "#8b959e" }),
      yaxis: axis("", { tickvals: rows.map((_, y) => y), ticktext: rows.map((row) => safe(row.term)) }),
    });
  }

  // -- table ----------------------------------------------------------------------------------------------------------

  function table() {
    const body = document.querySelector("#genes tbody");
    if (!body) return;
    const genes = data.genes, PAGE = 25, n = genes.gene.length;
    const field = (id) => document.getElementById(id);
    const state = { key: "log2fc", ascending: false, size: true, page: 0, rows: [] };

    function compare(a, b) {
      const column = genes[state.key];
      const [x, y] = [column[a], column[b]];
      if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
      // As delivered: called genes first, largest change first.
      if (state.size) return a - b;
      const order = typeof x === "string" ? x.localeCompare(y, "en") : x - y;
      return (state.ascending ? order : -order) || a - b;
    }
    function select() {
      const words = field("find").value.toUpperCase().split(/[\s,;]+/).filter(Boolean);
      const kind = field("kind").value, change = Math.abs(Number(field("change").value) || 0);
      const limit = field("limit").value === "" ? null : Number(field("limit").value);
      state.rows = [];
      for (let i = 0; i < n; i += 1) {
        const flag = genes.flag[i], x = genes.log2fc[i];
        if (words.length && !words.some((word) => genes.gene[i].toUpperCase().includes(word))) continue;
        if (kind === "changed" && !(flag & CHANGED)) continue;
        if (kind === "up" && !(flag & CHANGED && x > 0)) continue;
        if (kind === "down" && !(flag & CHANGED && x < 0)) continue;
        if (kind === "expected" && !(flag & EXPECTED)) continue;
        if (change && !(x !== null && Math.abs(x) >= change)) continue;
        if (limit !== null && !(genes.lfsr[i] !== null && genes.lfsr[i] <= limit)) continue;
        state.rows.push(i);
      }
      state.rows.sort(compare);
      state.page = 0;
      show();
      highlight(words.length ? state.rows : []);
    }
    // Address patterns come from the page's own data; a symbol that could mean anything else in an address gets no link.
    function link(name, address) {
      const node = document.createElement("a");
      node.href = address;
      node.rel = "noopener noreferrer";
      node.textContent = name;
      return node;
    }
    function genePages(gene) {
      if (!new RegExp(data.links.symbol).test(gene)) return [];
      return data.links.pages.map(([name, address]) => link(name, address.replace("{gene}", gene)));
    }
    function notes(flag) {
      if (flag & OUTSIDE) return flag & EXPECTED ? "expected; not in the model" : "not in the model";
      return flag & EXPECTED ? "expected" : "";
    }
    function cell(row, text, name) {
      const node = row.insertCell();
      node.textContent = text;
      if (name) node.className = name;
      return node;
    }
    function show() {
      const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
      body.replaceChildren();
      for (const i of state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
        const row = body.insertRow(), x = genes.log2fc[i];
        const name = document.createElement("th");
        name.scope = "row";
        name.textContent = genes.gene[i];
        row.append(name);
        const links = genePages(genes.gene[i]);
        const arrow = x === null || !(genes.flag[i] & CHANGED) ? "" : x > 0 ? "▲ " : "▼ ";
        cell(row, arrow + fixed(x, 2), `num ${arrow ? (x > 0 ? "up" : "down") : ""}`);
        cell(row, `${fixed(genes.low[i], 2)} to ${fixed(genes.high[i], 2)}`, "num wide");
        cell(row, pValue(genes.lfsr[i]), "num");
        cell(row, fixed(genes.perturbed[i], 2), "num wide");
        cell(row, fixed(genes.control[i], 2), "num wide");
        const last = cell(row, notes(genes.flag[i]), "links");
        if (!links.length) continue;
        const pages = document.createElement("span");
        pages.className = "pages";
        pages.append(last.textContent ? " · " : "", ...links.flatMap((item, at) => (at ? [" · ", item] : [item])));
        last.append(pages);
      }
      if (!state.rows.length) cell(body.insertRow(), "No gene fits these filters.").colSpan = 7;
      field("shown").textContent = `${state.rows.length.toLocaleString("en")} of ${n.toLocaleString("en")} genes; page ${state.page + 1} of ${pages.toLocaleString("en")}`;
      turnable(field("previous"), field("next"), state.page, pages);
    }
    function download() {
      const quote = (value) => (value === null ? "" : /[",\n\r]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : String(value));
      const keys = ["gene", "log2fc", "low", "high", "lfsr", "perturbed", "control"];
      const head = ["gene", "log2fc", "low", "high", "lfsr", "mean_perturbed", "mean_control", "is_de", "expected", "in_model"];
      const lines = state.rows.map((i) => [...keys.map((key) => quote(genes[key][i])), Boolean(genes.flag[i] & CHANGED),
        Boolean(genes.flag[i] & EXPECTED), !(genes.flag[i] & OUTSIDE)].join(","));
      const saved = document.createElement("a");
      saved.href = URL.createObjectURL(new Blob([[head.join(","), ...lines].join("\n") + "\n"], { type: "text/csv" }));
      saved.download = `${data.run_id}_genes.csv`;
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), 1000);
    }
    for (const button of document.querySelectorAll("#genes th button")) {
      button.addEventListener("click", () => {
        const key = button.dataset.key;
        state.ascending = state.key === key && !state.size ? !state.ascending : key === "gene" || key === "lfsr";
        state.size = false;
        state.key = key;
        for (const other of document.querySelectorAll("#genes th[aria-sort]")) other.setAttribute("aria-sort", "none");
        button.closest("th").setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
        state.rows.sort(compare);
        state.page = 0;
        show();
      });
    }
    for (const id of ["find", "kind", "change", "limit"]) field(id).addEventListener("input", select);
    field("previous").addEventListener("click", () => { state.page -= 1; show(); });
    field("next").addEventListener("click", () => { state.page += 1; show(); });
    field("download").addEventListener("click", download);
    select();
  }

  // Paper is narrower than most windows and wider than a phone: plots take its width while printing.
  // It is white, too, where the window is dark.
  const inks = (ink, muted) => ({ "font.color": ink, "xaxis.title.font.color": muted, "yaxis.title.font.color": muted });
  const plots = () => [...document.querySelectorAll(".plot[data-drawn]")];
  window.addEventListener("beforeprint", () => { for (const node of plots()) Plotly.relayout(node, { width: 660, ...inks("#1c2530", "#55616e") }); });
  window.addEventListener("afterprint", () => { for (const node of plots()) Plotly.relayout(node, { width: null, autosize: true, ...inks(INK, MUTED) }); });

  for (const node of document.querySelectorAll("[data-needs-script]")) node.hidden = false;
  table();
  if (document.getElementById("volcano")) volcano();
  terms();
  factors();
})();
