"use strict";
(() => {
  const body = document.querySelector("#runs tbody"), rows = [...body.rows];
  const find = document.getElementById("find"), shown = document.getElementById("shown");
  const value = (row, column, kind) => {
    const cell = row.cells[column];
    if (kind === "text") return cell.textContent.trim();
    return cell.dataset.value === "" || cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  for (const button of document.querySelectorAll("#runs th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), column = head.cellIndex, kind = button.dataset.kind;
      const before = head.getAttribute("aria-sort");
      const ascending = before === "none" ? kind === "text" : before === "descending";
      for (const other of document.querySelectorAll("#runs th[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const order = rows.map((row, index) => ({ row, index, key: value(row, column, kind) }));
      order.sort((a, b) => {
        if (a.key === null || b.key === null) return a.key === b.key ? a.index - b.index : a.key === null ? 1 : -1;
        const by = kind === "text" ? a.key.localeCompare(b.key, "en", { numeric: true }) : a.key - b.key;
        return (ascending ? by : -by) || a.index - b.index;
      });
      body.append(...order.map((item) => item.row));
      heat();
    });
  }
  const field = (id) => document.getElementById(id);
  const visible = () => [...body.rows].filter((row) => !row.hidden);
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = field("status").value, confidence = Number(field("confidence").value), least = field("accuracy").value;
    for (const row of rows) {
      const text = row.textContent.toLowerCase(), accuracy = value(row, 2, "number");
      row.hidden = !(words.every((word) => text.includes(word)) && (!status || row.dataset.status === status)
        && (!confidence || value(row, 3, "number") >= confidence) && (least === "" || (accuracy !== null && accuracy >= Number(least))));
    }
    shown.textContent = `${visible().length} of ${rows.length} runs`;
    place = 0;
    heat();
  }

  // The heat map draws one page of the visible runs: a table of 1,000 runs would be slow to scroll.
  const data = JSON.parse(field("summary-data").textContent), PAGE = 40;
  let place = 0;
  function heat() {
    const table = field("heat");
    if (!table) return;
    const { columns, full, rows: values } = data[field("heat-kind").value];
    const runs = visible().map((row) => [row.dataset.run, row.querySelector("th a")?.getAttribute("href")]).filter(([run]) => values[run]);
    const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const head = document.createElement("tr");
    head.append(cell("td", ""), ...columns.map((name) => {
      const node = cell("th", "");
      node.scope = "col";
      node.title = name;
      node.append(cell("span", name.length > 46 ? `${name.slice(0, 45)}…` : name));
      return node;
    }));
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...runs.slice(place * PAGE, (place + 1) * PAGE).map(([run, page]) => {
      const row = document.createElement("tr"), name = cell("th", page ? "" : run);
      name.scope = "row";
      if (page) name.append(Object.assign(cell("a", run), { href: page }));
      row.append(name, ...values[run].map((value, at) => {
        const node = cell("td", value === null ? "" : `${value > 0 ? "▲" : "▼"}${Math.abs(value).toFixed(Math.abs(value) < 10 ? 1 : 0)}`);
        node.title = columns[at];
        if (value !== null) {
          const depth = Math.min(1, Math.abs(value) / full);
          // No darker than the ink can be read on, in light and dark pages.
          node.style.background = `rgba(${value > 0 ? "168,64,26" : "35,90,148"},${(0.08 + 0.42 * depth).toFixed(2)})`;
        }
        return node;
      }));
      return row;
    }));
    const pages = Math.max(1, Math.ceil(runs.length / PAGE));
    field("heat-shown").textContent = `${runs.length} ${runs.length === 1 ? "run" : "runs"} with results; page ${place + 1} of ${pages}`;
    turnable(field("heat-previous"), field("heat-next"), place, pages);
  }
  for (const id of ["find", "status", "confidence", "accuracy"]) field(id).addEventListener("input", filter);
  if (field("heat")) {
    field("heat-kind").addEventListener("input", heat);
    field("heat-previous").addEventListener("click", () => { place -= 1; heat(); });
    field("heat-next").addEventListener("click", () => { place += 1; heat(); });
    heat();
  }
  for (const node of document.querySelectorAll("[data-needs-script]")) node.hidden = false;
})();
