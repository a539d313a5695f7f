"use strict";
// The page says everything without this; here are sorting, filtering, and opening what is asked for.
(() => {
  const FEW = 10;
  const words = { all: "", worse: " that got worse", better: " that got better", failed: " that failed" };

  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return numeric ? (text === "" ? null : Number(text)) : text;
  };

  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(one).localeCompare(String(other), undefined, { numeric: true });
  };

  const sort = (table, header, say) => {
    const column = header.cellIndex;
    const numeric = header.dataset.sort === "number";
    const down = header.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column, numeric), row]);
    rows.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null);
      return down ? compare(other, one) : compare(one, other);
    });
    body.append(...rows.map(([, row]) => row));
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    say(`Sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}. `);
  };

  const filter = (table, buttons, wanted) => {
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      const kinds = row.dataset.kinds.split(" ");
      row.hidden = wanted !== "all" && !kinds.includes(wanted);
      count += row.hidden ? 0 : 1;
    }
    for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.filter === wanted);
    return count;
  };

  const enhance = (part) => {
    const table = part.querySelector("table");
    const total = table.tBodies[0].rows.length;
    const status = part.querySelector("[role=status]");
    const buttons = part.querySelectorAll("[data-filter]");
    const more = part.querySelector("[data-more]");
    let wanted = "all";
    let count = total;

    const say = (before = "") => {
      const short = table.classList.contains("few") && count > FEW;
      more.parentElement.hidden = !short;
      more.textContent = `Show all ${count}`;
      const seen = short ? `the first ${FEW} of ${count}` : `${count} of ${total}`;
      status.textContent = `${before}Showing ${seen} examples${words[wanted]}.`;
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
        wanted = button.dataset.filter;
        count = filter(table, buttons, wanted);
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
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
    opened = [];
  });
})();
