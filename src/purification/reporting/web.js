(function () {
  document.documentElement.className = "js";

  function key(row, column, number) {
    var cell = row.cells[column];
    if (!number) { return cell.textContent.trim().toLowerCase() || null; }
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  }

  // The rows below each heading of a run stay there.
  function sort(table, headings, column) {
    var heading = headings[column];
    var number = heading.dataset.kind === "number";
    var before = heading.getAttribute("aria-sort");
    var descending = before === null ? number : before === "ascending";
    headings.forEach(function (other) { other.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    Array.from(table.tBodies).forEach(function (body) {
      var rows = Array.from(body.rows).filter(function (row) { return !row.classList.contains("run"); });
      rows.sort(function (one, other) {
        var a = key(one, column, number), b = key(other, column, number);
        if (a === b) { return 0; }
        if (a === null || b === null) { return a === null ? 1 : -1; }  // without a value: last
        return (a < b ? -1 : 1) * (descending ? -1 : 1);
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    var headings = Array.from(table.tHead.rows[0].cells);
    headings.forEach(function (heading, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(heading.childNodes));
      heading.replaceChildren(button);
      button.addEventListener("click", function () { sort(table, headings, column); });
    });
  });

  var tip = document.createElement("div");
  tip.id = "tip";
  document.body.appendChild(tip);

  function show(cell) {
    var beside = cell.querySelector(".beside");
    // On a narrow window and in print it stands there already.
    if (!beside || getComputedStyle(beside).position !== "absolute") { hide(); return; }
    tip.textContent = Array.from(beside.children).map(function (part) { return part.textContent; }).join("\n");
    tip.style.display = "block";
    var place = cell.getBoundingClientRect(), box = tip.getBoundingClientRect();
    var below = place.bottom + box.height + 4 < innerHeight;
    tip.style.left = Math.max(4, Math.min(place.right - box.width, innerWidth - box.width - 4)) + "px";
    tip.style.top = (below ? place.bottom + 2 : Math.max(4, place.top - box.height - 2)) + "px";
  }
  function hide() { tip.style.display = "none"; }
  function cellOf(event) { return event.target.closest ? event.target.closest("td") : null; }

  document.addEventListener("mouseover", function (event) {
    var cell = cellOf(event);
    if (cell) { show(cell); } else { hide(); }
  });
  document.addEventListener("focusin", function (event) { if (cellOf(event)) { show(cellOf(event)); } });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { hide(); } });
  // Folded tables are printed, too.
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (fold) { fold.open = true; });
  });
})();
