#!/bin/bash
# Runs one file of command line cases: run.sh FACET CASES.test
#
# A case begins with a line "$ COMMAND" (bash; "+ " lines go on with it) and says what must come of it:
#   > LINE      a line of the standard output, as it is; with none given it must be empty
#   >? PATTERN  the same as a pattern of bash; ">? **" takes any number of lines to the end
#   2> PATTERN  a line of the standard error as a pattern; with none given it must be empty
#   = N         the exit status; 0 unless given
# "# text" names the next case. The note that the built-in model is used is left out of the standard error, except
# in cases that set note=1. Cases of a file share an empty folder, in order.
#   facet: the program;  $SOURCE: the project;  $DATA: tests/data;  $MODEL: the demonstration model's file
set -u
program=$(realpath "$1") cases=$(realpath "$2")
SOURCE=$(realpath "$(dirname "$0")/../..") DATA=$SOURCE/tests/data MODEL=$SOURCE/models/tiny-q8_0.gguf
export SOURCE DATA MODEL NO_COLOR=1 TERM=dumb LC_ALL=C.UTF-8
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HOME=$folder XDG_STATE_HOME=$folder/state
mkdir "$folder/work" "$folder/bin" && ln -s "$program" "$folder/bin/facet" && cd "$folder/work" || exit 1
PATH=$folder/bin:$PATH
failed=0 count=0 title='' line_number=0

reset_case() { command='' expected_status=0 out_expected=() err_expected=(); }

# matches FILE PATTERN...: line by line; patterns begin with "=" (as it is) or "?" (a pattern)
matches() {
    local file=$1 i=0 line expected
    shift
    mapfile -t lines < "$file"
    for line in "${lines[@]}"; do
        if ((i >= $#)); then return 1; fi
        expected=${*:i+1:1}
        case $expected in
        '?**') return 0 ;;
        '?'*) [[ $line == ${expected:1} ]] || return 1 ;;
        *) [[ $line == "${expected:1}" ]] || return 1 ;;
        esac
        i=$((i + 1))
    done
    ((i == $#)) || [[ ${*:i+1:1} == '?**' ]]
}

run_case() {
    [[ $command ]] || return 0
    local status problem=''
    count=$((count + 1))
    (eval "$command") > ../out 2> ../err < /dev/null
    status=$?
    [[ $command == *note=1* ]] || sed -i '/^facet: no -m FILE given/d' ../err
    [[ $status == "$expected_status" ]] || problem="exit status $status instead of $expected_status"
    matches ../out "${out_expected[@]}" || problem+="${problem:+, }standard output"
    matches ../err "${err_expected[@]}" || problem+="${problem:+, }standard error"
    if [[ $problem ]]; then
        failed=$((failed + 1))
        printf 'FAILED: %s (line %d): %s\n  $ %s\n' "$title" "$case_line" "$problem" "$command"
        printf '  out: %s\n' "$(head -c 2000 ../out)"
        printf '  err: %s\n' "$(head -c 2000 ../err)"
    fi
}

reset_case
while IFS= read -r line || [[ $line ]]; do
    line_number=$((line_number + 1))
    case $line in
    '#'*)
        run_case
        reset_case
        title=${line#\# }
        ;;
    '$ '*)
        run_case
        reset_case
        command=${line:2} case_line=$line_number
        ;;
    '+ '*) command+=$'\n'${line:2} ;;
    '> '*) out_expected+=("=${line:2}") ;;
    '>') out_expected+=("=") ;;
    '>? '*) out_expected+=("?${line:3}") ;;
    '2> '*) err_expected+=("?${line:3}") ;;
    '= '*) expected_status=${line:2} ;;
    '') ;;
    *)
        echo "$cases:$line_number: not understood: $line"
        exit 1
        ;;
    esac
done < "$cases"
run_case
echo "$(basename "$cases" .test): $count cases, $failed failed"
((failed == 0 && count > 0))
