#!/bin/sh
# include/facet.h compiles alone, as C99 and as C++11, without a warning.
#   header.sh SOURCE_DIR C_COMPILER
set -eu
header=$1/include/facet.h
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

strict="-Wall -Wextra -pedantic -Werror -fsyntax-only"
printf '#include "facet.h"\nfacet_status (*f)(facet_model **, const char *, const facet_model_options *, facet_error *) = facet_model_open;\n' \
    >"$work/use.c"
cp "$work/use.c" "$work/use.cc"

tried=0
compile() { # COMPILER STANDARD FILE
    command -v "$1" >/dev/null || return 0
    tried=$((tried + 1))
    # shellcheck disable=SC2086
    "$1" "-std=$2" $strict -I"$(dirname "$header")" "$3" || { echo "header: $1 -std=$2 refuses facet.h"; exit 1; }
}
for compiler in "$2" gcc clang; do
    compile "$compiler" c99 "$work/use.c"
    compile "$compiler" c17 "$work/use.c"
done
for compiler in g++ clang++; do
    compile "$compiler" c++11 "$work/use.cc"
    compile "$compiler" c++20 "$work/use.cc"
done
echo "header: $tried compilations"
[ "$tried" -ge 2 ]
