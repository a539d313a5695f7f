"use strict";
// The page is complete without this script, which sorts, filters and unfolds it.
(() => {
  const FEW = 10;
  const words = { all: "", worse: " that got worse", better: " that got better", failed: " that failed" };

  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return numeric ? (text === "" ? null : Number(text)) : text;
  };

  const compare = (left, right) => {
    if (typeof left === "number" && typeof right === "number") return left - right;
    return String(left).localeCompare(String(right), undefined, { numeric: true });
  };

  const sort = (table, header, say) => {
    const column = header.cellIndex;
    const numeric = header.dataset.sort === "number";
    const down = header.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column, numeric), row]);
    rows.sort(([left], [right]) => {
      if (left === null || right === null) return (left === null) - (right === null);
      return down ? compare(right, left) : compare(left, right);
    });
    body.append(...rows.map(([, row]) => row));
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    say(`Sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}. `);
  };

  const filter = (table, buttons, kind) => {
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      const kinds = row.dataset.kinds.split(" ");
      row.hidden = kind !== "all" && !kinds.includes(kind);
      count += row.hidden ? 0 : 1;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.filter === kind);
    return count;
  };

  const enhance = (part) => {
    const table = part.querySelector("table");
    const total = table.tBodies[0].rows.length;
    const status = part.querySelector("[role=status]");
    const buttons = part.querySelectorAll("[data-filter]");
    const more = part.querySelector("[data-more]");
    let kind = "all";
    let count = total;

    const say = (prefix = "") => {
      const short = table.classList.contains("few") && count > FEW;
      more.parentElement.hidden = !short;
      more.textContent = `Show all ${count}`;
      const seen = short ? `the first ${FEW} of ${count}` : `${count} of ${total}`;
      status.textContent = `${prefix}Showing ${seen} examples${words[kind]}.`;
    };

    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, header, say));
    }
    for (const button of buttons) {
      button.addEventListener("click", () => {
        kind = button.dataset.filter;
        count = filter(table, buttons, kind);
        say();
      });
    }
    more.addEventListener("click", () => {
      table.classList.remove("few");
      say();
      buttons[0].focus({ preventScroll: true });
    });
    table.classList.add("sortable", "few");
    part.querySelector(".controls").hidden = false;
    say();
  };

  for (const part of document.querySelectorAll("[data-part=examples]")) {
    if (part.querySelector("table")) enhance(part);
  }

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    const body = target?.closest("details.body") ?? target?.querySelector("details.body");
    if (!body || body.open) return;
    body.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
