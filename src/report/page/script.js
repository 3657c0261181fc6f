"use strict";
(() => {
  const words = document.getElementById("words");
  const kind = document.getElementById("kind");
  const shown = document.getElementById("shown");
  const rows = Array.from(document.querySelectorAll("tr[data-kind]"), (row) => (
    { row, text: row.textContent.toLowerCase(), kind: row.dataset.kind, isNew: "new" in row.dataset }
  ));
  const filter = () => {
    const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { row, text, kind: own, isNew } of rows) {
      const ofKind = kind.value === "" || kind.value === own || (kind.value === "new" && isNew);
      const visible = ofKind && wanted.every((word) => text.includes(word));
      row.hidden = !visible;
      if (visible) count += 1;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  };
  document.getElementById("filters").hidden = false;
  let waiting;
  words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  kind.addEventListener("change", filter);
  filter();
})();
