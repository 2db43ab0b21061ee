#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install a build into a scratch prefix and use it as a stranger would: by find_package and by pkg-config.
# usage: run.sh BUILD SOURCE SCRATCH VERSION CMAKE CC CXX
set -eu
build=$1 here=$2 scratch=$3 version=$4 cmake=$5 cc=$6 cxx=$7

rm -rf "$scratch"
mkdir -p "$scratch"
"$cmake" --install "$build" --prefix "$scratch/prefix" >"$scratch/install.log"
# Moved after installation, so that a path that was wired in would break.
mv "$scratch/prefix" "$scratch/moved"
prefix=$scratch/moved

if find "$prefix/include" -name '*_internal.h' -o -name '*_priv.h' | grep .; then
    echo "private headers are installed" >&2
    exit 1
fi

echo "== find_package"
"$cmake" -S "$here" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_CXX_COMPILER="$cxx" -DEXPECTED_VERSION="$version" >"$scratch/configure.log"
"$cmake" --build "$scratch/cmake" >"$scratch/build.log" || { cat "$scratch/build.log"; exit 1; }
for program in vq_main.c vq_shared_main.c vq_static_main.c vq_main.cc vq_shared_main.cc vq_static_main.cc; do
    "$scratch/cmake/$program"
done

echo "== pkg-config"
pc=$(find "$prefix" -name libvq.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
library_dir=$(pkg-config --variable=libdir libvq)
[ "$(pkg-config --modversion libvq)" = "$version" ]
for source in main.c main.cc; do
    case $source in *.c) compiler=$cc ;; *) compiler=$cxx ;; esac
    # The flags are lists of words.
    # shellcheck disable=SC2046
    "$compiler" -DEXPECTED_VERSION="\"$version\"" "$here/$source" -o "$scratch/pc_shared_$source" \
        $(pkg-config --cflags --libs libvq)
    LD_LIBRARY_PATH=$library_dir "$scratch/pc_shared_$source"
    # The archive by name: -lvq would take the shared library that lies beside it.
    # shellcheck disable=SC2046
    "$compiler" -DEXPECTED_VERSION="\"$version\"" -DVQ_STATIC "$here/$source" -o "$scratch/pc_static_$source" \
        $(pkg-config --cflags --libs --static libvq | sed 's/ -lvq / -l:libvq.a /')
    "$scratch/pc_static_$source"
done

# The shared programs need the shared library, the static ones do not.
objdump -p "$scratch/pc_shared_main.c" | grep -q 'NEEDED.*libvq\.so\.0'
if objdump -p "$scratch/pc_static_main.c" | grep -q 'NEEDED.*libvq'; then
    echo "the static program needs libvq.so" >&2
    exit 1
fi
