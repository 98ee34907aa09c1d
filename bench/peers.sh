#!/bin/bash
# Compares facet's speed with other engines on one model: peers.sh [-t THREADS] [-p N] [-n N] [-r ROUNDS] MODEL NAME=LLAMA-BENCH...
#
#   bench/peers.sh -t 2 gemma.gguf llama.cpp=~/llama.cpp/build/bin/llama-bench ik=~/ik_llama.cpp/build/bin/llama-bench
#
# The programs take turns, ROUNDS times, so that a slow minute of the machine hits all of them alike; the median counts.
# FACET names the program (default: facet in the path). A peer is any program with the options and the JSON of
# llama-bench. Prints tokens per second and facet's ratio to each peer.
set -eu -o pipefail
export LC_ALL=C
threads=$(nproc) prompt=512 decode=128 rounds=3 facet=${FACET:-facet}
while getopts t:p:n:r: option; do
    case $option in
    t) threads=$OPTARG ;;
    p) prompt=$OPTARG ;;
    n) decode=$OPTARG ;;
    r) rounds=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if (($# < 1)); then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
model=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# number KEY: the first number with that key in the JSON on the standard input
number() { grep -o "\"$1\": *[0-9.eE+-]*" | head -1 | sed 's/.*: *//'; }

measure_facet() {
    "$facet" bench --json -r 1 -t "$threads" -m "$model" -p "$prompt" -n "$decode" > "$folder/json"
    number prompt_tokens_per_second < "$folder/json" >> "$folder/facet.prompt"
    number decode_tokens_per_second < "$folder/json" >> "$folder/facet.decode"
}

measure_peer() { # NAME PROGRAM
    "$2" -o json -r 1 -t "$threads" -m "$model" -p "$prompt" -n 0 2> /dev/null | number avg_ts >> "$folder/$1.prompt"
    "$2" -o json -r 1 -t "$threads" -m "$model" -p 0 -n "$decode" 2> /dev/null | number avg_ts >> "$folder/$1.decode"
}

median() { sort -g "$1" | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'; }

for ((round = 0; round < rounds; round++)); do
    measure_facet
    for peer in "$@"; do measure_peer "${peer%%=*}" "${peer#*=}"; done
done

printf '%-14s %14s %14s %9s %9s\n' "$threads threads" "prompt t/s" "decode t/s" "ratio" "ratio"
for name in facet "${@%%=*}"; do
    awk -v name="$name" -v p="$(median "$folder/$name.prompt")" -v d="$(median "$folder/$name.decode")" \
        -v fp="$(median "$folder/facet.prompt")" -v fd="$(median "$folder/facet.decode")" \
        'BEGIN { printf "%-14s %14.2f %14.2f %8.2fx %8.2fx\n", name, p, d, fp / p, fd / d }'
done
