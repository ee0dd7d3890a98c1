"""MkDocs hook: links from the documents to files of the repository work in the site too.

A linked file outside docs/ is copied into the site as plain text, below ``repository/`` (so that an anchor in it is
dropped); a link to a folder becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_copied: dict[str, File] = {}


def on_files(files: Files, config: Any) -> Files:
    """Add every linked file of the repository to the site."""
    _copied.clear()
    for page in list(files.documentation_pages()):
        for match in LINK.finditer(page.content_string):
            path = _repository_path(page.src_uri, match["target"])
            if path and (ROOT / path).is_file() and path not in _copied:
                name = f"repository/{path}" + (".txt" if Path(path).suffix in (".md", ".py", ".yaml") else "")
                _copied[path] = File.generated(config, name, abs_src_path=str(ROOT / path))
                files.append(_copied[path])
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point the links at the copies."""

    def rewrite(match: re.Match[str]) -> str:
        path = _repository_path(page.file.src_uri, match["target"])
        if path is None:
            return match[0]
        if path not in _copied:
            return f"{match['text']} (`{path}`)" if path not in match["text"] else match["text"]
        target = posixpath.relpath(_copied[path].src_uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"[{match['text']}]({target})"

    return LINK.sub(rewrite, markdown)


def _repository_path(page: str, target: str) -> str | None:
    """The path from the repository's root, or None where the link stays within docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith("docs/") or not (ROOT / path).exists() else path
