"""What the documents say can be followed: every link leads somewhere, every command exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)|^\[[^\]]+\]:\s*<?([^\s>]+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`|&& )make ([a-z-]+)", re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file of the project, those of installed packages left out."""
    hidden = {".venv", ".git", "build", "dist", "node_modules"}
    found = sorted(path for path in ROOT.rglob("*.md") if not hidden & set(path.relative_to(ROOT).parts))
    assert ROOT / "README.md" in found
    return found


def anchors(document: Path) -> set[str]:
    """The names under which headings can be linked to, made as GitHub makes them."""
    names: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", document.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names.add(next(n for n in (name, *(f"{name}-{i}" for i in range(1, 99))) if n not in names))
    return names


def is_broken(document: Path, target: str) -> bool:
    """Whether `target` leads nowhere; of a web address only the form can be checked without a network."""
    if "://" in target or target.startswith("mailto:"):
        return not re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/\S*)?|mailto:\S+@\S+", target)
    path, _, anchor = target.partition("#")
    aim = (document.parent / path).resolve() if path else document
    if not aim.exists() or not aim.is_relative_to(ROOT):
        return True
    return bool(anchor) and (aim.suffix != ".md" or anchor not in anchors(aim))


def test_every_link_leads_somewhere() -> None:
    """A reader who meets a dead link on the first page trusts none of the numbers."""
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents()
        for target in map("".join, LINK.findall(CODE.sub("", FENCED.sub("", document.read_text()))))
        if is_broken(document, target)
    ]

    assert broken == []


def test_every_make_command_exists() -> None:
    """The two commands of the README are all that a new user is told."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = {name for document in documents() for name in COMMAND.findall(document.read_text())}

    assert named - targets == set()
