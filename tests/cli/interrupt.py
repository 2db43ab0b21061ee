#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start a program, send it a signal at a known moment, and return as it does.

    interrupt.py SIGNAL FILE COMMAND...

The moment is when the program has taken the signal into its hands (SIGKILL: at once) and FILE exists ("-": none).
A program that ends before is an error. Prints nothing of its own; 128 + N stands for death by signal N.
"""
import os
import re
import signal
import subprocess
import sys
import time


def is_ready(process, number, path):
    if path != "-" and not os.path.exists(path):
        return False
    if number == signal.SIGKILL:
        return True
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        caught = int(re.search(r"^SigCgt:\s*([0-9a-f]+)", status.read(), re.M).group(1), 16)
    return bool(caught >> (number - 1) & 1)


def main():
    number, path, command = signal.Signals[sys.argv[1]], sys.argv[2], sys.argv[3:]
    process = subprocess.Popen(command)
    while process.poll() is None and not is_ready(process, number, path):
        time.sleep(0.005)
    if process.returncode is not None:
        sys.exit(f"interrupt.py: {command[0]} ended before the signal")
    process.send_signal(number)
    code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
