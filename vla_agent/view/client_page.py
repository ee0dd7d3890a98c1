"""viser's page with a few lines of our own: the title, dark or light as the browser has it, and the space bar."""

from __future__ import annotations

import html
from pathlib import Path

SCHEME = "vla-agent-scheme"  # in the browser's storage: "dark" or "light", where the viewer chose

SCRIPT = """
(() => {
  const search = new URLSearchParams(location.search);
  const chosen = localStorage.getItem("SCHEME");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  search.delete("token");  // the cookie has it; it does not stay in the address
  if (dark) search.set("darkMode", ""); else search.delete("darkMode");
  const query = search.toString();
  history.replaceState(null, "", location.pathname + (query ? "?" + query : ""));
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-view-scheme]")) return;
    localStorage.setItem("SCHEME", dark ? "light" : "dark");
    location.reload();
  });
  // A button that was clicked keeps the focus, and the space bar would press it besides what the page does on space.
  // One that was reached by the Tab key is pressed by space, and the page does nothing else.
  let clicked = false;  // the focus came by mouse or finger
  addEventListener("pointerdown", () => { clicked = true; }, true);
  addEventListener("keydown", (event) => {
    if (event.code === "Tab") clicked = false;
    const focused = document.activeElement;
    if (event.code !== "Space" || !focused || focused === document.body) return;
    if (!focused.matches("button, [role=button], [role=tab], [role=switch], input[type=checkbox]")) return;
    if (clicked) { focused.blur(); event.preventDefault(); }
    else event.stopPropagation();
  }, true);
  // viser sends one message every 50 ms and drops those between: Enter waits until the text before it is on its way.
  addEventListener("keydown", (event) => {
    const form = event.key === "Enter" && event.target.matches?.("form input") ? event.target.form : null;
    if (!form) return;
    event.preventDefault();
    setTimeout(() => form.requestSubmit(), 150);
  }, true);
})();
"""
STYLE = """
:root { --view-ink: #1f2937; --view-soft: #6b7280; --view-line: #d1d5db; }
[data-mantine-color-scheme=dark] { --view-ink: #e5e7eb; --view-soft: #9ca3af; --view-line: #4b5563; }
.view { color: var(--view-ink); font-size: 0.8rem; line-height: 1.35; padding: 0.2rem 0.75rem;
  overflow-wrap: anywhere; }
.view table { border-collapse: collapse; width: 100%; }
.view th { text-align: left; font-weight: 500; color: var(--view-soft); padding: 0 0.6rem 0.15rem 0;
  vertical-align: top; white-space: nowrap; width: 1%; }
.view td { padding: 0 0 0.15rem 0; }
.view .state { display: flex; gap: 0.5rem; align-items: baseline; padding: 0.15rem 0; }
.view .state::before { content: ""; flex: none; width: 0.6rem; height: 0.6rem; border-radius: 50%; }
.view .idle::before { background: #9ca3af; } .view .good::before { background: #16a34a; }
.view .warning::before { background: #d97706; } .view .bad::before { background: #dc2626; }
.view .trouble { border-left: 3px solid #dc2626; padding-left: 0.5rem; margin: 0.2rem 0; }
.view button { font: inherit; color: inherit; background: none; border: 1px solid var(--view-line);
  border-radius: 4px; padding: 0.1rem 0.5rem; cursor: pointer; }
.view .key { border: 1px solid var(--view-line); border-radius: 3px; padding: 0 0.25rem; font-family: monospace; }
@media (max-width: 36em) {  /* viser's sheet on a phone, as wide as the phone */
  [style*="max-height: 60%"][style*="position: fixed"],
  [style*="max-height: 60%"][style*="position: fixed"] [style*="width: 20em"] { width: 100vw !important; }
}
"""


def client_page(index: Path, title: str) -> bytes:
    """viser's ``index.html`` with title, style and script; they come first, before viser reads the address."""
    page = index.read_text(encoding="utf-8")
    head, found, rest = page.partition("<head>")
    if not found:
        raise ValueError(f"{index} is not the page of viser")
    script = SCRIPT.replace("SCHEME", SCHEME)
    ours = f"<title>{html.escape(title)}</title><style>{STYLE}</style><script>{script}</script>"
    return (head + found + ours + rest).encode()
