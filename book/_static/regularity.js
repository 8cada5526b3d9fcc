/* The ledger's filter, formulas that scroll by keyboard, search excerpts, and the reader's own JupyterHub. No dependency,
   no request. */
(() => {
  "use strict";

  const FIELDS = ["part", "source", "verdict", "kind", "seeds", "gpu", "revised"];

  /** Show the rows of the ledger that match the form, say how many, and keep the choice in the address. */
  function startLedger(form) {
    const rows = [...document.querySelectorAll("#ledger-table tbody tr")];
    const output = form.querySelector("output");
    const asked = new URLSearchParams(location.search);
    const fields = FIELDS.filter((name) => form.elements[name]); // there may be no run on a GPU yet
    for (const name of [...fields, "words"]) {
      if (asked.has(name)) form.elements[name].value = asked.get(name);
    }

    function apply() {
      const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = fields.map((name) => [name, form.elements[name].value]).filter(([, value]) => value);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const matches =
          wanted.every(([name, value]) => row.dataset[name] === value) && words.every((word) => text.includes(word));
        row.hidden = !matches;
        shown += matches;
      }
      output.value = `${shown} of ${rows.length} claims`;
      const query = new URLSearchParams(wanted);
      if (words.length) query.set("words", words.join(" "));
      history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
    }

    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
    form.hidden = false;
    apply();
  }

  /** Ask once for the address of the reader's hub, and open the plain copy of the chapter there. */
  function launchOnHub(notebook, branch) {
    const dialog = document.createElement("dialog");
    dialog.className = "hub-dialog";
    dialog.setAttribute("aria-labelledby", "hub-title");
    dialog.innerHTML = `
      <form method="dialog">
        <h2 id="hub-title">Open on your JupyterHub</h2>
        <label>Address of the hub <input type="url" required placeholder="https://hub.example.org"></label>
        <p>It needs nbgitpuller. The address stays in this browser.</p>
        <div><button value="open">Open</button> <button value="" formnovalidate>Cancel</button></div>
      </form>`;
    const input = dialog.querySelector("input");
    try {
      input.value = localStorage.getItem("regularity-hub") || "";
    } catch { /* A browser that keeps nothing asks each time. */ }
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "open") {
        const hub = input.value.replace(/\/+$/, "");
        try {
          localStorage.setItem("regularity-hub", hub);
        } catch { /* As above. */ }
        const query = new URLSearchParams({
          repo: "https://github.com/regularity-book/regularity",
          branch,
          urlpath: `lab/tree/regularity/${notebook}`,
        });
        window.open(`${hub}/hub/user-redirect/git-pull?${query}`, "_blank", "noopener");
      }
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  }
  window.launchOnHub = launchOnHub;

  /** Let the excerpts of search results come out of a page's text, not out of its buttons; a term's is its meaning. */
  if (typeof Search === "object") {
    Search.htmlToText = (html, anchor) => {
      const page = new DOMParser().parseFromString(html, "text/html");
      const article = page.querySelector("article") || page.body;
      article.querySelectorAll(".headerlink, script, style, svg").forEach((element) => element.remove());
      const found = anchor ? page.querySelector(`[id="${CSS.escape(anchor.replace(/^#/, ""))}"]`) : null;
      const section = found?.matches("dt.glossary, dl.glossary dt") ? found.nextElementSibling : found;
      return (section || article).textContent;
    };
  }

  /** Formulas are no stops of the Tab key, but for those that are wider than the page and must be scrolled. */
  function letFormulasScroll() {
    for (const formula of document.querySelectorAll('mjx-container[display="true"]')) {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("ledger-filter");
    if (form) startLedger(form);
    window.MathJax?.startup?.promise?.then(letFormulasScroll);
    addEventListener("resize", letFormulasScroll);
  });
})();
