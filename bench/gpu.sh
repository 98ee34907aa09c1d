#!/bin/bash
# All that is to be known of a machine with a GPU, in one go: builds facet, tests it on the device, lets compute-sanitizer
# watch the tests, and measures a model. What is not there is named and left out.
#
#   bench/gpu.sh [-l LLAMA_BIN] [-b BUILD] [-d DEVICE] [-w GB/s] [-s] [MODEL.gguf]
#
#   -l  the directory of llama.cpp's programs, built with CUDA: measured beside facet
#   -b  build directory (build-gpu)      -d  device (cuda)      -w  memory bandwidth for the roofline, where it is not known
#   -s  without compute-sanitizer, which takes some minutes
#
# Prints how long the model takes to be ready on the device, tokens per second of a prompt of 512 and of decoding with 1
# to 64 sessions, ratios to llama.cpp, and which part of the memory's bandwidth decoding reaches.
set -u -o pipefail
export LC_ALL=C
source=$(cd "$(dirname "$0")/.." && pwd)
build=$source/build-gpu device=cuda llama= bandwidth= sanitize=1
while getopts l:b:d:w:s option; do
    case $option in
    l) llama=$OPTARG ;;
    b) build=$OPTARG ;;
    d) device=$OPTARG ;;
    w) bandwidth=$OPTARG ;;
    s) sanitize= ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
done
shift $((OPTIND - 1))
model=${1:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
begin=$SECONDS failures=0

title() { printf '\n== %s (after %d s)\n' "$1" $((SECONDS - begin)); }
missing() { printf 'missing: %s\n' "$1"; }
fault() { printf 'FAILED: %s\n' "$1" && failures=$((failures + 1)); }
number() { grep -o "\"$1\": *[0-9.eE+-]*" | head -1 | sed 's/.*: *//'; }
ratio() { awk -v a="${1:-0}" -v b="${2:-0}" 'BEGIN { if (a > 0 && b > 0) printf "%.2fx", a / b; else printf "-" }'; }

# Of the makers' tables, in GB/s; the longer names first.
bandwidth_of() {
    case $1 in
    *H200*) echo 4800 ;;
    *H100*NVL*) echo 3938 ;;
    *H100*PCIe*) echo 2039 ;;
    *H100*) echo 3352 ;;
    *B200*) echo 8000 ;;
    *A100*80GB*PCIe*) echo 1935 ;;
    *A100*80GB*) echo 2039 ;;
    *A100*) echo 1555 ;;
    *L40S*) echo 864 ;;
    *"RTX 5090"*) echo 1792 ;;
    *"RTX 4090"*) echo 1008 ;;
    *"RTX 3090"*) echo 936 ;;
    *A10G*) echo 600 ;;
    *L4*) echo 300 ;;
    *T4*) echo 320 ;;
    esac
}

title "machine"
gpu=
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory --format=csv
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
else
    missing "nvidia-smi"
fi
[ -n "$bandwidth" ] || bandwidth=$(bandwidth_of "$gpu")
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | head -1)
grep -m1 'model name' /proc/cpuinfo

title "build"
generator=$(command -v ninja > /dev/null && echo Ninja || echo "Unix Makefiles")
cmake -S "$source" -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release > "$folder/log" 2>&1 &&
    cmake --build "$build" -j "$(nproc)" >> "$folder/log" 2>&1 ||
    { tail -30 "$folder/log" && fault "the build" && exit 1; }
grep -m1 'FACET_NVRTC:FILEPATH=.*so' "$build/CMakeCache.txt" || missing "NVRTC: kernels are compiled at run time, or not at all"
cmake --install "$build" --prefix "$build/prefix" > /dev/null || fault "the installation"
facet=$build/prefix/bin/facet
"$facet" doctor | grep '^device' > "$folder/devices"
cat "$folder/devices"
there=
grep -q -- "--device ${device%%:*}:" "$folder/devices" && there=1
[ -n "$there" ] || missing "a device for --device $device"

title "tests"
(cd "$build" && ctest -L 'quick|full' -R 'cuda|opencl' --output-on-failure --timeout 300 | tail -15) || fault "tests"

title "compute-sanitizer"
if [ -z "$sanitize" ]; then
    echo "not wanted"
elif [ -z "$sanitizer" ] || [ -z "$there" ]; then
    missing "compute-sanitizer with a device"
else
    for tool in memcheck racecheck synccheck; do
        timeout 240 "$sanitizer" --tool $tool --error-exitcode 9 "$build/tests/full_cuda" > "$folder/$tool" 2>&1
        code=$?
        echo "$tool: $(grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$folder/$tool" | tail -1)"
        case $code in
        0) ;;
        124) echo "$tool: did not end within 240 s" ;;
        *) grep -m12 '=========' "$folder/$tool" && fault "$tool" ;;
        esac
    done
fi

title "speed"
if [ -z "$model" ] || [ ! -e "$model" ]; then
    missing "a model to measure"
elif [ -z "$there" ]; then
    missing "a device to measure"
else
    cat "$model" > /dev/null # into the page cache
    "$facet" bench --json --device "$device" -m "$model" -p 512 -n 256 -r 3 > "$folder/json" || fault "facet bench"
    "$build/bench/bench_batch" "$model" 64 128 32 0 "$device" | tee "$folder/batch" || fault "bench_batch"
    prompt=$(number prompt_tokens_per_second < "$folder/json")
    decode=$(number decode_tokens_per_second < "$folder/json")
    bytes=$(number decode_weight_bytes_per_token < "$folder/json")
    many=$(sed -n 's/^64 sessions: *\([0-9.]*\).*/\1/p' "$folder/batch")
    llama_prompt= llama_decode= llama_many=
    if [ -x "$llama/llama-bench" ]; then
        "$llama/llama-bench" -o json -m "$model" -ngl 99 -fa 1 -r 3 -p 512 -n 0 2> /dev/null > "$folder/p"
        "$llama/llama-bench" -o json -m "$model" -ngl 99 -fa 1 -r 3 -p 0 -n 256 2> /dev/null > "$folder/d"
        llama_prompt=$(number avg_ts < "$folder/p")
        llama_decode=$(number avg_ts < "$folder/d")
    else
        missing "llama-bench (-l)"
    fi
    if [ -x "$llama/llama-batched-bench" ]; then
        "$llama/llama-batched-bench" -m "$model" -ngl 99 -fa on -c 16384 -npp 32 -ntg 128 -npl 64 2> /dev/null > "$folder/b"
        llama_many=$(awk -F'|' '$4 + 0 == 64 { print $9 + 0 }' "$folder/b" | tail -1)
    else
        missing "llama-batched-bench (-l)"
    fi
    printf '\n%-22s %12s %12s %9s\n' "tokens/s" facet llama.cpp ratio
    printf '%-22s %12s %12s %9s\n' "prompt of 512" "$prompt" "${llama_prompt:--}" "$(ratio "$prompt" "$llama_prompt")"
    printf '%-22s %12s %12s %9s\n' "decode" "$decode" "${llama_decode:--}" "$(ratio "$decode" "$llama_decode")"
    printf '%-22s %12s %12s %9s\n' "decode, 64 sessions" "$many" "${llama_many:--}" "$(ratio "$many" "$llama_many")"
    awk -v d="$decode" -v b="$bytes" -v w="$bandwidth" 'BEGIN {
        printf "decoding reads %.0f MB a token, %.0f GB/s", b / 1e6, d * b / 1e9
        if (w > 0) printf ": %.1f%% of the %d GB/s that the memory has (%.0f tokens/s at most)", d * b / 1e7 / w, w, w * 1e9 / b
        print "" }'
fi

title "end"
echo "$failures failures"
[ "$failures" = 0 ]
