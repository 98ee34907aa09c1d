#!/bin/sh
# Installs a build into an empty place, moves it, and builds and runs programs against what lies there.
#   consumers.sh THIS_DIR BUILD_DIR CMAKE C_COMPILER
set -eu
here=$1 build=$2 cmake=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/tree"
tree=$work/tree
run() { # EXPECTED COMMAND...
    expected=$1
    shift
    got=$("$@") || { echo "install: failed: $*"; exit 1; }
    [ "$got" = "$expected" ] || { echo "install: $*: got '$got', expected '$expected'"; exit 1; }
}
version=$(sed -n 's/^Version: //p' "$(find "$tree" -name facet.pc)")

"$cmake" -S "$here/consumer" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$tree" -DCMAKE_C_COMPILER="$cc" >"$work/log" 2>&1 &&
    "$cmake" --build "$work/cmake" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
run "facet $version" "$work/cmake/consumer_shared"
run "facet $version" "$work/cmake/consumer_static"
run "facet $version" "$work/cmake/consumer_names"
for name in pool_new buffer_append error_set source_open_path; do # else names.c shows nothing
    nm "$build/libfacet_internal.a" 2>/dev/null | grep -q " T $name\$" || { echo "install: the library has no $name"; exit 1; }
done

PKG_CONFIG_PATH=$(dirname "$(find "$tree" -name facet.pc)")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir facet)
# shellcheck disable=SC2046
"$cc" -o "$work/shared" "$here/consumer/consumer.c" $(pkg-config --cflags --libs facet)
run "facet $version" env LD_LIBRARY_PATH="$libdir" "$work/shared"
# shellcheck disable=SC2046
"$cc" -o "$work/static" "$here/consumer/consumer.c" $(pkg-config --cflags facet) "$libdir/libfacet.a" -lm -pthread
run "facet $version" "$work/static"

if [ -x "$tree/bin/facet" ]; then
    "$tree/bin/facet" version | grep -qF "$version" || { echo "install: the installed program does not run"; exit 1; }
fi
