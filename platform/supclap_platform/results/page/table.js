// Sorting and filtering of the result tables. Everything here is made by the script: where none
// runs, the page has no dead controls. A table that stands a second time in pieces for paper is
// sorted and filtered as one with them.
"use strict";

const LARGEST = "descending", SMALLEST = "ascending";

// The words above each column of figures, outermost first: heads are of one to three lines.
function headings(table) {
  const paths = [];
  [...table.tHead.rows].forEach((line, place) => {
    let at = 0;
    for (const head of line.cells) {
      if (place === 0 && head === line.cells[0]) continue;  // the corner above the rows' names
      for (let span = 0; span < head.colSpan; span += 1) (paths[at++] ??= []).push(head.textContent);
    }
  });
  return paths.map((path) => path.join(", "));
}

// By value, and stable: what is equal stays in the file's order, what has no value comes last.
function ordered(places, value, direction) {
  const sign = direction === LARGEST ? -1 : 1;
  return [...places].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? NAMES.compare(a, b) : Math.sign(a - b) || 0);
  });
}
const NAMES = new Intl.Collator("en", { numeric: true });

function equip(section) {
  const tables = [...section.querySelectorAll("table.table")];
  const whole = tables[0];  // those after it are its pieces for paper
  const rows = tables.map((table) => [...table.tBodies[0].rows]);  // in the file's order
  const places = [...rows[0].keys()];
  if (places.length < 2) return;
  const names = rows[0].map((row) => row.cells[0].textContent);
  const paths = headings(whole);
  let key = null, direction = null;

  const tools = document.createElement("p");
  tools.className = "tools";
  const label = document.createElement("label");
  label.textContent = "Rows whose name contains ";
  const box = document.createElement("input");
  box.type = "search";
  box.autocomplete = "off";
  box.spellcheck = false;
  label.append(box);
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  tools.append(label, " ", said);
  section.prepend(tools);

  // null is the column of names; else the place of a column of figures.
  function valueOf(place) {
    if (key === null) return names[place];
    const value = rows[0][place].cells[key + 1].dataset.value;
    return value === undefined || Number.isNaN(Number(value)) ? null : Number(value);
  }

  function show() {
    const asked = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const seen = (place) => asked.every((word) => names[place].toLowerCase().includes(word));
    const order = direction === null ? places : ordered(places, valueOf, direction);
    // Those left out stand first, so that the line below the last row stays where it is.
    const moved = [...order.filter((place) => !seen(place)), ...order.filter(seen)];
    tables.forEach((table, at) => {
      for (const place of moved) rows[at][place].hidden = !seen(place);
      table.tBodies[0].append(...moved.map((place) => rows[at][place]));
    });
    const count = places.filter(seen).length;
    const words = asked.length ? [`${count} of ${places.length} rows are shown`] : [];
    if (direction !== null) {
      const way = (key === null ? ["Z to A", "A to Z"] : ["largest first", "smallest first"]);
      const by = key === null ? "name" : paths[key];
      words.push(`sorted by ${by}, ${way[Number(direction === SMALLEST)]}`);
    }
    said.textContent = words.join("; ");
  }

  const corner = whole.tHead.rows[0].cells[0];
  const heads = [...whole.tHead.rows[whole.tHead.rows.length - 1].cells];
  const figures = heads.filter((head) => head !== corner);
  corner.setAttribute("role", "columnheader");

  function sortable(head, own, title, first, second) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.append(...head.childNodes);
    if (!button.textContent) button.textContent = "row";
    head.append(button);
    button.addEventListener("click", () => {
      const next = key === own ? { [first]: second, [second]: null }[direction] : first;
      direction = next === undefined ? first : next;
      key = own;
      for (const other of [corner, ...figures]) other.removeAttribute("aria-sort");
      if (direction !== null) head.setAttribute("aria-sort", direction);
      show();
    });
  }
  const cycle = "the file's order";
  sortable(corner, null, `Sort by name: A to Z, Z to A, ${cycle}`, SMALLEST, LARGEST);
  figures.forEach((head, place) => {
    const title = `Sort by ${paths[place]}: largest first, smallest first, ${cycle}`;
    sortable(head, place, title, LARGEST, SMALLEST);
  });

  box.addEventListener("input", show);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { box.value = ""; show(); }
  });
}

document.querySelectorAll("section.result").forEach(equip);
