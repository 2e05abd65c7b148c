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
    });
  }
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      n += !row.hidden;
    }
    shown.textContent = `${n} of ${rows.length} runs`;
  });
  for (const node of document.querySelectorAll("[data-needs-script]")) node.hidden = false;
})();
