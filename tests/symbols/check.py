#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the libraries give to the linker. usage: check.py [--update] NM OBJDUMP LIBVQ_SO LIBVQ_A LIST [LEFT_OUT]

The shared library exports exactly the names in LIST but those that begin with LEFT_OUT, all vq_*; the static one defines no global outside
vq_* and vqi_*, so that it meets nobody in a program; and the library keeps no writable state but STATE."""
import pathlib
import re
import subprocess
import sys

# The allocator, the CPU flags and their mask, the sentence of vq_last_error(), and the lock around FFTW's planner.
STATE = {"current", "flags_found", "mask_now", "last_error", "plan_lock"}


def symbols(nm, *args):
    """(type, name) of each defined symbol."""
    output = subprocess.run([nm, *args], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in output.splitlines())
    return [(row[-2], row[-1]) for row in rows if len(row) == 3 and row[-2] not in "Uw"]


def writable(objdump, library):
    """Names of the objects in writable sections; constants with relocations (.data.rel.ro) are none."""
    output = subprocess.run([objdump, "-t", library], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\S+ .{7} (?:\*COM\*|\.t?(?:data|bss)(?!\.rel\.ro)\S*)\t\S+ +(?:\.hidden )?([^.\s]\S*)$", output, flags=re.M)
    return sorted(set(found))


def main():
    args = sys.argv[1:]
    update = "--update" in args
    if update:
        args.remove("--update")
    if len(args) not in (5, 6):
        sys.exit(__doc__)
    nm, objdump, shared, static, listing = args[:5]
    left_out = args[5] if len(args) == 6 else None
    faults = []

    exported = sorted({name for _, name in symbols(nm, "-D", "--defined-only", shared)})
    faults += [f"{name}: exported, but not vq_*" for name in exported if not name.startswith("vq_")]
    path = pathlib.Path(listing)
    if update:
        path.write_text("".join(f"{name}\n" for name in exported))
    expected = [name for name in path.read_text().split() if not left_out or not name.startswith(left_out)]
    faults += [f"{name}: new in the interface (scripts/update-symbols)" for name in sorted(set(exported) - set(expected))]
    faults += [f"{name}: gone from the interface, which breaks programs" for name in sorted(set(expected) - set(exported))]

    for kind, name in symbols(nm, "--defined-only", static):
        if kind.isupper() and not name.startswith(("vq_", "vqi_")):
            faults.append(f"{name}: a global of the static library, but neither vq_* nor vqi_*")
    faults += [f"{name}: writable state of the whole process" for name in writable(objdump, static) if name not in STATE]
    print("\n".join(faults) if faults else f"{len(exported)} symbols, as listed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
