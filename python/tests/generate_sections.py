"""Writes `metrics_per_process/_sections.py`, the attributes of a Sample, from the table of metrics.

Usage: python python/tests/generate_sections.py [--check]
"""

import pathlib
import sys

import metrics_per_process as mp

TARGET = pathlib.Path(__file__).resolve().parents[1] / "metrics_per_process" / "_sections.py"

#: Attributes that are called otherwise than the first word of the dotted name.
RENAMED = {"io_counters": "io"}

HEAD = '''"""The attributes of a Sample. Written by python/tests/generate_sections.py: do not edit."""

from __future__ import annotations

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class _Section:
    """Some metrics whose dotted names begin alike."""

    __slots__ = ("_sample",)

    def __init__(self, sample: Any) -> None:
        self._sample = sample
'''


def columns():
    """Every metric and every counter's rate: dotted name, Python type, sentence."""
    for metric in mp.metrics():
        kind = {"integer": "int", "float": "float"}[metric.type]
        unit = "" if metric.unit == "count" else f" In {metric.unit}."
        yield metric.name, kind, f"{metric.help}{unit}"
        if metric.kind == "counter":
            yield f"{metric.name}_per_sec", "float", f"{metric.help} Growth by the second."


def tree():
    """The dotted names as nested dicts; a leaf is a column."""
    root = {}
    names = {name for name, _, _ in columns()}
    for name, kind, sentence in columns():
        words = name.split(".")
        # `fds` is a number and has no attributes, so `fds.worst_percent` stands beside it.
        if any(".".join(words[:n]) in names for n in range(1, len(words))):
            words = ["_".join(words)]
        words[0] = RENAMED.get(words[0], words[0])
        branch = root
        for word in words[:-1]:
            branch = branch.setdefault(word, {})
        branch[words[-1]] = (name, kind, sentence)
    return root


def class_name(words):
    return "_" + "".join(part.title() for word in words for part in word.split("_"))


def write_class(words, branch, out):
    for word, child in branch.items():
        if isinstance(child, dict):
            write_class([*words, word], child, out)
    if words:
        out.append(f"\n\nclass {class_name(words)}(_Section):")
        out.append(f'    """The metrics `{".".join(words)}`."""\n\n    __slots__ = ()')
        holder = "self._sample"
    else:
        out.append("\n\nclass Sections:")
        out.append('    """Every metric of a Sample by attribute."""\n\n    __slots__ = ()')
        holder = "self"
    for word, child in branch.items():
        out.append("\n    @property")
        if isinstance(child, dict):
            section = class_name([*words, word])
            out.append(f"    def {word}(self) -> {section}:")
            out.append(f'        """The metrics `{word}`."""')
            out.append(f"        return {section}({holder})")
            continue
        name, kind, sentence = child
        out.append(f"    def {word}(self) -> Optional[{kind}]:")
        out.append(f'        """{sentence}"""')
        out.append(f'        value: Optional[{kind}] = {holder}._values["{name}"]'
                   if words else
                   f'        value: Optional[{kind}] = self._number("{name}")')
        out.append("        return value")
    if not words:
        out.append("\n    def _number(self, name: str) -> Any:")
        out.append("        raise NotImplementedError")


def text():
    out = [HEAD.rstrip("\n")]
    write_class([], tree(), out)
    return "\n".join(out) + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(TARGET.read_text() != text())
    TARGET.write_text(text())


if __name__ == "__main__":
    main()
