// Filters, links to runs that are closed, and copying. Without this the page shows everything.
"use strict";
const form = document.querySelector(".filter");
const runs = [...document.querySelectorAll(".run")];
const cells = [...document.querySelectorAll(".cell")];
const show = () => {
  const words = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set([...form.querySelectorAll("[name=verdict]:checked")].map((box) => box.value));
  let shown = 0;
  runs.forEach((run, index) => {
    const text = run.querySelector(".title").textContent.toLowerCase();
    const fits = verdicts.has(run.dataset.verdict) && words.every((word) => text.includes(word));
    run.hidden = !fits;
    cells.filter((cell) => cell.hash === "#" + run.id).forEach((cell) => (cell.hidden = !fits));
    shown += fits ? 1 : 0;
  });
  document.querySelectorAll(".matrix tr").forEach((row) => (row.hidden = !row.querySelector(".cell:not([hidden])")));
  document.querySelectorAll(".matrix").forEach((table) => (table.hidden = !table.querySelector("tr:not([hidden])")));
  document.getElementById("shown").textContent = shown === runs.length ? "" : `${shown} of ${runs.length}`;
};
const reveal = () => {
  const run = location.hash && document.getElementById(location.hash.slice(1));
  if (run && run.matches(".run")) {
    run.open = true;
    run.scrollIntoView();
  }
};
form.hidden = false;
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", reveal);
reveal();
document.querySelectorAll(".copy").forEach((button) => {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
  });
});
