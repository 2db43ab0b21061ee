# SPDX-License-Identifier: Apache-2.0
"""bench/run audio: the audio codec on speech of speakers that it was not trained on, beside Opus and Codec2.

The held-out speakers are every fifth of those in speech16k in the order of their numbers, as models/README.md leaves them out
of the built-in model's training; every file of theirs is measured, by `vqeval`, at the file's own rate of 16 kHz. The codec is measured
at every bitrate of 1.5, 3, 6 and 12 kbit/s, encoded as `vqenc --bitrate` does: with as many levels as fit, every byte of the token
file counted. The distances over all numbers of levels are those of prefixes of one encoding with all. Opus is opusenc at its own settings with --bitrate 6 and 12, every byte of the Ogg
file counted; Codec2 is c2enc at its bitrates, on speech at 8 kHz, the bits of its frames counted, and its delay taken off.

Figures: logmel_6k, stoi_6k, opus_logmel_6k, opus_stoi_6k and the same at 12; encode_x_realtime and decode_x_realtime (one thread,
6 kbit/s, samples to tokens and back), encode_file_x_realtime (an hour of WAV to a token file) and hour_encode_mib,
hour_decode_mib (peak resident memory of vqenc and vqdec on that hour). LIBVQ_AUDIO_MODEL names a model other than the built-in.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import wave

import numpy as np

BITRATES = (1.5, 3, 6, 12)
FIGURES = ("log_mel", "stoi", "lsd_db", "si_sdr_db")
RATE = 16000


def held_out(data):
    files = sorted((pathlib.Path(data) / "audio/speech16k").glob("*.flac"))
    speakers = sorted({int(f.name.split("-")[0]) for f in files})
    left_out = set(speakers[4::5])
    return [f for f in files if int(f.name.split("-")[0]) in left_out]


def call(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, **options).stdout


def mean(rows, key):
    values = [r[key] for r in rows if r[key] is not None]
    return sum(values) / len(values)


def samples_of(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate()


def write_wav(path, samples, rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype(np.int16).tobytes())


def resample(samples, up, down):
    from scipy.signal import resample_poly
    return np.clip(np.round(resample_poly(samples.astype(np.float64), up, down)), -32768, 32767).astype(np.int16)


def lag_of(original, decoded, most):
    """Samples that the loudness of `decoded` comes later."""
    def loudness(x):
        return np.convolve(np.abs(x.astype(np.float64)), np.ones(160) / 160, "same")
    n = min(len(original), len(decoded)) - most
    a = loudness(original)[:n]
    b = loudness(decoded)
    return max(range(0, most, 8), key=lambda lag: np.corrcoef(a, b[lag:lag + n])[0, 1])


def opus(file, bitrate, folder):
    packed, out = folder / f"{file.stem}.{bitrate}.opus", folder / f"{file.stem}.{bitrate}.wav"
    call("opusenc", "--quiet", "--bitrate", bitrate, file, packed)
    call("opusdec", "--quiet", "--force-wav", "--rate", RATE, packed, out)
    return packed.stat().st_size, out


def codec2(file, mode, folder):
    raw, packed, back = (folder / f"{file.stem}.{mode}.{end}" for end in ("raw", "c2", "out"))
    wav, out = folder / f"{file.stem}.{mode}.in.wav", folder / f"{file.stem}.{mode}.wav"
    call("flac", "-sdf", file, "-o", wav)
    original, _ = samples_of(wav)
    narrow = resample(original, 1, 2)
    narrow.tofile(raw)
    call("c2enc", mode, raw, packed)
    call("c2dec", mode, packed, back)
    decoded = np.fromfile(back, np.int16)
    lag = lag_of(narrow, np.pad(decoded, (0, 800)), 800)
    write_wav(out, resample(decoded[lag:], 2, 1), RATE)
    return packed.stat().st_size, out


def peer_rows(tools, files, make, setting, folder):
    def one(file):
        size, out = make(file, setting, folder)
        row = json.loads(call(tools / "vqeval", "--json", file, out))
        original = json.loads(call(tools / "vqinfo", "--json", file))
        row["kbit_per_s"] = 8e-3 * size / original["seconds"]
        return row
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(one, files))


def peak_mib(command):
    """(seconds, peak resident memory). The kernel's own account of a child begins with its parent's, so look while it runs."""
    started, peak = time.perf_counter(), 0
    child = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL)
    while child.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            peak = max([peak] + [int(line.split()[1]) for line in status.split("\n") if line.startswith("VmHWM")])
        except OSError:
            pass
        time.sleep(0.02)
    if child.returncode:
        sys.exit(f"bench audio: {command[0]} failed")
    return time.perf_counter() - started, peak / 1024


def hour(tools, model, files, folder, seconds):
    """An hour of speech through vqenc and vqdec."""
    wav, tokens, back = folder / "hour.wav", folder / "hour.bin", folder / "hour-back.wav"
    speech = folder / "one.wav"
    call("flac", "-sdf", files[0], "-o", speech)
    samples, rate = samples_of(speech)
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for _ in range(seconds * rate // len(samples)):
            file.writeframes(samples.tobytes())
    encode = peak_mib([tools / "vqenc", "-q", "-f", "--threads", 1, "--bitrate", 6, *model, wav, "-o", tokens])
    decode = peak_mib([tools / "vqdec", "-q", "-f", "--threads", 1, *model, tokens, "-o", back])
    return encode, decode


def versions():
    found = {}
    for name, command in (("opus-tools", ["opusenc", "--version"]), ("codec2", ["dpkg-query", "-W", "-f", "${Version}", "codec2"])):
        try:
            found[name] = call(*command).decode().split("\n")[0]
        except (OSError, subprocess.CalledProcessError):
            pass
    return found


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    tools = pathlib.Path(build).resolve() / "bin"
    files = held_out(data)
    if not files:
        sys.exit(f"bench audio: no speech in {data}/audio/speech16k")
    if quick:
        files = files[::6]
    own = os.environ.get("LIBVQ_AUDIO_MODEL")
    model = ["--model", own] if own else []

    def encoded(levels):
        return json.loads(call(tools / "vqeval", "--json", "--threads", 1, "--levels", levels, *(model or ["--codec", "audio"]), *files))

    with tempfile.TemporaryDirectory(prefix="libvq-audio-") as name:
        folder = pathlib.Path(name)
        levels = {}
        for bitrate in BITRATES:
            out = json.loads(call(tools / "vqenc", "--json", "-f", "--bitrate", bitrate, *model, files[0], "-o", folder / "t.bin"))
            levels[bitrate] = len(out["k"])
        ours = {b: encoded(levels[b]) for b in BITRATES}
        rows = [(f"libvq {b:g}", f"{levels[b]} levels", ours[b]["results"][0]["sounds"]) for b in BITRATES]
        for bitrate in (6, 12):
            if shutil.which("opusenc"):
                rows.append((f"Opus {bitrate}", "", peer_rows(tools, files, opus, bitrate, folder)))
        for mode in ("700C", "1200", "2400", "3200"):
            if shutil.which("c2enc") and shutil.which("flac"):
                rows.append((f"Codec2 {mode}", "8 kHz", peer_rows(tools, files, codec2, mode, folder)))
        six = ours[6]["time"]
        encode, decode = hour(tools, model, files, folder, 360 if quick else 3600)

    table = [f"{len(files)} files of {len({f.name.split('-')[0] for f in files})} speakers not trained on, mean of the files, at 16 kHz",
             f"{'codec':>12} {'':>10} {'kbit/s':>7} {'log-mel':>8} {'STOI':>7} {'LSD dB':>7} {'SI-SDR dB':>9}"]
    figures = {}
    for name, note, sounds in rows:
        values = {key: mean(sounds, key) for key in ("kbit_per_s",) + FIGURES}
        table.append(f"{name:>12} {note:>10} {values['kbit_per_s']:7.2f} {values['log_mel']:8.4f} {values['stoi']:7.4f} "
                     f"{values['lsd_db']:7.2f} {values['si_sdr_db']:9.2f}")
        kind, at = name.split()
        if kind in ("libvq", "Opus") and at in ("6", "12"):
            prefix = "" if kind == "libvq" else "opus_"
            figures[f"{prefix}logmel_{at}k"] = values["log_mel"]
            figures[f"{prefix}stoi_{at}k"] = values["stoi"]
            figures[f"{prefix}kbit_per_s_{at}k"] = values["kbit_per_s"]
    distances = [r["mean"]["log_mel"] for r in encoded("all")["results"]]
    falls = all(b < a for a, b in zip(distances, distances[1:]))
    table.append(f"log-mel distance over 1 to {len(distances)} levels: {' '.join(f'{d:.3f}' for d in distances)} "
                 f"({'falls' if falls else 'DOES NOT FALL'} with each)")
    figures["logmel_falls_with_each_level"] = int(falls)
    figures["encode_x_realtime"] = six["seconds"] / six["encode_seconds"]
    figures["decode_x_realtime"] = six["seconds"] / six["decode_seconds"]
    seconds = 360 if quick else 3600
    figures["encode_file_x_realtime"] = seconds / encode[0]
    figures["hour_encode_mib"], figures["hour_decode_mib"] = encode[1], decode[1]
    table.append(f"one thread, 6 kbit/s: encode {figures['encode_x_realtime']:.0f}, decode {figures['decode_x_realtime']:.0f} times real "
                 f"time; {seconds} s of WAV to tokens {figures['encode_file_x_realtime']:.0f} times, peak {encode[1]:.0f} MiB, and back {decode[1]:.0f} MiB")
    return figures, table, versions()
