#!/bin/sh
# What the built library shows and uses: both kinds show all of what facet.h declares and nothing else, it needs libc and
# libm alone, calls nothing that ends the process, prints or reads the environment, and keeps no writable globals.
#   symbols.sh SOURCE_DIR libfacet.so libfacet_internal.a libfacet.a
set -eu
source=$1 shared=$2 inside=$3 static=$4
fault() { echo "symbols: $*"; }
# Prints what stands on stdin as a fault: one line of names, or nothing.
report() {
    names=$(sort -u | tr '\n' ' ')
    case $names in *[!\ ]*) fault "$1: $names" ;; esac
}

checks() {
    exported=$(nm -D --defined-only "$shared" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u)
    shown=$(nm -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort -u)
    [ "$shown" = "$exported" ] || printf '%s\n%s\n' "$shown" "$exported" | sort | uniq -u | report "not the same in libfacet.a and libfacet.so"
    declared=$(sed -n 's/^FACET_API .*[ *]\(facet_[a-z0-9_]*\)(.*/\1/p' "$source/include/facet.h" | sort -u)
    [ "$(echo "$declared" | wc -l)" -ge 50 ] || fault "facet.h could not be read"
    echo "$exported" | { grep -v '^facet_' || true; } | report "exported, but not facet_*"
    for name in $declared; do echo "$exported" | grep -qx "$name" || echo "$name"; done | report "in facet.h, but not exported"
    for name in $exported; do echo "$declared" | grep -qx "$name" || echo "$name"; done | report "exported, but not in facet.h"

    readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | { grep -Ev '^(libc|libm|ld-linux[a-z0-9-]*)\.so' || true; } |
        report "libfacet.so needs more than libc and libm"
    readelf -d "$shared" | grep -q 'SONAME.*libfacet\.so\.0' || fault "the SONAME is not libfacet.so.0"

    # os/child.c alone starts a process, and ends that one.
    used=$(nm -A -u "$inside" | awk '$(NF-1) == "U" && (!/:child\.c\.o:/ || $NF !~ /^(fork|_exit|signal)$/) { print $NF }' | sort -u)
    echo "$used" | grep -qx malloc || fault "libfacet_internal.a could not be read"
    for name in abort exit _exit _Exit quick_exit __assert_fail raise kill signal sigaction \
        printf vprintf puts putchar putc fputc fputs fprintf vfprintf perror stdout stderr stdin \
        __printf_chk __fprintf_chk __vfprintf_chk \
        getenv secure_getenv setenv putenv setlocale system popen fork execve \
        rand srand random drand48 time gettimeofday strtok sprintf vsprintf strcpy strcat gets; do
        echo "$used" | grep -x "$name" || true
    done | report "the library must not use"
    # The contract's functions are the library's own: libm's differ from one machine to the next.
    for name in exp expf exp2f log logf log2f pow powf tanh tanhf sin sinf cos cosf sincos sincosf erff; do
        echo "$used" | grep -x "$name" || true
    done | report "results must not come from libm's"

    objdump -t "$inside" | awk '
        /^[^ ]+\.o:/ { file = $1 }
        / O \.(data|bss|tdata|tbss)/ && !/ O \.data\.rel\.ro/ { print file $NF }' |
        report "writable globals"
}

faults=$(checks)
[ -z "$faults" ] || {
    echo "$faults"
    exit 1
}
