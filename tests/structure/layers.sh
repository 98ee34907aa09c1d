#!/bin/sh
# Every #include of src/ and apps/ goes in the direction that layers.txt allows.
#   layers.sh SOURCE_DIR
set -eu
cd "$1"

# FILE TARGET for each include in quotes; TARGET is the file that is meant, seen from the root.
includes() {
    find "$@" -name '*.[ch]' -exec grep -H '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' {} + |
        sed -E 's/^([^:]+):[^"]*"([^"]+)".*/\1 \2/' |
        while read -r file name; do
            if [ -e "$(dirname "$file")/$name" ]; then
                echo "$file $(dirname "$file")/$name"
            elif [ -e "src/$name" ]; then
                echo "$file src/$name"
            elif [ -e "src/tools/$name" ]; then
                echo "$file src/tools/$name"
            else
                echo "$file $name"
            fi
        done
}

check_library='
    FNR == NR { # layers.txt
        if ($0 ~ /^#/ || NF == 0) next
        sub(/:$/, "", $1)
        known[$1] = 1
        for (i = 2; i <= NF; i++) may[$1, $i] = 1
        next
    }
    {
        split($1, from, "/")
        if (!(from[2] in known)) fault($1 ": the module " from[2] " is not in layers.txt")
        if ($2 == "facet.h") next
        if ($2 ~ /\.\./ || split($2, to, "/") < 3 || to[1] != "src") { fault($1 " includes " $2 ": no such file in src/"); next }
        if (to[2] == from[2]) next
        if (may[from[2], substr($2, 5)]) next
        if (!may[from[2], to[2]] && !(may[from[2], "all"] && to[2] != "tools")) fault($1 " includes " $2)
        edge[from[2], to[2]] = 1
        seen++
    }
    function fault(text) { print "layers: " text; faults++ }
    function cycle(  m, n, open, uses, changed) { # modules that depend on nothing left are struck out, until none is
        do {
            changed = 0
            for (m in known) if (!struck[m]) {
                uses = 0
                for (n in known) if (!struck[n] && (m, n) in edge) uses++
                if (!uses) { struck[m] = 1; changed = 1 }
            }
        } while (changed)
        for (m in known) if (!struck[m]) open = open " " m
        return open
    }
    END {
        open = cycle()
        if (open != "") fault("these modules include each other in a circle, or use one that does:" open)
        if (seen < 10) fault("only " seen + 0 " includes between modules were read")
        exit faults > 0
    }'

check_programs='
    $2 != "facet.h" && $2 != "src/tools/facet_tools.h" && $2 !~ /^apps\// && $2 !~ /^[a-z_]+\.(h|inc)$/ {
        print "layers: " $1 " includes " $2 "; programs see facet.h and facet_tools.h only"
        faults++
    }
    END { exit faults > 0 }'

status=0
includes src | awk "$check_library" tests/structure/layers.txt - || status=1
if [ -d apps ]; then includes apps | awk "$check_programs" || status=1; fi
exit $status
