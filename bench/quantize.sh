#!/bin/bash
# Compares the speed of quantising with llama.cpp's program: quantize.sh [-t THREADS] [-r ROUNDS] IN.gguf TYPE LLAMA-QUANTIZE
#
#   bench/quantize.sh -t 2 gemma-f16.gguf q4_k_m ~/llama.cpp/build/bin/llama-quantize
#
# The programs take turns, ROUNDS times, so that a slow minute of the machine hits both alike; the median of the rounds'
# ratios counts. FACET names the program (default: facet in the path). The files that they write go to TMPDIR and are
# removed. Prints seconds by the clock, seconds of processor time and peak memory of each round, and the two ratios.
set -eu -o pipefail
export LC_ALL=C
threads=$(nproc) rounds=3 facet=${FACET:-facet}
while getopts t:r: option; do
    case $option in
    t) threads=$OPTARG ;;
    r) rounds=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if (($# != 3)); then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
in=$1 type=$2 peer=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# run NAME COMMAND...: "seconds cpu-seconds" to the file NAME, a line for people to the standard output
run() {
    local name=$1 begin end user system
    shift
    rm -f "$folder/out.gguf"
    begin=$(date +%s%N)
    /usr/bin/env time -q -o "$folder/time" -f '%U %S %M' "$@" > "$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
    end=$(date +%s%N)
    read -r user system memory < "$folder/time"
    awk -v n="$name" -v ns=$((end - begin)) -v u="$user" -v s="$system" -v m="$memory" -v out="$folder/$name" 'BEGIN {
        printf "%-6s %8.2f s  %8.2f s of processors  %6.0f MB\n", n, ns / 1e9, u + s, m / 1024
        print ns / 1e9, u + s >> out
    }'
}

cat "$in" > /dev/null # both find it in memory, where it fits
for ((i = 0; i < rounds; i++)); do
    run facet "$facet" quantize "$in" "$folder/out.gguf" "$type" -t "$threads"
    run peer "$peer" --allow-requantize "$in" "$folder/out.gguf" "$type" "$threads"
done
paste -d ' ' "$folder/facet" "$folder/peer" | awk '
    function median(a, n,   i, k, t) {
        for (i = 1; i <= n; i++) for (k = i + 1; k <= n; k++) if (a[k] < a[i]) { t = a[i]; a[i] = a[k]; a[k] = t }
        return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
    }
    { clock[NR] = $3 / $1; cpu[NR] = $4 / $2 }
    END { printf "facet is %.2f times as fast by the clock, %.2f times by processor time\n", median(clock, NR), median(cpu, NR) }'
