#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill vqstore pack at many random moments: started again, it ends with the bytes of a run that was never interrupted.

    kill_store.py KILLS FOLDER [PACK OPTIONS...]

Packs FOLDER once, undisturbed, and then KILLS times: each time the run is killed (SIGKILL) at a random moment of the time that the first
took, up to three times, and then left to end. Every time the result must be the same files with the same bytes and no
others, and verify. Prints how many runs were killed before their end, and how many went on from a part.
"""
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def main():
    kills, source, options = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    chance = random.Random(7)
    killed = resumed = 0
    with tempfile.TemporaryDirectory(prefix="libvq-kill-") as top:
        def command(name):
            return ["vqstore", "pack", "-q", *options, source, "-o", os.path.join(top, name)]

        begun = time.monotonic()
        subprocess.run(command("whole"), check=True)
        lasted = time.monotonic() - begun
        whole = contents(pathlib.Path(top, "whole"))
        for i in range(kills):
            target = pathlib.Path(top, str(i))
            for _ in range(chance.randint(1, 3)):
                process = subprocess.Popen(command(str(i)))
                try:
                    process.wait(chance.random() * lasted)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed += 1
                if target.is_dir() and any(p.suffix == ".part" and p.stat().st_size for p in target.iterdir()):
                    resumed += 1
            subprocess.run(command(str(i)), check=True)
            if contents(target) != whole:
                sys.exit(f"run {i}: {sorted(contents(target))} differ from {sorted(whole)}")
            subprocess.run(["vqstore", "verify", "-q", str(target)], check=True)
            subprocess.run(["rm", "-r", str(target)], check=True)
    print(f"{kills} runs end with the same bytes: {killed} kills, {resumed} of them with a part that was gone on from")


if __name__ == "__main__":
    main()
