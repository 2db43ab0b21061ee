#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a compiler does not check. usage: check.py SOURCE_DIR RULE"""
import pathlib
import re
import sys

ROOMS = {  # room -> rooms whose headers it may include (DESIGN: calls go down the house, never up)
    "vq": {"vq"},
    "rvq": {"rvq", "vq"},
    "io": {"io", "vq"},
    "codecs": {"codecs", "rvq", "vq", "io"},
    "augment": {"augment", "rvq", "vq"},
    "tools": {"tools", "augment", "codecs", "rvq", "vq", "io"},
    "examples": {"augment", "codecs", "rvq", "vq", "io"},
    "bench": {"bench", "augment", "codecs", "rvq", "vq", "io"},
}
LIBRARY = ["vq", "rvq", "io", "codecs", "augment"]
PRIVATE = re.compile(r"(_internal|_priv)\.h$")
MAX_LINES = 600
WHOLE = {"python/libvq_store.py"}  # one file to copy, whatever it takes


def files(root, rooms, *suffixes):
    return sorted(p for room in rooms for p in (root / room).rglob("*") if p.suffix in suffixes and p.is_file())


def code_lines(path):
    """Lines with comments and the insides of strings blanked, numbered from 1."""

    def blank(match):
        text = match.group(0)
        return '""' if text[0] == '"' else re.sub(r"[^\n]", " ", text)

    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    return enumerate(re.sub(pattern, blank, path.read_text(), flags=re.S).split("\n"), 1)


def find(root, rooms, pattern, why, suffixes=(".c", ".h"), spare=()):
    expression = re.compile(pattern)
    for path in files(root, rooms, *suffixes):
        if str(path.relative_to(root)) in spare:
            continue
        for number, line in code_lines(path):
            if expression.search(line):
                yield f"{path.relative_to(root)}:{number}: {why}: {line.strip()}"


def check_headers(root):
    text = (root / "cmake/headers.cmake").read_text()
    listed = set(re.findall(r"^\s+(\w+/\w+\.h)\)?$", text, flags=re.M))
    there = {str(p.relative_to(root)) for p in files(root, LIBRARY, ".h") if not PRIVATE.search(p.name)}
    for name in sorted(there - listed):
        yield f"{name}: a public header that cmake/headers.cmake does not list"
    for name in sorted(listed - there):
        yield f"{name}: listed in cmake/headers.cmake, but not there"


def check_rooms(root):
    quoted = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
    for room, may in ROOMS.items():
        for path in files(root, [room], ".c", ".h", ".S"):
            public = room in LIBRARY and path.suffix == ".h" and not PRIVATE.search(path.name)
            for number, line in enumerate(path.read_text().split("\n"), 1):
                match = quoted.match(line)
                if not match:
                    continue
                target = match.group(1)
                where = f"{path.relative_to(root)}:{number}: {target}"
                if "/" not in target:
                    if room in LIBRARY:
                        yield f"{where}: write the room too"
                    continue
                to = target.split("/")[0]
                if to not in may:
                    yield f"{where}: {room}/ may not call {to}/"
                elif PRIVATE.search(target) and (public or room in ("tools", "examples")):
                    yield f"{where}: a private header"


def check_memory(root):
    yield from find(root, LIBRARY, r"(?<!\w)(?<!->)(?<!\.)(malloc|calloc|realloc|reallocarray|aligned_alloc|"
                    r"posix_memalign|strdup|strndup|asprintf|getline|free)\s*\(",
                    "heap memory goes through vq/memory_internal.h", spare={"vq/memory.c", "vq/memory.h"})


def check_silence(root):
    yield from find(root, LIBRARY, r"(?<!\w)(v?f?printf|puts|fputs|putchar|perror|exit|_exit|abort|assert|getenv|"
                    r"setlocale)\s*\(|\bstderr\b", "the library never prints, exits, asserts or reads the environment")


def check_threads(root):
    yield from find(root, LIBRARY, r"#\s*pragma\s+omp\b.*(\breduction\s*\(\s*[-+*]|\batomic\b)",
                    "threads split rows, never a sum")


def check_files(root):
    rooms = [*ROOMS, "python", "tests", "scripts", "cmake", "docs"]
    comment = re.compile(r"SPDX-License-Identifier: Apache-2\.0")
    for path in files(root, rooms, ".c", ".cc", ".h", ".S", ".py", ".sh"):
        lines = path.read_text().split("\n")
        name = path.relative_to(root)
        if not any(comment.search(line) for line in lines[:3]):
            yield f"{name}:1: no SPDX-License-Identifier"
        if len(lines) - 1 > MAX_LINES and str(name) not in WHOLE:
            yield f"{name}: {len(lines) - 1} lines; more than {MAX_LINES} is more than one subject"
        if path.suffix in (".c", ".h") and len(lines) > 1 and lines[-1]:
            yield f"{name}:{len(lines)}: no newline at the end"


def main():
    rules = {name[6:]: rule for name, rule in globals().items() if name.startswith("check_")}
    if len(sys.argv) != 3 or sys.argv[2] not in rules:
        sys.exit(f"usage: check.py SOURCE_DIR {'|'.join(rules)}")
    faults = list(rules[sys.argv[2]](pathlib.Path(sys.argv[1])))
    print("\n".join(faults) if faults else f"{sys.argv[2]}: clean")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
