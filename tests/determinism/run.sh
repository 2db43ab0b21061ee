#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Same files, same tokens: one SHA-256 over threads x instruction sets, of nearest codes and of rate-aware ones.
# usage: run.sh VQENC FOLDER [COUNT]     COUNT pictures (PNG), sounds (FLAC) or actions (npy), default all. Exit 77: skipped, none there.
set -euo pipefail
export LC_ALL=C
vqenc=$1 folder=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

shopt -s nullglob
files=("$folder"/*.{png,flac,npy})
if [ ${#files[@]} -eq 0 ]; then
    echo "skipped: no PNG, FLAC or npy in $folder"
    exit 77
fi
files=("${files[@]:0:${3:-${#files[@]}}}")

masks=(none avx2)
for set in avx512:avx512f vnni:avx512_vnni amx:amx_bf16; do
    if grep -qw "${set#*:}" /proc/cpuinfo; then
        masks+=("${set%:*}")
    else
        echo "this processor has no ${set#*:}: not measured"
    fi
done

declare -A hashes
runs=0
for mask in "${masks[@]}"; do
    for threads in 1 2 3 7; do
        rm -rf "$scratch/tokens"
        mkdir -p "$scratch/tokens/rate"
        "$vqenc" -q --threads "$threads" --cpu "$mask" -o "$scratch/tokens" "${files[@]}"
        "$vqenc" -q --threads "$threads" --cpu "$mask" --lambda 0.02 --beam 3 -o "$scratch/tokens/rate" "${files[0]}"
        [ "$(find "$scratch/tokens" -name '*.bin' | wc -l)" -eq $((${#files[@]} + 1)) ]
        hash=$(cat "$scratch/tokens"/*.bin "$scratch/tokens/rate"/*.bin | sha256sum | cut -d ' ' -f 1)
        printf '%s  threads %s, cpu %s\n' "$hash" "$threads" "$mask"
        hashes[$hash]=1
        runs=$((runs + 1))
    done
done

if [ ${#hashes[@]} -ne 1 ]; then
    echo "FAILED: ${#hashes[@]} different tokens of ${#files[@]} files in $runs runs"
    exit 1
fi
echo "${#files[@]} files, $runs runs, one SHA-256"
