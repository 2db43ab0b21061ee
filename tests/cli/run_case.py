#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run one case of the command-line tests: a script, and exactly what it prints and returns.

    run_case.py [--update] --tools DIR --samples DIR CASE

A case is a file of sections. The first is a bash script; then come `--- stdout`, `--- stderr` and `--- exit N`
(missing = nothing printed, 0). The script runs in an empty folder, with the programs on its PATH, the pictures of
make_inputs.py in $in and the samples of examples/ in $samples. Where a number may vary the expected text has
<number> or <hex>; <...> stands for the rest of a line. --update writes what was printed into the case, for
a person to read before it is committed. A script that exits with 77 is skipped.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import make_inputs

HOLES = {"<number>": r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?", "<hex>": r"[0-9a-f]+", "<...>": r"[^\n]*"}
SECTION = re.compile(r"^--- (stdout|stderr|exit)(?: (\d+))?\n", re.M)
SKIPPED = 77


def read_case(path):
    parts = SECTION.split(path.read_text())
    case = {"script": parts[0], "stdout": "", "stderr": "", "exit": 0}
    for name, number, text in zip(parts[1::3], parts[2::3], parts[3::3]):
        case[name] = int(number) if name == "exit" else text
    return case


def matches(expected, actual):
    pieces = re.split("(" + "|".join(map(re.escape, HOLES)) + ")", expected)
    return re.fullmatch("".join(HOLES.get(p) or re.escape(p) for p in pieces), actual) is not None


def run_script(script, tools, samples):
    with tempfile.TemporaryDirectory(prefix="libvq-cli-") as top:
        folder, inputs = pathlib.Path(top, "work"), pathlib.Path(top, "in")
        folder.mkdir()
        inputs.mkdir()
        make_inputs.write_all(inputs)
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": top, "LC_ALL": "C", "TERM": "dumb",
                       "in": "../in", "samples": str(samples), "here": str(pathlib.Path(__file__).parent.resolve())}
        for name, value in os.environ.items():  # what steers sanitizers, threads and the linker
            if re.match(r".*SAN_OPTIONS$|OMP_|LD_LIBRARY_PATH$|PYENV_", name):
                environment[name] = value
        return subprocess.run(["bash", "-u", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=300, check=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    parser.add_argument("--samples", required=True, type=pathlib.Path)
    parser.add_argument("case", type=pathlib.Path)
    options = parser.parse_args()

    case = read_case(options.case)
    done = run_script(case["script"], options.tools.resolve(), options.samples.resolve())
    if done.returncode == SKIPPED:
        sys.exit(SKIPPED)
    actual = {"stdout": done.stdout.decode(errors="backslashreplace"),
              "stderr": done.stderr.decode(errors="backslashreplace"), "exit": done.returncode}
    good = (matches(case["stdout"], actual["stdout"]) and matches(case["stderr"], actual["stderr"])
            and case["exit"] == actual["exit"])
    if options.update and not good:
        text = case["script"]
        for name in ("stdout", "stderr"):
            text += f"--- {name}\n{actual[name]}" if actual[name] else ""
        options.case.write_text(text + (f"--- exit {actual['exit']}\n" if actual["exit"] else ""))
        return
    if not good:
        print(case["script"])
        for name in ("stdout", "stderr"):
            if not matches(case[name], actual[name]):
                print(f"=== {name} should be\n{case[name]}=== {name} is\n{actual[name]}===")
        print(f"exit status {actual['exit']}, should be {case['exit']}")
        sys.exit(1)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
