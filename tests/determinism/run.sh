#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Same pictures, same tokens: one SHA-256 over threads x instruction sets x BLAS builds.
# usage: run.sh VQENC FOLDER_OF_PNG [COUNT]     COUNT pictures, default all. Exit 77: skipped, no pictures.
set -euo pipefail
export LC_ALL=C
vqenc=$1 folder=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

shopt -s nullglob
pictures=("$folder"/*.png)
if [ ${#pictures[@]} -eq 0 ]; then
    echo "skipped: no PNG in $folder"
    exit 77
fi
pictures=("${pictures[@]:0:${3:-${#pictures[@]}}}")

masks=(none avx2)
if grep -qw avx512f /proc/cpuinfo; then
    masks+=(avx512)
else
    echo "this processor has no AVX-512: not measured"
fi
blas_folders=(/usr/lib/*/openblas-openmp /usr/lib/*/openblas-serial /usr/lib/*/openblas-pthread)

declare -A hashes
runs=0
for blas in "${blas_folders[@]}"; do
    [ -e "$blas/libopenblas.so.0" ] || continue
    # The program must really take the library that this run is about.
    loaded=$(LD_LIBRARY_PATH=$blas ldd "$vqenc")
    [[ $loaded == *"$blas/libopenblas.so.0"* ]] || {
        echo "$vqenc does not load $blas/libopenblas.so.0"
        exit 1
    }
    for mask in "${masks[@]}"; do
        for threads in 1 2 7; do
            rm -rf "$scratch/tokens"
            mkdir "$scratch/tokens"
            LD_LIBRARY_PATH=$blas "$vqenc" -q --threads "$threads" --cpu "$mask" -o "$scratch/tokens" \
                "${pictures[@]}"
            [ "$(find "$scratch/tokens" -name '*.bin' | wc -l)" -eq ${#pictures[@]} ]
            hash=$(cat "$scratch/tokens"/*.bin | sha256sum | cut -d ' ' -f 1)
            printf '%s  threads %s, cpu %-6s, %s\n' "$hash" "$threads" "$mask" "${blas##*/}"
            hashes[$hash]=1
            runs=$((runs + 1))
        done
    done
done

if [ ${#hashes[@]} -ne 1 ]; then
    echo "FAILED: ${#hashes[@]} different tokens of ${#pictures[@]} pictures in $runs runs"
    exit 1
fi
echo "${#pictures[@]} pictures, $runs runs, one SHA-256"
